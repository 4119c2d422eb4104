//! A link described by its faults: what tests write, print and rebuild.

use super::IPV4_UDP_BYTES;
use super::link::Link;
use super::node::{
    Aggregate, Blackout, BurstLoss, Corrupt, Delay, Duplicate, Jitter, Loss, Mtu, Node, Policer, Queue,
    Reorder, Wander,
};
use crate::time::Time;
use core::fmt;
use core::time::Duration;

/// One direction of a path. The default is perfect: no delay, no limit, no fault.
///
/// Packets meet the faults in this order: blackouts, MTU, policer, queue, wander, loss, burst loss, duplication,
/// corruption, delay, jitter, reordering,
/// aggregation. So random loss comes after the bottleneck: of a capacity C, C(1-p) arrives.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LinkSpec {
    /// One-way delay.
    pub delay: Duration,
    /// Extra delay of each packet by itself, uniform from 0 to this: packets overtake each other.
    pub jitter: Duration,
    /// Extra delay that drifts between 0 and this and keeps order.
    pub wander: Duration,
    /// Probability that a packet is lost, each by itself.
    pub loss: f64,
    /// Loss in bursts.
    pub burst_loss: Option<BurstSpec>,
    /// Some packets are held back.
    pub reorder: Option<ReorderSpec>,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    /// Copies are up to this much later than their originals, uniform.
    pub duplicate_later: Duration,
    /// Probability that one bit of a packet is flipped.
    pub corrupt: f64,
    /// The bottleneck.
    pub queue: Option<QueueSpec>,
    /// A token bucket that drops.
    pub policer: Option<PolicerSpec>,
    /// Bytes added to each UDP payload in the queue and the policer; 0 makes their rates rates of payload.
    pub overhead_bytes: u64,
    /// Largest IPv4 packet in bytes; larger ones vanish.
    pub mtu: Option<u16>,
    /// Packets arrive together at multiples of this.
    pub aggregate: Duration,
    /// Everything sent in `[start, end)` is lost.
    pub blackouts: Vec<(Time, Time)>,
}

/// Loss in bursts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BurstSpec {
    /// Share of all packets that is lost, below 1.
    pub loss: f64,
    /// Mean length of a burst in packets, at least 1.
    pub burst_packets: f64,
}

/// Packets that are held back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReorderSpec {
    /// Probability that a packet is held back.
    pub share: f64,
    /// How long.
    pub extra: Duration,
}

/// A bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// Bits per second.
    pub rate_bps: u64,
    /// Bytes that may wait; more are dropped.
    pub limit_bytes: u64,
    /// ECN-capable packets that find at least this many bytes waiting are marked.
    pub mark_bytes: Option<u64>,
}

/// A token bucket that drops what exceeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicerSpec {
    /// Bits per second.
    pub rate_bps: u64,
    /// Bytes of the full bucket.
    pub burst_bytes: u64,
}

/// Both directions of a lane.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LaneSpec {
    /// From a to b.
    pub ab: LinkSpec,
    /// From b to a.
    pub ba: LinkSpec,
}

impl LinkSpec {
    /// The link, with its chance from this seed. A fault that is not asked for costs nothing.
    #[must_use]
    pub fn build(&self, seed: u64) -> Link {
        let mut nodes = Vec::new();
        let mut add = |wanted: bool, node: Node| {
            if wanted {
                nodes.push(node);
            }
        };
        add(!self.blackouts.is_empty(), Node::Blackout(Blackout::new(self.blackouts.clone())));
        if let Some(mtu) = self.mtu {
            add(true, Node::Mtu(Mtu::new(mtu, IPV4_UDP_BYTES)));
        }
        if let Some(PolicerSpec { rate_bps, burst_bytes }) = self.policer {
            add(true, Node::Policer(Policer::new(rate_bps, burst_bytes, self.overhead_bytes)));
        }
        if let Some(queue) = self.queue {
            add(true, Node::Queue(Queue::new(queue, self.overhead_bytes)));
        }
        add(!self.wander.is_zero(), Node::Wander(Wander::new(self.wander)));
        add(self.loss > 0.0, Node::Loss(Loss::new(self.loss)));
        if let Some(BurstSpec { loss, burst_packets }) = self.burst_loss {
            add(true, Node::BurstLoss(BurstLoss::new(loss, burst_packets)));
        }
        add(self.duplicate > 0.0, Node::Duplicate(Duplicate::new(self.duplicate, self.duplicate_later)));
        add(self.corrupt > 0.0, Node::Corrupt(Corrupt::new(self.corrupt)));
        add(!self.delay.is_zero(), Node::Delay(Delay::new(self.delay)));
        add(!self.jitter.is_zero(), Node::Jitter(Jitter::new(self.jitter)));
        if let Some(ReorderSpec { share, extra }) = self.reorder {
            add(true, Node::Reorder(Reorder::new(share, extra)));
        }
        if !self.aggregate.is_zero() {
            nodes.push(Node::Aggregate(Aggregate::new(self.aggregate)));
        }
        Link::new(nodes, seed)
    }
}

