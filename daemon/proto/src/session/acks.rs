//! What SACKs say of our packets: acknowledged, lost, and what follows for streams, rate and MTU.

use super::records::Record;
use super::{Event, Session};
use crate::ids::StreamId;
use crate::lane::Lane;
use crate::rate::Sample;
use crate::send::sent_ring::{Carried, Sent, State, Train};
use crate::send::stream::Signal;
use crate::send::train_health::Place;
use crate::time::Time;
use crate::trace::{TraceEvent, TraceKind, Traced};
use crate::wire::sack::Sack;

/// What one SACK acknowledged, gathered before it is applied.
struct Tally {
    /// The train of the newest packet that is news.
    newest: Option<Train>,
    /// The train that was looked at last, when it was sent and in which phase: most packets share it with the one before.
    last: Option<(u32, Time, u32)>,
    acked: u32,
    /// A run of adjacent stream data: (stream, start, end).
    run: (StreamId, u64, u64),
    /// Highest number of a sealed packet.
    largest_sealed: Option<u64>,
    /// Highest number that was acknowledged for the first time.
    highest: Option<u64>,
    full_size: bool,
}

impl Session {
    pub(super) fn on_sack(&mut self, now: Time, sack: &Sack<'_>) {
        let info = sack.info;
        let Some(index) = self.lanes.iter().position(|lane| lane.remote == info.lane) else { return };
        self.stats.sacks_received += 1;
        // Claims about what was never sent are nonsense; they change nothing.
        if info.newest >= self.lanes[index].sent.next() || info.hi > self.lanes[index].sent.next() {
            return self.fail(now, "an acknowledgement of packets that were never sent");
        }
        if news(info.overruns, self.lanes[index].seen_overruns) > 0 {
            self.send.health.on_overrun();
        }
        let rtt = self.take_rtt(now, index, info.newest, info.delay_us);
        let mut tally = Tally {
            newest: None,
            last: None,
            acked: 0,
            run: (StreamId::CONTROL, 0, 0),
            largest_sealed: None,
            highest: None,
            full_size: false,
        };
        let sent = &self.lanes[index].sent;
        sack.for_each_word(sent.base()..sent.next(), |word, received, covered| {
            let (mut newly, mut missing) = self.lanes[index].sent.news(word, received, covered);
            while newly != 0 {
                let number = word + u64::from(newly.trailing_zeros());
                newly &= newly - 1;
                self.on_packet_acked(now, index, number, &mut tally);
            }
            while missing != 0 {
                let number = word + u64::from(missing.trailing_zeros());
                missing &= missing - 1;
                let lane = &mut self.lanes[index];
                lane.sent.set_missing(number);
                if let Some(&Sent { state: State::InFlight, train, .. }) = lane.sent.get(number) {
                    let sent = lane.sent.train(train).sent;
                    lane.loss.on_missing(number, sent);
                }
            }
        });
        self.flush_run(tally.run);
        if tally.acked > 0 {
            self.use_lane(index);
            self.send.losses.on_acked(tally.acked);
            let lane = &mut self.lanes[index];
            lane.pto_count = 0;
            if let Some(number) = tally.largest_sealed {
                lane.keys.on_acked(number);
            }
            if tally.full_size {
                let datagram = lane.mtu.current();
                lane.mtu.on_acked(now, u64::MAX, datagram);
            }
        }
        if let Some(number) = tally.highest {
            self.lanes[index].on_heard(number);
        }
        self.tell_withheld(index);
        self.detect_losses(now, index);
        self.sample(now, index, sack, &tally, rtt);
        self.forget_settled(now, index);
    }

    /// Moves the lowest number of interest of a lane. A packet that no SACK has covered, though others
    /// that were sent long after it arrived, has fallen out of the peer's window: it is lost.
    pub(super) fn forget_settled(&mut self, now: Time, index: usize) {
        let lane = &mut self.lanes[index];
        let keep = 2 * lane.rtt.smoothed() + 1_000_000;
        let forget = Time::from_nanos(now.as_nanos().saturating_sub(keep));
        lane.sent.advance(forget);
        loop {
            let lane = &mut self.lanes[index];
            let base = lane.sent.base();
            let Some(&Sent { state: State::InFlight, train, .. }) = lane.sent.get(base) else { return };
            let overtaken = lane.loss.newest_acked_sent().nanos_since(lane.sent.train(train).sent);
            if overtaken <= 3 * lane.rtt.pto() {
                return;
            }
            self.on_packet_lost(now, index, base);
            self.lanes[index].sent.advance(forget);
        }
    }

