//! When the next train may leave: a schedule, not a bucket.
//!
//! Each train books its own time on the wire at the rate in force. A sender that comes late may catch up
//! on at most [`Pacer::SLACK`] of bookings, so that timers need not be finer than that.
//!
//! Waking up costs more than sending. Where a train is much shorter than a millisecond, because it can hold no more, the
//! sender sleeps until two are due; and however short trains are, until a tenth of a millisecond's worth is.

use crate::time::Time;

/// The schedule of one session's trains.
#[derive(Debug)]
pub(crate) struct Pacer {
    next: Time,
    /// When the last train left.
    last: Time,
    /// How much longer than until `next` to sleep.
    patience: u64,
}

impl Pacer {
    /// How far behind its schedule a sender may be and still catch up.
    const SLACK: u64 = 1_000_000;
    /// Longest train, as time on the wire (policers and shallow queues downstream).
    const TRAIN: f64 = 0.001;
    /// Wake-ups are not closer than this: 10,000 a second at most.
    const WAKE_GAP: u64 = 100_000;

    pub(crate) fn new(now: Time) -> Self {
        Self { next: now, last: Time::ZERO, patience: 0 }
    }

    /// When the next train is due.
    pub(crate) fn next(&self) -> Time {
        self.next
    }

    /// When it may leave: at once if it is due and another one leaves at this very moment, else when its patience is
    /// over, so that whatever wakes the sender before then does not break what leaves together.
    pub(crate) fn may_leave(&self, now: Time) -> Time {
        let patience = if self.next <= now && self.last == now { 0 } else { self.patience };
        self.next.after_nanos(patience)
    }

    /// From now on trains have so many bytes and leave at `bps`; see [`patience`](Self::patience).
    pub(crate) fn set_trains(&mut self, bytes: usize, bps: f64, pairs: bool) {
        self.patience = Self::patience(bytes, bps, pairs);
    }

    /// Books `bytes` at `bps` (bits a second).
    pub(crate) fn on_sent(&mut self, now: Time, bytes: u64, bps: f64) {
        self.last = now;
        let start = self.next.max(Time::from_nanos(now.as_nanos().saturating_sub(Self::SLACK)));
        self.next = start.after_nanos((bytes as f64 * 8e9 / bps.max(1.0)) as u64);
    }

    /// The rate went from `old` to `new`: what is booked and not yet past takes its time at the new one.
    pub(crate) fn on_rate_changed(&mut self, now: Time, old: f64, new: f64) {
        let booked = self.next.nanos_since(now) as f64;
        self.next = self.next.min(now).after_nanos((booked * old.max(1.0) / new.max(1.0)) as u64);
    }

    /// Nanoseconds to sleep beyond [`next`](Self::next), for trains of `bytes` at `bps`, so that several leave at once.
    /// `pairs`: two of them may, if they are within a millisecond together, or nearly.
    fn patience(bytes: usize, bps: f64, pairs: bool) -> u64 {
        let train = (bytes as f64 * 8e9 / bps.max(1.0)) as u64;
        if pairs && train < UNPACED {
            return 0;
        }
        let together = if pairs && train <= PAIR { 2 } else { 1 };
        (train * (together - 1)).max(Self::WAKE_GAP.saturating_sub(train)).min(Self::SLACK)
    }

    /// Bytes of the longest train at `bps`.
    pub(crate) fn train_bytes(bps: f64) -> usize {
        (bps * Self::TRAIN / 8.0) as usize
    }
}

/// Trains that are at most so long on the wire leave in pairs: a full one of 65,000 bytes at 1 Gbit/s is.
const PAIR: u64 = 525_000;
/// Full trains that are shorter on the wire than this keep a core busy: whoever sends them does not sleep in between.
const UNPACED: u64 = 50_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wake_ups_are_rare_and_bursts_short() {
        for bps in [1e6, 100e6, 500e6, 1e9, 5e9, 10e9, 40e9] {
            for limit in [1472, 5 * 1472, 44 * 1472] {
                let bytes = Pacer::train_bytes(bps).clamp(1472, limit);
                let pairs = limit > 60_000;
                let train = bytes as f64 * 8.0 / bps;
                let sleep = train + Pacer::patience(bytes, bps, pairs) as f64 / 1e9;
                let busy = pairs && train < 0.000_05;
                assert!(sleep >= 0.000_099 || busy, "{bps} bit/s, {bytes} bytes: {sleep} s between wake-ups");
                // Nothing is held back by more than a train of a millisecond is.
                let late = sleep - train;
                assert!(late <= 0.000_525, "{bps} bit/s, {bytes} bytes: {late} s late");
                assert!(pairs || late <= 0.000_1, "{bps} bit/s, {bytes} bytes: {late} s late");
            }
        }
        let at = |bps| Pacer::patience(44 * 1472, bps, true);
        assert_eq!(at(100e6), 0);
        assert_eq!(at(40e9), 0);
        assert!(at(1e9) > 500_000, "a thousand wake-ups a second instead of two");
    }

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
