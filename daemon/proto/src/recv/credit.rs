//! The credit that a receiver grants: unique stream bytes of the session, absolute and monotone.
//!
//! Credit follows what the writers gave back, never the lowest hole, so one stuck stream does not stop
//! the others. It runs ahead of free staging by what is in the air anyway, as long as the writers keep up.

/// Session credit at its receiver.
#[derive(Debug)]
pub(crate) struct Credit {
    /// Staging bytes of this session.
    budget: u64,
    /// Unique bytes received.
    received: u64,
    /// Bytes whose staging memory came back.
    written: u64,
    granted: u64,
    /// The grant of which the peer was last told.
    told: u64,
}

impl Credit {
    /// `initial` was promised in the handshake.
    pub(crate) fn new(budget: u64, initial: u64) -> Self {
        Self { budget, received: 0, written: 0, granted: initial, told: initial }
    }

    pub(crate) fn granted(&self) -> u64 {
        self.granted
    }

    /// Unique bytes received.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// Whether `fresh` more unique bytes are covered.
    pub(crate) fn allows(&self, fresh: u64) -> bool {
        fresh <= self.granted - self.received
    }

    pub(crate) fn on_received(&mut self, fresh: u64) {
        self.received += fresh;
        debug_assert!(self.received <= self.granted);
    }

    pub(crate) fn on_written(&mut self, bytes: u64) {
        self.written += bytes;
        debug_assert!(self.written <= self.received);
        self.raise(0);
    }

    /// Raises the grant: the budget above what was written, and `in_air` more while less than half of
    /// the budget is taken.
    pub(crate) fn raise(&mut self, in_air: u64) {
        let staged = self.received - self.written;
        let extra = if staged < self.budget / 2 { in_air } else { 0 };
        self.granted = self.granted.max(self.written + self.budget + extra);
    }

    /// The peer should hear of the grant: it grew by an eighth of the budget.
    pub(crate) fn is_due(&self) -> bool {
        self.granted - self.told >= (self.budget / 8).max(1)
    }

    /// The frame that told the peer was lost.
    pub(crate) fn tell_again(&mut self) {
        self.told = 0;
    }

    pub(crate) fn on_told(&mut self) {
        self.told = self.granted;
    }
}
