//! The end that opens a session.

use core::time::Duration;

use super::identity::{Psk, PublicKey, StaticSecret, Ticket, TicketId};
use super::mac::MacKey;
use super::mutual::MutualKey;
use super::noise::{Noise, Pattern, Prologue};
use super::params::ReplyPayload;
use super::wire::{HelloPacket, parse_cookie, parse_reply, parse_versions};
use super::{Established, HandshakeDrop, Params};
use crate::keys::Role;
use crate::wire::header::Kind;
use crate::{LaneId, Random, Time};

/// The first time-out for an answer; each later one is twice as long.
const TIMEOUT_FIRST: Duration = Duration::from_millis(250);

/// The longest time-out.
const TIMEOUT_MAX: Duration = Duration::from_secs(3);

/// COOKIEs that are answered at once before the next time-out; an acceptor sends one.
const COOKIES_MAX: u8 = 4;

/// What the initiator has in common with the responder, beside the responder's public key.
#[derive(Clone, Debug)]
pub enum Credential {
    /// Nothing: the public keys have to do.
    None,
    /// A pre-shared key.
    Psk(Psk),
    /// An invitation, for first contact.
    Ticket(Ticket),
}

/// How to open a session.
#[derive(Clone, Debug)]
pub struct InitiatorConfig<'a> {
    /// This end's key.
    pub local: &'a StaticSecret,
    /// The responder's key.
    pub remote: PublicKey,
    /// What else the two share.
    pub credential: Credential,
    /// This end's offer.
    pub params: Params,
    /// The lane id that the responder is to put into its packets.
    pub lane: LaneId,
}

/// Why no handshake could be begun.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitiateError {
    /// The peer's public key is a point of low order: no daemon has such a key.
    #[error("The peer's public key is not a usable X25519 key; check how it was copied.")]
    RemoteKey,
}

/// What a datagram has led to.
#[derive(Debug)]
pub enum Progress {
    /// The responder wants a cookie: [`Initiator::packet`] has it now and is to be sent at once.
    CookieRetry,
    /// The session is open; its first packet may follow.
    Done(Box<Established>),
    /// The responder has proven who it is, but its parameters cannot be used. The handshake is over.
    Incompatible,
    /// The responder speaks only these versions, says somebody. Unproven, so the attempt goes on.
    VersionsMismatch(Vec<u8>),
}

/// A handshake that this end began. Dropping it gives up.
pub struct Initiator {
    /// Taken when the handshake is done.
    noise: Option<Noise>,
    remote: PublicKey,
    params: Params,
    lane: LaneId,
    ticket: Option<TicketId>,
    packet: HelloPacket,
    hello_key: MacKey,
    reply_key: MacKey,
    cookie_key: MacKey,
    timeout: Duration,
    deadline: Time,
    cookies: u8,
}

impl Initiator {
    /// Begins a handshake; [`packet`](Self::packet) is to be sent now.
    ///
    /// # Errors
    /// [`InitiateError`].
    pub fn new(config: InitiatorConfig<'_>, now: Time, rng: &mut dyn Random) -> Result<Self, InitiateError> {
        let InitiatorConfig { local, remote, credential, params, lane } = config;
        let (pattern, psk, ticket) = match credential {
            Credential::None => (Pattern::Ikpsk2, Psk::NONE, None),
            Credential::Psk(psk) => (Pattern::Ikpsk2, psk, None),
            Credential::Ticket(ticket) => (Pattern::Ikpsk1, ticket.secret, Some(ticket.id)),
        };
        let prologue = Prologue { pattern, lane, ticket: ticket.unwrap_or(TicketId::NONE) };
        let hello_key = MacKey::hello(&remote);
        let mut packet = HelloPacket::new(&prologue);
        // Only the arithmetic with the remote key depends on input, so only that can fail.
        let noise = Noise::initiator(&prologue, local, &remote, &psk, rng)
            .and_then(|mut noise| noise.write(&params.encode(), packet.noise_mut()).map(|()| noise))
            .map_err(|_| InitiateError::RemoteKey)?;
        let key = match ticket {
            None => MutualKey::new(local, &remote).ok_or(InitiateError::RemoteKey)?,
            Some(_) => MutualKey::of_ticket(&psk),
        };
        packet.introduce(&prologue, &key);
        packet.sign(&hello_key);
        Ok(Self {
            noise: Some(noise),
            reply_key: MacKey::reply(&local.public()),
            cookie_key: MacKey::cookie(&remote),
            hello_key,
            remote,
            params,
            lane,
            ticket,
            packet,
            timeout: TIMEOUT_FIRST,
            deadline: now + TIMEOUT_FIRST,
            cookies: 0,
        })
    }

