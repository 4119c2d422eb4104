//! One session and everything that the engine keeps for it: its transfers, its staging, its sources.
//!
//! The session is a state machine; the driver carries its events to the transfers and their wishes back to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use udpx_proto::handshake::PublicKey;
use udpx_proto::session::{OpenStream, SendError};
use udpx_proto::{Code, Event, LaneId, Message, RequestId, Session, StreamId, StreamStats, Time};

use super::access::Access;
use super::incoming::Incoming;
use super::report::{Connect, Outbox, Pulse, Report, SessionKey};
use super::sources::Sources;
use super::staging::{Staging, StagingPool};
use super::workers::Queue;
use crate::identity::OsRandom;
use crate::report::{Row, SocketReport};
use crate::storage::blocks::Block;
use crate::storage::readers::ReadReply;
use crate::storage::source::Source;
use crate::transfer::put::{News, Put, PutCx, PutSpec};
use crate::transfer::take::{Outcome, Take, TakeCx};
use crate::transfer::{Failure, Mail, Streams};

/// What a driver needs of the engine while it handles something.
pub(crate) struct Cx<'a> {
    pub(crate) now: Time,
    pub(crate) pool: &'a mut StagingPool,
    pub(crate) queue: &'a mut Queue,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) random: &'a mut OsRandom,
    pub(crate) tags: &'a mut Tags,
}

/// Tags of work in the storage threads: the driver's index above, a number that is never used twice below.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    last: u64,
}

impl Tags {
    pub(super) fn next(&mut self, index: u32) -> u64 {
        self.last += 1;
        u64::from(index) << INDEX_SHIFT | self.last
    }

    /// The index of the driver whose work it was.
    pub(crate) fn index(tag: u64) -> u32 {
        (tag >> INDEX_SHIFT) as u32
    }
}

const INDEX_SHIFT: u32 = 48;

/// Who is at the other end.
pub(crate) enum Peer {
    /// We opened the session.
    Server {
        /// How, for another attempt.
        connect: Box<Connect>,
        /// Somebody said that the peer knows nothing of it; a handshake is under way to see.
        doubted: bool,
    },
    /// A peer of the configuration opened it.
    Known(Arc<Access>),
    /// Somebody opened it who has no rights here.
    Unknown { config_name: String },
}

/// A session and what belongs to it.
pub(crate) struct Driver {
    pub(crate) session: Session,
    pub(crate) key: SessionKey,
    pub(crate) wire: usize,
    /// Where packets go, on a socket that is not connected.
    pub(crate) to: Option<SocketAddr>,
    pub(crate) address: SocketAddr,
    pub(crate) peer: Peer,
    pub(crate) peer_key: PublicKey,
    pub(crate) staging: Staging,
    pub(crate) sources: Sources,
    pub(super) mail: Mail,
    puts: Vec<Put>,
    last_put: u64,
    pub(super) takes: Vec<Take>,
    /// Streams coming in, by slot.
    pub(super) incoming: Vec<Option<Incoming>>,
    /// Whole blocks of requests that were not heard of yet.
    pub(super) orphans: Vec<(RequestId, u64, Block)>,
    /// The highest request of the peer so far: they are numbered upwards.
    pub(super) last_request: Option<RequestId>,
    /// Something happened that has not been looked at.
    pub(crate) dirty: bool,
    /// When to look at it in any case.
    pub(crate) deadline: Time,
    /// When to look for silence.
    check: Time,
    /// Why it is over.
    end: Option<Failure>,
    /// It was closed on command, and that was reported.
    closed: bool,
}

/// Where a new session is.
pub(crate) struct Place {
    pub(crate) key: SessionKey,
    pub(crate) wire: usize,
    pub(crate) to: Option<SocketAddr>,
    pub(crate) address: SocketAddr,
}

impl Driver {
    pub(crate) fn new(session: Session, place: &Place, peer: Peer, peer_key: PublicKey, now: Time) -> Self {
        let &Place { key, wire, to, address } = place;
        Self {
            session,
            key,
            wire,
            to,
            address,
            peer,
            peer_key,
            staging: Staging::default(),
            sources: Sources::default(),
            mail: Mail::new(),
            puts: Vec::new(),
            last_put: 0,
            takes: Vec::new(),
            incoming: Vec::new(),
            orphans: Vec::new(),
            last_request: None,
            dirty: true,
            deadline: now,
            check: now + CHECK_EVERY,
            end: None,
            closed: false,
        }
    }

