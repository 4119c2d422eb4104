//! Being there for others without a daemon: a directory is served, or one file is taken, by a ticket, from the caller's
//! own process and for as long as it runs.
//!
//! ```text
//! HostConfig ──► Host: an engine that listens ──► a ticket, for whoever is to come
//!                  │
//!                  └─► HostEvent: who came, what came and went, what was refused
//! ```
//!
//! The engine and all that receives and sends files are those of a daemon; what is different is that nobody is known
//! beforehand, and that the key is made for the occasion.

pub mod addresses;
mod bind;
mod event;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use udpx_proto::Code;
use udpx_proto::handshake::{PublicKey, StaticSecret};
use udpx_proto::messages::IfExists;

use self::addresses::Address;
pub use self::event::HostEvent;
pub use crate::calls::Descriptor;
use crate::calls::Progress;
use crate::config::{self, Rights};
use crate::engine::access::{Access, Peers, Root};
use crate::engine::bounds::Bounds;
use crate::engine::paths::Paths;
use crate::engine::report::{Command, Report};
use crate::engine::tickets::{Grant, OnlyFile};
use crate::engine::{EngineConfig, EngineHandle, StartError};
use crate::identity::OsRandom;
use crate::report::JobError;
use crate::storage::digest::Hashing;
use crate::storage::orphans::remove_orphans_in;
use crate::storage::pipe::{Outlet, PipeVault};
pub use crate::storage::pipe::{Sink, SinkRef};
pub use crate::storage::source::Loading;
use crate::storage::vault::{RootVault, Vault};
use crate::ticket::{Gives, Purpose, Ticket};
use crate::transfer::code_of_vault;
use crate::transfer::take::Place;

/// What to be there for, and how.
#[derive(Clone, Debug)]
pub struct HostConfig {
    /// What others may do.
    pub offer: Offer,
    /// Who they are. If none is named then whoever has the ticket.
    pub peers: Vec<HostPeer>,
    /// The key; usually one for the occasion ([`crate::identity::ephemeral`]).
    pub identity: StaticSecret,
    /// Where others find this machine, in the order to try; its own addresses if empty.
    pub addresses: Vec<Address>,
    /// The UDP port of all addresses; the kernel chooses if it is 0.
    pub port: u16,
    /// For how long the ticket can be used; as long as the host is there if `None`.
    pub lifetime: Option<Duration>,
    /// Permission bits that no file gets, as umask(2) has them.
    pub umask: u32,
    /// How files that are sent come into memory.
    pub loading: Loading,
    /// Segmentation offload.
    pub gso: bool,
    /// Largest IP packet to take and to try, bytes.
    pub mtu_max: u16,
}

/// What the holder of the ticket may do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Offer {
    /// Use a directory.
    Directory {
        /// Which one.
        path: PathBuf,
        /// What may be done in it.
        rights: Rights,
        /// The ticket is for one machine, and is spent when that has moved something and gone.
        once: bool,
    },
    /// Put one file, which gets this name whatever it is called there, and replaces what has it.
    File {
        /// Its path here, in a directory that exists.
        path: PathBuf,
    },
    /// Put one file or stream, which goes to what is open already, from its first byte to its last.
    Pipe(Descriptor),
    /// Put one file or stream, which goes to code of this process; peers may put several, one after the other.
    Sink(SinkRef),
}

/// A peer that is known beforehand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPeer {
    /// What it is called here.
    pub name: String,
    /// Its key.
    pub key: PublicKey,
    /// What it may do in the place that is offered.
    pub rights: Rights,
    /// Its bulk data may come unencrypted.
    pub plain: bool,
}

impl HostConfig {
    /// With the usual settings.
    #[must_use]
    pub fn new(offer: Offer, identity: StaticSecret) -> Self {
        Self {
            offer,
            peers: Vec::new(),
            identity,
            addresses: Vec::new(),
            port: 0,
            lifetime: None,
            umask: 0o022,
            loading: Loading::default(),
            gso: true,
            mtu_max: config::MTU_MAX,
        }
    }
}

/// A running host. Dropping it closes its sessions and removes unfinished files.
pub struct Host {
    engine: EngineHandle,
    ticket: Option<Ticket>,
    /// Where each session comes from.
    sessions: BTreeMap<u64, (String, SocketAddr)>,
    /// Of the file that comes.
    progress: Progress,
}

