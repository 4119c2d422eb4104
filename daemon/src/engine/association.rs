//! What a lane id can belong to: a handshake that we began, one that was begun with us, or a session.

use std::net::SocketAddr;
use std::time::Duration;

use mio::Token;
use udpx_proto::handshake::{
    Accept, Established, Incoming, Initiator, InitiatorConfig, Params, Progress, is_hello,
};
use udpx_proto::session::RatePolicy;
use udpx_proto::{Code, LaneId, Session, SessionConfig, Time};
use udpx_udp::Socket;

use super::driver::{Driver, Peer, Place};
use super::report::{Connect, Report, SessionKey};
use super::wire::Wire;
use super::{Engine, FIRST_WIRE};
use crate::transfer::Failure;

/// What a lane id belongs to.
pub(crate) enum Association {
    /// We knock.
    Opening(Box<Opening>),
    /// Somebody knocked and was answered; nothing may happen before a packet of theirs opens.
    HalfOpen(Box<HalfOpen>),
    /// A session.
    Open(Box<Driver>),
}

/// A handshake that we began.
pub(crate) struct Opening {
    initiator: Initiator,
    connect: Connect,
    wire: usize,
    began: Time,
    /// When the HELLO went out last, for a first guess of the round trip.
    sent: Time,
    /// Since when we are told that nobody listens there.
    refused_since: Option<Time>,
    /// A HELLO is to be sent.
    due: bool,
    /// The peer's versions, if somebody said that ours is not among them.
    versions: Option<Vec<u8>>,
    /// The peer answered, but with parameters that this end cannot use.
    incompatible: bool,
    /// The session that this one shall take the place of: its peer seems to have been restarted.
    replaces: Option<SessionKey>,
}

/// A handshake that we answered.
pub(crate) struct HalfOpen {
    established: Established,
    wire: usize,
    from: SocketAddr,
    began: Time,
}

impl Association {
    pub(crate) fn driver(&mut self) -> Option<&mut Driver> {
        match self {
            Self::Open(driver) => Some(driver),
            Self::Opening(_) | Self::HalfOpen(_) => None,
        }
    }

    pub(crate) fn wire(&self) -> usize {
        match self {
            Self::Opening(opening) => opening.wire,
            Self::HalfOpen(half) => half.wire,
            Self::Open(driver) => driver.wire,
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        match self {
            Self::Opening(opening) => opening.due,
            Self::HalfOpen(_) => false,
            Self::Open(driver) => driver.dirty,
        }
    }

    /// Its socket can be written to again.
    pub(crate) fn rouse(&mut self) {
        if let Self::Open(driver) = self {
            driver.dirty = true;
        }
    }

    pub(crate) fn deadline(&self) -> Time {
        match self {
            Self::Opening(opening) => opening.deadline(),
            Self::HalfOpen(half) => half.began + HALF_OPEN,
            Self::Open(driver) => driver.deadline,
        }
    }

    /// The engine stops.
    pub(crate) fn close(&mut self, now: Time) {
        match self {
            Self::Open(driver) => driver.close(Code::TryAgain, "The daemon is being stopped.", now),
            Self::Opening(opening) => opening.connect.timeout = Duration::ZERO,
            Self::HalfOpen(half) => half.began = Time::ZERO,
        }
    }
}

impl Opening {
    fn deadline(&self) -> Time {
        let end = self.began + self.connect.timeout;
        let refused = self.refused_since.map_or(Time::FAR, |since| since + REFUSED);
        end.min(refused).min(self.initiator.next_deadline().unwrap_or(Time::FAR))
    }

    /// Why it is given up, if it is.
    fn failure(&self, now: Time) -> Option<Failure> {
        let address = self.connect.address;
        if self.refused_since.is_some_and(|since| now >= since + REFUSED) {
            let text = format!(
                "Nothing listens on UDP port {} of {}: start udpxd there.",
                address.port(),
                address.ip()
            );
            return Some(Failure::new(Code::Unreachable, text));
        }
        if self.incompatible {
            let text = format!(
                "{address} cannot agree on a cipher with this machine: install the same version on both."
            );
            return Some(Failure::new(Code::Protocol, text));
        }
        if now < self.began + self.connect.timeout {
            return None;
        }
        if let Some(versions) = &self.versions {
            let text =
                format!("{address} speaks versions {versions:?} of the protocol; this machine speaks 1.");
            return Some(Failure::new(Code::Protocol, text));
        }
        let text = format!(
            "{address} does not answer: check that udpxd runs there, that the key is right, and that no firewall stops UDP port {}.",
            address.port()
        );
        Some(Failure::new(Code::Unreachable, text))
    }

