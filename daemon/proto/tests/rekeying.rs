//! Sessions that get new secrets while data flows: nothing waits for it, nothing is lost by it, and nobody but the two
//! ends can begin it.

mod common;

use std::time::Duration;

use common::{MIB, bottleneck, config, finish, over};
use udpx_proto::messages::Unsupported;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, ReorderSpec, Side};
use udpx_proto::testing::{Pair, PairConfig};
use udpx_proto::{Code, DropReason, Event, Message, RekeyLimits};

const NEVER: RekeyLimits =
    RekeyLimits { age: Duration::from_secs(1 << 30), packets: u64::MAX, gap: Duration::ZERO };

fn path(loss: f64) -> LinkSpec {
    LinkSpec {
        loss,
        reorder: Some(ReorderSpec { share: 0.1, extra: Duration::from_millis(20) }),
        ..bottleneck(100_000_000, 40, 2.0)
    }
}

fn setup(lanes: usize, loss: f64, seed: u64, rekey: RekeyLimits) -> PairConfig {
    let mut config = config(vec![LaneSpec::symmetric(path(loss)); lanes], seed);
    config.null_cipher = false;
    config.session.rekey = rekey;
    config
}

/// Moves a file each way; how long that took.
fn transfer(config: &PairConfig, label: &str) -> (Duration, Pair) {
    let mut pair = Pair::new(config);
    let begin = pair.now;
    pair.send_file(Side::A, 1, (0, 64 * MIB), 1);
    pair.send_file(Side::B, 2, (0, 8 * MIB), 1);
    finish(&mut pair, 1, Duration::from_secs(60), label);
    let took = pair.now.saturating_since(begin);
    (took, pair)
}

#[test]
fn new_secrets_every_1000_packets_cost_no_time_and_lose_nothing() {
    for (seed, lanes, loss) in [(1, 1, 0.0), (2, 1, 0.03), (3, 2, 0.03)] {
        let label = format!("seed {seed}, {lanes} lanes, loss {loss}");
        let (without, _) = transfer(&setup(lanes, loss, seed, NEVER), &label);
        let (with, pair) =
            transfer(&setup(lanes, loss, seed, RekeyLimits { packets: 1000, ..NEVER }), &label);
        let (a, b) = (&pair.a.session, &pair.b.session);
        // One takes four round trips or so: there and back, and until each end has heard of the other's first use.
        assert!(a.stats().rekeys >= 5, "{label}: only {} exchanges", a.stats().rekeys);
        assert!(
            b.stats().rekeys - a.stats().rekeys <= 1,
            "{label}: {} and {}",
            a.stats().rekeys,
            b.stats().rekeys
        );
        for session in [a, b] {
            let drops: Vec<_> = session.drops().iter().collect();
            assert!(drops.iter().all(|(reason, _)| *reason == DropReason::Duplicate), "{label}: {drops:?}");
        }
        assert!(with < without + without / 10, "{label}: {with:?}, {without:?} without");
    }
}

#[test]
fn secrets_are_replaced_when_they_are_old_also_of_a_session_that_is_idle() {
    let hours = RekeyLimits { age: Duration::from_secs(3600), ..RekeyLimits::default() };
    assert_eq!(hours, RekeyLimits::default());
    let mut pair = Pair::new(&setup(1, 0.01, 4, hours));
    pair.run_until(Duration::from_secs(3599), |_| false);
    assert_eq!((pair.a.session.stats().rekeys, pair.b.session.stats().rekeys), (0, 0));
    // A keep-alive comes every 20 s.
    pair.run_until(Duration::from_secs(30), |_| false);
    assert_eq!((pair.a.session.stats().rekeys, pair.b.session.stats().rekeys), (1, 1));
    pair.run_until(Duration::from_secs(10 * 3600), |_| false);
    assert_eq!((pair.a.session.stats().rekeys, pair.b.session.stats().rekeys), (10, 10));
    pair.send_file(Side::A, 1, (0, 8 * MIB), 1);
    finish(&mut pair, 1, Duration::from_secs(30), "after ten hours");
}

#[test]
fn a_lane_that_is_opened_later_begins_with_the_new_secrets_soon() {
    let mut pair = Pair::new(&setup(2, 0.0, 5, RekeyLimits { packets: 500, ..NEVER }));
    pair.send_file(Side::A, 1, (0, 32 * MIB), 1);
    finish(&mut pair, 1, Duration::from_secs(30), "two lanes");
    assert!(pair.a.session.stats().rekeys >= 2, "{}", pair.a.session.stats().rekeys);
    let per_lane: Vec<u64> = (0..2).map(|lane| pair.net.link(Side::A, lane).stats().delivered).collect();
    assert!(per_lane.iter().all(|&packets| packets > 1000), "{per_lane:?}");
}

fn closed_with(events: &[Event]) -> Option<u32> {
    events.iter().find_map(|event| match event {
        Event::Closed { code, .. } => Some(*code),
        _ => None,
    })
}

#[test]
fn a_peer_that_wants_new_secrets_all_the_time_is_sent_away() {
    // Ten seconds are the least.
    let greedy = RekeyLimits { packets: 1, ..RekeyLimits::default() };
    let mut pair = Pair::new(&setup(1, 0.0, 6, greedy));
    pair.run_until(Duration::from_secs(1), |p| closed_with(&p.a.events).is_some());
    assert_eq!(closed_with(&pair.a.events), Some(Code::Protocol.number()));
}

#[test]
fn a_peer_that_knows_no_new_secrets_is_asked_once() {
    let mut config = over(path(0.0), 7);
    config.session.rekey = RekeyLimits { packets: 10, ..NEVER };
    let mut pair = Pair::new(&config);
    pair.b.knows_no_rekey = true;
    pair.send_file(Side::A, 1, (0, 16 * MIB), 1);
    let asked = |p: &Pair| p.b.events.iter().filter(|e| matches!(e, Event::RekeyAsked)).count();
    assert!(pair.run_until(Duration::from_secs(5), |p| asked(p) > 0));
    let answer = Message::Unsupported(Unsupported { kind: 4, version: 1 });
    pair.b.session.send_message(&answer).expect("room");
    finish(&mut pair, 1, Duration::from_secs(30), "seed 7");
    assert_eq!((asked(&pair), pair.a.session.stats().rekeys), (1, 0));
    assert!(pair.a.session.is_open());
}
