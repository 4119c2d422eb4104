//! For tests and benches: a simulated network, and two sessions driven over it in virtual time.

mod acquainted;
pub mod crowd;
mod hosts;
mod memory;
mod nat;
pub mod net;
mod pair;
mod pattern;
pub mod steps;

pub use acquainted::acquainted;
pub use hosts::{DOUBT, Host, Hosts};
pub use memory::Memory;
pub use nat::Nat;
use pair::drain_events;
pub use pair::{Delivered, End, Pair, PairConfig, Tap};
pub use pattern::{Pattern, PatternSource, VerifyingSink};

use crate::Random;
use net::SimRng;

/// Seeded randomness for handshakes.
#[derive(Debug)]
pub struct SimRandom(pub SimRng);

impl Random for SimRandom {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.0.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}
