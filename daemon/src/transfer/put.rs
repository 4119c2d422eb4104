//! The sending end of one file, whether this end asked to send it or the other end asked for it.
//!
//! Readers populate the blocks ahead of the sending cursor; they or the engine hash them, and what was hashed can be sent.
//! FINISH goes out only after the source was found unchanged behind its last byte, so that a file that was rewritten
//! half-way is never given its name at the receiver. What was hashed is what arrives: a block that differs there is
//! hashed again here, and sent again only if it still is what it was.

mod copy;
mod mapped;
mod pour;

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use udpx_proto::messages::{
    Abort, BadSubtrees, Complete, Finish, GetAccepted, IfExists, Message, Progress, PutAccepted, PutRequest,
};
use udpx_proto::{Code, RequestId, StreamId, StreamStats, Time};

use self::copy::Copies;
use super::stripe::Stripe;
use super::{Bytes, DIGESTS_MAX, Failure, Mail, Streams, code_of_source};
use crate::engine::workers::Queue;
use crate::report::Row;
use crate::storage::BLOCK;
use crate::storage::digest::{Cv, DigestTree, Hashing, Subtrees};
use crate::storage::pipe::{Feed, Inlet};
use crate::storage::readers::{Origin, ReadJob, ReadOutcome, ReadRequest};
use crate::storage::source::{Source, SourceError};

/// A file to be sent.
#[derive(Clone, Debug)]
pub(crate) struct PutSpec {
    pub(crate) origin: PutOrigin,
    /// Streams; chosen by size if `None`.
    pub(crate) streams: Option<u16>,
    pub(crate) cause: Cause,
}

/// Where the bytes come from.
#[derive(Clone, Debug)]
pub(crate) enum PutOrigin {
    /// A file, opened by a reader.
    At(Origin),
    /// A source that is open.
    Open(Arc<Source>),
    /// A pipe.
    Pipe(Arc<Inlet>),
}

/// Why a file is sent.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// We want the peer to have it.
    Offered(Offer),
    /// The peer asked for it.
    Asked,
}

/// A file that the peer is asked to take.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Its place in the job.
    pub(crate) file: usize,
    /// Base name.
    pub(crate) name: Vec<u8>,
    /// Root at the receiver; empty for its default.
    pub(crate) root: String,
    /// Path beneath the root.
    pub(crate) path: Vec<u8>,
    pub(crate) if_exists: IfExists,
    /// Who asks.
    pub(crate) user: String,
}

/// What a put needs of the engine while it handles something.
pub(crate) struct PutCx<'a> {
    pub(crate) streams: &'a mut dyn Streams,
    pub(crate) mail: &'a mut Mail,
    pub(crate) queue: &'a mut Queue,
    pub(crate) now: Time,
}

/// One file being sent.
pub(crate) struct Put {
    /// Tag of its work in the storage threads.
    pub(crate) tag: u64,
    pub(crate) request: RequestId,
    pub(crate) spec: PutSpec,
    phase: Phase,
    source: Option<Arc<Source>>,
    /// Of a source that is not mapped.
    copies: Copies,
    /// Instead of a source, if it comes out of a pipe.
    feed: Option<Feed>,
    /// The receiver was asked without a size, and gets one stream without an end.
    endless: bool,
    tree: DigestTree,
    /// The source was found changed while it was hashed; a reader is to say what became of it.
    doubted: bool,
    stripes: Vec<Stripe>,
    /// Streams alive, and when they were opened.
    live: Vec<(StreamId, Time)>,
    rows: Vec<Row>,
    /// Blocks to be sent again for which no stream was free.
    repairs: Vec<Range<u64>>,
    tries: HashMap<u64, u8>,
    accepted: Option<Vec<u8>>,
    written: u64,
}

/// How far a put is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// A reader opens the source, or a pipe has not said enough.
    Opening,
    /// Blocks are hashed and, once the receiver has agreed, sent.
    Sending,
    /// A reader compares the source with what it was.
    Verifying,
    /// FINISH was sent.
    Finishing,
    Over,
}

/// What is to be told of a put.
#[derive(Debug)]
pub(crate) enum News {
    /// The receiver agreed and named the file.
    Accepted { path: Vec<u8>, size: Option<u64> },
    /// The receiver has written so many bytes, of those that there are if that is known.
    Progress { written: u64, size: Option<u64> },
    /// It is durable.
    Done { path: Vec<u8>, bytes: u64, digest: [u8; 32], skipped: bool, reread: u64, rows: Vec<Row> },
    /// It will never be.
    Failed(Failure),
}

