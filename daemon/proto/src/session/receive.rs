//! Datagrams in.
//!
//! Order of checks: header, lane, packet number, then for bulk data stream, range, credit and staging;
//! only then the tag. Until it verifies nothing changes but a drop counter, though the staging memory
//! under an unverified range may hold garbage.

use super::{Arrival, Event, Session, State};
use crate::drop_reason::DropReason;
use crate::ids::StreamId;
use crate::keys::Role;
use crate::lane::Lane;
use crate::limits::{BLOCK, BLOCKS_TRACKED_MAX, SACKS_MAX, STREAM_SPREAD_MAX, UNOPENED_MAX};
use crate::messages::{DecodeError, LaneOffer, Message};
use crate::range_tracker::Overlap;
use crate::recv::streams::{Lookup, RecvStream};
use crate::replay::Verdict;
use crate::time::Time;
use crate::trace;
use crate::wire::TAG;
use crate::wire::bulk::Bulk;
use crate::wire::frame::{Frame, Frames, Open};
use crate::wire::header::{Header, Kind};
use crate::{LaneId, PayloadSink};

impl Session {
    /// Takes one datagram. Call [`end_of_batch`](Self::end_of_batch) after the last of a batch.
    ///
    /// # Errors
    /// Why it was dropped; it has been counted already, and nothing else has changed.
    pub fn handle_datagram<S: PayloadSink>(
        &mut self,
        now: Time,
        arrival: &Arrival,
        datagram: &[u8],
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let result = self.receive(now, arrival, datagram, sink);
        match result {
            Ok(()) => {
                self.stats.received_packets += 1;
                self.stats.received_bytes += datagram.len() as u64;
                self.last_heard = now;
            }
            Err(reason) => self.stats.drops.add(reason),
        }
        if self.trace.is_some() {
            self.trace_received(now, datagram, result);
        }
        result
    }

    #[cold]
    fn trace_received(&mut self, now: Time, datagram: &[u8], result: Result<(), DropReason>) {
        let lane = Header::parse(datagram).ok().and_then(|(header, _)| self.lane_of(header.lane()));
        if let Some(sink) = &mut self.trace {
            trace::received(sink.as_mut(), now, lane.map(|lane| lane as u8), datagram, result);
        }
    }

    /// Ends a batch of datagrams: what the batch completed is looked at once.
    pub fn end_of_batch(&mut self, now: Time) {
        self.measure_receiving(now);
        self.look_at_secrets(now);
        self.check_invariants();
    }

    fn receive<S: PayloadSink>(
        &mut self,
        now: Time,
        arrival: &Arrival,
        datagram: &[u8],
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let (header, kind) = Header::parse(datagram)?;
        let lane = self.lane_of(header.lane()).ok_or(DropReason::UnknownLane)?;
        match self.lanes[lane].numbers.check(header.number()) {
            Verdict::Fresh => {}
            Verdict::Duplicate => return Err(DropReason::Duplicate),
            Verdict::TooOld => return Err(DropReason::TooOld),
        }
        if !self.is_open() {
            return Err(DropReason::Closed);
        }
        match kind {
            Kind::Mixed => self.receive_mixed(now, arrival, lane, header, datagram, sink),
            Kind::BulkPlain if !self.config.plain => Err(DropReason::PlainRefused),
            _ => self.receive_bulk(now, arrival, lane, (header, kind), datagram, sink),
        }
    }

