//! Which bytes of a stream are settled: received at one end, acknowledged at the other.
//!
//! Bytes are tracked by blocks of 1 MiB, each with a short sorted list of runs, so a packet touches one
//! list of at most some hundred entries and, in order, only its last one. Finished blocks cost nothing:
//! they leave the front, or wait behind it as a flag.

use std::collections::VecDeque;

use crate::limits::{BLOCK, RUNS_MAX};

/// The settled bytes of [start, end) of one file.
#[derive(Debug)]
pub(crate) struct RangeTracker {
    start: u64,
    end: u64,
    /// Index in the file of `blocks[0]`; all blocks of the stream below it are done.
    first_block: u64,
    blocks: VecDeque<Block>,
    settled: u64,
    /// Run lists of finished blocks, kept for the next ones.
    spare: Vec<Vec<Run>>,
}

#[derive(Debug, Default)]
struct Block {
    runs: Vec<Run>,
    done: bool,
}

/// [start, end) within a block.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
struct Run {
    start: u32,
    end: u32,
}

/// What inserting a range did.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inserted {
    /// Bytes that were not settled before.
    pub(crate) fresh: u64,
    /// All bytes of a block that belong to the stream are settled now, and were not before.
    pub(crate) block_done: bool,
}

/// How a range relates to what is settled.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub(crate) enum Overlap {
    None,
    Some,
    All,
}

impl RangeTracker {
    pub(crate) fn new(start: u64, end: u64) -> Self {
        Self {
            start,
            end,
            first_block: start / BLOCK,
            blocks: VecDeque::new(),
            settled: 0,
            spare: Vec::new(),
        }
    }

    /// Settled bytes.
    pub(crate) fn settled(&self) -> u64 {
        self.settled
    }

    /// One past the last byte of the stream.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// First byte of the stream.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// All of the stream is settled.
    pub(crate) fn is_complete(&self) -> bool {
        self.settled == self.end - self.start
    }

    /// Everything of the stream below this offset is settled, by whole blocks.
    pub(crate) fn settled_below(&self) -> u64 {
        (self.first_block * BLOCK).clamp(self.start, self.end)
    }

    /// The end of a stream whose length was unknown until now; false if settled bytes lie beyond it.
    /// Reports the blocks that this completes through `done`, by their first offset.
    pub(crate) fn set_end(&mut self, end: u64, mut done: impl FnMut(u64)) -> bool {
        if end < self.highest() || end < self.start {
            return false;
        }
        self.end = end;
        let index = end / BLOCK;
        if end > self.start && !end.is_multiple_of(BLOCK) && index >= self.first_block {
            let at = (index - self.first_block) as usize;
            let want = self.block_span(index);
            if let Some(block) = self.blocks.get_mut(at)
                && !block.done
                && block.runs.len() == 1
                && (block.runs[0].start, block.runs[0].end) == want
            {
                block.done = true;
                done((index * BLOCK).max(self.start));
            }
        }
        self.retire();
        true
    }

    /// The block of `offset` has more holes than an honest sender makes.
    pub(crate) fn is_ragged(&self, offset: u64) -> bool {
        let index = (offset / BLOCK).wrapping_sub(self.first_block);
        self.blocks.get(index as usize).is_some_and(|block| block.runs.len() >= RUNS_MAX)
    }

    /// Blocks that are tracked, or would be if `offset` were settled.
    pub(crate) fn tracked_with(&self, offset: u64) -> usize {
        let wanted = (offset / BLOCK + 1).saturating_sub(self.first_block);
        self.blocks.len().max(wanted as usize)
    }

    /// Blocks that are tracked.
    pub(crate) fn tracked(&self) -> usize {
        self.blocks.len()
    }

    /// One past the highest settled byte.
    fn highest(&self) -> u64 {
        for (i, block) in self.blocks.iter().enumerate().rev() {
            let base = (self.first_block + i as u64) * BLOCK;
            if block.done {
                return (base + BLOCK).min(self.end);
            }
            if let Some(run) = block.runs.last() {
                return base + u64::from(run.end);
            }
        }
        self.settled_below()
    }

