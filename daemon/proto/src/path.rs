//! Where a lane's packets go, and how that changes (PROTOCOL.md 5.6).
//!
//! The initiator of a session may move: a NAT forgets its port, a network is left for another. The responder follows,
//! and it follows only proof. What comes from a new address makes that address a *candidate*, if it is sealed and newer
//! than all before it; the candidate gets PATH_CHALLENGEs and nothing else, never more than three times what came from
//! it; everything else goes on to the old address until a PATH_RESPONSE shows that whoever is at the new one holds the
//! keys and gets our packets. Copies of packets with a made-up source move nothing.

use core::net::SocketAddr;

use crate::time::Time;

/// Bytes that may go to an address which nobody has proven, for each one that came from it.
const AMPLIFICATION: u64 = 3;
/// Bytes of a datagram with a challenge: header, frame header, token, tag.
const CHALLENGE: u64 = 16 + 4 + 8 + 16;
/// Challenges that are not answered come at twice the distance each time, up to this.
const GAP_MAX: u64 = 4_000_000_000;

/// Address of one lane at the peer.
#[derive(Debug)]
pub(crate) struct Path {
    /// `None` on a socket that is connected: the kernel knows it, and nothing comes from elsewhere.
    address: Option<SocketAddr>,
    candidate: Option<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    address: SocketAddr,
    token: u64,
    /// Bytes that came from there in packets that opened, and bytes that were sent there.
    received: u64,
    sent: u64,
    /// When it is challenged next, and how long it is waited for after that, nanoseconds.
    next: Time,
    gap: u64,
}

/// An address that was proven.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Moved {
    pub(crate) to: SocketAddr,
    /// Another host, not only another port of the same: the way there is another one.
    pub(crate) other_host: bool,
}

impl Path {
    pub(crate) fn new(address: Option<SocketAddr>) -> Self {
        Self { address, candidate: None }
    }

    /// Where packets go.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Another address may be the right one.
    pub(crate) fn is_doubted(&self) -> bool {
        self.candidate.is_some()
    }

    /// A sealed packet of `bytes` came from an address and opened. `newest`: its number is above all before it.
    /// `token` is used, and unpredictable, should a new address have to be challenged; `gap` is how long an answer is
    /// waited for.
    pub(crate) fn on_opened(
        &mut self,
        now: Time,
        from: SocketAddr,
        (bytes, newest): (u64, bool),
        gap: u64,
        token: impl FnOnce() -> u64,
    ) {
        match (self.address, &mut self.candidate) {
            (None, _) => {}
            // It is where it was: what came from elsewhere in between was a copy, or the way back was found.
            (Some(address), candidate) if address == from && newest => *candidate = None,
            (_, Some(candidate)) if candidate.address == from => candidate.received += bytes,
            (_, candidate) if newest => {
                let (address, token) = (from, token());
                *candidate = Some(Candidate { address, token, received: bytes, sent: 0, next: now, gap });
            }
            _ => {}
        }
    }

    /// When the candidate is to be challenged, if there is one to which more may be sent.
    pub(crate) fn challenge_at(&self) -> Option<Time> {
        let candidate = self.candidate.as_ref()?;
        (candidate.sent + CHALLENGE <= AMPLIFICATION * candidate.received).then_some(candidate.next)
    }

    /// The challenge that is due, and where it goes. It counts as sent.
    pub(crate) fn take_challenge(&mut self, now: Time) -> Option<(SocketAddr, u64)> {
        self.challenge_at().filter(|&at| at <= now)?;
        let candidate = self.candidate.as_mut()?;
        candidate.sent += CHALLENGE;
        candidate.next = now.after_nanos(candidate.gap);
        candidate.gap = (2 * candidate.gap).min(GAP_MAX);
        Some((candidate.address, candidate.token))
    }

    /// The answer to a challenge: if it is the candidate's, the lane has moved.
    pub(crate) fn on_response(&mut self, token: u64) -> Option<Moved> {
        let proven = self.candidate.take_if(|candidate| candidate.token == token)?;
        let other_host = self.address.is_none_or(|old| old.ip() != proven.address.ip());
        self.address = Some(proven.address);
        Some(Moved { to: proven.address, other_host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn at(ms: u64) -> Time {
        Time::from_nanos(ms * MS)
    }

    fn address(host: u8, port: u16) -> SocketAddr {
        ([10, 0, 0, host], port).into()
    }

    /// A lane at host 1, port 1, and a packet from elsewhere.
    fn heard_from(from: SocketAddr, bytes: u64, newest: bool) -> Path {
        let mut path = Path::new(Some(address(1, 1)));
        path.on_opened(at(0), from, (bytes, newest), 10 * MS, || 7);
        path
    }

    #[test]
    fn an_answer_moves_it_and_nothing_before() {
        for (to, other_host) in [(address(1, 2), false), (address(2, 1), true)] {
            let mut path = heard_from(to, 100, true);
            assert_eq!(path.address(), Some(address(1, 1)));
            assert_eq!(path.take_challenge(at(0)), Some((to, 7)));
            assert_eq!(path.on_response(8), None);
            assert_eq!(path.on_response(7), Some(Moved { to, other_host }));
            assert_eq!((path.address(), path.challenge_at()), (Some(to), None));
            assert_eq!(path.on_response(7), None, "once");
        }
    }

    #[test]
    fn packets_that_are_overtaken_move_nothing() {
        assert_eq!(heard_from(address(2, 1), 1000, false).challenge_at(), None);
    }

    #[test]
    fn a_newer_packet_from_the_old_address_ends_the_doubt() {
        let mut path = heard_from(address(2, 1), 1000, true);
        path.on_opened(at(1), address(1, 1), (1000, false), MS, || 9);
        assert!(path.challenge_at().is_some(), "an older one does not");
        path.on_opened(at(1), address(1, 1), (1000, true), MS, || 9);
        assert_eq!(path.challenge_at(), None);
        assert_eq!(path.on_response(7), None);
    }

    #[test]
    fn the_newest_of_several_addresses_is_asked() {
        let mut path = heard_from(address(2, 1), 1000, true);
        path.on_opened(at(1), address(3, 1), (1000, true), MS, || 9);
        assert_eq!(path.take_challenge(at(1)), Some((address(3, 1), 9)));
        assert_eq!(path.on_response(7), None, "the answer of another place");
    }

    #[test]
    fn no_more_than_three_times_what_came_goes_out() {
        let to = address(2, 1);
        let mut path = heard_from(to, 60, true);
        let sent = (0..100_000).filter(|&ms| path.take_challenge(at(ms)).is_some()).count() as u64;
        assert_eq!(sent * CHALLENGE, 3 * 60 / CHALLENGE * CHALLENGE);
        // What comes makes room for more, at the distance that was reached.
        path.on_opened(at(100_000), to, (60, true), MS, || 8);
        assert_eq!(path.take_challenge(at(100_000)), Some((to, 7)));
        assert_eq!(path.take_challenge(at(100_010)), None, "not at once");
    }

    #[test]
    fn a_connected_socket_has_no_addresses() {
        let mut path = Path::new(None);
        path.on_opened(at(0), address(2, 1), (1000, true), MS, || 7);
        assert_eq!((path.address(), path.challenge_at()), (None, None));
    }
}
