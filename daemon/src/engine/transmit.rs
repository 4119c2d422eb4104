//! Trains out: from a session's plans to the kernel.
//!
//! Sealed trains are encrypted from the mapping straight into the socket's batch. Plain trains are *gathered*: the
//! kernel reads the payload from the mapping itself, and only prefixes and checksums lie in memory of ours.

use udpx_proto::{PayloadSource, limits};
use udpx_proto::{Plan, PlanKind, Session, StreamId, Time};
use udpx_udp::{GatherBatch, HintKind, TRAINS_MAX};

use super::Engine;
use super::association::Association;
use super::driver::Driver;
use super::sources::Sources;
use super::ways::Ways;
use super::wire::{ECT0, Notice, TrainOwner, Wire};

/// What sending needs and can be reused.
pub(crate) struct Shipper {
    /// One plan, and as many plain ones as one call sends: their prefixes must live until then.
    plans: Vec<Plan>,
    /// What stands between the payloads of plain packets: the checksum of one and the prefix of the next.
    joints: Vec<Joint>,
    gather: GatherBatch<'static>,
}

type Joint = [u8; TAG + PREFIX];
const TAG: usize = udpx_proto::wire::TAG;
const PREFIX: usize = udpx_proto::wire::bulk::BulkPrefix::SIZE;
/// Joints of one train: one before each packet, one behind the last.
const JOINTS: usize = limits::TRAIN_PACKETS_MAX + 1;

/// What became of a session's turn.
#[derive(Default)]
pub(super) struct Turn {
    pub(super) trains: usize,
    /// It had more to send than its turn allows.
    pub(super) more: bool,
    /// A lane was passed over, since its carrier has all of its loads.
    pub(super) held: bool,
    /// A source of its turned out to have changed.
    pub(super) fault: Option<StreamId>,
}

impl Shipper {
    pub(crate) fn new() -> Self {
        Self {
            plans: std::iter::repeat_with(Plan::new).take(TRAINS_MAX).collect(),
            joints: vec![[0; TAG + PREFIX]; TRAINS_MAX * JOINTS],
            gather: GatherBatch::new(),
        }
    }

    /// A plan to be filled.
    pub(super) fn plan(&mut self) -> &mut Plan {
        &mut self.plans[0]
    }

    /// Lets a session fill the batches of its sockets, and sends its plain trains.
    fn fill(&mut self, index: u32, driver: &mut Driver, wires: &mut [Option<Wire>], now: Time) -> Turn {
        let mut turn = Turn::default();
        let mut plain = 0;
        let ways = driver.ways;
        if ways.count() > 1 {
            // A lane whose socket takes nothing leaves its part to the others.
            let blocked = |at: usize| wires[at].as_ref().is_none_or(|wire| wire.blocked);
            ways.iter().enumerate().for_each(|(lane, at)| driver.session.hold_lane(lane, blocked(at)));
        }
        while !is_any_full(ways, wires) && turn.fault.is_none() {
            if turn.trains == TRAINS_A_TURN {
                turn.more = true;
                break;
            }
            let plan = &mut self.plans[plain];
            if !driver.session.poll_transmit(now, plan) {
                break;
            }
            turn.trains += 1;
            let done = if plan.kind() == PlanKind::BulkPlain {
                let joints = &mut self.joints[plain * JOINTS..][..JOINTS];
                plain += 1;
                join(&driver.session, plan, &driver.sources, joints)
            } else {
                match &mut wires[ways.of(plan.lane())] {
                    Some(wire) => seal(index, driver, wire, plan),
                    None => Ok(()),
                }
            };
            if let Err(stream) = done {
                turn.fault = Some(stream);
                plain = plain.saturating_sub(usize::from(plan.kind() == PlanKind::BulkPlain));
            }
        }
        if plain > 0 {
            for at in ways.iter() {
                if let Some(wire) = &mut wires[at] {
                    turn.fault = self.send_plain(index, driver, (at, wire), plain).or(turn.fault);
                }
            }
        }
        turn
    }