    /// The ids by which its packets find it.
    pub(crate) fn lanes(&self) -> Vec<LaneId> {
        self.session.local_lanes().collect()
    }

    /// Begins to send a file.
    pub(crate) fn put(&mut self, index: u32, spec: PutSpec, cx: &mut Cx<'_>) {
        self.dirty = true;
        self.last_put += 1;
        let (tag, request) = (cx.tags.next(index), RequestId(self.last_put));
        let mut streams = SessionStreams { session: &mut self.session, sources: &mut self.sources };
        let mut put_cx = PutCx { streams: &mut streams, mail: &mut self.mail, queue: cx.queue, now: cx.now };
        let put = Put::new(tag, request, spec, &mut put_cx);
        self.puts.push(put);
    }

    /// Does what is due and passes on what the session has to say.
    pub(crate) fn serve(&mut self, index: u32, cx: &mut Cx<'_>) {
        if cx.now >= self.deadline {
            self.session.handle_timeout(cx.now);
        }
        while let Some(event) = self.session.poll_event() {
            self.on_event(index, event, cx);
        }
        while let Some((stream, block_index, block)) = self.staging.next_whole() {
            self.on_block(stream, block_index, block, cx);
        }
        self.pump(cx);
        if cx.now >= self.check {
            self.look_for_silence(cx);
        }
    }

    /// Everything that may have become possible: sources, messages, credit.
    pub(crate) fn pump(&mut self, cx: &mut Cx<'_>) {
        for at in 0..self.puts.len() {
            self.with_put(at, cx, Put::pump);
        }
        self.puts.retain(|put| !put.is_over());
        let mut take_cx = TakeCx { mail: &mut self.mail, queue: cx.queue, now: cx.now };
        self.takes.iter_mut().for_each(|take| take.flush_bad(&mut take_cx));
        self.session.bytes_written(self.staging.take_released());
        self.send_mail(cx);
    }

    fn send_mail(&mut self, cx: &mut Cx<'_>) {
        while let Some(message) = self.mail.front() {
            match self.session.send_message(message) {
                Ok(()) => {}
                Err(SendError::Full) => return,
                Err(SendError::Closed) => return self.mail.clear(),
                Err(error) => {
                    tracing::error!(%error, "a message could not be sent");
                    self.session.close(cx.now, Code::Bug, "a message could not be sent");
                }
            }
            self.mail.pop_front();
        }
    }

    fn on_event(&mut self, index: u32, event: Event, cx: &mut Cx<'_>) {
        match event {
            Event::Confirmed => self.on_confirmed(cx),
            Event::Message(message) => self.on_message(index, message, cx),
            Event::StreamOpened { stream, request, start, end } => {
                let opened = Incoming { stream, request, start, end, opened: cx.now };
                self.on_stream_opened(opened, cx);
            }
            Event::StreamReceived { stream, request, stats } => {
                if let Some(incoming) = self.incoming_of(stream)
                    && let Some(take) = self.takes.iter_mut().find(|take| take.request == request)
                {
                    take.rows.push(Row::of(Some(stream.0), &stats, cx.now.saturating_since(incoming.opened)));
                }
            }
            Event::StreamReset { stream, .. } => self.staging.discard(stream, cx.pool),
            Event::StreamSent { stream, stats, .. } => {
                if let Some(put) = self.puts.iter_mut().find(|put| put.owns(stream)) {
                    put.on_stream_sent(stream, &stats, cx.now);
                }
                self.sources.remove(stream);
            }
            Event::Closed { code, text } => {
                let code = Code::from_number(code);
                self.end = Some(Failure::new(code, if text.is_empty() { code.text().into() } else { text }));
            }
            Event::TimedOut => {
                let text = format!("{} has not answered for a minute.", self.address);
                self.end = Some(Failure::new(Code::Unreachable, text));
            }
            Event::ProtocolError(why) => self.end = Some(Failure::protocol(why)),
            // Further lanes and pipes are neither offered nor taken here.
            Event::LaneOffered { .. }
            | Event::LaneReady { .. }
            | Event::StreamEnd { .. }
            | Event::Pong { .. } => {}
            _ => {}
        }
    }

