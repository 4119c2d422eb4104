//! The engine: one thread that moves packets between sockets, sessions and the storage threads.
//!
//! ```text
//!   commands ──►┌────────────────────────────────────────────┐──► reports
//!               │ wires ◄──► sessions ◄──► transfers          │
//!   readers ◄──►│ (sockets)  (udpx-proto)  (Put, Take)        │◄──► writers, clerks
//!               └────────────────────────────────────────────┘
//! ```
//!
//! Everything that happens sets a flag; a *tick* does the work in batches: one receive call for each socket that is
//! readable, what the workers and the user sent, then each session that has something to do, of which none may send
//! more than one batch. What is left over makes the next tick follow without sleeping. Edge-triggered readiness is
//! remembered until a call has found the socket empty. The clock is read once a batch.
//!
//! An engine owns its sockets, sessions and staging memory alone; other threads reach it through bounded channels. Of a session
//! with several lanes the trains are sealed and sent by threads of their own ([`carriers`]).

pub(crate) mod access;
mod answer;
mod asking;
mod association;
pub(crate) mod bounds;
mod call;
mod carriers;
mod carrying;
mod clock;
mod driver;
mod handle;
mod hoarding;
mod incoming;
mod joining;
mod lanes;
mod listing;
mod moving;
mod numbers;
mod outgoing;
pub(crate) mod paths;
mod rates;
mod receive;
pub(crate) mod report;
mod sources;
mod staging;
#[cfg(test)]
mod tests;
pub(crate) mod tickets;
mod transmit;
mod ways;
mod wire;
pub(crate) mod workers;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::{Events, Poll, Token, Waker};
use udpx_proto::handshake::{Acceptor, Params};
use udpx_proto::{LaneId, Time};
use udpx_udp::RecvBatch;

pub(crate) use handle::{EngineConfig, EngineHandle, StartError};

use self::access::Peers;
use self::association::Association;
use self::bounds::Unfinished;
use self::carriers::Carriers;
use self::clock::{Clock, Timer};
use self::driver::{Cx, Tags};
use self::lanes::LaneTable;
use self::report::{Command, Outbox, SessionKey};
use self::staging::StagingPool;
use self::tickets::Tickets;
use self::transmit::Shipper;
use self::ways::Ways;
use self::wire::Wire;
use self::workers::Workers;
use crate::identity::OsRandom;
use crate::liveness::Beat;
use crate::report::SocketReport;
use crate::storage::source::guard_thread;
use crate::storage::writers::WriteReply;
use crate::transfer::take::WrittenBlock;

/// One engine.
pub(crate) struct Engine {
    config: EngineConfig,
    params: Params,
    clock: Clock,
    poll: Poll,
    timer: Timer,
    wires: Vec<Option<Wire>>,
    lanes: LaneTable,
    /// Sessions and handshakes, by index.
    associations: Vec<Option<Association>>,
    /// A lane for the next who knocks and is let in.
    spare_lane: Option<LaneId>,
    /// What a HELLO is answered; reused.
    answer: Vec<u8>,
    /// Answers those who knock; `None` if this engine only calls.
    acceptor: Option<Acceptor>,
    /// Lent to the receive call that is under way.
    receive: Option<RecvBatch>,
    /// Receive calls that failed.
    receive_errors: u64,
    /// When one of them is repeated.
    retry_at: Time,
    /// Sessions that the batch at hand has touched.
    touched: Vec<u32>,
    shipper: Shipper,
    /// Threads that seal and send in its place.
    carriers: Carriers,
    pool: StagingPool,
    workers: Workers,
    random: OsRandom,
    tags: Tags,
    tickets: Tickets,
    last_key: SessionKey,
    commands: Receiver<Command>,
    outbox: Outbox,
    /// Work is left: the next tick follows at once.
    busy: bool,
    /// Told of each tick.
    beat: Arc<Beat>,
    /// When the engine ends at the latest.
    stop_at: Option<Time>,
    housekeeping_at: Time,
    /// When files are looked for of which nothing more comes.
    look_for_stalled_at: Time,
    /// Files that peers have half finished.
    unfinished: Unfinished,
    /// Sessions or caps have changed since caps were divided.
    rates_stirred: bool,
}

impl Engine {
    /// The thread's life.
    pub(crate) fn run(mut self) {
        let guard = guard_thread();
        if let Err(error) = &guard {
            tracing::warn!(%error, "no alternate signal stack for the engine");
        }
        let mut events = Events::with_capacity(256);
        while !self.is_finished() {
            if let Err(error) = self.sleep(&mut events) {
                tracing::error!(%error, "the engine cannot wait for events any more");
                return;
            }
            for event in &events {
                self.note(event);
            }
            self.tick();
        }
        // Sessions that are still closing leave what they know.
        for association in self.associations.iter().flatten() {
            if let Association::Open(driver) = association {
                self.remember(driver);
            }
        }
    }

    fn is_finished(&self) -> bool {
        let now = self.clock.now();
        self.stop_at.is_some_and(|at| now >= at || self.associations.iter().all(Option::is_none))
    }

