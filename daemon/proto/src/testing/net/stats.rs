//! What one link did.

use super::node::NodeKind;

/// Counters of one link. At any time `offered + duplicated = delivered + lost_total() + in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkStats {
    /// Packets pushed.
    pub offered: u64,
    /// Packets popped.
    pub delivered: u64,
    /// UDP payload bytes popped.
    pub delivered_bytes: u64,
    /// Packets dropped, by the kind of node that did it, in the order of [`NodeKind::ALL`].
    pub lost: [u64; NodeKind::ALL.len()],
    /// Copies made.
    pub duplicated: u64,
    /// Bits flipped, each in another packet.
    pub corrupted: u64,
    /// Packets marked "congestion experienced".
    pub marked: u64,
    /// Packets on their way now.
    pub in_flight: u64,
    /// UDP payload bytes on their way now.
    pub in_flight_bytes: u64,
    /// Most UDP payload bytes ever on their way at once: queued, delayed, or due but not popped.
    pub in_flight_bytes_max: u64,
    /// Most bytes ever in a queue at once, per-packet overhead included.
    pub queue_max_bytes: u64,
    /// Packets that a queue took, and the nanoseconds that they waited for those before them, summed.
    pub queued: u64,
    /// See [`queued`](Self::queued).
    pub queued_ns: u64,
    /// Packet buffers ever allocated.
    pub buffers: u64,
}

impl LinkStats {
    /// Packets dropped by nodes of this kind.
    #[must_use]
    pub fn lost_by(&self, kind: NodeKind) -> u64 {
        self.lost[kind as usize]
    }

    /// Packets dropped by any node.
    #[must_use]
    pub fn lost_total(&self) -> u64 {
        self.lost.iter().sum()
    }
}
