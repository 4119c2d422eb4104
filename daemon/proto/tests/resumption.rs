//! What is known of a path from before is used with care: after a pause, and from one session to the next.

mod common;

use std::time::Duration;

use common::{bdp, bottleneck, over};
use udpx_proto::RateHint;
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::Side;

const RATE_BPS: u64 = 200_000_000;
const RTT_MS: u64 = 100;
const RTT: Duration = Duration::from_millis(RTT_MS);

fn pair(hint: Option<RateHint>) -> Pair {
    let mut config = over(bottleneck(RATE_BPS, RTT_MS, 1.0), 5);
    config.session.initial_rtt = RTT;
    config.session.hint = hint;
    Pair::new(&config)
}

/// Stream bits a second that arrive in the next round trip.
fn arriving(pair: &mut Pair) -> f64 {
    let before = pair.b.session.stats().unique_bytes_received;
    pair.run_until(RTT, |_| false);
    (pair.b.session.stats().unique_bytes_received - before) as f64 * 8.0 / RTT.as_secs_f64()
}

#[test]
fn a_pause_costs_ten_round_trips_at_most_and_risks_one_bdp() {
    let mut pair = pair(None);
    // What is opened in mid-run is all that can be sent: 60 MB, then a pause, then the rest.
    pair.send_file(Side::A, 1, (0, 60_000_000), 1);
    assert!(pair.run_until(Duration::from_secs(20), |p| !p.a.sent.is_empty()));
    pair.run_until(Duration::from_secs(10), |_| false);
    let before = pair.a.session.stats().unique_bytes_sent;
    pair.send_file(Side::A, 2, (0, 1 << 30), 1);
    // The first new sample comes after a round trip.
    pair.run_until(RTT, |_| false);
    let risked = pair.a.session.stats().unique_bytes_sent - before;
    assert!(risked <= bdp(RATE_BPS, RTT_MS) + 64 * 1500, "{risked} bytes before the first sample");
    let reached = (0..10).any(|_| arriving(&mut pair) >= 0.85 * RATE_BPS as f64);
    assert!(reached, "{:?}", pair.a.session.stats());
}

#[test]
fn a_remembered_path_is_filled_sooner() {
    let mut first = pair(None);
    first.send_file(Side::A, 1, (0, 1 << 40), 1);
    let strange = |p: &mut Pair| (0..40).find(|_| arriving(p) >= 0.85 * RATE_BPS as f64).expect("filled");
    let unknown = strange(&mut first);
    first.run_until(Duration::from_secs(3), |_| false);
    let hint = first.a.session.rate_hint().expect("the path is known");
    assert!((0.85..1.1).contains(&(hint.bps / RATE_BPS as f64)), "{hint:?}");

    let mut second = pair(Some(hint));
    second.send_file(Side::A, 1, (0, 1 << 40), 1);
    let known = strange(&mut second);
    assert!(known + 2 <= unknown && known <= 4, "{known} round trips instead of {unknown}");

    // Another path under the same name is searched as if nothing were known.
    let mut elsewhere = pair(Some(RateHint { rtt_ns: 1_000_000, ..hint }));
    elsewhere.send_file(Side::A, 1, (0, 1 << 40), 1);
    assert_eq!(strange(&mut elsewhere), unknown);
}

#[test]
fn a_hint_is_used_only_as_far_as_the_first_samples_bear_it_out() {
    // The path has the round trip that is remembered, and a tenth of the rate.
    let narrow = RATE_BPS / 10;
    let mut config = over(bottleneck(narrow, RTT_MS, 1.0), 5);
    config.session.initial_rtt = RTT;
    config.session.hint = Some(RateHint { bps: RATE_BPS as f64, rtt_ns: RTT.as_nanos() as u64 });
    let mut pair = Pair::new(&config);
    pair.send_file(Side::A, 1, (0, 1 << 40), 1);
    pair.run_until(RTT, |_| false);
    let risked = pair.a.session.stats().sent_bytes;
    // Half of what is remembered for one round trip, whatever the path is now.
    let remembered = bdp(RATE_BPS, RTT_MS);
    assert!(risked > remembered / 4 && risked < remembered * 6 / 10, "{risked} of {remembered}");
    pair.run_until(4 * RTT, |_| false);
    let before = pair.a.session.stats();
    pair.run_until(20 * RTT, |_| false);
    let after = pair.a.session.stats();
    let sent = (after.sent_bytes - before.sent_bytes) as f64 * 8.0 / (20.0 * RTT.as_secs_f64());
    assert!(sent < 1.3 * narrow as f64, "{sent} sent on a path of {narrow}");
    let reached = (0..20).any(|_| arriving(&mut pair) >= 0.85 * narrow as f64);
    assert!(reached, "{:?}", pair.a.session.stats());
}

#[test]
fn what_a_cap_held_down_is_not_remembered() {
    let mut capped = pair(None);
    capped.a.session.set_rate_cap(Some(20e6), capped.now);
    capped.send_file(Side::A, 1, (0, 1 << 40), 1);
    capped.run_until(Duration::from_secs(5), |_| false);
    assert_eq!(capped.a.session.rate_hint(), None);
}
