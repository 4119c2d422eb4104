//! Threads that seal and send, so that one session with several lanes uses several cores.
//!
//! ```text
//!   engine: plans, accounts, judges ──► a load: trains of one lane, with key and sources ──► carrier: seals, sends
//!           (tens of ns a packet)   ◄── the load, emptied, with what the kernel said     ◄── (hundreds)
//! ```
//!
//! The seam is the one that the protocol has: a plan names packets by number and payload by place, and nothing of the session
//! is needed any more to make ciphertext of it but the key of its epoch. So a carrier shares no state with the session, and an epoch
//! that ends takes effect on a carrier with the first train that was planned under the next. A lane always has the same carrier, for
//! all its packets: they leave in the order of their numbers.
//!
//! Loads are made once and go to and fro, and no queue can run full of them. Where a carrier has all of its loads, its lanes are held,
//! and the session plans for others meanwhile. The carrier rings only where that is so, or where it has something to tell.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use udpx_proto::{Plan, Sealer, StreamId};
use udpx_udp::{SendBatch, Socket};

use super::report::SessionKey;
use super::sources::Held;
use super::transmit::TRAINS_A_TURN;
use super::wire::{ECT0, Notice, TRAINS, TrainOwner, Wire, notices_of};
use crate::liveness::Beat;
use crate::report::SocketReport;
use crate::storage::Bell;
use crate::storage::source::guard_thread;

/// The carriers of an engine, and what is under way to and from them.
#[derive(Default)]
pub(crate) struct Carriers {
    ends: Vec<End>,
    beats: Vec<Arc<Beat>>,
    last_serial: u64,
}

/// What the engine holds of one carrier.
struct End {
    /// `None` only while it is being ended.
    orders: Option<Sender<Order>>,
    returned: Receiver<Load>,
    idle: Vec<Load>,
    /// What the queue had no room for; sockets only, which come and go rarely.
    backlog: VecDeque<Order>,
    /// Somebody wanted a load, and there was none.
    starved: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What a carrier is told.
enum Order {
    /// It sends by this socket from now on.
    Attach {
        serial: u64,
        socket: Box<Socket>,
    },
    /// And no more.
    Detach {
        serial: u64,
    },
    Carry(Load),
}

/// Trains of one lane.
pub(crate) struct Load {
    /// The session's index and key: the index may be another's when the load returns.
    pub(crate) index: u32,
    pub(crate) key: SessionKey,
    lane: usize,
    /// Its socket: the index of the wire, and the number that carriers know it by.
    pub(crate) wire: usize,
    pub(crate) serial: u64,
    /// No segmentation offload.
    singly: bool,
    trains: Vec<Parcel>,
    count: usize,
    /// What the kernel said.
    pub(crate) notices: Vec<Notice>,
    /// A source that could not be read; the trains behind its were not sent.
    pub(crate) fault: Option<StreamId>,
    /// What the socket did.
    pub(crate) report: SocketReport,
}

/// One train.
struct Parcel {
    plan: Plan,
    sealer: Option<Sealer>,
    bytes: Held,
}

/// What a wire has to do with carriers.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Boarded {
    /// The number that carriers know it by; 0 if none does.
    pub(crate) serial: u64,
    /// A bit for each carrier that has it.
    by: u8,
    /// What they have done with it.
    pub(crate) report: SocketReport,
}

impl Carriers {
    /// Starts so many threads, or none if it is only one: then the engine does it all itself. `bell` wakes the engine.
    ///
    /// # Errors
    /// The system has no threads left.
    pub(crate) fn start(count: usize, bell: &Bell) -> io::Result<Self> {
        let mut carriers = Self::default();
        if count < 2 {
            return Ok(carriers);
        }
        for number in 0..count.min(u8::BITS as usize) {
            let name = format!("udpx-carrier-{number}");
            let beat = Beat::working(&name);
            let (orders, inbox) = bounded(ORDERS_MAX);
            let (outbox, returned) = bounded(LOADS);
            let starved = Arc::new(AtomicBool::new(false));
            let carrier = Carrier {
                sockets: Vec::new(),
                batch: SendBatch::new(TRAINS),
                owners: Vec::with_capacity(TRAINS),
                outbox,
                starved: starved.clone(),
                bell: bell.clone(),
                beat: beat.clone(),
            };
            let thread = std::thread::Builder::new().name(name).spawn(move || carrier.run(&inbox))?;
            carriers.beats.push(beat);
            carriers.ends.push(End {
                orders: Some(orders),
                returned,
                idle: std::iter::repeat_with(Load::new).take(LOADS).collect(),
                backlog: VecDeque::new(),
                starved,
                thread: Some(thread),
            });
        }
        Ok(carriers)
    }

    /// The signs of life of the threads.
    pub(crate) fn beats(&self) -> &[Arc<Beat>] {
        &self.beats
    }

