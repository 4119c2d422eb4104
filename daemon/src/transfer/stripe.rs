//! A stripe: a contiguous, block-aligned part of a file that travels as one stream.
//!
//! Readers prepare its blocks ahead of the sending cursor and answer in any order; the stream may be sent up to the
//! first block that is not ready, and digests are announced up to there.

use std::collections::VecDeque;
use std::ops::Range;

use udpx_proto::StreamId;

use crate::storage::BLOCK;
use crate::storage::digest::Subtrees;

/// One stripe of a file being sent. Block numbers are those of the file.
#[derive(Debug)]
pub(crate) struct Stripe {
    bytes: Range<u64>,
    end_block: u64,
    pub(crate) stream: Option<StreamId>,
    /// Next block to ask a reader for.
    asked: u64,
    /// All blocks below are ready.
    ready: u64,
    /// Whether the blocks from `ready` on are.
    early: VecDeque<bool>,
    /// All digests below have been announced.
    announced: u64,
}

impl Stripe {
    fn new(blocks: Range<u64>, subtrees: Subtrees) -> Self {
        Self {
            bytes: blocks.start * BLOCK..(blocks.end * BLOCK).min(subtrees.size()),
            end_block: blocks.end,
            stream: None,
            asked: blocks.start,
            ready: blocks.start,
            early: VecDeque::new(),
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
        Self {
            bytes: 0..u64::MAX,
            end_block: u64::MAX,
            stream: None,
            asked: 0,
            ready: 0,
            early: VecDeque::new(),
            announced: 0,
        }
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

    /// A block is ready. Returns the byte up to which the stripe can be sent if that has grown.
    pub(crate) fn on_ready(&mut self, block: u64) -> Option<u64> {
        let at = block.checked_sub(self.ready)? as usize;
        if self.early.len() <= at {
            self.early.resize(at + 1, false);
        }
        self.early[at] = true;
        let before = self.ready;
        while self.early.front() == Some(&true) {
            self.early.pop_front();
            self.ready += 1;
        }
        (self.ready > before).then(|| self.available())
    }

    /// The byte up to which it can be sent.
    pub(crate) fn available(&self) -> u64 {
        self.ready.saturating_mul(BLOCK).clamp(self.bytes.start, self.bytes.end)
    }

    /// Blocks whose digests can be announced and were not: none before `least` have come together, or the last.
    pub(crate) fn to_announce(&self, least: u64, most: u64) -> Range<u64> {
        let due = self.ready - self.announced >= least || self.ready == self.end_block;
        let end = if due { self.ready.min(self.announced + most) } else { self.announced };
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
