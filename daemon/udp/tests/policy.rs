//! The errno policy, carried out: a fake kernel refuses calls in every way, and what arrives is compared with what the
//! policy promises.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod common;

use common::{LOOPBACKS, collect, packets, pair, pattern, queue};
use udpx_udp::testing::{Fault, FaultPlan, RecordedMessage, Recording, SendInjector, refuse};
use udpx_udp::{
    Errno, ErrnoKind, GatherBatch, HintKind, RecvBatch, SendBatch, SendOutcome, Socket, SocketOptions,
};

const SEGMENT: usize = 1000;
const TRAIN: usize = 9_500;
const TRAINS: u32 = 5;
const PACKETS: usize = 50;

struct Run {
    outcome: SendOutcome,
    sender: Socket,
    receiver: Socket,
    recording: Recording,
    expected: Vec<Vec<u8>>,
}

impl Run {
    /// Sends five trains of ten packets under the given faults.
    fn new(ecn: u8, faults: SendInjector) -> Self {
        let options = SocketOptions::default();
        let (mut sender, receiver) = pair(LOOPBACKS[0], &options, &options);
        let recording = Recording::new();
        sender.inject_send(recording.injector(faults));
        let trains: Vec<_> = (0..TRAINS).map(|seed| pattern(seed, SEGMENT, TRAIN)).collect();
        let mut batch = SendBatch::new(16);
        for train in &trains {
            queue(&mut batch, None, ecn, SEGMENT as u16, train);
        }
        let outcome = sender.send(&mut batch);
        assert!(batch.is_empty() || outcome.blocked);
        let expected = packets(trains.iter().map(|train| (SEGMENT, &train[..])));
        Self { outcome, sender, receiver, recording, expected }
    }

    fn at(call: u64, errno: Errno) -> Self {
        Self::new(0, FaultPlan::new().at(call, Fault::Error(errno)).injector())
    }

    /// Everything arrived once and in order, but for the packets in `lost`.
    fn assert_arrived(&mut self, lost: std::ops::Range<usize>) {
        let kept: Vec<_> = (0..PACKETS)
            .filter(|index| !lost.contains(index))
            .map(|index| self.expected[index].clone())
            .collect();
        let got: Vec<_> =
            collect(&mut self.receiver, kept.len()).into_iter().map(|(_, bytes)| bytes).collect();
        assert!(got == kept, "{} of {} packets", got.len(), kept.len());
        assert_eq!((self.outcome.datagrams, self.outcome.dropped), (kept.len(), lost.len()));
        let counters = self.sender.counters();
        assert_eq!(counters.sent_datagrams, kept.len() as u64);
        assert_eq!(counters.dropped_datagrams, lost.len() as u64);
        assert_eq!(counters.sendmmsg_calls, self.outcome.syscalls as u64);
        assert_eq!(counters.sent_trains, u64::from(TRAINS));
    }
}

#[test]
fn a_signal_repeats_the_call() {
    let mut run = Run::at(0, Errno::EINTR);
    run.assert_arrived(0..0);
    assert_eq!((run.outcome.syscalls, run.outcome.hints.is_empty()), (2, true));
}

#[test]
fn a_short_count_is_continued() {
    let plan = FaultPlan::new().at(0, Fault::Short(2)).at(1, Fault::Short(1));
    let mut run = Run::new(0, plan.injector());
    run.assert_arrived(0..0);
    assert_eq!(run.outcome.syscalls, 3);
}

#[test]
fn no_buffers_drops_the_message_and_goes_on() {
    let plan = FaultPlan::new().at(0, Fault::Short(2)).at(1, Fault::Error(Errno::ENOBUFS));
    let mut run = Run::new(0, plan.injector());
    run.assert_arrived(20..30);
    assert!(run.outcome.hints.contains(HintKind::NoBuffers) && !run.outcome.blocked);
    assert_eq!(run.outcome.hints.iter().next().unwrap().train, 2);
    assert_eq!(run.sender.counters().errno(ErrnoKind::NoBuffers), 1);
}

#[test]
fn a_firewall_drops_the_message_and_goes_on() {
    let mut run = Run::at(0, Errno::EPERM);
    run.assert_arrived(0..10);
    assert!(run.outcome.hints.contains(HintKind::Denied));
}

#[test]
fn an_unreadable_source_drops_the_train_and_says_which() {
    let mut run = Run::at(0, Errno::EFAULT);
    run.assert_arrived(0..10);
    let hint = run.outcome.hints.iter().next().unwrap();
    assert_eq!((hint.kind, hint.train), (HintKind::SourceFault, 0));
}

