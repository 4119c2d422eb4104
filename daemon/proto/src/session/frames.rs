//! Control datagrams: SACKs, credit, stream 0, the opening and ending of streams, probes, CLOSE.

use super::bulk::count_cut;
use super::records::Record;
use super::{Session, State as SessionState};
use crate::ids::StreamId;
use crate::keys::Role;
use crate::send::plan::{ChunkRef, Plan, PlanKind};
use crate::send::sent_ring::{Carried, Sent, State, Train};
use crate::send::stream::Signal;
use crate::time::Time;
use crate::trace;
use crate::wire::TAG;
use crate::wire::frame::{CREDIT_SIZE, FrameWriter, OPEN_SIZE, STREAM_OVERHEAD};
use crate::wire::header::{Header, Kind};
use crate::wire::sack::{SACK_FIXED, SackBuilder};

impl Session {
    /// Plans the next train or datagram; false when nothing may leave at `now`.
    ///
    /// The driver calls it until it is false, seals each plan before the next call, and then sleeps
    /// until [`next_deadline`](Self::next_deadline).
    pub fn poll_transmit(&mut self, now: Time, plan: &mut Plan) -> bool {
        for index in 0..self.lanes.len() {
            self.update_keys(now, index);
        }
        let planned = match self.state {
            SessionState::Ended => false,
            SessionState::Closing { .. } => self.plan_close(now, plan),
            // Nothing goes to an address that may be a stranger's, before its owner has shown the keys.
            SessionState::Open if self.role == Role::Responder && !self.confirmed => false,
            SessionState::Open => {
                (0..self.lanes.len()).any(|lane| self.plan_challenge(now, lane, plan))
                    || (0..self.lanes.len()).any(|lane| self.plan_check(now, lane, plan))
                    || self.plan_double(now, plan)
                    || (0..self.lanes.len()).any(|lane| self.plan_frames(now, lane, plan))
                    || (0..self.lanes.len()).any(|lane| self.plan_probe(now, lane, plan))
                    || self.plan_bulk(now, plan)
            }
        };
        self.check_invariants();
        planned
    }

    /// One MIXED datagram on `lane`, if something is due there.
    fn plan_frames(&mut self, now: Time, index: usize, plan: &mut Plan) -> bool {
        if !self.frames_due(now, index) {
            return false;
        }
        if self.lanes[index].sent.room() == 0 {
            self.fail(now, "nothing that was sent is ever acknowledged");
            return false;
        }
        plan.clear(PlanKind::Mixed, index as u8);
        let room = self.lanes[index].frame_room();
        let mut record = self.send.records.take();
        let mut frames = 0;
        let mut frame_bytes = core::mem::take(&mut plan.frames);
        let mut writer = FrameWriter::new(&mut frame_bytes, room);

        frames += self.write_sacks(now, index, &mut writer);
        frames += self.write_credit(&mut writer, &mut record);
        frames += self.write_path(index, &mut writer, &mut record);
        let mut eliciting = record.challenge || record.credit;
        let home = index == self.home;
        if home {
            frames += self.write_echoes(&mut writer, &mut eliciting);
            frames += self.write_control(&mut writer, &mut record);
            frames += self.write_signals(now, &mut writer, &mut record, &mut plan.holes);
        }
        frames += self.write_lowest(now, index, &mut writer);
        let lane = &mut self.lanes[index];
        if core::mem::take(&mut lane.probe_due) && writer.ping(&[]) {
            frames += 1;
            eliciting = true;
            lane.probe_doubled = self.send.losses.is_heavy() && !lane.probe_doubled;
            lane.probe_due = lane.probe_doubled;
        }
        plan.frames = frame_bytes;
        if frames == 0 {
            self.send.records.discard(record);
            return false;
        }
        let repairable = record.credit
            || record.challenge
            || !(record.control.is_empty()
                && record.opens.is_empty()
                && record.ends.is_empty()
                && record.resets.is_empty()
                && record.chunks.is_empty());
        if !record.chunks.is_empty() {
            let wire = plan.frames.len() as u64;
            self.send.pacer.on_sent(now, wire, self.send.rate.pacing_bps());
        }
        let carried = if repairable || eliciting { Carried::Mixed } else { Carried::Silent };
        let record = if carried == Carried::Mixed {
            // What announces a file goes before its bytes, and is in flight when they begin.
            if self.send.in_flight == 0 {
                self.send.rate.on_restart(now);
            }
            let doubled = self.send.losses.is_heavy() && home && record.has_frames();
            let record = self.send.records.put(record);
            self.send.double = doubled.then_some(record);
            record
        } else {
            self.send.records.discard(record);
            0
        };
        self.seal_mixed(now, index, plan, (carried, record, 0), frames);
        true
    }

