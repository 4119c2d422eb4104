//! A datagram on its way, and the free list that its buffer returns to.

/// One datagram: the UDP payload and the ECN bits of its IP header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The UDP payload.
    pub bytes: Vec<u8>,
    /// ECN codepoint: 0 not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
    pub ecn: u8,
}

/// Buffers of packets that have been delivered or dropped, the last one used first because it is warm in cache. Holds no
/// more than were once in flight together.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    free: Vec<Vec<u8>>,
    created: u64,
}

impl Pool {
    /// An empty packet.
    pub(crate) fn take(&mut self) -> Packet {
        let bytes = self.free.pop().unwrap_or_else(|| {
            self.created += 1;
            Vec::new()
        });
        Packet { bytes, ecn: 0 }
    }

    pub(crate) fn give(&mut self, packet: Packet) {
        let mut bytes = packet.bytes;
        bytes.clear();
        self.free.push(bytes);
    }

    /// Buffers ever made: constant once a simulation is warm.
    pub(crate) fn created(&self) -> u64 {
        self.created
    }
}
