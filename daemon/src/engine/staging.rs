//! Where received bytes gather until a block is whole: the engine's [`PayloadSink`].
//!
//! A packet is decrypted straight into the 1 MiB block that its bytes belong to. Before the tag has verified nothing
//! may change, so a packet that would begin a new block is opened in a *spare* block that belongs to nobody; only
//! its commit gives the spare to the stream.
//!
//! The look-up runs per packet: an index (the stream's slot), then the few blocks of that stream which are not whole
//! yet, of which the last one used is tried first.

use std::collections::{BTreeSet, VecDeque};

use udpx_proto::{PayloadSink, StreamId};

use crate::storage::BLOCK;
use crate::storage::blocks::{Block, BlockPool};
use crate::storage::digest::Hashing;

/// The staging memory of an engine.
pub(crate) struct StagingPool {
    pool: BlockPool,
    /// Taken from the pool and not yet any stream's.
    spare: Option<Block>,
    /// Counts blocks begun, so that the oldest can be told.
    clock: u64,
    hashing: Hashing,
}

impl StagingPool {
    pub(crate) fn new(budget: u64, hashing: Hashing) -> Self {
        Self { pool: BlockPool::new(budget), spare: None, clock: 0, hashing }
    }

    /// Takes a block back.
    pub(crate) fn give(&mut self, block: Block) {
        self.pool.give(block);
    }

    /// So few blocks are free that holes must not hold any.
    pub(crate) fn is_scarce(&self) -> bool {
        self.pool.available() < (self.pool.limit() / SCARCE_SHARE).max(1)
    }

    /// Blocks in all.
    pub(crate) fn limit(&self) -> usize {
        self.pool.limit()
    }

    /// Not one block is free.
    pub(crate) fn is_empty(&self) -> bool {
        self.pool.available() == 0 && self.spare.is_none()
    }

    #[cfg(test)]
    pub(crate) fn in_use(&self) -> usize {
        self.pool.in_use() - usize::from(self.spare.is_some())
    }
}

/// What one session has staged and not handed on.
#[derive(Default)]
pub(crate) struct Staging {
    streams: Vec<Option<Entry>>,
    /// Blocks that are whole, in the order in which they became so.
    whole: VecDeque<(StreamId, u64, Block)>,
    /// Blocks that are whole, of streams that nobody vouches for yet.
    kept: Vec<(StreamId, u64, Block)>,
    /// Committed bytes whose block was thrown away.
    released: u64,
    /// Streams that have to be written in order.
    ordered: usize,
}

/// Of a stream that has to be written from its first block to its last.
///
/// Its later blocks may take all of the memory, and cannot leave before the earlier ones have. So a block is set aside
/// for the lowest one that is not whole, and again as soon as one comes back: whatever is lost and repeated, the stream
/// goes on.
struct Order {
    /// The lowest block that is not whole.
    next: u64,
    /// Later ones that are.
    whole: BTreeSet<u64>,
    aside: Option<Block>,
}

impl Order {
    fn on_whole(&mut self, index: u64) {
        self.whole.insert(index);
        while self.whole.remove(&self.next) {
            self.next += 1;
        }
    }

    /// The block that was set aside, if it is for this one.
    fn take(order: &mut Option<Self>, index: u64) -> Option<Block> {
        order.as_mut().filter(|order| order.next == index)?.aside.take()
    }
}

/// The blocks of one stream that have holes.
struct Entry {
    id: StreamId,
    order: Option<Order>,
    /// It is known what it belongs to, so its blocks have somewhere to go.
    vouched: bool,
    blocks: VecDeque<Staged>,
    /// Index in `blocks` of the one used last.
    last: usize,
}

struct Staged {
    index: u64,
    begun: u64,
    block: Block,
}

impl Entry {
    fn new(id: StreamId) -> Self {
        Self { id, order: None, vouched: false, blocks: VecDeque::new(), last: 0 }
    }

    fn position(&mut self, index: u64) -> Option<usize> {
        if self.blocks.get(self.last).is_none_or(|staged| staged.index != index) {
            self.last = self.blocks.iter().rposition(|staged| staged.index == index)?;
        }
        Some(self.last)
    }

    fn remove(&mut self, at: usize) -> Option<Staged> {
        self.last = 0;
        self.blocks.remove(at)
    }
}

