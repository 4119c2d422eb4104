//! A token bucket that drops what exceeds it and delays nothing, as providers use to enforce a rate.

use super::Fate;
use crate::testing::net::Packet;
use crate::time::Time;

/// Tokens come at a rate up to a burst; a packet that finds too few is dropped and takes none.
#[derive(Debug)]
pub struct Policer {
    rate_bps: u64,
    overhead_bytes: u64,
    full: u64,
    /// Tokens, of which a byte takes [`TOKENS_PER_BYTE`] and a nanosecond brings `rate_bps`: nothing is ever rounded.
    tokens: u64,
    refilled: Time,
}

impl Policer {
    /// A full bucket. A packet counts as its UDP payload and the overhead.
    #[must_use]
    pub fn new(rate_bps: u64, burst_bytes: u64, overhead_bytes: u64) -> Policer {
        let full = burst_bytes.saturating_mul(TOKENS_PER_BYTE);
        Policer { rate_bps, overhead_bytes, full, tokens: full, refilled: Time::ZERO }
    }

    pub(super) fn process(&mut self, at: Time, packet: &Packet) -> Fate {
        let waited = at.as_nanos().saturating_sub(self.refilled.as_nanos());
        self.refilled = at;
        self.tokens = self.tokens.saturating_add(waited.saturating_mul(self.rate_bps)).min(self.full);
        let cost = (packet.bytes.len() as u64 + self.overhead_bytes).saturating_mul(TOKENS_PER_BYTE);
        match self.tokens.checked_sub(cost) {
            Some(left) => {
                self.tokens = left;
                Fate::Pass(at)
            }
            None => Fate::Drop,
        }
    }
}

/// Bits of a byte, times nanoseconds of a second.
const TOKENS_PER_BYTE: u64 = 8_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_the_burst_and_then_the_rate() {
        let mut policer = Policer::new(80_000_000, 50_000, 0);
        let packet = Packet { bytes: vec![0; 1000], ecn: 0 };
        let at_once =
            (0..100).filter(|_| policer.process(Time::ZERO, &packet) == Fate::Pass(Time::ZERO)).count();
        assert_eq!(at_once, 50);
        // 80 Mbit/s are a packet every 100 us; four times as many are offered for a second.
        let mut passed = 0;
        for offered in 1..=40_000 {
            let at = Time::from_nanos(offered * 25_000);
            passed += u32::from(policer.process(at, &packet) == Fate::Pass(at));
        }
        assert_eq!(passed, 10_000);
    }
}
