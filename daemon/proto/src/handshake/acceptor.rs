//! The end that answers HELLOs.

use core::net::SocketAddr;

use super::cookie::CookieJar;
use super::half_open::{HalfOpenTable, HelloHash};
use super::identity::{Psk, PublicKey, StaticSecret, TicketId};
use super::limit::ReplyLimiter;
use super::mac::MacKey;
use super::mutual::{Introduction, MutualKey};
use super::noise::{Noise, Pattern};
use super::params::ReplyPayload;
use super::wire::{Hello, UnknownSession, foreign_hello, reply, write_cookie, write_versions};
use super::{Established, HandshakeDrop, Params};
use crate::keys::{Role, Suite};
use crate::{LaneId, Random, Time};

/// How an acceptor is set up.
#[derive(Clone, Debug)]
pub struct AcceptorConfig {
    /// This end's key.
    pub local: StaticSecret,
    /// This end's offer.
    pub params: Params,
    /// Sessions begun within ten seconds beyond which HELLOs have to bring a cookie.
    pub cookie_threshold: usize,
}

/// What the acceptor looks up while it answers.
pub trait Directory {
    /// The key shared with this peer; `None` is the same as zeros.
    fn psk(&self, peer: &PublicKey) -> Option<Psk>;

    /// The secret of an invitation; `None` if it is unknown. That of one which is spent or expired may be given for a
    /// while: whoever holds the secret can then be told so, in the session that it opens.
    fn ticket(&self, id: &TicketId) -> Option<Psk>;

    /// Whether a HELLO was introduced by a peer that is known here. Asked under load only.
    fn knows(&self, _introduction: &Introduction) -> bool {
        false
    }

    /// Whether this very peer may be offered unencrypted BULK packets; it takes `Params::plain_ok` too.
    fn plain_ok(&self, _peer: &PublicKey) -> bool {
        true
    }
}

/// A datagram that may be a HELLO.
#[derive(Copy, Clone, Debug)]
pub struct Incoming<'a> {
    /// Where it came from, and where the answer goes.
    pub from: SocketAddr,
    /// The datagram.
    pub datagram: &'a [u8],
    /// A free lane id, which the session gets if there is to be one.
    pub lane: LaneId,
}

/// What a HELLO has led to.
#[derive(Debug)]
pub enum Accept {
    /// A new half-open session; the REPLY is to be sent.
    Established(Box<Established>),
    /// The HELLO was answered before; the same REPLY is to be sent again.
    Repeated,
    /// A COOKIE is to be sent.
    Cookie,
    /// A VERSIONS reply is to be sent.
    Versions,
    /// Nothing is to be sent.
    Drop(HandshakeDrop),
}

/// Answers HELLOs for one identity.
pub struct Acceptor {
    config: AcceptorConfig,
    hello_key: MacKey,
    cookie_key: MacKey,
    cookies: CookieJar,
    half_open: HalfOpenTable,
    /// VERSIONS and UNKNOWN_SESSION; COOKIEs; handshakes under load, of strangers and of others; those that fail.
    limiter: ReplyLimiter,
    cookie_limiter: ReplyLimiter,
    strangers: ReplyLimiter,
    acquainted: ReplyLimiter,
    failures: ReplyLimiter,
    under_load: bool,
    #[cfg(feature = "testing")]
    null_cipher: bool,
}

impl Acceptor {
    /// An acceptor that has answered nothing yet.
    #[must_use]
    pub fn new(config: AcceptorConfig, now: Time, rng: &mut dyn Random) -> Self {
        Self {
            hello_key: MacKey::hello(&config.local.public()),
            cookie_key: MacKey::cookie(&config.local.public()),
            config,
            cookies: CookieJar::new(now, rng),
            half_open: HalfOpenTable::default(),
            limiter: ReplyLimiter::new(HINTS_A_SECOND, now),
            cookie_limiter: ReplyLimiter::new(COOKIES_A_SECOND, now),
            strangers: ReplyLimiter::new(STRANGERS_A_SECOND, now),
            acquainted: ReplyLimiter::new(ACQUAINTED_A_SECOND, now),
            failures: ReplyLimiter::new(FAILURES_A_SECOND, now),
            under_load: false,
            #[cfg(feature = "testing")]
            null_cipher: false,
        }
    }

