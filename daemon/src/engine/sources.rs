//! The files behind a session's outgoing streams: the engine's [`PayloadSource`].

use std::sync::Arc;

use udpx_proto::{ChunkRef, PayloadSource, StreamId};

use crate::storage::BLOCK;
use crate::storage::pipe::Slab;
use crate::storage::source::Source;
use crate::transfer::Bytes;

/// Sources by the slot of their stream.
#[derive(Default)]
pub(crate) struct Sources {
    slots: Vec<Option<Entry>>,
}

struct Entry {
    id: StreamId,
    bytes: Bytes,
}

impl Sources {
    /// `stream` reads from `bytes`.
    pub(crate) fn insert(&mut self, stream: StreamId, bytes: Bytes) {
        if self.slots.len() <= stream.slot() {
            self.slots.resize_with(stream.slot() + 1, || None);
        }
        self.slots[stream.slot()] = Some(Entry { id: stream, bytes });
    }

    /// The next block of a pipe.
    pub(crate) fn push(&mut self, stream: StreamId, slab: Arc<Slab>) {
        if let Some(Bytes::Pipe(slabs)) = self.get_mut(stream) {
            slabs.push(slab);
        }
    }

    /// Blocks of a pipe that the peer has.
    pub(crate) fn drop_below(&mut self, stream: StreamId, block: u64) {
        if let Some(Bytes::Pipe(slabs)) = self.get_mut(stream) {
            slabs.drop_below(block);
        }
    }

    /// The stream is over.
    pub(crate) fn remove(&mut self, stream: StreamId) {
        if let Some(slot) = self.slots.get_mut(stream.slot())
            && slot.as_ref().is_some_and(|entry| entry.id == stream)
        {
            *slot = None;
        }
    }

    /// Asked after a train was sealed and before it is sent.
    ///
    /// # Errors
    /// The first stream whose source has changed: the train may hold bytes that nobody vouches for.
    pub(crate) fn check(&self, chunks: impl Iterator<Item = ChunkRef>) -> Result<(), StreamId> {
        let mut checked = None;
        for ChunkRef { stream, .. } in chunks {
            if checked != Some(stream) {
                if self.get(stream).is_none_or(Bytes::is_changed) {
                    return Err(stream);
                }
                checked = Some(stream);
            }
        }
        Ok(())
    }

    /// Takes hold of what a train of one stream is read from.
    ///
    /// # Errors
    /// The stream, if its source cannot serve all of it any more.
    pub(crate) fn hold(
        &self,
        chunks: impl Iterator<Item = ChunkRef>,
        held: &mut Held,
    ) -> Result<(), StreamId> {
        held.clear();
        for ChunkRef { stream, offset, .. } in chunks {
            if held.file.is_some() {
                return Ok(());
            }
            match self.get(stream).ok_or(stream)? {
                Bytes::File(source) => held.file = Some(source.clone()),
                Bytes::Pipe(slabs) => {
                    let block = offset / BLOCK;
                    if held.slabs.last().is_none_or(|(last, _)| *last != block) {
                        held.slabs.push((block, slabs.get(block).ok_or(stream)?.clone()));
                    }
                }
            }
        }
        Ok(())
    }

    /// The kernel could not read the payload of a stream.
    pub(crate) fn on_fault(&self, stream: StreamId) {
        if let Some(Bytes::File(source)) = self.get(stream) {
            // What exactly happened to it is asked for when the transfer is ended.
            let _ = source.mark_changed();
        }
    }

    fn get(&self, stream: StreamId) -> Option<&Bytes> {
        let entry = self.slots.get(stream.slot())?.as_ref().filter(|entry| entry.id == stream)?;
        Some(&entry.bytes)
    }

    fn get_mut(&mut self, stream: StreamId) -> Option<&mut Bytes> {
        let entry = self.slots.get_mut(stream.slot())?.as_mut().filter(|entry| entry.id == stream)?;
        Some(&mut entry.bytes)
    }
}

/// What one train is read from, for as long as it is not sealed. Reused.
#[derive(Default)]
pub(crate) struct Held {
    file: Option<Arc<Source>>,
    /// Blocks of a pipe, by number.
    slabs: Vec<(u64, Arc<Slab>)>,
}

impl Held {
    pub(crate) fn clear(&mut self) {
        self.file = None;
        self.slabs.clear();
    }

    /// As [`Sources::check`].
    pub(crate) fn is_changed(&self) -> bool {
        self.file.as_ref().is_some_and(|source| source.is_changed())
    }
}

impl PayloadSource for Held {
    #[inline]
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        let len = chunk.len as usize;
        if let Some(source) = &self.file {
            return source.slice(chunk.offset, len);
        }
        let (_, slab) = self.slabs.iter().find(|(block, _)| *block == chunk.offset / BLOCK)?;
        let start = (chunk.offset % BLOCK) as usize;
        slab.bytes().get(start..start + len)
    }
}

impl Bytes {
    fn is_changed(&self) -> bool {
        matches!(self, Self::File(source) if source.is_changed())
    }

    #[inline]
    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        match self {
            Self::File(source) => source.slice(offset, len),
            Self::Pipe(slabs) => slabs.slice(offset, len),
        }
    }
}

impl PayloadSource for Sources {
    #[inline]
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        self.get(chunk.stream)?.slice(chunk.offset, chunk.len as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(len: u64, seed: u64) -> Bytes {
        Bytes::File(Arc::new(Source::generated(len, seed).unwrap()))
    }

    #[test]
    fn chunks_come_from_the_streams_own_source() {
        let mut sources = Sources::default();
        let (old, new) = (StreamId::new(3, 0), StreamId::new(3, 1));
        sources.insert(old, generated(1000, 1));
        let chunk = |stream, offset, len| ChunkRef { stream, offset, len };
        assert_eq!(sources.chunk(chunk(old, 900, 100)).map(<[u8]>::len), Some(100));
        assert!(sources.chunk(chunk(old, 901, 100)).is_none());
        assert_eq!(sources.check([chunk(old, 0, 10), chunk(old, 10, 10)].into_iter()), Ok(()));
        let mut held = Held::default();
        assert_eq!(sources.hold([chunk(old, 0, 10)].into_iter(), &mut held), Ok(()));
        sources.insert(new, generated(1000, 2));
        sources.remove(old);
        assert_eq!(held.chunk(chunk(old, 5, 5)).map(<[u8]>::len), Some(5));
        assert_eq!(sources.hold([chunk(old, 0, 10)].into_iter(), &mut held), Err(old));
        assert!(held.chunk(chunk(old, 5, 5)).is_none());
        assert!(sources.chunk(chunk(old, 0, 1)).is_none());
        assert_eq!(sources.check([chunk(new, 0, 1), chunk(old, 0, 1)].into_iter()), Err(old));
    }
}
