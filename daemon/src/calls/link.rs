//! The way to the peer: the search for an address that answers, and a session that is sought again when it was lost.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use udpx_proto::{Code, SessionStats};

use super::errand::Cx;
use super::wording::Host;
use super::{Event, Way};
use crate::engine::report::{Command, Connect, Report, SessionKey, Task};
use crate::report::{JobError, LaneRow, Row, SocketReport, Summary};
use crate::transfer::Failure;

/// A way to a peer, over sessions of an engine that others use as well.
pub(crate) struct Link {
    way: Way,
    host: Host,
    /// What is its own among the tags of an engine.
    id: u32,
    session: Option<SessionKey>,
    /// Sessions that were opened and have not ended yet: the present one, and those that were given up.
    open: Vec<SessionKey>,
    knocking: Knocking,
    costs: Costs,
    last_contact: Instant,
    connected_once: bool,
    /// Something that was asked of the present session was answered, and of any one.
    served: bool,
    served_once: bool,
    closing: Option<Instant>,
}

/// What happened on the way.
pub(super) enum Happened {
    /// Nothing that whoever uses the way need know.
    Nothing,
    /// The session was lost or another has taken its place: what is under way has to begin anew.
    Changed,
    /// Something about what was asked of the present session.
    Report(Report),
}

/// The search for an address that answers.
#[derive(Default)]
struct Knocking {
    /// Addresses not tried yet in this round.
    addresses: VecDeque<SocketAddr>,
    /// Attempts without an answer.
    open: u32,
    /// When the next address has its turn, or the next round begins.
    next: Option<Instant>,
    /// Why the last attempt failed.
    failure: Option<Failure>,
    rounds: u32,
    /// Since when no address has answered, and up to when that was told.
    silence: Option<(Instant, Instant)>,
}

impl Link {
    /// Begins to look for the peer. `id` must be its own among the links of an engine.
    ///
    /// # Errors
    /// There is no address.
    pub(crate) fn new(way: Way, id: u32, now: Instant) -> Result<Self, JobError> {
        if way.addresses.is_empty() {
            return Err(JobError::with_remedy(Code::Usage, "there is no address to connect to"));
        }
        let mut link = Self {
            host: Host::new(&way.host, &way.addresses),
            way,
            id,
            session: None,
            open: Vec::new(),
            knocking: Knocking::default(),
            costs: Costs::default(),
            last_contact: now,
            connected_once: false,
            served: false,
            served_once: false,
            closing: None,
        };
        link.begin_round(now);
        Ok(link)
    }

    /// Whom it leads to.
    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    /// The session, if there is one.
    pub(crate) fn session(&self) -> Option<SessionKey> {
        self.session
    }

    /// There is a session.
    pub(crate) fn is_up(&self) -> bool {
        self.session.is_some()
    }

    /// A session has been there before.
    pub(crate) fn was_up(&self) -> bool {
        self.connected_once
    }

    /// Whether a report is about one of its sessions or attempts.
    pub(crate) fn owns(&self, report: &Report) -> bool {
        match report {
            Report::Connected { tag, .. } | Report::ConnectFailed { tag, .. } => {
                tag >> TAG_SHIFT == u64::from(self.id)
            }
            Report::File { session, .. }
            | Report::Answer { session, .. }
            | Report::Quiet { session, .. }
            | Report::Ended { session, .. } => self.open.contains(session),
            _ => false,
        }
    }

    /// Has the session do something; false if there is none, or the engine does not keep up.
    pub(super) fn begin(&self, task: Task, cx: &Cx<'_>) -> bool {
        self.session.is_some_and(|session| cx.engine.send(Command::Do { session, task }))
    }

    fn tag(&self) -> u64 {
        u64::from(self.id) << TAG_SHIFT | u64::from(self.knocking.rounds)
    }

    /// When it wants to do something though nothing happens.
    pub(super) fn deadline(&self) -> Instant {
        let far = self.last_contact + Duration::from_secs(3600);
        if let Some(until) = self.closing {
            return until;
        }
        if self.session.is_some() {
            return far;
        }
        let told = self
            .knocking
            .silence
            .map_or(self.last_contact, |(since, told)| (since + QUIET).max(told + QUIET_EVERY));
        self.knocking.next.map_or(told, |next| next.min(told))
    }

