//! What the three pumps share: sockets, a window, and the two figures that each of them gives.
//!
//! A pump is what remains of a file transfer without protocol: datagrams in order, no retransmission. So that nothing is lost the
//! receiver grants credit, a datagram of 8 bytes (its count of payload bytes, little-endian) every [`GRANT`] bytes, and the
//! sender keeps within [`WINDOW`] of it, which is less than a socket buffer. A datagram lost all the same makes the row void.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use udpx_udp::{GatherBatch, RecvBatch, SendBatch, SendOutcome, Socket, SocketOptions, train_bytes_max};

use super::endpoint::{self, EndpointArgs, Kind, Report, announce, cpu_seconds};
use super::process::Void;
use super::row::{Figure, Lab};

/// Payload bytes on the way at most.
const WINDOW: u64 = 2 << 20;
/// Payload bytes between two grants.
const GRANT: u64 = 256 << 10;
/// Trains in one `sendmmsg`. More of them wake the receiver less often, which costs the sender more than the call itself;
/// beyond this nothing is gained.
pub(crate) const TRAINS: usize = 12;
/// Buffers in one `recvmmsg`.
const BUFFERS: usize = 8;
/// How long either end may hear nothing before it gives up.
const SILENCE: Duration = Duration::from_secs(3);

/// One transfer with the digest on both ends and one without.
///
/// # Errors
/// If either loses or damages anything; without digest only the count and, where there are any, the headers tell.
pub(crate) fn figures(lab: &Lab, kind: Kind) -> Result<Vec<Figure>, Void> {
    [("digest", true), ("no digest", false)]
        .into_iter()
        .map(|(label, digest)| {
            let plan = endpoint::Plan {
                kind,
                size: lab.source.size,
                digest,
                file: None,
                rate: None,
                limit: lab.limit,
            };
            Ok(endpoint::transfer(&lab.arena, &plan)?.figure(label))
        })
        .collect()
}

/// The same with the digest, at a steady rate (payload bits a second) and for so many bytes.
///
/// # Errors
/// As [`figures`].
pub(crate) fn paced(lab: &Lab, kind: Kind, size: u64, rate: f64) -> Result<Vec<Figure>, Void> {
    let plan = endpoint::Plan { kind, size, digest: true, file: None, rate: Some(rate), limit: lab.limit };
    Ok(vec![endpoint::transfer(&lab.arena, &plan)?.figure("digest")])
}

/// The sending end: a connected socket and the credit that came back.
pub(crate) struct Sender {
    socket: Socket,
    grants: RecvBatch,
    granted: u64,
}

impl Sender {
    /// Sends `args.size` payload bytes by calling `step(sender, offset, len)`, which sends the `len` bytes at `offset`, and
    /// waits until the receiver has counted all of them.
    ///
    /// `payload` is what one datagram carries of the file.
    ///
    /// # Errors
    /// If the socket fails or no grant comes for [`SILENCE`].
    pub(crate) fn run(
        args: &EndpointArgs,
        payload: usize,
        mut step: impl FnMut(&mut Sender, u64, u64) -> Result<(), Void>,
    ) -> Result<Report, Void> {
        let local = Socket::wildcard(args.address);
        let socket = Socket::connect(local, args.address, &SocketOptions::default())?;
        let mut sender = Sender { socket, grants: RecvBatch::new(4), granted: 0 };
        // A paced pump sends single trains, as often as they are due: its bursts are as short as a protocol's.
        let trains = if args.rate.is_some() { 1 } else { TRAINS };
        let batch = (payload * (train_bytes_max(args.datagram) / usize::from(args.datagram)) * trains) as u64;
        let cpu = cpu_seconds();
        let begin = Instant::now();
        let mut sent = 0;
        while sent < args.size {
            let len = batch.min(args.size - sent);
            while sender.granted + WINDOW < sent + len {
                sender.await_grant()?;
            }
            if let Some(rate) = args.rate {
                let due = Duration::from_secs_f64(sent as f64 * 8.0 / rate);
                std::thread::sleep(due.saturating_sub(begin.elapsed()));
            }
            step(&mut sender, sent, len)?;
            sent += len;
        }
        while sender.granted < args.size {
            sender.await_grant()?;
        }
        let seconds = begin.elapsed().as_secs_f64();
        let counters = sender.socket.counters();
        let per_call = counters.sent_datagrams as f64 / counters.sendmmsg_calls.max(1) as f64;
        Ok(Report::new(sent, seconds, cpu_seconds() - cpu, per_call))
    }

