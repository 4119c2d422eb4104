//! What MIXED packets carried that must reach the peer: a slab beside the sent ring.

use crate::StreamId;
use crate::send::plan::ChunkRef;

/// The repairable content of one MIXED packet.
#[derive(Debug, Default)]
pub(super) struct Record {
    /// Ranges of stream 0.
    pub(super) control: Vec<(u64, u32)>,
    pub(super) opens: Vec<StreamId>,
    pub(super) ends: Vec<StreamId>,
    pub(super) resets: Vec<StreamId>,
    pub(super) chunks: Vec<ChunkRef>,
    pub(super) credit: bool,
    pub(super) challenge: bool,
}

impl Record {
    /// Frames that others wait for: those of stream 0, and what opens, ends and resets streams.
    pub(super) fn has_frames(&self) -> bool {
        !(self.control.is_empty() && self.opens.is_empty() && self.ends.is_empty() && self.resets.is_empty())
    }

    fn clear(&mut self) {
        self.control.clear();
        self.opens.clear();
        self.ends.clear();
        self.resets.clear();
        self.chunks.clear();
        self.credit = false;
        self.challenge = false;
    }
}

/// Records by index, reused.
#[derive(Debug, Default)]
pub(super) struct Records {
    slots: Vec<Record>,
    free: Vec<u32>,
}

impl Records {
    /// An empty record.
    pub(super) fn take(&mut self) -> Record {
        match self.free.last() {
            Some(&index) => core::mem::take(&mut self.slots[index as usize]),
            None => Record::default(),
        }
    }

    /// Keeps a record; returns its index.
    pub(super) fn put(&mut self, record: Record) -> u32 {
        if let Some(index) = self.free.pop() {
            self.slots[index as usize] = record;
            return index;
        }
        self.slots.push(record);
        (self.slots.len() - 1) as u32
    }

    /// A record that is kept.
    pub(super) fn get(&self, index: u32) -> &Record {
        &self.slots[index as usize]
    }

    /// Takes the record of a packet whose fate is known. Give it back with [`free`](Self::free).
    pub(super) fn resolve(&mut self, index: u32) -> Record {
        core::mem::take(&mut self.slots[index as usize])
    }

    /// The record is done with; its buffers are kept for the next.
    pub(super) fn free(&mut self, index: u32, mut record: Record) {
        record.clear();
        self.slots[index as usize] = record;
        self.free.push(index);
    }

    /// A record that was taken and not put: its buffers are kept if a slot waits for them.
    pub(super) fn discard(&mut self, mut record: Record) {
        record.clear();
        if let Some(&index) = self.free.last() {
            self.slots[index as usize] = record;
        }
    }
}
