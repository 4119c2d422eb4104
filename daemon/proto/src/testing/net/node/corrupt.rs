//! A bit of some packets is flipped, anywhere in the UDP payload.

use super::{Context, Fate};
use crate::testing::net::Packet;
use crate::time::Time;

/// Flips one random bit of a packet. It is delivered all the same: the UDP checksum that would catch most of these is
/// not simulated.
#[derive(Debug)]
pub struct Corrupt {
    probability: f64,
}

impl Corrupt {
    /// Damages each packet with this probability; an empty one has no bit to flip.
    #[must_use]
    pub fn new(probability: f64) -> Corrupt {
        Corrupt { probability }
    }

    pub(super) fn process(&mut self, at: Time, packet: &mut Packet, context: &mut Context<'_>) -> Fate {
        if context.rng.chance(self.probability) {
            let bit = context.rng.below(packet.bytes.len() as u64 * 8);
            // Below eight times a length in memory, so the byte's index fits.
            if let Some(byte) = packet.bytes.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
                context.stats.corrupted += 1;
            }
        }
        Fate::Pass(at)
    }
}
