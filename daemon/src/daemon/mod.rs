//! A daemon: an engine that receives what the configured peers send.

mod check;
pub mod command;
mod places;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use udpx_control::server::BindError;
use udpx_proto::Code;
use udpx_proto::handshake::{PublicKey, StaticSecret};

use crate::config::{Config, ConfigError, Sink, lanes_of};
use crate::engine::access::Peers;
use crate::engine::bounds::Bounds;
use crate::engine::paths::Paths;
use crate::engine::report::{Command, Report};
use crate::engine::{EngineConfig, EngineHandle};
use crate::identity::{self, IdentityError};
use crate::jobs::LedgerError;
use crate::liveness::Watch;
use crate::report::{FileSummary, SessionCounters, SocketReport, Tally};
use crate::storage::Bell;
use crate::storage::digest::Hashing;
use crate::storage::source::Loading;
use crate::storage::vault::VaultError;

/// Why a daemon does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// A peer's directory cannot be used.
    #[error("The inbox of peer {peer:?} cannot be used: {error}")]
    Inbox {
        /// The peer's name.
        peer: String,
        /// What is wrong with its directory.
        error: VaultError,
    },
    /// The engine did not start.
    #[error("{0}")]
    Bind(String),
    /// The system refused what the engine needs.
    #[error("{0} Look into the limits of this process.")]
    System(String),
    /// There is no control socket.
    #[error("{0} The setting is: control.")]
    Control(#[from] BindError),
    /// There is no job table.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The engine's thread ended though nobody wanted it to.
    #[error("The engine has stopped by itself; this is a bug: please report it with the log.")]
    EngineGone,
}

impl DaemonError {
    /// The stable code, whose [`Code::exit`] a command exits with.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Config(_) => Code::Config,
            Self::Identity(_) | Self::System(_) => Code::Io,
            Self::Inbox { .. } => Code::NoSpace,
            Self::Bind(_) => Code::Io,
            Self::Control(BindError::NotASocket(_) | BindError::PathTooLong(_)) => Code::Config,
            Self::Control(_) => Code::Io,
            Self::Ledger(error) => error.code(),
            Self::EngineGone => Code::Bug,
        }
    }
}

/// What happened in a daemon.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum DaemonEvent {
    /// A known peer opened a session.
    Connected {
        /// Names the session for as long as the daemon lives.
        session: u64,
        /// Its name.
        peer: String,
        /// Where it is.
        from: SocketAddr,
    },
    /// A session of a known peer is over.
    Disconnected {
        /// Which one.
        session: u64,
        /// Its name.
        peer: String,
        /// Where it was.
        from: SocketAddr,
        /// Why.
        code: Code,
        /// The same in words, partly the peer's: escape it before it is shown.
        text: String,
        /// The listening socket, all sessions so far.
        socket: SocketReport,
        /// What the session did.
        counters: Box<SessionCounters>,
    },
    /// What was counted; told once a second.
    Tally(Box<Tally>),
    /// An unknown key knocked and was refused.
    Refused {
        /// The key.
        key: PublicKey,
        /// Where it is.
        from: SocketAddr,
    },
    /// A file is here, durable, under its name.
    Received {
        /// Who sent it.
        peer: String,
        /// Which user there, as that machine says: proof of nothing, and to be escaped before it is shown.
        user: String,
        /// The file.
        file: FileSummary,
    },
    /// A file will not arrive.
    Failed {
        /// Who sent it.
        peer: String,
        /// Its name, as far as it was known.
        path: PathBuf,
        /// Why.
        code: Code,
        /// The same in words.
        text: String,
    },
    /// A file that a peer asked for is durable there.
    Sent {
        /// Who asked.
        peer: String,
        /// Its path here.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
    },
    /// A file that a peer asked for will not be there.
    NotSent {
        /// Who asked.
        peer: String,
        /// Its path here, as far as it was known.
        path: PathBuf,
        /// Why.
        code: Code,
        /// The same in words.
        text: String,
    },
}

/// What a daemon may have around it.
#[derive(Default)]
pub(crate) struct Surroundings {
    /// Rings when there is something to be taken by [`Daemon::try_next`].
    pub(crate) bell: Option<Bell>,
    /// Commands can let others in, as those who are refused are told.
    pub(crate) invites: bool,
    /// What is known of the paths to peers.
    pub(crate) paths: Paths,
}

