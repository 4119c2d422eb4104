//! The way to the peer: an engine of our own, the search for an address that answers, and a session that is sought
//! again when it was lost.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use udpx_proto::{Code, SessionStats};

use super::wording::Host;
use super::{Call, Event};
use crate::engine::access::Peers;
use crate::engine::report::{Command, Connect, Report, SessionKey, Task};
use crate::engine::{EngineConfig, EngineHandle};
use crate::report::{JobError, Row, SocketReport, Summary};
use crate::transfer::Failure;

/// Memory for what comes in.
#[derive(Copy, Clone, Debug)]
pub(super) struct Room {
    /// Staging memory, bytes.
    pub(super) staging: u64,
    /// Receive buffer of the socket, bytes.
    pub(super) receive_buffer: usize,
}

impl Room {
    /// Nothing is received but what a confused peer may send.
    pub(super) const LITTLE: Self = Self { staging: 16 << 20, receive_buffer: 4 << 20 };
    /// Files are received: as much as a daemon has by default.
    pub(super) const FILES: Self =
        Self { staging: crate::config::STAGING, receive_buffer: crate::config::RECEIVE_BUFFER };
}

/// A way to a peer.
pub(super) struct Link {
    call: Call,
    host: Host,
    engine: EngineHandle,
    session: Option<SessionKey>,
    knocking: Knocking,
    costs: Costs,
    last_contact: Instant,
    connected_once: bool,
}

/// What happened on the way.
pub(super) enum Happened {
    /// Nothing, for a little while.
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
    /// Starts an engine that looks for the peer.
    pub(super) fn start(call: Call, room: Room) -> Result<Self, JobError> {
        if call.addresses.is_empty() {
            return Err(JobError::with_remedy(Code::Usage, "there is no address to connect to"));
        }
        let engine = EngineHandle::start(EngineConfig {
            identity: call.identity.clone(),
            listen: Vec::new(),
            peers: Peers::default(),
            staging: room.staging,
            receive_buffer: room.receive_buffer,
            gso: call.gso,
            mtu_max: call.mtu_max,
            #[cfg(test)]
            inject: None,
        });
        let engine = engine.map_err(|error| JobError::told(Code::Io, &error.to_string()))?;
        let now = Instant::now();
        let mut link = Self {
            host: Host::new(&call.host, &call.addresses),
            call,
            engine,
            session: None,
            knocking: Knocking::default(),
            costs: Costs::default(),
            last_contact: now,
            connected_once: false,
        };
        link.begin_round(now);
        Ok(link)
    }

    /// Whom it leads to.
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// There is a session.
    pub(super) fn is_up(&self) -> bool {
        self.session.is_some()
    }

    /// Has the session do something; false if there is none, or the engine does not keep up.
    pub(super) fn begin(&self, task: Task) -> bool {
        self.session.is_some_and(|session| self.engine.send(Command::Do { session, task }))
    }

    /// Waits a little for something to happen, and does what is due for the session.
    ///
    /// # Errors
    /// Why there is no session and none is to be expected, or that the user wants to stop.
    pub(super) fn turn(&mut self, events: &mut dyn FnMut(Event)) -> Result<Happened, JobError> {
        self.turn_until(Instant::now() + TURN, events)
    }

    /// The same, until `end` at the latest.
    pub(super) fn turn_until(
        &mut self,
        end: Instant,
        events: &mut dyn FnMut(Event),
    ) -> Result<Happened, JobError> {
        if self.call.cancel.load(Ordering::Relaxed) {
            return Err(JobError::with_remedy(Code::Interrupted, "interrupted"));
        }
        if self.session.is_none() {
            self.knock(events)?;
        }
        let left = end.saturating_duration_since(Instant::now()).clamp(TICK, TURN);
        match self.engine.next(left) {
            Ok(Some(report)) => self.on_report(report, events),
            Ok(None) => Ok(Happened::Nothing),
            Err(_) => Err(JobError::with_remedy(Code::Bug, "the engine has stopped by itself")),
        }
    }

    /// Tries addresses, each a little after the one before.
    fn knock(&mut self, events: &mut dyn FnMut(Event)) -> Result<(), JobError> {
        let now = Instant::now();
        let (since, told) = self.knocking.silence.get_or_insert((now, now));
        if now >= *since + QUIET && now >= *told + QUIET_EVERY {
            *told = now;
            events(Event::Quiet { silent_for: now - *since });
        }
        let Some(next) = self.knocking.next.filter(|&next| now >= next) else { return Ok(()) };
        if let Some(address) = self.knocking.addresses.pop_front() {
            events(Event::Connecting { address });
            let connect = Connect {
                tag: u64::from(self.knocking.rounds),
                address,
                peer: self.call.peer,
                policy: self.call.policy,
                plain: self.call.plain,
                timeout: self.call.connect_timeout,
            };
            self.knocking.open += u32::from(self.engine.send(Command::Connect(Box::new(connect))));
            self.knocking.next = Some(next.max(now) + STAGGER);
        } else if self.knocking.open == 0 {
            self.next_round(now)?;
        }
        Ok(())
    }

