//! Everything vanishes for a while.

use super::Fate;
use crate::time::Time;

/// Drops whatever reaches the node in one of its intervals; what passed it before goes on.
#[derive(Debug)]
pub struct Blackout {
    intervals: Vec<(Time, Time)>,
}

impl Blackout {
    /// Intervals `[start, end)` in any order.
    #[must_use]
    pub fn new(intervals: Vec<(Time, Time)>) -> Blackout {
        Blackout { intervals }
    }

    pub(super) fn process(&mut self, at: Time) -> Fate {
        let dark = self.intervals.iter().any(|&(start, end)| start <= at && at < end);
        if dark { Fate::Drop } else { Fate::Pass(at) }
    }
}
