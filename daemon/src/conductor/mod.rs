//! The conductor: the loop of a daemon's main thread, around everything but packets.
//!
//! ```text
//!  programs <-> control socket <-> Clients -> request -> Jobs, Asks, Board, RootBook
//!                                                          │  ▲
//!            commands of the engine <──────────────────────┘  └── its reports, lent calls, ledger, resolver
//!  signals, the service manager
//! ```
//!
//! It waits for all of these at once and never for one of them: what may take its time (names, disks, users' processes)
//! has a thread or a process of its own that rings. It touches no packet state, so nothing that a client does or leaves
//! undone reaches an engine. Each client is bounded by the limits of [`udpx_control::limits`]; whose jobs one of them may
//! touch is decided by what the kernel says of it.

mod access;
mod answer;
mod asks;
mod board;
mod caps;
mod clients;
mod invite;
mod jobs;
pub(crate) mod lending;
mod peers;
mod place;
pub mod reports;
mod request;
mod resolver;
mod roots;
mod sandbox;
mod signals;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use udpx_control::schema::Event;
use udpx_control::server::{BindError, Listener};
use udpx_proto::Code;

use crate::config::{Config, Peer};
use crate::daemon::{Daemon, DaemonError, DaemonEvent, Notice, Surroundings};
use crate::engine::paths::Paths;
use crate::engine::report::{Command, Report};
use crate::identity;
use crate::jobs::ledger::{Kept, Ledger};
use crate::jobs::record::History;
use crate::liveness::Watch;
use crate::notify::Notifier;
use crate::peers::{Invitations, PeerBook};
use crate::storage::Bell;
use crate::storage::lender::{LENT_CALLS_MAX, LentCall};
use access::Admins;
use asks::Asks;
use board::{Board, Settings};
use caps::{Caps, wall_clock};
use clients::{Address, Clients, Out};
use jobs::{Cx, Jobs, Wanted};
use lending::Lending;
use resolver::Resolver;
use roots::RootBook;
use signals::Signals;

/// The control socket, taken but not served yet: those who connect wait.
#[derive(Debug)]
pub struct ControlSocket(Listener);

