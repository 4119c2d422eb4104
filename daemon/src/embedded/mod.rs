//! Sending files from the caller's own process, without a daemon.

mod progress;
mod push;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use udpx_proto::handshake::{PublicKey, StaticSecret};
use udpx_proto::messages::IfExists;
use udpx_proto::{Code, RatePolicy};

use crate::report::{FileSummary, JobError, Summary};

/// What to send, where, and how.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The files, whose base names must differ.
    pub files: Vec<PushFile>,
    /// Addresses of the receiver: the first that answers is used.
    pub addresses: Vec<SocketAddr>,
    /// The receiver's key.
    pub peer: PublicKey,
    /// This end's key.
    pub identity: StaticSecret,
    /// Root at the receiver; empty for its default.
    pub root: String,
    /// Path beneath the root. Empty, or ending in a slash: a directory, in which each file gets its base name.
    pub path: Vec<u8>,
    /// Streams of each file; by its size if `None`.
    pub streams: Option<u16>,
    /// How fast.
    pub policy: RatePolicy,
    /// Send file data unencrypted if the receiver allows it.
    pub plain: bool,
    /// Segmentation offload.
    pub gso: bool,
    /// Largest IP packet to try, bytes.
    pub mtu_max: u16,
    /// What to do when a destination exists.
    pub if_exists: IfExists,
    /// Who asks: told to the receiver, and proves nothing.
    pub user: String,
    /// How long the first answer may take.
    pub connect_timeout: Duration,
    /// How long to go on without any answer after the last one.
    pub give_up_after: Duration,
    /// Set by anyone to stop: the job fails with [`Code::Interrupted`].
    pub cancel: Arc<AtomicBool>,
}

impl PushRequest {
    /// A request with the usual settings and no file yet.
    #[must_use]
    pub fn new(peer: PublicKey, addresses: Vec<SocketAddr>, identity: StaticSecret) -> Self {
        Self {
            files: Vec::new(),
            addresses,
            peer,
            identity,
            root: String::new(),
            path: Vec::new(),
            streams: None,
            policy: RatePolicy::Adaptive,
            plain: false,
            gso: true,
            mtu_max: 9000,
            if_exists: IfExists::Replace,
            user: String::new(),
            connect_timeout: Duration::from_secs(10),
            give_up_after: Duration::from_secs(60),
            cancel: Arc::default(),
        }
    }
}

/// A file to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PushFile {
    /// A regular file of this machine.
    Path(PathBuf),
    /// Pseudo-random bytes: for measuring everything but the disk.
    Generated {
        /// Its base name.
        name: Vec<u8>,
        /// Bytes.
        len: u64,
        /// Equal seeds give equal bytes.
        seed: u64,
    },
}

/// What happens while files are sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event {
    /// An address is being tried.
    Connecting {
        /// The address.
        address: SocketAddr,
    },
    /// A session is open.
    Connected {
        /// The address that answered.
        address: SocketAddr,
        /// Time from question to answer, microseconds.
        rtt_us: u64,
    },
    /// The receiver takes a file.
    Accepted {
        /// Its place in the request.
        file: usize,
        /// The path that it will have there.
        path: PathBuf,
    },
    /// Bytes were written at the receiver.
    Progress {
        /// Bytes of all files so far; durable or handed to its file system.
        bytes: u64,
        /// Bytes of all files.
        total: u64,
        /// Bits of files a second, over the last two seconds.
        rate_bps: u64,
        /// Smoothed round trip, microseconds.
        rtt_us: u64,
        /// Share of packets taken for lost so far, 0 to 1.
        loss: f64,
    },
    /// The receiver has not been heard for a while.
    Quiet {
        /// How long.
        silent_for: Duration,
    },
    /// The session was lost; unfinished files begin anew on another.
    Retry {
        /// Why.
        text: String,
    },
    /// All bytes of a file are there; the receiver makes it durable.
    Syncing {
        /// Its place in the request.
        file: usize,
    },
    /// A file is durable.
    FileDone(FileSummary),
    /// A file failed; the others go on.
    FileFailed {
        /// Its place in the request.
        file: usize,
        /// Why.
        error: JobError,
    },
}

/// Sends the files and returns when all are durable. `events` is called on this thread.
///
/// # Errors
/// [`JobError`]: that of the only file, the common code if all failed alike, [`Code::Partly`] if some arrived.
pub fn push(request: PushRequest, events: &mut dyn FnMut(Event)) -> Result<Summary, JobError> {
    push::Push::new(request, events)?.run()
}

/// The addresses of a host: a name, an address, `[address]:port` or `name:port`.
///
/// # Errors
/// [`Code::Unreachable`] if there is no such host.
pub fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, JobError> {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = (bare, port).to_socket_addrs();
    let found = found.map(Iterator::collect::<Vec<_>>).map_err(|error| {
        JobError::new(Code::Unreachable, format!("The host {host:?} is not known ({error}): check its name."))
    })?;
    if found.is_empty() {
        return Err(JobError::new(
            Code::Unreachable,
            format!("The host {host:?} has no address: check its name."),
        ));
    }
    Ok(found)
}