impl Staging {
    /// The sink for a batch of datagrams.
    pub(crate) fn sink<'a>(&'a mut self, pool: &'a mut StagingPool) -> Sink<'a> {
        Sink { staging: self, pool }
    }

    /// The next whole block of a stream that was vouched for: its stream, its index in the file, its bytes.
    pub(crate) fn next_whole(&mut self) -> Option<(StreamId, u64, Block)> {
        self.whole.pop_front()
    }

    /// The stream's request is known: its blocks have somewhere to go, those that came before too.
    pub(crate) fn vouch(&mut self, id: StreamId, pool: &mut StagingPool) {
        self.entry(id, pool).vouched = true;
        let (ours, kept) = std::mem::take(&mut self.kept).into_iter().partition(|&(of, _, _)| of == id);
        self.kept = kept;
        let ours: Vec<(StreamId, u64, Block)> = ours;
        self.whole.extend(ours);
    }

    /// The stream, from its first block on, has to be written in order: it will never lack memory for the block that
    /// is next.
    pub(crate) fn keep_order(&mut self, id: StreamId, pool: &mut StagingPool) {
        let whole = self.whole.iter().filter(|whole| whole.0 == id).map(|&(_, index, _)| index);
        let mut order = Order { next: 0, whole: BTreeSet::new(), aside: None };
        whole.for_each(|index| order.on_whole(index));
        self.entry(id, pool).order = Some(order);
        self.ordered += 1;
        self.refill(pool);
    }

    /// A block has come back: those that are set aside come first.
    pub(crate) fn refill(&mut self, pool: &mut StagingPool) {
        if self.ordered == 0 {
            return;
        }
        for order in self.streams.iter_mut().flatten().filter_map(|entry| entry.order.as_mut()) {
            if order.aside.is_none() {
                order.aside = pool.pool.take();
            }
        }
    }

    /// The entry of a stream. What an earlier user of its slot left behind is thrown away.
    fn entry(&mut self, id: StreamId, pool: &mut StagingPool) -> &mut Entry {
        if self.streams.len() <= id.slot() {
            self.streams.resize_with(id.slot() + 1, || None);
        }
        if let Some(stale) = self.streams[id.slot()].as_ref().map(|entry| entry.id).filter(|&of| of != id) {
            self.discard(stale, pool);
        }
        self.streams[id.slot()].get_or_insert_with(|| Entry::new(id))
    }

    /// Blocks that lie here for streams that nobody vouches for: the control stream is a packet late, or the peer
    /// means ill. Nothing can be done with them, so they are few.
    pub(crate) fn unplaced(&self) -> usize {
        let filling = self.streams.iter().flatten().filter(|entry| !entry.vouched);
        self.kept.len() + filling.map(|entry| entry.blocks.len()).sum::<usize>()
    }

    /// A stream that such blocks belong to: the same one for as long as it is not vouched for.
    pub(crate) fn unplaced_stream(&self) -> Option<StreamId> {
        let filling = self.streams.iter().flatten().filter(|entry| !entry.vouched);
        let oldest = filling.filter_map(|entry| entry.blocks.front().map(|staged| (staged.begun, entry.id)));
        let kept = self.kept.first().map(|&(id, _, _)| id);
        kept.or_else(|| oldest.min_by_key(|&(begun, _)| begun).map(|(_, id)| id))
    }

    /// A stream was opened to `[start, end)` after data of it had come: blocks may be whole that nobody called so.
    pub(crate) fn on_opened(&mut self, id: StreamId, start: u64, end: u64) {
        let Some(entry) = self.streams.get_mut(id.slot()).and_then(Option::as_mut).filter(|e| e.id == id)
        else {
            return;
        };
        let mut at = 0;
        while let Some(staged) = entry.blocks.get(at) {
            let begin = staged.index * BLOCK;
            let wanted = end.min(begin + BLOCK).saturating_sub(start.max(begin));
            if wanted > 0 && u64::from(staged.block.valid_bytes()) == wanted {
                let done = entry.remove(at).map(|staged| (id, staged.index, staged.block));
                if entry.vouched {
                    self.whole.extend(done);
                } else {
                    self.kept.extend(done);
                }
            } else {
                at += 1;
            }
        }
    }