    /// The HELLO, to be sent when the handshake begins, after [`Progress::CookieRetry`], and when
    /// [`on_timeout`](Self::on_timeout) says so.
    #[must_use]
    pub fn packet(&self) -> &[u8] {
        self.packet.as_bytes()
    }

    /// The lane id that answers carry.
    #[must_use]
    pub fn lane(&self) -> LaneId {
        self.lane
    }

    /// Whom this handshake is with.
    #[must_use]
    pub fn remote(&self) -> PublicKey {
        self.remote
    }

    /// When [`on_timeout`](Self::on_timeout) is due; `None` once the handshake is done.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.noise.as_ref().map(|_| self.deadline)
    }

    /// Whether the HELLO is to be sent again now. It is the same each time: the responder answers the
    /// copies of one HELLO with the same REPLY.
    #[must_use]
    pub fn on_timeout(&mut self, now: Time) -> bool {
        if self.noise.is_none() || now < self.deadline {
            return false;
        }
        self.timeout = (self.timeout * 2).min(TIMEOUT_MAX);
        self.deadline = now + self.timeout;
        self.cookies = 0;
        true
    }

    /// Takes in a datagram that came for this handshake's lane.
    ///
    /// # Errors
    /// Why it was dropped; the handshake goes on as if it had not come.
    pub fn handle(&mut self, now: Time, datagram: &[u8]) -> Result<Progress, HandshakeDrop> {
        if self.noise.is_none() {
            return Err(HandshakeDrop::Finished);
        }
        let &first = datagram.first().ok_or(HandshakeDrop::Length)?;
        match first & 15 {
            kind if kind == Kind::Reply as u8 => self.handle_reply(datagram),
            kind if kind == Kind::Cookie as u8 => self.handle_cookie(now, datagram),
            kind if kind == Kind::Versions as u8 => {
                parse_versions(datagram, self.lane).map(|list| Progress::VersionsMismatch(list.to_vec()))
            }
            _ => Err(HandshakeDrop::Kind),
        }
    }

    fn handle_reply(&mut self, datagram: &[u8]) -> Result<Progress, HandshakeDrop> {
        let message = parse_reply(datagram, self.lane, &self.reply_key)?;
        let noise = self.noise.as_mut().ok_or(HandshakeDrop::Finished)?;
        let payload = noise.read(message)?;
        // The responder itself said this: what is wrong with it now will not get better.
        let secrets = self.noise.take().and_then(Noise::finish).ok_or(HandshakeDrop::Noise)?;
        let Ok((remote_lane, suite, peer_params)) = ReplyPayload::decode(&payload, &self.params) else {
            return Ok(Progress::Incompatible);
        };
        Ok(Progress::Done(Box::new(Established {
            secrets,
            role: Role::Initiator,
            peer: self.remote,
            local_lane: self.lane,
            remote_lane,
            peer_params,
            suite,
            ticket: self.ticket,
        })))
    }

    fn handle_cookie(&mut self, now: Time, datagram: &[u8]) -> Result<Progress, HandshakeDrop> {
        let cookie = parse_cookie(datagram, self.lane, self.packet.mac(), &self.cookie_key)?;
        if self.cookies >= COOKIES_MAX {
            return Err(HandshakeDrop::Cookies);
        }
        self.cookies += 1;
        self.packet.set_cookie(&cookie);
        self.packet.sign(&self.hello_key);
        self.deadline = now + self.timeout;
        Ok(Progress::CookieRetry)
    }
}

impl core::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Initiator")
            .field("remote", &self.remote)
            .field("lane", &self.lane)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
