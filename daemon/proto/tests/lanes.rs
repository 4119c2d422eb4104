//! Several lanes: one that dies takes nothing with it.

mod common;

use std::time::Duration;

use common::{bottleneck, config};
use udpx_proto::Time;
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, Side};

fn two_lanes(seed: u64, dead: impl Fn(Side) -> Option<Duration>) -> Pair {
    let good = bottleneck(50_000_000, 30, 1.0);
    let die = |side| {
        let mut link: LinkSpec = good.clone();
        if let Some(after) = dead(side) {
            // A pair's time begins at one second.
            link.blackouts.push((Time::from_nanos(1_000_000_000) + after, Time::FAR));
        }
        link
    };
    let second = LaneSpec { ab: die(Side::A), ba: die(Side::B) };
    Pair::new(&config(vec![LaneSpec::symmetric(good.clone()), second], seed))
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
