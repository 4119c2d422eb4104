//! Constant delay.

use super::Fate;
use crate::testing::net::nanos;
use crate::time::Time;
use core::time::Duration;

/// Every packet takes the same time.
#[derive(Debug)]
pub struct Delay {
    nanos: u64,
}

impl Delay {
    /// A one-way delay.
    #[must_use]
    pub fn new(delay: Duration) -> Delay {
        Delay { nanos: nanos(delay) }
    }

    pub(super) fn process(&mut self, at: Time) -> Fate {
        Fate::Pass(at.after_nanos(self.nanos))
    }
}
