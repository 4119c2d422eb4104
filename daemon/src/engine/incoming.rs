//! The receiving side of a session: its incoming streams, whole blocks, and the takes that they belong to.

use std::collections::HashMap;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use udpx_proto::messages::PutRequest;
use udpx_proto::{Code, RequestId, StreamId, Time};

use super::access::Right;
use super::driver::{Cx, Driver, Peer, Tags};
use super::report::{Pulse, Report};
use crate::report::{FileSummary, Row};
use crate::storage::blocks::Block;
use crate::storage::part::Part;
use crate::storage::vault::VaultError;
use crate::storage::writers::ClerkJob;
use crate::transfer::Failure;
use crate::transfer::put::News;
use crate::transfer::take::{Outcome, Place, Take, TakeCx, WrittenBlock};

/// A stream that comes in.
#[derive(Copy, Clone)]
pub(super) struct Incoming {
    pub(super) stream: StreamId,
    pub(super) request: RequestId,
    pub(super) start: u64,
    pub(super) end: Option<u64>,
    pub(super) opened: Time,
}

impl Driver {
    pub(super) fn on_put_request(&mut self, index: u32, message: &PutRequest, cx: &mut Cx<'_>) {
        if !self.is_new_request(message.request, cx) {
            return;
        }
        let place = self.place(&message.root, Right::Write);
        let place = cx.unfinished.check(&self.peer_key, cx.bounds).and(place);
        let begun = place.and_then(|place| {
            let busy = !self.takes.is_empty();
            match &self.guest {
                Some(guest) => self.begin_take(index, &guest.put(self.key, message, busy)?, &place, cx),
                None => self.begin_take(index, message, &place, cx),
            }
        });
        if begun.is_ok() {
            cx.unfinished.begin(self.peer_key);
        }
        if let Err(failure) = begun {
            self.report_refusal(&message.path, failure.clone(), cx);
            self.refuse(message.request, failure);
            self.forget(message.request, cx);
        }
    }

    /// A known peer wanted what it may not, or what cannot be: that leaves a trace, though not one for each try.
    fn report_refusal(&mut self, path: &[u8], failure: Failure, cx: &mut Cx<'_>) {
        self.refusals += 1;
        if let Peer::Known(access) = &self.peer
            && (self.refusals <= REFUSALS_TOLD || self.refusals.is_power_of_two())
        {
            let (peer, path) = (access.name.clone(), std::ffi::OsString::from_vec(path.to_vec()).into());
            cx.outbox.push(Report::NotReceived { peer, path, failure });
        }
    }

    /// Begins to receive a file.
    ///
    /// # Errors
    /// What the peer is to be told instead.
    pub(super) fn begin_take(
        &mut self,
        index: u32,
        message: &PutRequest,
        place: &Place,
        cx: &mut Cx<'_>,
    ) -> Result<(), Failure> {
        if self.takes.len() >= TAKES_MAX {
            return Err(Failure::new(Code::TryAgain, "Too many files at once in one session."));
        }
        let (tag, nonce) = (cx.tags.next(index), cx.random.number());
        let mut take_cx = TakeCx { mail: &mut self.mail, queue: cx.queue, now: cx.now };
        self.takes.push(Take::new(tag, message, place, nonce, &mut take_cx)?);
        self.adopt(message.request, cx);
        Ok(())
    }

    /// Streams that came before their request, with what the staging keeps of them.
    fn adopt(&mut self, request: RequestId, cx: &mut Cx<'_>) {
        let streams: Vec<Incoming> =
            self.incoming.iter().flatten().copied().filter(|incoming| incoming.request == request).collect();
        for incoming in streams {
            if self.takes.iter().any(|take| take.request == request) {
                self.staging.vouch(incoming.stream, cx.pool);
                self.with_take(request, cx, |take, cx| take.on_stream(incoming.start, incoming.end, cx));
                self.keep_order(incoming.stream, incoming.start, cx);
            }
        }
    }