/// A running daemon. Dropping it closes its sessions and removes unfinished files.
pub struct Daemon {
    engine: EngineHandle,
    key: PublicKey,
    config: Config,
    config_name: String,
    /// Commands can let others in.
    invites: bool,
    allowances: places::Allowances,
    paths: Paths,
}

impl Daemon {
    /// Starts as the identity of the configuration, which is made if there is none.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub fn start(config: &Config) -> Result<Self, DaemonError> {
        let secret = identity::load_or_create(&config.identity)?;
        Self::start_as(config, secret, "its configuration")
    }

    /// Starts as `secret`. `config_name` is how a refused caller is told where its key belongs.
    ///
    /// # Errors
    /// [`DaemonError`].
    pub fn start_as(config: &Config, secret: StaticSecret, config_name: &str) -> Result<Self, DaemonError> {
        Self::start_with(config, secret, config_name, Surroundings::default())
    }

    /// The same, with what is around it.
    pub(crate) fn start_with(
        config: &Config,
        secret: StaticSecret,
        config_name: &str,
        with: Surroundings,
    ) -> Result<Self, DaemonError> {
        let allowances = places::Allowances::default();
        let peers = places::accesses(config, &allowances)?;
        if config.sink == Sink::Files {
            places::sweep(&peers);
        }
        let key = secret.public();
        let engine = EngineHandle::start(EngineConfig {
            bounds: Bounds::of(&config.limits),
            rekey: udpx_proto::RekeyLimits::default(),
            identity: secret,
            listen: config.listen_addresses(),
            peers: Peers::new(peers, config_name.into(), with.invites),
            staging: config.staging,
            receive_buffer: config.receive_buffer,
            loading: Loading::Mapped,
            hashing: Hashing::suited(),
            gso: config.gso,
            mtu_max: config.mtu_max,
            lanes: lanes_of(config.lanes),
            paths: with.paths.clone(),
            bell: with.bell,
            #[cfg(test)]
            inject: None,
        });
        let engine = engine.map_err(|error| match error {
            crate::engine::StartError::Bind(_, ref bind) => {
                DaemonError::Bind(format!("{error} {}", remedy_of_bind(bind)))
            }
            crate::engine::StartError::System(_) => DaemonError::System(error.to_string()),
        })?;
        Ok(Self {
            engine,
            key,
            config: config.clone(),
            config_name: config_name.into(),
            invites: with.invites,
            allowances,
            paths: with.paths,
        })
    }

    /// Takes over the peers, inboxes and roots of a changed configuration; sessions of peers who lost something by it are
    /// closed. Returns the keys of other settings that differ: those are in force only after a restart.
    ///
    /// # Errors
    /// [`DaemonError`]; then everything stays as it was.
    pub fn reload(&mut self, config: &Config) -> Result<Vec<&'static str>, DaemonError> {
        let peers =
            Peers::new(places::accesses(config, &self.allowances)?, self.config_name.clone(), self.invites);
        let bounds = Bounds::of(&config.limits);
        if !(self.engine.send(Command::Admit(peers)) && self.engine.send(Command::Bound(bounds))) {
            return Err(DaemonError::System("The engine is too busy to take new peers; try again.".into()));
        }
        let old = &self.config;
        let mut waiting = Vec::new();
        for (key, same) in [
            ("listen", old.listen_addresses() == config.listen_addresses()),
            ("identity", old.identity == config.identity),
            ("state", old.state_directory() == config.state_directory()),
            ("control", old.control == config.control),
            ("staging", old.staging == config.staging),
            ("rcvbuf", old.receive_buffer == config.receive_buffer),
            ("gso", old.gso == config.gso),
            ("mtu_max", old.mtu_max == config.mtu_max),
            ("lanes", lanes_of(old.lanes) == lanes_of(config.lanes)),
        ] {
            waiting.extend((!same).then_some(key));
        }
        Ok(waiting)
    }

    /// Looks whether its threads advance.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch::new(self.engine.beats().to_vec())
    }

    /// The addresses that it receives on, with the ports that the kernel chose.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        self.engine.listening()
    }

    /// Its public key.
    #[must_use]
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// What happened next; `None` if nothing did within `timeout`.
    ///
    /// # Errors
    /// [`DaemonError::EngineGone`].
    pub fn next_event(&self, timeout: Duration) -> Result<Option<DaemonEvent>, DaemonError> {
        match self.engine.next(timeout) {
            Ok(report) => Ok(report.and_then(|report| match notice(report) {
                Notice::Event(event) => Some(*event),
                Notice::Call(_) => None,
            })),
            Err(_) => Err(DaemonError::EngineGone),
        }
    }

    /// What happened next, sessions that this daemon opened itself included; `None` if nothing has.
    pub(crate) fn try_next(&self) -> Result<Option<Notice>, DaemonError> {
        match self.engine.try_next() {
            Ok(report) => Ok(report.map(notice)),
            Err(_) => Err(DaemonError::EngineGone),
        }
    }

    /// Bytes that lie in a place of peers, as far as they have been counted since the daemon was started.
    pub(crate) fn used_in(&self, place: &std::path::Path) -> Option<u64> {
        self.allowances.used(place)
    }

    /// Its engine, for sessions that it opens itself.
    pub(crate) fn engine(&self) -> &EngineHandle {
        &self.engine
    }

    /// Writes down what was learnt of paths to peers since the last time.
    pub(crate) fn save_paths(&self) {
        save(&self.paths);
    }

    /// Closes all sessions and removes unfinished files.
    pub fn stop(self) {
        let Self { engine, paths, .. } = self;
        // Its sessions end with it, and leave what they know.
        drop(engine);
        save(&paths);
    }
}

