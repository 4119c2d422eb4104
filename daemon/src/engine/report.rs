//! What goes into an engine and what comes out: the typed ends of its two bounded channels.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use udpx_proto::handshake::{Credential, PublicKey, TicketId};
use udpx_proto::messages::{IfExists, JoinAccepted, ListEntries};
use udpx_proto::{Code, RatePolicy, RequestId, SessionStats};

use super::access::Peers;
use super::bounds::Bounds;
use super::tickets::Grant;
use crate::report::{FileSummary, SessionCounters, SocketReport, Tally, Traffic};
use crate::storage::Bell;
use crate::trace::Tracer;
use crate::transfer::Failure;
use crate::transfer::put::{News, PutSpec};
use crate::transfer::take::Place;

/// Names a session of one engine for as long as the engine lives.
pub(crate) type SessionKey = u64;

/// What an engine is told to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// Open a session.
    Connect(Box<Connect>),
    /// Do something on a session.
    Do { session: SessionKey, task: Task },
    /// Share the path on a session as this policy says.
    SetPolicy { session: SessionKey, policy: RatePolicy },
    /// Move no more than so many wire bits a second on a session, either way.
    SetLimit { session: SessionKey, bps: Option<u64> },
    /// End a session; its unfinished files are given up.
    Close { session: SessionKey, code: Code, text: String },
    /// From now on these may write here, and nobody else.
    Admit(Peers),
    /// From now on peers may hold no more; what they hold stays.
    Bound(Bounds),
    /// From now on this ticket opens sessions.
    Invite(Box<Grant>),
    /// What becomes of somebody who wants to join: what we and they are called, or why not.
    Welcome { session: SessionKey, request: RequestId, answer: Result<(String, String), Failure> },
    /// Close all sessions and end the thread.
    Stop,
}

/// What a session is for.
#[derive(Debug)]
pub(crate) enum Task {
    /// Send a file.
    Put(Box<PutSpec>),
    /// Fetch a file.
    Get(Box<GetSpec>),
    /// List a directory.
    List { root: String, path: Vec<u8> },
    /// Become a peer, under that name, who can be called on that port.
    Join { name: String, port: u16 },
    /// Ask for an echo of these bytes.
    Ping { body: Vec<u8> },
}

/// A file to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct GetSpec {
    /// Its place in the job.
    pub(crate) file: usize,
    /// Root at the sender; empty for its default.
    pub(crate) root: String,
    /// Path beneath the root.
    pub(crate) path: Vec<u8>,
    /// Streams that are wished.
    pub(crate) streams: Option<u16>,
    /// Where it goes here.
    pub(crate) place: Place,
    /// Its path there.
    pub(crate) destination: Vec<u8>,
    /// Permission bits that it may get.
    pub(crate) mode_mask: u32,
    pub(crate) if_exists: IfExists,
}

/// A session to be opened.
#[derive(Clone, Debug)]
pub(crate) struct Connect {
    /// Comes back with the report.
    pub(crate) tag: u64,
    pub(crate) address: SocketAddr,
    pub(crate) peer: PublicKey,
    /// What the two share beside the peer's key: nothing, or a ticket of the peer's.
    pub(crate) credential: Credential,
    pub(crate) policy: RatePolicy,
    pub(crate) plain: bool,
    /// Segmentation offload, where the engine has it.
    pub(crate) gso: bool,
    /// Largest IP packet to try, bytes.
    pub(crate) mtu_max: u16,
    /// How long to try.
    pub(crate) timeout: Duration,
    /// Hears of every packet of the session.
    pub(crate) trace: Option<Tracer>,
}

/// What an engine tells.
#[derive(Debug)]
pub(crate) enum Report {
    /// A session is open.
    Connected {
        /// Of the command.
        tag: u64,
        session: SessionKey,
        address: SocketAddr,
        rtt: Duration,
        /// The session whose place it takes, because the peer was restarted.
        replaces: Option<SessionKey>,
    },
    /// No session came about.
    ConnectFailed { tag: u64, failure: Failure },
    /// News of a file that we send or fetch.
    File { session: SessionKey, file: usize, news: News, pulse: Pulse },
    /// What was asked on a session is answered.
    Answer { session: SessionKey, answer: Answer },
    /// Nothing was heard for so long though something is under way.
    Quiet { session: SessionKey, silent_for: Duration },
    /// A session that we opened is over.
    Ended { session: SessionKey, failure: Failure, stats: Box<SessionStats>, socket: SocketReport },
    /// A known peer opened a session to us.
    Arrived { session: SessionKey, peer: String, from: SocketAddr },
    /// An unknown key knocked.
    Unknown { key: PublicKey, from: SocketAddr },
    /// Somebody showed a ticket that they cannot use, and was told why.
    Barred { from: SocketAddr, text: String },
    /// The holder of an invitation wants to become a peer; [`Command::Welcome`] is the answer.
    Joining(Box<Joining>),
    /// A peer's session is over.
    Left {
        session: SessionKey,
        peer: String,
        from: SocketAddr,
        failure: Failure,
        socket: SocketReport,
        counters: Box<SessionCounters>,
    },
    /// What a listening engine has counted, once a second.
    Tally(Box<Tally>),
    /// Bytes of a file that the holder of a ticket puts are written here.
    Arriving { peer: String, path: PathBuf, written: u64, size: u64, pulse: Pulse },
    /// A file arrived and is durable.
    Received { peer: String, user: String, file: FileSummary },
    /// A file will not arrive.
    NotReceived { peer: String, path: PathBuf, failure: Failure },
    /// A file that a peer asked for is durable there.
    Sent { peer: String, path: PathBuf, bytes: u64 },
    /// It will not be.
    NotSent { peer: String, path: PathBuf, failure: Failure },
}

