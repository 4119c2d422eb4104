//! Trains that the caller writes, back to back, into memory of the batch.

use std::array;
use std::io::IoSlice;
use std::net::SocketAddr;

use crate::sys::Scratch;
use crate::train::{Cursor, Shape, TRAINS_MAX, Train, TrainError, train_bytes_max};

/// Up to [`TRAINS_MAX`] trains for one send call. Made once per engine: 64 KiB a train.
pub struct SendBatch {
    slab: Vec<u8>,
    /// Where the next train begins. Trains are packed: a batch of small packets touches little memory.
    end: usize,
    queued: Vec<Queued>,
    trains_max: usize,
    queue: Queue,
}

impl SendBatch {
    /// A batch of `trains` trains, from 1 to [`TRAINS_MAX`].
    #[must_use]
    pub fn new(trains: usize) -> Self {
        let trains_max = trains.clamp(1, TRAINS_MAX);
        Self {
            slab: vec![0; trains_max * TRAIN_ROOM],
            end: 0,
            queued: Vec::with_capacity(trains_max),
            trains_max,
            queue: Queue::new(),
        }
    }

    /// Begins a train of `segment_size`-byte packets to `destination` (`None` on a connected socket), marked with
    /// the low two bits of `ecn`. It is queued when the slot is committed.
    ///
    /// # Errors
    /// [`TrainError::Full`] and [`TrainError::SegmentSize`].
    pub fn train(
        &mut self,
        destination: Option<SocketAddr>,
        ecn: u8,
        segment_size: u16,
    ) -> Result<TrainSlot<'_>, TrainError> {
        let shape = Shape::open(destination, ecn, segment_size)?;
        if self.is_full() {
            return Err(TrainError::Full);
        }
        Ok(TrainSlot { batch: self, shape })
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
        self.queued.len() == self.trains_max
    }

    /// Forgets every train, sent or not.
    pub fn clear(&mut self) {
        self.queued.clear();
        self.end = 0;
        self.queue.cursor = Cursor::default();
    }

    /// Lets `send` see the trains, and empties the batch once all of them are finished.
    pub(crate) fn with_trains<T>(&mut self, send: impl FnOnce(&[Train<'_>], &mut Queue) -> T) -> T {
        let Self { slab, queued, queue, .. } = self;
        let parts: [IoSlice<'_>; TRAINS_MAX] = array::from_fn(|index| {
            IoSlice::new(queued.get(index).map_or(&[], |train| &slab[train.start..][..train.shape.bytes]))
        });
        let blank = Shape { destination: None, ecn: 0, segment: 1, bytes: 0, singly: false };
        let trains: [Train<'_>; TRAINS_MAX] = array::from_fn(|index| Train {
            shape: queued.get(index).map_or(blank, |train| train.shape),
            parts: &parts[index..=index],
        });
        let result = send(&trains[..queued.len()], queue);
        if self.queue.cursor.train == self.queued.len() {
            self.clear();
        }
        result
    }
}

/// A train being written. Dropped without a commit it leaves the batch as it was.
pub struct TrainSlot<'b> {
    batch: &'b mut SendBatch,
    shape: Shape,
}

impl TrainSlot<'_> {
    /// Has the packets of this train sent without segmentation offload, whatever the socket does.
    pub fn singly(&mut self) {
        self.shape.singly = true;
    }

    /// Room for the longest train of this segment size. It holds whatever earlier trains left there.
    pub fn buffer(&mut self) -> &mut [u8] {
        &mut self.batch.slab[self.batch.end..][..train_bytes_max(self.shape.segment)]
    }

    /// Queues the first `bytes` bytes of the buffer as packets of the segment size, the last one with the rest.
    ///
    /// # Errors
    /// [`TrainError::Empty`] and [`TrainError::TooLong`]; nothing is queued.
    pub fn commit(self, bytes: usize) -> Result<(), TrainError> {
        let shape = self.shape.closed(bytes)?;
        self.batch.queued.push(Queued { shape, start: self.batch.end });
        self.batch.end += bytes.next_multiple_of(CACHE_LINE);
        Ok(())
    }
}

struct Queued {
    shape: Shape,
    start: usize,
}

/// What a batch needs besides its trains.
pub(crate) struct Queue {
    pub(crate) scratch: Scratch,
    pub(crate) cursor: Cursor,
}

impl Queue {
    pub(crate) fn new() -> Self {
        Self { scratch: Scratch::new(), cursor: Cursor::default() }
    }
}

/// Slab bytes per train: any train, and its alignment.
const TRAIN_ROOM: usize = 65_536;
/// So that two trains share no cache line.
const CACHE_LINE: usize = 64;

const _: () = assert!(crate::DATAGRAM_BYTES_MAX.next_multiple_of(CACHE_LINE) <= TRAIN_ROOM);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_committed_trains_are_queued() {
        let mut batch = SendBatch::new(2);
        let _ = batch.train(None, 0, 1000).unwrap();
        assert!(batch.is_empty());
        assert_eq!(batch.train(None, 0, 1000).unwrap().commit(0), Err(TrainError::Empty));
        assert_eq!(batch.train(None, 0, 1000).unwrap().commit(64_001), Err(TrainError::TooLong));
        assert_eq!(batch.train(None, 0, 0).err(), Some(TrainError::SegmentSize));
        let mut slot = batch.train(None, 0, 65_507).unwrap();
        assert_eq!(slot.buffer().len(), 65_507);
        slot.commit(65_507).unwrap();
        let mut slot = batch.train(None, 0, 1472).unwrap();
        assert_eq!(slot.buffer().len(), 44 * 1472);
        slot.commit(1).unwrap();
        assert!(batch.is_full());
        assert_eq!(batch.train(None, 0, 1000).err(), Some(TrainError::Full));
        batch.clear();
        assert!(batch.is_empty() && batch.train(None, 0, 1000).is_ok());
    }
}