    /// Sets memory aside for a file that goes into a pipe, if it does and this stream begins it.
    fn keep_order(&mut self, stream: StreamId, start: u64, cx: &mut Cx<'_>) {
        let request = self.incoming_of(stream).map(|incoming| incoming.request);
        let of = |take: &&Take| Some(take.request) == request;
        if start == 0 && self.takes.iter().find(of).is_some_and(Take::is_ordered) {
            self.staging.keep_order(stream, cx.pool);
        }
    }

    pub(super) fn on_stream_opened(&mut self, incoming: Incoming, cx: &mut Cx<'_>) {
        let Incoming { stream, request, start, end, .. } = incoming;
        if self.incoming.len() <= stream.slot() {
            self.incoming.resize(stream.slot() + 1, None);
        }
        self.incoming[stream.slot()] = Some(incoming);
        let expected = self.takes.iter().any(|take| take.request == request);
        if expected {
            self.staging.vouch(stream, cx.pool);
        }
        self.staging.on_opened(stream, start, end.unwrap_or(u64::MAX));
        if expected {
            self.with_take(request, cx, |take, cx| take.on_stream(start, end, cx));
            self.keep_order(stream, start, cx);
        } else if self.numbers.is_past(request) {
            // Its request was refused, or is over.
            self.session.stop_receiving(stream);
            self.staging.discard(stream, cx.pool);
        }
    }

    /// A stream that was opened without an end has one. Its last block, which became whole by it, comes after this.
    pub(super) fn on_stream_end(&mut self, stream: StreamId, end: u64, cx: &mut Cx<'_>) {
        if let Some(incoming) = self.incoming_of(stream) {
            self.with_take(incoming.request, cx, |take, cx| take.on_stream_end(end, cx));
        }
    }

    pub(super) fn incoming_of(&self, stream: StreamId) -> Option<Incoming> {
        self.incoming.get(stream.slot()).copied().flatten().filter(|incoming| incoming.stream == stream)
    }

    pub(super) fn on_block(&mut self, stream: StreamId, block_index: u64, block: Block, cx: &mut Cx<'_>) {
        let request = self.incoming_of(stream).map(|incoming| incoming.request);
        let mut take_cx = TakeCx { mail: &mut self.mail, queue: cx.queue, now: cx.now };
        let rejected = match self.takes.iter_mut().find(|take| Some(take.request) == request) {
            Some(take) => take.on_block(block_index, block, &mut take_cx),
            None => Some(block),
        };
        if let Some(block) = rejected {
            self.staging.release(block, cx.pool);
        }
    }

    /// Blocks with holes give up their memory: the oldest of this session. False if there is none.
    pub(crate) fn flush_oldest(&mut self, any: bool, cx: &mut Cx<'_>) -> bool {
        let (incoming, takes) = (&self.incoming, &self.takes);
        let may = |stream: StreamId| {
            let of =
                incoming.get(stream.slot()).copied().flatten().filter(|incoming| incoming.stream == stream);
            of.and_then(|of| takes.iter().find(|take| take.request == of.request))
                .is_some_and(Take::may_flush)
        };
        let Some((stream, block_index, block)) = self.staging.take_oldest(any, may) else {
            return false;
        };
        let request = self.incoming_of(stream).map(|incoming| incoming.request);
        let mut take_cx = TakeCx { mail: &mut self.mail, queue: cx.queue, now: cx.now };
        let rejected = match self.takes.iter_mut().find(|take| Some(take.request) == request) {
            Some(take) => take.on_flush(block_index, block, &mut take_cx),
            None => Some(block),
        };
        if let Some(block) = rejected {
            self.staging.release(block, cx.pool);
        }
        true
    }

    /// A writer has written a block of ours; its memory has gone back to the pool.
    pub(crate) fn on_written(&mut self, tag: u64, reply: &WrittenBlock, cx: &mut Cx<'_>) {
        self.dirty = true;
        if !Tags::is_after(tag, self.born) {
            // Of a session that had our index before; its credit went with it.
            return;
        }
        self.session.bytes_written(u64::from(reply.bytes));
        self.staging.refill(cx.pool);
        if let Some(request) = self.request_of(tag) {
            self.with_take(request, cx, |take, cx| take.on_written(reply, cx));
        }
    }

