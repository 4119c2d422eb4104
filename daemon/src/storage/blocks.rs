//! Staging memory: the 1 MiB blocks in which arriving bytes gather before they are written.
//!
//! A [`BlockPool`] belongs to one engine thread and needs no lock: a block leaves it with
//! [`BlockPool::take`], travels through the writers' channel and comes back with the reply, to be returned
//! with [`BlockPool::give`]. The pool never holds more memory than its budget, counted over the blocks that
//! are out and those that wait for reuse.
//!
//! A [`Block`] knows which of its bytes are valid: a short list of runs. Packets arrive nearly in order, so
//! that the list nearly always has one entry; under loss it has one per hole.

use memmap2::{Advice, MmapMut};

use super::BLOCK;
use super::digest::{Cv, HASH_STEP, RunningCv, Subtrees};

/// Runs that one block can hold. At 1472-byte datagrams a block has at most 367 runs, at 1280-byte ones
/// 442; a peer that cuts smaller pieces on purpose finds them dropped and sends them again.
pub const RUNS_MAX: usize = 512;

/// Bytes of a block that become valid at once and are still worth hashing at once.
const HASH_AHEAD_MAX: u64 = 2 * HASH_STEP;

/// 1 MiB of page-aligned staging memory and the list of its valid runs.
pub struct Block {
    memory: MmapMut,
    runs: Vec<Run>,
    valid: u32,
    /// Of the first bytes, as far as they were hashed.
    running: RunningCv,
}

/// Valid bytes `[start, end)` within a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First byte, relative to the block.
    pub start: u32,
    /// One past the last byte, relative to the block.
    pub end: u32,
}

impl Run {
    /// Bytes of the run.
    pub fn len(self) -> u32 {
        self.end - self.start
    }

    /// Whether it holds no byte.
    pub fn is_empty(self) -> bool {
        self.start == self.end
    }
}

impl Block {
    /// A block outside any pool; `None` if the kernel has no memory for it.
    pub fn allocate() -> Option<Self> {
        let memory = MmapMut::map_anon(BLOCK as usize).ok()?;
        // Faults the pages in at once, in one call instead of 256 faults; where the kernel can't
        // (before 5.14), they come one by one.
        let _ = memory.advise(Advice::PopulateWrite);
        Some(Self { memory, runs: Vec::with_capacity(RUNS_MAX), valid: 0, running: RunningCv::default() })
    }

    /// The whole memory of the block. Bytes outside [`Block::runs`] are left over from earlier use.
    pub fn bytes(&self) -> &[u8] {
        &self.memory
    }

    /// The whole memory of the block, to be written to; [`Block::mark`] makes written bytes valid.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }

    /// The valid runs, ascending; neither overlapping nor touching one another.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Number of valid bytes.
    pub fn valid_bytes(&self) -> u32 {
        self.valid
    }

    /// Whether the first `len` bytes, and no others, are valid.
    pub fn holds_exactly(&self, len: u64) -> bool {
        matches!(self.runs.as_slice(), [run] if run.start == 0 && u64::from(run.end) == len)
    }

    /// Whether [`Block::mark`] of `[start, end)` would find room in the list: to be asked before the bytes
    /// are written, because bytes that can't be marked are lost.
    pub fn has_room_for(&self, start: u32, end: u32) -> bool {
        self.runs.len() < RUNS_MAX || !self.neighbours(start, end).is_empty()
    }

    /// Makes `[start, end)` valid, merging it with the runs it touches. `false`, and nothing changed, if it
    /// doesn't lie in the block or the list is full.
    pub fn mark(&mut self, start: u32, end: u32) -> bool {
        if start > end || u64::from(end) > BLOCK || !self.has_room_for(start, end) {
            return false;
        }
        if start == end {
            return true;
        }
        let touched = self.neighbours(start, end);
        if touched.is_empty() {
            self.runs.insert(touched.start, Run { start, end });
            self.valid += end - start;
        } else {
            let merged = Run {
                start: start.min(self.runs[touched.start].start),
                end: end.max(self.runs[touched.end - 1].end),
            };
            let before: u32 = self.runs[touched.clone()].iter().map(|run| run.len()).sum();
            self.valid += merged.len() - before;
            self.runs[touched.start] = merged;
            self.runs.drain(touched.start + 1..touched.end);
        }
        self.check_invariants();
        true
    }