impl Put {
    /// Begins to send a file.
    pub(crate) fn new(tag: u64, request: RequestId, spec: PutSpec, cx: &mut PutCx<'_>) -> Self {
        let nothing = Subtrees::of(0).unwrap_or_else(|| unreachable!("an empty file can be described"));
        let mut put = Self {
            tag,
            request,
            phase: Phase::Opening,
            source: None,
            copies: Copies::default(),
            feed: None,
            endless: false,
            tree: DigestTree::new(nothing),
            doubted: false,
            stripes: Vec::new(),
            live: Vec::new(),
            rows: Vec::new(),
            repairs: Vec::new(),
            tries: HashMap::new(),
            accepted: None,
            written: 0,
            spec,
        };
        match put.spec.origin.clone() {
            PutOrigin::At(origin) => put.read(ReadJob::Open(origin), cx),
            PutOrigin::Open(source) => put.on_open(source, cx),
            PutOrigin::Pipe(inlet) => put.read(ReadJob::Tap(inlet), cx),
        }
        put
    }

    fn read(&self, job: ReadJob, cx: &mut PutCx<'_>) {
        cx.queue.read(ReadRequest { tag: self.tag, job });
    }

    fn on_open(&mut self, source: Arc<Source>, cx: &mut PutCx<'_>) {
        let size = source.size();
        let subtrees = source.subtrees();
        self.tree = DigestTree::new(subtrees);
        self.stripes = Stripe::cut(subtrees, self.stream_count(size));
        let (mode, modified) = source.attributes().map_or((0o644, UNIX_EPOCH), |a| (a.mode, a.modified));
        let mtime = modified.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        let (request, mtime_ns) = (self.request, i64::try_from(mtime.as_nanos()).unwrap_or(0));
        cx.mail.push_back(match self.spec.cause.clone() {
            Cause::Asked => Message::GetAccepted(GetAccepted { request, size, mode, mtime_ns }),
            Cause::Offered(Offer { name, root, path, if_exists, user, .. }) => {
                let size = Some(size);
                Message::PutRequest(PutRequest {
                    request,
                    root,
                    path,
                    name,
                    size,
                    mode,
                    mtime_ns,
                    if_exists,
                    user,
                })
            }
        });
        self.source = Some(source);
        self.phase = Phase::Sending;
        self.pump(cx);
    }

    fn stream_count(&self, size: u64) -> u64 {
        match self.spec.streams {
            Some(count) => u64::from(count).clamp(1, STREAMS_MAX),
            None if size < STRIPE_LEAST => 1,
            None => (size / STRIPE_LEAST).clamp(1, STRIPES_DEFAULT_MAX),
        }
    }

    /// Bytes of the source, once they are known.
    fn size(&self) -> Option<u64> {
        match (&self.source, &self.feed) {
            (Some(source), _) => Some(source.size()),
            (None, Some(_)) if self.phase != Phase::Opening => {
                self.stripes.first().map_or(Some(0), Stripe::end)
            }
            (None, _) => None,
        }
    }

    /// The name of the source, for messages.
    pub(crate) fn shown(&self) -> PathBuf {
        match (&self.source, &self.spec.origin) {
            (Some(source), _) | (None, PutOrigin::Open(source)) => source.path().into(),
            (None, PutOrigin::Pipe(inlet)) => inlet.name().into(),
            (None, PutOrigin::At(origin)) => origin.path().into(),
        }
    }

    /// The peer asked for it.
    pub(crate) fn is_asked(&self) -> bool {
        matches!(self.spec.cause, Cause::Asked)
    }

    /// Streams that it has opened so far.
    pub(crate) fn streams(&self) -> usize {
        self.stripes.iter().filter(|stripe| stripe.stream.is_some()).count()
    }

    /// Does what can be done now: opens streams, asks readers for more, hashes, announces digests. Called when the cursor
    /// may have moved. True if a stream that had nothing left to send can go on.
    pub(crate) fn pump(&mut self, cx: &mut PutCx<'_>) -> bool {
        if self.phase == Phase::Over || self.phase == Phase::Opening {
            return false;
        }
        // Who asked did not know how large the file is, and may have no room for it, or have it already.
        if self.is_asked() && self.accepted.is_none() {
            return false;
        }
        self.open_streams(cx);
        self.release(cx);
        self.copy_again(cx);
        if self.phase != Phase::Sending {
            return false;
        }
        self.read_ahead(cx);
        let goes_on = self.hash_ahead(cx);
        self.announce(cx);
        self.verify(cx);
        goes_on
    }