    /// A lane on which nothing is heard while others live: what it carried goes out on those.
    pub(super) fn abandon_lane(&mut self, now: Time, index: usize) {
        self.lanes[index].usable = false;
        self.lanes[index].abandoned = true;
        self.lanes[index].challenge_due = true;
        self.lanes[index].mtu.trust();
        self.choose_home();
        for number in self.lanes[index].sent.base()..self.lanes[index].sent.next() {
            if self.lanes[index].sent.get(number).is_some_and(|p| p.state == State::InFlight) {
                self.on_packet_lost(now, index, number);
            }
        }
    }

    /// An RTT sample, if the SACK is the first to acknowledge the newest packet it names.
    fn take_rtt(&mut self, now: Time, index: usize, newest: u64, delay_us: u32) -> Option<u64> {
        let lane = &mut self.lanes[index];
        let packet = lane.sent.get(newest)?;
        if packet.state == State::Acked {
            return None;
        }
        let elapsed = now.nanos_since(lane.sent.train(packet.train).sent);
        lane.rtt.update(elapsed, u64::from(delay_us) * 1000);
        self.stats.rtt_sum_ns += lane.rtt.latest();
        self.stats.rtt_samples += 1;
        Some(lane.rtt.latest())
    }

    fn on_packet_acked(&mut self, now: Time, index: usize, number: u64, tally: &mut Tally) {
        let lane = &mut self.lanes[index];
        let packet = lane.sent.set_acked(number);
        let (sent, phase) = match tally.last {
            Some((train, sent, phase)) if train == packet.train => (sent, phase),
            _ => {
                let train = lane.sent.train(packet.train);
                tally.last = Some((packet.train, train.sent, train.phase));
                lane.loss.on_acked(train.sent);
                if tally.newest.is_none_or(|newest| train.sent >= newest.sent) {
                    tally.newest = Some(*train);
                }
                (train.sent, train.phase)
            }
        };
        // A plain packet shows nothing of the keys: only a sealed one proves that the peer has the epoch.
        if packet.carried != Carried::Bulk || !self.config.plain {
            tally.largest_sealed = Some(number);
        }
        // They come in order.
        tally.highest = Some(number);
        tally.full_size |= packet.wire >= lane.mtu.current();
        if packet.state == State::Lost {
            // What wants no answer gets it with others', at any time.
            if packet.carried != Carried::Silent {
                self.stats.spurious_losses += 1;
                lane.loss.on_spurious(now, sent, &lane.rtt);
            }
        } else {
            settle(lane, &mut self.send.in_flight, &packet);
        }
        match packet.carried {
            Carried::Silent => return,
            Carried::Probe => {
                if lane.mtu.on_acked(now, number, packet.len) {
                    let datagram = lane.mtu.current();
                    self.send.rate.set_datagram(datagram);
                }
                return;
            }
            Carried::Bulk => {
                if self.send.health.is_trying() && packet.state == State::InFlight {
                    let train = *lane.sent.train(packet.train);
                    self.on_trial(&train, number, false);
                }
                let (stream, start, end) =
                    (StreamId(packet.stream), packet.offset, packet.offset + u64::from(packet.len));
                if tally.run.0 == stream && tally.run.2 == start {
                    tally.run.2 = end;
                } else {
                    self.flush_run(tally.run);
                    tally.run = (stream, start, end);
                }
            }
            Carried::Mixed if packet.state == State::InFlight => self.on_record_acked(packet.offset as u32),
            // Its frames were queued again when it was declared lost.
            Carried::Mixed => {}
        }
        tally.acked += 1;
        self.send.delivered += u64::from(packet.wire);
        self.send.rate.on_packet_acked(phase);
    }

    fn flush_run(&mut self, (id, start, end): (StreamId, u64, u64)) {
        if end > start
            && let Some(stream) = self.send.streams.get_mut(id)
        {
            stream.on_acked(start, end - start);
            self.send.streams.on_progress(id);
        }
    }

