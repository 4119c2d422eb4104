//! Some packets arrive twice.

use super::Fate;
use crate::testing::net::{SimRng, nanos};
use crate::time::Time;
use core::time::Duration;

/// Copies packets. Original and copy meet the nodes behind this one independently.
#[derive(Debug)]
pub struct Duplicate {
    probability: f64,
    later_max: u64,
}

impl Duplicate {
    /// Copies each packet with this probability; the copy leaves from 0 to `later_max` after its original.
    #[must_use]
    pub fn new(probability: f64, later_max: Duration) -> Duplicate {
        Duplicate { probability, later_max: nanos(later_max) }
    }

    pub(super) fn process(&mut self, at: Time, rng: &mut SimRng) -> Fate {
        if rng.chance(self.probability) {
            Fate::Twice(at.after_nanos(rng.below(self.later_max.saturating_add(1))))
        } else {
            Fate::Pass(at)
        }
    }
}