    /// There are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The carrier of a lane.
    fn of(&self, lane: usize) -> usize {
        lane % self.ends.len()
    }

    /// Sees to it that the carrier of `lane` has the socket of `wire`.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub(crate) fn board(&mut self, lane: usize, wire: &mut Wire) -> io::Result<()> {
        let at = self.of(lane);
        if wire.boarded.by & 1 << at != 0 {
            return Ok(());
        }
        let socket = Box::new(wire.socket.try_clone()?);
        if wire.boarded.serial == 0 {
            self.last_serial += 1;
            wire.boarded.serial = self.last_serial;
        }
        wire.boarded.by |= 1 << at;
        self.ends[at].order(Order::Attach { serial: wire.boarded.serial, socket });
        Ok(())
    }

    /// Takes a socket back from all who have it, when they have sent what they were given before.
    pub(crate) fn leave(&mut self, wire: &Wire) {
        for (at, end) in self.ends.iter_mut().enumerate() {
            if wire.boarded.by & 1 << at != 0 {
                end.order(Order::Detach { serial: wire.boarded.serial });
            }
        }
    }

    /// Whether the carrier of a lane has all of its loads. It rings when it gives one back.
    pub(crate) fn is_full(&self, lane: usize) -> bool {
        let at = self.of(lane);
        let end = &self.ends[at];
        if end.idle.is_empty() {
            end.starved.store(true, Ordering::SeqCst);
        }
        end.idle.is_empty()
    }

    /// Whether a load has come back that nobody has looked at.
    pub(crate) fn has_returned(&self) -> bool {
        self.ends.iter().any(|end| !end.returned.is_empty())
    }

    /// An empty load for a lane of a session.
    pub(crate) fn take(
        &mut self,
        lane: usize,
        session: (u32, SessionKey),
        wire: (usize, u64),
    ) -> Option<Load> {
        let at = self.of(lane);
        let mut load = self.ends[at].idle.pop()?;
        (load.index, load.key, load.lane) = (session.0, session.1, lane);
        (load.wire, load.serial) = wire;
        Some(load)
    }

    /// Hands a load over.
    pub(crate) fn carry(&mut self, load: Load) {
        let at = self.of(load.lane);
        self.ends[at].order(Order::Carry(load));
    }

    /// A load that has come back. It is to be [given back](Self::give_back) when it has been looked at.
    pub(crate) fn next(&mut self) -> Option<Load> {
        self.ends.iter_mut().find_map(|end| {
            end.pump();
            end.returned.try_recv().ok()
        })
    }

    /// The load can be used again, and what it told has been heard. Whether somebody waited for one.
    pub(crate) fn give_back(&mut self, mut load: Load) -> bool {
        load.notices.clear();
        (load.fault, load.report) = (None, SocketReport::default());
        let at = self.of(load.lane);
        let end = &mut self.ends[at];
        end.idle.push(load);
        end.starved.swap(false, Ordering::SeqCst)
    }
}

impl End {
    /// In order, whatever the queue takes at once.
    fn order(&mut self, order: Order) {
        self.backlog.push_back(order);
        self.pump();
    }

    fn pump(&mut self) {
        let Some(orders) = &self.orders else { return };
        while let Some(order) = self.backlog.pop_front() {
            if let Err(TrySendError::Full(order) | TrySendError::Disconnected(order)) = orders.try_send(order)
            {
                self.backlog.push_front(order);
                return;
            }
        }
    }
}

impl Drop for Carriers {
    fn drop(&mut self) {
        // All are told before any is waited for; what they were given they send.
        self.ends.iter_mut().for_each(|end| end.orders = None);
        for end in &mut self.ends {
            if end.thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("a carrier had panicked");
            }
        }
    }
}

impl Load {
    fn new() -> Self {
        let parcel = || Parcel { plan: Plan::new(), sealer: None, bytes: Held::default() };
        Self {
            index: 0,
            key: 0,
            lane: 0,
            wire: 0,
            serial: 0,
            singly: false,
            trains: std::iter::repeat_with(parcel).take(TRAINS_A_TURN).collect(),
            count: 0,
            notices: Vec::with_capacity(NOTICES_MAX),
            fault: None,
            report: SocketReport::default(),
        }
    }

    /// Takes the train of `plan`, which gets another plan's memory in return. `hold` is to take hold of its payload.
    ///
    /// # Errors
    /// Those of `hold`; the train is left out.
    ///
    /// # Panics
    /// For more trains than one turn of a session has.
    pub(crate) fn push<E>(
        &mut self,
        plan: &mut Plan,
        sealer: Sealer,
        singly: bool,
        hold: impl FnOnce(&mut Plan, &mut Held) -> Result<(), E>,
    ) -> Result<(), E> {
        let parcel = &mut self.trains[self.count];
        hold(plan, &mut parcel.bytes)?;
        std::mem::swap(plan, &mut parcel.plan);
        parcel.sealer = Some(sealer);
        self.singly = singly;
        self.count += 1;
        Ok(())
    }
}

