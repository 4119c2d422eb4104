//! Sending and fetching files, listing and pinging from the caller's own process, without a daemon.
//!
//! An engine is started for one errand ([`crate::calls`]), which is driven here until it is over.

mod drive;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use udpx_proto::handshake::{PublicKey, StaticSecret};
use udpx_proto::messages::IfExists;

use self::drive::{Room, drive};
pub use crate::calls::{
    Descriptor, Event, PING_BYTES_MAX, PING_BYTES_MIN, Ping, PingSummary, PullFile, PullTo, PushFile, Way,
    resolve,
};
use crate::calls::{Echoes, Fetching, ListAsk, Offering, Run};
use crate::report::{JobError, Summary};
use crate::storage::listing::Listing;
pub use crate::storage::pipe::{Sink, SinkRef};
pub use crate::storage::source::Loading;

/// Whom to call, how, as whom, and until when.
#[derive(Clone, Debug)]
pub struct Call {
    /// Whom, and how.
    pub way: Way,
    /// This end's key.
    pub identity: StaticSecret,
    /// How files that are sent come into memory.
    pub loading: Loading,
    /// Set by anyone to stop: the call fails with [`Code::Interrupted`](udpx_proto::Code::Interrupted).
    pub cancel: Arc<AtomicBool>,
}

impl Call {
    /// With the usual settings.
    #[must_use]
    pub fn new(peer: PublicKey, addresses: Vec<SocketAddr>, identity: StaticSecret) -> Self {
        Self { way: Way::new(peer, addresses), identity, loading: Loading::default(), cancel: Arc::default() }
    }
}

/// What to send, where, and how.
#[derive(Clone, Debug)]
pub struct PushRequest {
    /// The files, whose base names must differ.
    pub files: Vec<PushFile>,
    /// To whom.
    pub call: Call,
    /// Root at the receiver; empty for its default.
    pub root: String,
    /// Path beneath the root. Empty, or ending in a slash: a directory, in which each file gets its base name.
    pub path: Vec<u8>,
    /// Streams of each file; by its size if `None`.
    pub streams: Option<u16>,
    /// What to do when a destination exists.
    pub if_exists: IfExists,
    /// Who asks: told to the receiver, and proves nothing.
    pub user: String,
}

impl PushRequest {
    /// A request with the usual settings and no file yet.
    #[must_use]
    pub fn new(peer: PublicKey, addresses: Vec<SocketAddr>, identity: StaticSecret) -> Self {
        Self {
            files: Vec::new(),
            call: Call::new(peer, addresses, identity),
            root: String::new(),
            path: Vec::new(),
            streams: None,
            if_exists: IfExists::Replace,
            user: String::new(),
        }
    }
}

/// What to fetch, from whom, and where it goes.
#[derive(Clone, Debug)]
pub struct PullRequest {
    /// The files.
    pub files: Vec<PullFile>,
    /// From whom.
    pub call: Call,
    /// Streams that are wished for each file; by its size if `None`.
    pub streams: Option<u16>,
    /// What to do when a destination exists.
    pub if_exists: IfExists,
    /// Permission bits that no file gets, as umask(2) has them.
    pub umask: u32,
}

/// Sends the files and returns when all are durable. `events` is called on this thread.
///
/// # Errors
/// [`JobError`]: that of the only file, the common code if all failed alike,
/// [`Code::Partly`](udpx_proto::Code::Partly) if some arrived.
pub fn push(request: PushRequest, events: &mut dyn FnMut(Event)) -> Result<Summary, JobError> {
    let PushRequest { files, call, root, path, streams, if_exists, user } = request;
    let offering = Offering { root, path, streams, if_exists, user };
    let files = files.iter().map(|file| offering.file(file)).collect();
    let run = Run::new(call.way.clone(), ERRAND, files, Instant::now())?;
    drive(call, Room::LITTLE, run, events)?.into_outcome()
}

/// Fetches the files and returns when all are durable here. `events` is called on this thread.
///
/// # Errors
/// [`JobError`], as with [`push`].
pub fn pull(request: PullRequest, events: &mut dyn FnMut(Event)) -> Result<Summary, JobError> {
    let PullRequest { files, call, streams, if_exists, umask } = request;
    let fetching = Fetching { streams, if_exists, umask };
    let files = files.iter().map(|file| fetching.file(file)).collect::<Result<_, _>>()?;
    let run = Run::new(call.way.clone(), ERRAND, files, Instant::now())?;
    drive(call, Room::FILES, run, events)?.into_outcome()
}

/// Lists a directory of the peer: `path` beneath its root `root`, both empty for the default root itself.
///
/// # Errors
/// [`JobError`]: no session came about, or what the peer says against it.
pub fn list(call: Call, root: &str, path: &[u8], events: &mut dyn FnMut(Event)) -> Result<Listing, JobError> {
    let ask = ListAsk::new(call.way.clone(), ERRAND, root, path, Instant::now())?;
    drive(call, Room::LITTLE, ask, events)?.into_outcome()
}

/// Asks for echoes; `events` hears of each. Ends early when the call is cancelled: what came is told all the same.
///
/// # Errors
/// [`JobError`]: no session came about, it was lost, or an echo differs from what was sent.
pub fn ping(call: Call, ping: Ping, events: &mut dyn FnMut(Event)) -> Result<PingSummary, JobError> {
    let echoes = Echoes::new(call.way.clone(), ERRAND, ping, Instant::now())?;
    drive(call, Room::LITTLE, echoes, events)?.into_outcome()
}

/// The only errand of its engine.
const ERRAND: u32 = 1;
