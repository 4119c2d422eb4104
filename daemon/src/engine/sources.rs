//! The files behind a session's outgoing streams: the engine's [`PayloadSource`].

use std::sync::Arc;

use udpx_proto::{ChunkRef, PayloadSource, StreamId};

use crate::storage::source::Source;

/// Sources by the slot of their stream.
#[derive(Default)]
pub(crate) struct Sources {
    slots: Vec<Option<Entry>>,
}

struct Entry {
    id: StreamId,
    source: Arc<Source>,
}

impl Sources {
    /// `stream` reads from `source`.
    pub(crate) fn insert(&mut self, stream: StreamId, source: Arc<Source>) {
        if self.slots.len() <= stream.slot() {
            self.slots.resize_with(stream.slot() + 1, || None);
        }
        self.slots[stream.slot()] = Some(Entry { id: stream, source });
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
                if self.get(stream).is_none_or(|entry| entry.source.is_changed()) {
                    return Err(stream);
                }
                checked = Some(stream);
            }
        }
        Ok(())
    }

    /// The kernel could not read the payload of a stream.
    pub(crate) fn on_fault(&self, stream: StreamId) {
        if let Some(entry) = self.get(stream) {
            // What exactly happened to it is asked for when the transfer is ended.
            let _ = entry.source.mark_changed();
        }
    }

    fn get(&self, stream: StreamId) -> Option<&Entry> {
        self.slots.get(stream.slot())?.as_ref().filter(|entry| entry.id == stream)
    }
}

impl PayloadSource for Sources {
    #[inline]
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        self.get(chunk.stream)?.source.slice(chunk.offset, chunk.len as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_come_from_the_streams_own_source() {
        let mut sources = Sources::default();
        let (old, new) = (StreamId::new(3, 0), StreamId::new(3, 1));
        sources.insert(old, Arc::new(Source::generated(1000, 1).unwrap()));
        let chunk = |stream, offset, len| ChunkRef { stream, offset, len };
        assert_eq!(sources.chunk(chunk(old, 900, 100)).map(<[u8]>::len), Some(100));
        assert!(sources.chunk(chunk(old, 901, 100)).is_none());
        assert_eq!(sources.check([chunk(old, 0, 10), chunk(old, 10, 10)].into_iter()), Ok(()));
        sources.insert(new, Arc::new(Source::generated(1000, 2).unwrap()));
        sources.remove(old);
        assert!(sources.chunk(chunk(old, 0, 1)).is_none());
        assert_eq!(sources.check([chunk(new, 0, 1), chunk(old, 0, 1)].into_iter()), Err(old));
    }
}
