//! The loop of a transfer, taken apart: a sender and a receiver against each other in virtual time, each step of the loop
//! handed to whoever measures it, by a clock or by counting instructions.

use core::time::Duration;
use std::collections::VecDeque;

use super::net::{LaneSpec, SimRng};
use super::{Memory, Pair, PairConfig};
use crate::keys::{LaneKeys, TAG_LEN};
use crate::range_tracker::RangeTracker;
use crate::wire::bulk::BulkPrefix;
use crate::wire::header::{Header, Kind};
use crate::{
    Arrival, BLOCK, LaneId, OpenStream, Plan, PlanKind, RatePolicy, RequestId, Session, SessionConfig,
    StreamId, Time,
};

/// Payload of a BULK packet in IPv6 packets of 1500 bytes, rounded down to a multiple of 64.
pub const PAYLOAD: usize = 1408;

/// A sealed BULK packet of [`PAYLOAD`] bytes.
#[must_use]
pub fn bulk_packet(keys: &LaneKeys, number: u64) -> Vec<u8> {
    let header = Header::new(Kind::Bulk, 0, LaneId(1), number);
    let prefix = BulkPrefix::new(header, StreamId(1), number * PAYLOAD as u64, PAYLOAD as u16);
    let mut packet = bytemuck::bytes_of(&prefix).to_vec();
    packet.resize(BulkPrefix::SIZE + PAYLOAD + TAG_LEN, 0);
    let (aad, sealed) = packet.split_at_mut(BulkPrefix::SIZE);
    keys.seal(number, aad, &[7; PAYLOAD], sealed);
    packet
}

/// A step of the loop.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Stream scheduler, cutting, sent ring, pacer: `poll_transmit` of a train.
    Plan,
    /// SACKs taken, losses found: all that the sender does with the receiver's packets.
    Acknowledge,
    /// `handle_datagram` and `end_of_batch`: the ranges of a train put in their places, null cipher included.
    Receive,
    /// SACKs and credit written and sealed.
    Report,
}

/// Runs a step, and does with it whatever it is for.
pub type Around<'a> = dyn FnMut(Step, &mut dyn FnMut()) + 'a;

/// A transfer at 20 Gbit/s over 1 ms, with the null cipher, in virtual time.
pub struct Transfer {
    a: Session,
    b: Session,
    now: Time,
    memory: Memory,
    plan: Plan,
    train: Vec<u8>,
    there: VecDeque<(Time, Vec<u8>, usize)>,
    back: VecDeque<(Time, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    rng: SimRng,
    loss: f64,
}

const ONE_WAY: Duration = Duration::from_micros(500);
/// What a train of 44 packets takes at 20 Gbit/s.
const TICK: Duration = Duration::from_micros(26);

impl Transfer {
    /// Over a path that loses this share of the packets; `streams` of different weights that never end.
    ///
    /// # Panics
    /// If a session cannot have so many streams.
    #[must_use]
    pub fn new(loss: f64, streams: u16) -> Self {
        let session = SessionConfig {
            ip_mtu_max: 1500,
            ip_headers: 28,
            policy: RatePolicy::Fixed { bps: 20e9 },
            staging_budget: 1 << 30,
            ..SessionConfig::default()
        };
        let lanes = vec![LaneSpec::default()];
        let config = PairConfig { lanes, seed: 1, null_cipher: true, session, write_delay: Duration::ZERO };
        let Pair { a, b, now, .. } = Pair::new(&config);
        let mut transfer = Self {
            a: a.session,
            b: b.session,
            now,
            memory: Memory::of(7),
            plan: Plan::new(),
            train: vec![0; 1 << 16],
            there: VecDeque::new(),
            back: VecDeque::new(),
            spare: Vec::new(),
            rng: SimRng::new(3),
            loss,
        };
        for request in 1..=u64::from(streams) {
            let weight = 1 + request as u16 % 4;
            let open = OpenStream { request: RequestId(request), start: 0, end: Some(1 << 50), weight };
            let stream = transfer.a.open_stream(open).expect("few streams");
            transfer.a.extend_stream(stream, 1 << 50);
        }
        transfer
    }