    /// Chooses [`Suite::Null`] from now on, for simulations.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_null_cipher(mut self) -> Self {
        self.null_cipher = true;
        self
    }

    /// The public key that HELLOs have to be for.
    #[must_use]
    pub fn local(&self) -> PublicKey {
        self.config.local.public()
    }

    /// Offers other parameters from now on.
    pub fn set_params(&mut self, params: Params) {
        self.config.params = params;
    }

    /// Whether cookies are demanded whatever the number of half-open sessions: for a driver that knows
    /// of another shortage.
    pub fn set_under_load(&mut self, under_load: bool) {
        self.under_load = under_load;
    }

    /// Sessions begun within the last ten seconds.
    #[must_use]
    pub fn recent(&self) -> usize {
        self.half_open.len()
    }

    /// Answers a HELLO. The answer, if any, is put in place of what `out` holds, and is never longer
    /// than the datagram.
    pub fn handle_hello(
        &mut self,
        now: Time,
        incoming: Incoming<'_>,
        directory: &dyn Directory,
        rng: &mut dyn Random,
        out: &mut Vec<u8>,
    ) -> Accept {
        out.clear();
        self.half_open.expire(now);
        self.cookies.rotate(now, rng);
        if let Some(lane) = foreign_hello(incoming.datagram) {
            if !self.limiter.take(now) {
                return Accept::Drop(HandshakeDrop::Version);
            }
            write_versions(out, lane);
            return Accept::Versions;
        }
        let accept = self.answer(now, &incoming, directory, rng, out).unwrap_or_else(Accept::Drop);
        debug_assert!(out.len() <= incoming.datagram.len());
        accept
    }

    /// The hint to the sender of packet `number` that nobody here knows its lane, or `None` if too many
    /// were sent lately.
    pub fn unknown_session(&mut self, now: Time, lane: LaneId, number: u64) -> Option<UnknownSession> {
        self.limiter.take(now).then(|| UnknownSession::new(lane, number))
    }

    fn answer(
        &mut self,
        now: Time,
        incoming: &Incoming<'_>,
        directory: &dyn Directory,
        rng: &mut dyn Random,
        out: &mut Vec<u8>,
    ) -> Result<Accept, HandshakeDrop> {
        let hello = Hello::parse(incoming.datagram, &self.hello_key)?;
        let hash = hash(&hello);
        if let Some(reply) = self.half_open.get(&hash) {
            out.extend_from_slice(reply);
            return Ok(Accept::Repeated);
        }
        if self.demands_cookie(now) && !(is_known(&hello, directory) && self.acquainted.take(now)) {
            if !self.cookies.check(incoming.from, hello.cookie) {
                if !self.cookie_limiter.take(now) {
                    return Err(HandshakeDrop::Busy);
                }
                write_cookie(out, &hello, &self.cookie_key, &self.cookies.bake(incoming.from));
                return Ok(Accept::Cookie);
            }
            // Whoever has many addresses has many cookies.
            if !self.strangers.take(now) {
                return Err(HandshakeDrop::Busy);
            }
        }
        let done = self.establish(&hello, incoming.lane, directory, rng);
        if done.is_err() {
            // It leaves nothing behind to be counted by, and has cost as much.
            self.failures.take(now);
        }
        let (established, reply) = done?;
        self.half_open.insert(now, hash, reply);
        out.extend_from_slice(&reply);
        Ok(Accept::Established(Box::new(established)))
    }

    fn demands_cookie(&mut self, now: Time) -> bool {
        let many = self.half_open.len() >= self.config.cookie_threshold;
        self.under_load || many || !self.failures.has_one(now)
    }

    /// Runs the Noise handshake: the only part that costs curve arithmetic.
    fn establish(
        &self,
        hello: &Hello<'_>,
        lane: LaneId,
        directory: &dyn Directory,
        rng: &mut dyn Random,
    ) -> Result<(Established, [u8; super::wire::REPLY_LEN]), HandshakeDrop> {
        let prologue = &hello.prologue;
        let noise_failed = |_: snow::Error| HandshakeDrop::Noise;
        let mut noise = Noise::responder(prologue, &self.config.local, rng).map_err(noise_failed)?;
        if prologue.pattern == Pattern::Ikpsk1 {
            noise.set_psk(&directory.ticket(&prologue.ticket).ok_or(HandshakeDrop::Ticket)?);
        }
        let peer_params = Params::decode(&noise.read(hello.noise)?)?;
        let peer = noise.remote().ok_or(HandshakeDrop::Noise)?;
        if prologue.pattern == Pattern::Ikpsk2 {
            noise.set_psk(&directory.psk(&peer).unwrap_or(Psk::NONE));
        }
        let suite = self.choose_suite(&peer_params);
        let mut params = self.config.params.clone();
        params.plain_ok &= directory.plain_ok(&peer);
        let payload = ReplyPayload::encode(lane, suite, &params);
        let key = MacKey::reply(&peer);
        let reply =
            reply(prologue.lane, &key, |message| noise.write(&payload, message)).map_err(noise_failed)?;
        let secrets = noise.finish().ok_or(HandshakeDrop::Noise)?;
        let established = Established {
            secrets,
            role: Role::Responder,
            peer,
            local_lane: lane,
            remote_lane: prologue.lane,
            peer_params,
            suite,
            ticket: (prologue.pattern == Pattern::Ikpsk1).then_some(prologue.ticket),
        };
        Ok((established, reply))
    }

    fn choose_suite(&self, peer: &Params) -> Suite {
        #[cfg(feature = "testing")]
        if self.null_cipher {
            return Suite::Null;
        }
        self.config.params.choose_suite(peer)
    }
}

