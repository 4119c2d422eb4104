//! BULK packets: one frame of stream data behind a clear 32-byte prefix (PROTOCOL.md 4).

use bytemuck::{Pod, Zeroable};

use super::TAG;
use super::header::{Header, Kind};
use super::le::{U16, U32, U64};
use crate::limits::OFFSET_MAX;
use crate::{DropReason, StreamId};

/// The frame header of a BULK packet.
#[derive(Copy, Clone, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct BulkFrame {
    stream: U32,
    length: U16,
    flags: U16,
    offset: U64,
}

const _: () = assert!(size_of::<BulkFrame>() == 16 && align_of::<BulkFrame>() == 1);

/// Header and frame header: what the tag authenticates beside the payload.
#[derive(Copy, Clone, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct BulkPrefix {
    /// Common header.
    pub header: Header,
    frame: BulkFrame,
}

const _: () = assert!(size_of::<BulkPrefix>() == 32 && align_of::<BulkPrefix>() == 1);

/// Bytes that a BULK packet adds to its payload.
pub const OVERHEAD: usize = size_of::<BulkPrefix>() + TAG;

/// A BULK datagram, its lengths checked.
#[derive(Copy, Clone, Debug)]
pub struct Bulk<'a> {
    /// The stream.
    pub stream: StreamId,
    /// Offset of the first payload byte in the file.
    pub offset: u64,
    /// Bytes of payload, at least 1.
    pub len: usize,
    /// The authenticated prefix.
    pub aad: &'a [u8],
    /// Payload (encrypted or not) and tag.
    pub sealed: &'a [u8],
}

impl BulkPrefix {
    /// Bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// The prefix of a packet with `len` payload bytes at `offset`.
    #[must_use]
    pub fn new(header: Header, stream: StreamId, offset: u64, len: u16) -> Self {
        Self {
            header,
            frame: BulkFrame {
                stream: U32::new(stream.0),
                length: U16::new(len),
                flags: U16::new(0),
                offset: U64::new(offset),
            },
        }
    }

    /// Payload bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a parsed packet always has some")]
    pub fn len(&self) -> usize {
        usize::from(self.frame.length.get())
    }

    /// Offset of the payload in the file.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.frame.offset.get()
    }

    /// The stream.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        StreamId(self.frame.stream.get())
    }
}

impl<'a> Bulk<'a> {
    /// Takes a datagram of kind BULK or BULK_PLAIN apart.
    ///
    /// # Errors
    /// The reason to drop it.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, DropReason> {
        let (prefix, sealed) = super::split_off::<BulkPrefix>(datagram).ok_or(DropReason::TooShort)?;
        let len = prefix.len();
        if len == 0 || sealed.len() != len + TAG {
            return Err(DropReason::BadLength);
        }
        if prefix.frame.flags.get() != 0 {
            return Err(DropReason::ReservedBits);
        }
        let offset = prefix.offset();
        if offset > OFFSET_MAX - len as u64 {
            return Err(DropReason::BadLength);
        }
        Ok(Self { stream: prefix.stream(), offset, len, aad: &datagram[..BulkPrefix::SIZE], sealed })
    }
}

/// Whether a kind carries stream data in the clear frame header.
#[must_use]
pub const fn is_bulk(kind: Kind) -> bool {
    matches!(kind, Kind::Bulk | Kind::BulkPlain)
}