    /// Nobody answered. The first time that is the end; a session that was lost is sought for a while.
    fn next_round(&mut self, now: Instant) -> Result<(), JobError> {
        let failure = self.knocking.failure.take();
        let failure =
            failure.unwrap_or_else(|| Failure::new(Code::Unreachable, "No address could be tried."));
        let patient = self.connected_once && now.duration_since(self.last_contact) < self.call.give_up_after;
        let hopeless = !matches!(failure.code, Code::Unreachable | Code::TryAgain);
        if !patient || hopeless {
            return Err(self.host.session_error(&failure));
        }
        self.begin_round(now + (RETRY_LEAST * (1 << self.knocking.rounds.min(4))));
        Ok(())
    }

    fn begin_round(&mut self, at: Instant) {
        self.knocking.addresses = self.call.addresses.iter().copied().collect();
        self.knocking.next = Some(at);
        self.knocking.open = 0;
        self.knocking.rounds += 1;
    }

    fn on_report(&mut self, report: Report, events: &mut dyn FnMut(Event)) -> Result<Happened, JobError> {
        match report {
            Report::Connected { session, address, rtt, replaces } => {
                return Ok(self.on_connected(session, address, rtt, replaces, events));
            }
            Report::ConnectFailed { tag, failure }
                if tag == u64::from(self.knocking.rounds) && self.session.is_none() =>
            {
                self.knocking.open = self.knocking.open.saturating_sub(1);
                self.knocking.failure = Some(failure);
                // The next address need not wait for its turn.
                self.knocking.next = self.knocking.next.map(|next| next.min(Instant::now()));
            }
            Report::File { session, .. } | Report::Answer { session, .. }
                if Some(session) == self.session =>
            {
                self.last_contact = Instant::now();
                return Ok(Happened::Report(report));
            }
            Report::Quiet { session, silent_for } if Some(session) == self.session => {
                // The session itself would wait for a minute.
                if silent_for >= self.call.give_up_after {
                    return Err(self.host.silence(silent_for));
                }
                events(Event::Quiet { silent_for });
            }
            Report::Ended { session, failure, stats, socket } => {
                self.costs.add(&stats, socket);
                if Some(session) == self.session {
                    return self.on_lost(&failure, events);
                }
            }
            // Of a session that was given up, or of one that others opened, which there is none.
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
        events: &mut dyn FnMut(Event),
    ) -> Happened {
        let mut happened = Happened::Nothing;
        if let Some(old) = self.session {
            // Of two addresses that answer, the first one is used.
            let (surplus, text) = if replaces == Some(old) {
                (old, "Another session took its place.")
            } else {
                (session, "Another address was faster.")
            };
            self.engine.send(Command::Close { session: surplus, code: Code::Done, text: text.into() });
            if surplus == session {
                return happened;
            }
            events(Event::Retry { text: format!("{} was restarted", self.host.name()) });
            happened = Happened::Changed;
        }
        self.session = Some(session);
        self.connected_once = true;
        self.last_contact = Instant::now();
        self.knocking.next = None;
        self.knocking.silence = None;
        self.costs.sessions += 1;
        events(Event::Connected { address, rtt_us: rtt.as_micros() as u64 });
        happened
    }

    /// The session is over though we want it.
    fn on_lost(&mut self, failure: &Failure, events: &mut dyn FnMut(Event)) -> Result<Happened, JobError> {
        self.session = None;
        let now = Instant::now();
        let worth_it = matches!(failure.code, Code::Unreachable | Code::TryAgain | Code::Done);
        if !worth_it || now.duration_since(self.last_contact) >= self.call.give_up_after {
            return Err(self.host.session_error(failure));
        }
        events(Event::Retry { text: self.host.note(failure) });
        self.begin_round(now);
        Ok(Happened::Changed)
    }

    /// Ends the session, waits for its counters and adds what all sessions cost to `summary`.
    pub(super) fn close(&mut self, code: Code, summary: &mut Summary) {
        if let Some(session) = self.session.take() {
            self.end(session, code);
        }
        self.costs.settle(summary);
    }

    fn end(&mut self, session: SessionKey, code: Code) {
        let text = String::new();
        if !self.engine.send(Command::Close { session, code, text }) {
            return;
        }
        let end = Instant::now() + CLOSING;
        while Instant::now() < end {
            match self.engine.next(CLOSING) {
                Ok(Some(Report::Ended { session: ended, stats, socket, .. })) => {
                    self.costs.add(&stats, socket);
                    if ended == session {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
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
}

impl Costs {
    fn add(&mut self, stats: &SessionStats, socket: SocketReport) {
        self.socket = socket;
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
    }
}

/// The shortest wait.
const TICK: Duration = Duration::from_micros(50);
/// How often cancellation is looked for.
const TURN: Duration = Duration::from_millis(50);
/// Between the attempts at two addresses (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// Silence worth a word while an address is sought, and how often it is said.
const QUIET: Duration = Duration::from_secs(2);
const QUIET_EVERY: Duration = Duration::from_millis(500);
/// Before a lost session is sought again; doubled each time, up to sixteen-fold.
const RETRY_LEAST: Duration = Duration::from_millis(200);
/// How long a session's last counters are waited for: a little longer than a session lingers.
const CLOSING: Duration = Duration::from_millis(2500);
