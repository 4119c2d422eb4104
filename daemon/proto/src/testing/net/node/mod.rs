//! The nodes that a link is made of: one fault or property of a path each.
//!
//! A node is asked once for every packet that reaches it, at the time when it does, and decides at once. Nodes never hold
//! packets: a delay is an arrival time in the future.

mod aggregate;
mod blackout;
mod burst_loss;
mod corrupt;
mod delay;
mod duplicate;
mod filter;
mod jitter;
mod loss;
mod mtu;
mod policer;
mod queue;
mod reorder;
mod wander;

pub use aggregate::Aggregate;
pub use blackout::Blackout;
pub use burst_loss::BurstLoss;
pub use corrupt::Corrupt;
pub use delay::Delay;
pub use duplicate::Duplicate;
pub use filter::{Filter, Verdict};
pub use jitter::Jitter;
pub use loss::Loss;
pub use mtu::Mtu;
pub use policer::Policer;
pub use queue::Queue;
pub use reorder::Reorder;
pub use wander::Wander;

use super::packet::Packet;
use super::rng::SimRng;
use super::stats::LinkStats;
use crate::time::Time;

/// One fault or property of a path.
#[derive(Debug)]
pub enum Node {
    /// Constant delay.
    Delay(Delay),
    /// Random delay of each packet.
    Jitter(Jitter),
    /// Drifting delay that keeps order.
    Wander(Wander),
    /// Independent loss.
    Loss(Loss),
    /// Loss in bursts.
    BurstLoss(BurstLoss),
    /// Some packets are held back.
    Reorder(Reorder),
    /// Some packets arrive twice.
    Duplicate(Duplicate),
    /// A bit of some packets is flipped.
    Corrupt(Corrupt),
    /// A bottleneck with a drop-tail queue.
    Queue(Queue),
    /// A token bucket that drops.
    Policer(Policer),
    /// Large packets vanish.
    Mtu(Mtu),
    /// Everything vanishes for a while.
    Blackout(Blackout),
    /// Scripted drops.
    Filter(Filter),
    /// Packets are let through together.
    Aggregate(Aggregate),
}

/// The kind of a [`Node`], which is also the index of its counter. New kinds go last: the number is part of what a seed
/// means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is documented at the node of the same name")]
pub enum NodeKind {
    Delay,
    Jitter,
    Wander,
    Loss,
    BurstLoss,
    Reorder,
    Duplicate,
    Corrupt,
    Queue,
    Policer,
    Mtu,
    Blackout,
    Filter,
    Aggregate,
}

/// What a node has at hand besides the packet.
pub(crate) struct Context<'a> {
    /// The node's own stream.
    pub(crate) rng: &'a mut SimRng,
    pub(crate) stats: &'a mut LinkStats,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It leaves the node at this time, never earlier than it came.
    Pass(Time),
    /// It is lost.
    Drop,
    /// It leaves the node at once, and a copy at this time.
    Twice(Time),
}

impl Node {
    /// The node's kind.
    #[must_use]
    pub fn kind(&self) -> NodeKind {
        match self {
            Node::Delay(_) => NodeKind::Delay,
            Node::Jitter(_) => NodeKind::Jitter,
            Node::Wander(_) => NodeKind::Wander,
            Node::Loss(_) => NodeKind::Loss,
            Node::BurstLoss(_) => NodeKind::BurstLoss,
            Node::Reorder(_) => NodeKind::Reorder,
            Node::Duplicate(_) => NodeKind::Duplicate,
            Node::Corrupt(_) => NodeKind::Corrupt,
            Node::Queue(_) => NodeKind::Queue,
            Node::Policer(_) => NodeKind::Policer,
            Node::Mtu(_) => NodeKind::Mtu,
            Node::Blackout(_) => NodeKind::Blackout,
            Node::Filter(_) => NodeKind::Filter,
            Node::Aggregate(_) => NodeKind::Aggregate,
        }
    }

    /// Decides about a packet that reaches the node at `at`.
    pub(crate) fn process(&mut self, at: Time, packet: &mut Packet, context: &mut Context<'_>) -> Fate {
        match self {
            Node::Delay(node) => node.process(at),
            Node::Jitter(node) => node.process(at, context.rng),
            Node::Wander(node) => node.process(at, context.rng),
            Node::Loss(node) => node.process(at, context.rng),
            Node::BurstLoss(node) => node.process(at, context.rng),
            Node::Reorder(node) => node.process(at, context.rng),
            Node::Duplicate(node) => node.process(at, context.rng),
            Node::Corrupt(node) => node.process(at, packet, context),
            Node::Queue(node) => node.process(at, packet, context.stats),
            Node::Policer(node) => node.process(at, packet),
            Node::Mtu(node) => node.process(at, packet),
            Node::Blackout(node) => node.process(at),
            Node::Filter(node) => node.process(at, packet),
            Node::Aggregate(node) => node.process(at),
        }
    }

    /// Becomes `next`, a node of the same kind.
    pub(crate) fn succeed_by(&mut self, next: Node) {
        match (self, next) {
            (Node::Queue(queue), Node::Queue(next)) => queue.succeed_by(&next),
            (node, next) => *node = next,
        }
    }
}

impl NodeKind {
    /// All kinds, in the order of their counters.
    pub const ALL: [NodeKind; 14] = [
        NodeKind::Delay,
        NodeKind::Jitter,
        NodeKind::Wander,
        NodeKind::Loss,
        NodeKind::BurstLoss,
        NodeKind::Reorder,
        NodeKind::Duplicate,
        NodeKind::Corrupt,
        NodeKind::Queue,
        NodeKind::Policer,
        NodeKind::Mtu,
        NodeKind::Blackout,
        NodeKind::Filter,
        NodeKind::Aggregate,
    ];

    /// A name for reports.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            NodeKind::Delay => "delay",
            NodeKind::Jitter => "jitter",
            NodeKind::Wander => "wander",
            NodeKind::Loss => "loss",
            NodeKind::BurstLoss => "burst loss",
            NodeKind::Reorder => "reorder",
            NodeKind::Duplicate => "duplicate",
            NodeKind::Corrupt => "corrupt",
            NodeKind::Queue => "queue",
            NodeKind::Policer => "policer",
            NodeKind::Mtu => "mtu",
            NodeKind::Blackout => "blackout",
            NodeKind::Filter => "filter",
            NodeKind::Aggregate => "aggregate",
        }
    }

    /// Packets leave it in the order in which they came.
    pub(crate) fn keeps_order(self) -> bool {
        !matches!(self, NodeKind::Jitter | NodeKind::Reorder | NodeKind::Duplicate)
    }

    /// It has a state that depends on time, so that packets must reach it in the order of time.
    pub(crate) fn needs_order(self) -> bool {
        matches!(self, NodeKind::Wander | NodeKind::Queue | NodeKind::Policer | NodeKind::Filter)
    }
}

/// The kinds in the list of all must be in the order of their numbers, which are indices of counters.
const _: () = {
    let mut index = 0;
    while index < NodeKind::ALL.len() {
        assert!(NodeKind::ALL[index] as usize == index);
        index += 1;
    }
};
