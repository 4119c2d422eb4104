//! A stripe: a contiguous, block-aligned part of a file that travels as one stream.
//!
//! Readers bring its blocks into memory ahead of the sending cursor and answer in any order. What is in memory is hashed, by
//! them or by the engine shortly before it is sent ([`Hashing`](crate::storage::digest::Hashing)); the stream may be sent up to
//! the first byte that is not, and digests of whole blocks are announced up to there.
//!
//! ```text
//!   released       announced        cursor      available      loaded        asked
//!      │  in memory     │ digest known   │  hashed    │  in memory  │  early blocks  │
//! ```

use std::collections::VecDeque;
use std::ops::Range;

use udpx_proto::StreamId;

use super::Streams;
use crate::storage::BLOCK;
use crate::storage::digest::{Cv, HASH_STEP, RunningCv, Subtrees};

/// One stripe of a file being sent. Block numbers are those of the file.
#[derive(Debug)]
pub(crate) struct Stripe {
    bytes: Range<u64>,
    end_block: u64,
    pub(crate) stream: Option<StreamId>,
    /// Next block to ask a reader for.
    asked: u64,
    /// All blocks below are in memory.
    loaded: u64,
    /// Whether the blocks from `loaded` on are.
    early: VecDeque<bool>,
    /// All bytes below are hashed, and can be sent.
    available: u64,
    /// The digest of the block that is being hashed.
    running: RunningCv,
    /// All digests below have been announced.
    announced: u64,
    /// All bytes below have left memory.
    released: u64,
}

impl Stripe {
    fn new(blocks: Range<u64>, subtrees: Subtrees) -> Self {
        Self::over(blocks.start * BLOCK..(blocks.end * BLOCK).min(subtrees.size()), blocks)
    }

    fn over(bytes: Range<u64>, blocks: Range<u64>) -> Self {
        Self {
            available: bytes.start,
            released: bytes.start,
            bytes,
            end_block: blocks.end,
            stream: None,
            asked: blocks.start,
            loaded: blocks.start,
            early: VecDeque::new(),
            running: RunningCv::default(),
            announced: blocks.start,
        }
    }

    /// Cuts a file into `count` stripes of about one size, fewer if it has fewer blocks. An empty file has none.
    pub(crate) fn cut(subtrees: Subtrees, count: u64) -> Vec<Self> {
        let blocks = subtrees.count();
        let count = count.clamp(1, blocks.max(1));
        let bounds = (0..=count).map(|n| blocks * n / count);
        bounds
            .clone()
            .zip(bounds.skip(1))
            .filter(|(a, b)| a < b)
            .map(|(a, b)| Self::new(a..b, subtrees))
            .collect()
    }

    /// The only stripe of a file whose size is not known yet.
    pub(crate) fn endless() -> Self {
        Self::over(0..u64::MAX, 0..u64::MAX)
    }

    /// The end of an endless stripe, before its last block is ready.
    pub(crate) fn finish(&mut self, subtrees: Subtrees) {
        self.bytes.end = subtrees.size();
        self.end_block = subtrees.count();
    }

    /// One past its last byte, if that is known.
    pub(crate) fn end(&self) -> Option<u64> {
        (self.end_block < u64::MAX).then_some(self.bytes.end)
    }

