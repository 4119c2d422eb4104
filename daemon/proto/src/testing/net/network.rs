//! Two ends joined by lanes, each lane a link in either direction.

use super::link::Link;
use super::packet::Packet;
use super::rng::SimRng;
use super::spec::LaneSpec;
use crate::time::Time;

/// One end of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The first end: by convention the one that starts the session.
    A,
    /// The second end.
    B,
}

/// A packet that has reached an end.
#[derive(Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The end it reached.
    pub to: Side,
    /// The index of the lane it came by.
    pub lane: usize,
    /// The packet; give it back by [`Network::recycle`].
    pub packet: Packet,
}

/// Two ends and the lanes between them.
#[derive(Debug)]
pub struct Network {
    /// For each lane the links a→b and b→a.
    lanes: Vec<[Link; 2]>,
}

impl Network {
    /// A network of these lanes. Every link draws from its own stream of the seed.
    #[must_use]
    pub fn new(lanes: &[LaneSpec], seed: u64) -> Network {
        let link_seed =
            |lane: usize, from: Side| SimRng::stream(seed, 2 * lane as u64 + from as u64).next_u64();
        let build = |(lane, spec): (usize, &LaneSpec)| {
            [spec.ab.build(link_seed(lane, Side::A)), spec.ba.build(link_seed(lane, Side::B))]
        };
        Network { lanes: lanes.iter().enumerate().map(build).collect() }
    }

    /// A network of links built by hand, a pair (a→b, b→a) for each lane.
    #[must_use]
    pub fn from_links(lanes: Vec<[Link; 2]>) -> Network {
        Network { lanes }
    }

    /// How many lanes there are.
    #[must_use]
    pub fn lane_count(&self) -> usize {
        self.lanes.len()
    }

    /// The link of a lane which leads away from `from`.
    ///
    /// # Panics
    /// If there is no such lane.
    #[must_use]
    pub fn link(&self, from: Side, lane: usize) -> &Link {
        &self.lanes[lane][from as usize]
    }

    /// As [`link`](Network::link), to change it.
    ///
    /// # Panics
    /// If there is no such lane.
    #[must_use]
    pub fn link_mut(&mut self, from: Side, lane: usize) -> &mut Link {
        &mut self.lanes[lane][from as usize]
    }

    /// Sends a copy of these bytes from an end by a lane.
    ///
    /// # Panics
    /// If there is no such lane.
    pub fn send(&mut self, now: Time, from: Side, lane: usize, bytes: &[u8], ecn: u8) {
        self.link_mut(from, lane).send(now, bytes, ecn);
    }

    /// When [`poll`](Network::poll) is next worth calling; `None` if nothing is on its way.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Time> {
        self.lanes.iter().flatten().filter_map(Link::next_arrival).min()
    }

    /// The first packet that has arrived at either end by now, in the order of arrival; at equal times lower lanes and
    /// the direction a→b come first.
    pub fn poll(&mut self, now: Time) -> Option<Arrival> {
        loop {
            let (_, lane, to) = self.first_due(now)?;
            let link = self.link_mut(to.other(), lane);
            // The link's own time, not `now`: were it to run ahead of the other links the order would break.
            let due = link.next_arrival()?;
            if let Some(packet) = link.pop(due) {
                return Some(Arrival { to, lane, packet });
            }
        }
    }

    /// Gives the buffer of an arrived packet back.
    ///
    /// # Panics
    /// If there is no such lane.
    pub fn recycle(&mut self, arrival: Arrival) {
        self.link_mut(arrival.to.other(), arrival.lane).recycle(arrival.packet);
    }

    fn first_due(&self, now: Time) -> Option<(Time, usize, Side)> {
        let mut first: Option<(Time, usize, Side)> = None;
        for (lane, [ab, ba]) in self.lanes.iter().enumerate() {
            for (link, to) in [(ab, Side::B), (ba, Side::A)] {
                let Some(at) = link.next_arrival() else { continue };
                if at <= now && first.is_none_or(|(earliest, ..)| at < earliest) {
                    first = Some((at, lane, to));
                }
            }
        }
        first
    }
}

impl Side {
    /// The opposite end.
    #[must_use]
    pub fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}
