//! A peer that holds the keys and says whatever it likes: nothing panics, credit and memory stay bounded,
//! and the session either goes on or ends by saying why.

mod common;

use std::time::Duration;

use udpx_proto::keys::LaneKeys;
use udpx_proto::messages::Envelope;
use udpx_proto::testing::net::SimRng;
use udpx_proto::testing::{Memory, SimRandom, acquainted};
use udpx_proto::wire::TAG;
use udpx_proto::wire::bulk::BulkPrefix;
use udpx_proto::wire::frame::{FrameWriter, Open};
use udpx_proto::wire::header::{Header, Kind};
use udpx_proto::wire::sack::{SackBuilder, SackInfo};
use udpx_proto::{Arrival, LaneId, OpenStream, Plan, RequestId, Session, StreamId, Time};

/// The peer: what it says is chance, and a share `wild` of its numbers are those where arithmetic goes
/// wrong. With few of them a session lasts long enough to get into odd states.
struct Hostile {
    rng: SimRng,
    wild: f64,
    keys: LaneKeys,
    number: u64,
    /// End of what was sent on stream 0.
    control: u64,
}

impl Hostile {
    fn value(&mut self, ordinary: u64) -> u64 {
        let rng = &mut self.rng;
        if !rng.chance(self.wild) {
            return rng.below(ordinary.max(1));
        }
        let near = rng.below(3);
        match rng.below(6) {
            0 => u64::MAX - near,
            1 => (1 << 62) - 1 + near,
            2 => (1 << 32) - 1 + near,
            3 => (1 << 20) * rng.below(5000) + near,
            4 => (1 << 62) - (1 << 20) * rng.below(3) - near,
            _ => rng.next_u64(),
        }
    }

    fn stream(&mut self) -> StreamId {
        match self.rng.below(8) {
            0 if self.rng.chance(self.wild) => StreamId(self.rng.next_u64() as u32),
            1 => StreamId::new(1 + self.rng.below(4) as u32, self.rng.below(3) as u32),
            _ => StreamId::new(1 + self.rng.below(3) as u32, 0),
        }
    }

    fn control_frame(&mut self, writer: &mut FrameWriter<'_>) -> bool {
        let body = vec![0; self.rng.below(100) as usize];
        let (kind, length) = if self.rng.chance(self.wild) {
            ([1, 2, 16, 19, 22, 999][self.rng.below(6) as usize], self.value(1 << 20) as usize)
        } else {
            (999, body.len())
        };
        let envelope = Envelope::new(kind, 1, length);
        let offset = if self.rng.chance(self.wild) { self.value(1 << 22) } else { self.control };
        let written = writer.stream(StreamId::CONTROL, offset, bytemuck::bytes_of(&envelope), &body);
        if written && offset == self.control {
            self.control += 8 + body.len() as u64;
        }
        written
    }

    fn sack_frame(&mut self, sent: u64, writer: &mut FrameWriter<'_>) -> bool {
        let lo = self.value(sent) & !63;
        let most = if self.rng.chance(self.wild) { sent + 200 } else { sent };
        let hi = lo.saturating_add(1 + self.rng.below(most.saturating_sub(lo)).min(100_000));
        let words: Vec<u64> = (0..(hi - lo).div_ceil(64)).map(|_| self.rng.next_u64()).collect();
        let (newest, wild) = (self.value(sent), self.rng.next_u64());
        let lane = LaneId(if self.rng.chance(0.1) { 7 } else { 1 });
        let (overruns, ecn) = (wild as u32, [0, 1, (wild >> 32) as u32]);
        let info = SackInfo { lane, delay_us: wild as u32, newest, lo, hi, overruns, ecn };
        let mut builder = SackBuilder::default();
        let (body, map) = builder.build(&info, &words);
        writer.sack(&body, map)
    }

