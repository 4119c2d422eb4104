//! Paths that copy, shuffle and damage: the bytes arrive all the same.

mod common;

use std::time::Duration;

use common::{MIB, bottleneck, finish, over};
use udpx_proto::DropReason;
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::{BurstSpec, LinkSpec, Node, Queue, QueueSpec, ReorderSpec, Side};

fn transfer(link: &LinkSpec, seed: u64) -> Pair {
    let mut config = over(link.clone(), seed);
    config.null_cipher = false;
    let mut pair = Pair::new(&config);
    pair.send_file(Side::A, 1, (MIB, 9 * MIB + 1), 1);
    pair.send_file(Side::A, 2, (0, 1), 1);
    pair.send_file(Side::A, 3, (0, 0), 1);
    pair.send_file(Side::B, 4, (0, 3 * MIB), 2);
    let label = format!("seed {seed}, {link}");
    finish(&mut pair, 3, Duration::from_secs(120), &label);
    assert!(pair.run_until(Duration::from_secs(120), |p| p.a.received.len() == 1), "{label}");
    // What is still on its way is heard, too.
    pair.run_until(Duration::from_secs(2), |_| false);
    pair
}

#[test]
fn copies_are_dropped() {
    let link = LinkSpec {
        duplicate: 0.2,
        duplicate_later: Duration::from_millis(30),
        ..bottleneck(100_000_000, 30, 1.0)
    };
    for seed in 1..4 {
        let pair = transfer(&link, seed);
        assert!(pair.b.session.drops().get(DropReason::Duplicate) > 500, "seed {seed}");
        // No copy was mistaken for a sign of loss.
        let (again, lost) =
            (pair.a.session.stats().retransmitted_packets, pair.net.link(Side::A, 0).stats().lost_total());
        let sent = pair.a.session.stats().sent_packets;
        assert!(again <= lost + sent / 100, "seed {seed}: {again} again, {lost} lost of {sent}");
    }
}

#[test]
fn reordering_by_whole_round_trips_is_survived() {
    for (seed, jitter) in [(4, 50), (5, 10), (6, 200)] {
        let link = LinkSpec { jitter: Duration::from_millis(jitter), ..bottleneck(100_000_000, 40, 2.0) };
        transfer(&link, seed);
    }
}

#[test]
fn damage_is_loss() {
    for seed in 7..10 {
        let link = LinkSpec { corrupt: 0.05, ..bottleneck(100_000_000, 30, 1.0) };
        let pair = transfer(&link, seed);
        let damaged = pair.net.link(Side::A, 0).stats().corrupted;
        let dropped: u64 = pair.b.session.drops().iter().map(|(_, count)| count).sum();
        assert_eq!(dropped, damaged, "seed {seed}: each damaged packet was dropped, and no other");
    }
}

#[test]
fn everything_at_once() {
    for seed in 10..14 {
        let link = LinkSpec {
            jitter: Duration::from_millis(20),
            wander: Duration::from_millis(30),
            loss: 0.03,
            burst_loss: Some(BurstSpec { loss: 0.02, burst_packets: 8.0 }),
            reorder: Some(ReorderSpec { share: 0.05, extra: Duration::from_millis(40) }),
            duplicate: 0.05,
            duplicate_later: Duration::from_millis(100),
            corrupt: 0.05,
            mtu: Some(1400),
            ..bottleneck(100_000_000, 60, 1.0)
        };
        transfer(&link, seed);
    }
}

#[test]
fn congestion_marks_cut_the_rate() {
    let seed = 14;
    let link = bottleneck(100_000_000, 40, 4.0);
    let spec = link.queue.expect("a bottleneck has a queue");
    let mut pair = Pair::new(&over(link, seed));
    pair.send_file(Side::A, 1, (0, 1 << 30), 1);
    pair.run_until(Duration::from_secs(3), |_| false);
    let before = pair.a.session.stats();
    // From now on the queue marks every packet that meets another one.
    let marking = QueueSpec { mark_bytes: Some(1), ..spec };
    pair.net.link_mut(Side::A, 0).replace(Node::Queue(Queue::new(marking, 0)));
    pair.run_until(Duration::from_millis(1500), |_| false);
    let after = pair.a.session.stats();
    assert!(
        after.pacing_bps < 0.7 * before.pacing_bps,
        "seed {seed}: {} bit/s after the marks, {} before",
        after.pacing_bps,
        before.pacing_bps
    );
}
