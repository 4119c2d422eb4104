//! One stream at its sender: what was cut into packets, what is lost, what the peer has.

use std::collections::VecDeque;

use crate::ids::{RequestId, StreamId};
use crate::limits::{BLOCK, STREAM_SPREAD_MAX};
use crate::range_tracker::RangeTracker;
use crate::session::StreamStats;
use crate::wire::frame::{END_UNKNOWN, Open};

use super::plan::ChunkRef;

/// A frame that must reach the peer once: due, in the air, or there.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Signal {
    /// Not wanted.
    Idle,
    /// To be sent.
    Due,
    /// Sent, not yet acknowledged.
    Sent,
    /// Acknowledged.
    Acked,
}

/// A stream being sent.
#[derive(Debug)]
pub(crate) struct SendStream {
    pub(crate) id: StreamId,
    pub(crate) request: RequestId,
    pub(crate) weight: u16,
    /// Scheduler's virtual time: bytes sent over weight.
    pub(crate) pass: u64,
    pub(crate) open: Signal,
    /// STREAM_END, for a stream opened without its end.
    pub(crate) end_signal: Signal,
    pub(crate) reset: Signal,
    pub(crate) reset_code: u32,
    pub(crate) stats: StreamStats,
    /// The end stands in STREAM_OPEN.
    end_in_open: bool,
    /// No piece crosses from one block into the next.
    blocks_apart: bool,
    end: Option<u64>,
    /// One past the last byte that can be read without blocking.
    available: u64,
    /// Next byte that was never sent.
    cursor: u64,
    lost: VecDeque<(u64, u64)>,
    acked: RangeTracker,
}

/// A piece that [`SendStream::next_chunk`] cut.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) chunk: ChunkRef,
    /// Sent before.
    pub(crate) again: bool,
}

impl SendStream {
    pub(crate) fn new(id: StreamId, request: RequestId, start: u64, end: Option<u64>, weight: u16) -> Self {
        Self {
            id,
            request,
            weight: weight.max(1),
            pass: 0,
            open: Signal::Due,
            end_signal: Signal::Idle,
            reset: Signal::Idle,
            reset_code: 0,
            stats: StreamStats::default(),
            end_in_open: end.is_some(),
            blocks_apart: end.is_none(),
            end,
            available: start,
            cursor: start,
            lost: VecDeque::new(),
            acked: RangeTracker::new(start, end.unwrap_or(END_UNKNOWN)),
        }
    }

    pub(crate) fn open_frame(&self) -> Open {
        Open {
            stream: self.id,
            weight: self.weight,
            request: self.request,
            start: self.acked.start(),
            end: self.end.filter(|_| self.end_in_open),
        }
    }

    pub(crate) fn end(&self) -> Option<u64> {
        self.end
    }

    /// Bytes of the whole stream, if known.
    pub(crate) fn len(&self) -> Option<u64> {
        self.end.map(|end| end - self.acked.start())
    }

    /// Bytes that can be read without blocking.
    pub(crate) fn ready(&self) -> u64 {
        self.available - self.acked.start()
    }

    pub(crate) fn extend(&mut self, available: u64) {
        self.available = self.available.max(available.min(self.end.unwrap_or(u64::MAX)));
    }

    /// The end of a stream that was opened without one.
    pub(crate) fn finish(&mut self, end: u64) {
        if self.end.is_none() {
            self.end = Some(end);
            self.end_signal = Signal::Due;
            // Nothing beyond `available` was sent, so no settled byte can lie beyond the end.
            self.acked.set_end(end, |_| {});
        }
    }

    pub(crate) fn is_reset(&self) -> bool {
        self.reset != Signal::Idle
    }

    /// Gives the stream up.
    pub(crate) fn abort(&mut self, code: u32) {
        if self.reset == Signal::Idle {
            self.reset = Signal::Due;
            self.reset_code = code;
            self.lost.clear();
        }
    }

    /// Everything has arrived and every signal was heard.
    pub(crate) fn is_finished(&self) -> bool {
        if self.is_reset() {
            return self.reset == Signal::Acked;
        }
        self.open == Signal::Acked
            && self.end.is_some()
            && matches!(self.end_signal, Signal::Idle | Signal::Acked)
            && self.acked.is_complete()
    }

    /// The lowest byte that may still have to be read from the source.
    pub(crate) fn unacked_from(&self) -> u64 {
        self.acked.settled_below()
    }

    /// The lowest byte that was never sent.
    pub(crate) fn unsent_from(&self) -> u64 {
        self.cursor
    }