impl ControlSocket {
    /// Takes the place that the configuration names; `None` if it names none.
    ///
    /// # Errors
    /// [`BindError`]: another daemon is there already, for example, and goes on undisturbed.
    pub fn take(config: &Config) -> Result<Option<Self>, BindError> {
        place::take(&config.control).map(|socket| socket.map(Self))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Who asked the resolver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asker {
    /// A job.
    Job(u64),
    /// A question of a client.
    Ask(u32),
}

/// Numbers of the errands on the daemon's engine.
#[derive(Debug, Default)]
struct ErrandIds(u32);

impl ErrandIds {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(1);
        self.0
    }
}

/// A daemon with everything around it.
pub struct Conductor {
    poll: Poll,
    signals: Signals,
    clients: Clients,
    out: Out,
    daemon: Daemon,
    config_path: PathBuf,
    admins: Admins,
    /// All that are in force.
    peers: Vec<Peer>,
    /// Where they come from.
    peer_book: PeerBook,
    invitations: Invitations,
    board: Board,
    caps: Caps,
    roots: RootBook,
    lending: Lending<Wanted>,
    lent: Receiver<LentCall>,
    /// `None` without a control socket: then nobody could ask for a job.
    job_table: Option<Jobs>,
    asks: Asks,
    resolver: Resolver<Asker>,
    ids: ErrandIds,
    /// Requests that go on, and the peer whose files are wanted.
    following: Vec<(Address, Option<String>)>,
    /// Reports were left for the next round.
    busy: bool,
    /// When what is known of paths was saved last.
    paths_saved: Instant,
}

impl Conductor {
    /// Starts the daemon of a configuration. Whatever keeps it from running shows here.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub fn start(config_path: &Path) -> Result<Self, DaemonError> {
        let signals = Signals::take()
            .map_err(|error| DaemonError::System(format!("Signals cannot be handled: {error}.")))?;
        let config = Config::load(config_path)?;
        // First of all: a second daemon ends here, before it touches anything of the one that runs.
        let socket = ControlSocket::take(&config)?;
        let served =
            |error: io::Error| DaemonError::System(format!("The control socket cannot be served: {error}."));
        let poll = Poll::new().map_err(served)?;
        let bell = bell(&poll).map_err(served)?;
        let secret = identity::load_or_create(&config.identity)?;
        let state = config.state_directory();
        let kept = match &socket {
            Some(_) => Some(Ledger::open(&state, History::of(&config.limits), bell.clone())?),
            None => None,
        };
        let (ledger, Kept { jobs: kept, roots, limit_bps, .. }) = match kept {
            Some((ledger, kept)) => (Some(ledger), kept),
            None => (None, Kept::default()),
        };
        let peer_book = PeerBook::open(config)?;
        let config = peer_book.merged();
        let roots = RootBook::new(config.clone(), roots);
        let in_force = roots.in_force();
        let (invites, paths) = (socket.is_some(), Paths::open(&state));
        let around = Surroundings { bell: Some(bell.clone()), invites, paths };
        let daemon = Daemon::start_with(&in_force, secret, "its udpxd.toml", around)?;
        let invitations = Invitations::open(&state);
        tell_start(&daemon, &config, socket.as_ref());
        let now = Instant::now();
        let (calls, lent) = bounded(LENT_CALLS_MAX);
        let job_table =
            ledger.map(|ledger| Jobs::new(ledger, kept, config.limits, (calls, bell.clone()), now));
        let registry = poll.registry();
        registry
            .register(&mut SourceFd(&signals.descriptor()), SIGNALS, Interest::READABLE)
            .map_err(served)?;
        let socket = socket.map(|socket| socket.0);
        let clients = Clients::new(socket, registry, LISTENER, FIRST_CLIENT).map_err(served)?;
        Ok(Self {
            signals,
            clients,
            out: Out::default(),
            caps: Caps::new(config.schedule.clone(), limit_bps),
            board: Board::new(identity::key_text(&daemon.key()), Settings::of(&in_force)),
            daemon,
            config_path: config_path.into(),
            admins: Admins::of_this_host(),
            peers: config.peers,
            peer_book,
            invitations,
            roots,
            lending: Lending::default(),
            lent,
            job_table,
            asks: Asks::default(),
            resolver: Resolver::start(bell).map_err(served)?,
            ids: ErrandIds::default(),
            following: Vec::new(),
            busy: true,
            paths_saved: now,
            poll,
        })
    }

    /// Runs until a signal ends it.
    ///
    /// # Errors
    /// [`DaemonError::EngineGone`], or that nothing can be waited for any more.
    pub fn run(mut self, manager: &mut Notifier) -> Result<(), DaemonError> {
        let mut watch = self.daemon.watch();
        self.invite_again();
        manager.ready(&self.status());
        let mut events = Events::with_capacity(256);
        while !self.signals.shall_end() {
            self.round(&mut events)?;
            if self.signals.shall_reload() {
                manager.reloading();
                let status = self.reload();
                manager.ready(&status);
            }
            manager.feed(|| watch.stuck());
        }
        tracing::info!("stopping");
        manager.stopping();
        self.park(&mut events, &mut watch, manager)?;
        self.clients.say_farewell();
        drop(self.job_table);
        self.daemon.stop();
        Ok(())
    }