    /// Waits for something to do.
    fn sleep(&mut self, events: &mut Events) -> io::Result<()> {
        let mut timeout = Some(Duration::ZERO);
        if !self.busy {
            let now = self.clock.now();
            let deadline = self.next_deadline();
            if deadline > now.after_nanos(WORTH_SLEEPING_NS) {
                self.timer.arm(now, deadline)?;
                // Where the outside does not keep up with reports, nothing rings when it has caught up.
                timeout = self.outbox.is_behind().then_some(Duration::from_millis(20));
            }
        }
        match self.poll.poll(events, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            polled => polled,
        }
    }

    fn next_deadline(&self) -> Time {
        let own = self.stop_at.unwrap_or(Time::FAR).min(self.housekeeping_at).min(self.retry_at);
        self.associations.iter().flatten().map(Association::deadline).fold(own, Time::min)
    }

    /// Takes note of an event; the tick does the work.
    fn note(&mut self, event: &mio::event::Event) {
        match event.token() {
            WAKER => {}
            TIMER => self.timer.fired(),
            Token(token) => {
                let Some(wire) = self.wires.get_mut(token - FIRST_WIRE).and_then(Option::as_mut) else {
                    return;
                };
                wire.readable |= event.is_readable() || event.is_error();
                if event.is_writable() && std::mem::take(&mut wire.blocked) {
                    let at = token - FIRST_WIRE;
                    self.associations
                        .iter_mut()
                        .flatten()
                        .filter(|a| a.ways().uses(at))
                        .for_each(Association::rouse);
                }
            }
        }
    }

    fn tick(&mut self) {
        self.busy = false;
        self.beat.advance();
        let now = self.clock.now();
        self.take_commands(now);
        self.take_loads(now);
        self.retry_at = Time::FAR;
        for wire in 0..self.wires.len() {
            self.receive(wire);
        }
        let now = self.clock.now();
        self.take_replies(now);
        self.relieve_staging(now);
        self.serve(now);
        for wire in 0..self.wires.len() {
            self.flush(wire);
        }
        self.workers.pump();
        if now >= self.housekeeping_at {
            self.keep_house(now);
            self.rates_stirred = true;
        }
        if self.rates_stirred {
            self.share_rates(now);
        }
        self.outbox.pump();
        self.outbox.ring();
    }

    fn take_commands(&mut self, now: Time) {
        for _ in 0..COMMANDS_A_TICK {
            match self.commands.try_recv() {
                Ok(Command::Connect(connect)) => self.connect(now, *connect),
                Ok(Command::Do { session, task }) => {
                    if let Some(index) = self.find(session) {
                        self.with_driver(index, now, |driver, cx| driver.begin(index, task, cx));
                    }
                }
                Ok(Command::SetPolicy { session, policy }) => {
                    if let Some(index) = self.find(session) {
                        self.with_driver(index, now, |driver, cx| driver.set_policy(policy, cx));
                    }
                }
                Ok(Command::SetLimit { session, bps }) => {
                    if let Some(index) = self.find(session) {
                        self.with_driver(index, now, |driver, cx| driver.set_limit(bps, cx));
                    }
                }
                Ok(Command::Close { session, code, text }) => {
                    if let Some(index) = self.find(session) {
                        let socket = self.socket_report(index);
                        self.with_driver(index, now, |driver, cx| {
                            driver.close_by_command(code, &text, socket, cx);
                        });
                    }
                }
                Ok(Command::Admit(peers)) => self.admit(peers, now),
                Ok(Command::Bound(bounds)) => {
                    self.config.bounds = bounds;
                    self.look_for_stalled_at = now;
                }
                Ok(Command::Invite(grant)) => self.invite(*grant),
                Ok(Command::Welcome { session, request, answer }) => {
                    if let Some(index) = self.find(session) {
                        self.with_driver(index, now, |driver, _| driver.welcome(request, answer));
                    }
                }
                Ok(Command::Stop) => self.stop(now),
                Err(crossbeam_channel::TryRecvError::Empty) => return,
                // Whoever held the other end is gone: nobody can want anything any more.
                Err(crossbeam_channel::TryRecvError::Disconnected) => {
                    if self.stop_at.is_none() {
                        self.stop(now);
                    }
                    return;
                }
            }
        }
        self.busy = true;
    }

    /// Says good-bye to everybody and ends soon.
    fn stop(&mut self, now: Time) {
        self.stop_at = Some(now + FAREWELL);
        self.acceptor = None;
        for association in self.associations.iter_mut().flatten() {
            association.close(now);
        }
    }

    /// What readers, writers and clerks have done.
    fn take_replies(&mut self, now: Time) {
        // The bells of what is left have rung already: whoever is cut short comes back without sleeping.
        for turn in 0.. {
            let Some(reply) = self.workers.next_read() else { break };
            self.with_driver(Tags::index(reply.tag), now, |driver, cx| driver.on_read(reply, cx));
            if turn + 1 == REPLIES_A_TICK {
                self.busy = true;
                break;
            }
        }
        for turn in 0.. {
            let Some(reply) = self.workers.next_write() else { break };
            self.on_write_reply(reply, now);
            if turn + 1 == REPLIES_A_TICK {
                self.busy = true;
                break;
            }
        }
    }