    fn lane_of(&self, id: LaneId) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.local == id)
    }

    /// What follows from the first authentic packet, of the session and of a lane.
    fn on_authentic(&mut self, lane: usize) {
        if !self.confirmed {
            self.confirmed = true;
            self.events.push_back(Event::Confirmed);
        }
        // What comes says that the peer reaches us. That we reach it, an acknowledgement says; the
        // responder has to begin somewhere.
        if self.role == Role::Responder && !self.lanes[lane].abandoned {
            self.use_lane(lane);
        }
    }

    /// Lets a lane carry what it may not carry before it is known to work.
    pub(super) fn use_lane(&mut self, index: usize) {
        let lane = &mut self.lanes[index];
        lane.abandoned = false;
        if !core::mem::replace(&mut lane.usable, true) {
            self.events.push_back(Event::LaneReady { index: index as u8 });
            self.choose_home();
        }
    }

    fn receive_bulk<S: PayloadSink>(
        &mut self,
        now: Time,
        arrival: &Arrival,
        lane_index: usize,
        (header, kind): (&Header, Kind),
        datagram: &[u8],
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let bulk = Bulk::parse(datagram)?;
        let (offset, len) = (bulk.offset, bulk.len as u64);
        let packet = Packet { now, header, kind, bulk };
        let lane = &mut self.lanes[lane_index];
        let stream = match self.recv.streams.lookup(bulk.stream) {
            Lookup::Known(stream) => Some(stream),
            Lookup::Past => None,
            Lookup::New if bulk.stream.slot() == 0 => return Err(DropReason::UnknownStream),
            Lookup::New => None,
        };
        let direct = match stream {
            None => false,
            Some(stream) => {
                check_range(stream, offset, len, self.recv.blocks)?;
                let one_block = offset / BLOCK == (offset + len - 1) / BLOCK;
                let plain_case = one_block && stream.request.is_some() && !stream.stopped;
                if plain_case && stream.ranges.overlap(offset, len) == Overlap::None {
                    if !self.recv.credit.allows(len) {
                        return Err(DropReason::BeyondCredit);
                    }
                    match sink.stage(bulk.stream, offset, bulk.len) {
                        Some(out) => packet.open(lane, out)?,
                        None => {
                            packet.open(lane, &mut self.scratch[..bulk.len])?;
                            lane.numbers.on_overrun(1);
                            return Err(DropReason::NoStaging);
                        }
                    }
                    let before = stream.ranges.tracked();
                    let inserted = stream.ranges.insert(offset, len);
                    debug_assert_eq!(inserted.fresh, len);
                    self.recv.blocks = self.recv.blocks + stream.ranges.tracked() - before;
                    count(stream, datagram.len(), bulk.len, false);
                    self.recv.credit.on_received(len);
                    sink.commit(bulk.stream, offset, bulk.len, inserted.block_done);
                    true
                } else {
                    false
                }
            }
        };
        if !direct {
            packet.open(lane, &mut self.scratch[..bulk.len])?;
            let scratch = core::mem::take(&mut self.scratch);
            let taken = self.take_data(bulk.stream, offset, &scratch[..bulk.len], datagram.len(), sink);
            self.scratch = scratch;
            if let Err(reason) = taken {
                if reason == DropReason::NoStaging {
                    self.lanes[lane_index].numbers.on_overrun(1);
                }
                return Err(reason);
            }
        }
        if kind == Kind::Bulk {
            self.on_opened(now, arrival, lane_index, header, datagram.len());
        }
        self.on_authentic(lane_index);
        let done = self.finish_incoming(bulk.stream);
        let numbers = &mut self.lanes[lane_index].numbers;
        numbers.on_received(now, header.number(), arrival.ecn, true);
        if done {
            numbers.hurry();
        }
        Ok(())
    }

    /// Authentic stream data that could not be decrypted in place: copies, pieces across blocks, data
    /// before its STREAM_OPEN, data of a stopped stream, and whatever comes in MIXED packets.
    fn take_data<S: PayloadSink>(
        &mut self,
        id: StreamId,
        offset: u64,
        data: &[u8],
        wire: usize,
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let len = data.len() as u64;
        let credit = &mut self.recv.credit;
        let stream = match self.recv.streams.lookup(id) {
            Lookup::Past => return Ok(()),
            Lookup::Known(stream) => stream,
            Lookup::New => {
                if self.recv.unopened + len > UNOPENED_MAX {
                    return Err(DropReason::UnknownStream);
                }
                self.recv.streams.insert_unopened(id, offset).ok_or(DropReason::UnknownStream)?
            }
        };
        check_range(stream, offset, len, self.recv.blocks)?;
        let before = stream.ranges.tracked();
        let mut fresh = 0;
        stream.ranges.missing_in(offset, len, |_, n| fresh += n);
        count(stream, wire, data.len(), fresh == 0);
        if fresh == 0 {
            return Ok(());
        }
        if !credit.allows(fresh) {
            return Err(DropReason::BeyondCredit);
        }
        let unopened = stream.request.is_none();
        if unopened && self.recv.unopened + fresh > UNOPENED_MAX {
            return Err(DropReason::UnknownStream);
        }
        if stream.stopped {
            stream.ranges.insert_across(offset, len);
            self.recv.blocks = self.recv.blocks + stream.ranges.tracked() - before;
            credit.on_received(fresh);
            credit.on_written(fresh);
            return Ok(());
        }
        // The pieces are few: one, or two across a block, unless the packet was cut from patches.
        let mut pieces = [(0u64, 0u64); 8];
        let mut count = 0;
        stream.ranges.missing_in(offset, len, |at, n| {
            if let Some(piece) = pieces.get_mut(count) {
                *piece = (at, n);
            }
            count += 1;
        });
        // More pieces than that, or no room: not acknowledged, so the rest comes again.
        let mut all = count <= pieces.len();
        for &(at, n) in &pieces[..count.min(pieces.len())] {
            let Some(out) = sink.stage(id, at, n as usize) else {
                all = false;
                break;
            };
            let from = (at - offset) as usize;
            out.copy_from_slice(&data[from..from + n as usize]);
            let inserted = stream.ranges.insert(at, n);
            credit.on_received(inserted.fresh);
            self.recv.unopened += if unopened { inserted.fresh } else { 0 };
            sink.commit(id, at, n as usize, inserted.block_done);
        }
        self.recv.blocks = self.recv.blocks + stream.ranges.tracked() - before;
        if all { Ok(()) } else { Err(DropReason::NoStaging) }
    }

    /// Reports and forgets an incoming stream if it is complete.
    fn finish_incoming(&mut self, id: StreamId) -> bool {
        let done = self.recv.streams.get(id).is_some_and(RecvStream::is_complete);
        if done
            && let Some(stream) = self.recv.streams.remove(id)
            && let Some(request) = stream.request
        {
            self.recv.blocks -= stream.ranges.tracked();
            self.events.push_back(Event::StreamReceived { stream: id, request, stats: stream.stats });
        }
        done
    }

    fn receive_mixed<S: PayloadSink>(
        &mut self,
        now: Time,
        arrival: &Arrival,
        lane_index: usize,
        header: &Header,
        datagram: &[u8],
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let sealed = &datagram[Header::SIZE..];
        let len = sealed.len().checked_sub(TAG).ok_or(DropReason::TooShort)?;
        let mut plaintext = core::mem::take(&mut self.scratch);
        let aad = &datagram[..Header::SIZE];
        let opened = self.lanes[lane_index]
            .keys
            .open(now, header.epoch, header.number(), aad, sealed, &mut plaintext[..len])
            .map_err(|_| DropReason::BadTag);
        let result = opened.and_then(|()| {
            self.on_opened(now, arrival, lane_index, header, datagram.len());
            self.on_authentic(lane_index);
            let mut batch = Batch {
                now,
                wire: datagram.len(),
                lane: lane_index,
                eliciting: false,
                hurry: false,
                sacks: 0,
            };
            let taken = self.take_frames(&mut batch, &plaintext[..len], sink);
            if batch.sacks > 0 {
                self.finish_outgoing();
            }
            if taken.is_ok() {
                let numbers = &mut self.lanes[lane_index].numbers;
                numbers.on_received(now, header.number(), arrival.ecn, batch.eliciting);
                if batch.hurry {
                    numbers.hurry();
                }
            }
            taken
        });
        self.scratch = plaintext;
        if result == Err(DropReason::Malformed) {
            self.fail(now, "a packet held no valid frames");
        }
        result
    }

    fn take_frames<S: PayloadSink>(
        &mut self,
        batch: &mut Batch,
        plaintext: &[u8],
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let mut frames = Frames::new(plaintext);
        while let Some(frame) = frames.next()? {
            self.take_frame(batch, &frame, sink)?;
        }
        Ok(())
    }

    fn take_frame<S: PayloadSink>(
        &mut self,
        batch: &mut Batch,
        frame: &Frame<'_>,
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let now = batch.now;
        match *frame {
            Frame::Padding | Frame::Unknown => {}
            Frame::Ping(body) => {
                batch.eliciting = true;
                batch.hurry = true;
                // An empty body is a probe or keep-alive: its SACK is the answer.
                if !body.is_empty()
                    && body.len() <= crate::limits::PING_MAX
                    && self.pongs.len() < super::PINGS_MAX
                {
                    self.pongs.push_back(body.to_vec());
                }
            }
            Frame::Pong(body) => self.events.push_back(Event::Pong { body: body.to_vec() }),
            Frame::Stream { stream: StreamId::CONTROL, offset, data } => {
                batch.eliciting = true;
                if !self.recv.control.insert(offset, data) {
                    return Err(DropReason::BeyondCredit);
                }
                self.take_messages(now);
            }
            Frame::Stream { stream, offset, data } => {
                batch.eliciting = true;
                if !data.is_empty() {
                    let taken = self.take_data(stream, offset, data, batch.wire, sink);
                    if taken == Err(DropReason::NoStaging) {
                        self.lanes[batch.lane].numbers.on_overrun(1);
                    }
                    taken?;
                }
                batch.hurry |= self.finish_incoming(stream);
            }
            Frame::Open(ref open) => {
                batch.eliciting = true;
                self.on_stream_open(now, open, sink);
                batch.hurry |= self.finish_incoming(open.stream);
            }
            Frame::End { stream, end } => {
                batch.eliciting = true;
                self.on_stream_end(now, stream, end, sink)?;
                batch.hurry |= self.finish_incoming(stream);
            }
            Frame::Reset { stream, code, sent } => {
                batch.eliciting = true;
                self.on_stream_reset(now, stream, code, sent);
            }
            Frame::Sack(ref sack) => {
                batch.sacks += 1;
                if batch.sacks > SACKS_MAX {
                    return Err(DropReason::Malformed);
                }
                self.on_sack(now, sack);
            }
            Frame::Credit { session, control } => {
                self.send.credit = self.send.credit.max(session);
                self.send.control.set_limit(control);
            }
            Frame::Lowest { lane, srtt_us, number } => {
                if let Some(lane) = self.lane_of(lane) {
                    self.lanes[lane].numbers.on_lowest(now, number, srtt_us);
                }
            }
            Frame::PathChallenge(token) => {
                batch.eliciting = true;
                let responses = &mut self.lanes[batch.lane].responses;
                if responses.len() < 4 {
                    responses.push(token);
                }
            }
            Frame::PathResponse(token) => self.on_path_response(now, token),
            Frame::Close { code, text } => {
                if self.is_open() {
                    let text = String::from_utf8_lossy(text).into_owned();
                    self.events.push_back(Event::Closed { code, text });
                }
                self.state = State::Ended;
            }
        }
        Ok(())
    }

    fn on_stream_open<S: PayloadSink>(&mut self, now: Time, open: &Open, sink: &mut S) {
        match self.recv.streams.open(open, |at| sink.commit(open.stream, at, 0, true)) {
            Err(_) => self.fail(now, "a stream was opened against what was sent of it"),
            Ok(None) => {}
            Ok(Some((stream, early_blocks))) => {
                self.recv.unopened -= stream.ranges.settled().min(self.recv.unopened);
                self.recv.blocks = self.recv.blocks + stream.ranges.tracked() - early_blocks;
                let Open { stream, request, start, end, .. } = *open;
                self.events.push_back(Event::StreamOpened { stream, request, start, end });
            }
        }
    }

    fn on_stream_end<S: PayloadSink>(
        &mut self,
        now: Time,
        id: StreamId,
        end: u64,
        sink: &mut S,
    ) -> Result<(), DropReason> {
        let known = match self.recv.streams.lookup(id) {
            Lookup::Past => return Ok(()),
            Lookup::Known(stream) if stream.request.is_some() => stream.end(),
            // The sender waits until it knows that we know the stream.
            Lookup::Known(_) | Lookup::New => return Err(DropReason::UnknownStream),
        };
        match self.recv.streams.set_end(id, end, |at| sink.commit(id, at, 0, true)) {
            Err(_) => self.fail(now, "a stream ended before its data"),
            Ok(()) if known.is_none() => self.events.push_back(Event::StreamEnd { stream: id, end }),
            Ok(()) => {}
        }
        Ok(())
    }

    fn on_stream_reset(&mut self, now: Time, id: StreamId, code: u32, sent: u64) {
        let (request, have, blocks) = match self.recv.streams.lookup(id) {
            Lookup::Past => return,
            Lookup::New => (None, 0, 0),
            Lookup::Known(stream) => (stream.request, stream.ranges.settled(), stream.ranges.tracked()),
        };
        let never_comes = sent.saturating_sub(have);
        if !self.recv.credit.allows(never_comes) {
            return self.fail(now, "a reset claims more than the credit");
        }
        if self.recv.streams.retire(id).is_err() {
            return self.fail(now, "a reset of a stream whose slot another one uses");
        }
        self.recv.credit.on_received(never_comes);
        self.recv.credit.on_written(never_comes);
        self.recv.blocks -= blocks;
        if request.is_none() {
            self.recv.unopened -= have.min(self.recv.unopened);
        }
        self.events.push_back(Event::StreamReset { stream: id, request, code });
    }

    fn take_messages(&mut self, now: Time) {
        loop {
            let (envelope, body) = match self.recv.control.next_message() {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(_) => return self.fail(now, "a message passes the length limit"),
            };
            match Message::decode(&envelope, &body) {
                Ok(Message::LaneOffer(offer)) => self.on_lane_offer(now, &offer),
                Ok(Message::RekeyRequest(request)) => self.on_rekey_request(now, request),
                Ok(Message::RekeyAnswer(answer)) => self.on_rekey_answer(now, &answer),
                Ok(message) => {
                    if let Message::Unsupported(what) = &message {
                        self.on_unsupported(what);
                    }
                    self.events.push_back(Event::Message(message));
                }
                Err(DecodeError::Unsupported(what)) => {
                    // A full queue means that the peer does not read: then it need not know.
                    let _ = self.send_message(&Message::Unsupported(what));
                }
                Err(DecodeError::Malformed) => return self.fail(now, "a message does not parse"),
            }
        }
    }

    fn on_lane_offer(&mut self, now: Time, offer: &LaneOffer) {
        let remote = LaneId(offer.lane);
        if self.role == Role::Responder {
            return self.events.push_back(Event::LaneOffered { index: offer.index, remote });
        }
        // Lanes are answered in the order in which they were offered: stream 0 is ordered.
        match self.offered.first() {
            Some(&(index, local)) if index == offer.index => {
                self.offered.remove(0);
                self.add_lane((local, remote), now);
                // It is usable when the challenge was acknowledged.
                if let Some(lane) = self.lanes.get_mut(usize::from(index)) {
                    lane.challenge_due = true;
                }
            }
            _ => self.fail(now, "an answer to a lane that was not offered"),
        }
    }

    /// How much is in the air at the rate at which data comes in, so that credit covers it.
    fn measure_receiving(&mut self, now: Time) {
        let rtt = self.lanes[self.home].numbers.peer_rtt().unwrap_or(self.lanes[self.home].rtt.smoothed());
        let span = now.nanos_since(self.recv.measured.1);
        if span < rtt.max(5_000_000) {
            return;
        }
        let received = self.recv.credit.received();
        let bytes = received - self.recv.measured.0;
        let in_air = u128::from(bytes) * u128::from(2 * rtt) / u128::from(span);
        self.recv.in_air = in_air.min(1 << 40) as u64;
        self.recv.measured = (received, now);
        self.recv.credit.raise(self.recv.in_air);
    }
}