    /// Tries addresses, each a little after the one before.
    ///
    /// # Errors
    /// Why there is no session and none is to be expected.
    pub(super) fn due(&mut self, cx: &mut Cx<'_>) -> Result<(), JobError> {
        if self.session.is_some() || self.closing.is_some() {
            return Ok(());
        }
        let now = cx.now;
        let (since, told) = self.knocking.silence.get_or_insert((now, now));
        if now >= *since + QUIET && now >= *told + QUIET_EVERY {
            *told = now;
            (cx.events)(Event::Quiet { silent_for: now - *since });
        }
        let Some(next) = self.knocking.next.filter(|&next| now >= next) else { return Ok(()) };
        if let Some(address) = self.knocking.addresses.pop_front() {
            (cx.events)(Event::Connecting { address });
            let Way { peer, policy, plain, gso, mtu_max, connect_timeout: timeout, .. } = self.way;
            let (tag, credential, trace) = (self.tag(), self.way.credential.clone(), self.way.trace.clone());
            let connect =
                Connect { tag, address, peer, credential, policy, plain, gso, mtu_max, timeout, trace };
            self.knocking.open += u32::from(cx.engine.send(Command::Connect(Box::new(connect))));
            self.knocking.next = Some(next.max(now) + STAGGER);
        } else if self.knocking.open == 0 {
            self.next_round(now)?;
        } else {
            self.knocking.next = Some(now + STAGGER);
        }
        Ok(())
    }

    /// Nobody answered. The first time that is the end; a session that was lost is sought for a while.
    fn next_round(&mut self, now: Instant) -> Result<(), JobError> {
        let failure = self.knocking.failure.take();
        let failure =
            failure.unwrap_or_else(|| Failure::new(Code::Unreachable, "No address could be tried."));
        let patient = self.connected_once && now.duration_since(self.last_contact) < self.way.give_up_after;
        let hopeless = !matches!(failure.code, Code::Unreachable | Code::TryAgain);
        if !patient || hopeless {
            return Err(self.host.session_error(&failure));
        }
        self.begin_round(now + (RETRY_LEAST * (1 << self.knocking.rounds.min(4))));
        Ok(())
    }

    fn begin_round(&mut self, at: Instant) {
        self.knocking.addresses = self.way.addresses.iter().copied().collect();
        self.knocking.next = Some(at);
        self.knocking.open = 0;
        self.knocking.rounds += 1;
    }

    /// A report that it owns.
    ///
    /// # Errors
    /// Why there is no session any more and none is to be expected.
    pub(super) fn on_report(&mut self, report: Report, cx: &mut Cx<'_>) -> Result<Happened, JobError> {
        match report {
            Report::Connected { session, address, rtt, replaces, .. } => {
                self.open.push(session);
                return Ok(self.on_connected(session, address, rtt, replaces, cx));
            }
            Report::ConnectFailed { tag, failure } if tag == self.tag() && self.session.is_none() => {
                self.knocking.open = self.knocking.open.saturating_sub(1);
                self.knocking.failure = Some(failure);
                // The next address need not wait for its turn.
                self.knocking.next = self.knocking.next.map(|next| next.min(cx.now));
                self.due(cx)?;
            }
            Report::File { session, .. } | Report::Answer { session, .. }
                if Some(session) == self.session =>
            {
                self.last_contact = cx.now;
                (self.served, self.served_once) = (true, true);
                return Ok(Happened::Report(report));
            }
            Report::Quiet { session, silent_for } if Some(session) == self.session => {
                // The session itself would wait for a minute.
                if silent_for >= self.way.give_up_after {
                    return Err(self.host.silence(silent_for));
                }
                (cx.events)(Event::Quiet { silent_for });
            }
            Report::Ended { session, failure, stats, socket } => {
                self.open.retain(|&open| open != session);
                self.costs.add(&stats, socket);
                if Some(session) == self.session {
                    return self.on_lost(&failure, cx);
                }
            }
            // Of a session that was given up.
            _ => {}
        }
        Ok(Happened::Nothing)
    }

    fn on_connected(
        &mut self,
        session: SessionKey,
        address: SocketAddr,
        rtt: Duration,
        replaces: Option<SessionKey>,
        cx: &mut Cx<'_>,
    ) -> Happened {
        let mut happened = Happened::Nothing;
        if self.closing.is_some() {
            let text = "Nothing is wanted any more.".into();
            cx.engine.send(Command::Close { session, code: Code::Done, text });
            return happened;
        }
        if let Some(old) = self.session {
            // Of two addresses that answer, the first one is used.
            let (surplus, text) = if replaces == Some(old) {
                (old, "Another session took its place.")
            } else {
                (session, "Another address was faster.")
            };
            cx.engine.send(Command::Close { session: surplus, code: Code::Done, text: text.into() });
            if surplus == session {
                return happened;
            }
            (cx.events)(Event::Retry { text: format!("{} was restarted", self.host.name()) });
            happened = Happened::Changed;
        }
        self.session = Some(session);
        self.served = false;
        self.connected_once = true;
        self.last_contact = cx.now;
        self.knocking.next = None;
        self.knocking.silence = None;
        self.costs.sessions += 1;
        (cx.events)(Event::Connected { address, rtt_us: rtt.as_micros() as u64 });
        happened
    }