    /// Throws away what is staged of a stream.
    pub(crate) fn discard(&mut self, id: StreamId, pool: &mut StagingPool) {
        while let Some(at) = self.kept.iter().position(|&(of, _, _)| of == id) {
            let (_, _, block) = self.kept.swap_remove(at);
            self.release(block, pool);
        }
        if let Some(slot) = self.streams.get_mut(id.slot())
            && slot.as_ref().is_some_and(|entry| entry.id == id)
            && let Some(entry) = slot.take()
        {
            if let Some(order) = entry.order {
                self.ordered -= 1;
                order.aside.into_iter().for_each(|block| pool.give(block));
            }
            for staged in entry.blocks {
                self.release(staged.block, pool);
            }
        }
    }

    /// Throws away a block that was handed out.
    pub(crate) fn release(&mut self, block: Block, pool: &mut StagingPool) {
        self.released += u64::from(block.valid_bytes());
        pool.give(block);
    }

    /// Bytes of thrown away blocks since the last call: the session's credit gets them back.
    pub(crate) fn take_released(&mut self) -> u64 {
        std::mem::take(&mut self.released)
    }

    /// Throws away everything; the session is over.
    pub(crate) fn clear(&mut self, pool: &mut StagingPool) {
        for entry in self.streams.drain(..).flatten() {
            entry.order.and_then(|order| order.aside).into_iter().for_each(|block| pool.give(block));
            entry.blocks.into_iter().for_each(|staged| pool.give(staged.block));
        }
        self.ordered = 0;
        self.whole.drain(..).chain(self.kept.drain(..)).for_each(|(_, _, block)| pool.give(block));
    }

    /// Takes out the oldest block with holes among the streams that `may`: not the newest one of its stream, which is
    /// simply being filled, unless `any`.
    pub(crate) fn take_oldest(
        &mut self,
        any: bool,
        may: impl Fn(StreamId) -> bool,
    ) -> Option<(StreamId, u64, Block)> {
        let (slot, at, _) = self.candidates(any, &may).min_by_key(|&(_, _, begun)| begun)?;
        let entry = self.streams[slot].as_mut()?;
        let id = entry.id;
        entry.remove(at).map(|staged| (id, staged.index, staged.block))
    }

    fn candidates<'a>(
        &'a self,
        any: bool,
        may: &'a impl Fn(StreamId) -> bool,
    ) -> impl Iterator<Item = (usize, usize, u64)> + 'a {
        self.streams.iter().enumerate().flat_map(move |(slot, entry)| {
            let entry = entry.as_ref().filter(|entry| may(entry.id));
            let newest = entry.and_then(|entry| entry.blocks.iter().map(|staged| staged.index).max());
            let blocks = entry.into_iter().flat_map(|entry| entry.blocks.iter().enumerate());
            blocks
                .filter(move |(_, staged)| any || Some(staged.index) != newest)
                .map(move |(at, staged)| (slot, at, staged.begun))
        })
    }
}

/// The sink of one session during a batch.
pub(crate) struct Sink<'a> {
    staging: &'a mut Staging,
    pool: &'a mut StagingPool,
}

