//! The path MTU: every common size is found, a size that stops to pass is left within three round trips, and neither
//! loss nor a black-out is taken for that.

mod common;

use std::time::Duration;

use common::{MIB, bottleneck, over, session};
use udpx_proto::Time;
use udpx_proto::testing::net::{IPV4_UDP_BYTES, LinkSpec, Mtu, Node, Side};
use udpx_proto::testing::{Pair, PairConfig};

const SECOND: Duration = Duration::from_secs(1);

fn pair(link: &LinkSpec, ip_mtu_max: u16, seed: u64) -> Pair {
    let base = over(link.clone(), seed);
    Pair::new(&PairConfig { session: udpx_proto::SessionConfig { ip_mtu_max, ..session() }, ..base })
}

/// A path that passes IP packets of `mtu` bytes.
fn path(rate_bps: u64, rtt_ms: u64, mtu: u16) -> LinkSpec {
    LinkSpec { mtu: Some(mtu), ..bottleneck(rate_bps, rtt_ms, 1.0) }
}

/// Datagram bytes that A uses.
fn datagram(pair: &Pair) -> u64 {
    u64::from(pair.a.session.stats().datagram)
}

/// The longest time in which nothing new arrives at B within `span`.
fn stall(pair: &mut Pair, stream: udpx_proto::StreamId, span: Duration) -> Duration {
    let (mut bytes, mut since, mut longest) = (pair.b.sink.bytes_of(stream), pair.now, Duration::ZERO);
    pair.run_until(span, |p| {
        if p.b.sink.bytes_of(stream) > bytes {
            bytes = p.b.sink.bytes_of(stream);
            longest = longest.max(p.now.saturating_since(since));
            since = p.now;
        }
        false
    });
    longest.max(pair.now.saturating_since(since))
}

#[test]
fn every_common_size_is_found_and_odd_ones_nearly() {
    for (seed, mtu) in (1..).zip([1280, 1420, 1460, 1492, 1500, 9000, 65_000, 1400, 1600, 4321]) {
        let mut pair = pair(&path(500_000_000, 20, mtu), u16::MAX, seed);
        pair.send_file(Side::A, 1, (0, 1 << 40), 1);
        pair.run_until(8 * SECOND, |_| false);
        let found = datagram(&pair) + IPV4_UDP_BYTES;
        let exact = [1280, 1420, 1460, 1492, 1500, 9000].contains(&mtu);
        let least = u64::from(mtu) - if exact { 0 } else { 16 };
        assert!((least..=mtu.into()).contains(&found), "{mtu}: found {found}");
        assert_eq!(pair.a.session.stats().black_holes, 0, "{mtu}");
    }
}

#[test]
fn a_path_that_shrinks_stalls_three_round_trips_at_most() {
    // From, to, and rates and round trips from a metropolis to a satellite.
    let sizes = [(1500, 1400), (9000, 1500), (1500, 1280), (9000, 1280)];
    let paths = [(100_000_000, 50), (500_000_000, 20), (20_000_000, 100), (50_000_000, 600)];
    for (seed, (from, to)) in (20..).zip(sizes) {
        for (rate_bps, rtt_ms) in paths {
            let label = format!("{from} to {to} at {rate_bps} bit/s and {rtt_ms} ms");
            let rtt = Duration::from_millis(rtt_ms);
            let mut pair = pair(&path(rate_bps, rtt_ms, from), u16::MAX, seed);
            let stream = pair.send_file(Side::A, 1, (0, 1 << 40), 1);
            pair.run_until(60 * rtt + 2 * SECOND, |_| false);
            assert_eq!(datagram(&pair) + IPV4_UDP_BYTES, u64::from(from), "{label}");
            let before = pair.a.session.stats();
            pair.net.link_mut(Side::A, 0).replace(Node::Mtu(Mtu::new(to, IPV4_UDP_BYTES)));
            let stall = stall(&mut pair, stream, 5 * rtt);
            // A queue of a round trip's data is part of the round trip.
            let now = Duration::from_nanos(before.rtt_smoothed_ns).max(rtt);
            assert!(stall <= 3 * now, "{label}: {stall:?}, at a round trip of {now:?}");
            let after = pair.a.session.stats();
            assert_eq!(after.black_holes, 1, "{label}");
            // It was no sign of load: the rate is as before as soon as the new size is found.
            pair.run_until(12 * rtt, |_| false);
            let bytes = pair.b.sink.bytes_of(stream);
            let span = (10 * rtt).max(SECOND);
            pair.run_until(span, |_| false);
            let goodput = (pair.b.sink.bytes_of(stream) - bytes) as f64 * 8.0 / span.as_secs_f64();
            assert!(goodput > 0.75 * rate_bps as f64, "{label}: {goodput} bit/s");
        }
    }
}

