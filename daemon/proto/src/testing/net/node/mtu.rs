//! Packets that are too large vanish without a message, as where ICMP is filtered.

use super::Fate;
use crate::testing::net::Packet;
use crate::time::Time;

/// Drops datagrams whose IP packet exceeds the MTU.
#[derive(Debug)]
pub struct Mtu {
    payload_max: u64,
}

impl Mtu {
    /// `mtu` is in bytes of the IP packet, `header_bytes` what IP and UDP take of it
    /// ([`IPV4_UDP_BYTES`](crate::testing::net::IPV4_UDP_BYTES) or
    /// [`IPV6_UDP_BYTES`](crate::testing::net::IPV6_UDP_BYTES)).
    #[must_use]
    pub fn new(mtu: u16, header_bytes: u64) -> Mtu {
        Mtu { payload_max: u64::from(mtu).saturating_sub(header_bytes) }
    }

    pub(super) fn process(&mut self, at: Time, packet: &Packet) -> Fate {
        if packet.bytes.len() as u64 > self.payload_max { Fate::Drop } else { Fate::Pass(at) }
    }
}
