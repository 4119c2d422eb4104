//! One session and everything that the engine keeps for it: its transfers, its staging, its sources.
//!
//! The session is a state machine; the driver carries its events to the transfers and their wishes back to it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use udpx_proto::handshake::{PublicKey, StaticSecret};
use udpx_proto::messages::{Abort, RateLimit};
use udpx_proto::session::SendError;
use udpx_proto::{Code, Event, LaneId, Message, RatePolicy, RequestId, Session, StreamId, Time};

use super::access::{Access, Right};
use super::asking::Asked;
use super::bounds::{Bounds, Unfinished};
use super::incoming::Incoming;
use super::lanes::LaneTable;
use super::listing::Told;
use super::moving::Patience;
use super::numbers::Numbers;
use super::report::{Connect, Outbox, Report, SessionKey};
use super::sources::Sources;
use super::staging::{Staging, StagingPool};
use super::tickets::Guest;
use super::ways::Ways;
use super::workers::Queue;
use crate::identity::OsRandom;
use crate::report::{Row, SessionCounters, SessionTally, SocketReport};
use crate::transfer::put::{News, Put};
use crate::transfer::take::{self, Outcome, Take, TakeCx};
use crate::transfer::{Failure, Mail};

/// What a driver needs of the engine while it handles something.
pub(crate) struct Cx<'a> {
    pub(crate) now: Time,
    pub(crate) pool: &'a mut StagingPool,
    pub(crate) queue: &'a mut Queue,
    pub(crate) outbox: &'a mut Outbox,
    pub(crate) random: &'a mut OsRandom,
    /// This machine's key.
    pub(crate) identity: &'a StaticSecret,
    pub(crate) tags: &'a mut Tags,
    pub(crate) lanes: &'a mut LaneTable,
    /// What peers may hold here, and hold.
    pub(crate) bounds: &'a Bounds,
    pub(crate) unfinished: &'a mut Unfinished,
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

    /// What was handed out last.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Whether a tag was handed out after `born`.
    pub(super) fn is_after(tag: u64, born: u64) -> bool {
        tag & ((1 << INDEX_SHIFT) - 1) > born
    }

    /// The index of the driver whose work it was, or of one that has its place now.
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
    Unknown { text: String },
    /// Somebody opened it by a ticket that they cannot use, or when there were too many sessions already.
    Barred { code: Code, text: String },
}

impl Peer {
    /// Whether it has no rights here, not even to memory.
    pub(super) fn is_stranger(&self) -> bool {
        matches!(self, Self::Unknown { .. } | Self::Barred { .. })
    }
}

/// A session and what belongs to it.
pub(crate) struct Driver {
    pub(crate) session: Session,
    pub(crate) key: SessionKey,
    /// Its sockets.
    pub(crate) ways: Ways,
    /// Lanes that it is to have in the end.
    pub(super) lanes_wanted: usize,
    /// Its trains may go by carriers, if it has several lanes.
    pub(super) may_be_carried: bool,
    /// Where the peer is.
    pub(crate) address: SocketAddr,
    /// Silence that calls for another socket.
    pub(super) patience: Patience,
    pub(crate) peer: Peer,
    pub(crate) peer_key: PublicKey,
    /// The ticket that opened it, if one did: its rights are those of the known peer.
    pub(super) guest: Option<Guest>,
    /// It has asked to become a peer.
    pub(super) joining: bool,
    pub(crate) staging: Staging,
    pub(crate) sources: Sources,
    /// Tags up to this one belong to whoever had our index before.
    pub(super) born: u64,
    /// A stream whose data lies here though nobody vouches for it, and since when.
    pub(super) unplaced: Option<(StreamId, Time)>,
    /// Files of the peer that were refused.
    pub(super) refusals: u64,
    pub(super) mail: Mail,
    pub(super) puts: Vec<Put>,
    pub(super) takes: Vec<Take>,
    /// Streams coming in, by slot.
    pub(super) incoming: Vec<Option<Incoming>>,
    /// The requests of both ends.
    pub(super) numbers: Numbers,
    /// What we wait for.
    pub(super) asked: Asked,
    /// What the peer wants to be told.
    pub(super) told: Vec<Told>,
    /// Something happened that has not been looked at.
    pub(crate) dirty: bool,
    /// When to look at it in any case.
    pub(crate) deadline: Time,
    /// When to look for silence.
    check: Time,
    /// Why it is over.
    end: Option<Failure>,
    /// It shall be closed as soon as the peer has heard everything.
    lingering: Option<Lingering>,
    /// The most that may be moved, wire bits a second, as whoever wants something of the peer says.
    limit_bps: Option<u64>,
    /// As the cap of the peer says.
    share_bps: Option<u64>,
    /// As the peer says.
    wished_bps: Option<u64>,
    /// The peer must hear how a file ended before the session does: one that we asked for has come, or one of ours failed.
    pub(super) owes_word: bool,
    /// It was closed on command, and that was reported.
    closed: bool,
    /// Its trains go without segmentation offload: something on the way to this peer damages them.
    pub(crate) singly: bool,
}

