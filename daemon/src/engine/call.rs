//! Handshakes that this engine begins: each on a connected socket of its own, with an ephemeral port.

use std::time::Duration;

use udpx_proto::handshake::{Credential, Initiator, InitiatorConfig, Params, Progress, UnknownSession};
use udpx_proto::{Code, Session, Time};

use super::Engine;
use super::association::Association;
use super::driver::{Driver, Peer, Place};
use super::report::{Connect, Report, SessionKey};
use crate::transfer::Failure;

/// A handshake that we began.
pub(crate) struct Opening {
    pub(super) initiator: Initiator,
    pub(super) connect: Connect,
    pub(super) wire: usize,
    began: Time,
    /// When the HELLO went out last, for a first guess of the round trip.
    sent: Time,
    /// When we were first told that nobody listens there.
    refused_since: Option<Time>,
    /// And were told again and again.
    refused: bool,
    /// A HELLO is to be sent.
    pub(super) due: bool,
    /// The peer's versions, if somebody said that ours is not among them.
    versions: Option<Vec<u8>>,
    /// The peer answered, but with parameters that this end cannot use.
    incompatible: bool,
    /// The session that this one shall take the place of: its peer seems to have been restarted.
    replaces: Option<SessionKey>,
}

impl Opening {
    pub(super) fn deadline(&self) -> Time {
        let end = self.began + self.connect.timeout;
        end.min(self.initiator.next_deadline().unwrap_or(Time::FAR))
    }

    /// Why it is given up, if it is.
    fn failure(&self, now: Time) -> Option<Failure> {
        let address = self.connect.address;
        if self.refused {
            let remedy = match self.has_ticket() {
                true => "; the command that printed the ticket has ended: run it again there for a new one.",
                false => ": start udpxd there.",
            };
            let text = format!("Nothing listens on UDP port {} of {}{remedy}", address.port(), address.ip());
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
        let causes = match self.has_ticket() {
            true => {
                "the command that printed the ticket still runs there (of udpxctl invite: udpxd), that the ticket is whole \
                 and neither used nor expired"
            }
            false => "udpxd runs there, that the key is right",
        };
        let port = address.port();
        let text = format!(
            "{address} does not answer: check that {causes}, and that no firewall stops UDP port {port}."
        );
        Some(Failure::new(Code::Unreachable, text))
    }

    /// Whether a ticket is to open it.
    fn has_ticket(&self) -> bool {
        matches!(self.connect.credential, Credential::Ticket(_))
    }

    /// Whether it uses that socket.
    pub(crate) fn is_on(&self, wire: usize) -> bool {
        self.wire == wire
    }

    /// The kernel heard that nobody listens there. A hint: anyone can forge it, and a daemon that is being restarted
    /// causes it, so only its repetition counts.
    pub(crate) fn on_refused(&mut self, now: Time) {
        let since = *self.refused_since.get_or_insert(now);
        self.refused |= now >= since + REFUSED;
        self.due |= self.refused;
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

    fn begin_handshake(
        &mut self,
        now: Time,
        connect: Connect,
        replaces: Option<SessionKey>,
    ) -> Result<(), Failure> {
        let address = connect.address;
        let socket = self.socket_to(&connect).map_err(|error| {
            Failure::new(Code::Unreachable, format!("{address} cannot be reached from here: {error}."))
        })?;
        let wire = self.add_wire(socket, false)?;
        let index = self.free_index();
        let mtu_max = self.params.mtu_max.min(connect.mtu_max);
        let params = Params { plain_ok: connect.plain, mtu_max, ..self.params.clone() };
        let begun = self.new_lane(index).ok_or_else(too_many).and_then(|lane| {
            let config = InitiatorConfig {
                local: &self.config.identity,
                remote: connect.peer,
                credential: connect.credential.clone(),
                params,
                lane,
            };
            Initiator::new(config, now, &mut self.random).map_err(|error| {
                self.lanes.close(lane);
                Failure::new(Code::Usage, error.to_string())
            })
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
            refused: false,
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
        let mtu_max = self.params.mtu_max.min(connect.mtu_max);
        let mut config = self.session_config(&established, connect.address, connect.policy, plain, mtu_max);
        config.initial_rtt = rtt;
        let key = self.next_key();
        let place = Place { key, wire, address: connect.address, born: self.tags.last() };
        let peer_key = established.peer;
        let mut session = Session::new(config, *established, now);
        if let Some(tracer) = &connect.trace {
            session.set_trace(Some(Box::new(tracer.clone())));
        }
        let (address, tag) = (connect.address, connect.tag);
        let peer = Peer::Server { connect: Box::new(connect), doubted: false };
        let driver = Driver::new(session, &place, peer, peer_key, now);
        self.associations[index as usize] = Some(Association::Open(Box::new(driver)));
        self.rates_stirred = true;
        self.outbox.push(Report::Connected { tag, session: key, address, rtt, replaces });
    }

    /// Somebody says that the peer does not know our session. Nothing is torn down on such a word: another handshake
    /// shows whether it is true.
    pub(crate) fn on_unknown_session(&mut self, wire: usize, hint: &UnknownSession, now: Time) {
        let drivers = self.associations.iter_mut().flatten().filter_map(Association::driver);
        let Some(driver) = drivers.into_iter().find(|driver| driver.ways.uses(wire)) else { return };
        if !driver.session.has_sent(hint.lane(), hint.number()) {
            return;
        }
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
}

fn too_many() -> Failure {
    Failure::new(Code::TryAgain, "Too many sessions are open at once.")
}

/// Refusals over this time mean that nobody listens.
const REFUSED: Duration = Duration::from_secs(1);
/// A session that was heard of more recently is not doubted.
const DOUBT: Duration = Duration::from_millis(500);
/// How long the handshake of a doubt is tried.
const DOUBT_TIMEOUT: Duration = Duration::from_secs(5);