    /// Its bytes in the file.
    pub(crate) fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }

    /// The byte from which it has to be ahead: where its stream stands. Of a stream that is gone everything was sent, and so was
    /// asked for and hashed before.
    pub(crate) fn cursor(&self, streams: &dyn Streams) -> u64 {
        self.stream.and_then(|stream| streams.cursor(stream)).unwrap_or(self.bytes.start)
    }

    /// The next block to ask for, if it lies less than `ahead` blocks beyond the byte `cursor`.
    pub(crate) fn wanted(&self, cursor: u64, ahead: u64) -> Option<u64> {
        let wanted = self.asked < self.end_block && self.asked < cursor / BLOCK + ahead;
        wanted.then_some(self.asked)
    }

    /// The same; it counts as asked for.
    pub(crate) fn ask(&mut self, cursor: u64, ahead: u64) -> Option<u64> {
        let wanted = self.wanted(cursor, ahead)?;
        self.asked += 1;
        Some(wanted)
    }

    pub(crate) fn holds(&self, block: u64) -> bool {
        self.bytes.start / BLOCK <= block && block < self.end_block
    }

    /// A block is in memory, and a reader has hashed it. Returns the byte up to which the stripe can be sent if that has
    /// grown.
    pub(crate) fn on_ready(&mut self, block: u64) -> Option<u64> {
        if self.on_loaded(block) {
            self.available = self.loaded_bytes();
            return Some(self.available);
        }
        None
    }

    /// A block is in memory, and has to be hashed. True if more can be hashed now.
    pub(crate) fn on_loaded(&mut self, block: u64) -> bool {
        let Some(at) = block.checked_sub(self.loaded) else { return false };
        let at = at as usize;
        if self.early.len() <= at {
            self.early.resize(at + 1, false);
        }
        self.early[at] = true;
        let before = self.loaded;
        while self.early.front() == Some(&true) {
            self.early.pop_front();
            self.loaded += 1;
        }
        self.loaded > before
    }

    /// The bytes to hash next, within one block, if they lie less than `ahead` bytes beyond the byte `cursor`.
    pub(crate) fn to_hash(&self, cursor: u64, ahead: u64) -> Option<Range<u64>> {
        let end = (self.available + HASH_STEP).min(self.loaded_bytes());
        let due = self.available < end && self.available < cursor.saturating_add(ahead);
        due.then_some(self.available..end)
    }

    /// Hashes what [`to_hash`](Self::to_hash) said; `bytes` are those. Returns the block that is whole by them, with its value.
    pub(crate) fn hash(&mut self, subtrees: Subtrees, bytes: &[u8]) -> Option<(u64, Cv)> {
        let block = self.available / BLOCK;
        self.running.extend(block, bytes);
        self.available += bytes.len() as u64;
        let whole = self.available == subtrees.range(block).end;
        let cv = if whole { self.running.finish(subtrees) } else { None };
        cv.map(|cv| (block, cv))
    }

    /// The peer has every byte below `settled`: what can leave memory, in whole blocks, if that is `least` bytes.
    pub(crate) fn release(&mut self, settled: u64, least: u64) -> Option<Range<u64>> {
        let range = self.released..settled.min(self.bytes.end) / BLOCK * BLOCK;
        if range.end < range.start + least {
            return None;
        }
        self.released = range.end;
        Some(range)
    }

    /// The byte up to which it can be sent.
    pub(crate) fn available(&self) -> u64 {
        self.available
    }

    /// The byte up to which it is in memory.
    fn loaded_bytes(&self) -> u64 {
        self.loaded.saturating_mul(BLOCK).clamp(self.bytes.start, self.bytes.end)
    }

    /// All blocks below are hashed.
    fn hashed(&self) -> u64 {
        if self.available == self.bytes.end { self.end_block } else { self.available / BLOCK }
    }

    /// Blocks whose digests can be announced and were not: none before `least` have come together, or the last.
    pub(crate) fn to_announce(&self, least: u64, most: u64) -> Range<u64> {
        let hashed = self.hashed();
        let due = hashed - self.announced >= least || hashed == self.end_block;
        let end = if due { hashed.min(self.announced + most) } else { self.announced };
        self.announced..end
    }

    pub(crate) fn on_announced(&mut self, end: u64) {
        self.announced = end;
    }

    pub(crate) fn is_announced(&self) -> bool {
        self.announced == self.end_block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stripes_cover_the_file_exactly() {
        for (size, count, expected) in [
            (0, 4, vec![]),
            (3 * BLOCK, 1, std::iter::once(0..3 * BLOCK).collect()),
            (BLOCK + 1, 4, vec![0..BLOCK, BLOCK..BLOCK + 1]),
            (10 * BLOCK, 3, vec![0..3 * BLOCK, 3 * BLOCK..6 * BLOCK, 6 * BLOCK..10 * BLOCK]),
        ] {
            let stripes = Stripe::cut(Subtrees::of(size).unwrap(), count);
            assert_eq!(stripes.iter().map(Stripe::bytes).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn an_endless_stripe_ends_after_all() {
        let mut stripe = Stripe::endless();
        assert_eq!(
            (stripe.end(), stripe.on_ready(0), stripe.on_ready(1)),
            (None, Some(BLOCK), Some(2 * BLOCK))
        );
        assert_eq!(stripe.to_announce(32, 100), 0..0);
        assert!(!stripe.is_announced());
        stripe.finish(Subtrees::of(2 * BLOCK + 3).unwrap());
        assert_eq!(stripe.on_ready(2), Some(2 * BLOCK + 3));
        assert_eq!((stripe.end(), stripe.to_announce(32, 100)), (Some(2 * BLOCK + 3), 0..3));
    }

    #[test]
    fn what_is_in_memory_is_hashed_in_steps_shortly_before_it_is_sent() {
        let bytes: Vec<u8> = (0..2 * BLOCK + 70_000).map(|at| (at % 251) as u8).collect();
        let subtrees = Subtrees::of(bytes.len() as u64).unwrap();
        let mut stripe = Stripe::cut(subtrees, 1).remove(0);
        assert_eq!(stripe.to_hash(0, BLOCK), None, "nothing is in memory");
        assert!(!stripe.on_loaded(1) && stripe.on_loaded(0) && stripe.on_loaded(2));
        let (mut cursor, mut whole) = (0, Vec::new());
        while stripe.available() < subtrees.size() {
            while let Some(piece) = stripe.to_hash(cursor, 3 * HASH_STEP) {
                assert!(
                    piece.start / BLOCK == (piece.end - 1) / BLOCK && piece.start < cursor + 3 * HASH_STEP
                );
                whole.extend(stripe.hash(subtrees, &bytes[piece.start as usize..piece.end as usize]));
            }
            assert_eq!(stripe.hashed(), whole.len() as u64);
            cursor = stripe.available();
        }
        let cv = |index: u64| {
            let range = subtrees.range(index);
            (index, subtrees.cv(index, &bytes[range.start as usize..range.end as usize]).unwrap())
        };
        assert_eq!(whole, [cv(0), cv(1), cv(2)]);
        assert_eq!(stripe.to_announce(32, 100), 0..3);
    }

    #[test]
    fn what_the_peer_has_is_released_in_whole_blocks() {
        let mut stripe = Stripe::cut(Subtrees::of(9 * BLOCK + 9).unwrap(), 2).remove(1);
        assert_eq!(stripe.bytes(), 5 * BLOCK..9 * BLOCK + 9);
        assert_eq!((stripe.release(0, BLOCK), stripe.release(7 * BLOCK - 1, 2 * BLOCK)), (None, None));
        assert_eq!(stripe.release(7 * BLOCK + 5, 2 * BLOCK), Some(5 * BLOCK..7 * BLOCK));
        assert_eq!(stripe.release(7 * BLOCK + 5, BLOCK), None);
        assert_eq!(stripe.release(u64::MAX, BLOCK), Some(7 * BLOCK..9 * BLOCK));
    }

    #[test]
    fn readiness_and_announcements_follow_the_order_of_the_file() {
        let mut stripe = Stripe::cut(Subtrees::of(5 * BLOCK + 9).unwrap(), 1).remove(0);
        let asked: Vec<u64> = std::iter::from_fn(|| stripe.ask(0, 4)).collect();
        assert_eq!(asked, [0, 1, 2, 3]);
        assert_eq!((stripe.ask(BLOCK - 1, 4), stripe.ask(BLOCK, 4)), (None, Some(4)));
        assert_eq!(stripe.on_ready(1), None);
        assert_eq!(stripe.to_announce(1, 100), 0..0);
        assert_eq!(stripe.on_ready(0), Some(2 * BLOCK));
        assert_eq!((stripe.to_announce(3, 100), stripe.to_announce(2, 1)), (0..0, 0..1));
        stripe.on_announced(2);
        assert_eq!(
            (stripe.on_ready(4), stripe.on_ready(5), stripe.on_ready(2)),
            (None, None, Some(3 * BLOCK))
        );
        assert_eq!(stripe.on_ready(3), Some(5 * BLOCK + 9));
        assert_eq!(stripe.to_announce(32, 100), 2..6);
        assert!(!stripe.is_announced());
        stripe.on_announced(6);
        assert!(stripe.is_announced());
    }
}