impl LaneSpec {
    /// The same faults in both directions.
    #[must_use]
    pub fn symmetric(link: LinkSpec) -> LaneSpec {
        LaneSpec { ab: link.clone(), ba: link }
    }
}

/// One line, only what is not perfect; every number is printed exactly.
impl fmt::Display for LinkSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "delay={:?}", self.delay)?;
        for (name, value) in [("jitter", self.jitter), ("wander", self.wander), ("aggregate", self.aggregate)]
        {
            if !value.is_zero() {
                write!(f, " {name}={value:?}")?;
            }
        }
        for (name, value) in [("loss", self.loss), ("duplicate", self.duplicate), ("corrupt", self.corrupt)] {
            if value > 0.0 {
                write!(f, " {name}={value}")?;
            }
        }
        if !self.duplicate_later.is_zero() {
            write!(f, " duplicate_later={:?}", self.duplicate_later)?;
        }
        if let Some(burst) = self.burst_loss {
            write!(f, " burst_loss={}x{}", burst.loss, burst.burst_packets)?;
        }
        if let Some(reorder) = self.reorder {
            write!(f, " reorder={}+{:?}", reorder.share, reorder.extra)?;
        }
        if let Some(queue) = self.queue {
            write!(f, " rate={}bps queue={}B", queue.rate_bps, queue.limit_bytes)?;
            if let Some(mark) = queue.mark_bytes {
                write!(f, " mark={mark}B")?;
            }
        }
        if let Some(policer) = self.policer {
            write!(f, " policer={}bps+{}B", policer.rate_bps, policer.burst_bytes)?;
        }
        if self.overhead_bytes > 0 {
            write!(f, " overhead={}B", self.overhead_bytes)?;
        }
        if let Some(mtu) = self.mtu {
            write!(f, " mtu={mtu}")?;
        }
        for (start, end) in &self.blackouts {
            write!(f, " blackout={}..{}ns", start.as_nanos(), end.as_nanos())?;
        }
        Ok(())
    }
}

/// One line: the direction a→b, and b→a where it differs.
impl fmt::Display for LaneSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ab == self.ba {
            write!(f, "[{}]", self.ab)
        } else {
            write!(f, "[a->b {} | b->a {}]", self.ab, self.ba)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_in_one_line_what_is_not_perfect() {
        let link = LinkSpec {
            delay: Duration::from_millis(25),
            loss: 0.01,
            queue: Some(QueueSpec { rate_bps: 100_000_000, limit_bytes: 625_000, mark_bytes: None }),
            blackouts: vec![(Time::ZERO, Time::from_nanos(5))],
            ..LinkSpec::default()
        };
        let line = "delay=25ms loss=0.01 rate=100000000bps queue=625000B blackout=0..5ns";
        assert_eq!(link.to_string(), line);
        let lane = LaneSpec { ab: link.clone(), ba: LinkSpec::default() };
        assert_eq!(lane.to_string(), format!("[a->b {line} | b->a delay=0ns]"));
        assert_eq!(LaneSpec::symmetric(link).to_string(), format!("[{line}]"));
    }
}
