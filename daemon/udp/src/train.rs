//! The train: equal packets, a shorter last one, one destination, one ECN mark.
//!
//! A train is stored as bytes and a segment size; packet `i` is the `i`-th cut of those bytes. This is also how
//! the kernel cuts a GSO message, so a train that is not uniform cannot be written down. [`Cutter`] makes the
//! same cuts in user space for the packets that have to go out singly.

use std::io::IoSlice;
use std::net::SocketAddr;

use thiserror::Error;

/// Packets in one train at most: `UDP_MAX_SEGMENTS` of every kernel before 6.9, and what `UDP_GRO` merges today.
pub const SEGMENTS_MAX: usize = 64;

/// Payload bytes of a train of more than one packet at most. The kernel's limit is a 65,535-byte IP packet; the
/// margin covers the largest headers, IPv6 extension headers included.
pub const TRAIN_BYTES_MAX: usize = 65_000;

/// Payload bytes of one datagram at most: 65,535 less the IPv4 and UDP headers.
pub const DATAGRAM_BYTES_MAX: usize = 65_507;

/// Trains in one batch, and GSO messages in one `sendmmsg`, at most. Beyond this the call's fixed cost is already
/// spread over 700 full packets, and a longer call would only delay the clock and the receive side.
pub const TRAINS_MAX: usize = 16;

/// Why a train was not queued. Nothing was added to the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TrainError {
    /// All slots of the batch hold a train: send it first.
    #[error("The batch is full: send it before adding a train.")]
    Full,
    /// The segment size is 0 or above [`DATAGRAM_BYTES_MAX`].
    #[error("A segment size must be between 1 and 65,507 bytes.")]
    SegmentSize,
    /// No byte was written.
    #[error("A train needs at least one byte.")]
    Empty,
    /// More than [`train_bytes_max`] bytes, or more slices than the batch has room for.
    #[error("The train is longer than one GSO message can be: split it.")]
    TooLong,
}

/// Packets of `segment_size` bytes that one train can hold: at least 1, at most [`SEGMENTS_MAX`].
#[must_use]
pub fn packets_max(segment_size: u16) -> usize {
    (TRAIN_BYTES_MAX / usize::from(segment_size.max(1))).clamp(1, SEGMENTS_MAX)
}

/// Bytes that one train of `segment_size`-byte packets can hold.
#[must_use]
pub fn train_bytes_max(segment_size: u16) -> usize {
    packets_max(segment_size) * usize::from(segment_size)
}

/// Everything about a train but its bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) destination: Option<SocketAddr>,
    /// The two ECN bits.
    pub(crate) ecn: u8,
    pub(crate) segment: u16,
    pub(crate) bytes: usize,
    /// Its packets are messages of their own.
    pub(crate) singly: bool,
}

impl Shape {
    /// A train still without bytes.
    pub(crate) fn open(destination: Option<SocketAddr>, ecn: u8, segment: u16) -> Result<Self, TrainError> {
        if segment == 0 || usize::from(segment) > DATAGRAM_BYTES_MAX {
            return Err(TrainError::SegmentSize);
        }
        Ok(Self { destination, ecn: ecn & ECN_MASK, segment, bytes: 0, singly: false })
    }

    /// The same train with its bytes counted and checked.
    pub(crate) fn closed(self, bytes: usize) -> Result<Self, TrainError> {
        if bytes == 0 {
            return Err(TrainError::Empty);
        }
        if bytes > train_bytes_max(self.segment) {
            return Err(TrainError::TooLong);
        }
        Ok(Self { bytes, ..self })
    }

    pub(crate) fn packets(&self) -> usize {
        self.bytes.div_ceil(usize::from(self.segment))
    }

    /// Bytes of packet `index`, which is less than `packets()`.
    pub(crate) fn packet_bytes(&self, index: usize) -> usize {
        let segment = usize::from(self.segment);
        segment.min(self.bytes - index * segment)
    }
}

/// A train as the send path sees it, whoever owns the bytes.
#[derive(Clone, Copy)]
pub(crate) struct Train<'a> {
    pub(crate) shape: Shape,
    /// Slices that add up to `shape.bytes`.
    pub(crate) parts: &'a [IoSlice<'a>],
}