    /// Unique bytes that were ever sent.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.cursor - self.acked.start()
    }

    /// Bytes that the peer has.
    pub(crate) fn acked_bytes(&self) -> u64 {
        self.acked.settled()
    }

    /// Whether something can be cut now: a lost range, or new bytes if `credit` allows some.
    pub(crate) fn has_work(&self, credit: u64) -> bool {
        !self.is_reset() && (!self.lost.is_empty() || (credit > 0 && self.new_bytes() > 0))
    }

    /// New bytes are ready, whatever the credit.
    pub(crate) fn has_new(&self) -> bool {
        !self.is_reset() && self.new_bytes() > 0
    }

    fn new_bytes(&self) -> u64 {
        let ceiling = self.acked.settled_below().saturating_add(STREAM_SPREAD_MAX);
        self.available.min(ceiling).saturating_sub(self.cursor)
    }

    /// Cuts at most `max` bytes: lost ranges first, then new ones within `credit`.
    pub(crate) fn next_chunk(&mut self, max: u64, credit: u64) -> Option<Cut> {
        if self.is_reset() {
            return None;
        }
        while let Some(&(start, end)) = self.lost.front() {
            let look = (end - start).min(LOOK * max);
            match self.first_missing(start, look) {
                None => self.drop_lost(start + look),
                Some((offset, len)) => {
                    let len = len.min(max).min(self.room_at(offset));
                    self.drop_lost(offset + len);
                    return Some(self.cut(offset, len, true));
                }
            }
        }
        let len = self.new_bytes().min(max).min(credit).min(self.room_at(self.cursor));
        if len == 0 {
            return None;
        }
        let offset = self.cursor;
        self.cursor += len;
        Some(self.cut(offset, len, false))
    }

    /// Its blocks lie apart in memory: from now on no piece crosses from one into the next.
    pub(crate) fn keep_blocks_apart(&mut self) {
        self.blocks_apart = true;
    }

    /// How long a piece that begins there may be. Whoever does not know the end reads a pipe into blocks.
    fn room_at(&self, offset: u64) -> u64 {
        if self.blocks_apart { BLOCK - offset % BLOCK } else { u64::MAX }
    }

    fn cut(&self, offset: u64, len: u64, again: bool) -> Cut {
        Cut { chunk: ChunkRef { stream: self.id, offset, len: len as u32 }, again }
    }

    /// The first piece of the range that the peer does not have, pieces across a block joined.
    fn first_missing(&self, offset: u64, len: u64) -> Option<(u64, u64)> {
        let mut found: Option<(u64, u64)> = None;
        self.acked.missing_in(offset, len, |at, n| match &mut found {
            None => found = Some((at, n)),
            Some((start, have)) if *start + *have == at => *have += n,
            Some(_) => {}
        });
        found
    }

    /// Forgets the front lost range up to `to`.
    fn drop_lost(&mut self, to: u64) {
        if let Some(front) = self.lost.front_mut() {
            front.0 = to;
            if front.0 >= front.1 {
                self.lost.pop_front();
            }
        }
    }

    /// The peer has this range. Returns the bytes that are news.
    pub(crate) fn on_acked(&mut self, offset: u64, len: u64) -> u64 {
        self.acked.insert_across(offset, len)
    }

    /// This range has to go out again, unless the peer turns out to have it.
    pub(crate) fn on_lost(&mut self, offset: u64, len: u64) {
        if self.is_reset() {
            return;
        }
        match self.lost.back_mut() {
            Some(back) if back.1 == offset => back.1 += len,
            _ => self.lost.push_back((offset, offset + len)),
        }
    }
}

/// How many packets ahead a lost range is searched for what is still missing.
const LOOK: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_piece_crosses_blocks_that_lie_apart() {
        let end = 2 * BLOCK + 5;
        for known in [None, Some(end)] {
            let mut s = SendStream::new(StreamId(1), RequestId(1), 0, known, 1);
            s.keep_blocks_apart();
            s.extend(end);
            s.finish(end);
            let mut pieces = vec![];
            while let Some(cut) = s.next_chunk(600_000, u64::MAX) {
                pieces.push((cut.chunk.offset, u64::from(cut.chunk.len)));
            }
            s.on_lost(BLOCK - 10, 20);
            while let Some(cut) = s.next_chunk(600_000, 0) {
                pieces.push((cut.chunk.offset, u64::from(cut.chunk.len)));
            }
            let (part, rest) = (600_000, BLOCK - 600_000);
            let new = [(0, part), (part, rest), (BLOCK, part), (BLOCK + part, rest), (2 * BLOCK, 5)];
            assert_eq!(pieces, [&new[..], &[(BLOCK - 10, 10), (BLOCK, 10)]].concat());
        }
    }

    #[test]
    fn lost_ranges_go_first_and_what_arrived_meanwhile_does_not() {
        let mut s = SendStream::new(StreamId(1), RequestId(1), 0, Some(10_000), 1);
        s.extend(10_000);
        for _ in 0..5 {
            assert!(!s.next_chunk(1000, u64::MAX).expect("new").again);
        }
        s.on_lost(1000, 1000);
        s.on_lost(2000, 1000);
        s.on_acked(1500, 500);
        let mut got = vec![];
        while let Some(cut) = s.next_chunk(1000, 0) {
            assert!(cut.again);
            got.push((cut.chunk.offset, cut.chunk.len));
        }
        assert_eq!(got, [(1000, 500), (2000, 1000)]);
        let cut = s.next_chunk(1000, 700).expect("new again");
        assert_eq!((cut.chunk.offset, cut.chunk.len, cut.again), (5000, 700, false));
    }
}
