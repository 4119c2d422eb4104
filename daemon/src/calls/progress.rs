//! How far a job is, and how fast it goes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes written at the receiver over time.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Recent moments and the bytes at them.
    recent: VecDeque<(Instant, u64)>,
}

impl Progress {
    /// Takes note of the bytes so far; returns bits a second over the last moments.
    pub(crate) fn rate_bps(&mut self, now: Instant, bytes: u64) -> u64 {
        // A file that begins anew takes its bytes back.
        if self.recent.back().is_some_and(|&(_, last)| last > bytes) {
            self.recent.clear();
        }
        self.recent.push_back((now, bytes));
        while self.recent.len() > 2 && now.duration_since(self.recent[1].0) >= WINDOW {
            self.recent.pop_front();
        }
        match self.recent.front() {
            // What comes in one burst after the first moment says nothing yet.
            Some(&(then, before)) if now.duration_since(then) >= LEAST => {
                ((bytes - before) as f64 * 8.0 / now.duration_since(then).as_secs_f64()) as u64
            }
            _ => 0,
        }
    }
}

const WINDOW: Duration = Duration::from_secs(2);
/// Over less than this no rate is told: it is 0, that is unknown.
const LEAST: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let mut progress = Progress::default();
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        assert_eq!(progress.rate_bps(at(0), 0), 0);
        assert_eq!(progress.rate_bps(at(1), 100), 0, "too early to tell");
        for tenth in 1..=50 {
            progress.rate_bps(at(tenth * 100), tenth * 1000);
        }
        assert_eq!(progress.rate_bps(at(5100), 51_000), 80_000);
        for tenth in 52..=80 {
            progress.rate_bps(at(tenth * 100), 51_000);
        }
        assert_eq!(progress.rate_bps(at(8100), 51_000), 0);
        assert_eq!(progress.rate_bps(at(8200), 10), 0);
        assert!(progress.recent.len() < 40);
    }
}