/// How far a list of trains has been handed to the kernel, and how the train at hand is being sent.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cursor {
    pub(crate) train: usize,
    /// Packets of that train already sent or dropped one by one.
    pub(crate) packet: usize,
    /// The kernel refused this train as a GSO message.
    pub(crate) singly: bool,
    /// Refused by EINVAL or EMSGSIZE, and no single packet of it has been refused so far: then size was not
    /// the cause.
    pub(crate) suspect: bool,
    /// The message at the cursor was already sent a second time after a pending socket error.
    pub(crate) retried: bool,
    /// The first time it was refused as too large.
    pub(crate) doubted: bool,
}

impl Cursor {
    pub(crate) fn next_train(&mut self) {
        *self = Self { train: self.train + 1, ..Self::default() };
    }
}

/// Cuts the slices of a train at packet boundaries.
pub(crate) struct Cutter<'a> {
    parts: &'a [IoSlice<'a>],
    /// Bytes of `parts[0]` already cut off.
    offset: usize,
}

impl<'a> Cutter<'a> {
    /// A cutter that has already left `skip` bytes behind.
    pub(crate) fn new(parts: &'a [IoSlice<'a>], skip: usize) -> Self {
        let mut cutter = Self { parts, offset: 0 };
        cutter.cut(skip, |_| {});
        cutter
    }

    /// Slices that the next packet touches at most.
    pub(crate) fn parts_left(&self) -> usize {
        self.parts.len()
    }

    /// Hands out the slices of the next `bytes` bytes.
    pub(crate) fn cut(&mut self, mut bytes: usize, mut take: impl FnMut(&'a [u8])) {
        while bytes > 0 {
            let Some((first, rest)) = self.parts.split_first() else { return };
            let left = &first[self.offset..];
            let piece = &left[..bytes.min(left.len())];
            if !piece.is_empty() {
                take(piece);
            }
            bytes -= piece.len();
            if piece.len() == left.len() {
                self.parts = rest;
                self.offset = 0;
            } else {
                self.offset += piece.len();
            }
        }
    }
}

/// ECN is the low two bits of the TOS byte and of the traffic class (RFC 3168, 5).
pub(crate) const ECN_MASK: u8 = 0b11;

// A GRO buffer must hold any train that a peer may send.
const _: () = assert!(TRAIN_BYTES_MAX <= DATAGRAM_BYTES_MAX && DATAGRAM_BYTES_MAX < 65_536);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_follow_the_kernel() {
        assert_eq!(packets_max(1472), 44);
        assert_eq!(packets_max(1000), 64);
        assert_eq!(packets_max(65_507), 1);
        assert_eq!(train_bytes_max(65_507), 65_507);
        assert_eq!(Shape::open(None, 0, 0).unwrap_err(), TrainError::SegmentSize);
        assert_eq!(Shape::open(None, 0, 65_508).unwrap_err(), TrainError::SegmentSize);
        let open = Shape::open(None, 0xff, 1000).unwrap();
        assert_eq!(open.ecn, 3);
        assert_eq!(open.closed(0).unwrap_err(), TrainError::Empty);
        assert_eq!(open.closed(64_001).unwrap_err(), TrainError::TooLong);
        let train = open.closed(2500).unwrap();
        assert_eq!((train.packets(), train.packet_bytes(1), train.packet_bytes(2)), (3, 1000, 500));
    }

    #[test]
    fn cutter_makes_the_same_cuts_whatever_the_slices() {
        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let lists = [vec![5000], vec![1, 999, 1000, 0, 3000], vec![32, 968, 48, 1952, 2000], vec![4999, 1]];
        for list in lists {
            let mut rest = &bytes[..];
            let parts: Vec<IoSlice<'_>> = list
                .iter()
                .map(|&len| {
                    let (head, tail) = rest.split_at(len);
                    rest = tail;
                    IoSlice::new(head)
                })
                .collect();
            for skip in [0, 1000, 2000] {
                let mut cutter = Cutter::new(&parts, skip);
                for packet in bytes[skip..].chunks(1000) {
                    let mut joined = Vec::new();
                    cutter.cut(packet.len(), |piece| joined.extend_from_slice(piece));
                    assert_eq!(joined, packet);
                }
            }
        }
    }
}