    /// Waits for something to happen, and sees to it.
    fn round(&mut self, events: &mut Events) -> Result<(), DaemonError> {
        let timeout = self.timeout();
        match self.poll.poll(events, Some(timeout)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                return Err(DaemonError::System(format!("The daemon cannot wait any more: {error}.")));
            }
            _ => {}
        }
        let now = Instant::now();
        let mut ready: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
        if ready.contains(&SIGNALS) {
            self.signals.quiet();
        }
        self.take_reports(now)?;
        self.take_answers(now);
        ready.extend(self.clients.accept(self.poll.registry(), ready.contains(&LISTENER), now));
        ready.extend(self.clients.busy());
        for token in ready {
            for asked in self.clients.requests(token, now) {
                self.serve(asked);
            }
        }
        self.clients.check_deadlines(now);
        self.do_what_is_due(now);
        self.settle(now);
        self.share_caps(now);
        Ok(())
    }

    fn timeout(&mut self) -> Duration {
        if self.busy || !self.clients.busy().is_empty() {
            return Duration::ZERO;
        }
        let jobs = self.job_table.as_ref().map(Jobs::deadline);
        let own = [self.clients.deadline(), jobs, self.asks.deadline(), self.lending.deadline()];
        let next = own.into_iter().flatten().min();
        let next = next.map_or(LOOK_UP_EVERY, |at| at.saturating_duration_since(Instant::now()));
        // Rounded up, or the last millisecond would be spent in a busy loop.
        (next + Duration::from_micros(999)).min(LOOK_UP_EVERY)
    }

    /// Tells sessions what they may move, where that has changed.
    fn share_caps(&mut self, now: Instant) {
        let Self { caps, board, job_table, daemon, .. } = self;
        caps.look(now, wall_clock);
        let sessions = || {
            let jobs = job_table.iter().flat_map(Jobs::capped);
            jobs.chain(board.capped()).collect()
        };
        caps.share(sessions, daemon.engine());
    }

    /// The jobs, and what they need.
    fn jobs(&mut self, now: Instant) -> (Option<&mut Jobs>, Cx<'_>) {
        let Self { job_table, daemon, lending, resolver, ids, peers, caps, out, .. } = self;
        (job_table.as_mut(), Cx { engine: daemon.engine(), lending, resolver, ids, peers, caps, out, now })
    }

    /// What the engine tells.
    fn take_reports(&mut self, now: Instant) -> Result<(), DaemonError> {
        self.busy = true;
        for _ in 0..REPORTS_A_ROUND {
            match self.daemon.try_next()? {
                None => {
                    self.busy = false;
                    break;
                }
                Some(Notice::Event(event)) => self.on_event(*event),
                Some(Notice::Call(report)) => self.on_call(report, now),
            }
        }
        Ok(())
    }

    fn on_event(&mut self, event: DaemonEvent) {
        log(&event);
        if matches!(event, DaemonEvent::Connected { .. } | DaemonEvent::Disconnected { .. }) {
            self.caps.divide_anew();
        }
        if let Some(entry) = self.board.note(event) {
            let wants = |peer: &Option<String>| peer.as_ref().is_none_or(|peer| *peer == entry.peer);
            for (to, _) in self.following.iter().filter(|(_, peer)| wants(peer)) {
                self.out.event(*to, Event::Inbox(entry.clone()));
            }
        }
    }

    /// A report about a session that this daemon opened.
    fn on_call(&mut self, report: Report, now: Instant) {
        let report = match report {
            Report::Joining(joining) => return self.on_joining(&joining),
            Report::Barred { from, text } => {
                tracing::warn!(%from, ?text, "sent somebody away");
                return;
            }
            other => other,
        };
        if let Report::Ended { session, stats, .. } = &report {
            self.board.note_ended(*session, stats);
            self.caps.divide_anew();
        }
        let connected = match &report {
            Report::Connected { session, address, .. } => Some((*session, *address)),
            _ => None,
        };
        let (jobs, mut cx) = self.jobs(now);
        let left = match jobs {
            Some(jobs) => jobs.on_report(report, &mut cx),
            None => Some(report),
        };
        let Self { asks, daemon, out, .. } = self;
        let left = left.and_then(|report| asks.on_report(report, daemon.engine(), out, now));
        match (left, connected) {
            // Whoever wanted it has given up.
            (Some(Report::Connected { session, .. }), _) => {
                let text = "Nothing is wanted any more.".into();
                self.daemon.engine().send(Command::Close { session, code: Code::Done, text });
            }
            (None, Some((session, address))) => {
                let job = self.job_table.as_ref().and_then(|jobs| jobs.of_session(session));
                let job = job.map(|(job, host)| (job, host.to_owned()));
                self.board.note_called(session, address, job);
                self.caps.divide_anew();
            }
            _ => {}
        }
    }

    /// What lenders, the ledger and the resolver have to say.
    fn take_answers(&mut self, now: Instant) {
        while let Ok(call) = self.lent.try_recv() {
            self.lending.on_call(call, now);
        }
        while let Some(resolved) = self.resolver.poll() {
            match resolved.whose {
                Asker::Job(id) => {
                    let (jobs, mut cx) = self.jobs(now);
                    if let Some(jobs) = jobs {
                        jobs.on_resolved(id, resolved, &mut cx);
                    }
                }
                Asker::Ask(id) => {
                    let Self { asks, daemon, out, .. } = self;
                    asks.on_resolved(id, resolved, daemon.engine(), out, now);
                }
            }
        }
        let (jobs, mut cx) = self.jobs(now);
        if let Some(jobs) = jobs {
            jobs.on_ledger(&mut cx);
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        let (jobs, mut cx) = self.jobs(now);
        if let Some(jobs) = jobs {
            jobs.due(&mut cx);
        }
        let Self { asks, daemon, out, lending, clients, .. } = self;
        asks.due(daemon.engine(), out, now);
        if now >= self.paths_saved + SAVE_PATHS_EVERY {
            self.paths_saved = now;
            daemon.save_paths();
        }
        while let Some((client, why)) = lending.hung(now) {
            clients.close(client, why);
            // Its demands are failed with it, below; without that it would be named again.
            lending.on_gone(client, now);
        }
    }

    /// Hands on what all of this has led to, until nothing is left.
    fn settle(&mut self, now: Instant) {
        loop {
            while let Some(to_send) = self.lending.poll_demand() {
                let to = Address { client: to_send.connection, request: to_send.request };
                self.out.event(to, Event::Demand(to_send.demand));
            }
            while let Some(joined) = self.asks.take_joined() {
                self.on_joined(joined, now);
            }
            self.clients.deliver(&mut self.out);
            let gone = self.clients.take_gone();
            for &client in &gone {
                self.following.retain(|(to, _)| to.client != client);
                let Self { asks, daemon, out, .. } = self;
                asks.on_gone(client, daemon.engine(), out, now);
                let (jobs, mut cx) = self.jobs(now);
                if let Some(jobs) = jobs {
                    jobs.on_gone(client, &mut cx);
                }
            }
            let mut told = false;
            while let Some((wanted, answer)) = self.lending.poll_told() {
                told = true;
                let (jobs, mut cx) = self.jobs(now);
                if let Some(jobs) = jobs {
                    jobs.on_told(wanted, answer, &mut cx);
                }
            }
            if gone.is_empty() && !told && self.out.is_empty() {
                return;
            }
        }
    }

    /// Stops what runs, so that the next daemon goes on with it, and writes it down.
    fn park(
        &mut self,
        events: &mut Events,
        watch: &mut Watch,
        manager: &mut Notifier,
    ) -> Result<(), DaemonError> {
        let until = Instant::now() + PARK;
        loop {
            let (jobs, mut cx) = self.jobs(Instant::now());
            let parked = jobs.is_none_or(|jobs| jobs.park(&mut cx));
            self.settle(Instant::now());
            if parked || Instant::now() >= until {
                break;
            }
            self.round(events)?;
            manager.feed(|| watch.stuck());
        }
        if let Some(jobs) = &mut self.job_table
            && let Err(failing) = jobs.ledger().flush(FLUSH)
        {
            tracing::error!(?failing, "not all changes of jobs are on the disk");
        }
        Ok(())
    }

    /// Reads the configuration anew and takes over what can be changed while running; returns the new status.
    fn reload(&mut self) -> String {
        let loaded = Config::load(&self.config_path).and_then(PeerBook::open).map_err(DaemonError::from);
        let done = loaded.and_then(|book| self.take_over(book));
        match done {
            Ok(waiting) => {
                tracing::info!(
                    peers = self.peers.len(),
                    "took over the peers of the configuration and of peers.toml"
                );
                for key in &waiting {
                    tracing::warn!(key, "this change needs a restart: systemctl restart udpxd");
                }
                match waiting.is_empty() {
                    true => self.status(),
                    false => format!("{} A restart is needed for: {}.", self.status(), waiting.join(", ")),
                }
            }
            Err(error) => {
                tracing::error!(%error, "the configuration was not taken over; the former one stays in force");
                format!("Running on the former configuration: {error}")
            }
        }
    }

    fn take_over(&mut self, book: PeerBook) -> Result<Vec<&'static str>, DaemonError> {
        let config = book.merged();
        let mut roots = self.roots.clone();
        roots.set_configured(config.clone());
        let in_force = roots.in_force();
        let waiting = self.daemon.reload(&in_force)?;
        self.roots = roots;
        self.board.set(Settings::of(&in_force));
        self.caps.set_schedule(config.schedule);
        self.peers = config.peers;
        self.peer_book = book;
        if let Some(jobs) = &mut self.job_table {
            jobs.set_limits(config.limits);
        }
        Ok(waiting)
    }

    fn status(&self) -> String {
        let addresses: Vec<_> = self.daemon.listening().iter().map(ToString::to_string).collect();
        format!("Receiving on {}; peers configured: {}.", addresses.join(", "), self.peers.len())
    }
}

