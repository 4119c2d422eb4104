//! Wire format, version 1: fixed layouts as `bytemuck` structs of align-1 little-endian fields.
//!
//! Parsing is a cast: [`bytemuck::try_from_bytes`] on the exact bytes, then one check that turns them
//! into types which cannot be wrong. Inner code never checks again.

pub mod bulk;
pub mod frame;
pub mod header;
pub mod le;
pub mod sack;

/// Bytes of an AEAD tag, or of the checksum that stands in its place in plain BULK packets.
pub const TAG: usize = 16;

/// Splits a `T` off the front of `bytes`, without copying.
pub(crate) fn split_off<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Option<(&T, &[u8])> {
    let (head, rest) = bytes.split_at_checked(size_of::<T>())?;
    // T has alignment 1 (each wire struct asserts it), so only the length could be wrong.
    bytemuck::try_from_bytes(head).ok().map(|head| (head, rest))
}
