//! Scripted drops: a closure sees every packet and decides.

use super::Fate;
use crate::testing::net::Packet;
use crate::time::Time;
use core::fmt;

/// What a filter wants done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Pass,
    /// Lose it.
    Drop,
}

/// Sees a UDP payload and the time when it comes by.
type Decide = dyn FnMut(&[u8], Time) -> Verdict;

/// "Drop acknowledgements only", "drop the first hundred CLOSEs", "drop one stream for ever".
pub struct Filter {
    decide: Box<Decide>,
}

impl Filter {
    /// A filter that asks `decide` about the UDP payload of each packet and the time when it comes by.
    #[must_use]
    pub fn new(decide: impl FnMut(&[u8], Time) -> Verdict + 'static) -> Filter {
        Filter { decide: Box::new(decide) }
    }

    pub(super) fn process(&mut self, at: Time, packet: &Packet) -> Fate {
        match (self.decide)(&packet.bytes, at) {
            Verdict::Pass => Fate::Pass(at),
            Verdict::Drop => Fate::Drop,
        }
    }
}

impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Filter")
    }
}