    /// Whether a MIXED datagram is due on a lane.
    pub(super) fn frames_due(&self, now: Time, index: usize) -> bool {
        let lane = &self.lanes[index];
        if lane.held {
            return false;
        }
        if lane.probe_due || lane.challenge_due {
            return true;
        }
        if !lane.usable {
            return false;
        }
        let here = !lane.responses.is_empty()
            || lane.numbers.sack_at(lane.rtt.smoothed()).is_some_and(|at| at <= now)
            || lane.lowest_due(now);
        let home = index == self.home
            && (self.send.control.has_work()
                || self.send.streams.signals_due
                || self.recv.credit.is_due()
                || !self.pings.is_empty()
                || !self.pongs.is_empty());
        here || home
    }

    fn write_sacks(&mut self, now: Time, index: usize, writer: &mut FrameWriter<'_>) -> u64 {
        let lane = &mut self.lanes[index];
        if lane.numbers.sack_at(lane.rtt.smoothed()).is_none_or(|at| at > now) {
            return 0;
        }
        let (mut frames, mut holes) = (0, false);
        let words = SackBuilder::words_in(writer.room().saturating_sub(2 * SACK_FIXED + CREDIT_SIZE) / 2);
        for window in lane.numbers.windows(words).into_iter().flatten() {
            lane.numbers.copy_words(window, &mut self.recv.words);
            let info = lane.numbers.info(now, window, lane.local);
            let (body, map) = self.recv.sack.build(&info, &self.recv.words);
            holes |= !map.is_empty();
            frames += u64::from(writer.sack(&body, map));
        }
        lane.numbers.on_sack_sent(now, holes);
        self.stats.sacks_sent += frames;
        frames
    }

    /// CREDIT travels with every SACK, and alone when it grew much: then it is repaired if lost.
    fn write_credit(&mut self, writer: &mut FrameWriter<'_>, record: &mut Record) -> u64 {
        let due = self.recv.credit.is_due();
        if !due && writer.is_empty() {
            return 0;
        }
        if !writer.credit(self.recv.credit.granted(), self.recv.control.limit()) {
            return 0;
        }
        self.recv.credit.on_told();
        // The PING asks for the SACK that a repairable frame needs.
        record.credit = due && writer.ping(&[]);
        1 + u64::from(record.credit)
    }

    fn write_path(&mut self, index: usize, writer: &mut FrameWriter<'_>, record: &mut Record) -> u64 {
        let lane = &mut self.lanes[index];
        let mut frames = 0;
        while let Some(token) = lane.responses.pop() {
            frames += u64::from(writer.path_response(token));
        }
        if lane.challenge_due && writer.path_challenge(u64::from(lane.local.0)) {
            lane.challenge_due = false;
            record.challenge = true;
            frames += 1;
        }
        frames
    }

    fn write_echoes(&mut self, writer: &mut FrameWriter<'_>, eliciting: &mut bool) -> u64 {
        let mut frames = 0;
        while let Some(body) = self.pongs.front() {
            if !writer.pong(body) {
                break;
            }
            self.pongs.pop_front();
            frames += 1;
        }
        while let Some(body) = self.pings.front() {
            if !writer.ping(body) {
                break;
            }
            self.pings.pop_front();
            *eliciting = true;
            frames += 1;
        }
        frames
    }

