//! A NAT in front of the initiator, which forgets its mappings when it is told to.

use core::net::SocketAddr;
use std::collections::HashMap;

use super::net::Side;
use crate::LaneId;
use crate::wire::header::Header;

/// Addresses by which B sees the lanes of A.
#[derive(Debug)]
pub struct Nat {
    /// The present address of each lane. What goes to another one is lost.
    outside: Vec<SocketAddr>,
    /// From where each packet of A came, by the lane id and number that it carries: late ones keep their old address.
    sources: HashMap<(LaneId, u64), SocketAddr>,
    /// And where each one of B went.
    targets: HashMap<(LaneId, u64), SocketAddr>,
    /// Packets of B that came to addresses which were not in force.
    pub astray: u64,
    /// Bytes of B's packets to each address.
    pub sent_to: HashMap<SocketAddr, u64>,
}

impl Nat {
    /// With the first addresses of the lanes.
    #[must_use]
    pub fn new(outside: Vec<SocketAddr>) -> Self {
        Self { outside, sources: HashMap::new(), targets: HashMap::new(), astray: 0, sent_to: HashMap::new() }
    }

    /// From now on `lane` has another address, and only that one.
    ///
    /// # Panics
    /// If there is no such lane.
    pub fn rebind(&mut self, lane: usize, to: SocketAddr) {
        self.outside[lane] = to;
    }

    /// A packet leaves one end.
    pub(super) fn on_sent(&mut self, side: Side, lane: usize, packet: &[u8], to: Option<SocketAddr>) {
        let Ok((header, _)) = Header::parse(packet) else { return };
        let name = (header.lane(), header.number());
        match (side, to) {
            (Side::A, _) => drop(self.sources.insert(name, self.outside[lane])),
            (Side::B, Some(to)) => {
                *self.sent_to.entry(to).or_default() += packet.len() as u64;
                self.targets.insert(name, to);
            }
            (Side::B, None) => {}
        }
    }

    /// Whether a packet of B gets in. Any lane's address will do: B may not know yet that a lane has one of its own.
    pub(super) fn lets_in(&mut self, packet: &[u8]) -> bool {
        let Ok((header, _)) = Header::parse(packet) else { return true };
        let known = self.targets.get(&(header.lane(), header.number()));
        let known = known.is_none_or(|to| self.outside.contains(to));
        self.astray += u64::from(!known);
        known
    }

    /// From where a packet of A came.
    pub(super) fn source_of(&self, packet: &[u8]) -> Option<SocketAddr> {
        let (header, _) = Header::parse(packet).ok()?;
        self.sources.get(&(header.lane(), header.number())).copied()
    }
}
