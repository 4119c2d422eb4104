//! A stream whose end is known only when its data has been sent (a pipe).

use std::time::Duration;

use udpx_proto::testing::net::{LaneSpec, LinkSpec};
use udpx_proto::testing::{Pair, PairConfig};
use udpx_proto::{OpenStream, RequestId, SessionConfig};

#[test]
fn a_pipe_ends_whatever_is_lost_and_reordered() {
    for seed in 0..40 {
        let link = LinkSpec {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(if seed % 2 == 0 { 0 } else { 8 }),
            loss: 0.02 * (seed % 10) as f64,
            ..LinkSpec::default()
        };
        let session = SessionConfig { ip_mtu_max: 1500, ip_headers: 28, ..SessionConfig::default() };
        let mut pair = Pair::new(&PairConfig {
            lanes: vec![LaneSpec::symmetric(link)],
            seed,
            null_cipher: true,
            session,
            write_delay: Duration::ZERO,
        });
        let open = OpenStream { request: RequestId(1), start: 0, end: None, weight: 1 };
        let stream = pair.a.session.open_stream(open).expect("the first");
        pair.a.files.insert(stream, 1);
        pair.b.sink.files.insert(stream, 1);
        let size = seed * 100_000;
        pair.a.session.extend_stream(stream, size);
        if seed % 3 == 0 {
            pair.a.session.finish_stream(stream, size);
        } else {
            pair.run_until(Duration::from_millis(5 * seed), |_| false);
            pair.a.session.finish_stream(stream, size);
        }
        let done =
            pair.run_until(Duration::from_secs(60), |p| !p.b.received.is_empty() && !p.a.sent.is_empty());
        assert!(done, "seed {seed}: the pipe did not end");
        assert_eq!(pair.b.sink.bytes_of(stream), size, "seed {seed}");
    }
}