    fn write_control(&mut self, writer: &mut FrameWriter<'_>, record: &mut Record) -> u64 {
        let mut frames = 0;
        loop {
            let room = writer.room().saturating_sub(STREAM_OVERHEAD);
            let Some((offset, len, again)) = self.send.control.next_range(room) else { return frames };
            let (first, second) = self.send.control.bytes(offset, len);
            let written = writer.stream(StreamId::CONTROL, offset, first, second);
            debug_assert!(written, "the range was cut to the room");
            record.control.push((offset, len as u32));
            let stats = &mut self.stats.control;
            stats.payload_bytes += len as u64;
            stats.retransmitted_bytes += if again { len as u64 } else { 0 };
            frames += 1;
        }
    }

    /// STREAM_OPEN (with the data of a stream that fits beside it), STREAM_END and STREAM_RESET.
    fn write_signals(
        &mut self,
        now: Time,
        writer: &mut FrameWriter<'_>,
        record: &mut Record,
        holes: &mut Vec<(usize, ChunkRef)>,
    ) -> u64 {
        if !self.send.streams.signals_due {
            return 0;
        }
        let mut frames = 0;
        // Data beside a STREAM_OPEN is data: it waits for the rate and the window like any other.
        let may = now >= self.send.pacer.next() && self.send.in_flight < self.send.rate.window();
        let credit = &mut self.send.credit_used;
        let limit = self.send.credit;
        let mut left = false;
        for stream in self.send.streams.iter_mut() {
            if stream.open == Signal::Due && !stream.is_reset() {
                if writer.room() < OPEN_SIZE || !writer.open(&stream.open_frame()) {
                    left = true;
                    break;
                }
                frames += 1;
                stream.open = Signal::Sent;
                record.opens.push(stream.id);
                let room = writer.room().saturating_sub(STREAM_OVERHEAD) as u64;
                let whole =
                    may && stream.len().is_some_and(|len| len > 0 && len <= room && len <= stream.ready());
                if whole
                    && let Some(cut) = stream.next_chunk(room, limit - *credit)
                    && let Some(at) = writer.stream_hole(stream.id, cut.chunk.offset, cut.chunk.len as usize)
                {
                    let len = u64::from(cut.chunk.len);
                    count_cut(&cut, &mut stream.stats, &mut self.stats, credit);
                    stream.stats.packets += 1;
                    stream.stats.frames += 1;
                    stream.stats.wire_bytes += len + (STREAM_OVERHEAD) as u64;
                    stream.stats.payload_bytes += len;
                    holes.push((at, cut.chunk));
                    record.chunks.push(cut.chunk);
                    frames += 1;
                }
            }
            // Not before the peer knows the stream: it would have nothing to end.
            if stream.end_signal == Signal::Due
                && stream.open == Signal::Acked
                && let Some(end) = stream.end()
            {
                if !writer.end(stream.id, end) {
                    left = true;
                    break;
                }
                frames += 1;
                stream.end_signal = Signal::Sent;
                record.ends.push(stream.id);
            }
            if stream.reset == Signal::Due {
                if !writer.reset(stream.id, stream.reset_code, stream.sent_bytes()) {
                    left = true;
                    break;
                }
                frames += 1;
                stream.reset = Signal::Sent;
                record.resets.push(stream.id);
            }
        }
        self.send.streams.signals_due = left;
        frames
    }

    fn write_lowest(&mut self, now: Time, index: usize, writer: &mut FrameWriter<'_>) -> u64 {
        let lane = &mut self.lanes[index];
        if !lane.lowest_due(now) {
            return 0;
        }
        let (number, srtt) = (lane.sent.base(), lane.rtt.smoothed() / 1000);
        let written = writer.lowest(lane.remote, u32::try_from(srtt).unwrap_or(u32::MAX), number);
        if written {
            lane.lowest = crate::lane::Lowest { told: number, at: now };
        }
        u64::from(written)
    }

