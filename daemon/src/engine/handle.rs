//! Starting an engine, and talking to it from other threads.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use mio::{Poll, Waker};
use udpx_proto::RekeyLimits;
use udpx_proto::handshake::{Acceptor, AcceptorConfig, PARAMS_VERSION, Params, StaticSecret};
use udpx_udp::{RecvBatch, Socket, SocketOptions};

use super::access::Peers;
use super::bounds::{Bounds, Unfinished};
use super::carriers::Carriers;
use super::clock::{Clock, Timer};
use super::driver::Tags;
use super::lanes::LaneTable;
use super::paths::Paths;
use super::report::{COMMANDS_MAX, Command, Outbox, REPORTS_MAX, Report};
use super::staging::StagingPool;
use super::tickets::Tickets;
use super::transmit::Shipper;
use super::workers::Workers;
use super::{Engine, TIMER, WAKER, bell};
use crate::identity::OsRandom;
use crate::liveness::Beat;
use crate::storage::Bell;
use crate::storage::digest::Hashing;
use crate::storage::source::Loading;

/// How an engine is set up.
pub(crate) struct EngineConfig {
    pub(crate) identity: StaticSecret,
    /// Addresses to receive sessions on; none for an engine that only calls.
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) peers: Peers,
    /// Staging memory, bytes.
    pub(crate) staging: u64,
    /// What peers may hold.
    pub(crate) bounds: Bounds,
    /// When secrets of sessions are replaced.
    pub(crate) rekey: RekeyLimits,
    /// Receive buffer of each socket, bytes.
    pub(crate) receive_buffer: usize,
    /// How the files that are sent come into memory.
    pub(crate) loading: Loading,
    /// Which threads compute digests.
    pub(crate) hashing: Hashing,
    pub(crate) gso: bool,
    /// Largest IP packet, bytes.
    pub(crate) mtu_max: u16,
    /// Lanes of a session at most, 1 to [`LANES_MAX`](udpx_proto::limits::LANES_MAX).
    pub(crate) lanes: u8,
    /// What is known of the paths to peers; it learns from each session.
    pub(crate) paths: Paths,
    /// Rung when there are reports, for a reader that waits for other things as well.
    pub(crate) bell: Option<Bell>,
    /// Stands between each socket and the kernel.
    #[cfg(test)]
    pub(crate) inject: Option<fn() -> udpx_udp::testing::SendInjector>,
}

impl EngineConfig {
    pub(crate) fn socket_options(&self) -> SocketOptions {
        SocketOptions { gso: self.gso, receive_buffer: self.receive_buffer, ..SocketOptions::default() }
    }

    fn params(&self) -> Params {
        Params {
            version: PARAMS_VERSION,
            // Whether a particular peer may is the directory's business.
            plain_ok: true,
            mtu_max: self.mtu_max,
            // The rest of the memory holds blocks that are being filled.
            staging_credit: self.staging / 4 * 3,
            lanes_max: self.lanes,
            max_ack_delay_us: 25_000,
            has_aes: has_aes(),
        }
    }
}

/// Whether this CPU encrypts AES in hardware.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        std::arch::is_x86_feature_detected!("aes")
    }
    #[cfg(target_arch = "aarch64")]
    {
        std::arch::is_aarch64_feature_detected!("aes")
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        false
    }
}