/// What a MIXED packet turned out to be.
struct Batch {
    now: Time,
    wire: usize,
    lane: usize,
    /// It wants an acknowledgement.
    eliciting: bool,
    /// At once.
    hurry: bool,
    /// SACK frames so far.
    sacks: u32,
}

/// A BULK packet that has not been opened.
struct Packet<'a> {
    now: Time,
    header: &'a Header,
    kind: Kind,
    bulk: Bulk<'a>,
}

impl Packet<'_> {
    /// Verifies the packet and writes its payload to `out`.
    fn open(&self, lane: &mut Lane, out: &mut [u8]) -> Result<(), DropReason> {
        let (number, Bulk { aad, sealed, len, .. }) = (self.header.number(), self.bulk);
        if self.kind == Kind::Bulk {
            let opened = lane.keys.open(self.now, self.header.epoch, number, aad, sealed, out);
            return opened.map_err(|_| DropReason::BadTag);
        }
        let (payload, tag) = sealed.split_at(len);
        if !lane.keys.check_plain(number, aad, payload, tag) {
            return Err(DropReason::BadTag);
        }
        out.copy_from_slice(payload);
        Ok(())
    }
}

/// Whether the range can belong to the stream.
fn check_range(stream: &RecvStream, offset: u64, len: u64, blocks: usize) -> Result<(), DropReason> {
    let ranges = &stream.ranges;
    let last = offset + len - 1;
    if ranges.is_ragged(offset) || ranges.is_ragged(last) {
        return Err(DropReason::TooManyHoles);
    }
    if offset < ranges.start() || offset + len > ranges.end() {
        return Err(DropReason::BeyondStream);
    }
    // Data before STREAM_OPEN may begin anywhere; what is held of it is bounded by itself.
    if stream.request.is_some() && offset + len > ranges.settled_below() + STREAM_SPREAD_MAX + BLOCK {
        return Err(DropReason::BeyondSpread);
    }
    if blocks + ranges.tracked_with(last) - ranges.tracked() > BLOCKS_TRACKED_MAX {
        return Err(DropReason::BeyondSpread);
    }
    Ok(())
}

fn count(stream: &mut RecvStream, wire: usize, payload: usize, duplicate: bool) {
    let stats = &mut stream.stats;
    stats.packets += 1;
    stats.frames += 1;
    stats.wire_bytes += wire as u64;
    stats.payload_bytes += payload as u64;
    stats.duplicate_packets += u64::from(duplicate);
}