/// The thread.
struct Carrier {
    sockets: Vec<(u64, Box<Socket>)>,
    batch: SendBatch,
    owners: Vec<TrainOwner>,
    outbox: Sender<Load>,
    starved: Arc<AtomicBool>,
    bell: Bell,
    beat: Arc<Beat>,
}

impl Carrier {
    fn run(mut self, inbox: &Receiver<Order>) {
        let guard = guard_thread();
        if let Err(error) = &guard {
            tracing::warn!(%error, "no alternate signal stack for a carrier");
        }
        for order in inbox {
            match order {
                Order::Attach { serial, socket } => self.sockets.push((serial, socket)),
                Order::Detach { serial } => self.sockets.retain(|(own, _)| *own != serial),
                Order::Carry(mut load) => {
                    let beat = self.beat.clone();
                    beat.during(|| self.carry(&mut load));
                    let news = load.fault.is_some() || !load.notices.is_empty();
                    // There is room for every load that there is.
                    if self.outbox.send(load).is_err() {
                        return;
                    }
                    if news || self.starved.load(Ordering::SeqCst) {
                        (self.bell)();
                    }
                }
            }
        }
    }

    /// Seals all trains of a load and sends them.
    fn carry(&mut self, load: &mut Load) {
        let Self { sockets, batch, owners, .. } = self;
        let count = std::mem::take(&mut load.count);
        let Some((_, socket)) = sockets.iter_mut().find(|(serial, _)| *serial == load.serial) else {
            // A socket that is gone; its packets count as lost.
            load.trains[..count].iter_mut().for_each(Parcel::let_go);
            return;
        };
        let before: SocketReport = socket.counters().into();
        for parcel in &mut load.trains[..count] {
            let owner =
                TrainOwner { index: load.index, lane: load.lane, segment: parcel.plan.segment() as u16 };
            match parcel.seal(batch, owner.segment, load.singly) {
                Ok(()) => owners.push(owner),
                Err(stream) => load.fault = load.fault.or(stream),
            }
            parcel.let_go();
            if batch.is_full() {
                send(socket, batch, owners, &mut load.notices);
            }
        }
        send(socket, batch, owners, &mut load.notices);
        load.report = SocketReport::from(socket.counters()).since(&before);
    }
}

impl Parcel {
    /// Seals the train into the batch.
    ///
    /// # Errors
    /// The stream whose source has changed, if that is the cause.
    fn seal(&self, batch: &mut SendBatch, segment: u16, singly: bool) -> Result<(), Option<StreamId>> {
        let Some(sealer) = &self.sealer else { return Err(None) };
        let mut slot = batch.train(self.plan.to(), ECT0, segment).map_err(|_| None)?;
        if singly {
            slot.singly();
        }
        let sealed = sealer.seal(&self.plan, &self.bytes, slot.buffer()).map_err(|fault| Some(fault.0))?;
        if self.bytes.is_changed() {
            return Err(self.plan.chunks().next().map(|chunk| chunk.stream));
        }
        slot.commit(sealed).map_err(|error| {
            debug_assert!(false, "a plan is no train: {error}");
            None
        })
    }

    /// Lets go of key and payload.
    fn let_go(&mut self) {
        self.sealer = None;
        self.bytes.clear();
    }
}

/// Sends all of a batch, waiting where the kernel takes no more.
fn send(socket: &mut Socket, batch: &mut SendBatch, owners: &mut Vec<TrainOwner>, notices: &mut Vec<Notice>) {
    while !batch.is_empty() {
        let outcome = socket.send(batch);
        notices_of(&outcome, owners, |notice| {
            if notices.len() < NOTICES_MAX {
                notices.push(notice);
            }
        });
        if outcome.blocked && !wait_writable(socket) {
            // A device that takes nothing for so long loses what was meant for it, as any other does.
            batch.clear();
        }
    }
    owners.clear();
}

/// Waits until the kernel takes more. False if it does not for long.
fn wait_writable(socket: &Socket) -> bool {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    matches!(poll(&mut fds, PollTimeout::from(BLOCKED_MS_MAX)), Ok(1..))
}

/// Loads of a carrier: one that it seals, one that waits for it, and one that the engine fills.
const LOADS: usize = 3;
/// Orders that may wait for a carrier: all of its loads, and sockets that come and go.
const ORDERS_MAX: usize = 64;
/// Notices of one load that are looked at.
const NOTICES_MAX: usize = 8;
/// How long a socket may take nothing, milliseconds.
const BLOCKED_MS_MAX: u16 = 100;
