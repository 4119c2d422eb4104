//! Socket addresses as the kernel lays them out, without `unsafe`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use bytemuck::{Pod, Zeroable};

/// Room for a `sockaddr_in` or a `sockaddr_in6`: the fields of the larger one, of which the smaller one is a
/// prefix once `flow_or_v4` is read as its address.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct RawAddr {
    family: u16,
    /// Network byte order.
    port: u16,
    flow_or_v4: u32,
    v6: [u8; 16],
    scope: u32,
}

impl RawAddr {
    /// Bytes of the address that the kernel is to read.
    pub(crate) fn size(&self) -> usize {
        if self.family == FAMILY_V4 { V4_BYTES } else { size_of::<Self>() }
    }

    /// The address in its first `size` bytes, or `None` if the kernel wrote something else.
    pub(crate) fn parse(&self, size: usize) -> Option<SocketAddr> {
        let port = u16::from_be(self.port);
        match self.family {
            FAMILY_V4 if size >= V4_BYTES => {
                Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(u32::from_be(self.flow_or_v4))), port))
            }
            // The flow label differs per packet on some stacks and would make one peer look like many.
            FAMILY_V6 if size >= size_of::<Self>() => {
                Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(self.v6), port, 0, self.scope)))
            }
            _ => None,
        }
    }
}

impl From<SocketAddr> for RawAddr {
    fn from(address: SocketAddr) -> Self {
        match address {
            SocketAddr::V4(v4) => Self {
                family: FAMILY_V4,
                port: v4.port().to_be(),
                flow_or_v4: u32::from(*v4.ip()).to_be(),
                ..Self::default()
            },
            SocketAddr::V6(v6) => Self {
                family: FAMILY_V6,
                port: v6.port().to_be(),
                flow_or_v4: v6.flowinfo(),
                v6: v6.ip().octets(),
                scope: v6.scope_id(),
            },
        }
    }
}

const FAMILY_V4: u16 = libc::AF_INET as u16;
const FAMILY_V6: u16 = libc::AF_INET6 as u16;
const V4_BYTES: usize = size_of::<libc::sockaddr_in>();

const _: () = assert!(size_of::<RawAddr>() == size_of::<libc::sockaddr_in6>());
const _: () = assert!(align_of::<RawAddr>() >= align_of::<libc::sockaddr_in6>());
const _: () = assert!(std::mem::offset_of!(libc::sockaddr_in, sin_port) == 2);
const _: () = assert!(std::mem::offset_of!(libc::sockaddr_in, sin_addr) == 4);
const _: () = assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_addr) == 8);
const _: () = assert!(std::mem::offset_of!(libc::sockaddr_in6, sin6_scope_id) == 24);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_the_round_trip() {
        for text in ["192.0.2.7:4433", "[2001:db8::1]:1", "[fe80::1%3]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            let raw = RawAddr::from(address);
            assert_eq!(raw.parse(raw.size()), Some(address), "{text}");
            assert_eq!(raw.parse(8), None);
        }
        assert_eq!(RawAddr::default().parse(28), None);
    }
}
