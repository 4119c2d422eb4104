//! Packets waiting in a link for their time.
//!
//! Most links keep order, so most packets are appended to a queue that is sorted already; only what overtakes goes
//! through a heap. Packets of equal time leave in the order in which they came.

use super::packet::Packet;
use crate::time::Time;
use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

/// A packet that waits until `at`, then enters the node `stage` (or is delivered, past the last one).
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) at: Time,
    sequence: u64,
    pub(crate) stage: usize,
    pub(crate) packet: Packet,
}

/// The packets on their way in one link.
#[derive(Debug, Default)]
pub(crate) struct Transit {
    /// Sorted by (at, sequence).
    in_order: VecDeque<Waiting>,
    /// Packets that came after one with a later time.
    overtaking: BinaryHeap<Waiting>,
    sequence_next: u64,
}

impl Transit {
    pub(crate) fn insert(&mut self, at: Time, stage: usize, packet: Packet) {
        let waiting = Waiting { at, sequence: self.sequence_next, stage, packet };
        self.sequence_next += 1;
        if self.in_order.back().is_none_or(|last| last.at <= at) {
            self.in_order.push_back(waiting);
        } else {
            self.overtaking.push(waiting);
        }
    }

    /// When the first packet is due.
    pub(crate) fn first(&self) -> Option<Time> {
        let front = self.in_order.front().map(|waiting| waiting.at);
        let top = self.overtaking.peek().map(|waiting| waiting.at);
        front.into_iter().chain(top).min()
    }

    /// The first packet, if it is due.
    pub(crate) fn take_due(&mut self, now: Time) -> Option<Waiting> {
        // "Greater" is earlier: see `Ord` below.
        let from_heap = match (self.in_order.front(), self.overtaking.peek()) {
            (Some(front), Some(top)) => top > front,
            (None, Some(_)) => true,
            (_, None) => false,
        };
        if from_heap {
            self.overtaking.peek().filter(|top| top.at <= now)?;
            self.overtaking.pop()
        } else {
            self.in_order.front().filter(|front| front.at <= now)?;
            self.in_order.pop_front()
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.in_order.len() + self.overtaking.len()
    }
}

/// Reversed, as `BinaryHeap` yields the greatest first.
impl Ord for Waiting {
    fn cmp(&self, other: &Waiting) -> Ordering {
        (other.at, other.sequence).cmp(&(self.at, self.sequence))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Waiting) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Waiting) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::net::SimRng;

    #[test]
    fn leaves_by_time_and_then_by_sequence() {
        let mut transit = Transit::default();
        let mut rng = SimRng::new(9);
        for _ in 0..10_000 {
            transit.insert(Time::from_nanos(rng.below(1000)), 0, Packet::default());
        }
        assert!(transit.take_due(Time::ZERO).is_none_or(|waiting| waiting.at == Time::ZERO));
        let mut last = (Time::ZERO, 0);
        let mut left = transit.len();
        while let Some(first) = transit.first() {
            let waiting = transit.take_due(first).unwrap();
            assert_eq!(waiting.at, first);
            assert!((waiting.at, waiting.sequence) >= last);
            last = (waiting.at, waiting.sequence);
            left -= 1;
        }
        assert_eq!(left, 0);
    }
}
