//! Packet numbers and key epochs: no nonce is ever used twice, no key update loses anything, and nothing
//! happens where numbers pass 32 bits.

mod common;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use common::{MIB, bottleneck, capture, config, finish, over};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use udpx_proto::DropReason;
use udpx_proto::keys::EpochLimits;
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, ReorderSpec, Side};
use udpx_proto::wire::bulk::Bulk;

/// A new epoch every `packets` packets.
fn epochs_of(packets: u64) -> EpochLimits {
    EpochLimits { packets, age: Duration::from_secs(120), forgeries: 1 << 36 }
}

fn lossy(rate_bps: u64, rtt_ms: u64, loss: f64) -> LinkSpec {
    LinkSpec { loss, ..bottleneck(rate_bps, rtt_ms, 1.0) }
}

#[test]
fn numbers_pass_32_bits_unnoticed() {
    for (seed, below) in [(1, 1), (2, 3000), (3, 0)] {
        let mut config = over(lossy(200_000_000, 30, 0.03), seed);
        config.session.first_number = (1 << 32) - below;
        let mut pair = Pair::new(&config);
        pair.send_file(Side::A, 1, (0, 16 * MIB), 1);
        pair.send_file(Side::B, 2, (0, 4 * MIB), 1);
        finish(&mut pair, 1, Duration::from_secs(60), &format!("seed {seed}, {below} below 2^32"));
        assert!(pair.a.session.stats().sent_packets > 3000, "seed {seed}: too short to pass");
    }
}

#[test]
fn key_updates_lose_nothing_on_a_reordering_path() {
    for (seed, lanes) in [(4, 1), (5, 2)] {
        let link = LinkSpec {
            reorder: Some(ReorderSpec { share: 0.1, extra: Duration::from_millis(20) }),
            ..bottleneck(200_000_000, 40, 2.0)
        };
        let mut config = config(vec![LaneSpec::symmetric(link); lanes], seed);
        config.session.epoch_limits = Some(epochs_of(1000));
        config.null_cipher = false;
        let mut pair = Pair::new(&config);
        let packets = capture(&mut pair);
        // Each lane learns the reordering for itself, once: that is part of the one per cent below.
        pair.send_file(Side::A, 1, (0, 48 * MIB * lanes as u64), 1);
        finish(&mut pair, 1, Duration::from_secs(60), &format!("seed {seed}"));
        for end in [&pair.a, &pair.b] {
            let drops: Vec<_> = end.session.drops().iter().collect();
            assert!(
                drops.iter().all(|(reason, _)| *reason == DropReason::Duplicate),
                "seed {seed}: {drops:?}"
            );
        }
        let epochs: HashSet<u8> =
            packets.borrow().iter().filter(|p| p.from == Side::A).map(|p| p.header().epoch).collect();
        assert!(epochs.len() >= 10 / lanes, "seed {seed}: only {} epochs", epochs.len());
        let lost = pair.net.link(Side::A, 0).stats().lost_total();
        let again = pair.a.session.stats().retransmitted_packets;
        let sent = pair.a.session.stats().sent_packets;
        assert!(again <= lost + sent / 100, "seed {seed}: {again} sent again, {lost} lost of {sent}");
    }
}

/// Checks that every sealed packet of a lossy transfer has a nonce of its own.
fn no_nonce_twice(seed: u64, lanes: usize, packets: u64, loss: f64, first: u64) {
    let label = format!("seed {seed}, {lanes} lanes, epochs of {packets}, loss {loss}, from {first}");
    let link = LinkSpec {
        duplicate: 0.01,
        reorder: Some(ReorderSpec { share: 0.05, extra: Duration::from_millis(15) }),
        ..lossy(100_000_000, 30, loss)
    };
    let mut config = config(vec![LaneSpec::symmetric(link); lanes], seed);
    config.session.epoch_limits = Some(epochs_of(packets));
    config.session.first_number = first;
    let mut pair = Pair::new(&config);
    let packets = capture(&mut pair);
    pair.send_file(Side::A, 1, (0, 8 * MIB), 1);
    pair.send_file(Side::B, 2, (0, MIB), 1);
    finish(&mut pair, 1, Duration::from_secs(120), &label);

    // The IV belongs to (direction, lane, epoch); numbers go on across epochs, so a number alone must
    // be unique on its lane, and a higher number never has an older epoch.
    let mut seen = HashSet::new();
    let mut newest: HashMap<_, (u64, u8)> = HashMap::new();
    let mut carried: HashMap<_, u32> = HashMap::new();
    for packet in packets.borrow().iter() {
        let header = packet.header();
        let lane = (packet.from, header.lane());
        assert!(seen.insert((lane, header.number())), "{label}: {lane:?} {} twice", header.number());
        let (number, epoch) = newest.entry(lane).or_insert((header.number(), header.epoch));
        assert!(header.number() >= *number, "{label}: numbers run backwards");
        let step = header.epoch.wrapping_sub(*epoch);
        assert!(step <= 1, "{label}: epoch {} after {epoch}", header.epoch);
        (*number, *epoch) = (header.number(), header.epoch);
        if let Ok(bulk) = Bulk::parse(&packet.bytes)
            && common::is_bulk(&packet.bytes)
        {
            *carried.entry((packet.from, bulk.stream, bulk.offset)).or_default() += 1;
        }
    }
    let lanes_used: HashSet<_> = newest.keys().filter(|(from, _)| *from == Side::A).collect();
    assert_eq!(lanes_used.len(), lanes, "{label}");
    let repeated = carried.values().filter(|&&times| times > 1).count();
    assert!(loss == 0.0 || repeated > 0, "{label}: nothing was sent again");
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        rng_seed: RngSeed::Fixed(0x006e_6f6e_6365),
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_sealed_packet_has_its_own_nonce(
        seed: u64,
        lanes in 1..=2_usize,
        packets in prop_oneof![Just(1000_u64), 50..3000_u64],
        loss in prop_oneof![Just(0.0), Just(0.02), Just(0.1)],
        first in prop_oneof![Just(0_u64), Just((1 << 32) - 500), 0..1_u64 << 40],
    ) {
        no_nonce_twice(seed, lanes, packets, loss, first);
    }
}

#[test]
fn a_key_that_has_met_too_many_forgeries_ends_its_session() {
    let mut config = over(lossy(50_000_000, 30, 0.0), 21);
    config.null_cipher = false;
    config.session.epoch_limits = Some(EpochLimits { forgeries: 100, ..epochs_of(1 << 23) });
    let mut pair = Pair::new(&config);
    let packets = capture(&mut pair);
    pair.send_file(Side::A, 1, (0, 64 * MIB), 1);
    pair.run_until(Duration::from_millis(500), |_| false);
    let newest = packets.borrow().iter().rev().find(|p| p.from == Side::A).cloned();
    let good = newest.expect("a transfer is under way").bytes;
    for n in 0..100 {
        assert!(pair.b.session.is_open(), "after {n}");
        let mut forged = good.clone();
        *forged.last_mut().expect("a tag") ^= 1 + n;
        let how = udpx_proto::Arrival::default();
        let result = pair.b.session.handle_datagram(pair.now, &how, &forged, &mut pair.b.sink);
        assert!(result.is_err());
    }
    let done = pair.run_until(Duration::from_secs(5), |p| !p.a.session.is_open() && !p.b.session.is_open());
    assert!(done, "nobody minds");
}
