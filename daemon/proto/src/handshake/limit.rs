//! How many answers may be sent that cost their asker nothing.

use crate::Time;

/// A bucket of tokens for one kind of answer of one acceptor: so many a second, and as many saved up at most.
pub(super) struct ReplyLimiter {
    /// Nanoseconds from one token to the next.
    token: u64,
    burst: u64,
    /// What has been saved up, in nanoseconds, when it was last looked at.
    saved: u64,
    looked_at: Time,
}

impl ReplyLimiter {
    /// A full bucket.
    pub(super) fn new(a_second: u64, now: Time) -> Self {
        let token = 1_000_000_000 / a_second;
        Self { token, burst: a_second, saved: a_second * token, looked_at: now }
    }

    /// Takes a token, if there is one.
    pub(super) fn take(&mut self, now: Time) -> bool {
        let has_one = self.has_one(now);
        self.saved -= if has_one { self.token } else { 0 };
        has_one
    }

    /// Whether there is a token; it stays.
    pub(super) fn has_one(&mut self, now: Time) -> bool {
        let passed = now.as_nanos().saturating_sub(self.looked_at.as_nanos());
        self.saved = self.saved.saturating_add(passed).min(self.burst * self.token);
        self.looked_at = now;
        self.saved >= self.token
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let start = 5_000_000_000;
        const BURST: u64 = 100;
        let mut limiter = ReplyLimiter::new(BURST, Time::from_nanos(start));
        let granted = (0..1000).filter(|_| limiter.take(Time::from_nanos(start))).count();
        assert_eq!(granted as u64, BURST);
        // A second of 1000 attempts gives a hundred more.
        let granted = (1..=1000).filter(|i| limiter.take(Time::from_nanos(start + i * 1_000_000))).count();
        assert_eq!(granted, 100);
        // An hour of silence gives no more than a burst.
        let later = Time::from_nanos(start + 3_600_000_000_000);
        assert_eq!((0..1000).filter(|_| limiter.take(later)).count() as u64, BURST);
    }
}
