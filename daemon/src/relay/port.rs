//! One socket of the relay with the batch that waits to leave through it.

use std::io;

use mio::{Interest, Registry, Token};
use udpx_udp::{RecvBatch, SendBatch, Socket};

pub(super) struct Port {
    pub(super) socket: Socket,
    pub(super) out: SendBatch,
    /// The socket's send buffer is full; mio says when it no longer is.
    pub(super) blocked: bool,
    /// There may be more to receive: mio's readiness is edge-triggered, so it must be remembered.
    pub(super) readable: bool,
    /// Datagrams that the kernel took.
    pub(super) forwarded: u64,
}

impl Port {
    pub(super) fn new(mut socket: Socket, registry: &Registry, token: Token) -> io::Result<Self> {
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { socket, out: SendBatch::new(TRAINS), blocked: false, readable: true, forwarded: 0 })
    }

    /// One receive call into `batch`: whether it brought anything.
    pub(super) fn receive(&mut self, batch: &mut RecvBatch) -> io::Result<bool> {
        self.readable = self.socket.recv(batch)? > 0;
        Ok(self.readable)
    }

    /// Hands the batch to the kernel; true if there is room in it again.
    pub(super) fn send(&mut self) -> bool {
        if !self.blocked && !self.out.is_empty() {
            let outcome = self.socket.send(&mut self.out);
            self.forwarded += outcome.datagrams as u64;
            self.blocked = outcome.blocked;
        }
        !self.blocked
    }

    /// Datagrams that the kernel dropped in front of this socket or behind it.
    pub(super) fn overruns(&self) -> (u64, u64) {
        (u64::from(self.socket.rxq_overflow()), self.socket.counters().dropped_datagrams)
    }
}

/// Trains in a batch: half a megabyte, beyond which a longer call only holds up the other direction.
const TRAINS: usize = 8;
