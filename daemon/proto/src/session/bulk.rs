//! Trains of stream data: which stream, which bytes, when.

use super::{Sender, Session, SessionStats, StreamStats};
use crate::ids::StreamId;
use crate::keys::Suite;
use crate::limits::{TRAIN_BYTES_MAX, TRAIN_PACKETS_MAX};
use crate::send::pacer::Pacer;
use crate::send::plan::{Plan, PlanKind};
use crate::send::sent_ring::{Carried, Sent, State, Train};
use crate::send::stream::{Cut, CutKind};
use crate::time::Time;
use crate::trace;
use crate::wire::bulk::{BulkPrefix, OVERHEAD};
use crate::wire::header::{Header, Kind};

/// Why no train can leave.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Blocked {
    /// By the rate, until then.
    Paced(Time),
    /// By bytes in flight: a SACK or a loss will free some.
    Window,
    /// By the peer's credit.
    Credit,
    /// Nothing to send.
    Idle,
}

impl Sender {
    /// The first piece of the next train, and its stream. A stream whose lost ranges have all arrived
    /// after all has nothing to cut, and another one gets its turn.
    fn first_cut(&mut self, max: u64) -> Option<(StreamId, Cut)> {
        let credit = self.credit - self.credit_used;
        while let Some(id) = self.streams.next(credit) {
            let stream = self.streams.get_mut(id)?;
            if let Some(cut) = stream.next_chunk(max, credit) {
                return Some((id, cut));
            }
            debug_assert!(
                !stream.has_work(credit),
                "a stream with work cuts something, or has none after all"
            );
        }
        None
    }
}

impl Session {
    /// Whether a train could leave at `now`.
    pub(super) fn bulk_blocked(&self, now: Time) -> Option<Blocked> {
        let send = &self.send;
        let credit = send.credit - send.credit_used;
        if !send.streams.has_work(credit) {
            return Some(if send.streams.wants_credit() { Blocked::Credit } else { Blocked::Idle });
        }
        if send.in_flight >= send.rate.window() || self.pick_lane().is_none() {
            return Some(Blocked::Window);
        }
        let at = send.pacer.may_leave(now);
        (at > now).then_some(Blocked::Paced(at))
    }

    /// The next usable lane with room, in turn.
    fn pick_lane(&self) -> Option<usize> {
        let n = self.lanes.len();
        (0..n).map(|i| (self.send.turn + i) % n).find(|&i| {
            let lane = &self.lanes[i];
            lane.usable && !lane.held && lane.sent.room() > TRAIN_PACKETS_MAX
        })
    }