impl PayloadSink for Sink<'_> {
    fn stage(&mut self, stream: StreamId, offset: u64, len: usize) -> Option<&mut [u8]> {
        let (index, start) = (offset / BLOCK, (offset % BLOCK) as usize);
        let end = start.checked_add(len).filter(|&end| end as u64 <= BLOCK)?;
        let slot = self.staging.streams.get_mut(stream.slot()).and_then(Option::as_mut);
        let mut entry = slot.filter(|entry| entry.id == stream);
        let vouched = entry.as_ref().is_some_and(|entry| entry.vouched);
        let at = entry.as_mut().and_then(|entry| entry.position(index));
        if at.is_none() && !vouched && self.staging.unplaced() >= UNPLACED_MAX {
            return None;
        }
        if let Some(at) = at {
            let entry = self.staging.streams.get_mut(stream.slot()).and_then(Option::as_mut)?;
            let block = &mut entry.blocks[at].block;
            return block.has_room_for(start as u32, end as u32).then(|| &mut block.bytes_mut()[start..end]);
        }
        if self.pool.spare.is_none() {
            self.pool.spare = self.pool.pool.take();
        }
        if let Some(block) = &mut self.pool.spare {
            return Some(&mut block.bytes_mut()[start..end]);
        }
        let slot = self.staging.streams.get_mut(stream.slot()).and_then(Option::as_mut);
        let order = slot.filter(|entry| entry.id == stream)?.order.as_mut()?;
        let aside = order.aside.as_mut().filter(|_| order.next == index)?;
        Some(&mut aside.bytes_mut()[start..end])
    }

    fn commit(&mut self, stream: StreamId, offset: u64, len: usize, block_done: bool) {
        let (index, start) = (offset / BLOCK, (offset % BLOCK) as u32);
        let entry = self.staging.entry(stream, self.pool);
        let at = match entry.position(index) {
            Some(at) => at,
            // The end of a stream without an announced end may find its last block flushed: it has no bytes here.
            None => match self
                .pool
                .spare
                .take()
                .or_else(|| Order::take(&mut entry.order, index))
                .or_else(|| self.pool.pool.take())
            {
                Some(block) => {
                    self.pool.clock += 1;
                    entry.blocks.push_back(Staged { index, begun: self.pool.clock, block });
                    entry.last = entry.blocks.len() - 1;
                    entry.last
                }
                None => return,
            },
        };
        let marked = entry.blocks[at].block.mark(start, start + len as u32);
        debug_assert!(marked, "stage() made sure that there is room");
        if self.pool.hashing == Hashing::Inline {
            entry.blocks[at].block.hash_ahead(index);
        }
        if block_done {
            if let Some(order) = &mut entry.order {
                order.on_whole(index);
            }
            let (vouched, done) = (entry.vouched, entry.remove(at));
            let done = done.map(|staged| (stream, index, staged.block));
            if vouched {
                self.staging.whole.extend(done);
            } else {
                self.staging.kept.extend(done);
            }
        }
    }
}