/// A session that will be closed on command.
struct Lingering {
    /// At the latest.
    until: Time,
    code: Code,
    text: String,
    socket: SocketReport,
}

/// Where a new session is.
pub(crate) struct Place {
    pub(crate) key: SessionKey,
    pub(crate) wire: usize,
    pub(crate) address: SocketAddr,
    /// The last tag before it.
    pub(crate) born: u64,
}

impl Driver {
    pub(crate) fn new(session: Session, place: &Place, peer: Peer, peer_key: PublicKey, now: Time) -> Self {
        let &Place { key, wire, address, born } = place;
        let numbers = Numbers::new(session.role());
        Self {
            ways: Ways::one(wire),
            lanes_wanted: session.lanes_allowed(),
            may_be_carried: !session.is_plain(),
            session,
            key,
            address,
            patience: Patience::default(),
            peer,
            peer_key,
            guest: None,
            joining: false,
            staging: Staging::default(),
            sources: Sources::default(),
            born,
            unplaced: None,
            refusals: 0,
            mail: Mail::new(),
            puts: Vec::new(),
            takes: Vec::new(),
            incoming: Vec::new(),
            numbers,
            asked: Asked::default(),
            told: Vec::new(),
            dirty: true,
            deadline: now,
            check: now + CHECK_EVERY,
            end: None,
            lingering: None,
            limit_bps: None,
            share_bps: None,
            wished_bps: None,
            owes_word: false,
            closed: false,
            singly: false,
        }
    }

    /// The ids by which its packets find it.
    pub(crate) fn lanes(&self) -> Vec<LaneId> {
        self.session.local_lanes().collect()
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
        self.make_way(cx);
        for at in 0..self.puts.len() {
            self.dirty |= self.with_put(at, cx, Put::pump);
        }
        self.puts.retain(|put| !put.is_over());
        let mut take_cx = TakeCx { mail: &mut self.mail, queue: cx.queue, now: cx.now };
        self.takes.iter_mut().for_each(|take| take.flush_bad(&mut take_cx));
        self.fail_stuck(cx);
        self.session.bytes_written(self.staging.take_released());
        self.send_mail(cx);
        while self.tell_entries() {
            self.send_mail(cx);
        }
        self.end_lingering(cx);
    }

    /// Of one file that is let in, whoever began later to put it does.
    fn make_way(&mut self, cx: &mut Cx<'_>) {
        if self.is_superseded() {
            self.session.close(cx.now, Code::Refused, "You put the file in another session instead.");
        }
    }

