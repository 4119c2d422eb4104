//! What this end wants of another machine: sending and fetching files, listing, echoes.
//!
//! ```text
//! run: files under way ─┐
//!                       ├─► link: addresses, a session that is sought again ──► commands of an engine
//! ask: list, ping ──────┘                                                   ◄── its reports
//! ```
//!
//! Each is an [`Errand`]: a state machine without a thread. Whoever drives it hands it the reports of an engine that
//! [`Link::owns`](link::Link::owns) says are its own, and lets it do what is due at its deadline. A process of its own drives one
//! ([`crate::embedded`]); a daemon drives many on one engine.

mod ask;
mod errand;
mod files;
mod join;
pub(crate) mod link;
mod progress;
mod pull;
mod push;
mod question;
mod run;
mod wording;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use udpx_proto::handshake::{Credential, PublicKey};
use udpx_proto::{Code, RatePolicy};

pub(crate) use self::ask::{Echoes, ListAsk};
pub use self::ask::{PING_BYTES_MAX, PING_BYTES_MIN, Ping, PingSummary};
pub(crate) use self::errand::{Cx, Errand};
pub(crate) use self::files::File;
pub(crate) use self::join::JoinAsk;
pub(crate) use self::progress::Progress;
pub(crate) use self::pull::Fetching;
pub use self::pull::{PullFile, PullTo};
pub use self::push::PushFile;
pub(crate) use self::push::{Given, Offering};
pub(crate) use self::run::Run;
use crate::report::{FileSummary, JobError, Traffic};
use crate::ticket::{STUB_REMEDY, Ticket};
use crate::trace::Tracer;

/// Something that is open, and what messages call it.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// It.
    pub file: Arc<std::fs::File>,
    /// Its name, as "standard input".
    pub shown: PathBuf,
}

/// The same open file.
impl PartialEq for Descriptor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }
}

impl Eq for Descriptor {}

/// Whom to call, and how.
#[derive(Clone, Debug)]
pub struct Way {
    /// What errors call the peer; by its address if empty.
    pub host: String,
    /// Addresses of the peer: the first that answers is used.
    pub addresses: Vec<SocketAddr>,
    /// The peer's key.
    pub peer: PublicKey,
    /// What the two share beside the peer's key: nothing, or a ticket of the peer's.
    pub credential: Credential,
    /// How fast this end sends.
    pub policy: RatePolicy,
    /// File data goes unencrypted if the peer allows it.
    pub plain: bool,
    /// Segmentation offload.
    pub gso: bool,
    /// Largest IP packet to try, bytes.
    pub mtu_max: u16,
    /// Lanes of a session at most, where an engine is begun for this call; as many as the cores ask for if `None`.
    pub lanes: Option<u8>,
    /// How long the first answer may take.
    pub connect_timeout: Duration,
    /// How long to go on without any answer after the last one.
    pub give_up_after: Duration,
    /// Hears of every packet.
    pub trace: Option<Tracer>,
}

impl Way {
    /// With the usual settings.
    #[must_use]
    pub fn new(peer: PublicKey, addresses: Vec<SocketAddr>) -> Self {
        Self {
            host: String::new(),
            addresses,
            peer,
            credential: Credential::None,
            policy: RatePolicy::Adaptive,
            plain: false,
            gso: true,
            mtu_max: 9000,
            lanes: None,
            connect_timeout: Duration::from_secs(10),
            give_up_after: Duration::from_secs(60),
            trace: None,
        }
    }
}
/// What happens while files are sent or fetched, and while echoes are asked for.
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
    /// An echo came back, byte for byte.
    Echo {
        /// Which one, from 0.
        number: u32,
        /// Its bytes.
        bytes: usize,
        /// Its round trip, microseconds.
        rtt_us: u64,
    },
    /// The receiver, which is this machine in a pull, takes a file.
    Accepted {
        /// Its place in the request.
        file: usize,
        /// The path that it will have.
        path: PathBuf,
    },
    /// Bytes were written at the receiver.
    Progress {
        /// Bytes of all files so far; durable or handed to its file system.
        bytes: u64,
        /// Bytes of all files.
        total: u64,
        /// Bits of files a second, over the last two seconds; 0 too while it is not known.
        rate_bps: u64,
        /// Smoothed round trip, microseconds.
        rtt_us: u64,
        /// Share of packets taken for lost so far, 0 to 1.
        loss: f64,
        /// What the present session has counted.
        traffic: Traffic,
        /// All that is left to do is to make files durable.
        syncing: bool,
    },
    /// The peer has not been heard for a while.
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

/// The addresses of a host: a name, an address, or `address:port` (`[address]:port` for IPv6), whose port then wins.
///
/// # Errors
/// [`Code::Unreachable`] if there is no such host.
pub fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, JobError> {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let found = (bare, port).to_socket_addrs();
    let found: Vec<SocketAddr> = found.map(Iterator::collect).map_err(|error| {
        let remedy = if Ticket::is_stub(host) { STUB_REMEDY } else { CHECK_NAME };
        JobError::new(Code::Unreachable, format!("the host {host:?} is not known ({error})"), remedy)
    })?;
    if found.is_empty() {
        return Err(JobError::new(
            Code::Unreachable,
            format!("the host {host:?} has no address"),
            CHECK_NAME,
        ));
    }
    Ok(found)
}

const CHECK_NAME: &str = "Check its name, or give its address.";
