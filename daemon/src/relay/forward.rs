//! The loop: sockets in, pipes, sockets out, and a timer for what is not due yet.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token, Waker};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use udpx_udp::{RecvBatch, Socket, SocketOptions};

use super::impairments::Impairments;
use super::pipe::Pipe;
use super::port::Port;
use super::report::Report;

/// Clients that one relay serves: each costs a socket, two megabytes of buffers and what it has under way.
pub const CLIENTS_MAX: usize = 64;

/// What a relay does.
#[derive(Clone, Debug)]
pub struct RelayConfig {
    /// Where clients send to; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where their datagrams go.
    pub target: SocketAddr,
    /// Faults on the way to the target.
    pub up: Impairments,
    /// Faults on the way back.
    pub down: Impairments,
    /// Of all chance: the same arrivals at the same times meet the same fate.
    pub seed: u64,
}

/// A relay, bound but not yet running.
pub struct Relay {
    config: RelayConfig,
    poll: Poll,
    timer: TimerFd,
    armed: Option<Instant>,
    listener: Port,
    clients: Vec<Client>,
    stop: Stop,
    unserved: u64,
}

/// Ends a relay from another thread.
#[derive(Clone)]
pub struct Stop {
    asked: Arc<AtomicBool>,
    waker: Arc<Waker>,
}

impl Stop {
    /// Makes [`Relay::run`] return its report soon; what it still holds is dropped.
    ///
    /// # Errors
    /// If the relay cannot be woken. It then ends at its next datagram.
    pub fn stop(&self) -> io::Result<()> {
        self.asked.store(true, Ordering::Release);
        self.waker.wake()
    }
}

struct Client {
    address: SocketAddr,
    /// The socket towards the target.
    upstream: Port,
    up: Pipe,
    down: Pipe,
}

impl Relay {
    /// Opens the listening socket.
    ///
    /// # Errors
    /// Those of bind(2), and of making the poll and the timer.
    pub fn bind(config: RelayConfig) -> io::Result<Self> {
        let poll = Poll::new()?;
        let timer =
            TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        poll.registry().register(&mut SourceFd(&timer.as_fd().as_raw_fd()), TIMER, Interest::READABLE)?;
        let waker = Arc::new(Waker::new(poll.registry(), STOP)?);
        let listener = Socket::bind(config.listen, &options())?;
        Ok(Self {
            listener: Port::new(listener, poll.registry(), LISTENER)?,
            config,
            poll,
            timer,
            armed: None,
            clients: Vec::new(),
            stop: Stop { asked: Arc::default(), waker },
            unserved: 0,
        })
    }

