//! Which sockets listen for which addresses.
//!
//! Each address of this machine gets a socket of its own: a caller that was given one of several must be answered from
//! that very one, which a socket on all addresses does not promise. An address that is not this machine's is that of
//! something before it which forwards packets, so a socket on all addresses waits for them. All get the same port if
//! that can be had, for a firewall's sake.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use super::addresses::Address;

/// The addresses to listen on. A port that was looked for and found free may be taken by another the moment after;
/// then listening fails, and says so.
pub(super) fn plan(given: &[Address], port: u16) -> Vec<SocketAddr> {
    let mut plan: Vec<SocketAddr> = Vec::new();
    let mut held: Vec<UdpSocket> = Vec::new();
    let mut common = port;
    for ip in given.iter().map(|address| local(address.ip)) {
        // One on all addresses has the others' packets too, and the port.
        if plan
            .iter()
            .any(|known| known.ip() == ip || (known.ip().is_unspecified() && same_family(known.ip(), ip)))
        {
            continue;
        }
        if ip.is_unspecified() {
            plan.retain(|known| !same_family(known.ip(), ip));
            held.retain(|socket| socket.local_addr().is_ok_and(|known| !same_family(known.ip(), ip)));
        }
        let socket = UdpSocket::bind((ip, common)).or_else(|_| UdpSocket::bind((ip, port)));
        let found =
            socket.as_ref().ok().and_then(|socket| socket.local_addr().ok()).map(|found| found.port());
        if port == 0 {
            common = if common == 0 { found.unwrap_or(0) } else { common };
        }
        plan.push(SocketAddr::new(ip, found.unwrap_or(port)));
        held.extend(socket);
    }
    plan
}

/// What the ticket says: each address with the port of the socket that serves it.
pub(super) fn found_at(given: &[Address], listening: &[SocketAddr]) -> Vec<SocketAddr> {
    let port = |ip: IpAddr| {
        let exact = listening.iter().find(|socket| socket.ip() == ip);
        let any =
            || listening.iter().find(|socket| socket.ip().is_unspecified() && same_family(socket.ip(), ip));
        exact.or_else(any).map(SocketAddr::port)
    };
    let address =
        |address: &Address| Some(SocketAddr::new(address.ip, address.port.or_else(|| port(address.ip))?));
    given.iter().filter_map(address).collect()
}

/// The address itself if it is this machine's, else all of its family.
fn local(ip: IpAddr) -> IpAddr {
    match (UdpSocket::bind((ip, 0)), ip) {
        (Ok(_), _) => ip,
        (Err(_), IpAddr::V4(_)) => Ipv4Addr::UNSPECIFIED.into(),
        (Err(_), IpAddr::V6(_)) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(texts: &[&str]) -> Vec<Address> {
        texts.iter().map(|text| Address::parse(text).unwrap()).collect()
    }

    #[test]
    fn each_address_has_a_socket_and_all_have_one_port() {
        let given = addresses(&["127.0.0.1", "127.0.0.2", "127.0.0.1:9"]);
        let planned = plan(&given, 0);
        assert_eq!(planned.iter().map(SocketAddr::ip).collect::<Vec<_>>(), [given[0].ip, given[1].ip]);
        assert_eq!(planned[0].port(), planned[1].port());
        let port = planned[0].port();
        let found = found_at(&given, &planned);
        let expected = [("127.0.0.1", port), ("127.0.0.2", port), ("127.0.0.1", 9)];
        assert_eq!(found, expected.map(|(ip, port)| SocketAddr::new(ip.parse().unwrap(), port)));
    }

    #[test]
    fn an_address_of_somebody_else_needs_a_socket_for_all() {
        let given = addresses(&["127.0.0.1", "192.0.2.254:4000", "192.0.2.253"]);
        let planned = plan(&given, 0);
        assert_eq!(planned.len(), 1);
        assert!(planned[0].ip().is_unspecified());
        let port = planned[0].port();
        let ports: Vec<u16> = found_at(&given, &planned).iter().map(SocketAddr::port).collect();
        assert_eq!(ports, [port, 4000, port]);
    }

    #[test]
    fn a_port_that_was_given_is_kept() {
        let taken = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert_eq!(plan(&addresses(&["127.0.0.1"]), port), [taken.local_addr().unwrap()]);
    }
}
