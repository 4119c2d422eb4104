//! One stream at its sender: what was cut into packets, what is lost, what the peer has.

use std::collections::VecDeque;

use crate::ids::{RequestId, StreamId};
use crate::limits::{BLOCK, STREAM_SPREAD_MAX};
use crate::range_tracker::RangeTracker;
use crate::session::StreamStats;
use crate::time::Time;
use crate::wire::frame::{END_UNKNOWN, Open};

use super::plan::ChunkRef;
use super::tail::Tail;

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
    /// Ranges under way that go out once more since nothing else is to be sent.
    copies: VecDeque<(u64, u64)>,
    tail: Option<Tail>,
    acked: RangeTracker,
}

/// A piece that [`SendStream::next_chunk`] cut.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Cut {
    pub(crate) chunk: ChunkRef,
    pub(crate) kind: CutKind,
}

/// Why a piece is sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum CutKind {
    /// For the first time.
    New,
    /// It was lost.
    Lost,
    /// It is under way already.
    Copy,
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
            copies: VecDeque::new(),
            tail: None,
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
            self.copies.clear();
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
        let again = !self.lost.is_empty() || !self.copies.is_empty();
        !self.is_reset() && (again || (credit > 0 && self.new_bytes() > 0))
    }

    /// New bytes are ready, whatever the credit.
    pub(crate) fn has_new(&self) -> bool {
        !self.is_reset() && self.new_bytes() > 0
    }

    fn new_bytes(&self) -> u64 {
        let ceiling = self.acked.settled_below().saturating_add(STREAM_SPREAD_MAX);
        self.available.min(ceiling).saturating_sub(self.cursor)
    }

    /// Cuts at most `max` bytes: lost ranges first, then new ones within `credit`, and copies when there are no others.
    pub(crate) fn next_chunk(&mut self, max: u64, credit: u64) -> Option<Cut> {
        if self.is_reset() {
            return None;
        }
        if !self.lost.is_empty()
            && let Some((offset, len)) = self.next_missing(max, CutKind::Lost)
        {
            return Some(self.cut(offset, len, CutKind::Lost));
        }
        let len = self.new_bytes().min(max).min(credit).min(self.room_at(self.cursor));
        if len == 0 {
            if self.copies.is_empty() {
                return None;
            }
            let (offset, len) = self.next_missing(max, CutKind::Copy)?;
            return Some(self.cut(offset, len, CutKind::Copy));
        }
        let offset = self.cursor;
        self.cursor += len;
        Some(self.cut(offset, len, CutKind::New))
    }

    /// At most `max` bytes of the ranges that were lost, or are to be copied: what the peer does not have yet.
    #[inline(never)]
    fn next_missing(&mut self, max: u64, kind: CutKind) -> Option<(u64, u64)> {
        while let Some(&(start, end)) = self.queue(kind).front() {
            let look = (end - start).min(LOOK * max);
            let (at, len) = self.first_missing(start, look).unwrap_or((start + look, 0));
            let len = len.min(max).min(self.room_at(at));
            let queue = self.queue(kind);
            match queue.front_mut() {
                Some(front) if at + len < front.1 => front.0 = at + len,
                _ => drop(queue.pop_front()),
            }
            if len > 0 {
                return Some((at, len));
            }
        }
        None
    }

    fn queue(&mut self, kind: CutKind) -> &mut VecDeque<(u64, u64)> {
        if kind == CutKind::Copy { &mut self.copies } else { &mut self.lost }
    }

    /// The session has nothing to send. If this stream waits for nothing but answers, on a path with this share of loss,
    /// its tail begins; true if there is something to copy.
    pub(crate) fn begin_tail(&mut self, now: Time, loss: f64, payload: u64) -> bool {
        let all_sent = self.end == Some(self.cursor) && !self.is_reset();
        if !all_sent || self.tail.is_some() || self.acked.is_complete() {
            return false;
        }
        let sent = self.sent_bytes();
        let under_way = sent - self.acked.settled();
        let mut tail = Tail::new(now, sent, under_way, loss, payload);
        if tail.take(under_way) {
            let mut from = self.acked.settled_below();
            while let Some((offset, len)) = self.first_missing(from, self.cursor - from) {
                self.copies.push_back((offset, offset + len));
                from = offset + len;
            }
        }
        self.tail = Some(tail);
        !self.copies.is_empty()
    }

    /// Its blocks lie apart in memory: from now on no piece crosses from one into the next.
    pub(crate) fn keep_blocks_apart(&mut self) {
        self.blocks_apart = true;
    }

    /// How long a piece that begins there may be. Whoever does not know the end reads a pipe into blocks.
    fn room_at(&self, offset: u64) -> u64 {
        if self.blocks_apart { BLOCK - offset % BLOCK } else { u64::MAX }
    }

    fn cut(&self, offset: u64, len: u64, kind: CutKind) -> Cut {
        Cut { chunk: ChunkRef { stream: self.id, offset, len: len as u32 }, kind }
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

    /// The peer has this range. Returns the bytes that are news.
    pub(crate) fn on_acked(&mut self, offset: u64, len: u64) -> u64 {
        self.acked.insert_across(offset, len)
    }

    /// This range, sent at `sent`, has to go out again, unless the peer turns out to have it.
    pub(crate) fn on_lost(&mut self, offset: u64, len: u64, sent: Time) {
        if self.is_reset() {
            return;
        }
        if self.tail.as_mut().is_some_and(|tail| tail.copies_what_left(sent) && tail.take(len)) {
            self.copies.push_back((offset, offset + len));
        }
        if self.lost.capacity() == 0 {
            // At once what bursts of loss need: a stream that loses nothing has none.
            self.lost.reserve(LOST_ROOM);
        }
        match self.lost.back_mut() {
            Some(back) if back.1 == offset => back.1 += len,
            _ => self.lost.push_back((offset, offset + len)),
        }
    }
}