/// An engine's thread and the ends of its channels. Dropping it stops the engine.
pub(crate) struct EngineHandle {
    commands: Sender<Command>,
    reports: Receiver<Report>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    listening: Vec<SocketAddr>,
    beats: Vec<Arc<Beat>>,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    /// An address cannot be bound.
    #[error("{0} cannot be listened on: {1}.")]
    Bind(SocketAddr, io::Error),
    /// The system refused threads, descriptors or memory.
    #[error("The system refused what an engine needs: {0}.")]
    System(#[from] io::Error),
}

impl EngineHandle {
    /// Binds the sockets and starts the thread.
    pub(crate) fn start(mut config: EngineConfig) -> Result<Self, StartError> {
        config.peers.acquaint(&config.identity);
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let timer = Timer::new(poll.registry(), TIMER)?;
        let workers = Workers::start(&bell(&waker), config.loading, config.hashing)?;
        let beat = Beat::steady(THREAD_NAME);
        let carriers = Carriers::start(config.lanes.into(), &bell(&waker))?;
        let beats = workers.beats().iter().chain(carriers.beats()).cloned().chain([beat.clone()]).collect();
        let mut random = OsRandom::open()?;
        let clock = Clock::new();
        let params = config.params();
        let acceptor = (!config.listen.is_empty()).then(|| {
            let config = AcceptorConfig {
                local: config.identity.clone(),
                params: params.clone(),
                cookie_threshold: COOKIE_THRESHOLD,
            };
            Acceptor::new(config, clock.now(), &mut random)
        });
        let (commands, command_inbox) = bounded(COMMANDS_MAX);
        let (report_sender, reports) = bounded(REPORTS_MAX);
        let mut engine = Engine {
            params,
            housekeeping_at: clock.now(),
            look_for_stalled_at: clock.now(),
            unfinished: Unfinished::default(),
            rates_stirred: false,
            clock,
            poll,
            timer,
            wires: Vec::new(),
            lanes: LaneTable::new(0),
            associations: Vec::new(),
            acceptor,
            receive: Some(RecvBatch::for_engine()),
            receive_errors: 0,
            retry_at: udpx_proto::Time::FAR,
            touched: Vec::with_capacity(64),
            shipper: Shipper::new(),
            carriers,
            pool: StagingPool::new(config.staging, config.hashing),
            workers,
            random,
            tags: Tags::default(),
            tickets: Tickets::default(),
            spare_lane: None,
            answer: Vec::new(),
            last_key: 0,
            commands: command_inbox,
            outbox: Outbox::new(report_sender, config.bell.clone()),
            busy: true,
            beat,
            stop_at: None,
            config,
        };
        let listening = engine.listen()?;
        let thread = std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || engine.run())?;
        Ok(Self { commands, reports, waker, thread: Some(thread), listening, beats })
    }

    /// Addresses that were bound, with the ports that the kernel chose.
    pub(crate) fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The signs of life of its threads.
    pub(crate) fn beats(&self) -> &[Arc<Beat>] {
        &self.beats
    }

    /// Queues a command. False if the engine is gone, or does not keep up.
    pub(crate) fn send(&self, command: Command) -> bool {
        let sent = match self.commands.try_send(command) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => false,
        };
        // Fails only when the engine is gone.
        let _ = self.waker.wake();
        sent
    }

    /// The next report; `Err` when the engine has ended and everything was read.
    pub(crate) fn next(&self, timeout: Duration) -> Result<Option<Report>, Gone> {
        match self.reports.recv_timeout(timeout) {
            Ok(report) => Ok(Some(report)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Gone),
        }
    }
}

impl EngineHandle {
    /// The next report, if there is one; `Err` when the engine has ended and everything was read.
    pub(crate) fn try_next(&self) -> Result<Option<Report>, Gone> {
        match self.reports.try_recv() {
            Ok(report) => Ok(Some(report)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => Err(Gone),
        }
    }
}

/// The engine's thread has ended.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Gone;

impl Drop for EngineHandle {
    fn drop(&mut self) {
        // A full queue is emptied soon; the engine also ends when the channel is closed.
        let (nobody, _) = bounded(0);
        let stopped = self.send(Command::Stop);
        drop(std::mem::replace(&mut self.commands, nobody));
        let _ = self.waker.wake();
        tracing::debug!(stopped, "stopping the engine");
        if let Some(thread) = self.thread.take() {
            // The engine may be waiting to hand over reports; nobody will read them.
            while self.reports.try_recv().is_ok() {}
            if thread.join().is_err() {
                tracing::error!("the engine had panicked");
            }
        }
    }
}

impl Engine {
    fn listen(&mut self) -> Result<Vec<SocketAddr>, StartError> {
        let options = self.config.socket_options();
        let mut bound = Vec::new();
        for address in self.config.listen.clone() {
            let socket = Socket::bind(address, &options).map_err(|error| StartError::Bind(address, error))?;
            bound.push(socket.local_addr());
            self.add_wire(socket, true)
                .map_err(|failure| StartError::System(io::Error::other(failure.text)))?;
        }
        Ok(bound)
    }
}

const THREAD_NAME: &str = "udpx-engine-0";
/// Handshakes within ten seconds beyond which callers have to show that they get our answers.
const COOKIE_THRESHOLD: usize = 256;
