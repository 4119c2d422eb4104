//! Nanoseconds a packet of each step on the data path. One iteration is one packet everywhere.
//!
//! The `session` benches run a sender and a receiver against each other in virtual time at 20 Gbit/s and
//! measure one step of the loop: what they cost beside the `null` cipher (whose checksum and copy are
//! measured apart) is the protocol's overhead.
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use udpx_proto::Time;
use udpx_proto::keys::{LaneKeys, Role, SessionSecrets, Suite, TAG_LEN};
use udpx_proto::testing::steps::{PAYLOAD, Step, Transfer, bulk_packet};
use udpx_proto::wire::bulk::{Bulk, BulkPrefix};
use udpx_proto::wire::header::Header;

fn parse_and_cipher(c: &mut Criterion) {
    let secrets = SessionSecrets::new([1; 32], [2; 32], [3; 32]);
    let suites =
        [("aes256gcm", Suite::Aes256Gcm), ("chacha20", Suite::ChaCha20Poly1305), ("null", Suite::Null)];
    for (name, suite) in suites {
        let send = LaneKeys::new(&secrets, 0, Role::Initiator, suite, Time::ZERO);
        let mut receive = LaneKeys::new(&secrets, 0, Role::Responder, suite, Time::ZERO);
        // As many packets as a GRO buffer holds, so that they come from the second-level cache.
        let packets: Vec<_> = (0..44).map(|number| bulk_packet(&send, number)).collect();
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

/// The time that `step` took for so many packets.
fn timed(transfer: &mut Transfer, step: Step, packets: u64) -> Duration {
    let mut taken = Duration::ZERO;
    let moved = transfer.run(packets, &mut |which, f| {
        if which == step {
            let start = Instant::now();
            f();
            taken += start.elapsed();
        } else {
            f();
        }
    });
    taken.mul_f64(packets as f64 / moved as f64)
}

fn sessions(c: &mut Criterion) {
    let steps = [
        ("plan", Step::Plan),
        ("acknowledge", Step::Acknowledge),
        ("receive", Step::Receive),
        ("report", Step::Report),
    ];
    for (loss, path) in [(0.0, "clean"), (0.01, "1 % loss")] {
        let mut transfer = Transfer::new(loss, 4);
        transfer.run(100_000, &mut |_, f| f());
        for (name, step) in steps {
            c.bench_function(&format!("session {name}, {path}"), |b| {
                b.iter_custom(|packets| timed(&mut transfer, step, packets));
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
