//! Trains out: from a session's plans to the kernel.
//!
//! Sealed trains are encrypted from the mapping straight into the socket's batch. Plain trains are gathered: the
//! kernel reads the payload from the mapping, and only prefixes and checksums lie in memory of ours.

use udpx_proto::{Plan, PlanKind, StreamId, Time};

use super::Engine;
use super::association::Association;
use super::driver::Driver;
use super::wire::{Notice, TrainOwner, Wire};

/// What sending needs and can be reused.
pub(crate) struct Shipper {
    plan: Plan,
}

/// What became of a session's turn.
#[derive(Default)]
struct Turn {
    trains: usize,
    /// It had more to send than its turn allows.
    more: bool,
    /// A source of its turned out to have changed.
    fault: Option<StreamId>,
}

impl Shipper {
    pub(crate) fn new() -> Self {
        Self { plan: Plan::new() }
    }

    /// Lets a session fill the batch of its wire.
    fn fill(&mut self, index: u32, driver: &mut Driver, wire: &mut Wire, now: Time) -> Turn {
        let mut turn = Turn::default();
        while !wire.is_full() && turn.fault.is_none() {
            if turn.trains == TRAINS_A_TURN {
                turn.more = true;
                break;
            }
            if !driver.session.poll_transmit(now, &mut self.plan) {
                break;
            }
            turn.fault = self.seal(index, driver, wire).err();
            turn.trains += 1;
        }
        turn
    }

    /// Seals the plan into the batch.
    fn seal(&self, index: u32, driver: &Driver, wire: &mut Wire) -> Result<(), StreamId> {
        let plan = &self.plan;
        let segment = plan.segment() as u16;
        let Some(mut slot) = wire.train(driver.to, segment) else { return Ok(()) };
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
        let now = self.transmit(index, now);
        let Some(driver) = self.with_driver(index, now, |driver, cx| {
            driver.pump(cx);
            driver.session.is_ended()
        }) else {
            return now;
        };
        if driver {
            self.remove(index);
        }
        now
    }

    /// Sends what the session wants to send, a batch at most.
    fn transmit(&mut self, index: u32, now: Time) -> Time {
        let Self { associations, wires, shipper, .. } = self;
        let Some(driver) = associations[index as usize].as_mut().and_then(Association::driver) else {
            return now;
        };
        let Some(wire) = wires[driver.wire].as_mut() else { return now };
        let mut turn = Turn::default();
        if !wire.blocked {
            turn = shipper.fill(index, driver, wire, now);
        }
        let (at, full, blocked) = (driver.wire, wire.is_full(), wire.blocked);
        let mut now = now;
        if full && !blocked {
            self.flush(at);
            now = self.clock.now();
        }
        if let Some(stream) = turn.fault {
            self.with_driver(index, now, |driver, cx| driver.on_source_fault(stream, cx));
        }
        let Some(driver) = self.associations[index as usize].as_mut().and_then(Association::driver) else {
            return now;
        };
        driver.dirty |= turn.more || full;
        self.busy |= driver.dirty && !blocked;
        driver.deadline = driver.next_deadline(now);
        if driver.deadline <= now && turn.trains == 0 {
            // Nothing can be sent though something is due: it waits for the socket, or for an event.
            driver.deadline = now.after_nanos(PATIENCE_NS);
        }
        now
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
            self.on_notice(at, notice);
        }
    }

    fn on_notice(&mut self, at: usize, notice: Notice) {
        let now = self.clock.now();
        match notice {
            Notice::Refused => self.on_refused(at, now),
            Notice::TooBig { index, lane, size } => {
                self.with_driver(index, now, |driver, _| driver.session.on_too_big(lane, size));
            }
            Notice::Fault { .. } => {}
        }
    }
}

/// Trains that one session may send before the others have their turn.
const TRAINS_A_TURN: usize = udpx_udp::TRAINS_MAX;
/// How long a session that cannot send what is due is left alone.
const PATIENCE_NS: u64 = 200_000;
/// Notices of one call that are looked at.
const NOTICES_MAX: usize = 8;

#[allow(dead_code, reason = "placeholder until plain trains are gathered")]
const fn _kind(kind: PlanKind) -> bool {
    matches!(kind, PlanKind::BulkPlain)
}
