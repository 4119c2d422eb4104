//! A socket that counts: how many datagrams each system call carried, which quinn itself does not tell of the receiving side.

use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

#[derive(Debug, Default)]
pub(crate) struct Counts {
    sends: AtomicU64,
    sent: AtomicU64,
    receives: AtomicU64,
    received: AtomicU64,
}

impl Counts {
    /// Datagrams of a sending call, on average.
    pub(crate) fn sent_per_call(&self) -> f64 {
        self.sent.load(Ordering::Relaxed) as f64 / self.sends.load(Ordering::Relaxed).max(1) as f64
    }

    /// Datagrams of a receiving call, on average.
    pub(crate) fn received_per_call(&self) -> f64 {
        self.received.load(Ordering::Relaxed) as f64 / self.receives.load(Ordering::Relaxed).max(1) as f64
    }
}

pub(crate) struct Counting {
    inner: Arc<dyn AsyncUdpSocket>,
    counts: Arc<Counts>,
}

impl Counting {
    pub(crate) fn new(inner: Arc<dyn AsyncUdpSocket>, counts: Arc<Counts>) -> Self {
        Self { inner, counts }
    }
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.counts.fmt(f)
    }
}

impl AsyncUdpSocket for Counting {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)?;
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        self.counts.sends.fetch_add(1, Ordering::Relaxed);
        self.counts.sent.fetch_add(transmit.contents.len().div_ceil(segment) as u64, Ordering::Relaxed);
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        bufs: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let polled = self.inner.poll_recv(cx, bufs, meta);
        if let Poll::Ready(Ok(count)) = polled {
            let datagrams = |meta: &RecvMeta| meta.len.div_ceil(meta.stride.max(1)) as u64;
            self.counts.receives.fetch_add(1, Ordering::Relaxed);
            self.counts.received.fetch_add(meta[..count].iter().map(datagrams).sum(), Ordering::Relaxed);
        }
        polled
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
