//! The REPLYs given lately, so that a HELLO which comes twice gets the same answer twice.
//!
//! Without it each retransmission would cost curve arithmetic and make one more session. The table is
//! bounded in number and time; an entry pushed out early only means that its HELLO, should it come
//! again, is answered anew.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use super::wire::REPLY_LEN;
use crate::Time;

/// How long a REPLY is kept.
const KEPT: Duration = Duration::from_secs(10);

/// REPLYs kept at most.
const ENTRIES_MAX: usize = 4096;

/// A hash of what identifies a HELLO.
pub(super) type HelloHash = [u8; 16];

/// See the module.
#[derive(Default)]
pub(super) struct HalfOpenTable {
    replies: BTreeMap<HelloHash, [u8; REPLY_LEN]>,
    /// The same, oldest first, with the time until which each is kept.
    order: VecDeque<(Time, HelloHash)>,
}

impl HalfOpenTable {
    /// HELLOs answered in the last [`KEPT`].
    pub(super) fn len(&self) -> usize {
        self.replies.len()
    }

    /// Forgets what is old.
    pub(super) fn expire(&mut self, now: Time) {
        while self.order.front().is_some_and(|&(until, _)| now >= until) {
            self.drop_oldest();
        }
    }

    /// The REPLY that this HELLO got.
    pub(super) fn get(&self, hello: &HelloHash) -> Option<&[u8; REPLY_LEN]> {
        self.replies.get(hello)
    }

    /// Keeps the REPLY to a HELLO that [`get`](Self::get) did not know.
    pub(super) fn insert(&mut self, now: Time, hello: HelloHash, reply: [u8; REPLY_LEN]) {
        if self.order.len() >= ENTRIES_MAX {
            self.drop_oldest();
        }
        self.order.push_back((now + KEPT, hello));
        self.replies.insert(hello, reply);
        debug_assert_eq!(self.order.len(), self.replies.len());
    }

    fn drop_oldest(&mut self) {
        if let Some((_, hello)) = self.order.pop_front() {
            self.replies.remove(&hello);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_bounded_in_number_and_time() {
        let mut table = HalfOpenTable::default();
        let hash = |i: usize| (i as u128).to_le_bytes();
        let start = Time::from_nanos(0);
        for i in 0..ENTRIES_MAX + 10 {
            table.insert(start, hash(i), [i as u8; REPLY_LEN]);
        }
        assert_eq!(table.len(), ENTRIES_MAX);
        assert!(table.get(&hash(9)).is_none());
        assert_eq!(table.get(&hash(10)), Some(&[10; REPLY_LEN]));
        table.insert(Time::from_nanos(1), hash(9), [9; REPLY_LEN]);
        table.expire(start + KEPT);
        assert_eq!(table.len(), 1);
        assert_eq!(table.get(&hash(9)), Some(&[9; REPLY_LEN]));
    }
}