    /// Forgets what is valid; the bytes stay.
    pub fn clear(&mut self) {
        self.runs.clear();
        self.valid = 0;
        self.running.clear();
    }

    /// Hashes what has newly become valid at the beginning of this block, which is block `index` of its file: in steps, and
    /// only while it grows by a few of them. What lies behind a hole that was closed is no longer in the cache, and is left to
    /// [`cv`](Self::cv).
    #[inline]
    pub fn hash_ahead(&mut self, index: u64) {
        if let Some(&Run { start: 0, end }) = self.runs.first() {
            let fresh = u64::from(end) - self.running.len();
            if (HASH_STEP..=HASH_AHEAD_MAX).contains(&fresh) {
                self.hash_to(index, u64::from(end) / HASH_STEP * HASH_STEP);
            }
        }
    }

    /// The chaining value of the first bytes, taken as block `index` of a file divided like `subtrees`: all of them are there,
    /// valid or read back from the file. `None` if there is no such block.
    pub fn cv(&mut self, subtrees: Subtrees, index: u64) -> Option<Cv> {
        let range = subtrees.range(index);
        self.hash_to(index, range.end - range.start);
        self.running.finish(subtrees)
    }

    fn hash_to(&mut self, index: u64, end: u64) {
        let start = self.running.len();
        if let Some(bytes) = self.memory.get(start as usize..end as usize) {
            self.running.extend(index, bytes);
        }
    }

    /// The runs that `[start, end)` overlaps or touches; where there are none, the place to insert it.
    fn neighbours(&self, start: u32, end: u32) -> std::ops::Range<usize> {
        // Nearly in order: the new run continues the last one or lies behind it.
        if self.runs.last().is_none_or(|last| last.end < start) {
            return self.runs.len()..self.runs.len();
        }
        let first = self.runs.partition_point(|run| run.end < start);
        let after = self.runs.partition_point(|run| run.start <= end);
        first..after
    }

    fn check_invariants(&self) {
        debug_assert!(self.runs.windows(2).all(|pair| pair[0].end < pair[1].start));
        debug_assert_eq!(self.valid, self.runs.iter().map(|run| run.len()).sum::<u32>());
    }
}

impl std::fmt::Debug for Block {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("runs", &self.runs).finish_non_exhaustive()
    }
}

/// The staging budget of one engine. Blocks are allocated when first needed and reused, latest first, while
/// the cache may still hold them.
#[derive(Debug)]
pub struct BlockPool {
    free: Vec<Block>,
    in_use: usize,
    limit: usize,
}

impl BlockPool {
    /// A pool of `budget_bytes` rounded down to whole blocks, but of one block at least.
    pub fn new(budget_bytes: u64) -> Self {
        let limit = usize::try_from(budget_bytes / BLOCK).unwrap_or(usize::MAX).max(1);
        Self { free: Vec::new(), in_use: 0, limit }
    }

    /// A block with no valid bytes; `None` when the budget is used up or the kernel has no memory.
    pub fn take(&mut self) -> Option<Block> {
        if self.in_use >= self.limit {
            return None;
        }
        let block = match self.free.pop() {
            Some(block) => block,
            None => Block::allocate()?,
        };
        self.in_use += 1;
        Some(block)
    }

    /// Takes back a block.
    pub fn give(&mut self, mut block: Block) {
        debug_assert!(self.in_use > 0, "a block was given back that this pool never handed out");
        block.clear();
        self.in_use = self.in_use.saturating_sub(1);
        self.free.push(block);
    }

    /// Number of blocks that are out.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Number of blocks that can still be taken.
    pub fn available(&self) -> usize {
        self.limit - self.in_use
    }

