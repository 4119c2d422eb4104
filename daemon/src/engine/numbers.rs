//! The numbers of a session's requests: whose they are, and which are past (PROTOCOL.md 6.3).

use udpx_proto::RequestId;
use udpx_proto::handshake::Role;

/// The requests of both ends so far.
#[derive(Debug)]
pub(super) struct Numbers {
    /// The next one of ours.
    next: RequestId,
    /// The highest one of the peer's.
    last_theirs: Option<RequestId>,
}

impl Numbers {
    pub(super) fn new(role: Role) -> Self {
        Self { next: RequestId::first(role == Role::Initiator), last_theirs: None }
    }

    /// Numbers a request of ours.
    pub(super) fn ours(&mut self) -> RequestId {
        let request = self.next;
        self.next = request.next();
        request
    }

    /// Takes note of a request of the peer's; false if the peer must not call it so.
    pub(super) fn note(&mut self, request: RequestId) -> bool {
        let good = !request.is_of_same_end(self.next) && self.last_theirs.is_none_or(|last| request > last);
        if good {
            self.last_theirs = Some(request);
        }
        good
    }

    /// Whether it was heard of, or would have been before any data of it: what is not under way then is over.
    pub(super) fn is_past(&self, request: RequestId) -> bool {
        request.is_of_same_end(self.next) || self.last_theirs.is_some_and(|last| request <= last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_never_use_the_same_number() {
        let (mut a, mut b) = (Numbers::new(Role::Initiator), Numbers::new(Role::Responder));
        for _ in 0..3 {
            let (ours, theirs) = (a.ours(), b.ours());
            assert!(ours != theirs && a.note(theirs) && b.note(ours));
            assert!(!a.note(theirs) && !b.note(ours), "a number twice");
            assert!(!a.note(ours), "a number of this end");
        }
        assert!(a.is_past(RequestId(5)) && !a.is_past(RequestId(7)) && a.is_past(RequestId(8)));
    }
}
