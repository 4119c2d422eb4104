//! A take of a file whose size its sender does not know yet: a pipe of more than one block.
//!
//! One stream without an end brings all of it. Until its end is known a block belongs to that stream, and to another
//! one only after it turned out bad. STREAM_END and FINISH both tell the size; whichever comes first is believed, and
//! the other has to agree.

use std::collections::BTreeSet;

use super::{Outcome, Phase, Take, TakeCx};
use crate::storage::BLOCK;
use crate::storage::digest::Subtrees;
use crate::transfer::Failure;

/// What is known of the blocks while their number is not.
#[derive(Debug)]
pub(super) struct Endless {
    unsized_yet: bool,
    /// The stream was opened.
    opened: bool,
    /// Blocks that turned out bad and that no other stream brings yet.
    given_up: BTreeSet<u64>,
}

impl Endless {
    pub(super) fn new(unsized_yet: bool) -> Self {
        Self { unsized_yet, opened: false, given_up: BTreeSet::new() }
    }

    /// A block turned out bad.
    pub(super) fn give_up(&mut self, block: u64) {
        if self.unsized_yet {
            self.given_up.insert(block);
        }
    }
}

impl Take {
    /// The size is known.
    pub(super) fn is_sized(&self) -> bool {
        !self.endless.unsized_yet
    }

    /// A stream of a file without a size, or a stream without an end of a file that has one.
    pub(super) fn on_stream_of_unsized(
        &mut self,
        start: u64,
        end: Option<u64>,
        cx: &mut TakeCx<'_>,
    ) -> Option<Outcome> {
        if self.is_sized() {
            return Some(
                self.fail(Failure::protocol("a file of known size came by a stream without an end"), cx),
            );
        }
        if self.phase == Phase::Creating {
            return Some(self.fail(Failure::protocol("data was sent before there was room for it"), cx));
        }
        let Some(end) = end else {
            if start != 0 || std::mem::replace(&mut self.endless.opened, true) {
                let failure = Failure::protocol("a file without a size has one stream, from its beginning");
                return Some(self.fail(failure, cx));
            }
            self.streams += 1;
            return None;
        };
        let blocks = start / BLOCK..end.div_ceil(BLOCK);
        let aligned = start.is_multiple_of(BLOCK) && end.is_multiple_of(BLOCK) && start < end;
        // As many as were called bad at most: a longer range is refused at the first that was not.
        if !aligned || !blocks.clone().all(|block| self.endless.given_up.contains(&block)) {
            return Some(self.fail(Failure::protocol("two streams carry the same block"), cx));
        }
        blocks.for_each(|block| {
            self.endless.given_up.remove(&block);
        });
        self.streams += 1;
        None
    }

    /// The stream without an end has one.
    pub(crate) fn on_stream_end(&mut self, end: u64, cx: &mut TakeCx<'_>) -> Option<Outcome> {
        let agreed = if self.is_sized() {
            let agrees = self.subtrees.size() == end;
            agrees.then_some(()).ok_or_else(|| Failure::protocol("a stream ended elsewhere than its file"))
        } else {
            self.set_size(end)
        };
        match agreed {
            Ok(()) => self.try_commit(cx),
            Err(failure) => Some(self.fail(failure, cx)),
        }
    }

    pub(super) fn set_size(&mut self, size: u64) -> Result<(), Failure> {
        if size <= BLOCK {
            return Err(Failure::protocol("a file of one block came without its size"));
        }
        let subtrees = Subtrees::of(size).ok_or_else(|| Failure::protocol("a file has more than 64 TiB"))?;
        if !self.ours.set_size(subtrees) || !self.theirs.set_size(subtrees) {
            return Err(Failure::protocol("a file ended before its last block"));
        }
        let count = subtrees.count();
        self.subtrees = subtrees;
        self.verified.set_count(count);
        self.claimed.set_count(count);
        self.claimed.insert_range(0..count);
        self.claimed_count = count;
        for block in std::mem::take(&mut self.endless.given_up) {
            self.claimed_count -= u64::from(self.claimed.remove(block));
        }
        self.endless.unsized_yet = false;
        Ok(())
    }
}