    /// A clerk has created a part, or could not. A part that nobody waits for any more is dropped.
    pub(crate) fn on_created(&mut self, tag: u64, result: Result<Arc<Part>, VaultError>, cx: &mut Cx<'_>) {
        self.dirty = true;
        match (self.request_of(tag), result) {
            (Some(request), result) => self.with_take(request, cx, |take, cx| take.on_created(result, cx)),
            (None, Ok(part)) => cx.queue.clerk(ClerkJob::Discard { tag, part }),
            (None, Err(_)) => {}
        }
    }

    /// A clerk has committed a part, or could not.
    pub(crate) fn on_committed(&mut self, tag: u64, result: Result<PathBuf, VaultError>, cx: &mut Cx<'_>) {
        self.dirty = true;
        if let Some(request) = self.request_of(tag) {
            self.with_take(request, cx, |take, cx| take.on_committed(result, cx));
        }
    }

    fn request_of(&self, tag: u64) -> Option<RequestId> {
        self.takes.iter().find(|take| take.tag == tag).map(|take| take.request)
    }

    pub(super) fn with_take(
        &mut self,
        request: RequestId,
        cx: &mut Cx<'_>,
        act: impl FnOnce(&mut Take, &mut TakeCx<'_>) -> Option<Outcome>,
    ) {
        let Some(at) = self.takes.iter().position(|take| take.request == request) else { return };
        let mut take_cx = TakeCx { mail: &mut self.mail, queue: cx.queue, now: cx.now };
        let take = &mut self.takes[at];
        let before = take.milestone();
        if let Some(outcome) = act(take, &mut take_cx) {
            return self.finish_take(at, outcome, cx);
        }
        let after = take.milestone();
        if before != after
            && let Some(file) = self.asked.file_of(request)
        {
            self.tell_fetching(file, at, before, after, cx);
        }
        if before != after {
            self.tell_arriving(at, after.1, cx);
        }
    }

    /// Whoever gave a ticket away waits for what comes of it, as if they had asked for the file; and so does a program that
    /// has named its peers.
    fn tell_arriving(&self, at: usize, written: u64, cx: &mut Cx<'_>) {
        if let Peer::Known(access) = &self.peer
            && (self.guest.is_some() || access.by_program)
        {
            let (take, peer, pulse) =
                (&self.takes[at], access.name.clone(), Pulse::of(&self.session.stats()));
            let (path, size) = (take.shown(), take.size().unwrap_or(0));
            cx.outbox.push(Report::Arriving { peer, path, written, size, pulse });
        }
    }

    /// A file that we asked for is under way.
    fn tell_fetching(
        &self,
        file: usize,
        at: usize,
        before: (bool, u64),
        after: (bool, u64),
        cx: &mut Cx<'_>,
    ) {
        let (path, size) = (self.takes[at].shown().into_os_string().into_vec(), self.takes[at].size());
        if !before.0 {
            self.tell(file, News::Accepted { path, size }, cx);
        }
        if before.1 != after.1 {
            self.tell(file, News::Progress { written: after.1, size }, cx);
        }
    }

    /// The peer's own files that are not finished: their number, and the bytes that they take here.
    pub(super) fn unfinished(&self) -> (u32, u64) {
        self.puts_of_peer().fold((0, 0), |(count, bytes), take| (count + 1, bytes + take.occupied()))
    }

    pub(super) fn has_unfinished(&self) -> bool {
        self.puts_of_peer().next().is_some()
    }

    /// What it puts, other than what we asked for.
    fn puts_of_peer(&self) -> impl Iterator<Item = &Take> {
        self.takes.iter().filter(|take| self.asked.file_of(take.request).is_none())
    }

    /// Gives up the files of the peer of which nothing has come for `stalled`.
    pub(super) fn end_stalled(&mut self, stalled: Duration, cx: &mut Cx<'_>) {
        let mut came = HashMap::<RequestId, u64>::new();
        for incoming in self.incoming.iter().flatten() {
            let stats = self.session.stream_stats(incoming.stream, false);
            *came.entry(incoming.request).or_default() += stats.map_or(0, |stats| stats.payload_bytes);
        }
        for at in (0..self.takes.len()).rev() {
            let request = self.takes[at].request;
            let came = came.get(&request).copied().unwrap_or(0);
            let is_stalled = self.takes[at].is_stalled(came, stalled, cx.now);
            if is_stalled && self.asked.file_of(request).is_none() {
                let text = format!("Nothing more of this file came for {} hours.", stalled.as_secs() / 3600);
                let mut take_cx = TakeCx { mail: &mut self.mail, queue: cx.queue, now: cx.now };
                let outcome = self.takes[at].fail(Failure::new(Code::TryAgain, text), &mut take_cx);
                self.finish_take(at, outcome, cx);
                self.dirty = true;
            }
        }
    }

    /// Files that can never become whole though everything has come: an error is better than waiting for ever.
    pub(super) fn fail_stuck(&mut self, cx: &mut Cx<'_>) {
        while let Some(at) = self.takes.iter().position(Take::is_stuck) {
            let mut take_cx = TakeCx { mail: &mut self.mail, queue: cx.queue, now: cx.now };
            let failure =
                Failure::new(Code::Bug, "Data that came was lost within the receiver; send it again.");
            let outcome = self.takes[at].fail(failure, &mut take_cx);
            self.finish_take(at, outcome, cx);
        }
    }

    /// A file is done with, one way or the other.
    pub(super) fn finish_take(&mut self, at: usize, outcome: Outcome, cx: &mut Cx<'_>) {
        let mut take = self.takes.swap_remove(at);
        let (request, rows) = (take.request, std::mem::take(&mut take.rows));
        let user = std::mem::take(&mut take.user);
        let seconds = cx.now.saturating_since(take.started).as_secs_f64();
        for (_, block) in take.end(cx.queue) {
            self.staging.release(block, cx.pool);
        }
        self.forget(request, cx);
        let outcome = match self.asked.file_of(request) {
            Some(_) => return self.end_fetching(request, outcome, rows, cx),
            None => outcome,
        };
        cx.unfinished.end(&self.peer_key);
        if let (Outcome::Done { .. } | Outcome::Skipped { .. }, Some(guest)) = (&outcome, &mut self.guest) {
            guest.on_moved();
        }
        let Peer::Known(access) = &self.peer else { return };
        let peer = access.name.clone();
        let file = |path, bytes, digest, skipped, reread_bytes| FileSummary {
            file: 0,
            path,
            bytes,
            digest,
            skipped,
            seconds,
            reread_bytes,
            rows,
        };
        cx.outbox.push(match outcome {
            Outcome::Done { path, bytes, digest, reread } => {
                Report::Received { peer, user, file: file(path, bytes, digest, false, reread) }
            }
            Outcome::Skipped { path } => {
                Report::Received { peer, user, file: file(path, 0, [0; 32], true, 0) }
            }
            Outcome::Failed { path, failure } => Report::NotReceived { peer, path, failure },
        });
    }

    fn end_fetching(&mut self, request: RequestId, outcome: Outcome, rows: Vec<Row>, cx: &mut Cx<'_>) {
        let done = |path: PathBuf, bytes, digest, skipped, reread| {
            let path = path.into_os_string().into_vec();
            News::Done { path, bytes, digest, skipped, reread, rows }
        };
        let news = match outcome {
            Outcome::Done { path, bytes, digest, reread } => done(path, bytes, digest, false, reread),
            Outcome::Skipped { path } => done(path, 0, [0; 32], true, 0),
            Outcome::Failed { failure, .. } => News::Failed(failure),
        };
        self.owes_word = true;
        self.end_get(request, news, cx);
    }

    /// Whatever else comes for this request is of no interest.
    fn forget(&mut self, request: RequestId, cx: &mut Cx<'_>) {
        for incoming in self.incoming.iter_mut().filter(|i| i.is_some_and(|i| i.request == request)) {
            if let Some(Incoming { stream, .. }) = incoming.take() {
                self.session.stop_receiving(stream);
                self.staging.discard(stream, cx.pool);
            }
        }
    }
}

/// Files that one session may send at once.
const TAKES_MAX: usize = 256;
/// Refused files of one session that are reported singly; after them each doubling is.
const REFUSALS_TOLD: u64 = 16;