    /// Sends the whole batch.
    pub(crate) fn send(&mut self, batch: &mut SendBatch) -> Result<(), Void> {
        while check(self.socket.send(batch))? {
            wait(&self.socket, PollFlags::POLLOUT)?;
        }
        Ok(())
    }

    /// The same for borrowed slices.
    pub(crate) fn send_gather(&mut self, batch: &mut GatherBatch<'_>) -> Result<(), Void> {
        while check(self.socket.send_gather(batch))? {
            wait(&self.socket, PollFlags::POLLOUT)?;
        }
        Ok(())
    }

    fn await_grant(&mut self) -> Result<(), Void> {
        if self.socket.recv(&mut self.grants)? == 0 {
            return wait(&self.socket, PollFlags::POLLIN);
        }
        for datagram in self.grants.iter().flat_map(|r| r.datagrams()) {
            let bytes = datagram.try_into().map_err(|_| Void("a grant has the wrong size".into()))?;
            self.granted = self.granted.max(u64::from_le_bytes(bytes));
        }
        Ok(())
    }
}

/// Receives `args.size` payload bytes, in `take(bytes, segment_size)`, which is given each filled buffer in order of arrival and
/// returns the payload bytes in it.
///
/// # Errors
/// If the socket fails, nothing comes for [`SILENCE`], or `take` refuses what came.
pub(crate) fn receive(
    args: &EndpointArgs,
    mut take: impl FnMut(&[u8], usize) -> Result<u64, Void>,
) -> Result<Report, Void> {
    let mut socket = Socket::bind(args.address, &SocketOptions::default())?;
    let mut batch = RecvBatch::new(BUFFERS);
    let mut grant = SendBatch::new(1);
    announce(socket.local_addr())?;
    let (mut received, mut granted) = (0, 0);
    let mut start = None;
    let cpu = cpu_seconds();
    while received < args.size {
        if socket.recv(&mut batch)? == 0 {
            wait(&socket, PollFlags::POLLIN).map_err(|_| {
                let lost = socket.rxq_overflow();
                Void(format!("silence after {received} bytes; {lost} datagrams found the socket buffer full"))
            })?;
            continue;
        }
        start.get_or_insert_with(Instant::now);
        for buffer in batch.iter() {
            received += take(buffer.bytes, buffer.segment_size)?;
            if received - granted >= GRANT || received >= args.size {
                granted = received;
                let mut slot = grant.train(Some(buffer.from), 0, 8).map_err(refused)?;
                slot.buffer()[..8].copy_from_slice(&received.to_le_bytes());
                slot.commit(8).map_err(refused)?;
                if check(socket.send(&mut grant))? {
                    return Err(Void("there is no room to send a grant".into()));
                }
            }
        }
    }
    let counters = socket.counters();
    let seconds = start.map_or(0.0, |s: Instant| s.elapsed().as_secs_f64());
    let per_call = counters.received_datagrams as f64 / counters.recvmmsg_calls.max(1) as f64;
    Ok(Report::new(received, seconds, cpu_seconds() - cpu, per_call))
}

/// Whether the rest of the batch has to wait; a dropped datagram is the end of a pump.
fn check(outcome: SendOutcome) -> Result<bool, Void> {
    if outcome.dropped > 0 {
        return Err(Void(format!("{} datagrams were refused by the kernel", outcome.dropped)));
    }
    Ok(outcome.blocked)
}

fn wait(socket: &Socket, flags: PollFlags) -> Result<(), Void> {
    let limit = PollTimeout::try_from(SILENCE).unwrap_or(PollTimeout::MAX);
    match poll(&mut [PollFd::new(socket.as_fd(), flags)], limit) {
        Ok(0) => Err(Void("the other end is silent".into())),
        Ok(_) | Err(nix::Error::EINTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A train that cannot be built is a size that this program chose wrongly.
pub(crate) fn refused(error: udpx_udp::TrainError) -> Void {
    Void(error.to_string())
}
