//! The engine's part in sending by carriers: what session goes by them, filling loads, and hearing of those that come back.

use udpx_proto::limits::LANES_MAX;
use udpx_proto::{PlanKind, Time};

use super::Engine;
use super::association::Association;
use super::carriers::Load;
use super::transmit::{TRAINS_A_TURN, Turn};
use super::wire::Notice;

impl Engine {
    /// Whether a session's trains go by carriers: it has several lanes and is sealed. Its carriers have its sockets then.
    pub(super) fn board(&mut self, index: u32) -> bool {
        let Self { associations, wires, carriers, .. } = self;
        let Some(driver) = associations[index as usize].as_mut().and_then(Association::driver) else {
            return false;
        };
        let lanes = driver.session.lane_count();
        if carriers.is_empty() || lanes < 2 || !driver.may_be_carried {
            return false;
        }
        for lane in 0..lanes {
            let Some(wire) = wires[driver.ways.of(lane)].as_mut() else { return false };
            if let Err(error) = carriers.board(lane, wire) {
                tracing::warn!(%error, "a session sends by one thread");
                driver.may_be_carried = false;
                (0..lanes).for_each(|lane| driver.session.hold_lane(lane, false));
                return false;
            }
        }
        true
    }

    /// Lets a session fill loads, a train at a time, and hands them over.
    pub(super) fn load(&mut self, index: u32, now: Time) -> Turn {
        let Self { associations, wires, carriers, shipper, .. } = self;
        let mut turn = Turn::default();
        let Some(driver) = associations[index as usize].as_mut().and_then(Association::driver) else {
            return turn;
        };
        let mut loads: [Option<Load>; LANES_MAX] = Default::default();
        for lane in 0..driver.session.lane_count() {
            // Each lane of a session has a carrier of its own, and one load is enough for a turn.
            let full = carriers.is_full(lane);
            driver.session.hold_lane(lane, full);
            turn.held |= full;
        }
        let plan = shipper.plan();
        while turn.fault.is_none() {
            if turn.trains == TRAINS_A_TURN {
                turn.more = true;
                break;
            }
            if !driver.session.poll_transmit(now, plan) {
                break;
            }
            turn.trains += 1;
            let (lane, at) = (plan.lane(), driver.ways.of(plan.lane()));
            let serial = wires[at].as_ref().map_or(0, |wire| wire.boarded.serial);
            if loads[lane].is_none() {
                loads[lane] = carriers.take(lane, (index, driver.key), (at, serial));
            }
            // None only for a CLOSE when all lanes are held; it is repeated.
            let Some(load) = &mut loads[lane] else { continue };
            let (sealer, sources) = (driver.session.sealer(lane), &driver.sources);
            let pushed = load.push(plan, sealer, driver.singly, |plan, bytes| match plan.kind() {
                PlanKind::Bulk | PlanKind::BulkPlain => sources.hold(plan.chunks(), bytes),
                PlanKind::Mixed | PlanKind::Probe => plan.fill(sources).map_err(|fault| fault.0),
            });
            turn.fault = pushed.err();
        }
        loads.into_iter().flatten().for_each(|load| carriers.carry(load));
        // A load that came back before its carrier knew that it is waited for is taken in the next tick.
        self.busy |= turn.held && self.carriers.has_returned();
        turn
    }

    /// Hears of the loads that have come back.
    pub(super) fn take_loads(&mut self, now: Time) {
        while let Some(load) = self.carriers.next() {
            if let Some(wire) = self.wires.get_mut(load.wire).and_then(Option::as_mut)
                && wire.boarded.serial == load.serial
            {
                wire.boarded.report += load.report;
            }
            if load.fault.is_some() || !load.notices.is_empty() {
                self.hear_of(&load, now);
            }
            if self.carriers.give_back(load) {
                self.associations.iter_mut().flatten().for_each(Association::rouse);
            }
        }
    }

    /// What happened to a load concerns its session, if that is still there.
    fn hear_of(&mut self, load: &Load, now: Time) {
        if self.find(load.key) != Some(load.index) {
            return;
        }
        self.with_driver(load.index, now, |driver, cx| {
            driver.dirty = true;
            for notice in &load.notices {
                match *notice {
                    // A hint of handshakes, which do not go by carriers.
                    Notice::Refused => {}
                    Notice::TooBig { lane, size, .. } => driver.session.on_too_big(lane, size),
                    Notice::SizeDoubted { lane, .. } => driver.session.doubt_size(lane),
                }
            }
            if let Some(stream) = load.fault {
                driver.sources.on_fault(stream);
                driver.on_source_fault(stream, cx);
            }
        });
    }
}