impl Host {
    /// Listens, and makes the ticket.
    ///
    /// # Errors
    /// [`JobError`]: the place cannot be used, or nothing can be listened on.
    pub fn start(config: &HostConfig) -> Result<Self, JobError> {
        let mut random = OsRandom::open().map_err(|error| system(&error))?;
        let given = match config.addresses.is_empty() {
            true => addresses::own().map_err(|error| system(&error))?,
            false => config.addresses.clone(),
        };
        let Prepared { purpose, gives, place, only } = prepare(config)?;
        let engine = EngineHandle::start(EngineConfig {
            bounds: Bounds::NONE,
            rekey: udpx_proto::RekeyLimits::default(),
            identity: config.identity.clone(),
            listen: bind::plan(&given, config.port),
            // Where nobody is known beforehand, whoever has no ticket is told so without a name of a configuration.
            peers: match config.peers.is_empty() {
                true => Peers::default(),
                false => Peers::of_program(config.peers.iter().map(|peer| peer.access(&place)).collect()),
            },
            staging: config::STAGING,
            receive_buffer: config::RECEIVE_BUFFER,
            loading: config.loading,
            hashing: Hashing::suited(),
            gso: config.gso,
            mtu_max: config.mtu_max,
            lanes: config::lanes_of(None),
            paths: Paths::default(),
            bell: None,
            #[cfg(test)]
            inject: None,
        });
        let engine = engine.map_err(|error| not_listening(&error, config.port))?;
        let mut host =
            Self { engine, ticket: None, sessions: BTreeMap::new(), progress: Progress::default() };
        if !config.peers.is_empty() {
            return Ok(host);
        }
        let found = bind::found_at(&given, host.engine.listening());
        let expires = config.lifetime.and_then(|lifetime| SystemTime::now().checked_add(lifetime));
        let ticket = Ticket::new(config.identity.public(), found, expires, purpose, gives, &mut random);
        let rights = Rights { read: gives.read, write: gives.write, list: gives.list };
        let mut grant = Grant::new(ticket.id, ticket.secret.psk(), rights, place);
        (grant.expires, grant.once, grant.only) = (ticket.expires, gives.once, only);
        grant.mode_mask = !config.umask & 0o777;
        if !host.engine.send(Command::Invite(Box::new(grant))) {
            return Err(JobError::with_remedy(Code::Bug, "the engine takes no ticket"));
        }
        host.ticket = Some(ticket);
        Ok(host)
    }

    /// What opens a session to it; `None` where peers were named.
    #[must_use]
    pub fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// Where it listens.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        self.engine.listening()
    }

    /// The UDP ports that a firewall has to let through, each once.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        let mut ports: Vec<u16> = self.engine.listening().iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    /// Sessions that are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Whether nobody can begin to use the ticket any more.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.ticket
            .as_ref()
            .and_then(|ticket| ticket.expires)
            .is_some_and(|expires| SystemTime::now() >= expires)
    }

    /// What happened next; `None` if nothing did within `timeout`.
    ///
    /// # Errors
    /// The engine has ended by itself, which is a bug.
    pub fn next_event(&mut self, timeout: Duration) -> Result<Option<HostEvent>, JobError> {
        match self.engine.next(timeout) {
            Ok(report) => Ok(report.and_then(|report| self.event(report))),
            Err(_) => Err(JobError::with_remedy(Code::Bug, "the engine has stopped by itself")),
        }
    }

    fn event(&mut self, report: Report) -> Option<HostEvent> {
        match &report {
            Report::Arrived { session, peer, from } => {
                self.sessions.insert(*session, (peer.clone(), *from));
            }
            Report::Left { session, .. } => {
                self.sessions.remove(session);
            }
            _ => {}
        }
        let Self { sessions, progress, .. } = self;
        let place =
            |peer: &str| sessions.values().rev().find(|(name, _)| name == peer).map(|(_, from)| *from);
        HostEvent::of(report, place, |bytes| progress.rate_bps(Instant::now(), bytes))
    }
}

impl Drop for Host {
    /// Whoever is still here learns that it is no use to come again, as they would to a daemon.
    fn drop(&mut self) {
        let (code, text) = match self.ticket {
            Some(_) => (
                Code::Refused,
                "This ticket is void: the command that made it was ended. On it, make another one.",
            ),
            None => (Code::TryAgain, "The program that listens here is ending."),
        };
        for &session in self.sessions.keys() {
            self.engine.send(Command::Close { session, code, text: text.into() });
        }
    }
}

