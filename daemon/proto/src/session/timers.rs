//! Deadlines: losses, probes, pacing, keep-alive, idleness, closing.

use core::time::Duration;

use super::bulk::Blocked;
use super::{Event, Session, State};
use crate::lane::Lane;
use crate::limits::{IDLE_TIMEOUT, KEEP_ALIVE};
use crate::time::Time;

impl Session {
    /// When [`handle_timeout`](Self::handle_timeout) and then
    /// [`poll_transmit`](Self::poll_transmit) are to be called again, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self, now: Time) -> Option<Time> {
        let open = match self.state {
            State::Ended => return None,
            State::Closing { next, until, .. } => return Some(next.min(until)),
            State::Open => self.last_heard + IDLE_TIMEOUT,
        };
        let mut deadline = open.min(self.keep_alive_at()).min(self.ask_at());
        if let Some(Blocked::Paced(at)) = self.bulk_blocked(now) {
            deadline = deadline.min(at);
        }
        for lane in &self.lanes {
            let sack = lane.numbers.sack_at(lane.rtt.smoothed()).filter(|_| lane.usable);
            let loss = lane.loss.next_deadline(&lane.rtt);
            let keys = lane.keys.next_deadline(Duration::from_nanos(lane.rtt.pto()));
            let probe = self.needs_probe(lane.in_flight).then(|| lane.pto_at());
            let challenge = lane.path.challenge_at();
            let hush = lane.hush_at();
            for at in [sack, loss, keys, probe, challenge, hush].into_iter().flatten() {
                deadline = deadline.min(at);
            }
        }
        Some(deadline)
    }

    /// When a PING is due, if nothing is in flight: else the probe time-out asks already.
    fn keep_alive_at(&self) -> Time {
        if self.send.in_flight > 0 {
            return Time::FAR;
        }
        self.last_heard.max(self.lanes[self.home].last_eliciting) + KEEP_ALIVE
    }

    /// Something waits for an answer: packets in flight, or credit that the peer has to grant.
    fn needs_probe(&self, in_flight: u64) -> bool {
        in_flight > 0 || (self.send.in_flight == 0 && self.waits_for_credit())
    }

    fn waits_for_credit(&self) -> bool {
        let streams = self.send.credit == self.send.credit_used && self.send.streams.wants_credit();
        streams || self.send.control.is_blocked()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Time) {
        match self.state {
            State::Ended => return,
            State::Closing { until, .. } => {
                if now >= until {
                    self.state = State::Ended;
                }
                return;
            }
            State::Open => {}
        }
        if now >= self.last_heard + IDLE_TIMEOUT {
            self.state = State::Ended;
            self.events.push_back(Event::TimedOut);
            return;
        }
        for index in 0..self.lanes.len() {
            self.detect_losses(now, index);
            let lane = &mut self.lanes[index];
            lane.keys.expire_old(now, Duration::from_nanos(lane.rtt.pto()));
            if lane.keys.close_needed() {
                return self.fail(now, "too many forged packets under one key");
            }
            if lane.hush_at().is_some_and(|at| now >= at) {
                lane.on_hush();
            }
            let (in_flight, at) = (lane.in_flight, lane.pto_at());
            if self.needs_probe(in_flight) && now >= at {
                let alive = |other: &Lane| other.usable && other.pto_count == 0;
                let others = self.lanes.iter().enumerate().any(|(i, lane)| i != index && alive(lane));
                let lane = &mut self.lanes[index];
                lane.probe_due = true;
                // The next probe is timed from this one, even if nothing can be sent now.
                lane.last_eliciting = now;
                lane.pto_count += 1;
                // The answers of a path that comes back would tell nothing of packets that left long before.
                if lane.pto_count <= PTOS_IN_DOUBT {
                    lane.doubt_mtu();
                } else {
                    lane.mtu.trust();
                }
                self.stats.probe_timeouts += 1;
                let count = lane.pto_count;
                if !others {
                    self.send.rate.on_silence(count, now);
                } else if count == LANE_SILENT && lane.usable {
                    self.abandon_lane(now, index);
                }
            }
        }
        if now >= self.keep_alive_at() {
            self.lanes[self.home].probe_due = true;
        }
        if now >= self.ask_at() {
            self.ask();
        }
        self.look_at_secrets(now);
        self.check_invariants();
    }
}

/// Probe time-outs at which the size of packets is checked as well; later ones send a small packet only.
const PTOS_IN_DOUBT: u32 = 2;
/// Probe time-outs of one lane after which others, if they live, take over.
const LANE_SILENT: u32 = 3;
