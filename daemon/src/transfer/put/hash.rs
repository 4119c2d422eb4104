//! A put whose blocks the engine hashes itself, shortly before it seals them: then the cipher finds them in the cache.

use super::{Put, PutCx};
use crate::storage::digest::HASH_STEP;
use crate::storage::readers::ReadJob;

impl Put {
    /// Hashes what is in memory a little ahead of the sending cursor. Nothing is there to be done where readers hash: they
    /// call blocks ready only then. True if a stream that had nothing left to send can go on.
    pub(super) fn hash_ahead(&mut self, cx: &mut PutCx<'_>) -> bool {
        let Some(source) = self.source.clone().filter(|source| source.is_in_memory() && !self.doubted) else {
            return false;
        };
        let mut goes_on = false;
        let (subtrees, ahead) = (source.subtrees(), HASH_AHEAD / self.stripes.len().max(1) as u64);
        for stripe in &mut self.stripes {
            let before = stripe.available();
            // A stream that is gone was sent whole; then everything was hashed.
            let cursor =
                stripe.stream.and_then(|stream| cx.streams.cursor(stream)).unwrap_or(stripe.bytes().start);
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
                goes_on |= cursor == before;
            }
        }
        goes_on
    }
}

/// Bytes of one file that are hashed ahead of the cursors, over all its stripes: some batches of trains, and half of what a
/// core's second-level cache holds.
const HASH_AHEAD: u64 = 512 << 10;