    fn on_record_acked(&mut self, index: u32) {
        let record = self.resolve(index);
        for &(offset, len) in &record.control {
            self.send.control.on_acked(offset, u64::from(len));
        }
        for chunk in &record.chunks {
            if let Some(stream) = self.send.streams.get_mut(chunk.stream) {
                stream.on_acked(chunk.offset, u64::from(chunk.len));
            }
        }
        self.set_signals(&record, Signal::Acked);
        let noted = record.opens.iter().chain(&record.ends).chain(&record.resets);
        for &id in noted {
            self.send.streams.on_progress(id);
        }
        for chunk in &record.chunks {
            self.send.streams.on_progress(chunk.stream);
        }
        self.send.records.free(index, record);
    }

    /// The record of a packet whose fate is known. Its frames need not go out a second time.
    fn resolve(&mut self, index: u32) -> Record {
        self.send.double = self.send.double.filter(|&double| double != index);
        self.send.records.resolve(index)
    }

    fn set_signals(&mut self, record: &Record, to: Signal) {
        let streams = &mut self.send.streams;
        let mut due = to == Signal::Due;
        // What was sent twice, and arrived once, has arrived.
        let set = |signal: &mut Signal| {
            if to == Signal::Acked || *signal == Signal::Sent {
                *signal = to;
            }
        };
        for &id in &record.opens {
            if let Some(stream) = streams.get_mut(id) {
                set(&mut stream.open);
                due |= stream.end_signal == Signal::Due;
            }
        }
        for &id in &record.ends {
            if let Some(stream) = streams.get_mut(id) {
                set(&mut stream.end_signal);
            }
        }
        for &id in &record.resets {
            if let Some(stream) = streams.get_mut(id) {
                set(&mut stream.reset);
            }
        }
        streams.signals_due |= due;
    }

    /// Declares lost what is lost by now, on one lane.
    pub(super) fn detect_losses(&mut self, now: Time, index: usize) {
        loop {
            let lane = &mut self.lanes[index];
            let Some(number) = lane.loss.next_lost(now, &lane.rtt) else { return };
            if lane.sent.get(number).is_some_and(|p| p.state == State::InFlight) {
                self.on_packet_lost(now, index, number);
            }
        }
    }

    fn on_packet_lost(&mut self, now: Time, index: usize, number: u64) {
        let lane = &mut self.lanes[index];
        let packet = lane.sent.set_lost(number);
        let train = *lane.sent.train(packet.train);
        let Train { phase, first, sent, .. } = train;
        settle(lane, &mut self.send.in_flight, &packet);
        match packet.carried {
            Carried::Silent => return,
            Carried::Probe => return self.on_probe_lost(index, number),
            Carried::Bulk => {
                if packet.wire <= lane.mtu.current() {
                    self.send.trains.on_lost(number - first);
                    self.on_trial(&train, number, true);
                }
                if let Some(stream) = self.send.streams.get_mut(StreamId(packet.stream)) {
                    stream.on_lost(packet.offset, u64::from(packet.len), sent);
                }
            }
            Carried::Mixed => self.on_record_lost(index, packet.offset as u32, sent),
        }
        self.stats.lost_packets += 1;
        if self.trace.is_some() {
            self.trace_lost(now, index, number, &packet);
        }
        let lane = &mut self.lanes[index];
        // Packets larger than what passes say nothing of the path's load.
        let withheld = packet.wire > lane.mtu.current()
            || (packet.wire == lane.mtu.current()
                && lane.mtu.is_in_doubt()
                && lane.withheld.keep(phase, number));
        if !withheld {
            self.send.rate.on_packet_lost(phase, index, number);
            self.send.losses.on_lost();
        }
        lane.probe_due |= lane.mtu.on_lost(now, packet.wire, lane.rtt.smoothed() / 4);
    }

    /// The fate of a packet of stream data is known: whether trains fare worse than single packets.
    fn on_trial(&mut self, train: &Train, number: u64, lost: bool) {
        let place = Place::of(number - train.first, train.packets.into());
        if self.send.health.on_fate(train.sent, place, lost) {
            self.events.push_back(Event::TrainsVanish);
        }
    }

    /// An MTU probe, or a check of the size in use, did not arrive.
    fn on_probe_lost(&mut self, index: usize, number: u64) {
        let lane = &mut self.lanes[index];
        if lane.mtu.on_probe_lost(number) {
            // These losses were the path MTU's.
            let _ = lane.withheld.take();
            self.stats.black_holes += 1;
            self.send.rate.set_datagram(lane.mtu.current());
        }
    }

