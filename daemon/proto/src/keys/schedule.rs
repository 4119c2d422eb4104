//! The key schedule: which secret comes from which, and under what label.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::suite::Suite;

/// Which end of the handshake this is.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Hash)]
pub enum Role {
    /// Sent the HELLO.
    Initiator,
    /// Answered it.
    Responder,
}

impl Role {
    /// The other end's role.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// What a finished handshake leaves: one secret for each direction, and the hash of all that was said.
/// Erased when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SessionSecrets {
    from_initiator: [u8; 32],
    from_responder: [u8; 32],
    handshake_hash: [u8; 32],
}

impl SessionSecrets {
    /// Secrets from the split of a Noise handshake and its final hash.
    #[must_use]
    pub fn new(from_initiator: [u8; 32], from_responder: [u8; 32], handshake_hash: [u8; 32]) -> Self {
        Self { from_initiator, from_responder, handshake_hash }
    }

    /// The hash of the whole handshake: equal at both ends, different for any two sessions. Not secret.
    #[must_use]
    pub fn handshake_hash(&self) -> &[u8; 32] {
        &self.handshake_hash
    }

    /// What the next key exchange of this session is bound to.
    pub(crate) fn rekey(&self) -> RekeySecret {
        let mut out = RekeySecret([0; 32]);
        expand(&self.from_initiator, &[b"udpx rekey", &self.handshake_hash], &mut out.0);
        out
    }

    /// The secret of epoch 0 of what `sender` sends on lane number `lane_index`.
    pub(super) fn traffic(&self, sender: Role, lane_index: u16) -> TrafficSecret {
        let (secret, direction) = match sender {
            Role::Initiator => (&self.from_initiator, [0]),
            Role::Responder => (&self.from_responder, [1]),
        };
        let mut out = TrafficSecret([0; 32]);
        let info: [&[u8]; 4] = [b"udpx lane", &direction, &lane_index.to_le_bytes(), &self.handshake_hash];
        expand(secret, &info, &mut out.0);
        out
    }
}

impl core::fmt::Debug for SessionSecrets {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("SessionSecrets").finish_non_exhaustive()
    }
}

/// The pre-shared key of a session's next key exchange. Erased when dropped.
#[derive(Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub(crate) struct RekeySecret([u8; 32]);

impl RekeySecret {
    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl core::fmt::Debug for RekeySecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("RekeySecret(..)")
    }
}

/// The secret of one epoch of one direction of one lane. Erased when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct TrafficSecret([u8; 32]);

impl TrafficSecret {
    /// Becomes the secret of the next epoch; that of this one is overwritten.
    pub(super) fn ratchet(&mut self) {
        let mut next = [0; 32];
        expand(&self.0, &[b"udpx epoch"], &mut next);
        self.0 = next;
        next.zeroize();
    }

    /// Key and IV of this epoch for `suite`.
    pub(super) fn material(&self, suite: Suite) -> KeyMaterial {
        let mut out = KeyMaterial { key: [0; 32], iv: [0; 12] };
        expand(&self.0, &[b"udpx key", &[suite.id()]], &mut out.key);
        expand(&self.0, &[b"udpx iv", &[suite.id()]], &mut out.iv);
        out
    }

    /// Fills `out` with the key of the lane's plain checksums.
    pub(super) fn plain(&self, out: &mut [u8]) {
        expand(&self.0, &[b"udpx plain"], out);
    }
}

/// Key and IV of one epoch. Erased when dropped.
#[derive(Zeroize, ZeroizeOnDrop, PartialEq, Eq)]
pub(super) struct KeyMaterial {
    pub(super) key: [u8; 32],
    pub(super) iv: [u8; 12],
}

impl KeyMaterial {
    /// The nonce of packet `number`: its eight little-endian bytes, xored into the last eight of the IV.
    pub(super) fn nonce(iv: &[u8; 12], number: u64) -> [u8; 12] {
        let mut nonce = *iv;
        for (byte, number) in nonce[4..].iter_mut().zip(number.to_le_bytes()) {
            *byte ^= number;
        }
        nonce
    }
}

/// HKDF-SHA256-Expand (RFC 5869, 2.3). Each label above is followed only by fields of fixed width, so no
/// two uses share an info string.
fn expand(secret: &[u8; 32], info: &[&[u8]], out: &mut [u8]) {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    Prk::new_less_safe(HKDF_SHA256, secret)
        .expand(info, Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("HKDF only fails for more than 8160 bytes of output, and the longest here has 192");
}
