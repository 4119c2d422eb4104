//! The steady state of the adaptive rate on a path with random loss: the rate that the path has, and no
//! more in flight than the path and its queue hold.

mod common;

use std::time::Duration;

use common::{bdp, bottleneck, over};
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::{IPV4_UDP_BYTES, Side};

const RATE_BPS: u64 = 100_000_000;
const RTT_MS: u64 = 50;
/// Bytes of stream data in an IP packet of 1500.
const PAYLOAD: f64 = 1424.0;

#[test]
fn goodput_follows_capacity_and_loss() {
    for (seed, loss) in [(1, 0.0), (2, 0.01), (3, 0.05)] {
        let mut link = bottleneck(RATE_BPS, RTT_MS, 1.0);
        link.loss = loss;
        link.overhead_bytes = IPV4_UDP_BYTES;
        let mut pair = Pair::new(&over(link, seed));
        let stream = pair.send_file(Side::A, 1, (0, 1 << 30), 1);
        pair.run_until(Duration::from_secs(2), |_| false);
        let early = pair.b.sink.bytes_of(stream);
        let span = Duration::from_secs(30);
        pair.run_until(span, |_| false);
        let goodput = (pair.b.sink.bytes_of(stream) - early) as f64 * 8.0 / span.as_secs_f64();
        let possible = RATE_BPS as f64 * (1.0 - loss) * PAYLOAD / 1500.0;
        let share = goodput / possible;
        let path = bdp(RATE_BPS, RTT_MS);
        let network = pair.net.link(Side::A, 0).stats().in_flight_bytes_max;
        let sender = pair.a.session.stats().in_flight_max;
        let label = format!("seed {seed}, loss {loss}");
        assert!(share >= 0.85, "{label}: {share:.3} of what the path allows");
        // The queue is as long as the path.
        assert!(network <= 3 * path, "{label}: {network} bytes in the network, BDP {path}");
        assert!(sender <= 3 * path, "{label}: {sender} bytes in flight by the sender's account, BDP {path}");
    }
}
