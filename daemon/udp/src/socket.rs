//! One UDP socket: made, registered with mio, sent from and received on.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Type};

use crate::buffers::{self, Buffers};
use crate::counters::SyscallCounters;
use crate::gather::GatherBatch;
use crate::hints::{HintKind, SendOutcome};
use crate::options::{Caps, SocketOptions, configure};
use crate::receive::{Receiver, RecvBatch};
use crate::seam::Kernel;
use crate::send_batch::SendBatch;
use crate::sys;
use crate::transmit::Transmitter;

/// A non-blocking UDP socket of one address family, with DF set.
pub struct Socket {
    inner: socket2::Socket,
    local: SocketAddr,
    caps: Caps,
    buffers: Buffers,
    transmitter: Transmitter,
    receiver: Receiver,
    counters: SyscallCounters,
    kernel: Kernel,
}

impl Socket {
    /// A socket that sends to, and receives from, any address.
    ///
    /// # Errors
    /// Those of socket(2), bind(2) and of options that every kernel has.
    pub fn bind(local: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        Self::open(local, None, options)
    }

    /// A socket of its own for one peer: cheaper to send on, deaf to all others, and told of ICMP errors. `local` is
    /// usually [`wildcard`](Self::wildcard).
    ///
    /// # Errors
    /// Those of [`bind`](Self::bind) and connect(2), such as `NetworkUnreachable`.
    pub fn connect(local: SocketAddr, remote: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        Self::open(local, Some(remote), options)
    }

    /// Any address and any port of the family of `remote`.
    #[must_use]
    pub fn wildcard(remote: SocketAddr) -> SocketAddr {
        match remote {
            SocketAddr::V4(_) => SocketAddr::from(([0u8; 4], 0)),
            SocketAddr::V6(_) => SocketAddr::from(([0u8; 16], 0)),
        }
    }

    fn open(local: SocketAddr, remote: Option<SocketAddr>, options: &SocketOptions) -> io::Result<Self> {
        let v6 = local.is_ipv6();
        let inner = socket2::Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
        inner.set_nonblocking(true)?;
        let caps = configure(&inner, v6, options)?;
        // Sized before it is bound: a packet may arrive at once.
        let buffers = buffers::size(inner.as_fd(), options.receive_buffer, options.send_buffer)?;
        inner.bind(&local.into())?;
        if let Some(remote) = remote {
            inner.connect(&remote.into())?;
        }
        let local =
            inner.local_addr()?.as_socket().ok_or(io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        let transmitter =
            Transmitter { gso: options.gso && caps.gso_segments_max > 1, ecn: options.ecn, v6, strikes: 0 };
        Ok(Self {
            inner,
            local,
            caps,
            buffers,
            transmitter,
            receiver: Receiver::default(),
            counters: SyscallCounters::default(),
            kernel: Kernel::default(),
        })
    }

    /// The same socket for another thread to send by, with counters of its own. What the kernel refuses one of them is not known to
    /// the other. The socket lives, and stays registered where it was, until all of them are dropped.
    ///
    /// # Errors
    /// Those of dup(2).
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            inner: self.inner.try_clone()?,
            local: self.local,
            caps: self.caps,
            buffers: self.buffers,
            transmitter: self.transmitter,
            receiver: Receiver::default(),
            counters: SyscallCounters::default(),
            kernel: Kernel::default(),
        })
    }

    /// Sends the batch, which is empty afterwards unless the outcome says that the socket is blocked.
    pub fn send(&mut self, batch: &mut SendBatch) -> SendOutcome {
        let Self { inner, transmitter, counters, kernel, .. } = self;
        batch.with_trains(|trains, queue| transmitter.send(kernel, inner.as_fd(), trains, queue, counters))
    }

    /// Sends a batch of borrowed slices in the same way.
    pub fn send_gather(&mut self, batch: &mut GatherBatch<'_>) -> SendOutcome {
        let Self { inner, transmitter, counters, kernel, .. } = self;
        batch.with_trains(|trains, queue| transmitter.send(kernel, inner.as_fd(), trains, queue, counters))
    }

    /// Receives what is there, in one `recvmmsg`: the number of buffers filled, those skipped for truncation
    /// included; 0 when nothing is left. ICMP errors on the way become hints ([`take_hint`](Self::take_hint)).
    ///
    /// # Errors
    /// Only what makes the socket useless, or a flood of ICMP errors. The socket may still be readable.
    pub fn recv(&mut self, batch: &mut RecvBatch) -> io::Result<usize> {
        self.receiver.receive(&mut self.kernel, self.inner.as_fd(), batch, &mut self.counters)
    }

    /// The last ICMP error that receiving came across, once.
    pub fn take_hint(&mut self) -> Option<HintKind> {
        self.receiver.hint.take()
    }

    /// Datagrams dropped because this socket's receive buffer was full, since it was made, modulo 2^32; as of the last
    /// datagram received.
    #[must_use]
    pub fn rxq_overflow(&self) -> u32 {
        self.receiver.overflow
    }

    /// Whether trains go out as GSO messages: wanted, possible, and not refused by the device so far.
    #[must_use]
    pub fn gso(&self) -> bool {
        self.transmitter.gso
    }

    /// Turns GSO off, or on again where the kernel has it: some drivers damage trains without any error, which
    /// only the peer's losses show.
    pub fn set_gso(&mut self, on: bool) {
        self.transmitter.gso = on && self.caps.gso_segments_max > 1;
        self.transmitter.strikes = 0;
    }

    /// The address that it is bound to, with the port that the kernel chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What the kernel can do.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// How large its buffers are.
    #[must_use]
    pub fn buffers(&self) -> Buffers {
        self.buffers
    }

    /// What it did so far.
    #[must_use]
    pub fn counters(&self) -> SyscallCounters {
        self.counters
    }

    /// MTU of the route of a connected socket, IP header included, bytes: the first candidate for a path MTU
    /// search, and an upper bound.
    ///
    /// # Errors
    /// `NotConnected`, and those of getsockopt(2).
    pub fn route_mtu(&self) -> io::Result<u32> {
        let (level, name) = if self.transmitter.v6 {
            (libc::IPPROTO_IPV6, libc::IPV6_MTU)
        } else {
            (libc::IPPROTO_IP, libc::IP_MTU)
        };
        let mtu = sys::get_int(self.inner.as_fd(), level, name)?;
        u32::try_from(mtu).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// Puts a fault injector before each `sendmmsg`.
    #[cfg(feature = "testing")]
    pub fn inject_send(&mut self, injector: crate::testing::SendInjector) {
        self.kernel.inject_send(injector);
    }

    /// Puts a fault injector before each `recvmmsg`.
    #[cfg(feature = "testing")]
    pub fn inject_receive(&mut self, injector: crate::testing::RecvInjector) {
        self.kernel.inject_receive(injector);
    }
}

impl Source for Socket {
    fn register(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.inner.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interests: Interest) -> io::Result<()> {
        SourceFd(&self.inner.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.inner.as_raw_fd()).deregister(registry)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.inner.as_raw_fd()
    }
}
