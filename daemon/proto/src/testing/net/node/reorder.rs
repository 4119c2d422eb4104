//! Some packets are held back, and those behind them overtake.

use super::Fate;
use crate::testing::net::{SimRng, nanos};
use crate::time::Time;
use core::time::Duration;

/// A share of the packets is delayed by the same extra time.
#[derive(Debug)]
pub struct Reorder {
    share: f64,
    extra: u64,
}

impl Reorder {
    /// Holds each packet back for `extra` with probability `share`.
    #[must_use]
    pub fn new(share: f64, extra: Duration) -> Reorder {
        Reorder { share, extra: nanos(extra) }
    }

    pub(super) fn process(&mut self, at: Time, rng: &mut SimRng) -> Fate {
        Fate::Pass(if rng.chance(self.share) { at.after_nanos(self.extra) } else { at })
    }
}
