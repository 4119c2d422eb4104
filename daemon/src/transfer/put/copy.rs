//! A put of a file that is not mapped: readers copy its blocks into slabs ahead of what the peer has.
//!
//! ```text
//!  settled            cursor              ready            asked
//!     │ kept for a second  │ about to be sent │ early blocks   │
//!     └────────────────────┴── slabs of the stream ────────────┘  at most AHEAD_BLOCKS of the file
//! ```
//!
//! A block leaves memory when the peer has it, so the window bounds what is in flight as well. All files of an engine
//! share one pool; where that is empty a file goes on with a block at a time, so that none can stop another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{AHEAD_BLOCKS, News, Put, PutCx};
use crate::storage::BLOCK;
use crate::storage::pipe::{Slab, Slabs};
use crate::storage::readers::ReadJob;
use crate::storage::source::Source;
use crate::transfer::Bytes;
use crate::transfer::stripe::Stripe;

/// What is in memory of such a file, apart from what its streams hold.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// Blocks that readers were asked for.
    asked: BTreeSet<u64>,
    /// Blocks that were read and whose stream has not got them.
    ready: BTreeMap<u64, Arc<Slab>>,
    /// Blocks that arrived damaged: to be read again, being read again, and read again.
    damaged: BTreeSet<u64>,
    rereading: BTreeSet<u64>,
    mended: BTreeMap<u64, Arc<Slab>>,
}

impl Put {
    /// The source, if its blocks have to be copied.
    pub(super) fn copied(&self) -> Option<Arc<Source>> {
        self.source.clone().filter(|source| !source.is_in_memory())
    }

    /// Asks for the blocks that arrived damaged, as far as there is memory for them.
    pub(super) fn copy_again(&mut self, cx: &mut PutCx<'_>) {
        let Some(source) = &self.copied() else { return };
        while let Some(&block) = self.copies.damaged.first() {
            let Some(slab) = cx.queue.slabs().take(length(source, block), false) else { return };
            self.copies.damaged.remove(&block);
            self.copies.rereading.insert(block);
            self.read(ReadJob::Fetch { source: source.clone(), block, slab }, cx);
        }
    }

    /// Asks for the blocks that are wanted next, as far as there is memory for them.
    pub(super) fn copy_ahead(&mut self, source: &Arc<Source>, cx: &mut PutCx<'_>) {
        let ahead = (AHEAD_BLOCKS / self.stripes.len().max(1) as u64).max(2);
        for at in 0..self.stripes.len() {
            loop {
                let stripe = &self.stripes[at];
                // A stream that is gone has arrived whole: then everything was asked for.
                let settled = stripe.stream.and_then(|stream| cx.streams.settled(stream));
                let settled = settled.unwrap_or(stripe.bytes().start);
                let Some(block) = stripe.wanted(settled, ahead) else { break };
                let len = length(source, block);
                let slab = cx.queue.slabs().take(len, false);
                let sure = slab.is_none() && self.holds_nothing(cx);
                let Some(slab) = slab.or_else(|| cx.queue.slabs().take(len, sure)) else { return };
                self.stripes[at].ask(settled, ahead);
                self.copies.asked.insert(block);
                self.read(ReadJob::Fetch { source: source.clone(), block, slab }, cx);
            }
        }
    }

    /// Nothing of the file is in memory, or on its way there.
    fn holds_nothing(&self, cx: &PutCx<'_>) -> bool {
        let is_settled = |stripe: &Stripe| {
            let settled = stripe.stream.and_then(|stream| cx.streams.settled(stream));
            settled.is_none_or(|settled| settled >= stripe.available())
        };
        self.copies.asked.is_empty() && self.copies.ready.is_empty() && self.stripes.iter().all(is_settled)
    }

    /// Gives up what the peer has.
    pub(super) fn release_copies(&self, cx: &mut PutCx<'_>) {
        for stream in self.stripes.iter().filter_map(|stripe| stripe.stream) {
            if let Some(settled) = cx.streams.settled(stream) {
                cx.streams.drop_below(stream, settled / BLOCK);
            }
        }
    }

    /// A block was read.
    pub(super) fn on_fetched(&mut self, block: u64, slab: Slab, cx: &mut PutCx<'_>) -> Option<News> {
        if self.copies.rereading.remove(&block) {
            let cv = slab.cv();
            self.copies.mended.insert(block, Arc::new(slab));
            return self.on_rehashed(block, cv, cx);
        }
        // What was asked for before the file was cut anew comes once more.
        if self.copies.asked.remove(&block)
            && let Some(at) = self.stripes.iter().position(|stripe| stripe.holds(block))
        {
            self.tree.set(block, slab.cv());
            self.copies.ready.insert(block, Arc::new(slab));
            let stripe = &mut self.stripes[at];
            if let (Some(available), Some(stream)) = (stripe.on_ready(block), stripe.stream) {
                for slab in self.copies.take_run(stripe) {
                    cx.streams.push(stream, slab);
                }
                cx.streams.extend(stream, available);
            }
        }
        self.pump(cx);
        None
    }

    /// Blocks arrived there that differ from their digests, and have not too often.
    pub(super) fn read_again(&mut self, block: u64) {
        self.copies.damaged.insert(block);
    }

    /// What a stream over these bytes is read from: a block that was damaged, or all that is there of a stripe.
    pub(super) fn copied_bytes(&self, start: u64, end: u64) -> Bytes {
        let first = start / BLOCK;
        let mut slabs = Slabs::from(first);
        if let Some(mended) = self.copies.mended.get(&first) {
            slabs.push(mended.clone());
        } else if let Some(stripe) = self.stripes.iter().find(|stripe| stripe.bytes() == (start..end)) {
            let run = self.copies.ready.range(first..stripe.available().div_ceil(BLOCK));
            run.for_each(|(_, slab)| slabs.push(slab.clone()));
        }
        Bytes::Pipe(slabs)
    }

    /// A stream has got what is there of its stripe, or the block that was damaged.
    pub(super) fn on_copies_taken(&mut self, start: u64) {
        let first = start / BLOCK;
        if self.copies.mended.remove(&first).is_none()
            && let Some(stripe) = self.stripes.iter().find(|stripe| stripe.bytes().start == start)
        {
            drop(self.copies.take_run(stripe));
        }
    }
}

impl Copies {
    /// The blocks of a stripe that follow those that its stream has.
    fn take_run(&mut self, stripe: &Stripe) -> Vec<Arc<Slab>> {
        let blocks = stripe.bytes().start / BLOCK..stripe.available().div_ceil(BLOCK);
        let run: Vec<u64> = self.ready.range(blocks).map(|(&block, _)| block).collect();
        run.iter().filter_map(|block| self.ready.remove(block)).collect()
    }
}

/// Bytes of a block.
fn length(source: &Source, block: u64) -> usize {
    let range = source.subtrees().range(block);
    (range.end - range.start) as usize
}