#[test]
fn a_refused_train_goes_out_singly_at_once() {
    // EMSGSIZE may be news of an earlier packet, so it is believed when it is said twice.
    for (errno, times) in [(Errno::EINVAL, 1), (Errno::EMSGSIZE, 2)] {
        let plan = (0..times).fold(FaultPlan::new(), |plan, call| plan.at(call, Fault::Error(errno)));
        let mut run = Run::new(0, plan.injector());
        run.assert_arrived(0..0);
        assert!(run.outcome.hints.contains(HintKind::CutAnew));
        assert!(!run.outcome.hints.contains(HintKind::SizeDoubted));
        assert!(run.sender.gso());
        // The first train as ten single packets, in one call with the four whole trains behind it.
        let second: Vec<_> = run
            .recording
            .take()
            .iter()
            .filter(|message| message.call == times)
            .map(|message| message.segment)
            .collect();
        assert_eq!(second, [vec![None; 10], vec![Some(1000); 4]].concat());
    }
}

#[test]
fn a_pending_message_of_a_smaller_path_loses_nothing_and_is_told() {
    // Whatever is sent next reports it, a train as well as what is left of one.
    for call in [0, 1] {
        let plan = FaultPlan::new().at(0, Fault::Short(2)).at(call, Fault::Error(Errno::EMSGSIZE));
        let mut run = Run::new(0, plan.injector());
        run.assert_arrived(0..0);
        let hints: Vec<_> = run.outcome.hints.iter().map(|hint| hint.kind).collect();
        assert_eq!(hints, [HintKind::SizeDoubted], "call {call}");
        assert!(run.sender.gso() && run.outcome.dropped == 0);
    }
}

#[test]
fn no_offload_turns_gso_off_and_loses_nothing() {
    let mut run = Run::at(0, Errno::EIO);
    run.assert_arrived(0..0);
    assert!(run.outcome.hints.contains(HintKind::GsoOff) && !run.sender.gso());
    assert_eq!(run.outcome.syscalls, 2);
    assert!(
        run.recording
            .take()
            .iter()
            .filter(|message| message.call == 1)
            .all(|message| message.segment.is_none())
    );
    run.sender.set_gso(true);
    assert!(run.sender.gso());
}

#[test]
fn a_kernel_that_refuses_every_train_is_believed_after_three() {
    for (errno, calls) in [(Errno::EINVAL, 7), (Errno::EIO, 2)] {
        let mut run = Run::new(0, refuse(errno, |message| message.segment.is_some()));
        run.assert_arrived(0..0);
        assert!(!run.sender.gso() && run.outcome.hints.contains(HintKind::GsoOff));
        assert_eq!(run.outcome.syscalls, calls);
    }
}

#[test]
fn trains_larger_than_the_path_are_dropped_packet_by_packet() {
    // Every packet but the 500-byte tails is too large, singly too.
    let too_large =
        |message: &RecordedMessage| message.segment.map_or(message.bytes(), usize::from) > SEGMENT / 2;
    let mut run = Run::new(0, refuse(Errno::EMSGSIZE, too_large));
    assert_eq!((run.outcome.datagrams, run.outcome.dropped), (5, 45));
    assert_eq!(collect(&mut run.receiver, 5).len(), 5);
    assert!(run.outcome.hints.contains(HintKind::CutAnew) && run.outcome.hints.contains(HintKind::TooBig));
    assert_eq!(run.outcome.hints.iter().count(), 8);
    assert!(run.outcome.hints.left_out >= 2, "five trains with two kinds each");
    assert!(run.sender.gso(), "size was the cause, not GSO");
}

#[test]
fn a_pending_error_is_a_hint_and_the_message_goes_again() {
    for (errno, kind) in [
        (Errno::ECONNREFUSED, HintKind::Refused),
        (Errno::EHOSTUNREACH, HintKind::Unreachable),
        (Errno::ENETUNREACH, HintKind::Unreachable),
    ] {
        let mut run = Run::at(0, errno);
        run.assert_arrived(0..0);
        assert!(run.outcome.hints.contains(kind));
        // Twice in a row it is about this very message.
        let plan = FaultPlan::new().at(0, Fault::Error(errno)).at(1, Fault::Error(errno));
        let mut run = Run::new(0, plan.injector());
        run.assert_arrived(0..10);
    }
}

#[test]
fn marks_are_given_up_before_packets() {
    // A stack that refuses a control message for the mark: whole trains, then single packets, fail until it is gone.
    let plan = FaultPlan::new().at(0, Fault::Error(Errno::EINVAL)).at(1, Fault::Error(Errno::EINVAL));
    let mut run = Run::new(2, plan.injector());
    run.assert_arrived(0..0);
    assert!(run.outcome.hints.contains(HintKind::EcnOff) && run.sender.gso());
    let (mut sender, mut receiver) = (run.sender, run.receiver);
    let mut batch = SendBatch::new(1);
    queue(&mut batch, None, 3, 100, &[0; 300]);
    assert!(!sender.send(&mut batch).blocked);
    assert!(collect(&mut receiver, 3).iter().all(|(ecn, _)| *ecn == 0));
}

