//! A peer that moves is followed: transfers of either direction go on, on each lane by itself, and nothing goes to an
//! address that was only claimed.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::{MIB, bottleneck, capture, config};
use udpx_proto::testing::net::{LaneSpec, LinkSpec, ReorderSpec, Side};
use udpx_proto::testing::{Nat, Pair};
use udpx_proto::wire::header::Kind;
use udpx_proto::{Arrival, DropReason, Event};

const RTT: Duration = Duration::from_millis(40);
const RATE_BPS: u64 = 50_000_000;

/// The `n`th address of a lane; every second one is of another host.
fn address(lane: usize, n: u16) -> SocketAddr {
    ([10, 0, lane as u8, (n / 2) as u8 + 1], 1000 + n).into()
}

fn pair(lanes: usize, link: LinkSpec, seed: u64) -> Pair {
    let mut config = config(vec![LaneSpec::symmetric(link); lanes], seed);
    config.session.peer_address = Some(address(0, 0));
    let mut pair = Pair::new(&config);
    pair.nat = Some(Nat::new((0..lanes).map(|lane| address(lane, 0)).collect()));
    pair
}

fn rebind(pair: &mut Pair, lane: usize, n: u16) {
    pair.nat.as_mut().expect("a NAT").rebind(lane, address(lane, n));
}

/// Rebinds each lane at one second and then every five until the file of `from` is there; how long it took.
fn transfer(mut pair: Pair, lanes: usize, from: Side, len: u64, label: &str) -> (Duration, Pair) {
    pair.send_file(from, 1, (0, len), 1);
    let start = pair.now;
    let done = |p: &mut Pair| !p.end(from.other()).received.is_empty() && !p.end(from).sent.is_empty();
    let mut at = Duration::from_secs(1);
    for n in 1.. {
        let until = start + at;
        let left = until.saturating_since(pair.now);
        if pair.run_until(left, done) {
            break;
        }
        assert!(n < 30, "{label}: {:?}", pair.b.session.stats());
        // Lanes do not move together.
        let lane = usize::from(n) % lanes;
        rebind(&mut pair, lane, n);
        at += Duration::from_secs(5) / lanes as u32;
    }
    (pair.now.saturating_since(start), pair)
}

fn moves(pair: &Pair) -> usize {
    pair.b.events.iter().filter(|event| matches!(event, Event::Moved { .. })).count()
}

#[test]
fn a_nat_that_rebinds_every_five_seconds_stops_no_transfer() {
    for (seed, from) in [(1, Side::A), (2, Side::B)] {
        for (lanes, loss) in [(1, 0.0), (1, 0.05), (2, 0.01)] {
            let label = format!("seed {seed}, from {from:?}, {lanes} lanes, loss {loss}");
            let link = LinkSpec { loss, ..bottleneck(RATE_BPS, 40, 2.0) };
            let len = 72 * MIB * lanes as u64;
            let (still, _) = transfer_without_moving(pair(lanes, link.clone(), seed), from, len);
            let (took, pair) = transfer(pair(lanes, link, seed), lanes, from, len, &label);
            let moves = moves(&pair);
            assert!(moves >= 2, "{label}: moved only {moves} times in {took:?}");
            // A second each: the rate of another host's path has to be found again.
            let most = still + Duration::from_millis(1500) * moves as u32;
            assert!(took < most, "{label}: {took:?}, {still:?} without {moves} moves");
        }
    }
}

fn transfer_without_moving(mut pair: Pair, from: Side, len: u64) -> (Duration, Pair) {
    pair.send_file(from, 1, (0, len), 1);
    let start = pair.now;
    let done = |p: &mut Pair| !p.end(from.other()).received.is_empty() && !p.end(from).sent.is_empty();
    assert!(pair.run_until(Duration::from_secs(120), done));
    (pair.now.saturating_since(start), pair)
}

#[test]
fn whoever_only_receives_is_found_again_soon() {
    let mut pair = pair(1, bottleneck(RATE_BPS, 40, 2.0), 3);
    pair.send_file(Side::B, 1, (0, 1 << 40), 1);
    pair.run_until(Duration::from_secs(2), |_| false);
    rebind(&mut pair, 0, 1);
    let before = pair.a.session.stats().unique_bytes_received;
    let rebound = pair.now;
    let heard = pair
        .run_until(Duration::from_secs(5), |p| p.a.session.stats().unique_bytes_received > before + 4 * MIB);
    assert!(heard, "{:?}", pair.b.session.stats());
    // Three probe time-outs of silence, the challenge's round trip, and what it takes to move 4 MiB.
    let most = 3 * (4 * RTT + Duration::from_millis(25)) + 3 * RTT + Duration::from_secs(1);
    assert!(pair.now.saturating_since(rebound) < most, "{:?}", pair.now.saturating_since(rebound));
}