    /// Whether it uses that socket.
    pub(crate) fn is_on(&self, wire: usize) -> bool {
        self.wire == wire
    }

    /// The kernel heard that nobody listens there. A hint: anyone can forge it, and a daemon that is being restarted
    /// causes it, so only its repetition counts.
    pub(crate) fn on_refused(&mut self, now: Time) {
        self.refused_since.get_or_insert(now);
    }
}

impl Engine {
    /// Begins a handshake, on a socket of its own.
    pub(crate) fn connect(&mut self, now: Time, connect: Connect) {
        let tag = connect.tag;
        if let Err(failure) = self.begin_handshake(now, connect, None) {
            self.outbox.push(Report::ConnectFailed { tag, failure });
        }
    }

    /// Somebody says that the peer does not know our session. Nothing is torn down on such a word: another handshake
    /// shows whether it is true.
    pub(crate) fn on_unknown_session(&mut self, wire: usize, now: Time) {
        let drivers = self.associations.iter_mut().flatten().filter_map(Association::driver);
        let Some(driver) = drivers.into_iter().find(|driver| driver.wire == wire) else { return };
        let key = driver.key;
        let silent = now.saturating_since(driver.session.last_heard()) >= DOUBT;
        let Peer::Server { connect, doubted } = &mut driver.peer else { return };
        if !silent || std::mem::replace(doubted, true) {
            return;
        }
        let connect = Connect { timeout: DOUBT_TIMEOUT, ..Connect::clone(connect) };
        if self.begin_handshake(now, connect, Some(key)).is_err() {
            self.trust_again(key);
        }
    }

    /// The peer was not restarted after all, or is not back yet: the next hint may be followed.
    fn trust_again(&mut self, key: SessionKey) {
        let drivers = self.associations.iter_mut().flatten().filter_map(Association::driver);
        if let Some(Peer::Server { doubted, .. }) =
            drivers.into_iter().find(|driver| driver.key == key).map(|driver| &mut driver.peer)
        {
            *doubted = false;
        }
    }

    fn begin_handshake(
        &mut self,
        now: Time,
        connect: Connect,
        replaces: Option<SessionKey>,
    ) -> Result<(), Failure> {
        let address = connect.address;
        let local = Socket::wildcard(address);
        let socket = Socket::connect(local, address, &self.config.socket_options()).map_err(|error| {
            Failure::new(Code::Unreachable, format!("{address} cannot be reached from here: {error}."))
        })?;
        let wire = self.add_wire(socket, false)?;
        let index = self.free_index();
        let params = Params { plain_ok: connect.plain, ..self.params.clone() };
        let begun = self.new_lane(index).ok_or_else(too_many).and_then(|lane| {
            let config = InitiatorConfig {
                local: &self.config.identity,
                remote: connect.peer,
                credential: udpx_proto::handshake::Credential::None,
                params,
                lane,
            };
            let initiator = Initiator::new(config, now, &mut self.random);
            initiator.map_err(|error| Failure::new(Code::Usage, error.to_string()))
        });
        let initiator = match begun {
            Ok(initiator) => initiator,
            Err(failure) => {
                self.release_wire(wire);
                return Err(failure);
            }
        };
        let opening = Opening {
            initiator,
            connect,
            wire,
            began: now,
            sent: now,
            refused_since: None,
            due: true,
            versions: None,
            incompatible: false,
            replaces,
        };
        self.associations[index as usize] = Some(Association::Opening(Box::new(opening)));
        Ok(())
    }

    /// Sends HELLOs, and gives up in the end.
    pub(crate) fn serve_opening(&mut self, index: u32, now: Time) {
        let Some(Association::Opening(opening)) = &mut self.associations[index as usize] else { return };
        if let Some(failure) = opening.failure(now) {
            let (tag, replaces) = (opening.connect.tag, opening.replaces);
            self.remove(index);
            return match replaces {
                None => self.outbox.push(Report::ConnectFailed { tag, failure }),
                Some(key) => self.trust_again(key),
            };
        }
        opening.due |= opening.initiator.on_timeout(now);
        if let Some(wire) = self.wires[opening.wire].as_mut()
            && std::mem::take(&mut opening.due)
        {
            opening.sent = now;
            wire.datagram(None, opening.initiator.packet(), index);
        }
    }

