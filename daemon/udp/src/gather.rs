//! Trains made of borrowed slices: the payload goes from where it lies to the kernel without a copy in user space.
//!
//! The slices need not end where packets end: header, payload, tag and the next header can share slices as they
//! lie in memory. What the type borrows stays borrowed until the batch is recycled, so no slice can be freed or
//! rewritten between a blocked send and its continuation.

use std::array;
use std::io::IoSlice;
use std::net::SocketAddr;

use crate::send_batch::Queue;
use crate::train::{Cursor, SEGMENTS_MAX, Shape, TRAINS_MAX, Train, TrainError};

/// Up to [`TRAINS_MAX`] trains of borrowed slices for one send call.
pub struct GatherBatch<'a> {
    parts: Vec<IoSlice<'a>>,
    queued: Vec<Queued>,
    queue: Queue,
}

impl<'a> GatherBatch<'a> {
    /// An empty batch, with room for all that it can ever hold.
    #[must_use]
    pub fn new() -> Self {
        Self {
            parts: Vec::with_capacity(TRAINS_MAX * PARTS_MAX),
            queued: Vec::with_capacity(TRAINS_MAX),
            queue: Queue::new(),
        }
    }

    /// Begins a train, as [`SendBatch::train`](crate::SendBatch::train) does.
    ///
    /// # Errors
    /// [`TrainError::Full`] and [`TrainError::SegmentSize`].
    pub fn train(
        &mut self,
        destination: Option<SocketAddr>,
        ecn: u8,
        segment_size: u16,
    ) -> Result<GatherSlot<'_, 'a>, TrainError> {
        let shape = Shape::open(destination, ecn, segment_size)?;
        if self.is_full() {
            return Err(TrainError::Full);
        }
        let start = self.parts.len();
        Ok(GatherSlot { batch: self, shape, start, bytes: 0, fits: true })
    }

    /// Trains in the batch, those already sent of a blocked batch included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queued.len()
    }

    /// Whether there is nothing to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queued.is_empty()
    }

    /// Whether no further train fits before the batch is sent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.queued.len() == TRAINS_MAX
    }

    /// Forgets every train, sent or not.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.queued.clear();
        self.queue.cursor = Cursor::default();
    }

    /// Empties the batch and returns it for slices of another lifetime, with the same memory.
    #[must_use]
    pub fn recycle<'b>(mut self) -> GatherBatch<'b> {
        self.clear();
        // Collecting a vector's own iterator reuses its allocation; there is no slice left to convert.
        let parts = self.parts.into_iter().map(|_| IoSlice::new(&[])).collect();
        GatherBatch { parts, queued: self.queued, queue: self.queue }
    }

    /// Lets `send` see the trains, and empties the batch once all of them are finished.
    pub(crate) fn with_trains<T>(&mut self, send: impl FnOnce(&[Train<'_>], &mut Queue) -> T) -> T {
        let Self { parts, queued, queue } = self;
        let blank = Shape { destination: None, ecn: 0, segment: 1, bytes: 0, singly: false };
        let trains: [Train<'_>; TRAINS_MAX] = array::from_fn(|index| match queued.get(index) {
            Some(train) => Train { shape: train.shape, parts: &parts[train.start..train.end] },
            None => Train { shape: blank, parts: &[] },
        });
        let result = send(&trains[..queued.len()], queue);
        if self.queue.cursor.train == self.queued.len() {
            self.clear();
        }
        result
    }
}

impl Default for GatherBatch<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// A train being gathered. Dropped without a commit it leaves the batch as it was.
pub struct GatherSlot<'b, 'a> {
    batch: &'b mut GatherBatch<'a>,
    shape: Shape,
    start: usize,
    bytes: usize,
    fits: bool,
}

impl<'a> GatherSlot<'_, 'a> {
    /// Has the packets of this train sent without segmentation offload, whatever the socket does.
    pub fn singly(&mut self) {
        self.shape.singly = true;
    }

    /// Appends a slice. At most 3 a packet of the longest train (192) fit; one more makes the commit fail.
    pub fn push(&mut self, slice: &'a [u8]) {
        if slice.is_empty() {
            return;
        }
        if self.batch.parts.len() - self.start == PARTS_MAX {
            self.fits = false;
            return;
        }
        self.bytes += slice.len();
        self.batch.parts.push(IoSlice::new(slice));
    }

    /// Bytes appended so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Queues the slices, joined, as packets of the segment size, the last one with the rest.
    ///
    /// # Errors
    /// [`TrainError::Empty`] and [`TrainError::TooLong`]; nothing is queued.
    pub fn commit(self) -> Result<(), TrainError> {
        if !self.fits {
            return Err(TrainError::TooLong);
        }
        let shape = self.shape.closed(self.bytes)?;
        let end = self.batch.parts.len();
        self.batch.queued.push(Queued { shape, start: self.start, end });
        Ok(())
    }
}

impl Drop for GatherSlot<'_, '_> {
    fn drop(&mut self) {
        let end = self.batch.queued.last().map_or(0, |train| train.end);
        self.batch.parts.truncate(end);
    }
}

struct Queued {
    shape: Shape,
    start: usize,
    end: usize,
}

/// Slices of one train at most: header, payload and tag of each packet.
const PARTS_MAX: usize = 3 * SEGMENTS_MAX;

// Any one batch fits one call, unless it has to be cut into single packets.
const _: () = assert!(TRAINS_MAX * PARTS_MAX <= crate::sys::SLICES_MAX);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_or_dropped_slot_leaves_nothing_behind() {
        let bytes = [0u8; 1000];
        let mut batch = GatherBatch::new();
        let mut slot = batch.train(None, 0, 500).unwrap();
        slot.push(&bytes);
        slot.commit().unwrap();
        let mut slot = batch.train(None, 0, 500).unwrap();
        slot.push(&bytes);
        drop(slot);
        let mut slot = batch.train(None, 0, 500).unwrap();
        for _ in 0..=PARTS_MAX {
            slot.push(&bytes[..1]);
        }
        assert_eq!(slot.commit(), Err(TrainError::TooLong));
        assert_eq!(batch.train(None, 0, 500).unwrap().commit(), Err(TrainError::Empty));
        assert_eq!((batch.len(), batch.parts.len()), (1, 1));
    }

    #[test]
    fn recycling_keeps_the_memory() {
        let batch = GatherBatch::new();
        let (address, capacity) = (batch.parts.as_ptr().addr(), batch.parts.capacity());
        let batch: GatherBatch<'static> = batch.recycle();
        assert_eq!((batch.parts.as_ptr().addr(), batch.parts.capacity()), (address, capacity));
    }
}
