//! Random delay of each packet by itself, so that packets overtake each other.

use super::Fate;
use crate::testing::net::{SimRng, nanos};
use crate::time::Time;
use core::time::Duration;

/// Extra delay of each packet, uniform and independent.
#[derive(Debug)]
pub struct Jitter {
    nanos_max: u64,
}

impl Jitter {
    /// From 0 to `max`.
    #[must_use]
    pub fn new(max: Duration) -> Jitter {
        Jitter { nanos_max: nanos(max) }
    }

    pub(super) fn process(&mut self, at: Time, rng: &mut SimRng) -> Fate {
        Fate::Pass(at.after_nanos(rng.below(self.nanos_max.saturating_add(1))))
    }
}
