//! Addresses that change: following a peer that moves, and moving (PROTOCOL.md 5.6).

use core::time::Duration;

use super::{Arrival, Event, Session};
use crate::keys::Role;
use crate::limits::KEEP_ALIVE;
use crate::send::mtu::Mtu;
use crate::send::plan::{Plan, PlanKind};
use crate::send::rtt::Rtt;
use crate::send::sent_ring::Carried;
use crate::time::Time;
use crate::wire::frame::FrameWriter;
use crate::wire::header::Header;

impl Session {
    /// A sealed packet has opened; its number is not marked yet.
    pub(super) fn on_opened(
        &mut self,
        now: Time,
        arrival: &Arrival,
        index: usize,
        header: &Header,
        bytes: usize,
    ) {
        let lane = &mut self.lanes[index];
        let Some(from) =
            arrival.from.filter(|&from| Some(from) != lane.path.address() || lane.path.is_doubted())
        else {
            return;
        };
        let newest = lane.numbers.is_newest(header.number());
        let (challenges, secret) = (&mut self.challenges, &self.config.path_secret);
        lane.path.on_opened(now, from, (bytes as u64, newest), lane.rtt.pto(), || {
            *challenges += 1;
            let mac = blake3::keyed_hash(&secret.0, &challenges.to_le_bytes());
            bytemuck::pod_read_unaligned(&mac.as_bytes()[..size_of::<u64>()])
        });
    }

    /// A challenge of an address that may be the peer's, alone in its datagram.
    pub(super) fn plan_challenge(&mut self, now: Time, index: usize, plan: &mut Plan) -> bool {
        let lane = &mut self.lanes[index];
        if lane.held || lane.sent.room() == 0 {
            return false;
        }
        let Some((address, token)) = lane.path.take_challenge(now) else { return false };
        plan.clear(PlanKind::Mixed, index as u8);
        let room = lane.frame_room();
        FrameWriter::new(&mut plan.frames, room).path_challenge(token);
        // Its loss says nothing of the path in use: it is repeated by its own clock, and charged to nobody.
        self.seal_mixed(now, index, plan, (Carried::Silent, 0, 0), 1);
        plan.to = Some(address);
        true
    }

    pub(super) fn on_path_response(&mut self, now: Time, token: u64) {
        for index in 0..self.lanes.len() {
            if let Some(moved) = self.lanes[index].path.on_response(token) {
                if moved.other_host {
                    self.forget_path(now, index);
                }
                self.events.push_back(Event::Moved { lane: index as u8, to: moved.to });
            }
        }
    }

    /// This end's socket of `lane` is another one now. The peer hears of it at once, and follows. `other_host`: it has
    /// another IP address, so that what was learnt of the path is of another path.
    pub fn on_rebound(&mut self, now: Time, lane: usize, other_host: bool) {
        if lane >= self.lanes.len() {
            return;
        }
        if other_host {
            self.forget_path(now, lane);
        }
        self.lanes[lane].probe_due = true;
    }

    /// Another path: its round trip, size and rate are not those of the old one.
    fn forget_path(&mut self, now: Time, index: usize) {
        let lane = &mut self.lanes[index];
        lane.rtt = Rtt::new(Duration::from_nanos(lane.rtt.smoothed()));
        lane.mtu = Mtu::new(self.config.ip_mtu_max, self.config.ip_headers);
        let (datagram, rtt) = (lane.mtu.current(), lane.rtt.smoothed());
        self.change_rate(now, |rate| rate.forget_path(datagram, rtt, now));
    }

    /// When an initiator that waits for data asks whether the peer still reaches it. Only packets of its own can tell the
    /// peer where it is, and whoever only receives has none to send: a NAT that has forgotten it would never be told.
    pub(super) fn ask_at(&self) -> Time {
        if self.role != Role::Initiator || self.send.in_flight > 0 || !self.recv.streams.any() {
            return Time::FAR;
        }
        let lane = &self.lanes[self.home];
        let (count, received) = self.asked;
        let count = if received == self.recv.credit.received() { count } else { 0 };
        let wait = (ASK_PTOS * lane.rtt.pto()) << count.min(16);
        self.last_heard.max(lane.last_eliciting).after_nanos(wait.min(KEEP_ALIVE.as_nanos() as u64))
    }

    /// Asks. Where nothing has come since the last time it waits for longer.
    pub(super) fn ask(&mut self) {
        let received = self.recv.credit.received();
        let count = if self.asked.1 == received { self.asked.0 } else { 0 };
        self.asked = (count + 1, received);
        self.lanes[self.home].probe_due = true;
    }
}

/// Probe time-outs of silence after which whoever waits for data asks.
const ASK_PTOS: u64 = 3;
