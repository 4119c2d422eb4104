//! A put of a file that is mapped. What lies ahead of the cursor the engine may hash itself, shortly before it seals it: then the
//! cipher finds it in the cache. What the peer has leaves memory.

use std::sync::Arc;

use super::{Put, PutCx};
use crate::storage::digest::HASH_STEP;
use crate::storage::readers::{ReadJob, ReadRequest};
use crate::storage::source::Source;

impl Put {
    /// Hashes what is in memory a little ahead of the sending cursor. Nothing is there to be done where readers hash: they
    /// call blocks ready only then. True if a stream that had nothing left to send, or too little for a train
    /// or even a packet, can go on.
    pub(super) fn hash_ahead(&mut self, cx: &mut PutCx<'_>) -> bool {
        let Some(source) = self.source.clone().filter(|source| source.is_in_memory() && !self.doubted) else {
            return false;
        };
        let mut goes_on = false;
        let (subtrees, ahead) = (source.subtrees(), HASH_AHEAD / self.stripes.len().max(1) as u64);
        for stripe in &mut self.stripes {
            let before = stripe.available();
            let cursor = stripe.cursor(&*cx.streams);
            while let Some(piece) = stripe.to_hash(cursor, ahead.max(2 * HASH_STEP)) {
                let bytes = source.slice(piece.start, (piece.end - piece.start) as usize);
                let whole = bytes.map(|bytes| stripe.hash(subtrees, bytes));
                // Its bytes are trusted only if it carries no mark after they were read.
                let Some(whole) = whole.filter(|_| !source.is_changed()) else {
                    self.doubted = true;
                    self.read(ReadJob::Verify { source }, cx);
                    return false;
                };
                if let Some((block, cv)) = whole {
                    self.tree.set(block, cv);
                }
            }
            if stripe.available() > before
                && let Some(stream) = stripe.stream
            {
                cx.streams.extend(stream, stripe.available());
                goes_on |= before.saturating_sub(cursor) < HASH_STEP;
            }
        }
        goes_on
    }

    /// Has readers take out of memory what the peer has: so a file of any size needs little, and its end costs no more than that.
    pub(super) fn release_mapped(&mut self, source: &Arc<Source>, cx: &mut PutCx<'_>) {
        for stripe in &mut self.stripes {
            let Some(settled) = stripe.stream.and_then(|stream| cx.streams.settled(stream)) else { continue };
            if let Some(range) = stripe.release(settled, RELEASE_LEAST) {
                let job = ReadJob::Release { source: source.clone(), range };
                cx.queue.read(ReadRequest { tag: self.tag, job });
            }
        }
    }
}

/// Bytes that are taken out of memory together: some hundred microseconds of a reader.
const RELEASE_LEAST: u64 = 8 << 20;

/// Bytes of one file that are hashed ahead of the cursors, over all its stripes: some batches of trains, and half of what a
/// core's second-level cache holds.
const HASH_AHEAD: u64 = 512 << 10;