    fn open_streams(&mut self, cx: &mut PutCx<'_>) {
        // A large file waits until the receiver has made room for it.
        let waits = self.endless || self.size().is_none_or(|size| size > AT_ONCE_MAX);
        if self.accepted.is_none() && waits {
            return;
        }
        for at in 0..self.stripes.len() {
            let stripe = &self.stripes[at];
            if stripe.stream.is_some() {
                continue;
            }
            let (Range { start, end }, known) = (stripe.bytes(), stripe.end());
            let Some(bytes) = self.bytes(start, end) else { return };
            let stream = cx.streams.open(self.request, bytes, start, known.filter(|_| !self.endless));
            let stripe = &mut self.stripes[at];
            stripe.stream = stream;
            let available = stripe.available();
            let Some(stream) = stream else { return };
            self.on_copies_taken(start);
            if let (Some(end), true) = (known, self.endless) {
                cx.streams.finish(stream, end);
            }
            cx.streams.extend(stream, available);
            self.live.push((stream, cx.now));
        }
        while let Some(range) = self.repairs.pop() {
            let bytes = self.bytes(range.start, range.end);
            let stream =
                bytes.and_then(|bytes| cx.streams.open(self.request, bytes, range.start, Some(range.end)));
            let Some(stream) = stream else {
                self.repairs.push(range);
                return;
            };
            self.on_copies_taken(range.start);
            cx.streams.extend(stream, range.end);
            self.live.push((stream, cx.now));
        }
    }

    /// What a stream over these bytes is read from.
    fn bytes(&self, start: u64, end: u64) -> Option<Bytes> {
        match &self.source {
            Some(source) if source.is_in_memory() => Some(Bytes::File(source.clone())),
            Some(_) => Some(self.copied_bytes(start, end)),
            None => self.piped(start, end),
        }
    }

    fn read_ahead(&mut self, cx: &mut PutCx<'_>) {
        if let Some(source) = self.copied() {
            return self.copy_ahead(&source, cx);
        }
        let Some(source) = &self.source else { return };
        let inline = cx.queue.hashing() == Hashing::Inline;
        let ahead = (AHEAD_BLOCKS / self.stripes.len().max(1) as u64).max(2);
        for stripe in &mut self.stripes {
            let cursor = stripe.cursor(&*cx.streams);
            while let Some(block) = stripe.ask(cursor, ahead) {
                let job = ReadJob::Prepare { source: source.clone(), block, hash: !inline };
                cx.queue.read(ReadRequest { tag: self.tag, job });
            }
        }
    }

    /// Announces digests, of stripes that will not be cut anew.
    fn announce(&mut self, cx: &mut PutCx<'_>) {
        for stripe in self.stripes.iter_mut().filter(|stripe| stripe.stream.is_some()) {
            while cx.mail.len() < MAIL_MAX {
                let range = stripe.to_announce(ANNOUNCE_LEAST, DIGESTS_MAX as u64);
                if range.is_empty() {
                    break;
                }
                let digests = range.clone().map_while(|block| self.tree.get(block).map(|cv| cv.0)).collect();
                let message =
                    udpx_proto::messages::Subtrees { request: self.request, first: range.start, digests };
                cx.mail.push_back(Message::Subtrees(message));
                stripe.on_announced(range.end);
            }
        }
    }

    /// Compares the source with what it was, once everything has been sent: no change before may go unnoticed.
    fn verify(&mut self, cx: &mut PutCx<'_>) {
        let is_sent = |stripe: &Stripe| {
            // A stream that is gone was sent whole.
            stripe
                .stream
                .is_some_and(|stream| cx.streams.cursor(stream).is_none_or(|at| at == stripe.bytes().end))
        };
        if !self.stripes.iter().all(|stripe| stripe.is_announced() && is_sent(stripe)) {
            return;
        }
        self.phase = Phase::Verifying;
        match self.source.clone() {
            Some(source) => self.read(ReadJob::Verify { source }, cx),
            // What a pipe said is what was hashed.
            None => self.finish(cx),
        }
    }

