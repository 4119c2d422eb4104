//! The checksum of unencrypted BULK packets.
//!
//! It stands where a tag would. Its key is secret, so it catches damage and the forgeries of someone who
//! cannot see the traffic; it is no MAC, and an attacker on the path can make packets that pass. Both
//! ends have to allow unencrypted packets for exactly this peer.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use xxhash_rust::xxh3::xxh3_128_with_secret;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::schedule::TrafficSecret;
use super::suite::TAG_LEN;

/// Bytes of the clear header of a BULK_PLAIN packet: the common header and the frame header.
pub const PLAIN_HEADER: usize = 32;

/// XXH3's own secret size.
const SECRET_LEN: usize = 192;

/// Key of the checksums of one direction of one lane, for all its epochs: the header names the epoch.
#[derive(Zeroize, ZeroizeOnDrop)]
pub(super) struct PlainKey([u8; SECRET_LEN]);

impl PlainKey {
    /// The key that belongs to the direction with this secret of epoch 0.
    pub(super) fn new(secret: &TrafficSecret) -> Self {
        let mut out = Self([0; SECRET_LEN]);
        secret.plain(&mut out.0);
        out
    }

    /// XXH3-128 of packet number, header and payload. The payload is hashed first, where it lies, and
    /// its hash once more together with the rest: so nothing has to be put together in memory.
    pub(super) fn tag(&self, number: u64, header: &[u8], payload: &[u8]) -> [u8; TAG_LEN] {
        let mut rest = [0; 16 + 8 + PLAIN_HEADER];
        rest[..16].copy_from_slice(&xxh3_128_with_secret(payload, &self.0).to_le_bytes());
        rest[16..24].copy_from_slice(&number.to_le_bytes());
        rest[24..].copy_from_slice(header);
        xxh3_128_with_secret(&rest, &self.0).to_le_bytes()
    }

    /// Whether `tag` is right.
    pub(super) fn check(&self, number: u64, header: &[u8], payload: &[u8], tag: &[u8]) -> bool {
        header.len() == PLAIN_HEADER
            && verify_slices_are_equal(&self.tag(number, header, payload), tag).is_ok()
    }
}
