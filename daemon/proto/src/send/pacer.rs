//! When the next train may leave: a schedule, not a bucket.
//!
//! Each train books its own time on the wire at the rate in force. A sender that comes late may catch up
//! on at most [`Pacer::SLACK`] of bookings, so that timers need not be finer than that.

use crate::time::Time;

/// The schedule of one session's trains.
#[derive(Debug)]
pub(crate) struct Pacer {
    next: Time,
}

impl Pacer {
    /// How far behind its schedule a sender may be and still catch up.
    const SLACK: u64 = 1_000_000;
    /// Longest train, as time on the wire (policers and shallow queues downstream).
    const TRAIN: f64 = 0.001;

    pub(crate) fn new(now: Time) -> Self {
        Self { next: now }
    }

    /// When the next train may leave.
    pub(crate) fn next(&self) -> Time {
        self.next
    }

    /// Books `bytes` at `bps` (bits a second).
    pub(crate) fn on_sent(&mut self, now: Time, bytes: u64, bps: f64) {
        let start = self.next.max(Time::from_nanos(now.as_nanos().saturating_sub(Self::SLACK)));
        self.next = start.after_nanos((bytes as f64 * 8e9 / bps.max(1.0)) as u64);
    }

    /// The rate went from `old` to `new`: what is booked and not yet past takes its time at the new one.
    pub(crate) fn on_rate_changed(&mut self, now: Time, old: f64, new: f64) {
        let booked = self.next.nanos_since(now) as f64;
        self.next = self.next.min(now).after_nanos((booked * old.max(1.0) / new.max(1.0)) as u64);
    }

    /// Bytes of the longest train at `bps`.
    pub(crate) fn train_bytes(bps: f64) -> usize {
        (bps * Self::TRAIN / 8.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_sender_catches_up_one_millisecond_only() {
        let mut pacer = Pacer::new(Time::ZERO);
        let now = Time::from_nanos(1_000_000_000);
        for _ in 0..9 {
            pacer.on_sent(now, 12_500, 1e9);
            assert!(pacer.next() <= now);
        }
        pacer.on_sent(now, 12_500, 1e9);
        pacer.on_sent(now, 12_500, 1e9);
        assert_eq!(pacer.next(), now.after_nanos(100_000));
    }
}