    /// Where clients send to.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.socket.local_addr()
    }

    /// A handle that ends the relay.
    #[must_use]
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Forwards until it is stopped.
    ///
    /// # Errors
    /// Only what makes the listening socket or the poll useless.
    pub fn run(mut self) -> io::Result<Report> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut batch = RecvBatch::for_engine();
        while !self.stop.asked.load(Ordering::Acquire) {
            let busy = self.receive_all(&mut batch)?;
            let now = Instant::now();
            self.send_all(now);
            if !busy {
                self.arm(now)?;
            }
            match self.poll.poll(&mut events, busy.then_some(Duration::ZERO)) {
                Ok(()) => self.note(&events),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(self.report())
    }

    /// Remembers which sockets are ready.
    fn note(&mut self, events: &Events) {
        for event in events {
            let port = match event.token() {
                LISTENER => &mut self.listener,
                TIMER => {
                    // It is armed anew for whatever is due next; when it is read does not matter.
                    let _ = self.timer.wait();
                    self.armed = None;
                    continue;
                }
                Token(token) => match token.checked_sub(FIRST_CLIENT).and_then(|i| self.clients.get_mut(i)) {
                    Some(client) => &mut client.upstream,
                    None => continue,
                },
            };
            port.readable |= event.is_readable() || event.is_error();
            port.blocked &= !event.is_writable();
        }
    }

    /// One receive call on each socket that may have something; true if one of them may have more.
    fn receive_all(&mut self, batch: &mut RecvBatch) -> io::Result<bool> {
        let mut busy = false;
        if self.listener.readable && self.listener.receive(batch)? {
            busy = true;
            let now = Instant::now();
            for received in batch.iter() {
                match self.client(received.from) {
                    Some(client) => client.up.accept(now, &received),
                    None => self.unserved += received.datagrams().len() as u64,
                }
            }
        }
        for client in &mut self.clients {
            if client.upstream.readable && client.upstream.receive(batch)? {
                busy = true;
                let now = Instant::now();
                for received in batch.iter() {
                    client.down.accept(now, &received);
                }
            }
        }
        Ok(busy)
    }

    /// The client of that address, with its own socket towards the target.
    fn client(&mut self, address: SocketAddr) -> Option<&mut Client> {
        let known = self.clients.iter().position(|client| client.address == address);
        let index = match known {
            Some(index) => index,
            None => self.add(address)?,
        };
        self.clients.get_mut(index)
    }

    fn add(&mut self, address: SocketAddr) -> Option<usize> {
        let index = self.clients.len();
        if index >= CLIENTS_MAX {
            return None;
        }
        let target = self.config.target;
        let upstream = Socket::connect(Socket::wildcard(target), target, &options()).ok()?;
        let upstream = Port::new(upstream, self.poll.registry(), Token(FIRST_CLIENT + index)).ok()?;
        let seed = self.config.seed.wrapping_add(2 * index as u64);
        self.clients.push(Client {
            address,
            upstream,
            up: Pipe::new(&self.config.up, seed),
            down: Pipe::new(&self.config.down, seed.wrapping_add(1)),
        });
        Some(index)
    }

    /// Sends whatever is due and fits into the sockets.
    fn send_all(&mut self, now: Instant) {
        for client in &mut self.clients {
            while client.upstream.send() && is_due(&client.up, now) {
                client.up.release(now, &mut client.upstream.out, None);
            }
            while self.listener.send() && is_due(&client.down, now) {
                client.down.release(now, &mut self.listener.out, Some(client.address));
            }
        }
    }

    /// Sets the timer to the next release that no full socket stands in the way of.
    fn arm(&mut self, now: Instant) -> io::Result<()> {
        let ups = self.clients.iter().filter(|client| !client.upstream.blocked).map(|client| &client.up);
        let downs = self.clients.iter().filter(|_| !self.listener.blocked).map(|client| &client.down);
        let Some(next) = ups.chain(downs).filter_map(Pipe::next_release).min() else { return Ok(()) };
        if self.armed.is_some_and(|armed| armed <= next) {
            return Ok(());
        }
        // A time-out of zero would disarm it.
        let wait = next.saturating_duration_since(now).max(Duration::from_nanos(1));
        let expiration = Expiration::OneShot(TimeSpec::from_duration(wait));
        self.timer.set(expiration, TimerSetTimeFlags::empty())?;
        self.armed = Some(next);
        Ok(())
    }

    fn report(&self) -> Report {
        let mut report = Report { unserved: self.unserved, ..Report::default() };
        for client in &self.clients {
            report.up.add(&client.up.counts);
            report.down.add(&client.down.counts);
            let (in_front, behind) = client.upstream.overruns();
            report.down.overrun += in_front;
            report.up.overrun += behind;
            report.up.forwarded += client.upstream.forwarded;
        }
        let (in_front, behind) = self.listener.overruns();
        report.up.overrun += in_front;
        report.down.overrun += behind;
        report.down.forwarded = self.listener.forwarded;
        report
    }
}

fn is_due(pipe: &Pipe, now: Instant) -> bool {
    pipe.next_release().is_some_and(|at| at <= now)
}

fn options() -> SocketOptions {
    SocketOptions { receive_buffer: SOCKET_BUFFER, ..SocketOptions::default() }
}

/// So that the relay itself loses nothing: 5 Gbit/s for 50 ms, if the host allows it.
const SOCKET_BUFFER: usize = 32 << 20;

const LISTENER: Token = Token(0);
const TIMER: Token = Token(1);
const STOP: Token = Token(2);
const FIRST_CLIENT: usize = 3;
const EVENTS_MAX: usize = 128;