    fn on_write_reply(&mut self, reply: WriteReply, now: Time) {
        match reply {
            WriteReply::Written(written) => {
                let tag = written.tag;
                let (reply, block) = WrittenBlock::of(written);
                self.pool.give(block);
                self.with_driver(Tags::index(tag), now, |driver, cx| driver.on_written(tag, &reply, cx));
            }
            WriteReply::Created { tag, result } => {
                let mut result = Some(result);
                self.with_driver(Tags::index(tag), now, |driver, cx| {
                    result.take().map(|result| driver.on_created(tag, result, cx))
                });
                if let Some(Ok(part)) = result {
                    self.workers.queue().clerk(crate::storage::writers::ClerkJob::Discard { tag, part });
                }
            }
            WriteReply::Committed { tag, result } => {
                self.with_driver(Tags::index(tag), now, |driver, cx| driver.on_committed(tag, result, cx));
            }
            WriteReply::Listed { tag, result } => {
                self.with_driver(Tags::index(tag), now, |driver, _| driver.on_listed(tag, result));
            }
            WriteReply::Discarded { .. } => {}
        }
    }

    /// Blocks with holes give up memory when little is left, so that one hole never stalls the rest.
    fn relieve_staging(&mut self, now: Time) {
        for _ in 0..FLUSHES_A_TICK {
            if !self.pool.is_scarce() {
                return;
            }
            // Blocks that are simply being filled are taken only if nothing else moves.
            let any = self.pool.is_empty();
            let flushed = (0..self.associations.len() as u32).any(|index| {
                self.with_driver(index, now, |driver, cx| driver.flush_oldest(any, cx)).unwrap_or(false)
            });
            if !flushed {
                if any {
                    self.end_hoarder(now);
                }
                return;
            }
        }
    }

    /// Lets each session do what it has to do.
    fn serve(&mut self, now: Time) {
        let mut now = now;
        for index in 0..self.associations.len() as u32 {
            let due = |association: &Association| association.is_dirty() || association.deadline() <= now;
            if self.associations[index as usize].as_ref().is_some_and(due) {
                now = self.serve_one(index, now);
            }
        }
    }

    /// Calls a driver with what it needs.
    fn with_driver<T>(
        &mut self,
        index: u32,
        now: Time,
        act: impl FnOnce(&mut driver::Driver, &mut Cx<'_>) -> T,
    ) -> Option<T> {
        let Self { associations, pool, workers, outbox, random, tags, lanes, config, unfinished, .. } = self;
        let driver = associations.get_mut(index as usize)?.as_mut()?.driver()?;
        let EngineConfig { identity, bounds, .. } = config;
        let queue = workers.queue();
        let mut cx = Cx { now, pool, queue, outbox, random, identity, tags, lanes, bounds, unfinished };
        Some(act(driver, &mut cx))
    }

    fn find(&mut self, key: SessionKey) -> Option<u32> {
        let has = |association: &mut Option<Association>| {
            association.as_mut().and_then(Association::driver).is_some_and(|driver| driver.key == key)
        };
        self.associations.iter_mut().position(has).map(|index| index as u32)
    }

    /// What the sockets of an association have done.
    fn socket_report(&self, index: u32) -> SocketReport {
        let mut report = SocketReport::default();
        let ways = self.associations.get(index as usize).and_then(Option::as_ref).map(Association::ways);
        for at in ways.iter().flat_map(Ways::iter) {
            if let Some(wire) = self.wires.get(at).and_then(Option::as_ref) {
                report += wire.report();
            }
        }
        if let Some(Association::Open(driver)) =
            self.associations.get(index as usize).and_then(Option::as_ref)
        {
            report += driver.patience.former_sockets();
        }
        report
    }

    fn peers(&self) -> &Peers {
        &self.config.peers
    }

    fn new_lane(&mut self, index: u32) -> Option<LaneId> {
        let random = self.random.number() as u32;
        self.lanes.open(Some(index), random)
    }
}

/// The bell of the storage threads and of whoever sends commands.
pub(crate) fn bell(waker: &Arc<Waker>) -> crate::storage::Bell {
    let waker = waker.clone();
    Arc::new(move || {
        // Fails only when the engine is gone, and then nobody needs to be woken.
        let _ = waker.wake();
    })
}

const WAKER: Token = Token(0);
const TIMER: Token = Token(1);
const FIRST_WIRE: usize = 2;

/// Deadlines closer than this are not worth a trip through the kernel's timers.
const WORTH_SLEEPING_NS: u64 = 5_000;
/// Commands taken in one tick.
const COMMANDS_A_TICK: usize = 64;
/// Replies taken from each pool of threads in one tick.
const REPLIES_A_TICK: usize = 64;
/// Blocks with holes flushed in one tick.
const FLUSHES_A_TICK: usize = 16;
/// How long good-byes are repeated before the engine ends.
const FAREWELL: Duration = Duration::from_millis(20);
