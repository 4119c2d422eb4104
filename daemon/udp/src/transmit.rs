//! Handing trains to the kernel: rounds of `sendmmsg`, and what the errno policy decides carried out.

use std::os::fd::BorrowedFd;

use bytemuck::Zeroable;
use nix::errno::Errno;

use crate::address::RawAddr;
use crate::cmsg::SendControl;
use crate::counters::SyscallCounters;
use crate::hints::{Hint, HintKind, SendOutcome};
use crate::policy::{GSO_STRIKES_MAX, Refused, Verdict, decide};
use crate::seam::Kernel;
use crate::send_batch::Queue;
use crate::sys::Submission;
use crate::train::{Cursor, Cutter, TRAINS_MAX, Train};

/// How one socket sends at the moment.
#[derive(Copy, Clone)]
pub(crate) struct Transmitter {
    pub(crate) gso: bool,
    pub(crate) ecn: bool,
    pub(crate) v6: bool,
    /// Trains in a row that were refused as GSO though their size was right.
    pub(crate) strikes: u8,
}

impl Transmitter {
    /// Sends from the queue's cursor on until everything is finished or the socket is full.
    pub(crate) fn send(
        &mut self,
        kernel: &mut Kernel,
        fd: BorrowedFd<'_>,
        trains: &[Train<'_>],
        queue: &mut Queue,
        counters: &mut SyscallCounters,
    ) -> SendOutcome {
        let mut outcome = SendOutcome::default();
        while queue.cursor.train < trains.len() && !outcome.blocked {
            counters.sendmmsg_calls += 1;
            outcome.syscalls += 1;
            match self.submit(kernel, fd, trains, queue) {
                Ok(messages) => {
                    let before = outcome;
                    self.advance(trains, &mut queue.cursor, messages, &mut outcome);
                    counters.sent_messages += messages as u64;
                    counters.sent_datagrams += (outcome.datagrams - before.datagrams) as u64;
                    counters.sent_bytes += (outcome.bytes - before.bytes) as u64;
                }
                Err(errno) => {
                    counters.note(errno);
                    self.refuse(trains, &mut queue.cursor, errno, &mut outcome);
                }
            }
        }
        counters.sent_trains += outcome.trains as u64;
        counters.dropped_datagrams += outcome.dropped as u64;
        outcome
    }

    /// One `sendmmsg` of what fits: how many of its messages were taken.
    fn submit(
        &self,
        kernel: &mut Kernel,
        fd: BorrowedFd<'_>,
        trains: &[Train<'_>],
        queue: &mut Queue,
    ) -> Result<usize, Errno> {
        let mut names = [RawAddr::default(); TRAINS_MAX];
        let mut controls = [SendControl::zeroed(); TRAINS_MAX];
        let round = &trains[queue.cursor.train..];
        for ((train, name), control) in round.iter().zip(&mut names).zip(&mut controls) {
            if let Some(destination) = train.shape.destination {
                *name = destination.into();
            }
            *control = SendControl::new(self.v6, self.mark(train), train.shape.segment);
        }
        let mut submission = queue.scratch.submission();
        let mut at = queue.cursor;
        for ((train, name), control) in round.iter().zip(&names).zip(&controls) {
            let to = train.shape.destination.is_some().then_some(name);
            if !self.add(&mut submission, train, &at, to, control) {
                break;
            }
            at.next_train();
        }
        kernel.send(fd, &mut submission)
    }

    /// Adds the messages of one train; false when there is no room for all of them.
    fn add<'a>(
        &self,
        submission: &mut Submission<'a>,
        train: &Train<'a>,
        at: &Cursor,
        to: Option<&'a RawAddr>,
        control: &'a SendControl,
    ) -> bool {
        let shape = &train.shape;
        if self.is_whole(train, at) {
            if !submission.has_room(train.parts.len()) {
                return false;
            }
            train.parts.iter().for_each(|part| submission.slice(part));
            submission.finish(to, control.bytes(true), Some(shape.segment));
            return true;
        }
        let mut cutter = Cutter::new(train.parts, at.packet * usize::from(shape.segment));
        for packet in at.packet..shape.packets() {
            if !submission.has_room(cutter.parts_left()) {
                return false;
            }
            cutter.cut(shape.packet_bytes(packet), |piece| submission.slice(piece));
            submission.finish(to, control.bytes(false), None);
        }
        true
    }

    /// Moves the cursor over messages that the kernel took, and counts them. `gso` must not change on the way: it
    /// says which of them were whole trains.
    fn advance(
        &mut self,
        trains: &[Train<'_>],
        cursor: &mut Cursor,
        mut messages: usize,
        outcome: &mut SendOutcome,
    ) {
        // sendmmsg returns at least 1 or an error; whatever would return 0 must not make this spin.
        outcome.blocked = messages == 0;
        let first = *cursor;
        while messages > 0 {
            let train = &trains[cursor.train];
            let packets = train.shape.packets();
            let taken = if self.is_whole(train, cursor) {
                self.strikes = 0;
                messages -= 1;
                packets
            } else {
                let taken = messages.min(packets - cursor.packet);
                messages -= taken;
                taken
            };
            outcome.datagrams += taken;
            let sizes = (cursor.packet..cursor.packet + taken).map(|packet| train.shape.packet_bytes(packet));
            outcome.bytes += sizes.sum::<usize>();
            cursor.retried = false;
            if std::mem::take(&mut cursor.doubted) {
                hint(outcome, HintKind::SizeDoubted, train, cursor);
            }
            if cursor.suspect && cursor.packet + taken == packets {
                self.strikes += 1;
            }
            pass(train, cursor, taken, outcome);
        }
        if self.gso && self.strikes >= GSO_STRIKES_MAX {
            self.gso_off(&trains[first.train], &first, outcome);
        }
    }

    /// Carries out the policy for the message at the cursor.
    fn refuse(&mut self, trains: &[Train<'_>], cursor: &mut Cursor, errno: Errno, outcome: &mut SendOutcome) {
        let train = &trains[cursor.train];
        let gso = self.is_whole(train, cursor);
        let refused = Refused { gso, ecn: self.mark(train) != 0, retried: cursor.retried };
        match decide(errno, refused) {
            Verdict::Again => {}
            Verdict::AgainOnce(kind) => {
                cursor.retried = true;
                hint(outcome, kind, train, cursor);
            }
            Verdict::AgainToTell(_) => {
                cursor.retried = true;
                cursor.doubted = true;
            }
            Verdict::Blocked => outcome.blocked = true,
            Verdict::Singly(kind) => {
                cursor.doubted = false;
                cursor.retried = false;
                cursor.singly = true;
                cursor.suspect = true;
                hint(outcome, kind, train, cursor);
            }
            Verdict::GsoOff => self.gso_off(train, cursor, outcome),
            Verdict::EcnOff => {
                self.ecn = false;
                cursor.suspect = false;
                hint(outcome, HintKind::EcnOff, train, cursor);
            }
            Verdict::Drop(kind) => {
                let packets = if gso { train.shape.packets() } else { 1 };
                outcome.dropped += packets;
                hint(outcome, kind, train, cursor);
                cursor.suspect = false;
                cursor.retried = false;
                cursor.doubted = false;
                pass(train, cursor, packets, outcome);
            }
        }
    }

    fn gso_off(&mut self, train: &Train<'_>, cursor: &Cursor, outcome: &mut SendOutcome) {
        self.gso = false;
        hint(outcome, HintKind::GsoOff, train, cursor);
        tracing::warn!("The network device or kernel refuses UDP segmentation offload; sending without it.");
    }

    /// Whether the train at that cursor goes as one GSO message. A train of one packet never does.
    fn is_whole(&self, train: &Train<'_>, at: &Cursor) -> bool {
        self.gso && !train.shape.singly && !at.singly && at.packet == 0 && train.shape.packets() > 1
    }

    fn mark(&self, train: &Train<'_>) -> u8 {
        if self.ecn { train.shape.ecn } else { 0 }
    }
}

/// Moves the cursor over `packets` packets of the train at hand, and on to the next train behind the last.
fn pass(train: &Train<'_>, cursor: &mut Cursor, packets: usize, outcome: &mut SendOutcome) {
    cursor.packet += packets;
    if cursor.packet == train.shape.packets() {
        outcome.trains += 1;
        cursor.next_train();
    }
}

fn hint(outcome: &mut SendOutcome, kind: HintKind, train: &Train<'_>, cursor: &Cursor) {
    outcome.hints.push(Hint { kind, train: cursor.train, destination: train.shape.destination });
}
