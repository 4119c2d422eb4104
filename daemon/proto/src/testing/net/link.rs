//! One direction of a path: an ordered list of nodes, and the packets on their way.

use super::node::{Context, Fate, Filter, Node, Verdict};
use super::packet::{Packet, Pool};
use super::rng::SimRng;
use super::stats::LinkStats;
use super::transit::Transit;
use crate::time::Time;

/// One direction of a path.
///
/// Drive it with [`push`](Link::push), [`next_arrival`](Link::next_arrival) and [`pop`](Link::pop). A packet
/// that is pushed at a time before one already reached is pushed at that one.
#[derive(Debug)]
pub struct Link {
    stages: Vec<Stage>,
    transit: Transit,
    pool: Pool,
    stats: LinkStats,
    now: Time,
}

/// A node in its place.
#[derive(Debug)]
struct Stage {
    node: Node,
    rng: SimRng,
    /// A node before this one may let packets overtake, and this one must see them in the order of time: they wait in
    /// the transit until they reach it.
    waits: bool,
}

impl Link {
    /// A link whose packets meet these nodes in this order.
    #[must_use]
    pub fn new(nodes: Vec<Node>, seed: u64) -> Link {
        let mut link = Link {
            stages: Vec::with_capacity(nodes.len()),
            transit: Transit::default(),
            pool: Pool::default(),
            stats: LinkStats::default(),
            now: Time::ZERO,
        };
        for node in nodes {
            let kind = node.kind();
            // A node's stream depends on its kind and on how many of that kind precede it, never on the other kinds.
            let ordinal = link.stages.iter().filter(|stage| stage.node.kind() == kind).count();
            let rng = SimRng::stream(seed, (kind as u64) << 32 | ordinal as u64);
            link.stages.push(Stage { node, rng, waits: false });
        }
        link.settle_waits();
        link
    }

    /// Puts a scripted filter in front: it sees every packet at the time when it is pushed. Of several, the
    /// last one added comes first.
    ///
    /// # Panics
    /// If packets are on their way: their places in the list would shift.
    pub fn add_filter(&mut self, decide: impl FnMut(&[u8], Time) -> Verdict + 'static) {
        assert_eq!(self.transit.len(), 0, "a filter must be added before the first packet is pushed");
        let node = Node::Filter(Filter::new(decide));
        // A filter draws nothing, so its seed is no matter.
        let rng = SimRng::new(0);
        self.stages.insert(0, Stage { node, rng, waits: false });
        self.settle_waits();
    }

    /// Puts `node` in the place of the first of its kind: the path changes in mid-run. What a queue holds stays in it and
    /// leaves at the old rate; what is already on its way arrives when it would have.
    ///
    /// # Panics
    /// If the link has no node of this kind.
    pub fn replace(&mut self, node: Node) {
        let kind = node.kind();
        let stage = self.stages.iter_mut().find(|stage| stage.node.kind() == kind);
        let stage = stage.unwrap_or_else(|| panic!("the link has no {} to replace", kind.label()));
        stage.node.succeed_by(node);
    }

    /// Sends a packet into the link now.
    pub fn push(&mut self, now: Time, packet: Packet) {
        self.now = self.now.max(now);
        self.stats.offered += 1;
        self.run(0, self.now, packet);
        self.check_invariants();
    }

    /// Sends a copy of these bytes into the link now, in a recycled buffer.
    pub fn send(&mut self, now: Time, bytes: &[u8], ecn: u8) {
        let mut packet = self.buffer();
        packet.bytes.extend_from_slice(bytes);
        packet.ecn = ecn;
        self.push(now, packet);
    }

    /// When [`pop`](Link::pop) is next worth calling; `None` if nothing is on its way. That call may still return
    /// nothing: a packet may only have reached the next node then.
    #[must_use]
    pub fn next_arrival(&self) -> Option<Time> {
        self.transit.first()
    }

    /// The first packet that has arrived by now, in the order of arrival. Its buffer should come back by
    /// [`recycle`](Link::recycle).
    pub fn pop(&mut self, now: Time) -> Option<Packet> {
        self.now = self.now.max(now);
        while let Some(waiting) = self.transit.take_due(now) {
            let bytes = waiting.packet.bytes.len() as u64;
            self.stats.in_flight -= 1;
            self.stats.in_flight_bytes -= bytes;
            if waiting.stage == self.stages.len() {
                self.stats.delivered += 1;
                self.stats.delivered_bytes += bytes;
                return Some(waiting.packet);
            }
            self.run(waiting.stage, waiting.at, waiting.packet);
        }
        self.check_invariants();
        None
    }

    /// An empty packet, in a recycled buffer if there is one.
    pub fn buffer(&mut self) -> Packet {
        self.pool.take()
    }

    /// Gives the buffer of a popped packet back.
    pub fn recycle(&mut self, packet: Packet) {
        self.pool.give(packet);
    }

    /// What the link did so far.
    #[must_use]
    pub fn stats(&self) -> LinkStats {
        LinkStats { buffers: self.pool.created(), ..self.stats }
    }

    /// Takes a packet, which is at the node `first` at the time `at`, as far as it goes now.
    fn run(&mut self, first: usize, at: Time, mut packet: Packet) {
        let mut at = at;
        for index in first..self.stages.len() {
            let stage = &mut self.stages[index];
            if stage.waits && index > first {
                return self.wait(at, index, packet);
            }
            let mut context = Context { rng: &mut stage.rng, stats: &mut self.stats };
            match stage.node.process(at, &mut packet, &mut context) {
                Fate::Pass(left) => at = left,
                Fate::Drop => {
                    self.stats.lost[stage.node.kind() as usize] += 1;
                    return self.pool.give(packet);
                }
                Fate::Twice(copy_at) => {
                    self.stats.duplicated += 1;
                    let mut copy = self.pool.take();
                    copy.bytes.extend_from_slice(&packet.bytes);
                    copy.ecn = packet.ecn;
                    // The copy goes first through the transit if it has to wait: `index + 1` may be such a node.
                    self.enter(copy_at, index + 1, copy);
                }
            }
        }
        self.wait(at, self.stages.len(), packet);
    }

    /// Lets a packet enter the node `index`, at once or when it gets there.
    fn enter(&mut self, at: Time, index: usize, packet: Packet) {
        if self.stages.get(index).is_some_and(|stage| stage.waits) {
            self.wait(at, index, packet);
        } else {
            self.run(index, at, packet);
        }
    }

    fn wait(&mut self, at: Time, stage: usize, packet: Packet) {
        self.stats.in_flight += 1;
        self.stats.in_flight_bytes += packet.bytes.len() as u64;
        self.stats.in_flight_bytes_max = self.stats.in_flight_bytes_max.max(self.stats.in_flight_bytes);
        self.transit.insert(at, stage, packet);
    }

    fn settle_waits(&mut self) {
        let mut in_order = true;
        for stage in &mut self.stages {
            let kind = stage.node.kind();
            stage.waits = !in_order && kind.needs_order();
            // What waited comes out of the transit sorted.
            in_order = (in_order || stage.waits) && kind.keeps_order();
        }
    }

    fn check_invariants(&self) {
        debug_assert_eq!(self.stats.in_flight, self.transit.len() as u64);
        debug_assert_eq!(
            self.stats.offered + self.stats.duplicated,
            self.stats.delivered + self.stats.lost_total() + self.stats.in_flight
        );
    }
}
