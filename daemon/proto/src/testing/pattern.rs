//! Files that need no memory: their bytes are a function of (file, offset), so a sink can verify each
//! piece as it is committed.

use std::collections::HashMap;

use super::net::SimRng;
use crate::range_tracker::RangeTracker;
use crate::send::plan::ChunkRef;
use crate::wire::frame::END_UNKNOWN;
use crate::{PayloadSink, PayloadSource, StreamId};

/// The bytes behind all files: a random buffer that is read from a place that depends on the file.
#[derive(Debug)]
pub struct Pattern {
    bytes: Vec<u8>,
}

/// A prime, so that equal pieces at block distances differ.
const PERIOD: u64 = 1_048_583;
const PIECE_MAX: usize = 1 << 16;

impl Default for Pattern {
    fn default() -> Self {
        let mut rng = SimRng::new(0x0070_6174);
        let mut bytes: Vec<u8> = (0..PERIOD.div_ceil(8)).flat_map(|_| rng.next_u64().to_le_bytes()).collect();
        bytes.truncate(PERIOD as usize);
        bytes.extend_from_within(..PIECE_MAX);
        Self { bytes }
    }
}

impl Pattern {
    /// `len` (at most 65,536) bytes of `file` from `offset` on.
    #[must_use]
    pub fn piece(&self, file: u64, offset: u64, len: usize) -> &[u8] {
        let at = (offset % PERIOD + file.wrapping_mul(7919) % PERIOD) % PERIOD;
        &self.bytes[at as usize..at as usize + len]
    }
}

/// Serves outgoing streams from a pattern; `files` names the file of each stream.
#[derive(Debug)]
pub struct PatternSource<'a> {
    /// The bytes.
    pub pattern: &'a Pattern,
    /// File of each stream.
    pub files: &'a HashMap<StreamId, u64>,
}

impl PayloadSource for PatternSource<'_> {
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        let file = *self.files.get(&chunk.stream)?;
        Some(self.pattern.piece(file, chunk.offset, chunk.len as usize))
    }
}

/// A sink that keeps no data: it checks every committed piece against the pattern, and that no byte is
/// committed twice.
#[derive(Debug)]
pub struct VerifyingSink {
    pattern: Pattern,
    /// File of each incoming stream, as the test knows it from the sender.
    pub files: HashMap<StreamId, u64>,
    staged: Vec<u8>,
    committed: HashMap<StreamId, RangeTracker>,
    /// Bytes committed and not yet given back to the session.
    pub unwritten: u64,
    /// Blocks reported complete.
    pub blocks_done: u64,
    /// Refuse so many `stage` calls.
    pub refuse: u64,
}

impl Default for VerifyingSink {
    fn default() -> Self {
        Self {
            pattern: Pattern::default(),
            files: HashMap::new(),
            staged: vec![0; PIECE_MAX],
            committed: HashMap::new(),
            unwritten: 0,
            blocks_done: 0,
            refuse: 0,
        }
    }
}

impl VerifyingSink {
    /// Bytes of a stream that were committed.
    #[must_use]
    pub fn bytes_of(&self, stream: StreamId) -> u64 {
        self.committed.get(&stream).map_or(0, RangeTracker::settled)
    }
}

impl PayloadSink for VerifyingSink {
    fn stage(&mut self, _: StreamId, _: u64, len: usize) -> Option<&mut [u8]> {
        if self.refuse > 0 {
            self.refuse -= 1;
            return None;
        }
        self.staged.get_mut(..len)
    }

    fn commit(&mut self, stream: StreamId, offset: u64, len: usize, block_done: bool) {
        self.blocks_done += u64::from(block_done);
        if len == 0 {
            return;
        }
        let file = *self.files.get(&stream).expect("data of a stream that was never opened");
        assert_eq!(&self.staged[..len], self.pattern.piece(file, offset, len), "{stream:?} at {offset}");
        let ranges = self.committed.entry(stream).or_insert_with(|| RangeTracker::new(0, END_UNKNOWN));
        assert_eq!(ranges.insert_across(offset, len as u64), len as u64, "{stream:?}: {offset} twice");
        self.unwritten += len as u64;
    }
}
