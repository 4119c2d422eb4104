//! What to do about an errno of `sendmmsg`: the whole policy, once, with the reasons.
//!
//! `sendmmsg` reports an error only when it refused the *first* message of the call; after a short count the
//! next call begins with the culprit. So each decision is about one message, and the rest of the batch goes on.
//!
//! Nothing here loses data for good: a dropped packet is one more loss that the transport repairs. What matters is
//! that no error stops a batch, spins, or turns a local condition into a burst of silent losses.

use nix::errno::Errno;

use crate::hints::HintKind;

/// The message that the kernel refused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    /// More than one packet, with `UDP_SEGMENT`.
    pub(crate) gso: bool,
    /// It carried an ECN mark as a control message.
    pub(crate) ecn: bool,
    /// It was already sent again after a pending socket error.
    pub(crate) retried: bool,
}

/// What to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The same call again.
    Again,
    /// Once more, and tell the caller.
    AgainOnce(HintKind),
    /// Once more; tell the caller if it goes then.
    AgainToTell(HintKind),
    /// Stop; everything that is left stays queued until the socket is writable.
    Blocked,
    /// The packets of this train singly, at once; tell the caller.
    Singly(HintKind),
    /// GSO off for this socket, then the same.
    GsoOff,
    /// ECN marks off for this socket, then the same message again.
    EcnOff,
    /// Drop the message, count its packets, tell the caller.
    Drop(HintKind),
}

pub(crate) fn decide(errno: Errno, refused: Refused) -> Verdict {
    match errno {
        // A signal came before anything was sent.
        Errno::EINTR => Verdict::Again,

        // The send buffer is full: the one error that EPOLLOUT ends.
        Errno::EAGAIN => Verdict::Blocked,

        // The device's queue is full or memory is short. No event will say when that has passed: to wait for
        // EPOLLOUT could be for ever (the socket *is* writable) and to retry at once would spin. The message
        // is lost as if the queue had dropped it, which is what most queues do without saying so.
        Errno::ENOBUFS | Errno::ENOMEM => Verdict::Drop(HintKind::NoBuffers),

        // Either this message is too large for the route, or an ICMP error that an earlier one caused was pending on the
        // socket, and reporting it has cleared it. The second try tells.
        Errno::EMSGSIZE if !refused.retried => Verdict::AgainToTell(HintKind::SizeDoubted),

        // A segment larger than the path MTU that the kernel knows: EMSGSIZE from 6.14 on, EINVAL before; but
        // EINVAL also means that this kernel or driver refuses the train for its own reasons. Single packets
        // tell the two apart and lose nothing in the second case. The caller should cut anew.
        Errno::EMSGSIZE | Errno::EINVAL if refused.gso => Verdict::Singly(HintKind::CutAnew),

        // A single packet above the MTU of the route: the expected end of an MTU probe that is too large.
        Errno::EMSGSIZE => Verdict::Drop(HintKind::TooBig),

        // Some network stacks refuse IP_TOS or IPV6_TCLASS as a control message. The mark is worth less than
        // the packet.
        Errno::EINVAL if refused.ecn => Verdict::EcnOff,
        Errno::EINVAL => Verdict::Drop(HintKind::Rejected),

        // Before 6.11: the device has no checksum offload, or IPsec is in the way. It will not change, and a
        // probe when the socket was made could not see it: which device is used depends on the destination.
        Errno::EIO if refused.gso => Verdict::GsoOff,

        // Not about this message at all: an ICMP error that an earlier packet caused is pending on the socket, and
        // reporting it clears it. ICMP is not authenticated, so it is only a hint. Where there is no route, the
        // second try fails as well.
        Errno::ECONNREFUSED if !refused.retried => Verdict::AgainOnce(HintKind::Refused),
        Errno::ECONNREFUSED => Verdict::Drop(HintKind::Refused),
        Errno::EHOSTUNREACH
        | Errno::ENETUNREACH
        | Errno::EHOSTDOWN
        | Errno::ENETDOWN
        | Errno::ENOPROTOOPT
        | Errno::EPROTO => {
            if refused.retried {
                Verdict::Drop(HintKind::Unreachable)
            } else {
                Verdict::AgainOnce(HintKind::Unreachable)
            }
        }

        // A firewall rule. It may be lifted, and other destinations may be allowed.
        Errno::EPERM | Errno::EACCES => Verdict::Drop(HintKind::Denied),

        // Gathered payload is not there any more: the mapped file was truncated under us.
        Errno::EFAULT => Verdict::Drop(HintKind::SourceFault),

        // No destination, wrong address family, an errno of the future: this message cannot go.
        _ => Verdict::Drop(HintKind::Rejected),
    }
}

/// Trains in a row that were refused as GSO but whose packets all went out singly: after these the size was
/// never the cause, and GSO costs a failed call per train.
pub(crate) const GSO_STRIKES_MAX: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const TRAIN: Refused = Refused { gso: true, ecn: true, retried: false };
    const SINGLE: Refused = Refused { gso: false, ecn: false, retried: false };

    #[test]
    fn the_table() {
        let marked = Refused { ecn: true, ..SINGLE };
        let retried = Refused { retried: true, ..SINGLE };
        let table = [
            (Errno::EINTR, TRAIN, Verdict::Again),
            (Errno::EAGAIN, TRAIN, Verdict::Blocked),
            (Errno::ENOBUFS, TRAIN, Verdict::Drop(HintKind::NoBuffers)),
            (Errno::ENOMEM, SINGLE, Verdict::Drop(HintKind::NoBuffers)),
            (Errno::EMSGSIZE, TRAIN, Verdict::AgainToTell(HintKind::SizeDoubted)),
            (Errno::EMSGSIZE, marked, Verdict::AgainToTell(HintKind::SizeDoubted)),
            (Errno::EMSGSIZE, Refused { retried: true, ..TRAIN }, Verdict::Singly(HintKind::CutAnew)),
            (Errno::EMSGSIZE, retried, Verdict::Drop(HintKind::TooBig)),
            (Errno::EINVAL, TRAIN, Verdict::Singly(HintKind::CutAnew)),
            (Errno::EINVAL, marked, Verdict::EcnOff),
            (Errno::EINVAL, SINGLE, Verdict::Drop(HintKind::Rejected)),
            (Errno::EIO, TRAIN, Verdict::GsoOff),
            (Errno::EIO, SINGLE, Verdict::Drop(HintKind::Rejected)),
            (Errno::ECONNREFUSED, SINGLE, Verdict::AgainOnce(HintKind::Refused)),
            (Errno::ECONNREFUSED, retried, Verdict::Drop(HintKind::Refused)),
            (Errno::ENETUNREACH, TRAIN, Verdict::AgainOnce(HintKind::Unreachable)),
            (Errno::EHOSTUNREACH, retried, Verdict::Drop(HintKind::Unreachable)),
            (Errno::EPERM, TRAIN, Verdict::Drop(HintKind::Denied)),
            (Errno::EFAULT, TRAIN, Verdict::Drop(HintKind::SourceFault)),
            (Errno::EDESTADDRREQ, SINGLE, Verdict::Drop(HintKind::Rejected)),
        ];
        for (errno, refused, verdict) in table {
            assert_eq!(decide(errno, refused), verdict, "{errno:?} {refused:?}");
        }
    }

    #[test]
    fn only_eagain_ever_blocks() {
        for raw in (1..134).filter(|&raw| raw != Errno::EAGAIN as i32) {
            for refused in [TRAIN, SINGLE] {
                assert_ne!(decide(Errno::from_raw(raw), refused), Verdict::Blocked, "errno {raw}");
            }
        }
    }
}
