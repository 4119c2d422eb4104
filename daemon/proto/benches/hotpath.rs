//! Nanoseconds a packet of each step on the data path. One iteration is one packet everywhere.
//!
//! The `session` benches run a sender and a receiver against each other in virtual time at 20 Gbit/s and
//! measure one step of the loop: what they cost beside the `null` cipher (whose checksum and copy are
//! measured apart) is the protocol's overhead.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use udpx_proto::keys::{LaneKeys, Role, SessionSecrets, Suite, TAG_LEN};
use udpx_proto::testing::net::{LaneSpec, SimRng};
use udpx_proto::testing::{Pair, PairConfig};
use udpx_proto::wire::bulk::{Bulk, BulkPrefix};
use udpx_proto::wire::header::{Header, Kind};
use udpx_proto::{
    Arrival, ChunkRef, LaneId, OpenStream, PayloadSink, PayloadSource, Plan, PlanKind, RatePolicy, RequestId,
    Session, SessionConfig, StreamId, Time,
};

/// Payload of a BULK packet in IPv6 packets of 1500 bytes, rounded down to a multiple of 64.
const PAYLOAD: usize = 1408;

fn packet(keys: &LaneKeys, number: u64) -> Vec<u8> {
    let header = Header::new(Kind::Bulk, 0, LaneId(1), number);
    let prefix = BulkPrefix::new(header, StreamId(1), number * PAYLOAD as u64, PAYLOAD as u16);
    let mut packet = bytemuck::bytes_of(&prefix).to_vec();
    packet.resize(BulkPrefix::SIZE + PAYLOAD + TAG_LEN, 0);
    let (aad, sealed) = packet.split_at_mut(BulkPrefix::SIZE);
    keys.seal(number, aad, &[7; PAYLOAD], sealed);
    packet
}

fn parse_and_cipher(c: &mut Criterion) {
    let secrets = SessionSecrets::new([1; 32], [2; 32], [3; 32]);
    let suites =
        [("aes256gcm", Suite::Aes256Gcm), ("chacha20", Suite::ChaCha20Poly1305), ("null", Suite::Null)];
    for (name, suite) in suites {
        let send = LaneKeys::new(&secrets, 0, Role::Initiator, suite, Time::ZERO);
        let mut receive = LaneKeys::new(&secrets, 0, Role::Responder, suite, Time::ZERO);
        // As many packets as a GRO buffer holds, so that they come from the second-level cache.
        let packets: Vec<_> = (0..44).map(|number| packet(&send, number)).collect();
        if suite == Suite::Aes256Gcm {
            c.bench_function("parse", |b| {
                let mut turn = packets.iter().cycle();
                b.iter(|| {
                    let packet = black_box(&turn.next().expect("endless")[..]);
                    let (header, kind) = Header::parse(packet).expect("a good packet");
                    black_box((header.number(), kind, Bulk::parse(packet).expect("a good packet").offset))
                });
            });
        }
        let (plaintext, mut out) = (vec![7; PAYLOAD], vec![0; PAYLOAD + TAG_LEN]);
        c.bench_function(&format!("seal 1408 {name}"), |b| {
            let mut number = 0;
            b.iter(|| {
                number += 1;
                send.seal(number, &packets[0][..BulkPrefix::SIZE], black_box(&plaintext), &mut out);
            });
        });
        c.bench_function(&format!("open 1408 {name}"), |b| {
            let mut number = 0;
            b.iter(|| {
                number = (number + 1) % packets.len();
                let (aad, sealed) = packets[number].split_at(BulkPrefix::SIZE);
                let opened = receive.open(Time::ZERO, 0, number as u64, aad, sealed, &mut out[..PAYLOAD]);
                opened.expect("a good packet");
            });
        });
    }
}

/// Payload and staging memory that are just there.
struct Memory {
    bytes: Vec<u8>,
    unwritten: u64,
}

impl PayloadSource for Memory {
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        self.bytes.get(..chunk.len as usize)
    }
}

impl PayloadSink for Memory {
    fn stage(&mut self, _: StreamId, _: u64, len: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(..len)
    }

    fn commit(&mut self, _: StreamId, _: u64, len: usize, _: bool) {
        self.unwritten += len as u64;
    }
}

/// What of the loop is measured.
#[derive(Copy, Clone, PartialEq, Eq)]
enum Step {
    /// Stream scheduler, cutting, sent ring, pacer: `poll_transmit` of a train.
    Plan,
    /// SACKs taken, losses found: all that the sender does with the receiver's packets.
    Acknowledge,
    /// `handle_datagram` and `end_of_batch`, null cipher included.
    Receive,
    /// SACKs and credit written and sealed.
    Report,
}

