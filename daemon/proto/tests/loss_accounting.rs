//! What is sent again is what was lost, and hardly anything else: not when data is lost at random, and
//! not when acknowledgements are.

mod common;

use std::time::Duration;

use common::{MIB, bottleneck, finish, is_bulk, lose, over};
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::{LinkSpec, Side};

/// Paths of different kinds, with queues so long that the rate control itself loses little.
fn paths() -> [LinkSpec; 3] {
    [bottleneck(100_000_000, 50, 2.0), bottleneck(1_000_000_000, 10, 2.0), bottleneck(20_000_000, 200, 2.0)]
}

/// Moves 32 MiB from A to B over `link`, which loses each of A's data packets and each of B's packets
/// with these probabilities, and compares what was sent again with what was lost.
fn transfer(link: &LinkSpec, seed: u64, data_loss: f64, ack_loss: f64) {
    let label = format!("seed {seed}, {data_loss} of the data and {ack_loss} of the answers lost, {link}");
    let mut pair = Pair::new(&over(link.clone(), seed));
    let data = lose(&mut pair, Side::A, (data_loss, seed), is_bulk);
    let answers = lose(&mut pair, Side::B, (ack_loss, seed), |_| true);
    pair.send_file(Side::A, 1, (0, 32 * MIB), 1);
    finish(&mut pair, 1, Duration::from_secs(200), &label);

    assert_eq!(data.get() > 0, data_loss > 0.0, "{label}");
    assert_eq!(answers.get() > 0, ack_loss > 0.0, "{label}");
    let stats = pair.a.session.stats();
    let lost = pair.net.link(Side::A, 0).stats().lost_total();
    let (again, sent) = (stats.retransmitted_packets, stats.sent_packets);
    assert!(again <= lost + sent / 100, "{label}: {again} sent again, {lost} lost of {sent}");
    // Small packets that were lost may go out again in fewer, larger ones, but not many of them.
    assert!(again + lost / 20 + 5 >= lost, "{label}: {again} sent again, {lost} lost of {sent}");
}

#[test]
fn lost_data_is_sent_again_once() {
    for (link, seed) in paths().iter().zip(10..) {
        for loss in [0.01, 0.1] {
            transfer(link, seed, loss, 0.0);
        }
    }
}

#[test]
fn lost_acknowledgements_repeat_nothing() {
    for (link, seed) in paths().iter().zip(20..) {
        for loss in [0.1, 0.3] {
            transfer(link, seed, 0.0, loss);
        }
    }
}

#[test]
fn lost_both_ways_only_data_is_sent_again() {
    for (link, seed) in paths().iter().zip(30..) {
        transfer(link, seed, 0.1, 0.3);
    }
}