    /// The first packet opened: from now on the session may have effects.
    fn on_confirmed(&mut self, cx: &mut Cx<'_>) {
        match &self.peer {
            Peer::Server { .. } => {}
            Peer::Known(access) => {
                cx.outbox.push(Report::Arrived { peer: access.name.clone(), from: self.address });
            }
            Peer::Unknown { config_name } => {
                let key = crate::identity::key_text(&self.peer_key);
                let text = format!(
                    "This machine does not know your key. On it, add to {config_name}: [[peer]] name = \"...\" key = \"{key}\""
                );
                self.session.close(cx.now, Code::Refused, &text);
                cx.outbox.push(Report::Unknown { key: self.peer_key, from: self.address });
            }
        }
    }

    fn on_message(&mut self, index: u32, message: Message, cx: &mut Cx<'_>) {
        let put = |driver: &Self, request| driver.puts.iter().position(|put| put.request == request);
        match message {
            Message::PutRequest(request) => self.on_put_request(index, &request, cx),
            Message::Subtrees(message) => {
                self.with_take(message.request, cx, |take, cx| take.on_subtrees(&message, cx));
            }
            Message::Finish(message) => {
                self.with_take(message.request, cx, |take, cx| take.on_finish(&message, cx));
            }
            Message::PutAccepted(message) => {
                if let Some(at) = put(self, message.request) {
                    self.put_news(at, cx, |put, cx| put.on_accepted(message, cx));
                }
            }
            Message::BadSubtrees(message) => {
                if let Some(at) = put(self, message.request) {
                    self.put_news(at, cx, |put, cx| put.on_bad(&message, cx));
                }
            }
            Message::Complete(message) => {
                if let Some(at) = put(self, message.request) {
                    self.put_news(at, cx, |put, cx| put.on_complete(message, cx));
                }
            }
            Message::Progress(message) => {
                if let Some(at) = put(self, message.request) {
                    self.put_news(at, cx, |put, _| put.on_progress(&message));
                }
            }
            // Each end numbers its own requests. One that opened the session only sends, the other only receives.
            Message::Abort(message) => {
                let failure = Failure::new(Code::from_number(message.code), message.text.clone());
                if let Some(at) = put(self, message.request) {
                    self.put_news(at, cx, |put, cx| put.on_abort(message, cx));
                } else if let Some(at) = self.takes.iter().position(|take| take.request == message.request) {
                    let path = self.takes[at].shown();
                    self.finish_take(at, Outcome::Failed { path, failure }, cx);
                }
            }
            // Of a later version: whatever it was about, the request stays open until its own time-out.
            Message::Unsupported(message) => tracing::debug!(?message, "the peer did not know a message"),
            _ => {}
        }
    }

    /// Work of a reader for one of our files.
    pub(crate) fn on_read(&mut self, reply: ReadReply, cx: &mut Cx<'_>) {
        if let Some(at) = self.puts.iter().position(|put| put.tag == reply.tag) {
            self.dirty = true;
            self.put_news(at, cx, |put, cx| put.on_read(reply.outcome, cx));
        }
    }

    /// The source of a stream cannot be read any more.
    pub(crate) fn on_source_fault(&mut self, stream: StreamId, cx: &mut Cx<'_>) {
        self.dirty = true;
        match self.puts.iter().position(|put| put.owns(stream)) {
            Some(at) => self.put_news(at, cx, Put::on_source_fault),
            None => self.session.reset_stream(stream, Code::SourceChanged),
        }
    }

