//! The streams that a session receives: which bytes of each have arrived.

use core::cmp::Ordering;

use crate::ids::{RequestId, StreamId};
use crate::limits::{BLOCK, STREAM_SPREAD_MAX, STREAMS_MAX};
use crate::range_tracker::RangeTracker;
use crate::session::StreamStats;
use crate::wire::frame::{END_UNKNOWN, Open};

/// A stream being received.
#[derive(Debug)]
pub(crate) struct RecvStream {
    pub(crate) id: StreamId,
    /// `None` while only data has come, and no STREAM_OPEN.
    pub(crate) request: Option<RequestId>,
    pub(crate) ranges: RangeTracker,
    pub(crate) stats: StreamStats,
    /// Data of this stream is acknowledged and thrown away.
    pub(crate) stopped: bool,
    end: Option<u64>,
}

impl RecvStream {
    /// Data came first, at `offset`: what is held of such a stream lies near it.
    fn unopened(id: StreamId, offset: u64) -> Self {
        let start = (offset / BLOCK * BLOCK).saturating_sub(UNOPENED_SPREAD);
        Self {
            id,
            request: None,
            ranges: RangeTracker::new(start, start.saturating_add(2 * UNOPENED_SPREAD)),
            stats: StreamStats::default(),
            stopped: false,
            end: None,
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.request.is_some() && self.end.is_some() && self.ranges.is_complete()
    }

    pub(crate) fn end(&self) -> Option<u64> {
        self.end
    }
}

/// How far around its first data a stream may be written before it is opened.
const UNOPENED_SPREAD: u64 = 64 * BLOCK;

/// What the table says of a stream id.
#[derive(Debug)]
pub(crate) enum Lookup<'a> {
    Known(&'a mut RecvStream),
    /// Finished before: whatever comes of it is a late copy.
    Past,
    /// Never heard of.
    New,
}

/// All streams of one direction, by slot.
#[derive(Debug, Default)]
pub(crate) struct RecvStreams {
    slots: Vec<Slot>,
}

#[derive(Debug, Default)]
struct Slot {
    /// Generations below this are over.
    floor: u32,
    stream: Option<Box<RecvStream>>,
}

impl RecvStreams {
    pub(crate) fn lookup(&mut self, id: StreamId) -> Lookup<'_> {
        let Some(slot) = self.slots.get_mut(id.slot()) else { return Lookup::New };
        if id.generation() < slot.floor {
            return Lookup::Past;
        }
        match slot.stream.as_deref_mut() {
            Some(stream) => match id.generation().cmp(&stream.id.generation()) {
                Ordering::Less => Lookup::Past,
                Ordering::Equal => Lookup::Known(stream),
                Ordering::Greater => Lookup::New,
            },
            None => Lookup::New,
        }
    }

    pub(crate) fn get(&self, id: StreamId) -> Option<&RecvStream> {
        self.slots.get(id.slot())?.stream.as_deref().filter(|s| s.id == id)
    }

    /// Some stream is not finished.
    pub(crate) fn any(&self) -> bool {
        self.slots.iter().any(|slot| slot.stream.is_some())
    }

    pub(crate) fn get_mut(&mut self, id: StreamId) -> Option<&mut RecvStream> {
        self.slots.get_mut(id.slot())?.stream.as_deref_mut().filter(|s| s.id == id)
    }

    /// A stream of which data came before its STREAM_OPEN. Only for an id that is [`Lookup::New`], and
    /// `None` while the slot's previous stream is alive.
    pub(crate) fn insert_unopened(&mut self, id: StreamId, offset: u64) -> Option<&mut RecvStream> {
        let slot = self.slot(id)?;
        if slot.stream.is_some() {
            return None;
        }
        Some(slot.stream.insert(Box::new(RecvStream::unopened(id, offset))))
    }