    /// Number of blocks of the whole budget.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn runs(block: &Block) -> Vec<(u32, u32)> {
        block.runs().iter().map(|run| (run.start, run.end)).collect()
    }

    #[test]
    fn adjacent_runs_merge() {
        let mut block = Block::allocate().unwrap();
        assert!(block.mark(0, 100) && block.mark(200, 300) && block.mark(100, 200));
        assert_eq!(runs(&block), [(0, 300)]);
        assert!(block.mark(500, 600) && block.mark(700, 800) && block.mark(550, 750));
        assert_eq!(runs(&block), [(0, 300), (500, 800)]);
        assert!(!block.holds_exactly(300));
        assert!(block.mark(300, 500) && block.holds_exactly(800));
        assert!(!block.mark(0, BLOCK as u32 + 1) && !block.mark(5, 4));
        assert!(block.mark(7, 7) && block.mark(0, BLOCK as u32) && block.holds_exactly(BLOCK));
    }

    #[test]
    fn a_full_list_takes_only_what_merges() {
        let mut block = Block::allocate().unwrap();
        for i in 0..RUNS_MAX as u32 {
            assert!(block.mark(i * 4, i * 4 + 2));
        }
        assert!(!block.has_room_for(1 << 19, (1 << 19) + 1) && !block.mark(1 << 19, (1 << 19) + 1));
        assert!(block.mark(2, 4));
        assert!(block.mark(1 << 19, (1 << 19) + 1));
    }

    /// Whatever was hashed ahead, in whichever order the bytes came.
    #[test]
    fn the_value_of_a_block_is_that_of_its_bytes() {
        let step = HASH_STEP as u32;
        let whole = BLOCK as u32;
        let in_order: Vec<(u32, u32)> =
            (0..whole).step_by(1408).map(|at| (at, whole.min(at + 1408))).collect();
        let holed = vec![(0, 3 * step), (5 * step, whole), (3 * step, 5 * step)];
        let backwards = vec![(step, whole), (0, step)];
        let short = vec![(0, 100), (100, 70_000)];
        for (size, index, pieces) in [
            (3 * BLOCK, 1, in_order.clone()),
            (3 * BLOCK, 2, holed),
            (3 * BLOCK, 0, backwards),
            (2 * BLOCK + 70_000, 2, short.clone()),
            (70_000, 0, short),
            (BLOCK, 0, in_order),
        ] {
            let subtrees = Subtrees::of(size).unwrap();
            let mut block = Block::allocate().unwrap();
            block.bytes_mut().iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 249) as u8);
            for round in 0..2 {
                for &(start, end) in &pieces {
                    assert!(block.mark(start, end));
                    block.hash_ahead(index);
                }
                let len = pieces.iter().map(|piece| piece.1).max().unwrap();
                let expected = subtrees.cv(index, &block.bytes()[..len as usize]);
                assert!(expected.is_some());
                assert_eq!(block.cv(subtrees, index), expected, "{size} {index} {round}");
                block.clear();
            }
            assert_eq!(block.cv(subtrees, subtrees.count()), None);
        }
    }

    #[test]
    fn the_budget_is_never_exceeded() {
        let mut pool = BlockPool::new(3 * BLOCK + 5);
        let mut out: Vec<Block> = std::iter::from_fn(|| pool.take()).collect();
        assert_eq!((out.len(), pool.in_use(), pool.available()), (3, 3, 0));
        let mut block = out.pop().unwrap();
        block.mark(0, 10);
        let memory = block.bytes().as_ptr();
        assert_eq!(memory as usize % 4096, 0);
        pool.give(block);
        let again = pool.take().unwrap();
        assert_eq!((again.bytes().as_ptr(), again.runs().len(), again.valid_bytes()), (memory, 0, 0));
        assert!(pool.take().is_none());
        assert_eq!(BlockPool::new(0).limit(), 1);
    }

    proptest! {
        #[test]
        fn runs_equal_a_bitmap(marks in proptest::collection::vec((0_u32..2000, 0_u32..60), 0..80)) {
            let mut block = Block::allocate().unwrap();
            let mut bitmap = vec![false; 2100];
            for (start, len) in marks {
                prop_assert!(block.mark(start, start + len));
                bitmap[start as usize..(start + len) as usize].fill(true);
            }
            let mut expected = Vec::new();
            let mut at = 0;
            while let Some(start) = (at..2100).find(|&i| bitmap[i]) {
                at = (start..2100).find(|&i| !bitmap[i]).unwrap_or(2100);
                expected.push((start as u32, at as u32));
            }
            prop_assert_eq!(runs(&block), expected);
        }
    }
}
