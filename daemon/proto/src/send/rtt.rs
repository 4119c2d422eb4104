//! Round-trip time of one lane (RFC 9002 section 5).

use core::time::Duration;

/// Smoothed RTT, its variation and the latest sample. All in nanoseconds.
#[derive(Clone, Debug)]
pub(crate) struct Rtt {
    latest: u64,
    smoothed: u64,
    variation: u64,
    min: u64,
    sampled: bool,
}

/// Margin of a probe time-out for the peer's delayed SACK and both ends' scheduling.
const PTO_MARGIN: u64 = 25_000_000;

impl Rtt {
    /// With a guess until the first sample.
    pub(crate) fn new(initial: Duration) -> Self {
        let initial = initial.as_nanos() as u64;
        Self { latest: initial, smoothed: initial, variation: initial / 2, min: initial, sampled: false }
    }

    /// A sample from a packet that was sent `elapsed` ago, of which the peer held the answer back for
    /// `delay`. The peer's word is not taken below the least RTT seen.
    pub(crate) fn update(&mut self, elapsed: u64, delay: u64) {
        if !self.sampled {
            let sample = elapsed.max(1);
            *self =
                Self { latest: sample, smoothed: sample, variation: sample / 2, min: sample, sampled: true };
            return;
        }
        self.min = self.min.min(elapsed.max(1));
        let sample = elapsed.saturating_sub(delay).max(self.min);
        self.latest = sample;
        self.variation = (3 * self.variation + self.smoothed.abs_diff(sample)) / 4;
        self.smoothed = (7 * self.smoothed + sample) / 8;
    }

    pub(crate) fn latest(&self) -> u64 {
        self.latest
    }

    pub(crate) fn smoothed(&self) -> u64 {
        self.smoothed
    }

    pub(crate) fn min(&self) -> u64 {
        self.min
    }

    pub(crate) fn variation(&self) -> u64 {
        self.variation
    }

    pub(crate) fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// Silence after which a probe is due.
    pub(crate) fn pto(&self) -> u64 {
        self.smoothed + 4 * self.variation + PTO_MARGIN
    }

    /// The same for what the peer answers at once or not at all, with the granularity of RFC 9002, 6.1.2.
    pub(crate) fn pto_without_delay(&self) -> u64 {
        (self.smoothed + 4 * self.variation).max(GRANULARITY)
    }
}

/// Below this the clocks of machines and their scheduling say more than the path does, nanoseconds.
const GRANULARITY: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peers_delay_never_takes_a_sample_below_the_minimum() {
        let mut rtt = Rtt::new(Duration::from_millis(100));
        rtt.update(10_000, 9_000);
        assert_eq!((rtt.min(), rtt.smoothed()), (10_000, 10_000));
        rtt.update(30_000, 20_000);
        assert_eq!(rtt.latest(), 10_000);
        rtt.update(12_000, 11_000);
        assert_eq!(rtt.latest(), 10_000);
        rtt.update(25_000, 5_000);
        assert_eq!(rtt.latest(), 20_000);
    }
}
