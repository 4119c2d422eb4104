//! Caps and policies that change while data flows take effect within one second, or one round trip where that is longer.

mod common;

use std::time::Duration;

use common::{bottleneck, over};
use udpx_proto::RatePolicy;
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::Side;

const LINK_BPS: u64 = 200_000_000;
const RTT_MS: u64 = 40;
const SECOND: Duration = Duration::from_secs(1);

/// A pair in the middle of a long transfer.
fn transfer(seed: u64) -> Pair {
    let mut link = bottleneck(LINK_BPS, RTT_MS, 1.0);
    link.loss = 0.01;
    let mut pair = Pair::new(&over(link, seed));
    pair.send_file(Side::A, 1, (0, 1 << 40), 1);
    pair.run_until(3 * SECOND, |_| false);
    pair
}

/// Wire bits a second that leave A in the next second.
fn sending(pair: &mut Pair) -> f64 {
    let before = pair.a.session.stats().sent_bytes;
    pair.run_until(SECOND, |_| false);
    (pair.a.session.stats().sent_bytes - before) as f64 * 8.0
}

#[test]
fn a_cap_holds_within_a_second_and_goes_as_quickly() {
    let mut pair = transfer(1);
    assert!(sending(&mut pair) > 0.8 * LINK_BPS as f64);
    for cap in [20e6, 1e6, 50e6] {
        pair.a.session.set_rate_cap(Some(cap), pair.now);
        pair.run_until(SECOND, |_| false);
        for second in 0..4 {
            let sent = sending(&mut pair);
            // Control packets are beside the cap.
            let label = format!("capped at {cap}, {sent} sent in second {second}");
            assert!((0.9 * cap..1.03 * cap + 20_000.0).contains(&sent), "{label}");
        }
    }
    pair.a.session.set_rate_cap(None, pair.now);
    pair.run_until(SECOND, |_| false);
    let sent = sending(&mut pair);
    assert!(sent > 0.8 * LINK_BPS as f64, "{sent} sent a second after the cap had gone");
}

#[test]
fn a_slow_cap_is_left_at_once() {
    let mut pair = transfer(2);
    // One packet takes a second and a half.
    pair.a.session.set_rate_cap(Some(0.0), pair.now);
    pair.run_until(20 * SECOND, |_| false);
    let crawl = sending(&mut pair);
    assert!(crawl < 100_000.0, "{crawl} sent at the least of caps");
    pair.a.session.set_rate_cap(Some(40e6), pair.now);
    pair.run_until(SECOND, |_| false);
    let sent = sending(&mut pair);
    assert!((36e6..42e6).contains(&sent), "{sent} sent a second after a cap of 40 Mbit/s");
}

#[test]
fn policies_change_under_way() {
    let mut pair = transfer(3);
    for (policy, least, most) in [
        (RatePolicy::Fixed { bps: 30e6 }, 29e6, 31e6),
        (RatePolicy::Adaptive, 0.8 * LINK_BPS as f64, 1.35 * LINK_BPS as f64),
        (RatePolicy::Fixed { bps: 10e6 }, 9.5e6, 10.5e6),
        (RatePolicy::Low, 0.6 * LINK_BPS as f64, 1.35 * LINK_BPS as f64),
        (RatePolicy::Fixed { bps: 60e6 }, 59e6, 61e6),
    ] {
        pair.a.session.set_policy(policy, pair.now);
        pair.run_until(SECOND, |_| false);
        let sent = sending(&mut pair);
        assert!((least..most).contains(&sent), "{policy:?}: {sent}");
    }
    // A cap outlives the policy under which it was set.
    pair.a.session.set_rate_cap(Some(20e6), pair.now);
    pair.a.session.set_policy(RatePolicy::Adaptive, pair.now);
    pair.run_until(SECOND, |_| false);
    let sent = sending(&mut pair);
    assert!((18e6..21e6).contains(&sent), "{sent}");
}

#[test]
fn a_raised_cap_is_filled_though_one_packet_was_lost_just_before() {
    // Under the low cap a round trip holds five packets, of which one is a fifth.
    let fills = |seed| {
        let mut pair = transfer(seed);
        pair.a.session.set_rate_cap(Some(1e6), pair.now);
        pair.run_until(5 * SECOND, |_| false);
        pair.a.session.set_rate_cap(Some(50e6), pair.now);
        pair.run_until(SECOND, |_| false);
        sending(&mut pair) > 45e6
    };
    let filled = (10..30).filter(|&seed| fills(seed)).count();
    // When several are lost at once it takes seconds.
    assert!(filled >= 18, "{filled} of 20");
}
