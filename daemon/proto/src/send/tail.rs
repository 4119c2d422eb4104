//! Whether the path loses so much that it pays to send something twice, and how much of a file may be.
//!
//! A loss costs a round trip, and at the end of a file nobody has anything else to do meanwhile. So something of the end
//! is sent twice, within a share of the file that the budget of bytes does not notice. Frames that others wait for are sent twice where one in twenty would be lost.

use crate::time::Time;

/// What the last packets say of loss, all lanes together.
#[derive(Debug, Default)]
pub(crate) struct LossShare {
    acked: u32,
    lost: u32,
}

/// Packets after which what was counted counts half.
const PACKETS: u32 = 4096;
/// Of so many packets less than one is lost: nothing is copied.
const CLEAN: u32 = 1000;
/// Of so many packets more than one is lost: control frames are doubled.
const HEAVY: u32 = 20;
/// Packets of which a share can be told.
const PACKETS_MIN: u32 = 64;
/// Copies of one stream at most, and for so many bytes of it one packet's worth: 1 %.
const COPIES: (u64, u64) = (64, 100);

impl LossShare {
    pub(crate) fn on_acked(&mut self, packets: u32) {
        self.acked += packets;
        self.age();
    }

    pub(crate) fn on_lost(&mut self) {
        self.lost += 1;
        self.age();
    }

    fn age(&mut self) {
        if self.acked + self.lost >= PACKETS {
            self.acked /= 2;
            self.lost /= 2;
        }
    }

    /// The share of packets that was lost.
    pub(crate) fn share(&self) -> f64 {
        f64::from(self.lost) / f64::from((self.acked + self.lost).max(1))
    }

    /// Enough is lost for tail copies.
    pub(crate) fn is_lossy(&self) -> bool {
        self.lost > 0 && self.lost.saturating_mul(CLEAN) >= self.acked
    }

    /// Enough is lost for control frames to be sent twice.
    pub(crate) fn is_heavy(&self) -> bool {
        self.acked + self.lost >= PACKETS_MIN && self.lost.saturating_mul(HEAVY) > self.acked + self.lost
    }
}

/// The end of a stream: everything was sent, and what of it is sent twice.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Bytes that may still be copied.
    left: u64,
    /// What was lost of packets sent from then on is copied when it goes out again.
    from: Time,
}

impl Tail {
    /// Of a stream of `len` bytes, cut to `payload` a packet, `under_way` are unanswered, and a share of `loss` of what is
    /// sent gets lost. The budget is of most use where it covers everything: if what is under way is too much, for what
    /// of it is lost; if that is too much as well, by more than would lose a packet, for what of the retransmissions is lost.
    pub(crate) fn new(now: Time, len: u64, under_way: u64, loss: f64, payload: u64) -> Self {
        let left = (COPIES.0 * payload).min(len / COPIES.1).max(payload);
        let uncovered = (under_way as f64 * loss - left as f64).max(0.0);
        let from = if uncovered * loss <= payload as f64 { Time::ZERO } else { now };
        Self { left, from }
    }

    /// Takes so many bytes out of the budget, if they are there.
    pub(crate) fn take(&mut self, bytes: u64) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(self.left);
        left.is_some()
    }

    /// Whether what was lost of a packet that left then goes out twice.
    pub(crate) fn copies_what_left(&self, sent: Time) -> bool {
        sent >= self.from
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_told_from_chance() {
        let mut share = LossShare::default();
        assert!(!share.is_lossy() && !share.is_heavy());
        share.on_lost();
        assert!(share.is_lossy() && !share.is_heavy(), "one packet is no share");
        share.on_acked(2000);
        assert!(!share.is_lossy());
        (0..200).for_each(|_| share.on_lost());
        assert!(share.is_lossy() && share.is_heavy());
        // What was long ago is forgotten.
        (0..20).for_each(|_| share.on_acked(2000));
        assert!(!share.is_lossy() && !share.is_heavy());
    }

    #[test]
    fn the_budget_is_a_hundredth_64_packets_at_most_and_one_at_least() {
        for (len, budget) in [(1, 1424), (1_000_000, 10_000), (1 << 40, 64 * 1424)] {
            let mut tail = Tail::new(Time::ZERO, len, 0, 0.1, 1424);
            assert!(!tail.take(budget + 1));
            assert!(tail.take(budget) && !tail.take(1), "{len}");
        }
    }
}