    /// The size in use passes: what was lost while that was in doubt counts.
    fn tell_withheld(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        if !lane.mtu.is_in_doubt() {
            for (phase, numbers) in lane.withheld.take() {
                numbers.for_each(|number| self.send.rate.on_packet_lost(phase, index, number));
            }
        }
    }

    #[cold]
    fn trace_lost(&mut self, time: Time, lane: usize, number: u64, packet: &Sent) {
        let Some(sink) = &mut self.trace else { return };
        let (kind, data, len) = match packet.carried {
            Carried::Bulk => {
                let kind = if self.config.plain { TraceKind::BulkPlain } else { TraceKind::Bulk };
                (kind, Some((StreamId(packet.stream), packet.offset)), packet.len)
            }
            _ => (TraceKind::Mixed, None, packet.wire),
        };
        let (lane, number) = (Some(lane as u8), Some(number));
        sink.on_event(&TraceEvent { time, what: Traced::Lost, lane, number, kind, data, len: len.into() });
    }

    /// Queues the frames of a lost MIXED packet again.
    fn on_record_lost(&mut self, lane: usize, index: u32, sent: Time) {
        let record = self.resolve(index);
        for &(offset, len) in &record.control {
            self.send.control.on_lost(offset, u64::from(len));
        }
        for chunk in &record.chunks {
            if let Some(stream) = self.send.streams.get_mut(chunk.stream) {
                stream.on_lost(chunk.offset, u64::from(chunk.len), sent);
            }
        }
        self.set_signals(&record, Signal::Due);
        if record.credit {
            self.recv.credit.tell_again();
        }
        self.lanes[lane].challenge_due |= record.challenge;
        self.send.records.free(index, record);
    }

    /// Feeds the rate control: a delivery-rate sample of the newest train that was acknowledged, between
    /// its sending and now (draft-cheng-iccrg-delivery-rate-estimation).
    fn sample(&mut self, now: Time, index: usize, sack: &Sack<'_>, tally: &Tally, rtt: Option<u64>) {
        let lane = &mut self.lanes[index];
        let overruns = news(sack.info.overruns, lane.seen_overruns);
        let marks = news(sack.info.ecn[2], lane.seen_marks);
        lane.seen_overruns = lane.seen_overruns.wrapping_add(overruns);
        lane.seen_marks = lane.seen_marks.wrapping_add(marks);
        let Some(train) = tally.newest else { return };
        let send = &mut self.send;
        let interval = train.sent.nanos_since(train.first_sent).max(now.nanos_since(train.delivered_at));
        let delivered = send.delivered - train.delivered;
        // Shorter than a round trip: SACKs came compressed, the quotient would be fiction.
        let measurable = interval >= lane.rtt.min() && interval > 0 && delivered > 0;
        send.rate.on_sample(&Sample {
            now,
            delivery_bps: measurable.then(|| delivered as f64 * 8e9 / interval as f64),
            app_limited: train.app_limited,
            rtt,
            acked: tally.acked,
            phase: train.phase,
            in_flight: send.in_flight,
            overruns,
            marks,
        });
        send.delivered_at = now;
        send.first_sent = send.first_sent.max(train.sent);
    }

    /// Reports and forgets outgoing streams that are finished.
    pub(super) fn finish_outgoing(&mut self) {
        while let Some(stream) = self.send.streams.take_finished() {
            if !stream.is_reset() {
                let (stream, request, stats) = (stream.id, stream.request, stream.stats);
                self.events.push_back(Event::StreamSent { stream, request, stats });
            }
        }
    }
}

/// A packet is in flight no more.
fn settle(lane: &mut Lane, in_flight: &mut u64, packet: &Sent) {
    if packet.carried != Carried::Silent {
        lane.in_flight -= u64::from(packet.wire);
        *in_flight -= u64::from(packet.wire);
    }
}

/// How much a counter has grown. Those of a SACK that was overtaken run backwards: no news.
fn news(counter: u32, seen: u32) -> u32 {
    let grown = counter.wrapping_sub(seen);
    if grown < 1 << 31 { grown } else { 0 }
}
