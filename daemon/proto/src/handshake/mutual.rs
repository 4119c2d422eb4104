//! How somebody who is known here says so before anything is computed for them.
//!
//! Two daemons that know each other's keys share a secret that nobody else can compute: X25519 of one's private and the
//! other's public key. A HELLO carries a MAC under it, the *introduction*; so does one with a ticket, under the ticket's
//! secret. A responder under load tells by it, for the price of one short hash a peer, whose HELLOs are worth a
//! handshake. It is a filter and no authentication, which the handshake is: a recorded HELLO has a good introduction too.
//! Under another's key nothing can be told of it, so it does not show who calls.

use aws_lc_rs::agreement::{UnparsedPublicKey, X25519, agree};
use zeroize::Zeroizing;

use super::identity::{Psk, PublicKey, StaticSecret, private_key};
use super::mac::{MAC_LEN, MacKey, same};
use super::noise::Prologue;

/// Bytes of an introduction.
pub(super) const INTRODUCTION_LEN: usize = MAC_LEN;

const CONTEXT: &str = "udpx v1 introduction";

/// What two daemons share that know each other's keys, or the two ends of a ticket.
#[derive(Clone)]
pub struct MutualKey(MacKey);

impl MutualKey {
    /// Of this daemon and another one; `None` if that key is a point of low order, which no daemon has.
    #[must_use]
    pub fn new(local: &StaticSecret, peer: &PublicKey) -> Option<Self> {
        let key = private_key(local.as_bytes());
        agree(&key, UnparsedPublicKey::new(&X25519, &peer.0), (), |shared| {
            let shared = Zeroizing::new(<[u8; 32]>::try_from(shared).map_err(|_| ())?);
            Ok(Self(MacKey::derive(CONTEXT, &*shared)))
        })
        .ok()
    }

    /// Of whoever holds a ticket.
    pub(super) fn of_ticket(secret: &Psk) -> Self {
        Self(MacKey::derive(CONTEXT, secret.as_bytes()))
    }

    pub(super) fn introduce(&self, prologue: &Prologue, noise: &[u8]) -> [u8; INTRODUCTION_LEN] {
        self.0.mac(&digest(prologue, noise))
    }
}

impl core::fmt::Debug for MutualKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("MutualKey(..)")
    }
}

/// What a HELLO says of its sender.
#[derive(Copy, Clone, Debug)]
pub struct Introduction {
    digest: [u8; 32],
    mac: [u8; INTRODUCTION_LEN],
}

impl Introduction {
    /// `None` if it says nothing.
    pub(super) fn of(prologue: &Prologue, noise: &[u8], mac: &[u8; INTRODUCTION_LEN]) -> Option<Self> {
        (*mac != [0; INTRODUCTION_LEN]).then(|| Self { digest: digest(prologue, noise), mac: *mac })
    }

    /// Whether it was made with this key.
    #[must_use]
    pub fn is_by(&self, key: &MutualKey) -> bool {
        same(&key.0.mac(&self.digest), &self.mac)
    }
}

/// Everything of a HELLO but its cookie, so that it need not be computed again for one.
fn digest(prologue: &Prologue, noise: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&prologue.encode());
    hasher.update(noise);
    *hasher.finalize().as_bytes()
}
