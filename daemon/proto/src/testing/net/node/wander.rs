//! Delay that drifts, as when other traffic's queues fill and drain, and keeps order.

use super::Fate;
use crate::testing::net::{SimRng, nanos};
use crate::time::Time;
use core::time::Duration;

/// Extra delay that moves in straight lines between random values.
#[derive(Debug)]
pub struct Wander {
    nanos_max: u64,
    /// Where the present line starts: time and extra delay.
    start: (u64, u64),
    /// The extra delay at its end.
    target: u64,
    /// When the last packet left.
    last: Time,
}

impl Wander {
    /// Extra delay from 0 to `max`, zero at the start.
    #[must_use]
    pub fn new(max: Duration) -> Wander {
        Wander { nanos_max: nanos(max), start: (0, 0), target: 0, last: Time::ZERO }
    }

    pub(super) fn process(&mut self, at: Time, rng: &mut SimRng) -> Fate {
        let now = at.as_nanos();
        let period = self.nanos_max.saturating_mul(PERIOD_PER_RANGE).max(1);
        let periods = now.saturating_sub(self.start.0) / period;
        if periods > 0 {
            // After a pause the line that would have ended now started at a value that nobody saw.
            let from = if periods == 1 { self.target } else { self.draw(rng) };
            self.start = (self.start.0 + periods * period, from);
            self.target = self.draw(rng);
        }
        let done = i128::from(now.saturating_sub(self.start.0));
        let rise = i128::from(self.target) - i128::from(self.start.1);
        let extra = i128::from(self.start.1) + rise * done / i128::from(period);
        // The value is between the line's ends, so it fits.
        let left = at.after_nanos(u64::try_from(extra).unwrap_or(0));
        self.last = self.last.max(left);
        Fate::Pass(self.last)
    }

    fn draw(&self, rng: &mut SimRng) -> u64 {
        rng.below(self.nanos_max.saturating_add(1))
    }
}

/// Length of a line in units of the whole range: the delay changes by at most a quarter of the time that passes, so
/// packets are neither reordered nor squeezed into bursts.
const PERIOD_PER_RANGE: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_its_range_and_keeps_order() {
        let mut rng = SimRng::new(1);
        let mut wander = Wander::new(Duration::from_millis(10));
        let (mut last, mut low, mut high) = (Time::ZERO, u64::MAX, 0);
        for packet in 0..100_000u64 {
            let at = Time::from_nanos(packet * 100_000);
            let Fate::Pass(left) = wander.process(at, &mut rng) else { panic!("dropped") };
            assert!(left >= last);
            let extra = left.as_nanos() - at.as_nanos();
            (last, low, high) = (left, low.min(extra), high.max(extra));
        }
        assert!(low < 500_000 && (9_500_000..=10_000_000).contains(&high), "{low} {high}");
    }
}
