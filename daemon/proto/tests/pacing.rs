//! How often a sender wakes up to send, at rates of which a train is a small part of a millisecond.

mod common;

use std::time::Duration;

use common::{delay, over};
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::Side;
use udpx_proto::{RatePolicy, SessionConfig};

/// Moments in a second at which A sends data, the most packets that leave at one of them, and bits sent.
fn wake_ups(bps: f64) -> (u32, u64, f64) {
    let config = over(delay(20), 1);
    let session =
        SessionConfig { policy: RatePolicy::Fixed { bps }, staging_budget: 1 << 30, ..config.session };
    let mut pair = Pair::new(&udpx_proto::testing::PairConfig { session, ..config });
    pair.send_file(Side::A, 1, (0, 1 << 40), 1);
    pair.run_until(Duration::from_millis(200), |_| false);
    let sent = |pair: &Pair| {
        let stats = pair.a.session.stats();
        (stats.sent_trains, stats.sent_packets - stats.control.packets, stats.sent_bytes)
    };
    let (mut before, mut times, mut most) = (sent(&pair), 0, 0);
    let begin = before.2;
    pair.run_until(Duration::from_millis(250), |pair| {
        let now = sent(pair);
        times += u32::from(now.0 > before.0);
        most = most.max(now.1 - before.1);
        before = now;
        false
    });
    (4 * times, most, (before.2 - begin) as f64 * 32.0)
}

#[test]
fn at_most_ten_thousand_wake_ups_a_second() {
    for (bps, most_a_second) in
        [(100e6, 1200), (500e6, 1200), (1e9, 1200), (2e9, 2200), (5e9, 5200), (10e9, 10_000)]
    {
        let (times, packets, sent) = wake_ups(bps);
        assert!(times <= most_a_second, "{bps} bit/s: {times} times a second");
        // Nothing is lost of the rate by it, and no burst is longer than two trains, or a millisecond.
        assert!((0.97 * bps..1.03 * bps).contains(&sent), "{bps} bit/s: {sent}");
        let millisecond = (bps / 1000.0 / 8.0 / 1472.0) as u64 + 1;
        assert!(packets <= millisecond.max(88), "{bps} bit/s: {packets} packets at once");
    }
}
