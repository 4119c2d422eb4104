//! The numbers that name things on the wire.

/// One direction of one lane. Each end hands out its own; the top four bits name the engine (thread) that
/// serves the lane at the end which handed it out (PROTOCOL.md 2.1).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct LaneId(pub u32);

impl LaneId {
    /// Bits above which the engine's index stands.
    pub const ENGINE_SHIFT: u32 = 28;

    /// The index of the engine that serves this lane.
    #[must_use]
    pub const fn engine(self) -> u32 {
        self.0 >> Self::ENGINE_SHIFT
    }
}

/// One stream of one direction of a session. The low twelve bits are its slot in both ends' tables, the
/// rest the generation of that slot, so that a look-up is an index and a comparison (PROTOCOL.md 5.1).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, serde::Serialize, serde::Deserialize)]
pub struct StreamId(pub u32);

impl StreamId {
    /// The control stream.
    pub const CONTROL: Self = Self(0);
    /// Bits of the slot.
    pub const SLOT_BITS: u32 = 12;

    /// The stream of `slot` in its `generation`.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self(generation << Self::SLOT_BITS | slot)
    }

    /// Index in the table of streams.
    #[must_use]
    pub const fn slot(self) -> usize {
        (self.0 & ((1 << Self::SLOT_BITS) - 1)) as usize
    }

    /// How often the slot has been used before.
    #[must_use]
    pub const fn generation(self) -> u32 {
        self.0 >> Self::SLOT_BITS
    }
}

/// A request of a service on stream 0, numbered by the end that makes it: even numbers are the initiator's, odd ones
/// the responder's (PROTOCOL.md 6.3).
#[derive(Copy, Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Hash, serde::Serialize, serde::Deserialize)]
pub struct RequestId(pub u64);

impl RequestId {
    /// The first request of one end of a session.
    #[must_use]
    pub const fn first(is_initiator: bool) -> Self {
        Self(if is_initiator { 2 } else { 1 })
    }

    /// The one that the same end makes next.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 2)
    }

    /// Whether the same end makes both.
    #[must_use]
    pub const fn is_of_same_end(self, other: Self) -> bool {
        self.0 % 2 == other.0 % 2
    }
}