    /// Plans the next train of stream data.
    pub(super) fn plan_bulk(&mut self, now: Time, plan: &mut Plan) -> bool {
        loop {
            match self.bulk_blocked(now) {
                None => break,
                Some(Blocked::Idle | Blocked::Credit) => {
                    self.send.app_limited = self.send.delivered + self.send.in_flight;
                    // A tail begins once: then there are copies to send.
                    if !self.begin_tails(now) {
                        return false;
                    }
                }
                Some(Blocked::Paced(_) | Blocked::Window) => return false,
            }
        }
        let Some(index) = self.pick_lane() else { return false };
        if self.send.in_flight == 0 {
            self.send.rate.on_restart(now);
        }
        let lane = &mut self.lanes[index];
        let datagram = usize::from(lane.mtu.current());
        let payload = datagram - OVERHEAD;
        let Some((id, first)) = self.send.first_cut(payload as u64) else { return false };
        self.send.turn = (index + 1) % self.lanes.len();
        let bps = self.send.rate.pacing_bps();
        let kind = if self.config.plain { Kind::BulkPlain } else { Kind::Bulk };
        plan.clear(if self.config.plain { PlanKind::BulkPlain } else { PlanKind::Bulk }, index as u8);

        let lane = &mut self.lanes[index];
        let window = (self.send.rate.window() - self.send.in_flight) as usize;
        let bytes = TRAIN_BYTES_MAX.min(Pacer::train_bytes(bps)).min(window);
        let limit = if self.send.health.wants_single() { 1 } else { self.send.trains.limit() };
        let packets = (bytes / datagram).clamp(1, TRAIN_PACKETS_MAX.min(limit));
        lane.sent.reserve(packets);
        if self.send.in_flight == 0 {
            self.send.first_sent = now;
            self.send.delivered_at = now;
        }
        let train = lane.sent.push_train(Train {
            sent: now,
            delivered: self.send.delivered,
            delivered_at: self.send.delivered_at,
            first_sent: self.send.first_sent,
            first: lane.sent.next(),
            packets: 0,
            phase: self.send.rate.phase(),
            app_limited: self.send.delivered < self.send.app_limited,
        });
        let Some(stream) = self.send.streams.get_mut(id) else { return false };
        plan.to = lane.path.address();
        let epoch = lane.keys.send_epoch();
        let mut next = Some(first);
        let (mut wire_bytes, mut payload_bytes) = (0u64, 0u64);
        for _ in 0..packets {
            let credit = self.send.credit - self.send.credit_used;
            let Some(cut) = next.take().or_else(|| stream.next_chunk(payload as u64, credit)) else { break };
            let chunk = cut.chunk;
            let wire = chunk.len as usize + OVERHEAD;
            let number = lane.sent.push(Sent {
                offset: chunk.offset,
                stream: id.0,
                train,
                len: chunk.len as u16,
                wire: wire as u16,
                carried: Carried::Bulk,
                state: State::InFlight,
            });
            let header = Header::new(kind, epoch, lane.remote, number);
            plan.bulk.push((BulkPrefix::new(header, id, chunk.offset, chunk.len as u16), chunk));
            wire_bytes += wire as u64;
            payload_bytes += u64::from(chunk.len);
            count_cut(&cut, &mut stream.stats, &mut self.stats, &mut self.send.credit_used);
            if (chunk.len as usize) < payload {
                // A shorter packet ends a train.
                break;
            }
        }
        let count = plan.bulk.len() as u64;
        lane.sent.close_train(count as u32);
        self.send.health.on_sent(now, plan.bulk.len());
        stream.stats.packets += count;
        stream.stats.frames += count;
        stream.stats.wire_bytes += wire_bytes;
        stream.stats.payload_bytes += payload_bytes;
        lane.in_flight += wire_bytes;
        let first = lane.sent.next() - plan.bulk.len() as u64;
        lane.on_eliciting(now, first);
        self.send.streams.on_sent(id, payload_bytes);
        self.send.pacer.on_sent(now, wire_bytes, bps);
        // Where losses cluster in trains, two in a row would be as bad as a longer one.
        self.send.pacer.set_trains(packets * datagram, bps, self.send.trains.limit() == TRAIN_PACKETS_MAX);
        if self.send.trains.on_sent(plan.bulk.len()) {
            self.send.rate.on_trains_changed();
        }
        self.stats.sent_trains += 1;
        self.note_sent(count, count, wire_bytes, wire_bytes);
        if let Some(sink) = &mut self.trace {
            trace::sent(sink.as_mut(), now, plan);
        }
        true
    }

    /// Counts what leaves; `eliciting` bytes of it are in flight.
    pub(super) fn note_sent(&mut self, packets: u64, frames: u64, wire: u64, eliciting: u64) {
        self.send.in_flight += eliciting;
        self.stats.sent_packets += packets;
        self.stats.sent_frames += frames;
        self.stats.sent_bytes += wire;
        self.stats.in_flight_max = self.stats.in_flight_max.max(self.send.in_flight);
    }

    /// Begins a new key epoch on a lane, if one is due, or sees to it that it can begin.
    pub(super) fn update_keys(&mut self, now: Time, index: usize) {
        let lane = &mut self.lanes[index];
        let next = lane.sent.next();
        if lane.keys.should_update(now, next) {
            lane.keys.update_send(now, next);
        }
        if self.confirmed && lane.usable && lane.in_flight == 0 && lane.keys.wants_ack(now, next) {
            lane.probe_due = true;
        }
    }

    /// The cipher in use.
    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }
}

/// Counts a piece as what it is: new bytes use up credit, what was lost and what is copied does not.
pub(super) fn count_cut(cut: &Cut, stream: &mut StreamStats, session: &mut SessionStats, credit: &mut u64) {
    let len = u64::from(cut.chunk.len);
    match cut.kind {
        CutKind::New => {
            *credit += len;
            session.unique_bytes_sent += len;
        }
        CutKind::Lost => {
            stream.retransmitted_packets += 1;
            stream.retransmitted_bytes += len;
            session.retransmitted_packets += 1;
            session.retransmitted_bytes += len;
        }
        CutKind::Copy => {
            stream.copied_packets += 1;
            stream.copied_bytes += len;
            session.copied_packets += 1;
            session.copied_bytes += len;
        }
    }
}