    /// An MTU probe, alone in its datagram.
    fn plan_probe(&mut self, now: Time, index: usize, plan: &mut Plan) -> bool {
        let lane = &mut self.lanes[index];
        if !lane.usable || lane.held || !lane.rtt.is_sampled() {
            return false;
        }
        let Some(size) = lane.mtu.poll(now) else { return false };
        lane.mtu.on_probe_sent(size, lane.sent.next());
        self.pad_to(now, index, size, plan);
        true
    }

    /// A packet of the size in use, while it is in doubt whether that still passes. It leaves before the small packet
    /// whose answer will show that the path is there.
    fn plan_check(&mut self, now: Time, index: usize, plan: &mut Plan) -> bool {
        let lane = &mut self.lanes[index];
        let Some(size) = lane.mtu.poll_check().filter(|_| lane.usable && !lane.held && lane.sent.room() > 0)
        else {
            return false;
        };
        lane.mtu.on_check_sent(lane.sent.next());
        self.pad_to(now, index, size, plan);
        true
    }

    /// One datagram of `size` bytes, of a PING and PADDING.
    fn pad_to(&mut self, now: Time, index: usize, size: u16, plan: &mut Plan) {
        plan.clear(PlanKind::Probe, index as u8);
        let mut writer = FrameWriter::new(&mut plan.frames, usize::from(size) - Header::SIZE - TAG);
        writer.ping(&[]);
        writer.pad();
        self.seal_mixed(now, index, plan, (Carried::Probe, 0, size), 2);
    }

    fn plan_close(&mut self, now: Time, plan: &mut Plan) -> bool {
        let SessionState::Closing { code, ref text, ref mut next, .. } = self.state else { return false };
        if now < *next {
            return false;
        }
        let lane = &self.lanes[self.home];
        *next = now.after_nanos(lane.rtt.pto_without_delay());
        plan.clear(PlanKind::Mixed, self.home as u8);
        let room = lane.frame_room();
        FrameWriter::new(&mut plan.frames, room).close(code, text.as_bytes());
        self.seal_mixed(now, self.home, plan, (Carried::Silent, 0, 0), 1);
        true
    }

    /// Numbers and records a MIXED datagram whose frames stand in `plan`.
    pub(super) fn seal_mixed(
        &mut self,
        now: Time,
        index: usize,
        plan: &mut Plan,
        (carried, record, probe): (Carried, u32, u16),
        frames: u64,
    ) {
        let wire = Header::SIZE + plan.frames.len() + TAG;
        if self.send.in_flight == 0 {
            self.send.first_sent = now;
            self.send.delivered_at = now;
        }
        self.forget_settled(now, index);
        let lane = &mut self.lanes[index];
        lane.sent.reserve(1);
        let train = lane.sent.push_train(Train {
            sent: now,
            delivered: self.send.delivered,
            delivered_at: self.send.delivered_at,
            first_sent: self.send.first_sent,
            first: lane.sent.next(),
            packets: 1,
            phase: self.send.rate.phase(),
            app_limited: true,
        });
        let number = lane.sent.push(Sent {
            offset: u64::from(record),
            stream: 0,
            train,
            len: probe,
            wire: wire as u16,
            carried,
            state: State::InFlight,
        });
        plan.to = lane.path.address();
        plan.header = Some(Header::new(Kind::Mixed, lane.keys.send_epoch(), lane.remote, number));
        let mut eliciting = 0;
        if carried != Carried::Silent {
            lane.in_flight += wire as u64;
            lane.on_eliciting(now, number);
            eliciting = wire as u64;
        }
        let control = &mut self.stats.control;
        control.packets += 1;
        control.frames += frames;
        control.wire_bytes += wire as u64;
        self.note_sent(1, frames, wire as u64, eliciting);
        if let Some(sink) = &mut self.trace {
            trace::sent(sink.as_mut(), now, plan);
        }
    }
}
