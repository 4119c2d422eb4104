//! The table of goodput over loss and RTT that makes each change of the rate control a readable diff.
//!
//! `UDPX_BLESS=1 cargo test -p udpx-proto --test goodput` writes it anew.

use std::fmt::Write as _;
use std::time::Duration;

use udpx_proto::SessionConfig;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, QueueSpec, Side};
use udpx_proto::testing::{Pair, PairConfig};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/goodput.txt");
const RATE: u64 = 100_000_000;
const RTTS_MS: [u64; 5] = [1, 20, 100, 200, 600];
const LOSSES: [u32; 5] = [0, 1, 5, 10, 20];

/// Payload bytes of a datagram's share of the link.
const SHARE: f64 = (1472.0 - 48.0) / 1472.0;

struct Outcome {
    /// Goodput over C (1-p) x payload share: of the whole transfer, and of its second half.
    whole: f64,
    steady: f64,
    /// Payload sent over what the loss makes necessary.
    excess: f64,
    /// Most bytes in flight over BDP + queue.
    in_flight: f64,
}

fn transfer(rtt_ms: u64, loss_percent: u32, queue_bdp: f64) -> Outcome {
    let rtt = Duration::from_millis(rtt_ms);
    let bdp = RATE as f64 / 8.0 * rtt.as_secs_f64();
    let queue = ((bdp * queue_bdp) as u64).max(64 << 10);
    let loss = f64::from(loss_percent) / 100.0;
    let data = LinkSpec {
        delay: rtt / 2,
        loss,
        queue: Some(QueueSpec { rate_bps: RATE, limit_bytes: queue, mark_bytes: None }),
        ..LinkSpec::default()
    };
    let acks = LinkSpec { loss, delay: rtt / 2, ..LinkSpec::default() };
    let session = SessionConfig { ip_mtu_max: 1500, ip_headers: 28, ..SessionConfig::default() };
    let config = PairConfig {
        lanes: vec![LaneSpec { ab: data, ba: acks }],
        seed: 7,
        null_cipher: true,
        session,
        write_delay: Duration::ZERO,
    };
    let mut pair = Pair::new(&config);
    // Twenty seconds and sixty round trips of what the link can carry.
    let seconds = 20.0 + 60.0 * rtt.as_secs_f64();
    let size = (RATE as f64 / 8.0 * (1.0 - loss) * SHARE * seconds) as u64;
    let stream = pair.send_file(Side::A, 1, (0, size), 1);
    let begin = pair.now;
    let mut middle = None;
    let done = pair.run_until(Duration::from_secs(10_000), |p| {
        if middle.is_none() && p.b.sink.bytes_of(stream) >= size / 2 {
            middle = Some((p.now, p.b.sink.bytes_of(stream)));
        }
        !p.b.received.is_empty()
    });
    assert!(done, "rtt {rtt_ms} ms, loss {loss_percent} %: not finished");
    let (at, had) = middle.expect("passed on the way");
    let ideal = RATE as f64 / 8.0 * (1.0 - loss) * SHARE;
    let stats = pair.a.session.stats();
    let sent = (stats.unique_bytes_sent + stats.retransmitted_bytes) as f64;
    Outcome {
        whole: size as f64 / pair.now.saturating_since(begin).as_secs_f64() / ideal,
        steady: (size - had) as f64 / pair.now.saturating_since(at).as_secs_f64() / ideal,
        excess: sent * (1.0 - loss) / size as f64,
        in_flight: pair.net.link(Side::A, 0).stats().in_flight_bytes_max as f64 / (bdp + queue as f64),
    }
}

#[test]
fn the_table_is_as_committed() {
    let mut table = String::from(
        "# 100 Mbit/s; columns: goodput of the whole transfer and of its second half over C(1-p) x payload\n\
         # share; payload sent x (1-p) over file; most bytes in flight over BDP + queue.\n\
         queue  rtt/ms loss/%   whole  steady  sent  in-flight\n",
    );
    for queue in [0.2, 1.0] {
        for rtt in RTTS_MS {
            for loss in LOSSES {
                let o = transfer(rtt, loss, queue);
                writeln!(
                    table,
                    "{queue:5}  {rtt:6} {loss:6}   {:.2}    {:.2}   {:.2}  {:.2}",
                    o.whole, o.steady, o.excess, o.in_flight
                )
                .expect("a string takes everything");
            }
        }
    }
    if std::env::var_os("UDPX_BLESS").is_some() {
        std::fs::write(TABLE, &table).expect("the table can be written");
    }
    let committed = std::fs::read_to_string(TABLE).unwrap_or_default();
    assert!(table == committed, "the table changed; if for the better, UDPX_BLESS=1 and commit:\n{table}");
}
