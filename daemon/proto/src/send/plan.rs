//! The plan of one train: headers and the chunks of files that belong behind them, never payload.

use core::net::SocketAddr;

use crate::session::SourceFault;
use crate::wire::TAG;
use crate::wire::bulk::BulkPrefix;
use crate::wire::header::Header;
use crate::{PayloadSource, StreamId};

/// A piece of a stream, by its place in the file.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ChunkRef {
    /// The stream.
    pub stream: StreamId,
    /// Offset of its first byte in the file.
    pub offset: u64,
    /// Bytes.
    pub len: u32,
}

/// What a plan's packets are.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum PlanKind {
    /// A uniform train of sealed stream data.
    #[default]
    Bulk,
    /// A uniform train of stream data in clear.
    BulkPlain,
    /// One datagram of frames.
    Mixed,
    /// One datagram that probes the path MTU: it must go out alone and unfragmented.
    Probe,
}

/// One train, or one datagram. Reused from call to call, so that planning allocates nothing.
#[derive(Debug, Default)]
pub struct Plan {
    pub(crate) kind: PlanKind,
    pub(crate) lane: u8,
    pub(crate) to: Option<SocketAddr>,
    /// Bulk: the prefixes of the packets, in order, with the stream data they carry.
    pub(crate) bulk: Vec<(BulkPrefix, ChunkRef)>,
    /// Mixed: the header, and the plaintext of the frames.
    pub(crate) header: Option<Header>,
    pub(crate) frames: Vec<u8>,
    /// Mixed: holes in `frames` (index) to be filled with chunks.
    pub(crate) holes: Vec<(usize, ChunkRef)>,
}

impl Plan {
    /// Empty, with room for the longest train.
    #[must_use]
    pub fn new() -> Self {
        Self {
            bulk: Vec::with_capacity(crate::limits::TRAIN_PACKETS_MAX),
            frames: Vec::with_capacity(usize::from(crate::limits::DATAGRAM_MAX)),
            holes: Vec::with_capacity(64),
            ..Self::default()
        }
    }

    pub(crate) fn clear(&mut self, kind: PlanKind, lane: u8) {
        self.kind = kind;
        self.lane = lane;
        self.bulk.clear();
        self.header = None;
        self.frames.clear();
        self.holes.clear();
    }

    /// What the packets are.
    #[must_use]
    pub fn kind(&self) -> PlanKind {
        self.kind
    }

    /// Index of the lane in the session.
    #[must_use]
    pub fn lane(&self) -> usize {
        usize::from(self.lane)
    }

    /// Where it goes, on a socket that is not connected.
    #[must_use]
    pub fn to(&self) -> Option<SocketAddr> {
        self.to
    }

    /// Packets.
    #[must_use]
    pub fn count(&self) -> usize {
        match self.kind {
            PlanKind::Bulk | PlanKind::BulkPlain => self.bulk.len(),
            PlanKind::Mixed | PlanKind::Probe => 1,
        }
    }

    /// Bytes of each packet but the last, which may be shorter.
    #[must_use]
    pub fn segment(&self) -> usize {
        match self.bulk.first() {
            Some((prefix, _)) => BulkPrefix::SIZE + prefix.len() + TAG,
            None => Header::SIZE + self.frames.len() + TAG,
        }
    }

    /// Bytes of all packets.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        match self.bulk.last() {
            Some((last, _)) => (self.bulk.len() - 1) * self.segment() + BulkPrefix::SIZE + last.len() + TAG,
            None => self.segment(),
        }
    }

    /// Copies the stream data of a datagram of frames into it, so that it can be sealed where there are no sources.
    ///
    /// # Errors
    /// [`SourceFault`] when the source cannot serve a chunk.
    pub fn fill<P: PayloadSource>(&mut self, source: &P) -> Result<(), SourceFault> {
        for &(at, chunk) in &self.holes {
            let payload = source.chunk(chunk).ok_or(SourceFault(chunk.stream))?;
            self.frames[at..at + payload.len()].copy_from_slice(payload);
        }
        self.holes.clear();
        Ok(())
    }

    /// The stream data of a bulk train, in the order of its packets.
    pub fn chunks(&self) -> impl Iterator<Item = ChunkRef> + '_ {
        self.bulk.iter().map(|(_, chunk)| *chunk).chain(self.holes.iter().map(|(_, chunk)| *chunk))
    }
}