/// Somebody who holds an invitation.
#[derive(Clone, Debug)]
pub(crate) struct Joining {
    pub(crate) session: SessionKey,
    pub(crate) request: RequestId,
    pub(crate) ticket: TicketId,
    pub(crate) key: PublicKey,
    /// What it calls itself: the peer's word.
    pub(crate) name: String,
    /// The port that it can be called on; 0 if on none.
    pub(crate) port: u16,
    pub(crate) from: SocketAddr,
}

/// Answers to what is neither sent nor fetched.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Some entries of a directory.
    Entries(ListEntries),
    /// The peer does not list it.
    Refused(Failure),
    /// The peer knows us from now on.
    Joined(JoinAccepted),
    /// An echo.
    Pong { body: Vec<u8>, rtt: Duration },
}

impl Report {
    /// Whether it may be left out when nobody keeps up: the next one of its kind says more.
    fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Quiet { .. }
                | Self::Tally(_)
                | Self::Arriving { .. }
                | Self::File { news: News::Progress { .. }, .. }
        )
    }
}

/// How the path does.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Pulse {
    /// Smoothed round trip, microseconds.
    pub(crate) rtt_us: u64,
    /// Share of packets taken for lost, 0 to 1.
    pub(crate) loss: f64,
    /// What the session has counted.
    pub(crate) traffic: Traffic,
}

impl Pulse {
    pub(crate) fn of(stats: &SessionStats) -> Self {
        let loss = stats.lost_packets as f64 / stats.sent_packets.max(1) as f64;
        Self { rtt_us: stats.rtt_smoothed_ns / 1000, loss, traffic: Traffic::of(stats) }
    }
}

/// The engine's end of the channel of reports.
pub(crate) struct Outbox {
    sender: Sender<Report>,
    /// What the channel had no room for.
    waiting: VecDeque<Report>,
    /// Reports that were thrown away because nobody reads.
    dropped: u64,
    /// Wakes a reader that does not wait on the channel itself.
    bell: Option<Bell>,
    /// Something was handed on since it rang.
    rings: bool,
}

impl Outbox {
    pub(crate) fn new(sender: Sender<Report>, bell: Option<Bell>) -> Self {
        Self { sender, waiting: VecDeque::new(), dropped: 0, bell, rings: false }
    }

    /// Rings once for all that was handed on in a tick.
    pub(crate) fn ring(&mut self) {
        if let Some(bell) = self.bell.as_ref().filter(|_| std::mem::take(&mut self.rings)) {
            bell();
        }
    }

    pub(crate) fn push(&mut self, report: Report) {
        if !self.waiting.is_empty() && report.is_transient() {
            return;
        }
        if self.waiting.len() >= WAITING_MAX {
            self.dropped += 1;
            if self.dropped.is_power_of_two() {
                tracing::warn!(dropped = self.dropped, "nobody reads the engine's reports");
            }
            return;
        }
        self.waiting.push_back(report);
        self.pump();
    }

    /// Hands on what the channel takes.
    pub(crate) fn pump(&mut self) {
        while let Some(report) = self.waiting.pop_front() {
            match self.sender.try_send(report) {
                Ok(()) => self.rings = true,
                Err(TrySendError::Full(report)) => {
                    if !report.is_transient() {
                        self.waiting.push_front(report);
                    }
                    return;
                }
                Err(TrySendError::Disconnected(_)) => self.waiting.clear(),
            }
        }
    }

    /// Reports wait for the reader.
    pub(crate) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }
}

/// Commands that wait for an engine.
pub(crate) const COMMANDS_MAX: usize = 256;
/// Reports that wait for their reader in the channel.
pub(crate) const REPORTS_MAX: usize = 1024;
/// And behind it, where nobody reads at all.
const WAITING_MAX: usize = 16_384;