/// A transfer at 20 Gbit/s over 1 ms, in virtual time.
struct Transfer {
    a: Session,
    b: Session,
    now: Time,
    memory: Memory,
    plan: Plan,
    train: Vec<u8>,
    there: VecDeque<(Time, Vec<u8>, usize)>,
    back: VecDeque<(Time, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    rng: SimRng,
    loss: f64,
}

const ONE_WAY: Duration = Duration::from_micros(500);

impl Transfer {
    fn new(loss: f64) -> Self {
        let session = SessionConfig {
            ip_mtu_max: 1500,
            ip_headers: 28,
            policy: RatePolicy::Fixed { bps: 20e9 },
            staging_budget: 1 << 30,
            ..SessionConfig::default()
        };
        let lanes = vec![LaneSpec::default()];
        let config = PairConfig { lanes, seed: 1, null_cipher: true, session, write_delay: Duration::ZERO };
        let Pair { a, b, now, .. } = Pair::new(&config);
        let mut transfer = Self {
            a: a.session,
            b: b.session,
            now,
            memory: Memory { bytes: vec![7; 1 << 16], unwritten: 0 },
            plan: Plan::new(),
            train: vec![0; 1 << 16],
            there: VecDeque::new(),
            back: VecDeque::new(),
            spare: Vec::new(),
            rng: SimRng::new(3),
            loss,
        };
        for request in 1..=4 {
            let open = OpenStream { request: RequestId(request), start: 0, end: Some(1 << 50), weight: 1 };
            let stream = transfer.a.open_stream(open).expect("few streams");
            transfer.a.extend_stream(stream, 1 << 50);
        }
        transfer.run(Step::Plan, 100_000);
        transfer
    }

    /// Moves some more than `packets` packets; the time that `step` took for so many of them.
    fn run(&mut self, step: Step, packets: u64) -> Duration {
        let (mut taken, mut moved) = (Duration::ZERO, 0);
        let mut time = |which: Step, f: &mut dyn FnMut()| {
            if which == step {
                let start = Instant::now();
                f();
                taken += start.elapsed();
            } else {
                f();
            }
        };
        while moved < packets {
            let Self { a, b, now: clock, memory, plan, train, there, back, spare, rng, loss } = &mut *self;
            let now = *clock;
            loop {
                let mut more = false;
                time(Step::Plan, &mut || more = a.poll_transmit(now, plan));
                if !more {
                    break;
                }
                let len = a.seal(plan, memory, train).expect("it is in memory");
                moved += if plan.kind() == PlanKind::Bulk { plan.count() as u64 } else { 0 };
                let mut buffer = spare.pop().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(&train[..len]);
                there.push_back((now + ONE_WAY, buffer, plan.segment()));
            }
            while there.front().is_some_and(|&(at, ..)| at <= now) {
                let (_, buffer, segment) = there.pop_front().expect("just seen");
                let lost: u64 = buffer
                    .chunks(segment)
                    .enumerate()
                    .fold(0, |lost, (index, _)| lost | u64::from(rng.chance(*loss)) << index);
                time(Step::Receive, &mut || {
                    for (index, packet) in buffer.chunks(segment).enumerate() {
                        if lost >> index & 1 == 0 {
                            b.handle_datagram(now, &Arrival { ecn: 2, from: None }, packet, memory)
                                .expect("a good one");
                        }
                    }
                    b.end_of_batch(now);
                    b.bytes_written(std::mem::take(&mut memory.unwritten));
                });
                spare.push(buffer);
            }
            loop {
                let (mut more, mut len) = (false, 0);
                time(Step::Report, &mut || {
                    more = b.poll_transmit(now, plan);
                    len = if more { b.seal(plan, memory, train).expect("it is in memory") } else { 0 };
                });
                if !more {
                    break;
                }
                let mut buffer = spare.pop().unwrap_or_default();
                buffer.clear();
                buffer.extend_from_slice(&train[..len]);
                back.push_back((now + ONE_WAY, buffer));
            }
            while back.front().is_some_and(|&(at, _)| at <= now) {
                let (_, buffer) = back.pop_front().expect("just seen");
                time(Step::Acknowledge, &mut || {
                    a.handle_datagram(now, &Arrival { ecn: 2, from: None }, &buffer, memory)
                        .expect("a good one");
                    a.end_of_batch(now);
                });
                spare.push(buffer);
            }
            for session in [a, b] {
                if session.next_deadline(now).is_some_and(|at| at <= now) {
                    session.handle_timeout(now);
                }
                while session.poll_event().is_some() {}
            }
            // A train of 44 packets at 20 Gbit/s takes 26 us.
            *clock = now + Duration::from_micros(26);
        }
        taken.mul_f64(packets as f64 / moved as f64)
    }
}

fn sessions(c: &mut Criterion) {
    let steps = [
        ("plan", Step::Plan),
        ("acknowledge", Step::Acknowledge),
        ("receive", Step::Receive),
        ("report", Step::Report),
    ];
    for (loss, path) in [(0.0, "clean"), (0.01, "1 % loss")] {
        let mut transfer = Transfer::new(loss);
        for (name, step) in steps {
            c.bench_function(&format!("session {name}, {path}"), |b| {
                b.iter_custom(|packets| transfer.run(step, packets));
            });
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1200));
    targets = parse_and_cipher, sessions
}
criterion_main!(benches);