    /// Sends those of the first `count` plans, which are plain trains, that go by the socket `at`. Returns a stream whose
    /// payload could not be read.
    fn send_plain(
        &mut self,
        index: u32,
        driver: &Driver,
        (at, wire): (usize, &mut Wire),
        count: usize,
    ) -> Option<StreamId> {
        let plans = || self.plans[..count].iter().filter(|plan| driver.ways.of(plan.lane()) == at);
        let mut gather = std::mem::take(&mut self.gather).recycle();
        let mut fault = None;
        let joints = self.joints.chunks_exact(JOINTS);
        for (plan, joints) in self.plans[..count].iter().zip(joints) {
            if driver.ways.of(plan.lane()) == at {
                fault = fault.or(gather_train(driver, plan, joints, &mut gather).err());
            }
        }
        let outcome = wire.socket.send_gather(&mut gather);
        self.gather = gather.recycle();
        for hint in outcome.hints.iter().filter(|hint| hint.kind == HintKind::SourceFault) {
            let chunk = plans().nth(hint.train).and_then(|plan| plan.chunks().next());
            fault = fault.or(chunk.map(|chunk| chunk.stream));
        }
        if outcome.blocked {
            // What the kernel did not take is copied: it cannot wait for the socket with its payload borrowed. A train
            // that was half taken goes out twice, which the receiver drops.
            for plan in plans().skip(outcome.trains) {
                fault = fault.or(seal(index, driver, wire, plan).err());
            }
            wire.blocked = true;
        }
        if let Some(stream) = fault {
            driver.sources.on_fault(stream);
        }
        fault
    }
}

/// Whether one of a session's sockets has no room for a train: it may be that of the next plan, which cannot be taken back.
fn is_any_full(ways: Ways, wires: &[Option<Wire>]) -> bool {
    ways.iter().any(|at| wires[at].as_ref().is_none_or(|wire| !wire.blocked && wire.is_full()))
}

/// Whether none of a session's sockets takes anything at present.
fn is_blocked(ways: Ways, wires: &[Option<Wire>]) -> bool {
    ways.iter().all(|at| wires[at].as_ref().is_none_or(|wire| wire.blocked))
}

/// Seals a plan into the batch.
fn seal(index: u32, driver: &Driver, wire: &mut Wire, plan: &Plan) -> Result<(), StreamId> {
    let segment = plan.segment() as u16;
    let Some(mut slot) = wire.train(plan.to(), segment) else { return Ok(()) };
    if driver.singly {
        slot.singly();
    }
    let sealed = driver.session.seal(plan, &driver.sources, slot.buffer()).map_err(|fault| fault.0)?;
    driver.sources.check(plan.chunks())?;
    match slot.commit(sealed) {
        Ok(()) => wire.own(TrainOwner { index, lane: plan.lane(), segment }),
        Err(error) => {
            debug_assert!(false, "a plan is no train: {error}");
            tracing::error!(%error, kind = ?plan.kind(), "a plan is no train");
        }
    }
    Ok(())
}

/// Writes what stands between the payloads of a plain train. Only here the payload is read in user space.
fn join(session: &Session, plan: &Plan, sources: &Sources, joints: &mut [Joint]) -> Result<(), StreamId> {
    for (at, chunk) in plan.chunks().enumerate() {
        let payload = sources.chunk(chunk).ok_or(chunk.stream)?;
        joints[at][TAG..].copy_from_slice(&Session::plain_prefix(plan, at));
        joints[at + 1][..TAG].copy_from_slice(&session.plain_tag(plan, at, payload));
    }
    sources.check(plan.chunks())
}

/// Queues a plain train: prefix, payload, checksum and prefix, payload, ..., checksum.
fn gather_train<'a>(
    driver: &'a Driver,
    plan: &Plan,
    joints: &'a [Joint],
    gather: &mut GatherBatch<'a>,
) -> Result<(), StreamId> {
    let Ok(mut slot) = gather.train(plan.to(), ECT0, plan.segment() as u16) else { return Ok(()) };
    if driver.singly {
        slot.singly();
    }
    for (at, chunk) in plan.chunks().enumerate() {
        slot.push(&joints[at][if at == 0 { TAG } else { 0 }..]);
        slot.push(driver.sources.chunk(chunk).ok_or(chunk.stream)?);
    }
    slot.push(&joints[plan.count()][..TAG]);
    if let Err(error) = slot.commit() {
        debug_assert!(false, "a plan is no train: {error}");
        tracing::error!(%error, "a plan is no train");
    }
    Ok(())
}

