//! Control messages: `UDP_SEGMENT` and the ECN mark out; ECN, GRO size, overflow count and arrival time in.
//!
//! The layouts are `Pod` structs checked against libc's at compile time, so neither direction needs `unsafe`.

use std::time::Duration;

use bytemuck::{Pod, Zeroable};

use crate::train::ECN_MASK;

/// `struct cmsghdr`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Header {
    /// Header and data, without the padding behind.
    len: usize,
    level: i32,
    kind: i32,
}

/// A control message with an `int`, padded to `CMSG_SPACE`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct IntMessage {
    header: Header,
    value: i32,
    pad: [u8; 4],
}

/// A control message with a `u16`, padded to `CMSG_SPACE`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ShortMessage {
    header: Header,
    value: u16,
    pad: [u8; 6],
}

/// The control messages of one train, laid out so that each use of it is one slice: both messages for a GSO
/// message with a mark, either alone, or none. The packets of a train sent singly share it.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct SendControl {
    ecn: IntMessage,
    segment: ShortMessage,
}

impl SendControl {
    /// For a socket of the IPv6 or IPv4 family; `ecn` 0 is the default and needs no message.
    pub(crate) fn new(v6: bool, ecn: u8, segment: u16) -> Self {
        let (level, kind) =
            if v6 { (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) } else { (libc::IPPROTO_IP, libc::IP_TOS) };
        Self {
            ecn: IntMessage {
                header: Header { len: size_of::<Header>() + size_of::<i32>(), level, kind },
                value: i32::from(ecn),
                pad: [0; 4],
            },
            segment: ShortMessage {
                header: Header {
                    len: size_of::<Header>() + size_of::<u16>(),
                    level: libc::SOL_UDP,
                    kind: libc::UDP_SEGMENT,
                },
                value: segment,
                pad: [0; 6],
            },
        }
    }

    /// The bytes for one message. `segmented` must be false for a message of a single packet: some kernels and
    /// drivers mangle a GSO message that holds only one.
    pub(crate) fn bytes(&self, segmented: bool) -> &[u8] {
        let bytes = bytemuck::bytes_of(self);
        let start = if self.ecn.value == 0 { size_of::<IntMessage>() } else { 0 };
        let end = if segmented { bytes.len() } else { size_of::<IntMessage>() };
        &bytes[start..end]
    }
}

/// Control room for one received message: every message that we ask for, and one more.
pub(crate) type RecvControl = [u64; RECV_CONTROL_WORDS];

/// What the kernel said about one received buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Ancillary {
    pub(crate) ecn: u8,
    /// `UDP_GRO`: bytes of each merged datagram but the last; `None` for a single datagram.
    pub(crate) segment: Option<usize>,
    /// `SO_RXQ_OVFL`: datagrams that this socket's queue has dropped since it was opened, modulo 2^32.
    pub(crate) overflow: Option<u32>,
    /// `SO_TIMESTAMPNS`: arrival, since the Unix epoch.
    pub(crate) arrival: Option<Duration>,
}

impl Ancillary {
    /// Reads the control bytes of one message; unknown messages are skipped, a malformed rest is ignored.
    pub(crate) fn parse(mut control: &[u8]) -> Self {
        let mut found = Self::default();
        while let Some(header) = read::<Header>(control) {
            let Some(data) = control.get(size_of::<Header>()..header.len) else { break };
            match (header.level, header.kind) {
                // One byte for IPv4, an int for IPv6.
                (libc::IPPROTO_IP, libc::IP_TOS) => found.ecn = data.first().map_or(0, |tos| tos & ECN_MASK),
                (libc::IPPROTO_IPV6, libc::IPV6_TCLASS) => {
                    found.ecn = read::<i32>(data).map_or(0, |class| class as u8 & ECN_MASK);
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    found.segment = read::<i32>(data)
                        .and_then(|size| usize::try_from(size).ok())
                        .filter(|&size| size > 0);
                }
                (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => found.overflow = read::<u32>(data),
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    found.arrival = read::<[i64; 2]>(data).and_then(|[seconds, nanos]| {
                        Some(Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanos).ok()?))
                    });
                }
                _ => {}
            }
            let Some(rest) = control.get(header.len.next_multiple_of(align_of::<Header>())..) else { break };
            control = rest;
        }
        found
    }
}

fn read<T: Pod>(bytes: &[u8]) -> Option<T> {
    bytes.get(..size_of::<T>()).map(bytemuck::pod_read_unaligned)
}

/// `CMSG_SPACE` of an int for ECN, GRO and overflow each, and of a timespec, is 104 bytes.
const RECV_CONTROL_WORDS: usize = 16;

const _: () = assert!(size_of::<Header>() == size_of::<libc::cmsghdr>());
const _: () = assert!(align_of::<Header>() == align_of::<libc::cmsghdr>());
const _: () = assert!(std::mem::offset_of!(Header, level) == std::mem::offset_of!(libc::cmsghdr, cmsg_level));
const _: () = assert!(std::mem::offset_of!(Header, kind) == std::mem::offset_of!(libc::cmsghdr, cmsg_type));
const _: () = assert!(size_of::<IntMessage>() == 24 && size_of::<ShortMessage>() == 24);
const _: () = assert!(size_of::<libc::timespec>() == 16);
const _: () = assert!(3 * size_of::<IntMessage>() + 32 <= size_of::<RecvControl>());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_packet_never_carries_a_segment_size() {
        assert_eq!(SendControl::new(false, 0, 1200).bytes(false), b"");
        assert_eq!(SendControl::new(false, 0, 1200).bytes(true).len(), 24);
        assert_eq!(SendControl::new(true, 2, 1200).bytes(false).len(), 24);
        assert_eq!(SendControl::new(true, 2, 1200).bytes(true).len(), 48);
    }

    #[test]
    fn what_is_written_can_be_read() {
        let ours = SendControl::new(false, 3, 1200);
        assert_eq!(Ancillary::parse(ours.bytes(true)), Ancillary { ecn: 3, ..Ancillary::default() });
        let ours = SendControl::new(true, 1, 1200);
        assert_eq!(Ancillary::parse(ours.bytes(true)).ecn, 1);
    }

    #[test]
    fn malformed_control_bytes_are_harmless() {
        let good = SendControl::new(false, 3, 1200);
        for cut in 0..48 {
            let _ = Ancillary::parse(&good.bytes(true)[..cut]);
        }
        for len in [0, 1, 15, 16, 17, 1000, usize::MAX - 8, usize::MAX] {
            let mut bad = good;
            bad.ecn.header.len = len;
            let _ = Ancillary::parse(bad.bytes(true));
        }
    }
}