    /// A reader has done something.
    pub(crate) fn on_read(&mut self, outcome: ReadOutcome, cx: &mut PutCx<'_>) -> Option<News> {
        if self.phase == Phase::Over {
            return None;
        }
        let failed = match outcome {
            ReadOutcome::Opened(Ok(source)) => {
                self.on_open(source, cx);
                return None;
            }
            ReadOutcome::Tapped(Ok(feed)) => match self.on_tapped(feed, cx) {
                Ok(()) => return None,
                Err(error) => error,
            },
            ReadOutcome::Flowed => match self.on_flow(cx) {
                Ok(()) => return None,
                Err(error) => error,
            },
            ReadOutcome::Prepared { block, result: Ok(cv) } => {
                self.on_prepared(block, cv, cx);
                return None;
            }
            ReadOutcome::Fetched { block, result: Ok(slab) } => return self.on_fetched(block, slab, cx),
            ReadOutcome::Rehashed { block, result: Ok(cv) } => return self.on_rehashed(block, cv, cx),
            ReadOutcome::Verified(Ok(())) => {
                self.finish(cx);
                return None;
            }
            ReadOutcome::Released => return None,
            ReadOutcome::Opened(Err(error))
            | ReadOutcome::Tapped(Err(error))
            | ReadOutcome::Prepared { result: Err(error), .. }
            | ReadOutcome::Fetched { result: Err(error), .. }
            | ReadOutcome::Rehashed { result: Err(error), .. }
            | ReadOutcome::Verified(Err(error)) => error,
        };
        Some(self.fail(Failure::new(code_of_source(&failed), failed.to_string()), cx))
    }

    fn on_prepared(&mut self, block: u64, cv: Option<Cv>, cx: &mut PutCx<'_>) {
        let Some(stripe) = self.stripes.iter_mut().find(|stripe| stripe.holds(block)) else { return };
        let Some(cv) = cv else {
            stripe.on_loaded(block);
            self.pump(cx);
            return;
        };
        self.tree.set(block, cv);
        if let Some(available) = stripe.on_ready(block)
            && let Some(stream) = stripe.stream
        {
            cx.streams.extend(stream, available);
        }
        self.pump(cx);
    }

    fn finish(&mut self, cx: &mut PutCx<'_>) {
        if let (Phase::Verifying, Some(digest), Some(size)) = (self.phase, self.tree.root(), self.size()) {
            self.phase = Phase::Finishing;
            let message = Finish { request: self.request, size, digest };
            cx.mail.push_back(Message::Finish(message));
        }
    }

    /// The receiver agrees.
    pub(crate) fn on_accepted(&mut self, message: PutAccepted, cx: &mut PutCx<'_>) -> Option<News> {
        if self.phase == Phase::Over || self.accepted.is_some() {
            return None;
        }
        if message.skipped {
            self.end(Code::Done, cx);
            return Some(News::Done {
                path: message.path,
                bytes: 0,
                digest: [0; 32],
                skipped: true,
                reread: 0,
                rows: std::mem::take(&mut self.rows),
            });
        }
        self.accepted = Some(message.path.clone());
        self.pump(cx);
        Some(News::Accepted { path: message.path, size: self.size() })
    }

    /// The receiver can take the file only from its first byte to its last.
    pub(crate) fn on_in_order(&mut self) {
        let is_begun = self.stripes.iter().any(|stripe| stripe.stream.is_some());
        self.spec.streams = Some(1);
        if let Some(source) = self.source.as_ref().filter(|_| !is_begun) {
            // Blocks that readers were asked for already are asked for once more, from memory.
            self.stripes = Stripe::cut(source.subtrees(), 1);
            self.copies = Copies::default();
        }
    }

    /// Blocks arrived there that differ from their digests.
    pub(crate) fn on_bad(&mut self, message: &BadSubtrees, cx: &mut PutCx<'_>) -> Option<News> {
        if self.feed.is_some() && self.phase != Phase::Over {
            return self.on_bad_piped(message, cx);
        }
        let source = self.source.clone()?;
        for &block in &message.indices {
            if self.phase == Phase::Over {
                return None;
            }
            if self.tree.get(block).is_none() {
                return Some(
                    self.fail(Failure::protocol("a block was called bad that was not announced"), cx),
                );
            }
            let tries = self.tries.entry(block).or_insert(0);
            *tries += 1;
            if *tries > TRIES_MAX {
                let text = format!("Block {block} of {:?} arrived damaged {TRIES_MAX} times.", source.path());
                return Some(self.fail(Failure::new(Code::Corrupt, text), cx));
            }
            match source.is_in_memory() {
                true => self.read(ReadJob::Rehash { source: source.clone(), block }, cx),
                false => self.read_again(block),
            }
        }
        self.pump(cx);
        None
    }

    fn on_rehashed(&mut self, block: u64, cv: Cv, cx: &mut PutCx<'_>) -> Option<News> {
        if self.tree.get(block) != Some(cv) {
            let path = self.shown();
            let change = crate::storage::source::Change::Rewritten;
            let error = SourceError::Changed { path, change };
            return Some(self.fail(Failure::new(Code::SourceChanged, error.to_string()), cx));
        }
        let range = self.tree.subtrees().range(block);
        self.repairs.push(range);
        self.pump(cx);
        None
    }