    /// Whether it is to make way.
    pub(super) fn is_superseded(&self) -> bool {
        !self.takes.is_empty() && self.guest.as_ref().is_some_and(|guest| guest.is_superseded(self.key))
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
                    take.on_stream_received();
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
            Event::StreamEnd { stream, end } => self.on_stream_end(stream, end, cx),
            Event::RekeyDue => self.session.rekey(cx.identity, cx.random),
            Event::RekeyAsked => self.session.answer_rekey(cx.now, cx.identity, cx.random),
            Event::Moved { to, .. } => {
                tracing::debug!(from = %self.address, %to, "a peer has moved");
                self.address = to;
            }
            Event::LaneOffered { index: lane, remote } => self.on_lane_offered(index, lane, remote, cx),
            Event::LaneReady { index: lane } => {
                tracing::debug!(peer = %self.address, lane, "a lane can be used");
            }
            Event::TrainsVanish => self.on_trains_vanish(),
            Event::Pong { body } => self.on_pong(body, cx),
            _ => {}
        }
    }

    /// The first packet opened: from now on the session may have effects.
    fn on_confirmed(&mut self, cx: &mut Cx<'_>) {
        match &self.peer {
            Peer::Server { .. } => {}
            Peer::Known(access) => {
                cx.outbox.push(Report::Arrived {
                    session: self.key,
                    peer: access.name.clone(),
                    from: self.address,
                });
            }
            Peer::Unknown { text } => {
                self.session.close(cx.now, Code::Refused, text);
                cx.outbox.push(Report::Unknown { key: self.peer_key, from: self.address });
            }
            Peer::Barred { code, text } => {
                let (from, code, text) = (self.address, *code, text.clone());
                self.session.close(cx.now, code, &text);
                cx.outbox.push(Report::Barred { from, text });
            }
        }
    }

    fn on_message(&mut self, index: u32, message: Message, cx: &mut Cx<'_>) {
        if self.mail.len() > MAIL_MAX {
            // It asks faster than it listens, and an answer is longer than what it costs to ask.
            return self.session.close(cx.now, Code::Protocol, "answers pile up that you do not take");
        }
        match message {
            Message::PutRequest(message) => self.on_put_request(index, &message, cx),
            Message::GetRequest(message) => self.on_get_request(index, &message, cx),
            Message::ListRequest(message) => self.on_list_request(index, &message, cx),
            Message::GetAccepted(message) => self.on_get_accepted(index, &message, cx),
            Message::ListEntries(message) => self.on_list_entries(message, cx),
            Message::JoinRequest(message) => self.on_join_request(message, cx),
            Message::JoinAccepted(message) => self.on_join_accepted(message, cx),
            Message::Subtrees(message) => {
                self.with_take(message.request, cx, |take, cx| take.on_subtrees(&message, cx));
            }
            Message::Finish(message) => {
                self.with_take(message.request, cx, |take, cx| take.on_finish(&message, cx));
            }
            Message::PutAccepted(message) => {
                self.with_put_of(message.request, cx, |put, cx| put.on_accepted(message, cx));
            }
            Message::InOrder(message) => {
                self.with_put_of(message.request, cx, |put, _| {
                    put.on_in_order();
                    None
                });
            }
            Message::BadSubtrees(message) => {
                self.with_put_of(message.request, cx, |put, cx| put.on_bad(&message, cx));
            }
            Message::Complete(message) => {
                self.with_put_of(message.request, cx, |put, cx| put.on_complete(message, cx));
            }
            Message::Progress(message) => {
                self.with_put_of(message.request, cx, |put, _| put.on_progress(&message));
            }
            Message::Abort(message) => self.on_abort(message, cx),
            Message::RateLimit(RateLimit { bps }) => {
                self.wished_bps = bps;
                self.cap(cx);
            }
            // Of a later version: whatever it was about, the request stays open until its own time-out.
            Message::Unsupported(message) => tracing::debug!(?message, "the peer did not know a message"),
            _ => {}
        }
    }

    /// Nobody reports the fault that causes this, and without a word it would be taken for a bad path.
    fn on_trains_vanish(&mut self) {
        self.singly = true;
        tracing::error!(
            peer = %self.address,
            "trains of packets vanish on the way to this peer while single packets arrive: the kernel or a network driver \
             damages what it segments (UDP GSO). From now on this session sends without segmentation offload, which costs \
             about half of the speed. Update the kernel or the driver, or set gso = false."
        );
    }

    /// The user wants the path shared in another way.
    pub(crate) fn set_policy(&mut self, policy: RatePolicy, cx: &mut Cx<'_>) {
        self.dirty = true;
        self.session.set_policy(policy, cx.now);
    }

    /// The user wants no more moved than this, wire bits a second. The peer is asked for its part.
    pub(crate) fn set_limit(&mut self, bps: Option<u64>, cx: &mut Cx<'_>) {
        let before = self.own_limit();
        self.limit_bps = bps;
        self.tell_limit(before, cx);
    }

    /// Nobody here wants more moved with this peer.
    pub(crate) fn set_share(&mut self, bps: Option<u64>, cx: &mut Cx<'_>) {
        let before = self.own_limit();
        self.share_bps = bps;
        self.tell_limit(before, cx);
    }

    /// It has a share of a cap of its peer.
    pub(super) fn is_capped(&self) -> bool {
        self.share_bps.is_some()
    }

    /// The most that this end wants moved.
    fn own_limit(&self) -> Option<u64> {
        [self.limit_bps, self.share_bps].into_iter().flatten().min()
    }

    fn tell_limit(&mut self, before: Option<u64>, cx: &mut Cx<'_>) {
        let bps = self.own_limit();
        if bps != before {
            self.dirty = true;
            self.mail.push_back(Message::RateLimit(RateLimit { bps }));
            self.cap(cx);
        }
    }

    fn cap(&mut self, cx: &mut Cx<'_>) {
        let least = [self.own_limit(), self.wished_bps].into_iter().flatten().min();
        self.session.set_rate_cap(least.map(|bps| bps as f64), cx.now);
    }

    /// A request is over, whosever it was.
    fn on_abort(&mut self, message: Abort, cx: &mut Cx<'_>) {
        if let Some(at) = self.takes.iter().position(|take| take.request == message.request) {
            let path = self.takes[at].shown();
            let failure = Failure::new(Code::from_number(message.code), message.text);
            return self.finish_take(at, Outcome::Failed { path, failure }, cx);
        }
        self.stop_telling(message.request);
        let text = message.clone();
        if !self.with_put_of(message.request, cx, |put, cx| put.on_abort(text, cx)) {
            self.on_refused(&message, cx);
        }
    }

    /// Tells the peer that nothing comes of its request, or no more of ours.
    pub(super) fn refuse(&mut self, request: RequestId, failure: Failure) {
        let Failure { code, text } = failure;
        self.mail.push_back(Message::Abort(Abort { request, code: code.number(), text }));
    }

    /// Takes note of a request of the peer; false if it must not have that number.
    pub(super) fn is_new_request(&mut self, request: RequestId, cx: &mut Cx<'_>) -> bool {
        let new = self.numbers.note(request);
        if !new {
            self.session.close(
                cx.now,
                Code::Protocol,
                "request numbers must grow, and have their end's parity",
            );
        }
        new
    }

    /// The place of a root that the peer names, if it may do this there.
    ///
    /// # Errors
    /// What it is to be told.
    pub(super) fn place(&self, root: &str, right: Right) -> Result<take::Place, Failure> {
        match &self.peer {
            Peer::Known(access) => match &self.guest {
                Some(guest) => guest.place(access, root, right),
                None => access.place(root, right),
            },
            Peer::Server { .. } | Peer::Unknown { .. } | Peer::Barred { .. } => {
                Err(Failure::new(Code::Refused, "This end of the session has no files for others."))
            }
        }
    }

    /// Whether something of ours is under way.
    fn is_waiting(&self) -> bool {
        !self.asked.is_empty() || self.puts.iter().any(|put| !put.is_asked())
    }

    /// Nothing was heard for a while though we wait for something.
    fn look_for_silence(&mut self, cx: &mut Cx<'_>) {
        self.check = cx.now + CHECK_EVERY;
        let silent_for = cx.now.saturating_since(self.session.last_heard());
        // A peer that syncs a large file has nothing to say; that it is there it says when asked.
        if self.is_waiting() && silent_for >= QUIET / 2 {
            self.session.probe();
        }
        if self.is_waiting() {
            self.patience.look(silent_for);
        }
        if self.is_waiting() && silent_for >= QUIET {
            cx.outbox.push(Report::Quiet { session: self.key, silent_for });
        }
    }

    /// When something is due though nothing happens.
    pub(crate) fn next_deadline(&self, now: Time) -> Time {
        let session = self.session.next_deadline(now).unwrap_or(Time::FAR);
        let check = if self.is_waiting() { self.check } else { Time::FAR };
        let lingering = self.lingering.as_ref().map_or(Time::FAR, |lingering| lingering.until);
        session.min(check).min(lingering)
    }

    /// Ends the session from our side.
    pub(crate) fn close(&mut self, code: Code, text: &str, now: Time) {
        self.dirty = true;
        self.session.close(now, code, text);
    }

    /// The same, as whoever opened it wants it: nothing of it is awaited any more. What the peer has to know of files
    /// that are here is told it first.
    pub(crate) fn close_by_command(&mut self, code: Code, text: &str, socket: SocketReport, cx: &mut Cx<'_>) {
        self.dirty = true;
        if self.closed || self.lingering.is_some() {
            return;
        }
        self.puts.clear();
        self.asked.clear();
        let until = cx.now + if code == Code::Done && self.owes_word { LINGER } else { Duration::ZERO };
        self.lingering = Some(Lingering { until, code, text: text.into(), socket });
        self.end_lingering(cx);
    }

    fn end_lingering(&mut self, cx: &mut Cx<'_>) {
        let unsaid = !self.mail.is_empty() || self.session.control_unacked() > 0;
        let waits = |lingering: &Lingering| unsaid && self.session.is_open() && cx.now < lingering.until;
        if self.lingering.as_ref().is_none_or(waits) {
            return;
        }
        let Some(Lingering { code, text, socket, .. }) = self.lingering.take() else { return };
        self.close(code, &text, cx.now);
        self.closed = true;
        let (failure, stats) = (Failure::new(code, text), Box::new(self.session.stats()));
        cx.outbox.push(Report::Ended { session: self.key, failure, stats, socket });
    }

    /// What the session has done so far, if its peer is known: the name is that of one that opened it.
    pub(crate) fn tally(&self) -> Option<SessionTally> {
        let name = match &self.peer {
            Peer::Server { .. } => "",
            Peer::Known(access) if self.session.is_confirmed() => &access.name,
            Peer::Known(_) | Peer::Unknown { .. } | Peer::Barred { .. } => return None,
        };
        let received = self.incoming.iter().flatten().count();
        let streams = received + self.puts.iter().map(Put::streams).sum::<usize>();
        let tally = SessionTally::of(self.key, name, self.address, &self.session.stats());
        let (unfinished, unfinished_bytes) = self.unfinished();
        Some(SessionTally {
            streams: streams as u32,
            plain: self.session.is_plain(),
            unfinished,
            unfinished_bytes,
            ..tally
        })
    }

    /// Gives everything back. What is unfinished will not be finished.
    pub(crate) fn dismantle(mut self, socket: SocketReport, cx: &mut Cx<'_>) {
        let failure = self.end.take().unwrap_or_else(|| Failure::new(Code::Done, "The session was closed."));
        if failure.code == Code::Done {
            self.guest.iter().for_each(Guest::on_finished);
        }
        let lost = Failure::new(
            Code::TryAgain,
            format!("The session with {} ended: {}", self.address, failure.text),
        );
        for put in self.puts.iter().filter(|put| put.is_asked() && !put.is_over()) {
            self.tell_sent(put, News::Failed(lost.clone()), cx);
        }
        // Whoever asked for files learns that the session is over, and may ask again.
        self.asked.clear();
        while !self.takes.is_empty() {
            let path = self.takes[0].shown();
            self.finish_take(0, Outcome::Failed { path, failure: lost.clone() }, cx);
        }
        self.staging.clear(cx.pool);
        let stats = Box::new(self.session.stats());
        // Before anybody begins anew: pipes go back to where they came from.
        self.puts.clear();
        match self.peer {
            // It was told when we closed it.
            Peer::Server { .. } if self.closed => {}
            Peer::Server { .. } => {
                cx.outbox.push(Report::Ended { session: self.key, failure, stats, socket });
            }
            Peer::Known(access) if self.session.is_confirmed() => {
                cx.outbox.push(Report::Left {
                    session: self.key,
                    peer: access.name.clone(),
                    from: self.address,
                    failure,
                    socket,
                    counters: Box::new(SessionCounters::of(&stats)),
                });
            }
            Peer::Known(_) | Peer::Unknown { .. } | Peer::Barred { .. } => {}
        }
    }
}

/// How often silence is looked for.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Silence worth a word.
const QUIET: Duration = Duration::from_secs(2);
/// How long a session that shall be closed waits for the peer to hear what was said.
const LINGER: Duration = Duration::from_secs(2);
/// Messages that may wait for the session's control queue while the peer asks for more.
const MAIL_MAX: usize = 4096;
