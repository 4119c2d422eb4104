//! Receiving: `recvmmsg` into buffers that hold any GRO aggregate, then datagrams cut by the segment size.

use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::errno::Errno;

use crate::cmsg::Ancillary;
use crate::counters::{ErrnoKind, SyscallCounters};
use crate::hints::HintKind;
use crate::seam::Kernel;
use crate::sys::RecvArena;

/// Buffers for one receive call, and what the last call put into them.
pub struct RecvBatch {
    arena: RecvArena,
    filled: Vec<Filled>,
    /// Buffers that the last call filled, that it had room for, and that the next one will have.
    brought: usize,
    asked: usize,
    wanted: usize,
    /// The room follows the sizes of what comes.
    suited: bool,
}

impl RecvBatch {
    /// A batch for an engine: a call fills 256 KiB or so, few aggregates or many single datagrams by what the last call brought. What
    /// it has copied is then still in a core's second-level cache when the last of it is opened, next to the memory that it is
    /// opened into; and where nothing is merged a call is not spent on four datagrams.
    #[must_use]
    pub fn for_engine() -> Self {
        Self { suited: true, ..Self::new(ENGINE_BUFFERS) }
    }

    /// A batch of `buffers` (1 to 1024) buffers of 65,536 bytes each: any GRO aggregate fits.
    #[must_use]
    pub fn new(buffers: usize) -> Self {
        Self::with_buffer_bytes(buffers, GRO_BUFFER_BYTES)
    }

    /// A batch of smaller buffers, for sockets without GRO: with it whatever does not fit would be lost.
    #[must_use]
    pub fn with_buffer_bytes(buffers: usize, buffer_bytes: usize) -> Self {
        let buffers = buffers.clamp(1, crate::sys::MESSAGES_MAX);
        Self {
            arena: RecvArena::new(buffers, buffer_bytes.clamp(1, GRO_BUFFER_BYTES)),
            filled: Vec::with_capacity(buffers),
            brought: 0,
            asked: buffers,
            wanted: buffers,
            suited: false,
        }
    }

    /// What the last call received, in the order of arrival.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Received<'_>> {
        self.filled.iter().map(|filled| Received {
            from: filled.from,
            ecn: filled.ecn,
            segment_size: filled.segment,
            bytes: self.arena.buffer(filled.buffer, filled.bytes),
            arrival: filled.arrival,
        })
    }

    /// The last call had no room for more than it brought: there may be more.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.brought == self.asked
    }

    /// Chooses the room of the next call by what `count` buffers of the last one hold.
    fn suit(&mut self, count: usize, bytes: usize) {
        if self.suited && count > 0 {
            let room = CALL_BYTES * count / bytes.max(1);
            self.wanted = room.clamp(CALL_BUFFERS_MIN, self.arena.len());
        }
    }

    /// Gives the kernel less room for control messages than it needs.
    #[cfg(feature = "testing")]
    pub fn limit_control(&mut self, bytes: usize) {
        self.arena.limit_control(bytes);
    }
}

/// One filled buffer: datagrams of one sender, all of one size but for a shorter last one.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The sender.
    pub from: SocketAddr,
    /// The two ECN bits; 0 if the socket does not report them.
    pub ecn: u8,
    /// Bytes of each datagram but the last.
    pub segment_size: usize,
    /// The datagrams, back to back.
    pub bytes: &'a [u8],
    /// When the kernel received the first of them, by the realtime clock since the Unix epoch.
    pub arrival: Option<Duration>,
}

impl<'a> Received<'a> {
    /// The datagrams one by one. An empty datagram is one too.
    #[must_use]
    pub fn datagrams(&self) -> Datagrams<'a> {
        Datagrams { rest: Some(self.bytes), segment: self.segment_size.max(1) }
    }
}

/// The datagrams of a buffer.
#[derive(Debug, Clone)]
pub struct Datagrams<'a> {
    rest: Option<&'a [u8]>,
    segment: usize,
}

impl<'a> Iterator for Datagrams<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        let (first, rest) = rest.split_at(self.segment.min(rest.len()));
        self.rest = (!rest.is_empty()).then_some(rest);
        Some(first)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.rest.map_or(0, |rest| rest.len().div_ceil(self.segment).max(1));
        (count, Some(count))
    }
}

impl ExactSizeIterator for Datagrams<'_> {}

/// What a socket remembers of its receive side.
#[derive(Default)]
pub(crate) struct Receiver {
    pub(crate) overflow: u32,
    pub(crate) hint: Option<HintKind>,
}