impl Engine {
    /// Lets one association do what it has to do, and send. Returns the time afterwards.
    pub(crate) fn serve_one(&mut self, index: u32, now: Time) -> Time {
        match &mut self.associations[index as usize] {
            Some(Association::Open(driver)) => driver.dirty = false,
            Some(Association::Opening(_)) => {
                self.serve_opening(index, now);
                return now;
            }
            Some(Association::HalfOpen(_)) | None => return now,
        }
        self.with_driver(index, now, |driver, cx| driver.serve(index, cx));
        self.renew_wires(index, now);
        self.offer_lanes(index);
        let now = self.transmit(index, now);
        // The cursors have moved: readers can go on.
        let after = self.with_driver(index, now, |driver, cx| {
            driver.pump(cx);
            (driver.session.is_ended(), driver.dirty)
        });
        let Some((ended, dirty)) = after else { return now };
        self.busy |= dirty;
        if ended {
            self.remove(index);
        }
        now
    }

    /// Sends what the session wants to send, a batch at most.
    fn transmit(&mut self, index: u32, now: Time) -> Time {
        let carried = self.board(index);
        let turn = if carried { self.load(index, now) } else { self.fill(index, now) };
        let Some(ways) = self.associations[index as usize].as_ref().map(Association::ways) else {
            return now;
        };
        let full = !carried && is_any_full(ways, &self.wires);
        let mut now = now;
        if full {
            ways.iter().for_each(|at| self.flush(at));
        }
        if turn.trains > 0 {
            now = self.clock.now();
        }
        if let Some(stream) = turn.fault {
            self.with_driver(index, now, |driver, cx| driver.on_source_fault(stream, cx));
        }
        let blocked = !carried && is_blocked(ways, &self.wires);
        let Some(driver) = self.associations[index as usize].as_mut().and_then(Association::driver) else {
            return now;
        };
        // A blocked socket makes its sessions dirty when it can be written to.
        driver.dirty |= (turn.more || full) && !blocked;
        self.busy |= driver.dirty;
        driver.deadline = driver.next_deadline(now);
        if driver.deadline <= now && (blocked || turn.trains == 0) {
            // Nothing can be sent though something is due: it waits for the socket, or for an event.
            driver.deadline = now.after_nanos(PATIENCE_NS);
        }
        if turn.held {
            // A carrier that is waited for rings, and should it ever not, this is soon enough.
            driver.deadline = driver.deadline.min(now.after_nanos(HELD_NS));
        }
        now
    }

    /// Lets a session fill the batches of its sockets, unless none of them takes anything.
    fn fill(&mut self, index: u32, now: Time) -> Turn {
        let Self { associations, wires, shipper, .. } = self;
        match associations[index as usize].as_mut().and_then(Association::driver) {
            Some(driver) if !is_blocked(driver.ways, wires) => shipper.fill(index, driver, wires, now),
            _ => Turn::default(),
        }
    }

    /// Hands the batch of a wire to the kernel.
    pub(crate) fn flush(&mut self, at: usize) {
        let Some(wire) = self.wires[at].as_mut().filter(|wire| wire.has_trains() && !wire.blocked) else {
            return;
        };
        let mut notices = [None; NOTICES_MAX];
        let mut count = 0;
        wire.flush(|notice| {
            if let Some(slot) = notices.get_mut(count) {
                *slot = Some(notice);
                count += 1;
            }
        });
        for notice in notices.into_iter().flatten() {
            let now = self.clock.now();
            match notice {
                Notice::Refused => self.on_refused(at, now),
                Notice::TooBig { index, lane, size } => {
                    self.with_driver(index, now, |driver, _| driver.session.on_too_big(lane, size));
                }
                Notice::SizeDoubted { index, lane } => {
                    self.with_driver(index, now, |driver, _| driver.session.doubt_size(lane));
                }
            }
        }
    }
}

/// Trains that one session may send before the others have their turn.
pub(super) const TRAINS_A_TURN: usize = TRAINS_MAX;
/// How long a session that cannot send what is due is left alone.
const PATIENCE_NS: u64 = 200_000;
/// How long a lane is held at most before its session looks again.
const HELD_NS: u64 = 5_000_000;
/// Notices of one call that are looked at.
const NOTICES_MAX: usize = 8;
