//! Where others can find this machine: the addresses of its interfaces, without those that lead nowhere.
//!
//! Left out are link-local ones (they need an interface of the caller's, which a ticket cannot know), loopback unless
//! there is nothing else, and the inner networks of containers and virtual machines, which exist on many machines with
//! the same numbers and would only cost their callers time.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use crate::ticket::ADDRESSES_MAX;

/// Where this machine is to be found.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Address {
    /// The address.
    pub ip: IpAddr,
    /// The port, where it is not the one that is listened on: something between forwards it.
    pub port: Option<u16>,
}

impl Address {
    /// Reads `192.0.2.7`, `192.0.2.7:4000`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:4000`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = match (text.parse::<SocketAddr>(), bare.unwrap_or(text).parse::<IpAddr>()) {
            (Ok(whole), _) => Self { ip: whole.ip(), port: Some(whole.port()).filter(|&port| port > 0) },
            (_, Ok(ip)) => Self::of(ip),
            _ => return None,
        };
        (!address.ip.is_unspecified() && !address.ip.is_multicast()).then_some(address)
    }

    fn of(ip: IpAddr) -> Self {
        Self { ip, port: None }
    }
}

/// The addresses of this machine, in the order in which a caller should try them.
///
/// # Errors
/// Those of getifaddrs(3).
pub fn own() -> io::Result<Vec<Address>> {
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in getifaddrs()? {
        let running = InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING;
        if !interface.flags.contains(running) || is_inner(&interface.interface_name) {
            continue;
        }
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        found.extend(v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip()))));
    }
    Ok(choose(found).into_iter().map(Address::of).collect())
}

/// Those that are of use to others, the likeliest first.
fn choose(mut found: Vec<IpAddr>) -> Vec<IpAddr> {
    found.retain(|ip| !is_link_local(ip) && !ip.is_unspecified());
    found.sort_by_key(order);
    found.dedup();
    if found.iter().any(|ip| !ip.is_loopback()) {
        found.retain(|ip| !ip.is_loopback());
    }
    found.truncate(ADDRESSES_MAX);
    found
}

/// Global before private, and of each kind IPv4 first: where both work the older is the one that more paths carry.
fn order(ip: &IpAddr) -> (bool, bool, IpAddr) {
    (is_private(ip), ip.is_ipv6(), *ip)
}

fn is_link_local(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Known only in a network of its own (RFC 1918, 6598, 4193).
fn is_private(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            ip.is_private() || (u32::from(*ip) ^ u32::from(Ipv4Addr::new(100, 64, 0, 0))) >> 22 == 0
        }
        IpAddr::V6(ip) => ip.is_unique_local() || *ip == Ipv6Addr::LOCALHOST,
    }
}

/// Whether an interface leads into this machine: a network of containers or virtual machines.
fn is_inner(name: &str) -> bool {
    INNER.iter().any(|prefix| name.starts_with(prefix)) || is_bridge_of_guests(Path::new(SYSFS), name)
}

/// A bridge none of whose ports is hardware connects only guests; one with a network card is the machine's own way out.
fn is_bridge_of_guests(sysfs: &Path, name: &str) -> bool {
    let Ok(ports) = std::fs::read_dir(sysfs.join(name).join("brif")) else { return false };
    let guests = |port: &str| GUESTS.iter().any(|prefix| port.starts_with(prefix));
    !ports.flatten().any(|port| port.file_name().to_str().is_some_and(|port| !guests(port)))
}

const SYSFS: &str = "/sys/class/net";

/// What container engines and hypervisors call their interfaces.
const INNER: [&str; 11] =
    ["docker", "br-", "veth", "virbr", "vnet", "cni", "flannel", "cali", "podman", "lxcbr", "lxdbr"];

/// What they plug into bridges.
const GUESTS: [&str; 4] = ["veth", "vnet", "tap", "cali"];

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_likeliest_come_first_and_useless_ones_not_at_all() {
        let all = ips(&[
            "127.0.0.1",
            "fd00::2",
            "fe80::1",
            "192.168.1.5",
            "169.254.3.3",
            "2001:db8::7",
            "203.0.113.9",
            "100.64.1.1",
            "::1",
            "192.168.1.5",
        ]);
        let expected = ips(&["203.0.113.9", "2001:db8::7", "100.64.1.1", "192.168.1.5", "fd00::2"]);
        assert_eq!(choose(all), expected);
        assert_eq!(choose(ips(&["::1", "127.0.0.1", "fe80::1"])), ips(&["127.0.0.1", "::1"]));
        let many: Vec<IpAddr> = (0..20).map(|n| IpAddr::V4(Ipv4Addr::new(192, 0, 2, n + 1))).collect();
        assert_eq!(choose(many).len(), ADDRESSES_MAX);
        assert!(!own().unwrap().is_empty());
    }

    #[test]
    fn networks_of_guests_are_recognised() {
        for name in ["docker0", "br-12ab", "veth9", "virbr0", "lxdbr0"] {
            assert!(is_inner(name), "{name}");
        }
        for name in ["eth0", "enp3s0", "bond0", "wg0", "tailscale0"] {
            assert!(!is_inner(name), "{name}");
        }
        let sysfs = tempfile::tempdir().unwrap();
        for port in ["br0/brif/eno1", "br0/brif/vnet3", "br1/brif/vnet4", "br2/brif", "eno1"] {
            std::fs::create_dir_all(sysfs.path().join(port)).unwrap();
        }
        let guests = |name| is_bridge_of_guests(sysfs.path(), name);
        assert!(!guests("br0") && guests("br1") && guests("br2") && !guests("eno1"));
    }

    #[test]
    fn addresses_as_people_write_them() {
        let of = |text| Address::parse(text).map(|address| (address.ip.to_string(), address.port));
        for (text, ip, port) in [
            ("192.0.2.7", "192.0.2.7", None),
            ("192.0.2.7:4000", "192.0.2.7", Some(4000)),
            ("2001:db8::1", "2001:db8::1", None),
            ("[2001:db8::1]", "2001:db8::1", None),
            ("[2001:db8::1]:4000", "2001:db8::1", Some(4000)),
        ] {
            assert_eq!(of(text), Some((ip.to_owned(), port)), "{text}");
        }
        for text in ["", "bob", "192.0.2.7:x", "0.0.0.0", "224.0.0.1", "[::]:5"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