    /// How [offset, offset + len) lies to the settled bytes.
    pub(crate) fn overlap(&self, offset: u64, len: u64) -> Overlap {
        if self.is_beyond(offset, len) {
            return Overlap::None;
        }
        let mut missing = 0;
        self.missing_in(offset, len, |_, n| missing += n);
        match missing {
            0 => Overlap::All,
            n if n == len => Overlap::None,
            _ => Overlap::Some,
        }
    }

    /// Whether a range lies in one block and behind all that is settled in it: what comes in order does.
    fn is_beyond(&self, offset: u64, len: u64) -> bool {
        let index = offset / BLOCK;
        if index < self.first_block || (offset + len - 1) / BLOCK != index {
            return false;
        }
        match self.blocks.get((index - self.first_block) as usize) {
            None => true,
            Some(block) if block.done => false,
            Some(block) => block.runs.last().is_none_or(|run| u64::from(run.end) <= offset - index * BLOCK),
        }
    }

    /// Calls `each(offset, len)` for every unsettled piece of the range, in order; no piece crosses a
    /// block boundary.
    pub(crate) fn missing_in(&self, offset: u64, len: u64, mut each: impl FnMut(u64, u64)) {
        let end = offset + len;
        let mut at = offset.max(self.settled_below());
        while at < end {
            let index = at / BLOCK;
            let base = index * BLOCK;
            let stop = end.min(base + BLOCK);
            match self.blocks.get((index - self.first_block) as usize) {
                None => each(at, stop - at),
                Some(block) if block.done => {}
                Some(block) => {
                    for run in &block.runs {
                        let (s, e) = (base + u64::from(run.start), base + u64::from(run.end));
                        if s > at {
                            let to = s.min(stop);
                            if to > at {
                                each(at, to - at);
                            }
                        }
                        at = at.max(e);
                        if at >= stop {
                            break;
                        }
                    }
                    if at < stop {
                        each(at, stop - at);
                    }
                }
            }
            at = stop;
        }
    }

    /// Settles a range that lies in the stream and in one block.
    pub(crate) fn insert(&mut self, offset: u64, len: u64) -> Inserted {
        let index = offset / BLOCK;
        debug_assert!(len > 0 && offset >= self.start && offset + len <= self.end);
        debug_assert_eq!(index, (offset + len - 1) / BLOCK);
        if index < self.first_block {
            return Inserted::default();
        }
        let at = (index - self.first_block) as usize;
        while self.blocks.len() <= at {
            let runs = self.spare.pop().unwrap_or_default();
            self.blocks.push_back(Block { runs, done: false });
        }
        let want = self.block_span(index);
        let block = &mut self.blocks[at];
        if block.done {
            return Inserted::default();
        }
        let start = (offset - index * BLOCK) as u32;
        let fresh = insert_run(&mut block.runs, Run { start, end: start + len as u32 });
        self.settled += fresh;
        let block_done = block.runs.len() == 1 && (block.runs[0].start, block.runs[0].end) == want;
        if block_done {
            block.done = true;
            let mut runs = core::mem::take(&mut block.runs);
            runs.clear();
            self.spare.push(runs);
            self.retire();
        }
        Inserted { fresh, block_done }
    }

    /// Settles a range that may cross blocks; returns the fresh bytes.
    pub(crate) fn insert_across(&mut self, offset: u64, len: u64) -> u64 {
        let (mut at, end, mut fresh) = (offset, offset + len, 0);
        while at < end {
            let stop = end.min((at / BLOCK + 1) * BLOCK);
            fresh += self.insert(at, stop - at).fresh;
            at = stop;
        }
        fresh
    }

    /// Calls `each(offset, len)` for every settled piece, by blocks.
    pub(crate) fn for_each_settled(&self, mut each: impl FnMut(u64, u64)) {
        let below = self.settled_below();
        if below > self.start {
            each(self.start, below - self.start);
        }
        for (i, block) in self.blocks.iter().enumerate() {
            let index = self.first_block + i as u64;
            let base = index * BLOCK;
            if block.done {
                let (start, end) = self.block_span(index);
                each(base + u64::from(start), u64::from(end - start));
            }
            for run in &block.runs {
                each(base + u64::from(run.start), u64::from(run.end - run.start));
            }
        }
    }