#[test]
fn overtaken_packets_from_the_old_address_move_nothing_back() {
    let link = LinkSpec {
        reorder: Some(ReorderSpec { share: 0.2, extra: Duration::from_millis(60) }),
        ..bottleneck(RATE_BPS, 40, 2.0)
    };
    let mut pair = pair(1, link, 4);
    pair.send_file(Side::A, 1, (0, 32 * MIB), 1);
    pair.run_until(Duration::from_secs(1), |_| false);
    rebind(&mut pair, 0, 1);
    assert!(pair.run_until(Duration::from_secs(60), |p| !p.a.sent.is_empty()));
    let to: Vec<_> = pair
        .b
        .events
        .iter()
        .filter_map(|event| match event {
            Event::Moved { to, .. } => Some(*to),
            _ => None,
        })
        .collect();
    assert_eq!(to, [address(0, 1)]);
}

/// Somebody on the path sends copies of A's packets from another address, each before the packet itself.
#[test]
fn copies_from_elsewhere_move_nothing_and_are_not_answered_threefold() {
    let victim: SocketAddr = ([192, 0, 2, 1], 53).into();
    let mut pair = pair(1, bottleneck(RATE_BPS, 40, 2.0), 5);
    let packets = capture(&mut pair);
    pair.send_file(Side::A, 1, (0, 16 * MIB), 1);
    pair.send_file(Side::B, 2, (0, 16 * MIB), 1);
    let (mut taken, mut copied) = (0, 0);
    for round in 0..400 {
        pair.run_until(Duration::from_millis(5), |_| false);
        let new: Vec<_> = packets.borrow_mut().drain(..).filter(|p| p.from == Side::A).collect();
        // One of many, so that the copy is the first of its number to arrive, and the newest.
        if let Some(packet) = new.last().filter(|_| round % 4 == 0) {
            let how = Arrival { ecn: 0, from: Some(victim) };
            let result = pair.b.session.handle_datagram(pair.now, &how, &packet.bytes, &mut pair.b.sink);
            taken += u64::from(result.is_ok());
            if result.is_ok() {
                copied += packet.bytes.len() as u64;
            }
        }
    }
    assert!(taken > 20, "only {taken} copies were first");
    assert_eq!(moves(&pair), 0);
    let sent = pair.nat.as_ref().expect("a NAT").sent_to.get(&victim).copied().unwrap_or(0);
    assert!(sent > 0, "it was never asked");
    assert!(sent <= 3 * copied, "{sent} bytes for {copied}");
    assert!(pair.run_until(Duration::from_secs(60), |p| !p.a.sent.is_empty() && !p.b.sent.is_empty()));
}

#[test]
fn forged_repeated_and_clear_packets_make_no_candidate() {
    let elsewhere: SocketAddr = ([192, 0, 2, 1], 53).into();
    for plain in [false, true] {
        let mut config = config(vec![LaneSpec::symmetric(bottleneck(RATE_BPS, 40, 20.0))], 6);
        config.null_cipher = false;
        config.session.plain = plain;
        config.session.peer_address = Some(address(0, 0));
        let mut pair = Pair::new(&config);
        pair.nat = Some(Nat::new(vec![address(0, 0)]));
        let packets = capture(&mut pair);
        pair.send_file(Side::A, 1, (0, 8 * MIB), 1);
        pair.run_until(Duration::from_secs(1), |_| false);
        let from_elsewhere = |pair: &mut Pair, bytes: &[u8]| {
            let how = Arrival { ecn: 0, from: Some(elsewhere) };
            pair.b.session.handle_datagram(pair.now, &how, bytes, &mut pair.b.sink)
        };
        // The last ones are on their way still. In clear they are taken, and prove nothing.
        let newest: Vec<_> =
            packets.borrow().iter().rev().filter(|p| p.from == Side::A).take(9).cloned().collect();
        for packet in &newest {
            let mut bytes = packet.bytes.clone();
            *bytes.last_mut().expect("a tag") ^= 1;
            assert!(from_elsewhere(&mut pair, &bytes).is_err());
            if common::kind_of(&packet.bytes) == Kind::BulkPlain {
                assert_eq!(from_elsewhere(&mut pair, &packet.bytes), Ok(()));
            }
        }
        assert!(pair.run_until(Duration::from_secs(60), |p| !p.a.sent.is_empty()));
        // What is on its way still arrives.
        pair.run_until(Duration::from_secs(1), |_| false);
        for packet in packets.borrow().iter().filter(|p| p.from == Side::A) {
            let again = from_elsewhere(&mut pair, &packet.bytes);
            assert!(matches!(again, Err(DropReason::Duplicate | DropReason::TooOld)), "{again:?}");
        }
        pair.run_until(Duration::from_secs(1), |_| false);
        let nat = pair.nat.as_ref().expect("a NAT");
        assert_eq!(nat.sent_to.get(&elsewhere), None, "plain {plain}");
    }
}