/// Lost ranges for which there is room from the first one on.
const LOST_ROOM: usize = 128;
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
            s.on_lost(BLOCK - 10, 20, Time::ZERO);
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
            assert_eq!(s.next_chunk(1000, u64::MAX).expect("new").kind, CutKind::New);
        }
        s.on_lost(1000, 1000, Time::ZERO);
        s.on_lost(2000, 1000, Time::ZERO);
        s.on_acked(1500, 500);
        let mut got = vec![];
        while let Some(cut) = s.next_chunk(1000, 0) {
            assert_eq!(cut.kind, CutKind::Lost);
            got.push((cut.chunk.offset, cut.chunk.len));
        }
        assert_eq!(got, [(1000, 500), (2000, 1000)]);
        let cut = s.next_chunk(1000, 700).expect("new again");
        assert_eq!((cut.chunk.offset, cut.chunk.len, cut.kind), (5000, 700, CutKind::New));
    }

    /// A stream of 200 packets of 1000 bytes, all sent.
    fn all_sent() -> SendStream {
        let mut s = SendStream::new(StreamId(1), RequestId(1), 0, Some(200_000), 1);
        s.extend(200_000);
        assert!(!s.begin_tail(Time::ZERO, 0.1, 1000), "there is something to send");
        while s.next_chunk(1000, u64::MAX).is_some() {}
        s
    }

    fn cuts(s: &mut SendStream) -> Vec<(u64, u32, CutKind)> {
        let cuts = core::iter::from_fn(|| s.next_chunk(1000, 0));
        cuts.map(|cut| (cut.chunk.offset, cut.chunk.len, cut.kind)).collect()
    }

    #[test]
    fn what_is_under_way_is_copied_if_it_is_little() {
        let mut s = all_sent();
        s.on_acked(0, 197_500);
        s.on_acked(198_000, 500);
        // 1 % are two packets.
        assert!(s.begin_tail(Time::ZERO, 0.1, 1000));
        s.on_acked(199_000, 1000);
        let copies = [(197_500, 500, CutKind::Copy), (198_500, 500, CutKind::Copy)];
        assert_eq!(cuts(&mut s), copies, "and not what has arrived meanwhile");
        s.on_lost(197_500, 500, Time::ZERO);
        assert_eq!(cuts(&mut s), [(197_500, 500, CutKind::Lost)], "the budget is spent");
        assert!(!s.begin_tail(Time::ZERO, 0.1, 1000), "once only");
    }

    #[test]
    fn losses_of_the_tail_are_sent_twice_from_where_the_budget_is_enough() {
        let at = Time::from_nanos;
        for (acked, copied_at_once) in [(190_000, true), (0, false)] {
            let mut s = all_sent();
            s.on_acked(0, acked);
            // Of 10 packets 2 are lost, of 200 it is 40, and of those 8.
            assert!(!s.begin_tail(at(10), 0.2, 1000));
            s.on_lost(195_000, 1000, at(5));
            let lost = (195_000, 1000, CutKind::Lost);
            let copy = (195_000, 1000, CutKind::Copy);
            assert_eq!(cuts(&mut s), if copied_at_once { vec![lost, copy] } else { vec![lost] });
            s.on_lost(195_000, 1000, at(20));
            assert_eq!(cuts(&mut s), [lost, copy]);
        }
    }
}
