//! A simulated network in virtual time.
//!
//! A packet enters one direction of a path, a [`Link`], and meets its nodes in order: each decides at once whether the
//! packet is dropped, copied, damaged or delayed. What survives waits in the link until its arrival time. Nothing here
//! reads a clock: the driver of a simulation says what time it is, moves its [`SimClock`] to the next arrival or
//! deadline, and takes what is due.
//!
//! ```text
//! Network ── lane 0 ── Link a→b: filter, blackout, mtu, policer, queue, wander, loss, ... ─ transit ─> pop
//!         │         └─ Link b→a
//!         └─ lane 1 ── ...
//! ```
//!
//! - [`LinkSpec`] describes a link by its faults, prints itself in one line and builds the link from a seed.
//! - [`Link::new`] takes any list of [`Node`]s in any order, and [`Link::add_filter`] adds scripted drops.
//! - The same nodes, seed and calls replay exactly, on every machine and with every later version of this code: all
//!   chance comes from [`SimRng`], whose output is pinned by tests, and no float function that differs between
//!   platforms is used. Every node draws from its own stream, so that taking one fault away leaves the others' decisions
//!   as they were.
//! - Nothing is allocated for a packet after warm-up, if its receiver gives the buffer back ([`Link::recycle`]).

mod clock;
mod link;
mod network;
mod node;
mod packet;
mod rng;
mod spec;
mod stats;
mod transit;

pub use clock::SimClock;
pub use link::Link;
pub use network::{Arrival, Network, Side};
pub use node::{
    Aggregate, Blackout, BurstLoss, Corrupt, Delay, Duplicate, Filter, Jitter, Loss, Mtu, Node, NodeKind,
    Policer, Queue, Reorder, Verdict, Wander,
};
pub use packet::Packet;
pub use rng::SimRng;
pub use spec::{BurstSpec, LaneSpec, LinkSpec, PolicerSpec, QueueSpec, ReorderSpec};
pub use stats::LinkStats;

use core::time::Duration;

/// Bytes that IPv4 and UDP headers add to a datagram's payload.
pub const IPV4_UDP_BYTES: u64 = 28;
/// Bytes that IPv6 and UDP headers add to a datagram's payload.
pub const IPV6_UDP_BYTES: u64 = 48;

/// Nanoseconds of a duration; 584 years is as good as for ever.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
