//! One plain transfer on a clean path: as fast as the link allows.

use std::time::Duration;

use udpx_proto::SessionConfig;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, QueueSpec, Side};
use udpx_proto::testing::{Pair, PairConfig};

#[test]
fn a_clean_path_is_filled_without_a_loss_after_the_start() {
    const RATE: u64 = 100_000_000;
    const SIZE: u64 = 256 << 20;
    let link = LinkSpec {
        delay: Duration::from_millis(25),
        queue: Some(QueueSpec { rate_bps: RATE, limit_bytes: 625_000, mark_bytes: None }),
        ..LinkSpec::default()
    };
    let session = SessionConfig { ip_mtu_max: 1500, ip_headers: 28, ..SessionConfig::default() };
    let mut pair = Pair::new(&PairConfig {
        lanes: vec![LaneSpec::symmetric(link)],
        seed: 1,
        null_cipher: true,
        session,
        write_delay: Duration::ZERO,
    });
    pair.send_file(Side::A, 1, (0, SIZE), 1);
    let start = pair.now;
    assert!(pair.run_until(Duration::from_secs(100), |p| !p.b.received.is_empty() && !p.a.sent.is_empty()));
    let taken = pair.now.saturating_since(start).as_secs_f64();
    let ideal = SIZE as f64 * 8.0 * 1472.0 / 1424.0 / RATE as f64;
    assert!(taken < 1.03 * ideal, "{taken} s, ideal is {ideal} s");
    let stats = pair.a.session.stats();
    assert!(stats.lost_packets < stats.sent_packets / 100, "{stats:?}");
    assert_eq!(stats.lost_packets, stats.retransmitted_packets + stats.spurious_losses);
}