    /// A datagram for a handshake that we began.
    pub(crate) fn on_opening_datagram(&mut self, index: u32, datagram: &[u8], now: Time) {
        let Some(Association::Opening(opening)) = &mut self.associations[index as usize] else { return };
        let established = match opening.initiator.handle(now, datagram) {
            Ok(Progress::Done(established)) => established,
            Ok(Progress::CookieRetry) => {
                opening.due = true;
                return;
            }
            Ok(Progress::VersionsMismatch(versions)) => {
                opening.versions = Some(versions);
                return;
            }
            Ok(Progress::Incompatible) => {
                opening.incompatible = true;
                opening.due = true;
                return;
            }
            Err(reason) => {
                tracing::debug!(?reason, "a handshake packet was dropped");
                return;
            }
        };
        let rtt = now.saturating_since(opening.sent).max(Duration::from_micros(50));
        let (connect, wire, replaces) = (opening.connect.clone(), opening.wire, opening.replaces);
        let plain = connect.plain && established.peer_params.plain_ok;
        if connect.plain && !plain {
            tracing::warn!(address = %connect.address, "the peer does not allow unencrypted data; it is encrypted");
        }
        let mut config = self.session_config(&established, connect.address, connect.policy, plain);
        config.initial_rtt = rtt;
        let key = self.next_key();
        let place = Place { key, wire, to: None, address: connect.address };
        let peer_key = established.peer;
        let session = Session::new(config, *established, now);
        let address = connect.address;
        let peer = Peer::Server { connect: Box::new(connect), doubted: false };
        let driver = Driver::new(session, &place, peer, peer_key, now);
        self.associations[index as usize] = Some(Association::Open(Box::new(driver)));
        self.outbox.push(Report::Connected { session: key, address, rtt, replaces });
    }

    /// A datagram that may be a HELLO, on a listening socket.
    pub(crate) fn on_hello(&mut self, wire: usize, from: SocketAddr, datagram: &[u8], now: Time) {
        if !is_hello(datagram) || self.acceptor.is_none() {
            return;
        }
        let index = self.free_index();
        let Some(lane) = self.new_lane(index) else { return };
        let incoming = Incoming { from, datagram, lane };
        let mut answer = Vec::new();
        let Self { acceptor, random, config, .. } = self;
        let Some(acceptor) = acceptor else { return };
        let accept = acceptor.handle_hello(now, incoming, &config.peers, random, &mut answer);
        if let Some(wire) = self.wires[wire].as_mut()
            && !answer.is_empty()
        {
            wire.datagram(Some(from), &answer, index);
        }
        match accept {
            Accept::Established(established) => {
                self.limit_half_open();
                let half = HalfOpen { established: *established, wire, from, began: now };
                self.associations[index as usize] = Some(Association::HalfOpen(Box::new(half)));
            }
            Accept::Repeated | Accept::Cookie | Accept::Versions => self.lanes.close(lane),
            Accept::Drop(reason) => {
                tracing::debug!(?reason, %from, "a HELLO was dropped");
                self.lanes.close(lane);
            }
        }
    }

    /// The first packet for a half-open session: only now is it worth its memory.
    pub(crate) fn promote(&mut self, index: u32, now: Time) {
        let Some(Association::HalfOpen(half)) = self.associations[index as usize].take() else { return };
        let HalfOpen { established, wire, from, began } = *half;
        let peer_key = established.peer;
        let (peer, plain) = match self.peers().find(&peer_key) {
            Some(access) => (Peer::Known(access.clone()), access.plain),
            None => (Peer::Unknown { config_name: self.peers().config_name.clone() }, false),
        };
        let plain = plain && established.peer_params.plain_ok;
        let mut config = self.session_config(&established, from, RatePolicy::Adaptive, plain);
        config.initial_rtt =
            now.saturating_since(began).clamp(Duration::from_micros(50), Duration::from_secs(1));
        let place = Place { key: self.next_key(), wire, to: Some(from), address: from };
        let session = Session::new(config, established, now);
        let driver = Driver::new(session, &place, peer, peer_key, now);
        self.associations[index as usize] = Some(Association::Open(Box::new(driver)));
    }