    /// One frame of any kind.
    fn frame(&mut self, sent: u64, writer: &mut FrameWriter<'_>) {
        let id = self.stream();
        let data = vec![3; self.rng.below(1000) as usize];
        match self.rng.below(14) {
            0 => writer.ping(&data),
            1 => writer.pong(b"never asked"),
            2 => self.control_frame(writer),
            3..=5 => writer.stream(id, self.value(9 << 20), &data, b""),
            6 | 7 => {
                let start = self.value(1 << 20);
                let end = self.rng.chance(0.8).then(|| start.saturating_add(self.value(64 << 20)));
                writer.open(&Open { stream: id, weight: 1, request: RequestId(1), start, end })
            }
            8 => writer.end(id, self.value(64 << 20)),
            9 => writer.reset(id, 1, self.value(1 << 16)),
            10 => self.sack_frame(sent, writer),
            11 => writer.credit(self.value(1 << 30), self.value(1 << 30)),
            12 => writer.lowest(LaneId(2), self.value(1 << 20) as u32, self.value(self.number + 1)),
            _ => writer.path_challenge(self.value(9)) && writer.path_response(self.value(9)),
        };
    }

    /// A packet that opens, with anything in it.
    fn packet(&mut self, sent: u64) -> Vec<u8> {
        self.number += if self.rng.chance(0.05) { self.rng.below(100_000) } else { 1 };
        let number = self.number;
        let (mut packet, plaintext);
        if self.rng.chance(0.3) {
            plaintext = vec![9; 1 + self.rng.below(1400) as usize];
            let header = Header::new(Kind::Bulk, 0, LaneId(2), number);
            let (stream, offset) = (self.stream(), self.value(9 << 20));
            let prefix = BulkPrefix::new(header, stream, offset, plaintext.len() as u16);
            packet = bytemuck::bytes_of(&prefix).to_vec();
        } else {
            let mut frames = Vec::new();
            if self.rng.chance(self.wild / 10.0) {
                frames.extend((0..self.rng.below(60)).map(|_| self.rng.below(16) as u8));
            } else {
                for _ in 0..1 + self.rng.below(4) {
                    self.frame(sent, &mut FrameWriter::new(&mut frames, 1400));
                }
            }
            plaintext = frames;
            let header = Header::new(Kind::Mixed, 0, LaneId(2), number);
            packet = bytemuck::bytes_of(&header).to_vec();
        }
        let head = packet.len();
        packet.resize(head + plaintext.len() + TAG, 0);
        let (aad, sealed) = packet.split_at_mut(head);
        self.keys.seal(number, aad, &plaintext, sealed);
        packet
    }
}

/// One session against a peer of this seed; how many packets it took.
fn attack(seed: u64) -> u64 {
    let (hostile, honest) = acquainted(&mut SimRandom(SimRng::new(seed)));
    let keys = LaneKeys::new(&hostile.secrets, 0, hostile.role, hostile.suite, Time::ZERO);
    let mut rng = SimRng::stream(seed, 1);
    let wild = [0.0, 0.002, 0.02, 0.2][rng.below(4) as usize];
    let mut peer = Hostile { rng: SimRng::stream(seed, 2), wild, keys, number: 0, control: 0 };
    let mut now = Time::from_nanos(1_000_000_000);
    let mut config = common::session();
    config.staging_budget = 1 << 20;
    let mut session = Session::new(config, honest, now);
    for request in 1..4 {
        let open = OpenStream { request: RequestId(request), start: 0, end: Some(1 << 24), weight: 1 };
        let stream = session.open_stream(open).expect("the first ones");
        session.extend_stream(stream, 1 << 24);
    }
    let mut memory = Memory::of(0);
    let (mut plan, mut train) = (Plan::new(), vec![0; 1 << 16]);
    for _ in 0..400 {
        let packet = peer.packet(session.stats().sent_packets);
        let _ = session.handle_datagram(now, &Arrival { ecn: 2, from: None }, &packet, &mut memory);
        session.end_of_batch(now);
        session.bytes_written(std::mem::take(&mut memory.unwritten));
        for _ in 0..20 {
            if !session.poll_transmit(now, &mut plan) {
                break;
            }
            session.seal(&plan, &memory, &mut train).expect("it is in memory");
        }
        while session.poll_event().is_some() {}
        now = now + Duration::from_micros(rng.log_uniform(1, 100_000));
        if session.next_deadline(now).is_some_and(|at| at <= now) {
            session.handle_timeout(now);
        }
        if !session.is_open() {
            break;
        }
    }
    session.stats().received_packets
}