fn save(paths: &Paths) {
    if let Err(error) = paths.save() {
        tracing::warn!(%error, "what is known of the paths to peers cannot be written into the state directory");
    }
}

/// Runs a daemon until `shutdown` is set, and tells `observer` what happens.
///
/// # Errors
/// [`DaemonError`].
pub fn run(
    daemon: &Daemon,
    shutdown: &AtomicBool,
    observer: &mut dyn FnMut(&DaemonEvent),
) -> Result<(), DaemonError> {
    while !shutdown.load(Ordering::Relaxed) {
        if let Some(event) = daemon.next_event(SHUTDOWN_EVERY)? {
            observer(&event);
        }
    }
    Ok(())
}

/// What a daemon is told by its engine.
pub(crate) enum Notice {
    /// About sessions that peers opened, or all of them.
    Event(Box<DaemonEvent>),
    /// About one that this daemon opened.
    Call(Report),
}

fn notice(report: Report) -> Notice {
    Notice::Event(Box::new(match report {
        Report::Arrived { session, peer, from } => DaemonEvent::Connected { session, peer, from },
        Report::Unknown { key, from } => DaemonEvent::Refused { key, from },
        Report::Left { session, peer, from, failure, socket, counters } => {
            let (code, text) = (failure.code, failure.text);
            DaemonEvent::Disconnected { session, peer, from, code, text, socket, counters }
        }
        Report::Tally(tally) => DaemonEvent::Tally(tally),
        Report::Received { peer, user, file } => DaemonEvent::Received { peer, user, file },
        Report::NotReceived { peer, path, failure } => {
            DaemonEvent::Failed { peer, path, code: failure.code, text: failure.text }
        }
        Report::Sent { peer, path, bytes } => DaemonEvent::Sent { peer, path, bytes },
        Report::NotSent { peer, path, failure } => {
            DaemonEvent::NotSent { peer, path, code: failure.code, text: failure.text }
        }
        other @ (Report::Connected { .. }
        | Report::ConnectFailed { .. }
        | Report::File { .. }
        | Report::Answer { .. }
        | Report::Quiet { .. }
        | Report::Ended { .. }
        | Report::Barred { .. }
        | Report::Joining(_)
        | Report::Arriving { .. }) => return Notice::Call(other),
    }))
}

fn remedy_of_bind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrNotAvailable => {
            "It is not an address of this machine: correct `listen` in the configuration."
        }
        io::ErrorKind::PermissionDenied => {
            "Choose a port above 1023 in the configuration, or let udpxd bind lower ones (CAP_NET_BIND_SERVICE)."
        }
        _ => "Stop what uses the address, or choose another in the configuration.",
    }
}

/// How soon a daemon notices that it shall end.
const SHUTDOWN_EVERY: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_bound_is_told_with_its_own_remedy() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let socket = std::net::UdpSocket::bind(taken).unwrap();
        for (listen, remedy) in
            [(taken, "Stop what uses"), ("192.0.2.1:4000".parse().unwrap(), "not an address of this")]
        {
            let config = Config { listen: vec![listen], ..Config::default() };
            let error = Daemon::start_as(&config, identity::ephemeral().unwrap(), "c").err().unwrap();
            assert!(error.to_string().contains(remedy), "{error}");
        }
        drop(socket);
    }
}