    fn session_config(
        &self,
        established: &Established,
        address: SocketAddr,
        policy: RatePolicy,
        plain: bool,
    ) -> SessionConfig {
        SessionConfig {
            plain,
            ip_mtu_max: self.params.mtu_max.min(established.peer_params.mtu_max),
            ip_headers: if address.is_ipv4() { 28 } else { 48 },
            policy,
            staging_budget: self.params.staging_credit,
            lanes_max: self.params.lanes_max,
            ..SessionConfig::default()
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

    /// Ends an association and frees its lanes and its socket.
    pub(crate) fn remove(&mut self, index: u32) {
        let socket = self.socket_report(index);
        let Some(association) = self.associations[index as usize].take() else { return };
        let wire = association.wire();
        let lanes: Vec<LaneId> = match &association {
            Association::Opening(opening) => vec![opening.initiator.lane()],
            Association::HalfOpen(half) => vec![half.established.local_lane],
            Association::Open(driver) => driver.lanes(),
        };
        lanes.into_iter().for_each(|lane| self.lanes.close(lane));
        if let Association::Open(driver) = association {
            let now = self.clock.now();
            let Self { pool, workers, outbox, random, tags, .. } = self;
            driver.dismantle(
                socket,
                &mut super::Cx { now, pool, queue: workers.queue(), outbox, random, tags },
            );
        }
        self.release_wire(wire);
    }

    /// Forgets what hangs, and sees to what was forgotten by events.
    pub(crate) fn keep_house(&mut self, now: Time) {
        self.housekeeping_at = now + HOUSEKEEPING;
        for index in 0..self.associations.len() as u32 {
            let stale = match &self.associations[index as usize] {
                Some(Association::HalfOpen(half)) => now >= half.began + HALF_OPEN,
                Some(Association::Open(driver)) => {
                    !driver.session.is_confirmed() && now >= driver.session.last_heard() + HALF_OPEN
                }
                Some(Association::Opening(_)) | None => false,
            };
            if stale {
                self.remove(index);
            }
        }
    }

    pub(crate) fn add_wire(&mut self, socket: Socket, listening: bool) -> Result<usize, Failure> {
        #[cfg(test)]
        let socket = {
            let mut socket = socket;
            if let Some(inject) = self.config.inject {
                socket.inject_send(inject());
            }
            socket
        };
        let at = self.wires.iter().position(Option::is_none).unwrap_or(self.wires.len());
        let wire = Wire::new(socket, self.poll.registry(), Token(FIRST_WIRE + at), listening);
        let mut wire = wire.map_err(|error| Failure::new(Code::Io, format!("No socket: {error}.")))?;
        wire.users += u32::from(!listening);
        if at == self.wires.len() {
            self.wires.push(None);
        }
        self.wires[at] = Some(wire);
        Ok(at)
    }

    fn release_wire(&mut self, at: usize) {
        if let Some(slot) = self.wires.get_mut(at)
            && let Some(wire) = slot
            && !wire.listening
        {
            wire.users -= 1;
            if wire.users == 0 {
                wire.flush(|_| {});
                // Closing the descriptor takes it out of the poll.
                *slot = None;
            }
        }
    }

    fn free_index(&mut self) -> u32 {
        let at = self.associations.iter().position(Option::is_none).unwrap_or(self.associations.len());
        if at == self.associations.len() {
            self.associations.push(None);
        }
        at as u32
    }

    fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }
}

fn too_many() -> Failure {
    Failure::new(Code::TryAgain, "Too many sessions are open at once.")
}

/// How long an answered handshake may wait for its first packet.
const HALF_OPEN: Duration = Duration::from_secs(10);
/// Answered handshakes that may wait at once; each is a few hundred bytes.
const HALF_OPEN_MAX: usize = 1024;
/// A session that was heard of more recently is not doubted.
const DOUBT: Duration = Duration::from_millis(500);
/// How long the handshake of a doubt is tried.
const DOUBT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often stale associations are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Refusals over this time mean that nobody listens.
const REFUSED: Duration = Duration::from_secs(1);
