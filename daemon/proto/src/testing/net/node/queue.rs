//! A bottleneck: packets leave one after another at a rate, those that find the queue full are dropped.

use super::Fate;
use crate::testing::net::spec::QueueSpec;
use crate::testing::net::{LinkStats, Packet};
use crate::time::Time;
use std::collections::VecDeque;

/// A drop-tail queue in bytes, and the wire behind it.
///
/// A packet counts as its UDP payload and the overhead, and stays in the queue until its last bit has left. A packet that
/// finds the queue empty is always taken, even if it is larger than the limit.
#[derive(Debug)]
pub struct Queue {
    spec: QueueSpec,
    overhead_bytes: u64,
    /// When the last packet in the queue has left, in nanoseconds.
    free_at: u64,
    /// What `free_at` was rounded down by, in 1/rate nanoseconds, so that rounding never adds up.
    remainder: u64,
    /// The packets in the queue: when each leaves (nanoseconds), and its bytes.
    held: VecDeque<(u64, u64)>,
    held_bytes: u64,
}

impl Queue {
    /// An empty queue. A rate of 0 counts as 1 bit/s.
    #[must_use]
    pub fn new(spec: QueueSpec, overhead_bytes: u64) -> Queue {
        let spec = QueueSpec { rate_bps: spec.rate_bps.max(1), ..spec };
        Queue { spec, overhead_bytes, free_at: 0, remainder: 0, held: VecDeque::new(), held_bytes: 0 }
    }

    pub(super) fn process(&mut self, at: Time, packet: &mut Packet, stats: &mut LinkStats) -> Fate {
        let now = at.as_nanos();
        self.release(now);
        let bytes = packet.bytes.len() as u64 + self.overhead_bytes;
        if self.held_bytes > 0 && self.held_bytes + bytes > self.spec.limit_bytes {
            return Fate::Drop;
        }
        let ecn_capable = packet.ecn == ECT_0 || packet.ecn == ECT_1;
        if ecn_capable && self.spec.mark_bytes.is_some_and(|mark| self.held_bytes >= mark) {
            packet.ecn = CE;
            stats.marked += 1;
        }
        stats.queued += 1;
        stats.queued_ns += self.free_at.saturating_sub(now);
        let left = self.transmit(now, bytes);
        self.held.push_back((left, bytes));
        self.held_bytes += bytes;
        stats.queue_max_bytes = stats.queue_max_bytes.max(self.held_bytes);
        Fate::Pass(Time::from_nanos(left))
    }

    /// Takes over the rate and limits of `next`; the packets in the queue stay and leave as they would have.
    pub(super) fn succeed_by(&mut self, next: &Queue) {
        self.spec = next.spec;
        self.overhead_bytes = next.overhead_bytes;
        self.remainder = 0;
    }

    /// Forgets the packets that have left.
    fn release(&mut self, now: u64) {
        while let Some(&(left, bytes)) = self.held.front() {
            if left > now {
                break;
            }
            self.held_bytes -= bytes;
            self.held.pop_front();
        }
    }

    /// Puts a packet behind the others: when its last bit leaves.
    fn transmit(&mut self, now: u64, bytes: u64) -> u64 {
        if now > self.free_at {
            self.free_at = now;
            self.remainder = 0;
        }
        // A packet's bits times 10^9 are far below 2^64: 64 KiB make 5 * 10^14.
        let scaled = (bytes * 8 * NANOS_PER_SECOND).saturating_add(self.remainder);
        self.remainder = scaled % self.spec.rate_bps;
        self.free_at = self.free_at.saturating_add(scaled / self.spec.rate_bps);
        self.free_at
    }
}

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: QueueSpec = QueueSpec { rate_bps: 7_000_000, limit_bytes: 10_000, mark_bytes: Some(5_000) };

    fn offer(queue: &mut Queue, at: u64, bytes: usize, ecn: u8, stats: &mut LinkStats) -> (Option<u64>, u8) {
        let mut packet = Packet { bytes: vec![0; bytes], ecn };
        let fate = queue.process(Time::from_nanos(at), &mut packet, stats);
        let left = if let Fate::Pass(left) = fate { Some(left.as_nanos()) } else { None };
        (left, packet.ecn)
    }

    #[test]
    fn each_packet_leaves_after_those_before_it_and_rounding_never_adds_up() {
        let (mut queue, mut stats) =
            (Queue::new(QueueSpec { limit_bytes: u64::MAX, ..SPEC }, 100), LinkStats::default());
        for packet in 1..=7_000 {
            // 1000 bytes at 7 Mbit/s: 8/7 ms.
            let (left, _) = offer(&mut queue, 5, 900, 0, &mut stats);
            assert_eq!(left, Some(5 + packet * 8_000_000 / 7));
        }
        assert_eq!(stats.queue_max_bytes, 7_000_000);
        // Idle since a second: no credit is kept.
        assert_eq!(offer(&mut queue, 9_000_000_000, 600, 0, &mut stats).0, Some(9_000_800_000));
    }

    #[test]
    fn drops_the_tail_and_marks_what_can_be_marked() {
        let (mut queue, mut stats) = (Queue::new(SPEC, 0), LinkStats::default());
        let sent: Vec<_> = (0..12).map(|n| offer(&mut queue, 0, 1000, n % 4, &mut stats)).collect();
        assert_eq!(sent.iter().filter(|(left, _)| left.is_some()).count(), 10);
        assert!(sent[10].0.is_none() && sent[11].0.is_none());
        let ecn: Vec<u8> = sent[..10].iter().map(|&(_, ecn)| ecn).collect();
        assert_eq!(ecn, [0, 1, 2, 3, 0, 3, 3, 3, 0, 3]);
        assert_eq!((stats.marked, stats.queue_max_bytes), (3, 10_000));
        // The first has left at 8/7 ms, and there is room for just one.
        assert!(offer(&mut queue, 1_142_856, 1000, 0, &mut stats).0.is_none());
        assert!(offer(&mut queue, 1_142_857, 1000, 0, &mut stats).0.is_some());
        assert!(offer(&mut queue, 1_142_857, 1, 0, &mut stats).0.is_none());
    }

    #[test]
    fn an_empty_queue_takes_any_packet_and_a_new_rate_keeps_the_old_backlog() {
        let (mut queue, mut stats) = (Queue::new(SPEC, 0), LinkStats::default());
        assert_eq!(offer(&mut queue, 0, 14_000, 0, &mut stats).0, Some(16_000_000));
        queue.succeed_by(&Queue::new(
            QueueSpec { rate_bps: 8_000_000, limit_bytes: 15_000, mark_bytes: None },
            0,
        ));
        assert_eq!(offer(&mut queue, 0, 1000, 0, &mut stats).0, Some(17_000_000));
        assert_eq!(offer(&mut queue, 0, 1, 0, &mut stats).0, None);
    }
}