#[test]
fn a_path_that_shrinks_while_it_loses_is_left_as_well() {
    for seed in 40..46 {
        let link = LinkSpec { loss: 0.1, ..path(100_000_000, 50, 1500) };
        let mut pair = pair(&link, u16::MAX, seed);
        let stream = pair.send_file(Side::A, 1, (0, 1 << 40), 1);
        pair.run_until(3 * SECOND, |_| false);
        pair.net.link_mut(Side::A, 0).replace(Node::Mtu(Mtu::new(1300, IPV4_UDP_BYTES)));
        // One try more if both small packets, or their answer, are lost.
        let stall = stall(&mut pair, stream, SECOND);
        assert!(stall < Duration::from_millis(500), "seed {seed}: {stall:?}");
        let found = datagram(&pair) + IPV4_UDP_BYTES;
        assert!(found <= 1300, "seed {seed}: {found}");
    }
}

#[test]
fn both_directions_at_once_shrink_and_go_on() {
    // B's data keeps answers coming: there is no silence that would raise doubt.
    let mut pair = pair(&path(100_000_000, 40, 1500), u16::MAX, 50);
    let stream = pair.send_file(Side::A, 1, (0, 1 << 40), 1);
    pair.send_file(Side::B, 2, (0, 1 << 40), 1);
    pair.run_until(3 * SECOND, |_| false);
    let rtt = Duration::from_nanos(pair.a.session.stats().rtt_smoothed_ns);
    pair.net.link_mut(Side::A, 0).replace(Node::Mtu(Mtu::new(1400, IPV4_UDP_BYTES)));
    let stall = stall(&mut pair, stream, SECOND);
    // One round trip more than where silence tells.
    assert!(stall <= 4 * rtt.max(Duration::from_millis(40)), "{stall:?} at {rtt:?}");
    assert_eq!(pair.a.session.stats().black_holes, 1);
    assert_eq!(pair.b.session.stats().black_holes, 0, "the way back is as it was");
}

#[test]
fn loss_and_black_outs_are_no_black_hole() {
    for (seed, loss) in (60..).zip([0.05, 0.2, 0.3]) {
        let link = LinkSpec { loss, ..path(50_000_000, 40, 1500) };
        let mut pair = pair(&link, 1500, seed);
        pair.send_file(Side::A, 1, (0, 1 << 40), 1);
        pair.run_until(20 * SECOND, |_| false);
        assert!(pair.a.session.stats().black_holes <= 1, "loss {loss}");
        assert_eq!(datagram(&pair), 1472, "loss {loss}");
    }
    let mut link = path(100_000_000, 50, 1500);
    let at = |ms: u64| Time::from_nanos(ms * 1_000_000);
    let outs = [(4000, 30), (6000, 100), (8000, 300), (11_000, 1000), (15_000, 5000)];
    link.blackouts = outs.iter().map(|&(from, ms)| (at(from), at(from + ms))).collect();
    let mut pair = pair(&link, 1500, 70);
    pair.send_file(Side::A, 1, (0, 1 << 40), 1);
    for (from, ms) in outs {
        let after = at(from + ms) + SECOND;
        let wait = after.saturating_since(pair.now);
        pair.run_until(wait, |_| false);
        assert_eq!(pair.a.session.stats().black_holes, 0, "{ms} ms of darkness");
        assert_eq!(datagram(&pair), 1472, "{ms} ms of darkness");
    }
}

#[test]
fn a_path_that_grows_again_is_used_again() {
    let mut pair = pair(&path(20_000_000, 20, 1500), 1500, 80);
    pair.send_file(Side::A, 1, (0, MIB << 20), 1);
    pair.run_until(SECOND, |_| false);
    pair.net.link_mut(Side::A, 0).replace(Node::Mtu(Mtu::new(1300, IPV4_UDP_BYTES)));
    pair.run_until(10 * SECOND, |_| false);
    assert!(datagram(&pair) <= 1272);
    pair.net.link_mut(Side::A, 0).replace(Node::Mtu(Mtu::new(1500, IPV4_UDP_BYTES)));
    pair.run_until(32 * SECOND, |_| false);
    assert_eq!(datagram(&pair), 1472);
}