impl core::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Acceptor")
            .field("local", &self.config.local.public())
            .field("recent", &self.recent())
            .finish_non_exhaustive()
    }
}

/// Whether somebody known here has sent it, or recorded it: the handshake will tell.
fn is_known(hello: &Hello<'_>, directory: &dyn Directory) -> bool {
    let Some(introduction) = &hello.introduction else { return false };
    match hello.prologue.pattern {
        Pattern::Ikpsk1 => directory
            .ticket(&hello.prologue.ticket)
            .is_some_and(|secret| introduction.is_by(&MutualKey::of_ticket(&secret))),
        Pattern::Ikpsk2 => directory.knows(introduction),
    }
}

/// VERSIONS and UNKNOWN_SESSION together that are sent in a second.
const HINTS_A_SECOND: u64 = 100;
/// COOKIEs that are sent in a second.
const COOKIES_A_SECOND: u64 = 10_000;
/// Handshakes a second, under load, with those who are not known here: about a hundredth of a CPU.
const STRANGERS_A_SECOND: u64 = 100;
/// The same with those who are, before they have to bring cookies like anybody else.
const ACQUAINTED_A_SECOND: u64 = 1000;
/// Handshakes a second that may fail, by garbage behind a right MAC or a wrong secret, before cookies are demanded.
const FAILURES_A_SECOND: u64 = 100;

/// What makes two HELLOs the same: all but the cookie and what follows from it.
fn hash(hello: &Hello<'_>) -> HelloHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&hello.prologue.encode());
    hasher.update(hello.noise);
    *hasher.finalize().as_bytes().first_chunk().expect("a hash has 32 bytes")
}
