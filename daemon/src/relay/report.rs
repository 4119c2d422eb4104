//! What a relay did, in numbers.

use serde::{Deserialize, Serialize};

/// What happened to the datagrams of one direction, all clients together.
///
/// Each one received is lost, overflowed, empty, still held when the relay ended, or forwarded; the copies
/// of duplicated ones are forwarded in addition.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Datagrams that arrived.
    pub received: u64,
    /// UDP payload bytes of those.
    pub received_bytes: u64,
    /// Dropped by chance, as asked.
    pub lost: u64,
    /// Sent on with one bit flipped.
    pub corrupted: u64,
    /// Sent twice.
    pub duplicated: u64,
    /// Held back so that others could overtake.
    pub reordered: u64,
    /// Dropped at the tail of the link's queue, or because the relay's memory for the direction was full.
    pub overflowed: u64,
    /// Empty datagrams, which are not forwarded.
    pub empty: u64,
    /// Handed to the kernel, copies included.
    pub forwarded: u64,
    /// Dropped by the kernel, in our receive buffer because the relay was too slow, or on sending: a fault that
    /// nobody asked for. In front of us the kernel counts buffers, which may hold a whole train. Not part of `received`.
    pub overrun: u64,
}

/// Both directions.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// From the clients to the target.
    pub up: Counts,
    /// From the target to the clients.
    pub down: Counts,
    /// Datagrams of clients beyond [`CLIENTS_MAX`](super::CLIENTS_MAX), or whom the target could not be reached for.
    pub unserved: u64,
}

impl Counts {
    /// Adds those of another client or direction.
    pub fn add(&mut self, other: &Counts) {
        // By name, so that a new field cannot be forgotten.
        let Counts {
            received,
            received_bytes,
            lost,
            corrupted,
            duplicated,
            reordered,
            overflowed,
            empty,
            forwarded,
            overrun,
        } = other;
        self.received += received;
        self.received_bytes += received_bytes;
        self.lost += lost;
        self.corrupted += corrupted;
        self.duplicated += duplicated;
        self.reordered += reordered;
        self.overflowed += overflowed;
        self.empty += empty;
        self.forwarded += forwarded;
        self.overrun += overrun;
    }
}
