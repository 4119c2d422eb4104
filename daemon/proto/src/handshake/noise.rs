//! The two Noise patterns, by `snow`, with our randomness and our curve.
//!
//! snow is given its primitives by a resolver. Ours takes hash and cipher from snow's own, but draws
//! the ephemeral key from injected bytes, and does X25519 by aws-lc: in constant time, erased after
//! use, and refusing peers' keys of low order, whose shared secret everybody knows.

use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::{CryptoResolver, DefaultResolver};
use snow::types::{Cipher, Dh, Hash, Random as NoiseRandom};
use snow::{Builder, HandshakeState};
use zeroize::Zeroizing;

use super::HandshakeDrop;
use super::identity::{Psk, PublicKey, StaticSecret, TicketId, private_key, public_of};
use super::params::PAYLOAD_LEN;
use super::rekey::Acquaintance;
use crate::keys::SessionSecrets;
use crate::{LaneId, Random};

/// Bytes of Noise message 1: ephemeral key, sealed static key, sealed payload.
pub(super) const MESSAGE_1_LEN: usize = 32 + (32 + 16) + (PAYLOAD_LEN + 16);

/// Bytes of Noise message 2: ephemeral key, sealed payload.
pub(super) const MESSAGE_2_LEN: usize = 32 + (PAYLOAD_LEN + 16);

/// Which Noise pattern a HELLO begins.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Pattern {
    /// The key of a ticket, mixed into message 1.
    Ikpsk1,
    /// A key that the two ends share, or zeros, mixed into message 2.
    Ikpsk2,
}

impl Pattern {
    /// The number in the HELLO, which is also the place of the pre-shared key.
    pub(super) const fn id(self) -> u8 {
        match self {
            Self::Ikpsk1 => 1,
            Self::Ikpsk2 => 2,
        }
    }

    pub(super) const fn from_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Ikpsk1),
            2 => Some(Self::Ikpsk2),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ikpsk1 => "Noise_IKpsk1_25519_ChaChaPoly_BLAKE2s",
            Self::Ikpsk2 => "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
        }
    }
}

/// What stands in clear in the HELLO and must be what its sender wrote: both ends hash it first.
#[derive(Copy, Clone, Debug)]
pub(super) struct Prologue {
    pub(super) pattern: Pattern,
    /// The initiator's lane id. The responder's is inside message 2.
    pub(super) lane: LaneId,
    pub(super) ticket: TicketId,
}

impl Prologue {
    /// Bytes of the encoding.
    pub(super) const LEN: usize = 7 + 1 + 4 + 16;

    pub(super) fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        out[..7].copy_from_slice(b"udpx v1");
        out[7] = self.pattern.id();
        out[8..12].copy_from_slice(&self.lane.0.to_le_bytes());
        out[12..].copy_from_slice(&self.ticket.0);
        out
    }
}

/// A Noise handshake between its two messages.
pub(super) struct Noise {
    state: HandshakeState,
    pattern: Pattern,
}

impl Noise {
    /// The initiator's: `remote` is the responder's static key.
    pub(super) fn initiator(
        prologue: &Prologue,
        local: &StaticSecret,
        remote: &PublicKey,
        psk: &Psk,
        rng: &mut dyn Random,
    ) -> Result<Self, snow::Error> {
        let bytes = prologue.encode();
        let pattern = prologue.pattern;
        let state = builder(pattern.name(), rng)?
            .local_private_key(local.as_bytes())?
            .remote_public_key(&remote.0)?
            .psk(pattern.id(), psk.as_bytes())?
            .prologue(&bytes)?
            .build_initiator()?;
        Ok(Self { state, pattern })
    }

    /// The responder's. A pre-shared key that depends on the initiator's identity follows by
    /// [`set_psk`](Self::set_psk).
    pub(super) fn responder(
        prologue: &Prologue,
        local: &StaticSecret,
        rng: &mut dyn Random,
    ) -> Result<Self, snow::Error> {
        let bytes = prologue.encode();
        let state = builder(prologue.pattern.name(), rng)?
            .local_private_key(local.as_bytes())?
            .prologue(&bytes)?
            .build_responder()?;
        Ok(Self { state, pattern: prologue.pattern })
    }

    /// Sets the pre-shared key, before the message that it is mixed into.
    pub(super) fn set_psk(&mut self, psk: &Psk) {
        self.state
            .set_psk(usize::from(self.pattern.id()), psk.as_bytes())
            .expect("the place is 1 or 2 and the key has 32 bytes");
    }