impl HostPeer {
    fn access(&self, place: &Place) -> Access {
        let Self { name, key, rights, plain } = self.clone();
        let roots = vec![Root::inbox(rights, place.clone())];
        Access { key, name, plain, rate_bps: None, by_command: false, by_program: true, roots }
    }
}

/// What is offered, as the engine and the ticket have it.
struct Prepared {
    purpose: Purpose,
    gives: Gives,
    place: Place,
    only: Option<OnlyFile>,
}

impl Prepared {
    /// One file, for this place whatever it is called there.
    fn one(path: &[u8], place: Place) -> Self {
        let only = OnlyFile { path: path.to_vec(), if_exists: IfExists::Replace };
        Self { purpose: Purpose::Receive, gives: ONE_FILE, place, only: Some(only) }
    }
}

fn prepare(config: &HostConfig) -> Result<Prepared, JobError> {
    let piped = |outlet| Place { vault: Arc::new(PipeVault::new(Arc::new(outlet))), root: PathBuf::new() };
    match &config.offer {
        Offer::Directory { path, rights, once } => {
            // A ticket takes bits away from the modes of its holder's files; those of peers have none of their own.
            let mode = (!config.peers.is_empty()).then_some(!config.umask & 0o666);
            let place = open(path, mode)?;
            let gives = Gives { read: rights.read, write: rights.write, list: rights.list, once: *once };
            Ok(Prepared { purpose: Purpose::Serve, gives, place, only: None })
        }
        Offer::Sink(sink) => {
            Ok(Prepared::one(b"", piped(Outlet::sink(sink.clone(), Path::new("the receiving program")))))
        }
        Offer::Pipe(Descriptor { file, shown }) => {
            let outlet = Outlet::new(file.clone(), shown);
            let outlet = outlet.map_err(|error| JobError::told(code_of_vault(&error), &error.to_string()))?;
            Ok(Prepared::one(shown.as_os_str().as_bytes(), piped(outlet)))
        }
        Offer::File { path } => {
            let name = path.file_name().filter(|_| !path.as_os_str().as_bytes().ends_with(b"/"));
            let Some(name) = name.filter(|_| !path.is_dir()) else {
                let text = format!("{path:?} is a directory, and a file is to be received");
                return Err(JobError::new(Code::NoSpace, text, "Give the name that it shall have."));
            };
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let place = open(parent.unwrap_or(Path::new(".")), None)?;
            Ok(Prepared::one(name.as_bytes(), place))
        }
    }
}

/// What a ticket for one file gives.
const ONE_FILE: Gives = Gives { read: false, write: true, list: false, once: true };

/// `mode` is that of all files, instead of their senders'.
fn open(path: &Path, mode: Option<u32>) -> Result<Place, JobError> {
    // The other end is told where its file is, and "." says little there.
    let root = std::path::absolute(path).unwrap_or_else(|_| path.into());
    let vault = RootVault::open(&root);
    let vault = vault.map_err(|error| JobError::told(code_of_vault(&error), &error.to_string()))?;
    // What a killed one has left where this one writes.
    remove_orphans_in(&root);
    let vault: Arc<dyn Vault> = match mode {
        Some(mode) => Arc::new(vault.with_file_mode(mode)),
        None => Arc::new(vault),
    };
    Ok(Place { vault, root })
}

fn system(error: &std::io::Error) -> JobError {
    JobError::with_remedy(Code::Io, format!("the system refused what is needed to listen: {error}"))
}

fn not_listening(error: &StartError, port: u16) -> JobError {
    let remedy = match (error, port) {
        (StartError::Bind(_, bind), 1..) if bind.kind() == std::io::ErrorKind::AddrInUse => {
            "Another program has that port: give another one by --port, or none."
        }
        (StartError::Bind(_, bind), 1..) if bind.kind() == std::io::ErrorKind::PermissionDenied => {
            "Give a port above 1023 by --port."
        }
        (StartError::Bind(..), _) => "Give an address of this machine by --address.",
        (StartError::System(_), _) => Code::Io.remedy(),
    };
    let told = JobError::told(Code::Io, &error.to_string());
    JobError::new(Code::Io, told.text, remedy)
}