    /// The session is over though we want it.
    fn on_lost(&mut self, failure: &Failure, cx: &mut Cx<'_>) -> Result<Happened, JobError> {
        self.session = None;
        let worth_it = matches!(failure.code, Code::Unreachable | Code::TryAgain | Code::Done);
        if !worth_it || cx.now.duration_since(self.last_contact) >= self.way.give_up_after {
            return Err(self.host.session_error(failure));
        }
        // Sent away before anything was done: the peer has too many guests, and will not have fewer at once.
        let soon = cx.now.duration_since(self.last_contact) < SENT_AWAY;
        let sent_away = failure.code == Code::TryAgain && !self.served && soon;
        if sent_away && !self.served_once {
            return Err(self.host.session_error(failure));
        }
        (cx.events)(Event::Retry { text: self.host.note(failure) });
        self.begin_round(if sent_away { cx.now + RETRY_MOST } else { cx.now });
        Ok(Happened::Changed)
    }

    /// Ends the session. Its counters are still to come: see [`is_closed`](Self::is_closed).
    pub(super) fn close(&mut self, code: Code, cx: &mut Cx<'_>) {
        if self.closing.is_some() {
            return;
        }
        let text = String::new();
        let sent =
            self.session.take().is_some_and(|session| cx.engine.send(Command::Close { session, code, text }));
        self.closing = Some(if sent { cx.now + CLOSING } else { cx.now });
    }

    /// It was closed, and what its sessions cost is known as far as it ever will be.
    pub(super) fn is_closed(&self, now: Instant) -> bool {
        self.closing.is_some_and(|until| self.open.is_empty() || now >= until)
    }

    /// Adds what all sessions cost beside their files.
    pub(super) fn settle(&self, summary: &mut Summary) {
        self.costs.settle(summary);
    }
}

/// What sessions cost beside their files.
#[derive(Default)]
struct Costs {
    control: Row,
    lost: u64,
    datagram: u16,
    rtt_min_us: Option<u64>,
    /// Sum and count of round trips, nanoseconds.
    rtt: (u64, u64),
    sessions: u32,
    socket: SocketReport,
    lanes: Vec<LaneRow>,
}

impl Costs {
    fn add(&mut self, stats: &SessionStats, socket: SocketReport) {
        self.socket = socket;
        self.lanes = LaneRow::of(stats);
        self.control += &Row::of(None, &stats.control, Duration::ZERO);
        self.lost += stats.lost_packets;
        self.datagram = stats.datagram;
        if stats.rtt_samples > 0 {
            let least = stats.rtt_min_ns / 1000;
            self.rtt_min_us = Some(self.rtt_min_us.map_or(least, |before| before.min(least)));
            self.rtt = (self.rtt.0 + stats.rtt_sum_ns, self.rtt.1 + stats.rtt_samples);
        }
    }

    fn settle(&self, summary: &mut Summary) {
        summary.control = self.control;
        summary.lost = self.lost;
        summary.datagram = self.datagram;
        summary.rtt_min_us = self.rtt_min_us.unwrap_or(0);
        summary.rtt_mean_us = self.rtt.0.checked_div(self.rtt.1).unwrap_or(0) / 1000;
        summary.sessions = self.sessions;
        summary.socket = self.socket;
        summary.lanes.clone_from(&self.lanes);
    }
}

/// The tags of an engine: the link's id above, its round below.
const TAG_SHIFT: u32 = 32;
/// Between the attempts at two addresses (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// Silence worth a word while an address is sought, and how often it is said.
const QUIET: Duration = Duration::from_secs(2);
const QUIET_EVERY: Duration = Duration::from_millis(500);
/// Before a lost session is sought again; doubled each time, up to sixteen-fold.
const RETRY_LEAST: Duration = Duration::from_millis(200);
/// A session that ends so soon and has answered nothing was not wanted.
const SENT_AWAY: Duration = Duration::from_secs(5);
/// Before a peer that has sent us away is asked again.
const RETRY_MOST: Duration = Duration::from_secs(3);
/// How long a session's last counters are waited for: a little longer than a session lingers.
const CLOSING: Duration = Duration::from_millis(2500);