    fn put_news(
        &mut self,
        at: usize,
        cx: &mut Cx<'_>,
        act: impl FnOnce(&mut Put, &mut PutCx<'_>) -> Option<News>,
    ) {
        if let Some(news) = self.with_put(at, cx, act) {
            let pulse = Pulse::of(&self.session.stats());
            cx.outbox.push(Report::Put { session: self.key, file: self.puts[at].spec.file, news, pulse });
        }
    }

    fn with_put<T>(
        &mut self,
        at: usize,
        cx: &mut Cx<'_>,
        act: impl FnOnce(&mut Put, &mut PutCx<'_>) -> T,
    ) -> T {
        let mut streams = SessionStreams { session: &mut self.session, sources: &mut self.sources };
        let mut put_cx = PutCx { streams: &mut streams, mail: &mut self.mail, queue: cx.queue, now: cx.now };
        act(&mut self.puts[at], &mut put_cx)
    }

    /// Nothing was heard for a while though we wait for something.
    fn look_for_silence(&mut self, cx: &mut Cx<'_>) {
        self.check = cx.now + CHECK_EVERY;
        let silent_for = cx.now.saturating_since(self.session.last_heard());
        if !self.puts.is_empty() && silent_for >= QUIET {
            cx.outbox.push(Report::Quiet { session: self.key, silent_for });
        }
    }

    /// When something is due though nothing happens.
    pub(crate) fn next_deadline(&self, now: Time) -> Time {
        let session = self.session.next_deadline(now).unwrap_or(Time::FAR);
        if self.puts.is_empty() { session } else { session.min(self.check) }
    }

    /// Ends the session from our side.
    pub(crate) fn close(&mut self, code: Code, text: &str, now: Time) {
        self.dirty = true;
        self.session.close(now, code, text);
    }

    /// The same, as whoever opened it wants it: nothing of it is awaited any more.
    pub(crate) fn close_by_command(&mut self, code: Code, text: &str, socket: SocketReport, cx: &mut Cx<'_>) {
        self.close(code, text, cx.now);
        if !std::mem::replace(&mut self.closed, true) {
            self.puts.clear();
            let (failure, stats) = (Failure::new(code, text), Box::new(self.session.stats()));
            cx.outbox.push(Report::Ended { session: self.key, failure, stats, socket });
        }
    }

    /// Gives everything back. What is unfinished will not be finished.
    pub(crate) fn dismantle(mut self, socket: SocketReport, cx: &mut Cx<'_>) {
        let failure = self.end.take().unwrap_or_else(|| Failure::new(Code::Done, "The session was closed."));
        let lost = Failure::new(
            Code::TryAgain,
            format!("The session with {} ended: {}", self.address, failure.text),
        );
        while !self.takes.is_empty() {
            let path = self.takes[0].shown();
            self.finish_take(0, Outcome::Failed { path, failure: lost.clone() }, cx);
        }
        self.orphans.drain(..).for_each(|(_, _, block)| cx.pool.give(block));
        self.staging.clear(cx.pool);
        let stats = Box::new(self.session.stats());
        match self.peer {
            // It was told when we closed it.
            Peer::Server { .. } if self.closed => {}
            Peer::Server { .. } => {
                cx.outbox.push(Report::Ended { session: self.key, failure, stats, socket });
            }
            Peer::Known(access) if self.session.is_confirmed() => {
                cx.outbox.push(Report::Left {
                    peer: access.name.clone(),
                    from: self.address,
                    failure,
                    socket,
                });
            }
            Peer::Known(_) | Peer::Unknown { .. } => {}
        }
    }
}

/// The session's streams as a put sees them.
struct SessionStreams<'a> {
    session: &'a mut Session,
    sources: &'a mut Sources,
}

impl Streams for SessionStreams<'_> {
    fn open(&mut self, request: RequestId, source: &Arc<Source>, start: u64, end: u64) -> Option<StreamId> {
        let open = OpenStream { request, start, end: Some(end), weight: 1 };
        let stream = self.session.open_stream(open).ok()?;
        self.sources.insert(stream, source.clone());
        Some(stream)
    }

    fn extend(&mut self, stream: StreamId, available: u64) {
        self.session.extend_stream(stream, available);
    }

    fn cursor(&self, stream: StreamId) -> Option<u64> {
        self.session.stream_progress(stream).map(|progress| progress.unsent_from)
    }

    fn stats(&self, stream: StreamId) -> Option<StreamStats> {
        self.session.stream_stats(stream, true)
    }

    fn reset(&mut self, stream: StreamId, code: Code) {
        self.session.reset_stream(stream, code);
        self.sources.remove(stream);
    }
}

/// How often silence is looked for.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Silence worth a word.
const QUIET: Duration = Duration::from_secs(2);
