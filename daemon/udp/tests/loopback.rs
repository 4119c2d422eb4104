//! Real sockets on loopback, IPv4 and IPv6: what is sent arrives, cut as it was meant.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod common;

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use common::{LOOPBACKS, collect, flush, packets, pair, pattern, queue, send_all};
use mio::{Events, Interest, Poll, Token};
use udpx_udp::testing::{FaultPlan, Recording};
use udpx_udp::{
    Caps, GatherBatch, HintKind, RecvBatch, SEGMENTS_MAX, SendBatch, Socket, SocketOptions, TRAINS_MAX,
};

fn no_offload() -> SocketOptions {
    SocketOptions { gso: false, gro: false, ..SocketOptions::default() }
}

fn only(datagrams: Vec<(u8, Vec<u8>)>) -> Vec<Vec<u8>> {
    datagrams.into_iter().map(|(_, bytes)| bytes).collect()
}

#[test]
fn trains_arrive_intact_with_and_without_offloads() {
    let with = SocketOptions::default();
    for address in LOOPBACKS {
        for (send, receive) in
            [(&with, &with), (&with, &no_offload()), (&no_offload(), &with), (&no_offload(), &no_offload())]
        {
            let (mut sender, mut receiver) = pair(address, send, receive);
            let mut batch = SendBatch::new(TRAINS_MAX);
            // Full trains, a short tail, a single packet, a lone byte, 64 segments, another size.
            let sizes =
                [(1472, 44 * 1472), (1472, 3000), (1200, 1200), (1200, 1), (100, 6400), (999, 64 * 999)];
            let trains: Vec<_> = sizes
                .iter()
                .zip(1..)
                .map(|(&(segment, bytes), seed)| (segment, pattern(seed, segment, bytes)))
                .collect();
            for (segment, bytes) in &trains {
                queue(&mut batch, None, 0, *segment as u16, bytes);
            }
            let expected = packets(trains.iter().map(|(segment, bytes)| (*segment, &bytes[..])));
            let outcome = send_all(&mut sender, &mut batch);
            assert_eq!((outcome.datagrams, outcome.trains, outcome.dropped), (expected.len(), 6, 0));
            assert_eq!(outcome.bytes, trains.iter().map(|(_, bytes)| bytes.len()).sum::<usize>());
            assert_eq!((outcome.syscalls, outcome.hints.is_empty()), (1, true));
            assert!(only(collect(&mut receiver, expected.len())) == expected, "{address} {send:?}");

            let (sent, received) = (sender.counters(), receiver.counters());
            assert_eq!(sent.sent_datagrams, expected.len() as u64);
            assert_eq!(sent.sent_bytes, received.received_bytes);
            assert_eq!(sent.sent_datagrams, received.received_datagrams);
            assert_eq!(sent.sent_messages, if send.gso { 6 } else { expected.len() as u64 });
            if send.gso && receive.gro {
                assert_eq!(received.received_buffers, 6, "merged trains were split on the way");
            }
        }
    }
}

#[test]
fn gathered_trains_are_the_joined_slices() {
    let payload = pattern(7, 4096, 65_536);
    let heads = [0x5au8; 64 * 32];
    for options in [SocketOptions::default(), no_offload()] {
        let (mut sender, mut receiver) = pair(LOOPBACKS[0], &options, &SocketOptions::default());
        let recording = Recording::new();
        sender.inject_send(recording.injector(FaultPlan::new().injector()));
        let mut batch = GatherBatch::new();
        let mut expected = Vec::new();
        for (train, count) in [40usize, 1, 7].into_iter().enumerate() {
            let mut slot = batch.train(None, 0, 1232).unwrap();
            for index in 0..count {
                // The last packet is shorter.
                let len = if index + 1 == count { 77 + train } else { 1200 };
                let body = &payload[index * 1200..][..len];
                slot.push(&heads[index * 32..][..32]);
                slot.push(body);
                expected.push([&heads[..32], body].concat());
            }
            slot.commit().unwrap();
        }
        let outcome = sender.send_gather(&mut batch);
        assert_eq!((outcome.datagrams, outcome.trains, outcome.blocked), (expected.len(), 3, false));
        assert!(batch.is_empty());
        assert!(only(collect(&mut receiver, expected.len())) == expected);

        // The kernel was given the payload where it lies.
        let inside = payload.as_ptr_range().start.addr()..payload.as_ptr_range().end.addr();
        let messages = recording.take();
        let slices = messages.iter().flat_map(|message| &message.slices).filter(|slice| slice.len() > 32);
        assert!(slices.clone().count() == 48);
        assert!(slices.clone().all(|slice| inside.contains(&slice.start) && slice.end <= inside.end));
        let sizes: Vec<_> = messages.iter().map(|message| (message.segment, message.packets())).collect();
        if options.gso {
            assert_eq!(sizes, [(Some(1232), 40), (None, 1), (Some(1232), 7)]);
        } else {
            assert_eq!(sizes, vec![(None, 1); 48]);
        }
    }
}

