//! Independent loss.

use super::Fate;
use crate::testing::net::SimRng;
use crate::time::Time;

/// Every packet is lost with the same probability, whatever happens to others.
#[derive(Debug)]
pub struct Loss {
    probability: f64,
}

impl Loss {
    /// Loss with this probability.
    #[must_use]
    pub fn new(probability: f64) -> Loss {
        Loss { probability }
    }

    pub(super) fn process(&mut self, at: Time, rng: &mut SimRng) -> Fate {
        if rng.chance(self.probability) { Fate::Drop } else { Fate::Pass(at) }
    }
}
