//! What is wrong with a path.

use std::time::Duration;

/// The faults of one direction of a path. The default has none.
///
/// Each datagram meets them in this order: loss, corruption, duplication, the link (rate and queue), delay with
/// jitter, reordering.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Impairments {
    /// Share of the datagrams that vanish, 0 to 1, independently of each other.
    pub loss: f64,
    /// Share of the survivors in which one random bit of the UDP payload is flipped. The relay sends them with a
    /// correct UDP checksum, so only the receiver's own checks can notice.
    pub corrupt: f64,
    /// Share of the survivors that arrive twice.
    pub duplicate: f64,
    /// Share of the survivors that are held back for another millisecond, so that those behind overtake them.
    pub reorder: f64,
    /// One-way delay.
    pub delay: Duration,
    /// The delay wanders between `delay` and `delay + jitter`, as behind other traffic's queue: datagrams bunch
    /// up but do not overtake each other.
    pub jitter: Duration,
    /// Rate of the link, bits of IP packets a second; `None` has no limit.
    pub rate_bps: Option<u64>,
    /// What may wait in front of that link, bytes of IP packets; more is dropped at the tail. `None`: a
    /// round trip's worth, and never less than 10 ms of the rate or 64 KiB.
    pub queue_bytes: Option<u64>,
}

impl Impairments {
    /// The queue in front of the link, in bytes.
    #[must_use]
    pub fn queue_limit_bytes(&self) -> u64 {
        let Some(rate_bps) = self.rate_bps else { return u64::MAX };
        let round_trip = (self.delay * 2 + self.jitter).max(QUEUE_TIME_MIN);
        let product = u128::from(rate_bps) * round_trip.as_nanos() / (8 * NANOS);
        self.queue_bytes.unwrap_or_else(|| u64::try_from(product).unwrap_or(u64::MAX).max(QUEUE_BYTES_MIN))
    }
}

const QUEUE_TIME_MIN: Duration = Duration::from_millis(10);
const QUEUE_BYTES_MIN: u64 = 64 << 10;
const NANOS: u128 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_holds_a_round_trip() {
        let link = Impairments {
            rate_bps: Some(1_000_000_000),
            delay: Duration::from_millis(20),
            ..Impairments::default()
        };
        assert_eq!(link.queue_limit_bytes(), 5_000_000);
        assert_eq!(Impairments { queue_bytes: Some(9), ..link.clone() }.queue_limit_bytes(), 9);
        assert_eq!(Impairments { rate_bps: Some(1000), ..link }.queue_limit_bytes(), QUEUE_BYTES_MIN);
        assert_eq!(Impairments::default().queue_limit_bytes(), u64::MAX);
    }
}