    /// A STREAM_OPEN. Returns the stream if it is open now and was not before; `Err` if the frame
    /// contradicts what was received. `done` hears of blocks that are complete now that the range is
    /// known, by their first offset. Beside the stream stands how many blocks were tracked for it before.
    pub(crate) fn open(
        &mut self,
        open: &Open,
        mut done: impl FnMut(u64),
    ) -> Result<Option<(&mut RecvStream, usize)>, BadOpen> {
        let id = open.stream;
        if id.slot() == 0 {
            return Err(BadOpen);
        }
        match self.lookup(id) {
            Lookup::Past => return Ok(None),
            Lookup::Known(stream) if stream.request.is_some() => return Ok(None),
            Lookup::Known(_) | Lookup::New => {}
        }
        let slot = self.slot(id).ok_or(BadOpen)?;
        // A slot is used again only when its last stream was acknowledged whole, or its reset was.
        if slot.stream.as_ref().is_some_and(|stream| stream.id != id) {
            return Err(BadOpen);
        }
        let mut stream = match slot.stream.take() {
            Some(stream) => stream,
            None => Box::new(RecvStream::unopened(id, open.start)),
        };
        let mut ranges = RangeTracker::new(open.start, open.end.unwrap_or(END_UNKNOWN));
        // A stream that begins far below what came of it would need a list of all blocks between.
        let ceiling = open.end.unwrap_or(END_UNKNOWN).min(open.start + STREAM_SPREAD_MAX);
        let mut inside = true;
        stream.ranges.for_each_settled(|offset, len| {
            if offset < open.start || offset + len > ceiling {
                inside = false;
                return;
            }
            let mut at = offset;
            while at < offset + len {
                let stop = (offset + len).min((at / BLOCK + 1) * BLOCK);
                // A whole block was complete, and said so, before the stream was opened.
                if ranges.insert(at, stop - at).block_done && stop - at < BLOCK {
                    done(at / BLOCK * BLOCK);
                }
                at = stop;
            }
        });
        if !inside {
            return Err(BadOpen);
        }
        stream.request = Some(open.request);
        stream.end = open.end;
        let early_blocks = core::mem::replace(&mut stream.ranges, ranges).tracked();
        Ok(Some((slot.stream.insert(stream), early_blocks)))
    }

    /// The end of a stream opened without one. `done` hears of blocks that are complete by it.
    pub(crate) fn set_end(&mut self, id: StreamId, end: u64, done: impl FnMut(u64)) -> Result<(), BadOpen> {
        let Some(stream) = self.get_mut(id) else { return Ok(()) };
        match stream.end {
            Some(known) if known == end => Ok(()),
            Some(_) => Err(BadOpen),
            None if !stream.ranges.set_end(end, done) => Err(BadOpen),
            None => {
                stream.end = Some(end);
                Ok(())
            }
        }
    }

    /// Forgets a stream; its id is past from now on.
    pub(crate) fn remove(&mut self, id: StreamId) -> Option<Box<RecvStream>> {
        let slot = self.slots.get_mut(id.slot())?;
        if slot.stream.as_ref()?.id != id {
            return None;
        }
        slot.floor = id.generation() + 1;
        slot.stream.take()
    }

    /// Makes an id past, whether or not the stream was ever heard of; `Err` if another stream lives in its
    /// slot.
    pub(crate) fn retire(&mut self, id: StreamId) -> Result<(), BadOpen> {
        let slot = self.slot(id).ok_or(BadOpen)?;
        if slot.stream.as_ref().is_some_and(|stream| stream.id != id) {
            return Err(BadOpen);
        }
        slot.stream = None;
        slot.floor = slot.floor.max(id.generation() + 1);
        Ok(())
    }

    fn slot(&mut self, id: StreamId) -> Option<&mut Slot> {
        let index = id.slot();
        if index == 0 || index >= STREAMS_MAX {
            return None;
        }
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, Slot::default);
        }
        self.slots.get_mut(index)
    }
}

/// A frame that no honest sender writes.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) struct BadOpen;
