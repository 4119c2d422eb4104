//! No needless retransmission: packets that are late, answers that are lost, and ways back that are narrow.

mod common;

use std::time::Duration;

use common::{MIB, bottleneck, delay, finish, lose, over};
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, QueueSpec, ReorderSpec, Side};

/// Moves 32 MiB; returns the sender's spurious retransmissions, what it sent, and the goodput in bit/s.
fn transfer(pair: &mut Pair, label: &str) -> (u64, u64, f64) {
    let begin = pair.now;
    pair.send_file(Side::A, 1, (0, 32 * MIB), 1);
    finish(pair, 1, Duration::from_secs(300), label);
    let took = pair.b.received[0].at.saturating_since(begin);
    let stats = pair.a.session.stats();
    (stats.spurious_losses, stats.sent_packets, (32 * MIB * 8) as f64 / took.as_secs_f64())
}

#[test]
fn one_in_twenty_late_by_a_quarter_of_the_round_trip_is_not_lost() {
    for (seed, (rate_bps, rtt_ms)) in (1..).zip([(100_000_000, 50), (500_000_000, 20), (20_000_000, 200)]) {
        for share_of_quarter in [4, 2, 1] {
            let extra = Duration::from_micros(rtt_ms * 1000 / 4 / share_of_quarter);
            let link = LinkSpec {
                reorder: Some(ReorderSpec { share: 0.05, extra }),
                ..bottleneck(rate_bps, rtt_ms, 1.0)
            };
            for both_ways in [false, true] {
                let label =
                    format!("{rate_bps} bit/s, {rtt_ms} ms, late by {extra:?}, both ways: {both_ways}");
                let back = if both_ways { link.clone() } else { delay(rtt_ms) };
                let lane = LaneSpec { ab: link.clone(), ba: back };
                let mut pair = Pair::new(&common::config(vec![lane], seed));
                let (spurious, sent, goodput) = transfer(&mut pair, &label);
                // While a queue drains, what arrives within a quarter of a round trip was sent over a longer time; and a
                // packet and its answer may both be late. The window grows at the first of these.
                let most = sent / 2000;
                assert!(spurious <= most, "{label}: {spurious} of {sent}");
                assert!(goodput > 0.6 * rate_bps as f64, "{label}: {goodput} bit/s");
            }
        }
    }
}

#[test]
fn half_of_the_answers_lost_repeats_nothing() {
    for (seed, (rate_bps, rtt_ms)) in (10..).zip([(100_000_000, 50), (500_000_000, 20), (20_000_000, 200)]) {
        let label = format!("{rate_bps} bit/s, {rtt_ms} ms");
        let mut pair = Pair::new(&over(bottleneck(rate_bps, rtt_ms, 2.0), seed));
        lose(&mut pair, Side::B, (0.5, seed), |_| true);
        let (spurious, sent, goodput) = transfer(&mut pair, &label);
        let lost = pair.net.link(Side::A, 0).stats().lost_total();
        let again = pair.a.session.stats().retransmitted_packets;
        assert!(spurious == 0 && again <= lost, "{label}: {spurious} of {sent}, {again} again, {lost} lost");
        assert!(goodput > 0.6 * rate_bps as f64, "{label}: {goodput} bit/s");
    }
}

#[test]
fn a_way_back_of_a_hundredth_is_wide_enough() {
    for (seed, (rate_bps, rtt_ms)) in (20..).zip([(10_000_000, 60), (100_000_000, 50), (500_000_000, 20)]) {
        let label = format!("{rate_bps} bit/s, {rtt_ms} ms");
        let back = QueueSpec { rate_bps: rate_bps / 100, limit_bytes: 8 << 10, mark_bytes: None };
        let lane = LaneSpec {
            ab: LinkSpec { loss: 0.01, ..bottleneck(rate_bps, rtt_ms, 1.0) },
            ba: LinkSpec { queue: Some(back), ..delay(rtt_ms) },
        };
        let mut pair = Pair::new(&common::config(vec![lane], seed));
        let (spurious, sent, goodput) = transfer(&mut pair, &label);
        let answers = pair.net.link(Side::B, 0).stats().lost_total();
        assert_eq!((spurious, answers), (0, 0), "{label}: of {sent}");
        // The whole file: the fastest path spends a third of its time in the search.
        assert!(goodput > 0.7 * rate_bps as f64, "{label}: {goodput} bit/s");
    }
}
