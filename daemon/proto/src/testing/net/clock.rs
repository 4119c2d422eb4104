//! Virtual time: it moves only when the simulation says so, and never backwards.

use crate::time::Time;
use core::time::Duration;

/// The clock of one simulation.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    now: Time,
}

impl SimClock {
    /// A clock that starts at `start`; [`SimClock::default`] starts at zero.
    #[must_use]
    pub fn starting_at(start: Time) -> SimClock {
        SimClock { now: start }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Lets `by` pass.
    pub fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
    }

    /// Moves to `to`, or stays where it is if that has passed: a deadline which is overdue is due now.
    pub fn advance_to(&mut self, to: Time) {
        self.now = self.now.max(to);
    }

    /// Moves to the earliest of these times (arrivals, deadlines). False, and no move, when there is none: nothing will
    /// ever happen again.
    pub fn advance_to_first(&mut self, times: impl IntoIterator<Item = Option<Time>>) -> bool {
        let first = times.into_iter().flatten().min();
        if let Some(first) = first {
            self.advance_to(first);
        }
        first.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_to_the_first_and_never_back() {
        let mut clock = SimClock::starting_at(Time::from_nanos(10));
        assert!(clock.advance_to_first([None, Some(Time::from_nanos(30)), Some(Time::from_nanos(20))]));
        assert_eq!(clock.now(), Time::from_nanos(20));
        assert!(clock.advance_to_first([Some(Time::ZERO)]));
        assert_eq!(clock.now(), Time::from_nanos(20));
        assert!(!clock.advance_to_first([None, None]));
        clock.advance(Duration::from_nanos(5));
        assert_eq!(clock.now(), Time::from_nanos(25));
    }
}
