//! The streams that a session sends, and whose turn it is.
//!
//! Stride scheduling: each stream has a virtual time, the bytes it sent over its weight; the least one
//! with something to send cuts the next train. A stream that was idle begins at the time of the others,
//! so it cannot claim what it did not use.

use crate::ids::{RequestId, StreamId};
use crate::limits::STREAMS_MAX;

use super::stream::{SendStream, Signal};

/// Virtual time of one byte at weight 1.
const STRIDE: u64 = 1 << 16;

/// All streams of one direction, by slot.
#[derive(Debug, Default)]
pub(crate) struct SendStreams {
    slots: Vec<Slot>,
    /// Slots in use.
    live: Vec<u16>,
    free: Vec<u16>,
    /// Streams that are finished and still here.
    finished: Vec<StreamId>,
    /// Virtual time of the last train.
    now: u64,
    /// Signals that are due, counted so that the common case is one comparison.
    pub(crate) signals_due: bool,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    stream: Option<Box<SendStream>>,
}

impl SendStreams {
    /// Opens a stream; `None` when all slots are taken or worn out.
    pub(crate) fn open(
        &mut self,
        request: RequestId,
        start: u64,
        end: Option<u64>,
        weight: u16,
    ) -> Option<StreamId> {
        let index = match self.free.pop() {
            Some(index) => usize::from(index),
            None => {
                // Slot 0 is the control stream's.
                let index = self.slots.len().max(1);
                if index >= STREAMS_MAX {
                    return None;
                }
                self.slots.resize_with(index + 1, Slot::default);
                index
            }
        };
        let slot = &mut self.slots[index];
        let id = StreamId::new(index as u32, slot.generation);
        let mut stream = SendStream::new(id, request, start, end, weight);
        stream.pass = self.now;
        slot.stream = Some(Box::new(stream));
        self.live.push(index as u16);
        self.signals_due = true;
        Some(id)
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&SendStream> {
        self.slots.get(id.slot())?.stream.as_deref().filter(|s| s.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut SendStream> {
        self.slots.get_mut(id.slot())?.stream.as_deref_mut().filter(|s| s.id == id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &SendStream> {
        self.live.iter().filter_map(|&i| self.slots[usize::from(i)].stream.as_deref())
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut SendStream> {
        self.slots.iter_mut().filter_map(|slot| slot.stream.as_deref_mut())
    }

    /// The stream whose turn it is, among those that can cut something within `credit`.
    pub(crate) fn next(&self, credit: u64) -> Option<StreamId> {
        self.iter()
            .filter(|s| s.open != Signal::Due && s.has_work(credit))
            .min_by_key(|s| s.pass)
            .map(|s| s.id)
    }

    /// Some stream waits for credit only.
    pub(crate) fn wants_credit(&self) -> bool {
        self.iter().any(SendStream::has_new)
    }

    /// Some stream has bytes to send, as far as `credit` allows.
    pub(crate) fn has_work(&self, credit: u64) -> bool {
        self.iter().any(|s| s.has_work(credit))
    }

    /// `bytes` of the stream went out.
    pub(crate) fn on_sent(&mut self, id: StreamId, bytes: u64) {
        let now = self.now;
        if let Some(stream) = self.get_mut(id) {
            let pass = stream.pass.max(now);
            stream.pass = pass + bytes * STRIDE / u64::from(stream.weight);
            self.now = pass;
        }
    }

    /// Something of the stream was acknowledged: it may be finished by it.
    pub(crate) fn on_progress(&mut self, id: StreamId) {
        if self.get(id).is_some_and(SendStream::is_finished) {
            self.finished.push(id);
        }
    }

    /// Takes a finished stream out.
    pub(crate) fn take_finished(&mut self) -> Option<Box<SendStream>> {
        while let Some(id) = self.finished.pop() {
            // It may have been noted twice.
            if let Some(stream) = self.remove(id) {
                return Some(stream);
            }
        }
        None
    }

    /// Frees the slot of a finished stream.
    fn remove(&mut self, id: StreamId) -> Option<Box<SendStream>> {
        let slot = self.slots.get_mut(id.slot())?;
        if slot.stream.as_ref()?.id != id {
            return None;
        }
        let stream = slot.stream.take();
        self.live.retain(|&i| usize::from(i) != id.slot());
        slot.generation += 1;
        if slot.generation < 1 << (32 - StreamId::SLOT_BITS) {
            self.free.push(id.slot() as u16);
        }
        stream
    }
}
