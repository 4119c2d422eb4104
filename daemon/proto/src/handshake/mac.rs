//! Keyed BLAKE3 MACs over handshake packets.
//!
//! Their keys come from a *public* key, so they prove no identity: they show that the sender knows whom
//! it talks to, which scans of the address space do not, before any curve arithmetic is spent on it.

use super::identity::PublicKey;

/// Bytes of a MAC.
pub(super) const MAC_LEN: usize = 16;

/// The key of one purpose for packets to the owner of one public key.
#[derive(Clone)]
pub(super) struct MacKey([u8; 32]);

impl MacKey {
    /// For HELLOs to this responder.
    pub(super) fn hello(responder: &PublicKey) -> Self {
        Self(blake3::derive_key("udpx v1 HELLO mac", &responder.0))
    }

    /// For REPLYs to this initiator.
    pub(super) fn reply(initiator: &PublicKey) -> Self {
        Self(blake3::derive_key("udpx v1 REPLY mac", &initiator.0))
    }

    /// For the sealing of COOKIEs of this responder.
    pub(super) fn cookie(responder: &PublicKey) -> Self {
        Self(blake3::derive_key("udpx v1 COOKIE", &responder.0))
    }

    /// From a secret.
    pub(super) fn derive(context: &str, secret: &[u8]) -> Self {
        Self(blake3::derive_key(context, secret))
    }

    /// A key of random bytes.
    pub(super) fn random(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The MAC of `bytes`.
    pub(super) fn mac(&self, bytes: &[u8]) -> [u8; MAC_LEN] {
        let hash = blake3::keyed_hash(&self.0, bytes);
        *hash.as_bytes().first_chunk().expect("a hash has 32 bytes")
    }

    /// Writes the MAC of all that stands before into the last bytes of `packet`.
    pub(super) fn sign(&self, packet: &mut [u8]) {
        let (body, mac) = packet.split_last_chunk_mut().expect("every packet of the handshake ends in a MAC");
        *mac = self.mac(body);
    }

    /// Whether the last bytes of `packet` are the MAC of all that stands before.
    pub(super) fn verify(&self, packet: &[u8]) -> bool {
        packet.split_last_chunk().is_some_and(|(body, mac)| same(&self.mac(body), mac))
    }
}

/// Compares in constant time.
pub(super) fn same(a: &[u8; MAC_LEN], b: &[u8; MAC_LEN]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}
