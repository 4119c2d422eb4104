//! Packets are let through together at regular moments, as where a radio link waits for its turn.

use super::Fate;
use crate::testing::net::nanos;
use crate::time::Time;
use core::time::Duration;

/// Holds packets until the next multiple of an interval.
#[derive(Debug)]
pub struct Aggregate {
    interval: u64,
}

impl Aggregate {
    /// Lets through once an `interval` (0 counts as a nanosecond).
    #[must_use]
    pub fn new(interval: Duration) -> Aggregate {
        Aggregate { interval: nanos(interval).max(1) }
    }

    pub(super) fn process(&mut self, at: Time) -> Fate {
        Fate::Pass(Time::from_nanos(at.as_nanos().div_ceil(self.interval).saturating_mul(self.interval)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_wait_for_the_next_turn() {
        let mut node = Aggregate::new(Duration::from_nanos(10));
        for (at, left) in [(0, 0), (1, 10), (10, 10), (11, 20)] {
            assert_eq!(node.process(Time::from_nanos(at)), Fate::Pass(Time::from_nanos(left)));
        }
    }
}
