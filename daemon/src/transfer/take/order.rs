//! A take into a pipe: whole blocks wait until those before them have come.
//!
//! They wait in staging memory, whose end pushes back through credit. That cannot lock up: one stream brings the
//! file, so credit is used up in the order of the file, and one block of memory is set aside for the lowest block that
//! is not whole (see `Staging::keep_order` of the engine).

use std::collections::BTreeMap;

use udpx_proto::messages::InOrder;
use udpx_proto::{Code, Message};

use super::{Phase, Take, TakeCx};
use crate::storage::blocks::Block;
use crate::transfer::Failure;
use crate::transfer::put::AT_ONCE_MAX;

/// Blocks that are put in order.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// The next block for the pipe.
    next: u64,
    waiting: BTreeMap<u64, Block>,
}

impl Order {
    /// The blocks that were not written.
    pub(super) fn into_blocks(self) -> BTreeMap<u64, Block> {
        self.waiting
    }
}

impl Take {
    /// Its bytes can only be written from the first to the last.
    pub(crate) fn is_ordered(&self) -> bool {
        self.order.is_some()
    }

    /// The part exists; if it is a pipe, the sender has to know.
    pub(super) fn put_in_order(&mut self, cx: &mut TakeCx<'_>) {
        if self.part.as_ref().is_some_and(|part| part.as_pipe().is_some()) {
            self.order = Some(Order::default());
            cx.mail.push_back(Message::InOrder(InOrder { request: self.request }));
        }
    }

    /// Whether a second stream of a large file is opened: its blocks would fill the memory that the first one needs.
    pub(super) fn is_out_of_order(&self) -> bool {
        self.is_ordered() && self.claimed_count > 0 && self.size().is_none_or(|size| size > AT_ONCE_MAX)
    }

    /// What is in a pipe cannot be replaced.
    pub(super) fn bad_in_order(&self) -> Option<Failure> {
        let (Phase::Receiving, Some(index), Some(_)) = (self.phase, self.bad.first(), &self.order) else {
            return None;
        };
        let text = format!(
            "Block {index} of what went to {:?} differs from what was announced, and can't be taken back; run it again.",
            self.shown()
        );
        Some(Failure::new(Code::Corrupt, text))
    }

    /// A block is whole, and the part exists.
    pub(super) fn on_whole(&mut self, index: u64, block: Block, cx: &mut TakeCx<'_>) {
        let Some(order) = &mut self.order else { return self.write(index, block, true, cx) };
        order.waiting.insert(index, block);
        while let Some(order) = &mut self.order
            && let Some(block) = order.waiting.remove(&order.next)
        {
            let index = order.next;
            order.next += 1;
            self.write(index, block, true, cx);
        }
    }
}
