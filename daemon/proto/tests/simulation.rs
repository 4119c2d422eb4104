//! Whole transfers between two sessions over simulated networks, in virtual time.

use std::time::Duration;

use udpx_proto::SessionConfig;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, QueueSpec, Side};
use udpx_proto::testing::{Pair, PairConfig};

fn config(lanes: Vec<LaneSpec>, seed: u64) -> PairConfig {
    let session = SessionConfig { ip_mtu_max: 1500, ip_headers: 28, ..SessionConfig::default() };
    PairConfig { lanes, seed, null_cipher: true, session, write_delay: Duration::ZERO }
}

#[test]
fn a_clean_path() {
    let link = LinkSpec {
        delay: Duration::from_millis(25),
        queue: Some(QueueSpec { rate_bps: 100_000_000, limit_bytes: 625_000, mark_bytes: None }),
        ..LinkSpec::default()
    };
    let mut pair = Pair::new(&config(vec![LaneSpec::symmetric(link)], 1));
    pair.send_file(Side::A, 1, (0, 64 << 20), 1);
    let start = pair.now;
    assert!(pair.run_until(Duration::from_secs(100), |p| !p.b.received.is_empty() && !p.a.sent.is_empty()));
    eprintln!("{:?}", pair.now.saturating_since(start));
    eprintln!("{:#?}", pair.a.session.stats());
    eprintln!("{:#?}", pair.b.session.stats());
    eprintln!("{:?}", pair.net.link(Side::A, 0).stats());
}
