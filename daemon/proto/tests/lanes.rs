//! Several lanes: one that dies takes nothing with it.

mod common;

use std::time::Duration;

use common::{bottleneck, config};
use udpx_proto::Time;
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, Side};

fn two_lanes(seed: u64, dead: impl Fn(Side) -> Option<Duration>) -> Pair {
    let (good, second) = lanes(dead);
    Pair::new(&config(vec![good, second], seed))
}

/// A lane that works, and one that dies in the directions and at the times that `dead` tells.
fn lanes(dead: impl Fn(Side) -> Option<Duration>) -> (LaneSpec, LaneSpec) {
    let good = bottleneck(50_000_000, 30, 1.0);
    let die = |side| {
        let mut link: LinkSpec = good.clone();
        if let Some(after) = dead(side) {
            // A pair's time begins at one second.
            link.blackouts.push((Time::from_nanos(1_000_000_000) + after, Time::FAR));
        }
        link
    };
    (LaneSpec::symmetric(good.clone()), LaneSpec { ab: die(Side::A), ba: die(Side::B) })
}

fn finishes(mut pair: Pair) {
    pair.send_file(Side::A, 1, (0, 32 << 20), 1);
    let done = pair.run_until(Duration::from_secs(60), |p| !p.b.received.is_empty() && !p.a.sent.is_empty());
    assert!(done, "{:?}", pair.a.session.stats());
}

#[test]
fn a_lane_that_never_worked_stops_nothing() {
    finishes(two_lanes(1, |_| Some(Duration::ZERO)));
    finishes(two_lanes(2, |side| (side == Side::A).then_some(Duration::ZERO)));
    finishes(two_lanes(3, |side| (side == Side::B).then_some(Duration::ZERO)));
}

#[test]
fn a_lane_that_dies_in_the_middle_gives_up_what_it_carried() {
    let middle = Duration::from_millis(2_500);
    finishes(two_lanes(4, |_| Some(middle)));
    finishes(two_lanes(5, |side| (side == Side::A).then_some(middle)));
    finishes(two_lanes(6, |side| (side == Side::B).then_some(middle)));
}

#[test]
fn the_first_lane_may_die_like_any_other() {
    let middle = Some(Duration::from_millis(2_500));
    for (seed, spared) in [(7, None), (8, Some(Side::B)), (9, Some(Side::A))] {
        let (good, first) = lanes(|side| middle.filter(|_| Some(side) != spared));
        let mut pair = Pair::new(&config(vec![first, good], seed));
        // Announcing the second file, granting credit for it and closing are the business of the first lane that works.
        pair.send_file(Side::A, 1, (0, 32 << 20), 1);
        let done =
            pair.run_until(Duration::from_secs(60), |p| !p.b.received.is_empty() && !p.a.sent.is_empty());
        assert!(done, "seed {seed}: {:?}", pair.a.session.stats());
        pair.send_file(Side::B, 1, (0, 4 << 20), 1);
        let done =
            pair.run_until(Duration::from_secs(60), |p| !p.a.received.is_empty() && !p.b.sent.is_empty());
        assert!(done, "seed {seed}: {:?}", pair.b.session.stats());
        let works = |stats: &udpx_proto::SessionStats| [stats.lanes[0].works, stats.lanes[1].works];
        assert_eq!(works(&pair.a.session.stats()), [false, true], "seed {seed}");
    }
}