/// Free blocks below this share of all make holes give up theirs.
const SCARCE_SHARE: usize = 8;
/// Blocks that one session may hold for streams that nobody vouches for. More is refused, and comes again.
const UNPLACED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: StreamId = StreamId(1);

    fn put(staging: &mut Staging, pool: &mut StagingPool, at: u64, len: usize, done: bool) -> bool {
        let mut sink = staging.sink(pool);
        match sink.stage(STREAM, at, len) {
            Some(out) => out.fill(at as u8),
            None => return false,
        }
        sink.commit(STREAM, at, len, done);
        true
    }

    #[test]
    fn nothing_changes_before_the_commit() {
        let (mut staging, mut pool) = (Staging::default(), StagingPool::new(2 * BLOCK, Hashing::Inline));
        for block in 0..50 {
            assert!(staging.sink(&mut pool).stage(STREAM, block * BLOCK, 1000).is_some());
        }
        assert_eq!(pool.in_use(), 0);
        assert!(put(&mut staging, &mut pool, 3 * BLOCK, 1000, false));
        assert_eq!(pool.in_use(), 1);
        assert!(staging.sink(&mut pool).stage(STREAM, BLOCK - 1, 2).is_none(), "across a block");
    }

    #[test]
    fn whole_blocks_come_out_and_holes_stay() {
        let (mut staging, mut pool) = (Staging::default(), StagingPool::new(4 * BLOCK, Hashing::Inline));
        staging.vouch(STREAM, &mut pool);
        assert!(put(&mut staging, &mut pool, 0, 500, false));
        assert!(put(&mut staging, &mut pool, BLOCK, 1 << 20, true));
        let (id, index, block) = staging.next_whole().unwrap();
        assert_eq!((id, index, block.valid_bytes()), (STREAM, 1, 1 << 20));
        assert!(staging.next_whole().is_none());
        pool.give(block);
        assert!(put(&mut staging, &mut pool, 2 * BLOCK, 7, false));
        assert!(staging.take_oldest(false, |_| false).is_none());
        let (_, index, block) = staging.take_oldest(false, |_| true).unwrap();
        assert_eq!(index, 0);
        assert!(staging.take_oldest(false, |_| true).is_none(), "the newest is still being filled");
        staging.release(block, &mut pool);
        staging.discard(STREAM, &mut pool);
        assert_eq!((staging.take_released(), staging.take_released(), pool.in_use()), (507, 0, 0));
    }

    #[test]
    fn data_before_its_open_is_found_whole_afterwards() {
        let (mut staging, mut pool) = (Staging::default(), StagingPool::new(4 * BLOCK, Hashing::Inline));
        assert!(put(&mut staging, &mut pool, BLOCK, 300, false));
        assert!(put(&mut staging, &mut pool, 0, 1 << 20, false));
        assert!(put(&mut staging, &mut pool, 2 * BLOCK, 1 << 20, true), "one that is whole as it is");
        staging.on_opened(STREAM, 0, BLOCK + 300);
        assert!(staging.next_whole().is_none(), "nobody knows yet what they belong to");
        assert_eq!((staging.unplaced(), staging.unplaced_stream()), (3, Some(STREAM)));
        staging.vouch(STREAM, &mut pool);
        assert_eq!((staging.unplaced(), staging.unplaced_stream()), (0, None));
        let mut indices: Vec<u64> =
            std::iter::from_fn(|| staging.next_whole()).map(|(_, index, _)| index).collect();
        indices.sort_unstable();
        assert_eq!(indices, [0, 1, 2]);
    }

    #[test]
    fn few_blocks_are_held_for_streams_that_nobody_vouches_for() {
        let (mut staging, mut pool) = (Staging::default(), StagingPool::new(32 * BLOCK, Hashing::Inline));
        for block in 0..UNPLACED_MAX as u64 {
            assert!(put(&mut staging, &mut pool, block * BLOCK, 1, false));
        }
        assert!(!put(&mut staging, &mut pool, 20 * BLOCK, 1, false));
        assert!(put(&mut staging, &mut pool, 1, 1, false), "into a block that it has");
        staging.vouch(STREAM, &mut pool);
        assert!(put(&mut staging, &mut pool, 20 * BLOCK, 1, false));
        let next = StreamId::new(1, 1);
        staging.vouch(next, &mut pool);
        assert_eq!(
            (pool.in_use(), staging.take_released()),
            (0, UNPLACED_MAX as u64 + 2),
            "a new user of the slot"
        );
        staging.discard(next, &mut pool);
    }

    #[test]
    fn an_empty_pool_refuses_and_a_new_generation_discards_the_old() {
        let (mut staging, mut pool) = (Staging::default(), StagingPool::new(2 * BLOCK, Hashing::Inline));
        assert!(put(&mut staging, &mut pool, 0, 10, false) && put(&mut staging, &mut pool, BLOCK, 10, false));
        assert!(!put(&mut staging, &mut pool, 2 * BLOCK, 10, false));
        assert!(pool.is_scarce() && pool.is_empty());
        let next = StreamId::new(1, 1);
        staging.sink(&mut pool).commit(next, 0, 5, false);
        assert_eq!(staging.take_released(), 20);
        staging.clear(&mut pool);
        assert_eq!(pool.in_use(), 0);
    }

    #[test]
    fn what_comes_next_in_order_always_finds_memory() {
        let (mut staging, mut pool) = (Staging::default(), StagingPool::new(4 * BLOCK, Hashing::Inline));
        staging.vouch(STREAM, &mut pool);
        staging.keep_order(STREAM, &mut pool);
        for block in 1..4 {
            assert!(put(&mut staging, &mut pool, block * BLOCK, 1 << 20, true), "{block}");
        }
        assert!(!put(&mut staging, &mut pool, 4 * BLOCK, 1 << 20, true), "that one can wait");
        // A packet that does not open leaves it where it is.
        assert!(staging.sink(&mut pool).stage(STREAM, 0, 1000).is_some());
        assert!(!put(&mut staging, &mut pool, 5 * BLOCK, 9, false));
        assert!(put(&mut staging, &mut pool, 0, 1 << 20, true));
        let mut order = Vec::new();
        while let Some((_, index, block)) = staging.next_whole() {
            // As each is written its memory comes back, and is set aside again first of all.
            pool.give(block);
            staging.refill(&mut pool);
            order.push(index);
        }
        assert_eq!(order, [1, 2, 3, 0]);
        for block in [5, 6, 7, 4] {
            assert!(put(&mut staging, &mut pool, block * BLOCK, 1 << 20, true), "{block}");
        }
        assert!(!put(&mut staging, &mut pool, 8 * BLOCK, 9, false), "all is whole, and nothing came back");
        staging.clear(&mut pool);
        assert_eq!(pool.in_use(), 0);
    }
}
