//! Handshakes that others begin with this engine, on its listening sockets.
//!
//! An answered HELLO proves nothing: it may be a recording. So it costs a few hundred bytes until the first packet
//! for its lane opens, and has no effect before: keys are derived, but there is no session.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use udpx_proto::handshake::{Accept, Established, FirstPacket, Incoming, is_hello};
use udpx_proto::session::RatePolicy;
use udpx_proto::{Code, Random, Session, Time};

use super::Engine;
use super::association::Association;
use super::driver::{Driver, Peer, Place};
use super::tickets::Door;

/// A handshake that we answered.
pub(crate) struct HalfOpen {
    pub(super) established: Established,
    pub(super) wire: usize,
    from: SocketAddr,
    pub(super) began: Time,
    /// Derived with the first packet.
    proof: Option<Box<FirstPacket>>,
}

impl Engine {
    /// A datagram that may be a HELLO, on a listening socket.
    pub(crate) fn on_hello(&mut self, wire: usize, from: SocketAddr, datagram: &[u8], now: Time) {
        if !is_hello(datagram) || self.acceptor.is_none() {
            return;
        }
        // Most of those who knock when many do are not let in: for them nothing is set aside.
        let random = &mut self.random;
        let Some(lane) = self.spare_lane.or_else(|| self.lanes.open(None, random.number() as u32)) else {
            return;
        };
        self.spare_lane = Some(lane);
        let incoming = Incoming { from, datagram, lane };
        let Self { acceptor, random, config, tickets, answer, .. } = self;
        let Some(acceptor) = acceptor else { return };
        let door = Door { peers: &config.peers, tickets };
        let accept = acceptor.handle_hello(now, incoming, &door, random, answer);
        if let Some(wire) = self.wires[wire].as_mut()
            && !answer.is_empty()
        {
            wire.datagram(Some(from), answer, u32::MAX);
        }
        match accept {
            Accept::Established(established) => {
                self.limit_half_open();
                let index = self.free_index();
                self.lanes.assign(lane, index);
                self.spare_lane = None;
                let half = HalfOpen { established: *established, wire, from, began: now, proof: None };
                self.associations[index as usize] = Some(Association::HalfOpen(Box::new(half)));
            }
            Accept::Repeated | Accept::Cookie | Accept::Versions => {}
            Accept::Drop(reason) => tracing::debug!(?reason, %from, "a HELLO was dropped"),
        }
    }

    /// A packet for a half-open session: it becomes a session if the packet opens, and only then is it worth the
    /// memory. Whoever saw the lane's id can send one that does not.
    pub(crate) fn promote(&mut self, index: u32, datagram: &[u8], now: Time) {
        if let Some(Association::HalfOpen(half)) = &mut self.associations[index as usize] {
            let HalfOpen { established, proof, .. } = half.as_mut();
            let proof = proof.get_or_insert_with(|| Box::new(FirstPacket::new(established, now)));
            if !proof.proves(now, datagram) {
                return;
            }
        }
        let Some(Association::HalfOpen(half)) = self.associations[index as usize].take() else { return };
        let HalfOpen { established, wire, from, began, .. } = *half;
        let peer_key = established.peer;
        let (peer, guest) = match &established.ticket {
            Some(ticket) => match self.tickets.enter(ticket, peer_key, SystemTime::now()) {
                Ok((access, guest)) => (Peer::Known(access), Some(guest)),
                Err(text) => (Peer::Barred { code: Code::Refused, text }, None),
            },
            None => match self.peers().find(&peer_key) {
                Some(access) => (Peer::Known(access.clone()), None),
                None => (Peer::Unknown { text: self.peers().stranger(&peer_key) }, None),
            },
        };
        let (peer, guest) = match peer {
            Peer::Known(_) if self.is_full() => (self.surplus(), None),
            peer => (peer, guest),
        };
        let plain = matches!(&peer, Peer::Known(access) if access.plain) && established.peer_params.plain_ok;
        let mut config =
            self.session_config(&established, from, RatePolicy::Adaptive, plain, self.params.mtu_max);
        config.peer_address = Some(from);
        self.random.fill(&mut config.path_secret.0);
        config.initial_rtt =
            now.saturating_since(began).clamp(Duration::from_micros(50), Duration::from_secs(1));
        if peer.is_stranger() {
            self.limit_strangers();
            // Nothing of theirs is to be staged, not even what comes with the packet that proves who they are.
            config.staging_budget = 0;
        }
        let born = self.tags.last();
        let place = Place { key: self.next_key(), wire, address: from, born };
        let session = Session::new(config, established, now);
        let mut driver = Driver::new(session, &place, peer, peer_key, now);
        driver.guest = guest;
        self.associations[index as usize] = Some(Association::Open(Box::new(driver)));
        self.rates_stirred = true;
    }

    /// Whether no further session is wanted: `limits.sessions`.
    fn is_full(&self) -> bool {
        let counts = |association: &&Association| match association {
            Association::Open(driver) => !driver.peer.is_stranger() && driver.session.is_open(),
            Association::Opening(_) | Association::HalfOpen(_) => false,
        };
        self.associations.iter().flatten().filter(counts).count() >= self.config.bounds.sessions
    }

    /// Who comes when there are enough.
    fn surplus(&self) -> Peer {
        let text = format!(
            "This machine has as many sessions open as it allows, {}. On it, raise sessions in [limits] of its udpxd.toml; \
             or try again when others have ended.",
            self.config.bounds.sessions
        );
        Peer::Barred { code: Code::TryAgain, text }
    }

    /// Makes room if too many sessions with unknown peers wait for their end: the oldest goes.
    fn limit_strangers(&mut self) {
        let strangers =
            self.associations.iter().enumerate().filter_map(|(index, association)| match association {
                Some(Association::Open(driver)) if driver.peer.is_stranger() => {
                    Some((driver.key, index as u32))
                }
                _ => None,
            });
        let (count, oldest) = strangers.fold((0, None), |(count, oldest), this| {
            (count + 1, Some(oldest.map_or(this, |oldest: (u64, u32)| oldest.min(this))))
        });
        if let (STRANGERS_MAX.., Some((_, index))) = (count, oldest) {
            self.remove(index);
        }
    }

    /// Makes room if too many handshakes hang: the oldest goes.
    fn limit_half_open(&mut self) {
        let half_open =
            self.associations.iter().enumerate().filter_map(|(index, association)| match association {
                Some(Association::HalfOpen(half)) => Some((half.began, index as u32)),
                _ => None,
            });
        let (count, oldest) = half_open.fold((0, None), |(count, oldest), this| {
            (count + 1, Some(oldest.map_or(this, |oldest: (Time, u32)| oldest.min(this))))
        });
        if let (HALF_OPEN_MAX.., Some((_, index))) = (count, oldest) {
            self.remove(index);
        }
    }
}

/// How long an answered handshake may wait for its first packet.
pub(super) const HALF_OPEN: Duration = Duration::from_secs(10);
/// Answered handshakes that may wait at once; each is a few hundred bytes.
const HALF_OPEN_MAX: usize = 1024;
/// Sessions at once with keys that are not configured here, or tickets that are of no use; each only waits until its refusal has been told. With the
/// half-open ones they leave most of the table of lanes to the peers.
const STRANGERS_MAX: usize = 256;