/// Rings the loop from other threads.
fn bell(poll: &Poll) -> io::Result<Bell> {
    let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
    Ok(Arc::new(move || {
        // Fails only where the loop is gone.
        let _ = waker.wake();
    }))
}

fn tell_start(daemon: &Daemon, config: &Config, socket: Option<&ControlSocket>) {
    for address in daemon.listening() {
        tracing::info!(%address, key = identity::key_text(&daemon.key()), "listening");
    }
    if config.peers.is_empty() {
        match socket {
            Some(_) => {
                tracing::warn!("no peer is known, so nothing will be taken; sudo udpxctl invite lets one in");
            }
            None => tracing::warn!(
                "no [[peer]] is configured, so nothing will be taken, and only loopback is bound"
            ),
        }
    }
    match socket {
        Some(socket) => tracing::info!(path = ?socket.path(), "control socket"),
        None => tracing::info!(
            "no control socket: it is switched off, or neither /run/udpx nor XDG_RUNTIME_DIR can be used"
        ),
    }
}

fn log(event: &DaemonEvent) {
    match event {
        DaemonEvent::Connected { peer, from, .. } => tracing::info!(peer, %from, "connected"),
        DaemonEvent::Disconnected { peer, from, code, text, .. } => {
            tracing::info!(peer, %from, code = code.kind(), ?text, "disconnected");
        }
        DaemonEvent::Refused { key, from } => {
            tracing::warn!(key = identity::key_text(key), %from, "refused a key that is not configured");
        }
        DaemonEvent::Received { peer, user, file } => {
            let digest = file.digest_hex();
            let (path, bytes, seconds) = (&file.path, file.bytes, file.seconds);
            tracing::info!(peer, ?user, ?path, bytes, seconds, digest, "received");
        }
        DaemonEvent::Sent { peer, path, bytes } => tracing::info!(peer, ?path, bytes, "sent"),
        DaemonEvent::NotSent { peer, path, code, text } => {
            tracing::warn!(peer, ?path, code = code.kind(), ?text, "not sent");
        }
        DaemonEvent::Failed { peer, path, code, text } => {
            tracing::warn!(peer, ?path, code = code.kind(), ?text, "not received");
        }
        DaemonEvent::Tally(_) => {}
    }
}

const LISTENER: Token = Token(0);
const WAKER: Token = Token(1);
const SIGNALS: Token = Token(2);
const FIRST_CLIENT: usize = 3;
/// Reports of the engine before clients have their turn.
const REPORTS_A_ROUND: usize = 1024;
/// How often what is known of paths is saved: who crashes has forgotten this much.
const SAVE_PATHS_EVERY: Duration = Duration::from_secs(60);
/// The watchdog wants to see the loop advance.
const LOOK_UP_EVERY: Duration = Duration::from_millis(500);
/// How long the transfers under way have to be parked when the daemon ends, and their jobs to be written.
const PARK: Duration = Duration::from_secs(3);
const FLUSH: Duration = Duration::from_secs(5);