    /// So many bytes were written there.
    pub(crate) fn on_progress(&mut self, message: &Progress) -> Option<News> {
        if self.phase == Phase::Over {
            return None;
        }
        self.written = message.written.min(self.size().unwrap_or(u64::MAX));
        Some(News::Progress { written: self.written, size: self.size() })
    }

    /// It is durable there.
    pub(crate) fn on_complete(&mut self, message: Complete, cx: &mut PutCx<'_>) -> Option<News> {
        if self.phase == Phase::Over {
            return None;
        }
        if self.phase != Phase::Finishing
            || self.tree.root() != Some(message.digest)
            || Some(message.size) != self.size()
        {
            let text = "The receiver stored something else than what was sent.";
            return Some(self.fail(Failure::new(Code::Corrupt, text), cx));
        }
        for (stream, opened) in std::mem::take(&mut self.live) {
            if let Some(stats) = cx.streams.stats(stream) {
                self.rows.push(Row::of(Some(stream.0), &stats, cx.now.saturating_since(opened)));
            }
        }
        self.phase = Phase::Over;
        Some(News::Done {
            path: message.path,
            bytes: message.size,
            digest: message.digest,
            skipped: false,
            reread: message.reread,
            rows: std::mem::take(&mut self.rows),
        })
    }

    /// The receiver gives up.
    pub(crate) fn on_abort(&mut self, message: Abort, cx: &mut PutCx<'_>) -> Option<News> {
        if self.phase == Phase::Over {
            return None;
        }
        let code = Code::from_number(message.code);
        self.end(code, cx);
        Some(News::Failed(Failure::new(code, message.text)))
    }

    /// A stream of this file arrived whole.
    pub(crate) fn on_stream_sent(&mut self, stream: StreamId, stats: &StreamStats, now: Time) {
        if let Some(at) = self.live.iter().position(|&(id, _)| id == stream) {
            let (_, opened) = self.live.swap_remove(at);
            self.rows.push(Row::of(Some(stream.0), stats, now.saturating_since(opened)));
        }
    }

    /// Whether the stream is one of this file's.
    pub(crate) fn owns(&self, stream: StreamId) -> bool {
        self.live.iter().any(|&(id, _)| id == stream)
    }

    /// The source cannot be read any more.
    pub(crate) fn on_source_fault(&mut self, cx: &mut PutCx<'_>) -> Option<News> {
        if self.phase == Phase::Over {
            return None;
        }
        let Some(source) = &self.source else {
            let text = format!("A part of {:?} was given up before the peer had it.", self.shown());
            return Some(self.fail(Failure::new(Code::Bug, text), cx));
        };
        let error = source.mark_changed();
        Some(self.fail(Failure::new(code_of_source(&error), error.to_string()), cx))
    }

    /// Ends the put and tells the receiver why.
    pub(crate) fn fail(&mut self, failure: Failure, cx: &mut PutCx<'_>) -> News {
        if self.phase != Phase::Opening || self.is_asked() {
            cx.mail.push_back(Message::Abort(Abort {
                request: self.request,
                code: failure.code.number(),
                text: failure.text.clone(),
            }));
        }
        self.end(failure.code, cx);
        News::Failed(failure)
    }

    fn end(&mut self, code: Code, cx: &mut PutCx<'_>) {
        for (stream, _) in self.live.drain(..) {
            cx.streams.reset(stream, code);
        }
        self.phase = Phase::Over;
    }

    /// Nothing will come of it any more.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }
}

impl std::fmt::Debug for Put {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Put").field("spec", &self.spec).field("phase", &self.phase).finish_non_exhaustive()
    }
}

/// Larger files wait for PUT_ACCEPTED before data flows: it is where "no room" is said.
pub(super) const AT_ONCE_MAX: u64 = 4 << 20;
/// Bytes of a stripe, where nothing else is wanted.
const STRIPE_LEAST: u64 = 64 << 20;
const STRIPES_DEFAULT_MAX: u64 = 4;
/// Streams of one file.
const STREAMS_MAX: u64 = 256;
/// Blocks of one source that readers may be ahead of the cursor: 64 MiB.
const AHEAD_BLOCKS: u64 = (64 << 20) / BLOCK;
/// Digests that are announced together, where there are more to come: one packet's worth.
const ANNOUNCE_LEAST: u64 = 32;
/// How often a block may arrive damaged.
const TRIES_MAX: u8 = 3;
/// Messages that may wait for the control stream before digests wait as well.
const MAIL_MAX: usize = 64;
