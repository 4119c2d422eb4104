//! What the proof tests share: usual paths, seeded filters, captures, and a way to run a transfer to its
//! end that names the seed when it fails.
#![allow(dead_code, reason = "every test binary uses another part of this")]

pub(crate) mod golden;

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

/// The same over one lane with equal directions.
pub(crate) fn over(link: LinkSpec, seed: u64) -> PairConfig {
    config(vec![LaneSpec::symmetric(link)], seed)
}

/// A path with this round trip and no fault.
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

/// Whether a packet carries stream data behind a clear frame header.
pub(crate) fn is_bulk(packet: &[u8]) -> bool {
    kind_of(packet) != Kind::Mixed
}

/// Loses each packet of those that `of` picks with probability `loss`; returns the count of those lost.
pub(crate) fn lose(
    pair: &mut Pair,
    from: Side,
    (loss, seed): (f64, u64),
    of: fn(&[u8]) -> bool,
) -> Rc<Cell<u64>> {
    let lost = Rc::new(Cell::new(0));
    for lane in 0..pair.net.lane_count() {
        let count = Rc::clone(&lost);
        let mut rng = SimRng::stream(seed, 0x1055 + lane as u64);
        pair.net.link_mut(from, lane).add_filter(move |packet, _| {
            if of(packet) && rng.chance(loss) {
                count.set(count.get() + 1);
                return Verdict::Drop;
            }
            Verdict::Pass
        });
    }
    lost
}

/// A packet as it was sealed, before the network.
#[derive(Clone, Debug)]
pub(crate) struct Captured {
    pub(crate) from: Side,
    pub(crate) bytes: Vec<u8>,
}

impl Captured {
    pub(crate) fn header(&self) -> &Header {
        Header::parse(&self.bytes).expect("our own packets parse").0
    }
}

/// Packets that a tap has seen.
pub(crate) type Capture = Rc<RefCell<Vec<Captured>>>;

/// Keeps every packet that is sealed from now on.
pub(crate) fn capture(pair: &mut Pair) -> Capture {
    let capture = Capture::default();
    let sink = Rc::clone(&capture);
    pair.tap = Some(Box::new(move |from, packet| {
        sink.borrow_mut().push(Captured { from, bytes: packet.to_vec() });
    }));
    capture
}

/// Runs until `streams` streams from A are received and acknowledged whole.
///
/// # Panics
/// If they are not within `limit` of virtual time, or do not hold the right bytes.
pub(crate) fn finish(pair: &mut Pair, streams: usize, limit: Duration, label: &str) {
    let done = pair.run_until(limit, |p| p.b.received.len() >= streams && p.a.sent.len() >= streams);
    let (a, b) = (pair.a.session.stats(), pair.b.session.stats());
    assert!(
        done,
        "{label}: {} of {streams} streams received, {} acknowledged after {limit:?}\na: {a:#?}\nb: {b:#?}",
        pair.b.received.len(),
        pair.a.sent.len(),
    );
    pair.a.session.check_invariants();
    pair.b.session.check_invariants();
}
