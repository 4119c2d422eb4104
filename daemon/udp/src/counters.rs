//! What the socket did, in numbers that only grow.

use nix::errno::Errno;

/// Errors of `sendmmsg` and `recvmmsg` by kind, as the policy tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(usize)]
pub enum ErrnoKind {
    /// EINTR.
    Interrupted,
    /// EAGAIN on sending: the send buffer is full. (An empty receive queue is not counted.)
    WouldBlock,
    /// ENOBUFS, ENOMEM: no memory for a packet, or the device's queue is full.
    NoBuffers,
    /// EMSGSIZE.
    MessageSize,
    /// EINVAL.
    Invalid,
    /// EIO: the device cannot do GSO.
    Io,
    /// ECONNREFUSED: an ICMP port unreachable arrived.
    Refused,
    /// EHOSTUNREACH, ENETUNREACH and their kin: an ICMP error, or no route.
    Unreachable,
    /// EPERM, EACCES: a firewall rule.
    Denied,
    /// EFAULT: payload memory that cannot be read.
    Fault,
    /// Anything else.
    Other,
}

impl ErrnoKind {
    /// Kinds in all.
    pub const COUNT: usize = Self::Other as usize + 1;

    /// Names for reports, in the order of the variants.
    pub const LABELS: [&'static str; Self::COUNT] = [
        "interrupted",
        "would_block",
        "no_buffers",
        "message_size",
        "invalid",
        "io",
        "refused",
        "unreachable",
        "denied",
        "fault",
        "other",
    ];

    pub(crate) fn of(errno: Errno) -> Self {
        match errno {
            Errno::EINTR => Self::Interrupted,
            Errno::EAGAIN => Self::WouldBlock,
            Errno::ENOBUFS | Errno::ENOMEM => Self::NoBuffers,
            Errno::EMSGSIZE => Self::MessageSize,
            Errno::EINVAL => Self::Invalid,
            Errno::EIO => Self::Io,
            Errno::ECONNREFUSED => Self::Refused,
            Errno::EHOSTUNREACH
            | Errno::ENETUNREACH
            | Errno::EHOSTDOWN
            | Errno::ENETDOWN
            | Errno::ENOPROTOOPT
            | Errno::EPROTO => Self::Unreachable,
            Errno::EPERM | Errno::EACCES => Self::Denied,
            Errno::EFAULT => Self::Fault,
            _ => Self::Other,
        }
    }
}

/// Counters of one socket since it was created. All saturate in theory only: a u64 of bytes at 100 Gbit/s lasts
/// 46 years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SyscallCounters {
    /// Calls of `sendmmsg`, failed ones included.
    pub sendmmsg_calls: u64,
    /// Messages that the kernel took: GSO trains and single packets.
    pub sent_messages: u64,
    /// Trains whose packets have all been sent or dropped.
    pub sent_trains: u64,
    /// Packets that the kernel took.
    pub sent_datagrams: u64,
    /// Payload bytes of those packets.
    pub sent_bytes: u64,
    /// Packets dropped on sending because of an error.
    pub dropped_datagrams: u64,
    /// Calls of `recvmmsg`, those that found nothing included.
    pub recvmmsg_calls: u64,
    /// Buffers that `recvmmsg` filled, truncated ones included.
    pub received_buffers: u64,
    /// Datagrams in those buffers, truncated ones left out.
    pub received_datagrams: u64,
    /// Payload bytes of those datagrams.
    pub received_bytes: u64,
    /// Buffers skipped because the data did not fit (`MSG_TRUNC`).
    pub truncated: u64,
    /// Buffers skipped because the control messages did not fit (`MSG_CTRUNC`): their segment size is unknown.
    pub control_truncated: u64,
    /// Buffers skipped because the sender's address made no sense.
    pub unaddressed: u64,
    errnos: [u64; ErrnoKind::COUNT],
}

impl SyscallCounters {
    /// How often `sendmmsg` or `recvmmsg` failed that way.
    #[must_use]
    pub fn errno(&self, kind: ErrnoKind) -> u64 {
        self.errnos[kind as usize]
    }

    /// All error counts with their names.
    pub fn errnos(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        ErrnoKind::LABELS.into_iter().zip(self.errnos)
    }

    pub(crate) fn note(&mut self, errno: Errno) {
        self.errnos[ErrnoKind::of(errno) as usize] += 1;
    }
}
