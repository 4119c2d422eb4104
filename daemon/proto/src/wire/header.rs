//! The 16 bytes that begin every packet of a session (PROTOCOL.md 3).

use bytemuck::{Pod, Zeroable};

use super::le::{U32, U64};
use crate::{DropReason, LaneId};

/// The wire version that this code speaks.
pub const VERSION: u8 = 1;

/// Packet numbers end here, long before an epoch counter or a sum could overflow.
pub const NUMBER_MAX: u64 = 1 << 62;

/// What a packet is: the low nibble of its first byte.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Frames, all encrypted.
    Mixed = 1,
    /// One frame of stream data: clear header, encrypted payload.
    Bulk = 2,
    /// One frame of stream data in clear, with a keyed checksum in place of the tag.
    BulkPlain = 3,
    /// Noise message 1.
    Hello = 8,
    /// Noise message 2.
    Reply = 9,
    /// "Come again with this cookie."
    Cookie = 10,
    /// The versions that the sender speaks.
    Versions = 11,
    /// A hint that the sender knows no such lane.
    UnknownSession = 12,
}

impl Kind {
    /// The kind of a datagram whose version is ours, or why it has none.
    ///
    /// # Errors
    /// The reason to drop the datagram.
    pub fn of(datagram: &[u8]) -> Result<Self, DropReason> {
        let &first = datagram.first().ok_or(DropReason::TooShort)?;
        if first >> 4 != VERSION {
            return Err(DropReason::UnknownVersion);
        }
        match first & 15 {
            1 => Ok(Self::Mixed),
            2 => Ok(Self::Bulk),
            3 => Ok(Self::BulkPlain),
            8 => Ok(Self::Hello),
            9 => Ok(Self::Reply),
            10 => Ok(Self::Cookie),
            11 => Ok(Self::Versions),
            12 => Ok(Self::UnknownSession),
            _ => Err(DropReason::UnknownKind),
        }
    }

    /// The first byte of such a packet.
    #[must_use]
    pub const fn first_byte(self) -> u8 {
        VERSION << 4 | self as u8
    }
}

/// Header of MIXED, BULK and BULK_PLAIN.
#[derive(Copy, Clone, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct Header {
    version_kind: u8,
    /// Low eight bits of the key epoch.
    pub epoch: u8,
    flags: u8,
    reserved: u8,
    lane: U32,
    number: U64,
}

const _: () = assert!(size_of::<Header>() == 16 && align_of::<Header>() == 1);

impl Header {
    /// Bytes.
    pub const SIZE: usize = size_of::<Self>();

    /// A header for packet `number` of the lane that the receiver calls `lane`.
    #[must_use]
    pub fn new(kind: Kind, epoch: u8, lane: LaneId, number: u64) -> Self {
        Self {
            version_kind: kind.first_byte(),
            epoch,
            flags: 0,
            reserved: 0,
            lane: U32::new(lane.0),
            number: U64::new(number),
        }
    }

    /// The header of a session packet, and its kind.
    ///
    /// # Errors
    /// The reason to drop the datagram; handshake kinds give [`DropReason::UnknownKind`].
    pub fn parse(datagram: &[u8]) -> Result<(&Self, Kind), DropReason> {
        let kind = Kind::of(datagram)?;
        if !matches!(kind, Kind::Mixed | Kind::Bulk | Kind::BulkPlain) {
            return Err(DropReason::UnknownKind);
        }
        let (header, _) = super::split_off::<Self>(datagram).ok_or(DropReason::TooShort)?;
        if header.flags != 0 || header.reserved != 0 || header.number() > NUMBER_MAX {
            return Err(DropReason::ReservedBits);
        }
        Ok((header, kind))
    }

    /// The receiver's name of the lane.
    #[must_use]
    pub fn lane(&self) -> LaneId {
        LaneId(self.lane.get())
    }

    /// The packet's number.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.get()
    }
}
