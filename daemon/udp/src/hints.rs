//! What a send call tells its caller beyond numbers.

use std::net::SocketAddr;

/// Something learnt from an error. None of it is authenticated or final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum HintKind {
    /// The kernel refused a train for its segment size, or so it seems; its packets went out singly. Cut anew
    /// to the path MTU and probe it again.
    CutAnew,
    /// A packet is larger than the route's MTU and was dropped: the end of an MTU probe.
    TooBig,
    /// An ICMP message says that something was larger than the path takes; what was sent meanwhile went out. Anyone can
    /// send such a message: check whether the size in use still passes.
    SizeDoubted,
    /// The device cannot do GSO: from now on this socket sends every packet as a message of its own.
    GsoOff,
    /// ECN marks are refused: this socket has stopped marking.
    EcnOff,
    /// The device's queue or memory is full and packets were dropped: send less.
    NoBuffers,
    /// An ICMP port unreachable came back.
    Refused,
    /// An ICMP error came back, or there is no route.
    Unreachable,
    /// A firewall rule of this host dropped packets.
    Denied,
    /// Payload memory could not be read: its file was truncated. The packets were dropped.
    SourceFault,
    /// The kernel refused packets for another reason and they were dropped.
    Rejected,
}

/// A hint and the train that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// What happened.
    pub kind: HintKind,
    /// Index of the train in the batch, in the order of their commits since the batch was last empty.
    pub train: usize,
    /// Where that train was going; `None` for the connected peer.
    pub destination: Option<SocketAddr>,
}

/// The first hints of one call; repetitions of the last one are left out, what does not fit is counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hints {
    items: [Option<Hint>; HINTS_MAX],
    len: usize,
    /// Hints that did not fit.
    pub left_out: usize,
}

impl Hints {
    /// The hints in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Hint> + '_ {
        self.items[..self.len].iter().flatten().copied()
    }

    /// Whether there is none, as after nearly every call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether any of them is of that kind.
    #[must_use]
    pub fn contains(&self, kind: HintKind) -> bool {
        self.iter().any(|hint| hint.kind == kind)
    }

    pub(crate) fn push(&mut self, hint: Hint) {
        if self.len > 0 && self.items[self.len - 1] == Some(hint) {
            return;
        }
        match self.items.get_mut(self.len) {
            Some(slot) => {
                *slot = Some(hint);
                self.len += 1;
            }
            None => self.left_out += 1,
        }
    }
}

/// What one call of [`Socket::send`](crate::Socket::send) did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "a blocked batch must be sent again when the socket is writable"]
pub struct SendOutcome {
    /// Packets that the kernel took.
    pub datagrams: usize,
    /// Payload bytes of those packets.
    pub bytes: usize,
    /// Packets dropped, as the hints say.
    pub dropped: usize,
    /// Trains finished: each packet was taken or dropped.
    pub trains: usize,
    /// Calls of `sendmmsg`.
    pub syscalls: usize,
    /// The send buffer is full; the rest stays queued in the batch.
    pub blocked: bool,
    /// What the caller should know.
    pub hints: Hints,
}

/// Distinct hints of one call worth keeping: a batch has 16 trains and an error rarely has two kinds.
const HINTS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_are_left_out_and_overflow_is_counted() {
        let mut hints = Hints::default();
        for train in 0..10 {
            for _ in 0..3 {
                hints.push(Hint { kind: HintKind::TooBig, train, destination: None });
            }
        }
        assert_eq!(hints.iter().count(), HINTS_MAX);
        assert_eq!(hints.left_out, 6);
        assert!(hints.contains(HintKind::TooBig) && !hints.contains(HintKind::Denied));
    }
}