#[test]
fn nothing_a_peer_says_is_a_panic() {
    let (mut most, mut failed) = (0, Vec::new());
    for seed in 0..3000 {
        let result = std::panic::catch_unwind(|| attack(seed));
        match result {
            Ok(received) => most = most.max(received),
            Err(_) => failed.push(seed),
        }
    }
    assert!(failed.is_empty(), "these seeds made the session panic: {failed:?}");
    assert!(most > 50, "some sessions last: {most}");
}

/// A session and a peer that says exactly what a test wants it to.
struct Directed {
    session: Session,
    keys: LaneKeys,
    number: u64,
    now: Time,
    memory: Memory,
}

impl Directed {
    fn new(seed: u64) -> Self {
        let (hostile, honest) = acquainted(&mut SimRandom(SimRng::new(seed)));
        let keys = LaneKeys::new(&hostile.secrets, 0, hostile.role, hostile.suite, Time::ZERO);
        let now = Time::from_nanos(1_000_000_000);
        let session = Session::new(common::session(), honest, now);
        Self { session, keys, number: 0, now, memory: Memory::of(0) }
    }

    /// Has the session hear these frames, and answer.
    fn say(&mut self, write: impl FnOnce(&mut FrameWriter<'_>) -> bool) {
        let mut frames = Vec::new();
        assert!(write(&mut FrameWriter::new(&mut frames, 1400)), "no room");
        let header = Header::new(Kind::Mixed, 0, LaneId(2), self.number);
        let mut packet = bytemuck::bytes_of(&header).to_vec();
        packet.resize(Header::SIZE + frames.len() + TAG, 0);
        let (aad, sealed) = packet.split_at_mut(Header::SIZE);
        self.keys.seal(self.number, aad, &frames, sealed);
        self.number += 1;
        let _ = self.session.handle_datagram(self.now, &Arrival::default(), &packet, &mut self.memory);
        self.session.end_of_batch(self.now);
        self.session.bytes_written(std::mem::take(&mut self.memory.unwritten));
        while self.session.poll_event().is_some() {}
    }

    /// Lets the session send all that it will at this moment; bytes of it.
    fn hear(&mut self) -> u64 {
        let (mut plan, mut train, before) = (Plan::new(), vec![0; 1 << 16], self.session.stats().sent_bytes);
        while self.session.poll_transmit(self.now, &mut plan) {
            self.session.seal(&plan, &self.memory, &mut train).expect("it is in memory");
        }
        self.session.stats().sent_bytes - before
    }

    fn sack(&mut self, newest: u64, lo: u64, hi: u64) {
        let info = SackInfo { lane: LaneId(1), delay_us: 0, newest, lo, hi, overruns: 0, ecn: [0; 3] };
        let words = vec![u64::MAX; (hi - lo).div_ceil(64) as usize];
        let mut builder = SackBuilder::default();
        self.say(|writer| {
            let (body, map) = builder.build(&info, &words);
            writer.sack(&body, map)
        });
    }
}

#[test]
fn acknowledging_what_was_never_sent_ends_the_session() {
    for (newest, lo, hi) in [(9_999, 9_984, 10_000), (0, 0, 10_000), (1 << 61, 0, 1), (10_000, 0, 1)] {
        let mut peer = Directed::new(1);
        peer.say(|writer| writer.ping(b""));
        peer.hear();
        assert!(peer.session.is_open());
        peer.sack(newest, lo, hi);
        assert!(!peer.session.is_open(), "newest {newest}, [{lo}, {hi})");
    }
    // Of another lane it is ignored: it may be one that this end has given up.
    let mut peer = Directed::new(1);
    let info = SackInfo { lane: LaneId(77), delay_us: 0, newest: 9, lo: 0, hi: 10, overruns: 0, ecn: [0; 3] };
    let mut builder = SackBuilder::default();
    peer.say(|writer| {
        let (body, map) = builder.build(&info, &[u64::MAX]);
        writer.sack(&body, map)
    });
    assert!(peer.session.is_open());
}

#[test]
fn absurd_credit_is_no_reason_to_send_more_than_the_path_takes() {
    let mut peer = Directed::new(2);
    let open = OpenStream { request: RequestId(1), start: 0, end: Some(1 << 60), weight: 1 };
    let stream = peer.session.open_stream(open).expect("the first");
    peer.session.extend_stream(stream, 1 << 60);
    let mut sent = 0;
    for credit in [1 << 40, u64::MAX - 1, u64::MAX, 0, 1 << 62] {
        peer.say(|writer| writer.credit(credit, credit));
        sent += peer.hear();
        peer.now = peer.now + Duration::from_millis(1);
    }
    // Nothing was acknowledged: the first window is all, 64 packets and what adds up in five milliseconds.
    assert!(peer.session.is_open());
    assert!(sent < 300_000, "{sent} bytes");
    // And the queue of messages keeps its own limit.
    let message = udpx_proto::Message::RateLimit(udpx_proto::messages::RateLimit { bps: None });
    let queued = (0..2_000_000).take_while(|_| peer.session.send_message(&message).is_ok()).count();
    assert!(queued * 9 <= udpx_proto::limits::CONTROL_QUEUE_MAX, "{queued} messages");
}

#[test]
fn streams_without_end_take_the_memory_of_4095() {
    let mut peer = Directed::new(3);
    let open = |slot, generation| Open {
        stream: StreamId::new(slot, generation),
        weight: 1,
        request: RequestId(2),
        start: 0,
        end: Some(1 << 40),
    };
    for generation in 0..30 {
        for slot in 1..4096 {
            peer.say(|writer| {
                writer.open(&open(slot, generation)) && writer.reset(StreamId::new(slot, generation), 1, 0)
            });
        }
        assert!(peer.session.is_open(), "generation {generation}");
    }
    // All at once, each with a byte at a far place: the tracked blocks are bounded as well.
    for slot in 1..4096 {
        let id = StreamId::new(slot, 30);
        peer.say(|writer| writer.open(&open(slot, 30)) && writer.stream(id, 3 << 30, b"x", b""));
    }
    assert!(peer.session.is_open());
    let drops = peer.session.drops();
    assert!(drops.get(udpx_proto::DropReason::BeyondSpread) > 3000, "{drops:?}");
    // A second one in a slot that is in use is no honest peer's.
    peer.say(|writer| writer.open(&open(7, 31)));
    assert!(!peer.session.is_open());
}

#[test]
fn messages_of_every_wrong_size_end_the_session_or_are_skipped() {
    use udpx_proto::limits::MESSAGE_MAX;
    let kinds = udpx_proto::Message::TYPES.iter().map(|&(kind, version, _)| (kind, version));
    let (mut ended, mut borne) = (0, 0);
    for (kind, version) in kinds.chain([(999, 1), (16, 99), (0, 0)]) {
        let sizes =
            (0..70).chain([255, 256, 1000, MESSAGE_MAX - 1, MESSAGE_MAX, MESSAGE_MAX + 1, u32::MAX as usize]);
        for size in sizes {
            // Zeros, and counts that promise more than there is.
            for fill in [0, 0xff] {
                let mut peer = Directed::new(4);
                let envelope = Envelope::new(kind, version, size);
                let body = vec![fill; size.min(1300)];
                peer.say(|writer| writer.stream(StreamId::CONTROL, 0, bytemuck::bytes_of(&envelope), &body));
                peer.hear();
                if peer.session.is_open() {
                    borne += 1;
                } else {
                    ended += 1;
                }
                assert!(size <= MESSAGE_MAX || !peer.session.is_open(), "{kind} with {size} bytes");
            }
        }
    }
    assert!(ended > 1500 && borne > 300, "{ended} ended, {borne} borne");
}
