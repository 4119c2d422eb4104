//! Who is who: static keys, pre-shared keys and tickets.

use aws_lc_rs::agreement::{PrivateKey, X25519};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::Random;

/// An X25519 public key: the name of a daemon.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PublicKey(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// A daemon's X25519 private key, with its public key. Erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct StaticSecret {
    bytes: [u8; 32],
    #[zeroize(skip)]
    public: PublicKey,
}

impl StaticSecret {
    /// The key with these bytes, as they stand in a key file.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self { bytes, public: public_of(&bytes) }
    }

    /// A new key.
    pub fn generate(rng: &mut dyn Random) -> Self {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        let secret = Self::from_bytes(bytes);
        bytes.zeroize();
        secret
    }

    /// The bytes, for the key file.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.bytes
    }

    /// Its public key.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        self.public
    }
}

impl core::fmt::Debug for StaticSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("StaticSecret").field("public", &self.public).finish_non_exhaustive()
    }
}

/// The private key in the form that can agree.
pub(super) fn private_key(bytes: &[u8; 32]) -> PrivateKey {
    PrivateKey::from_private_key(&X25519, bytes).expect("any 32 bytes are an X25519 private key")
}

/// The public key of the private key `bytes`.
pub(super) fn public_of(bytes: &[u8; 32]) -> PublicKey {
    let key = private_key(bytes).compute_public_key().expect("every X25519 private key has a public key");
    PublicKey(key.as_ref().try_into().expect("an X25519 public key has 32 bytes"))
}

/// A pre-shared key of two daemons, or the secret of a ticket. Erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Psk([u8; 32]);

impl Psk {
    /// All zeros: what two daemons use that share no key.
    pub const NONE: Self = Self([0; 32]);

    /// The key with these bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key that belongs to a ticket's secret of any length.
    #[must_use]
    pub fn from_ticket_secret(secret: &[u8]) -> Self {
        Self(blake3::derive_key("udpx v1 ticket secret", secret))
    }

    pub(super) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl core::fmt::Debug for Psk {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Psk").finish_non_exhaustive()
    }
}

/// The public name of an invitation; sent in clear, so that the inviter finds its secret.
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct TicketId(pub [u8; 16]);

impl TicketId {
    /// No ticket.
    pub const NONE: Self = Self([0; 16]);
}

/// An invitation, as the invited end holds it.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Its name.
    pub id: TicketId,
    /// Its secret, good for one handshake.
    pub secret: Psk,
}
