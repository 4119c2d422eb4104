//! Memory that stands for a file at both ends, where what it holds is of no interest.

use crate::{BLOCK, ChunkRef, PayloadSink, PayloadSource, StreamId};

/// Source and staging memory that are just there: any offset leads to the same bytes.
#[derive(Debug)]
pub struct Memory {
    bytes: Vec<u8>,
    /// Bytes that were committed since this was last taken, for [`Session::bytes_written`](crate::Session::bytes_written).
    pub unwritten: u64,
}

impl Memory {
    /// As much as any packet carries, of that byte.
    #[must_use]
    pub fn of(byte: u8) -> Self {
        Self { bytes: vec![byte; 1 << 16], unwritten: 0 }
    }
}

impl PayloadSource for Memory {
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        self.bytes.get(..chunk.len as usize)
    }
}

impl PayloadSink for Memory {
    fn stage(&mut self, _: StreamId, offset: u64, len: usize) -> Option<&mut [u8]> {
        assert!(len > 0 && offset / BLOCK == (offset + (len as u64 - 1)) / BLOCK, "one block");
        self.bytes.get_mut(..len)
    }

    fn commit(&mut self, _: StreamId, _: u64, len: usize, _: bool) {
        self.unwritten += len as u64;
    }
}