    /// Writes the next message, all of `out`.
    pub(super) fn write(&mut self, payload: &[u8; PAYLOAD_LEN], out: &mut [u8]) -> Result<(), snow::Error> {
        let written = self.state.write_message(payload, out)?;
        debug_assert_eq!(written, out.len());
        Ok(())
    }

    /// Reads the peer's message; the handshake is as before if that fails.
    pub(super) fn read(&mut self, message: &[u8]) -> Result<[u8; PAYLOAD_LEN], HandshakeDrop> {
        let mut payload = [0; PAYLOAD_LEN];
        match self.state.read_message(message, &mut payload) {
            Ok(PAYLOAD_LEN) => Ok(payload),
            _ => Err(HandshakeDrop::Noise),
        }
    }

    /// The peer's static key, once it is known.
    pub(super) fn remote(&self) -> Option<PublicKey> {
        self.state.get_remote_static()?.try_into().ok().map(PublicKey)
    }

    /// The secrets, once both messages have passed.
    pub(super) fn finish(self) -> Option<SessionSecrets> {
        finish(self.state)
    }
}

/// The secrets of a handshake whose messages have all passed.
pub(super) fn finish(mut state: HandshakeState) -> Option<SessionSecrets> {
    if !state.is_handshake_finished() {
        return None;
    }
    let hash = state.get_handshake_hash().try_into().ok()?;
    let (from_initiator, from_responder) = state.dangerously_get_raw_split();
    let (from_initiator, from_responder) = (Zeroizing::new(from_initiator), Zeroizing::new(from_responder));
    Some(SessionSecrets::new(*from_initiator, *from_responder, hash))
}

/// The pattern of key exchanges within a session, where each end knows the other.
const REKEY: &str = "Noise_KKpsk0_25519_ChaChaPoly_BLAKE2s";

/// A key exchange within a session, to be built for either end.
pub(super) fn rekey_builder<'a>(
    known: &'a Acquaintance,
    local: &'a StaticSecret,
    prologue: &'a [u8],
    rng: &mut dyn Random,
) -> Result<Builder<'a>, snow::Error> {
    builder(REKEY, rng)?
        .local_private_key(local.as_bytes())?
        .remote_public_key(&known.peer.0)?
        .psk(0, known.secret.as_bytes())?
        .prologue(prologue)
}

fn builder(name: &str, rng: &mut dyn Random) -> Result<Builder<'static>, snow::Error> {
    let mut ephemeral = Zeroizing::new([0; 32]);
    rng.fill(&mut *ephemeral);
    Ok(Builder::with_resolver(name.parse()?, Box::new(Resolver { ephemeral })))
}

/// Hands snow its primitives.
struct Resolver {
    ephemeral: Zeroizing<[u8; 32]>,
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn NoiseRandom>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(Curve::default()) as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        DefaultResolver.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        DefaultResolver.resolve_cipher(choice)
    }
}

/// Randomness for the one ephemeral key that a handshake needs; more would be a mistake.
struct Once(Option<Zeroizing<[u8; 32]>>);

impl NoiseRandom for Once {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        let bytes = self.0.take().ok_or(snow::Error::Rng)?;
        let out = <&mut [u8; 32]>::try_from(out).map_err(|_| snow::Error::Rng)?;
        *out = *bytes;
        Ok(())
    }
}

/// X25519.
#[derive(Default)]
struct Curve {
    bytes: Zeroizing<[u8; 32]>,
    public: [u8; 32],
    key: Option<PrivateKey>,
}

impl Curve {
    fn install(&mut self, bytes: Zeroizing<[u8; 32]>) {
        self.public = public_of(&bytes).0;
        self.key = Some(private_key(&bytes));
        self.bytes = bytes;
    }
}

impl Dh for Curve {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, private: &[u8]) {
        let mut bytes = Zeroizing::new([0; 32]);
        bytes.copy_from_slice(private);
        self.install(bytes);
    }

    fn generate(&mut self, rng: &mut dyn NoiseRandom) -> Result<(), snow::Error> {
        let mut bytes = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *bytes)?;
        self.install(bytes);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &*self.bytes
    }

    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let key = self.key.as_ref().ok_or(snow::Error::Dh)?;
        // snow's buffers are larger than a key.
        let public = public.get(..32).ok_or(snow::Error::Dh)?;
        agree(key, UnparsedPublicKey::new(&X25519, public), snow::Error::Dh, |shared| {
            out.get_mut(..32).ok_or(snow::Error::Dh)?.copy_from_slice(shared);
            Ok(())
        })
    }
}
