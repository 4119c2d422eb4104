//! A socket of the engine with the trains that wait to leave by it.

use std::io;
use std::net::SocketAddr;

use mio::{Interest, Registry, Token};
use udpx_udp::{HintKind, SendBatch, SendOutcome, Socket, TrainSlot};

use super::carriers::Boarded;
use crate::report::SocketReport;

/// ECT(0): our rate control reacts to congestion marks.
pub(crate) const ECT0: u8 = 0b10;

/// Trains that leave in one call: what was sealed into them is still in a core's second-level cache when the kernel copies it,
/// and the call itself costs next to nothing beside the traversals of four trains.
pub(crate) const TRAINS: usize = 4;

/// A socket, its batch and what is known of its readiness.
pub(crate) struct Wire {
    pub(crate) socket: Socket,
    batch: SendBatch,
    /// Whose train each one in the batch is.
    owners: Vec<TrainOwner>,
    /// Edge-triggered: true until a receive call found less than it had room for.
    pub(crate) readable: bool,
    /// The kernel's send buffer is full; the batch waits for an event.
    pub(crate) blocked: bool,
    /// Local drops already told to sessions.
    overflow: u32,
    /// Sessions and handshakes that use it; listening sockets count themselves.
    pub(crate) users: u32,
    /// It is one of the listening sockets.
    pub(crate) listening: bool,
    /// Whether others send by it as well.
    pub(crate) boarded: Boarded,
}

/// Whose train it is.
#[derive(Copy, Clone, Debug)]
pub(crate) struct TrainOwner {
    /// Index of the association.
    pub(crate) index: u32,
    /// Lane of its session.
    pub(crate) lane: usize,
    /// Bytes of a datagram.
    pub(crate) segment: u16,
}

/// What the kernel let us know.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Notice {
    /// Nobody listens at the other end of this connected socket, says somebody.
    Refused,
    /// A datagram was larger than the route takes.
    TooBig { index: u32, lane: usize, size: u16 },
    /// Somebody says that a datagram was larger than the path takes.
    SizeDoubted { index: u32, lane: usize },
}

impl Wire {
    /// Registers a socket under `token`.
    pub(crate) fn new(
        mut socket: Socket,
        registry: &Registry,
        token: Token,
        listening: bool,
    ) -> io::Result<Self> {
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            socket,
            batch: SendBatch::new(TRAINS),
            owners: Vec::with_capacity(TRAINS),
            readable: true,
            blocked: false,
            overflow: 0,
            users: u32::from(listening),
            listening,
            boarded: Boarded::default(),
        })
    }

    /// No train fits any more before [`flush`](Self::flush).
    pub(crate) fn is_full(&self) -> bool {
        self.batch.is_full()
    }

    pub(crate) fn has_trains(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Room for a train of `segment`-byte packets to `to`. Call [`own`](Self::own) when it was committed.
    pub(crate) fn train(&mut self, to: Option<SocketAddr>, segment: u16) -> Option<TrainSlot<'_>> {
        self.batch.train(to, ECT0, segment).ok()
    }

    /// The train committed last belongs to `owner`.
    pub(crate) fn own(&mut self, owner: TrainOwner) {
        self.owners.push(owner);
    }

    /// Queues one datagram, after what is queued has left if the batch is full: one receive call may bring many that are answered.
    /// Lost, like any datagram, where the kernel takes no more.
    pub(crate) fn datagram(&mut self, to: Option<SocketAddr>, bytes: &[u8], index: u32) {
        let segment = bytes.len() as u16;
        if self.batch.is_full() && !self.blocked {
            // What the kernel remarks upon it comes again where it matters.
            self.flush(|_| {});
        }
        if let Ok(mut slot) = self.batch.train(to, 0, segment) {
            slot.buffer()[..bytes.len()].copy_from_slice(bytes);
            if slot.commit(bytes.len()).is_ok() {
                self.owners.push(TrainOwner { index, lane: 0, segment });
            }
        }
    }

    /// Sends the batch. What the kernel does not take waits until the socket is writable.
    pub(crate) fn flush(&mut self, mut notice: impl FnMut(Notice)) {
        if self.batch.is_empty() {
            return;
        }
        let outcome = self.socket.send(&mut self.batch);
        self.blocked = outcome.blocked;
        notices_of(&outcome, &self.owners, &mut notice);
        if self.batch.is_empty() {
            self.owners.clear();
        }
    }

    /// What it has done so far.
    pub(crate) fn report(&self) -> SocketReport {
        let mut report: SocketReport = self.socket.counters().into();
        report += self.boarded.report;
        report
    }

    /// Datagrams dropped by the kernel for want of buffer since the last call.
    pub(crate) fn take_overruns(&mut self) -> u32 {
        let now = self.socket.rxq_overflow();
        now.wrapping_sub(std::mem::replace(&mut self.overflow, now))
    }
}

/// What sessions should know of a send call, by whose trains they were.
pub(crate) fn notices_of(outcome: &SendOutcome, owners: &[TrainOwner], mut notice: impl FnMut(Notice)) {
    for hint in outcome.hints.iter() {
        match (hint.kind, owners.get(hint.train).copied()) {
            (HintKind::Refused, _) => notice(Notice::Refused),
            (HintKind::TooBig, Some(TrainOwner { index, lane, segment })) => {
                notice(Notice::TooBig { index, lane, size: segment });
            }
            (HintKind::SizeDoubted, Some(TrainOwner { index, lane, .. })) => {
                notice(Notice::SizeDoubted { index, lane });
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use mio::Poll;
    use udpx_udp::SocketOptions;

    use super::*;

    /// One receive call may bring more knocks than the batch has trains for their answers.
    #[test]
    fn as_many_datagrams_leave_as_were_queued() {
        let poll = Poll::new().unwrap();
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
        let mut wire = Wire::new(socket, poll.registry(), Token(0), true).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        for number in 0..100_u8 {
            wire.datagram(Some(peer.local_addr().unwrap()), &[number; 40], u32::MAX);
        }
        wire.flush(|_| {});
        let mut buffer = [0; 64];
        for number in 0..100 {
            assert_eq!((peer.recv(&mut buffer).unwrap(), buffer[0]), (40, number));
        }
    }
}