impl Receiver {
    /// One `recvmmsg`, and again past errors that are only news of earlier sends: the number of buffers filled,
    /// 0 if nothing is there.
    pub(crate) fn receive(
        &mut self,
        kernel: &mut Kernel,
        fd: BorrowedFd<'_>,
        batch: &mut RecvBatch,
        counters: &mut SyscallCounters,
    ) -> io::Result<usize> {
        batch.filled.clear();
        (batch.brought, batch.asked) = (0, batch.wanted);
        let mut errors = 0;
        loop {
            counters.recvmmsg_calls += 1;
            let errno = match kernel.receive(fd, &mut batch.arena, batch.asked) {
                Ok(count) => {
                    self.sort(batch, count, counters);
                    return Ok(count);
                }
                Err(Errno::EAGAIN) => return Ok(0),
                Err(errno) => errno,
            };
            counters.note(errno);
            errors += 1;
            match ErrnoKind::of(errno) {
                ErrnoKind::Interrupted => {}
                ErrnoKind::Refused => self.hint = Some(HintKind::Refused),
                ErrnoKind::Unreachable => self.hint = Some(HintKind::Unreachable),
                // An ICMP "fragmentation needed": the transport finds its path MTU by itself.
                ErrnoKind::MessageSize => self.hint = Some(HintKind::SizeDoubted),
                _ => return Err(errno.into()),
            }
            if errors == ERRORS_MAX {
                return Err(errno.into());
            }
        }
    }

    /// Reads the control messages of `count` buffers and leaves out what cannot be used.
    fn sort(&mut self, batch: &mut RecvBatch, count: usize, counters: &mut SyscallCounters) {
        counters.received_buffers += count as u64;
        let before = counters.received_bytes;
        for buffer in 0..count {
            let message = batch.arena.message(buffer);
            let ancillary = Ancillary::parse(message.control);
            if let Some(overflow) = ancillary.overflow {
                self.overflow = overflow;
            }
            // With its tail gone, or without its segment size, an aggregate cannot be cut into datagrams.
            if message.truncated || message.control_truncated {
                counters.truncated += u64::from(message.truncated);
                counters.control_truncated += u64::from(message.control_truncated);
                continue;
            }
            let Some(from) = message.name.parse(message.name_size) else {
                counters.unaddressed += 1;
                continue;
            };
            let bytes = message.len;
            let segment = ancillary.segment.unwrap_or(bytes).max(1);
            counters.received_datagrams += bytes.div_ceil(segment).max(1) as u64;
            counters.received_bytes += bytes as u64;
            batch.filled.push(Filled {
                buffer,
                bytes,
                segment,
                from,
                ecn: ancillary.ecn,
                arrival: ancillary.arrival,
            });
        }
        batch.brought = count;
        batch.suit(count, (counters.received_bytes - before) as usize);
    }
}

struct Filled {
    buffer: usize,
    bytes: usize,
    segment: usize,
    from: SocketAddr,
    ecn: u8,
    arrival: Option<Duration>,
}

/// The kernel merges up to a whole IP packet; a smaller buffer would lose the tail of the best aggregates.
const GRO_BUFFER_BYTES: usize = 65_536;

/// Bytes that a call of an engine shall bring, and the buffers that it has for them at least and at most.
const CALL_BYTES: usize = 256 << 10;
const CALL_BUFFERS_MIN: usize = 4;
const ENGINE_BUFFERS: usize = 64;

/// Pending errors that one call clears. Each needs a fresh ICMP message, so more than these is a flood.
const ERRORS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_follows_the_sizes() {
        let mut batch = RecvBatch::for_engine();
        assert_eq!(batch.wanted, ENGINE_BUFFERS);
        for (count, bytes, wanted) in
            [(4, 4 * 65_000, 4), (4, 4 * 30_000, 8), (8, 8 * 1472, ENGINE_BUFFERS), (0, 0, ENGINE_BUFFERS)]
        {
            batch.suit(count, bytes);
            assert_eq!(batch.wanted, wanted, "{count} of {bytes}");
        }
        let mut fixed = RecvBatch::new(3);
        fixed.suit(3, 9);
        assert_eq!(fixed.wanted, 3);
    }

    #[test]
    fn datagrams_are_cut_by_the_segment_size() {
        let cut = |len: usize, segment: usize| -> Vec<usize> {
            let bytes = vec![0; len];
            let datagrams = Datagrams { rest: Some(&bytes), segment };
            assert_eq!(datagrams.len(), datagrams.clone().count());
            datagrams.map(<[u8]>::len).collect()
        };
        assert_eq!(cut(0, 1), [0]);
        assert_eq!(cut(10, 10), [10]);
        assert_eq!(cut(10, 4), [4, 4, 2]);
        assert_eq!(cut(8, 4), [4, 4]);
        assert_eq!(cut(3, 4), [3]);
    }
}