#[test]
fn ecn_travels_both_ways() {
    for address in LOOPBACKS {
        let options = SocketOptions::default();
        let (mut a, mut b) = pair(address, &options, &options);
        let mut batch = SendBatch::new(4);
        for ecn in 0..4 {
            queue(&mut batch, None, ecn, 500, &[ecn; 1700]);
        }
        flush(&mut a, &mut batch);
        let got = collect(&mut b, 16);
        for (index, (ecn, bytes)) in got.iter().enumerate() {
            assert_eq!((usize::from(*ecn), bytes[0]), (index / 4, index as u8 / 4));
        }
        // Back, from the unconnected socket, a single packet each.
        for ecn in 0..4 {
            queue(&mut batch, Some(a.local_addr()), ecn, 500, &[9; 10]);
        }
        flush(&mut b, &mut batch);
        assert_eq!(collect(&mut a, 4).iter().map(|(ecn, _)| *ecn).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}

#[test]
fn each_train_has_its_own_destination() {
    for address in LOOPBACKS {
        let options = SocketOptions::default();
        let local: SocketAddr = address.parse().unwrap();
        let mut sender = Socket::bind(local, &options).unwrap();
        let mut receivers: Vec<_> = (0..3).map(|_| Socket::bind(local, &options).unwrap()).collect();
        let mut batch = SendBatch::new(3);
        for (receiver, seed) in receivers.iter().zip(0..) {
            queue(&mut batch, Some(receiver.local_addr()), 1, 300, &pattern(seed, 300, 1000));
        }
        assert_eq!(send_all(&mut sender, &mut batch).syscalls, 1);
        for (receiver, seed) in receivers.iter_mut().zip(0..) {
            let mut recv = RecvBatch::new(4);
            while receiver.recv(&mut recv).unwrap() == 0 {}
            assert!(recv.iter().all(|received| received.from == sender.local_addr()));
            assert_eq!(recv.iter().map(|r| r.bytes).collect::<Vec<_>>().concat(), pattern(seed, 300, 1000));
        }
    }
}

#[test]
fn both_families_share_a_port() {
    let options = SocketOptions::default();
    let v4 = Socket::bind("0.0.0.0:0".parse().unwrap(), &options).unwrap();
    let port = v4.local_addr().port();
    Socket::bind(SocketAddr::new("::".parse().unwrap(), port), &options).unwrap();
}

#[test]
fn a_small_buffer_truncates_and_is_counted() {
    let plain = no_offload();
    let (mut sender, mut receiver) = pair(LOOPBACKS[0], &plain, &plain);
    let mut batch = SendBatch::new(4);
    for bytes in [100, 2000, 99] {
        queue(&mut batch, None, 0, 2000, &vec![bytes as u8; bytes]);
    }
    flush(&mut sender, &mut batch);
    let mut recv = RecvBatch::with_buffer_bytes(4, 1000);
    assert_eq!(receiver.recv(&mut recv).unwrap(), 3);
    assert_eq!(recv.iter().map(|received| received.bytes.len()).collect::<Vec<_>>(), [100, 99]);
    assert_eq!((receiver.counters().truncated, receiver.counters().received_datagrams), (1, 2));
}

#[test]
fn missing_control_room_is_counted_and_does_not_last() {
    let options = SocketOptions::default();
    let (mut sender, mut receiver) = pair(LOOPBACKS[0], &options, &options);
    let mut recv = RecvBatch::new(2);
    let mut batch = SendBatch::new(1);
    for (room, usable) in [(8, 0), (128, 1), (8, 0), (128, 1)] {
        recv.limit_control(room);
        queue(&mut batch, None, 0, 100, &[1; 500]);
        flush(&mut sender, &mut batch);
        assert_eq!(receiver.recv(&mut recv).unwrap(), 1);
        assert_eq!(recv.iter().count(), usable);
    }
    assert_eq!(receiver.counters().control_truncated, 2);
}

#[test]
fn overflow_is_counted() {
    let small = SocketOptions { receive_buffer: 20_000, ..SocketOptions::default() };
    let (mut sender, mut receiver) = pair(LOOPBACKS[0], &no_offload(), &small);
    assert!(receiver.caps().overflow);
    let mut batch = SendBatch::new(16);
    for _ in 0..16 {
        queue(&mut batch, None, 0, 1000, &[1; 64_000]);
    }
    flush(&mut sender, &mut batch);
    let arrived = collect(&mut receiver, 1024).len();
    assert!(arrived < 1024);
    // The count travels with datagrams queued after the drops.
    queue(&mut batch, None, 0, 1000, &[1; 10]);
    flush(&mut sender, &mut batch);
    collect(&mut receiver, 1);
    assert_eq!(receiver.rxq_overflow() as usize, 1024 - arrived);
}

#[test]
fn an_empty_datagram_is_a_datagram() {
    let mut receiver = Socket::bind(LOOPBACKS[0].parse().unwrap(), &SocketOptions::default()).unwrap();
    let sender = std::net::UdpSocket::bind(LOOPBACKS[0]).unwrap();
    sender.send_to(&[], receiver.local_addr()).unwrap();
    let got = collect(&mut receiver, 1);
    assert_eq!(got, [(0, vec![])]);
}

#[test]
fn arrival_times_are_reported_when_wanted() {
    let options = SocketOptions { timestamps: true, ..SocketOptions::default() };
    let (mut sender, mut receiver) = pair(LOOPBACKS[0], &options, &options);
    let mut batch = SendBatch::new(1);
    queue(&mut batch, None, 0, 100, &[1; 500]);
    flush(&mut sender, &mut batch);
    let mut recv = RecvBatch::new(1);
    assert_eq!(receiver.recv(&mut recv).unwrap(), 1);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let arrival = recv.iter().next().unwrap().arrival.unwrap();
    assert!(now.saturating_sub(arrival) < Duration::from_secs(5), "{arrival:?}");
}

#[test]
fn the_kernels_abilities_and_the_sizes_are_reported() {
    let socket = Socket::bind(LOOPBACKS[0].parse().unwrap(), &SocketOptions::default()).unwrap();
    let Caps { gso_segments_max, gro, ecn, overflow, timestamps, .. } = socket.caps();
    assert_eq!((gso_segments_max, gro, ecn, overflow, timestamps), (SEGMENTS_MAX, true, true, true, false));
    assert!(socket.gso());
    // The probe must leave no default behind.
    let left = nix::sys::socket::getsockopt(&socket, nix::sys::socket::sockopt::UdpGsoSegment).unwrap();
    assert_eq!(left, 0);

    let huge = SocketOptions { receive_buffer: 100 << 20, ..SocketOptions::default() };
    let report = Socket::bind(LOOPBACKS[0].parse().unwrap(), &huge).unwrap().buffers().receive;
    assert!(report.forced || report.remedy().unwrap() == "sysctl -w net.core.rmem_max=104857600");
    assert!(!report.forced || (report.granted >= report.wanted && report.remedy().is_none()));
}

#[test]
fn a_connected_socket_knows_its_route() {
    let options = SocketOptions::default();
    for address in LOOPBACKS {
        let (sender, receiver) = pair(address, &options, &options);
        assert!(sender.route_mtu().unwrap() >= 65_535);
        assert!(receiver.route_mtu().is_err());
    }
}

#[test]
fn a_dead_peer_is_a_hint_and_no_error() {
    for address in LOOPBACKS {
        let options = SocketOptions::default();
        let (mut sender, receiver) = pair(address, &options, &options);
        drop(receiver);
        let mut batch = SendBatch::new(1);
        queue(&mut batch, None, 0, 100, &[1; 500]);
        flush(&mut sender, &mut batch);
        // The ICMP error is pending now: the next send meets it, and goes out all the same.
        queue(&mut batch, None, 0, 100, &[1; 500]);
        let outcome = send_all(&mut sender, &mut batch);
        assert_eq!((outcome.datagrams, outcome.dropped, outcome.syscalls), (5, 0, 2));
        assert!(outcome.hints.contains(HintKind::Refused));
        // So does a receive.
        let mut recv = RecvBatch::new(1);
        assert_eq!(sender.recv(&mut recv).unwrap(), 0);
        assert_eq!((sender.take_hint(), sender.take_hint()), (Some(HintKind::Refused), None));
    }
}

#[test]
fn mio_reports_readiness() {
    let options = SocketOptions::default();
    let (mut sender, mut receiver) = pair(LOOPBACKS[0], &options, &options);
    let mut poll = Poll::new().unwrap();
    let mut events = Events::with_capacity(4);
    poll.registry().register(&mut receiver, Token(7), Interest::READABLE).unwrap();
    let mut batch = SendBatch::new(1);
    queue(&mut batch, None, 0, 100, &[1; 500]);
    flush(&mut sender, &mut batch);
    poll.poll(&mut events, Some(Duration::from_secs(5))).unwrap();
    assert!(events.iter().any(|event| event.token() == Token(7) && event.is_readable()));
    poll.registry().deregister(&mut receiver).unwrap();
}
