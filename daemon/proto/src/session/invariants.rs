//! What is true of a session after every public call, as code.

use super::Session;

impl Session {
    /// Panics when an invariant does not hold: a bug of ours, never the peer's doing. Only under debug
    /// assertions.
    pub fn check_invariants(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let send = &self.send;
        assert!(send.credit_used <= send.credit, "unique bytes stay within the peer's credit");
        let in_flight: u64 = self.lanes.iter().map(|lane| lane.in_flight).sum();
        assert_eq!(send.in_flight, in_flight, "the session's bytes in flight are its lanes'");
        assert!(self.recv.credit.received() <= self.recv.credit.granted(), "received within the grant");
        for lane in &self.lanes {
            assert!(lane.sent.base() <= lane.sent.next(), "the lowest number of interest was sent");
        }
    }
}