#[test]
fn a_full_socket_keeps_the_rest_at_every_point() {
    for gso in [true, false] {
        for after in 1..14 {
            let options = SocketOptions { gso, ..SocketOptions::default() };
            let (mut sender, mut receiver) = pair(LOOPBACKS[0], &options, &SocketOptions::default());
            let step = after;
            // Every second call takes a few messages, the others none.
            sender.inject_send(Box::new(move |attempt| {
                Some(if attempt.call % 2 == 1 { Fault::Error(Errno::EAGAIN) } else { Fault::Short(step) })
            }));
            let trains: Vec<_> = (0..TRAINS).map(|seed| pattern(seed, SEGMENT, TRAIN)).collect();
            let (mut batch, mut gather) = (SendBatch::new(16), GatherBatch::new());
            for (index, train) in trains.iter().enumerate() {
                if index % 2 == 0 {
                    queue(&mut batch, None, 0, SEGMENT as u16, train);
                } else {
                    let mut slot = gather.train(None, 0, SEGMENT as u16).unwrap();
                    train.chunks(700).for_each(|slice| slot.push(slice));
                    slot.commit().unwrap();
                }
            }
            let mut sent = 0;
            for _ in 0..200 {
                sent += sender.send(&mut batch).datagrams;
                if batch.is_empty() {
                    sent += sender.send_gather(&mut gather).datagrams;
                }
            }
            assert!(batch.is_empty() && gather.is_empty());
            assert_eq!(sent, PACKETS);
            let order = [0, 2, 4, 1, 3].map(|index| (SEGMENT, &trains[index][..]));
            let got: Vec<_> = collect(&mut receiver, PACKETS).into_iter().map(|(_, bytes)| bytes).collect();
            assert!(got == packets(order), "gso {gso}, {after} messages a call");
        }
    }
}

#[test]
fn faults_anywhere_never_duplicate_or_reorder() {
    let errnos = [
        Errno::EIO,
        Errno::EINVAL,
        Errno::EMSGSIZE,
        Errno::ENOBUFS,
        Errno::EAGAIN,
        Errno::EINTR,
        Errno::EPERM,
        Errno::ECONNREFUSED,
        Errno::EDESTADDRREQ,
    ];
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize
    };
    for round in 0..200 {
        let options = SocketOptions::default();
        let (mut sender, mut receiver) = pair(LOOPBACKS[round % 2], &options, &options);
        let faults: Vec<_> = (0..64)
            .map(|_| match random() % 4 {
                0 => Some(Fault::Error(errnos[random() % errnos.len()])),
                1 => Some(Fault::Short(random() % 12)),
                _ => None,
            })
            .collect();
        sender.inject_send(Box::new(move |attempt| faults.get(attempt.call as usize).copied().flatten()));
        let trains: Vec<_> = (0..TRAINS).map(|seed| pattern(seed, SEGMENT, TRAIN)).collect();
        let mut batch = SendBatch::new(16);
        for train in &trains {
            queue(&mut batch, None, 1, SEGMENT as u16, train);
        }
        let (mut sent, mut dropped) = (0, 0);
        while !batch.is_empty() {
            let outcome = sender.send(&mut batch);
            sent += outcome.datagrams;
            dropped += outcome.dropped;
        }
        assert_eq!(sent + dropped, PACKETS);
        let got: Vec<_> = collect(&mut receiver, sent).into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(got.len(), sent);
        let all = packets(trains.iter().map(|train| (SEGMENT, &train[..])));
        let mut rest = all.iter();
        assert!(got.iter().all(|packet| rest.any(|sent| sent == packet)), "round {round}");
    }
}

#[test]
fn receiving_survives_errors_that_are_news_of_sends() {
    let options = SocketOptions::default();
    let (mut sender, mut receiver) = pair(LOOPBACKS[0], &options, &options);
    let errors = [Errno::EINTR, Errno::ECONNREFUSED, Errno::EHOSTUNREACH, Errno::EMSGSIZE];
    receiver.inject_receive(Box::new(move |call| errors.get(call as usize).copied()));
    let mut batch = SendBatch::new(1);
    queue(&mut batch, None, 0, 100, &[1; 500]);
    assert!(!sender.send(&mut batch).blocked);
    let mut recv = RecvBatch::new(4);
    assert_eq!(receiver.recv(&mut recv).unwrap(), 1);
    assert_eq!(recv.iter().next().unwrap().datagrams().len(), 5);
    assert_eq!(receiver.take_hint(), Some(HintKind::SizeDoubted));
    assert_eq!(receiver.counters().recvmmsg_calls, 5);
    // A flood of them ends, and what makes the socket useless is an error.
    for errno in [Errno::ECONNREFUSED, Errno::EBADF] {
        receiver.inject_receive(Box::new(move |_| Some(errno)));
        assert_eq!(receiver.recv(&mut recv).unwrap_err().raw_os_error(), Some(errno as i32));
    }
}