    /// The part of block `index` that belongs to the stream, within the block.
    fn block_span(&self, index: u64) -> (u32, u32) {
        let base = index * BLOCK;
        let start = self.start.max(base) - base;
        let end = self.end.min(base + BLOCK).saturating_sub(base);
        (start as u32, end as u32)
    }

    /// Lets done blocks leave the front.
    fn retire(&mut self) {
        while self.blocks.front().is_some_and(|b| b.done) {
            self.blocks.pop_front();
            self.first_block += 1;
        }
    }
}

/// Runs of a block for which there is room from the first one on.
const RUNS_ROOM: usize = 32;

/// Adds `run` to the sorted, disjoint `runs`, merging; returns the bytes that are new.
fn insert_run(runs: &mut Vec<Run>, run: Run) -> u64 {
    // In order is by far the most frequent.
    if let Some(last) = runs.last_mut().filter(|last| last.end == run.start) {
        last.end = run.end;
        return u64::from(run.end - run.start);
    }
    // Then first fills of holes near the end: search from the back.
    let mut first = runs.len();
    while first > 0 && runs[first - 1].end >= run.start {
        first -= 1;
    }
    // runs[first..last] touch or overlap `run`.
    let mut last = first;
    let mut merged = run;
    let mut known = 0;
    while last < runs.len() && runs[last].start <= run.end {
        let other = runs[last];
        let overlap = other.end.min(run.end).saturating_sub(other.start.max(run.start));
        known += u64::from(overlap);
        merged.start = merged.start.min(other.start);
        merged.end = merged.end.max(other.end);
        last += 1;
    }
    if first == last {
        if runs.capacity() == 0 {
            // At once what a block with a usual number of holes needs: its memory goes from block to block.
            runs.reserve(RUNS_ROOM);
        }
        runs.insert(first, run);
    } else {
        runs[first] = merged;
        runs.drain(first + 1..last);
    }
    u64::from(run.end - run.start) - known
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a plain bitmap of bytes / 4096, with ranges that cross blocks.
        #[test]
        fn agrees_with_a_bitmap(
            start_block in 0u64..3,
            size in 1u64..(3 * 256),
            ranges in proptest::collection::vec((0u64..768, 1u64..40), 1..120),
        ) {
            const UNIT: u64 = 4096;
            let start = start_block * BLOCK;
            let mut tracker = RangeTracker::new(start, start + size * UNIT);
            let mut model = vec![false; size as usize];
            for (at, n) in ranges {
                let (at, end) = (at.min(size - 1), (at + n).min(size));
                if at >= end { continue; }
                let (offset, len) = (start + at * UNIT, (end - at) * UNIT);
                let slice = &mut model[at as usize..end as usize];
                let fresh = slice.iter().filter(|b| !**b).count() as u64 * UNIT;
                let expected = if fresh == 0 { Overlap::All } else if fresh == len { Overlap::None } else { Overlap::Some };
                prop_assert_eq!(tracker.overlap(offset, len), expected);
                prop_assert_eq!(tracker.insert_across(offset, len), fresh);
                slice.fill(true);
                prop_assert_eq!(tracker.overlap(offset, len), Overlap::All);
            }
            let settled = model.iter().filter(|b| **b).count() as u64 * UNIT;
            prop_assert_eq!(tracker.settled(), settled);
            prop_assert_eq!(tracker.is_complete(), settled == size * UNIT);
        }
    }

    #[test]
    fn blocks_are_reported_once() {
        let mut tracker = RangeTracker::new(0, BLOCK + 10);
        assert!(!tracker.insert(0, BLOCK / 2).block_done);
        assert!(tracker.insert(BLOCK / 2, BLOCK / 2).block_done);
        assert!(!tracker.insert(0, 100).block_done);
        assert!(tracker.insert(BLOCK, 10).block_done);
        assert!(tracker.is_complete());
    }

    #[test]
    fn an_end_learnt_late_finishes_the_last_block() {
        let mut tracker = RangeTracker::new(0, crate::wire::frame::END_UNKNOWN);
        tracker.insert(0, 100);
        let mut done = vec![];
        assert!(!tracker.set_end(50, |b| done.push(b)));
        assert!(tracker.set_end(100, |b| done.push(b)));
        assert_eq!(done, [0]);
        assert!(tracker.is_complete());
    }
}