    /// Moves `packets` packets of bulk data or some more, each step through `around`; how many they were.
    ///
    /// # Panics
    /// If a session refuses what the other one sent.
    pub fn run(&mut self, packets: u64, around: &mut Around<'_>) -> u64 {
        let mut moved = 0;
        while moved < packets {
            let Self { a, b, now: clock, memory, plan, train, there, back, spare, rng, loss } = &mut *self;
            let now = *clock;
            loop {
                let mut more = false;
                around(Step::Plan, &mut || more = a.poll_transmit(now, plan));
                if !more {
                    break;
                }
                let len = a.seal(plan, memory, train).expect("it is in memory");
                moved += if plan.kind() == PlanKind::Bulk { plan.count() as u64 } else { 0 };
                let mut buffer = spare.pop().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(&train[..len]);
                there.push_back((now + ONE_WAY, buffer, plan.segment()));
            }
            while there.front().is_some_and(|&(at, ..)| at <= now) {
                let (_, buffer, segment) = there.pop_front().expect("just seen");
                let lost: u64 = buffer
                    .chunks(segment)
                    .enumerate()
                    .fold(0, |lost, (index, _)| lost | u64::from(rng.chance(*loss)) << index);
                around(Step::Receive, &mut || {
                    for (index, packet) in buffer.chunks(segment).enumerate() {
                        if lost >> index & 1 == 0 {
                            b.handle_datagram(now, &Arrival { ecn: 2, from: None }, packet, memory)
                                .expect("a good one");
                        }
                    }
                    b.end_of_batch(now);
                    b.bytes_written(core::mem::take(&mut memory.unwritten));
                });
                spare.push(buffer);
            }
            loop {
                let (mut more, mut len) = (false, 0);
                around(Step::Report, &mut || {
                    more = b.poll_transmit(now, plan);
                    len = if more { b.seal(plan, memory, train).expect("it is in memory") } else { 0 };
                });
                if !more {
                    break;
                }
                let mut buffer = spare.pop().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(&train[..len]);
                back.push_back((now + ONE_WAY, buffer));
            }
            while back.front().is_some_and(|&(at, _)| at <= now) {
                let (_, buffer) = back.pop_front().expect("just seen");
                around(Step::Acknowledge, &mut || {
                    a.handle_datagram(now, &Arrival { ecn: 2, from: None }, &buffer, memory)
                        .expect("a good one");
                    a.end_of_batch(now);
                });
                spare.push(buffer);
            }
            for session in [a, b] {
                if session.next_deadline(now).is_some_and(|at| at <= now) {
                    session.handle_timeout(now);
                }
                while session.poll_event().is_some() {}
            }
            *clock = now + TICK;
        }
        moved
    }
}

/// What a receiver does with the ranges of `blocks` blocks: every eighth packet of a block comes after all the others.
/// Returns the bytes that are settled.
#[must_use]
pub fn settle_ranges(blocks: u64) -> u64 {
    const LATE: u64 = 8;
    let mut tracker = RangeTracker::new(0, blocks * BLOCK);
    let pieces = BLOCK.div_ceil(PAYLOAD as u64);
    for block in 0..blocks {
        let mut settle = |piece: u64| {
            let offset = piece * PAYLOAD as u64;
            let len = (PAYLOAD as u64).min(BLOCK - offset);
            tracker.insert(block * BLOCK + offset, len);
        };
        (0..pieces).filter(|piece| piece % LATE != 0).for_each(&mut settle);
        (0..pieces).filter(|piece| piece % LATE == 0).for_each(&mut settle);
    }
    tracker.settled()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_the_blocks_is_settled() {
        assert_eq!(settle_ranges(3), 3 * BLOCK);
    }

    #[test]
    fn each_step_is_taken_and_a_run_repeats_exactly() {
        let run = || {
            let mut steps = [0; 4];
            let moved = Transfer::new(0.01, 4).run(5000, &mut |step, f| {
                steps[step as usize] += 1;
                f();
            });
            (moved, steps)
        };
        let (moved, steps) = run();
        assert!(moved >= 5000 && steps.iter().all(|&count| count > 0), "{moved} {steps:?}");
        assert_eq!((moved, steps), run());
    }
}
