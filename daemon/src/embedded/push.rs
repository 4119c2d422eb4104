//! A push: files of this machine, each offered to the peer.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use udpx_proto::Code;
use udpx_proto::handshake::{PublicKey, StaticSecret};
use udpx_proto::messages::IfExists;

use super::job::{File, Item, Job};
use super::link::Room;
use super::{Call, Event};
use crate::engine::report::Task;
use crate::report::{JobError, Summary};
use crate::storage::readers::Origin;
use crate::storage::source::Source;
use crate::transfer::put::{Cause, Offer, PutOrigin, PutSpec};
use crate::transfer::{Failure, code_of_source};

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
    pub fn new(peer: PublicKey, addresses: Vec<std::net::SocketAddr>, identity: StaticSecret) -> Self {
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

/// Sends the files and returns when all are durable. `events` is called on this thread.
///
/// # Errors
/// [`JobError`]: that of the only file, the common code if all failed alike, [`Code::Partly`] if some arrived.
pub fn push(request: PushRequest, events: &mut dyn FnMut(Event)) -> Result<Summary, JobError> {
    let files = request.files.iter().map(|file| offered(file, &request)).collect();
    Job::new(request.call, Room::LITTLE, files, events)?.run()
}

/// A file that is offered.
struct Offered(PutSpec);

impl Item for Offered {
    fn task(&self, index: usize) -> Task {
        let mut spec = self.0.clone();
        if let Cause::Offered(offer) = &mut spec.cause {
            offer.file = index;
        }
        Task::Put(Box::new(spec))
    }

    fn is_ours(&self, failure: &Failure) -> bool {
        let about_source = match &self.0.origin {
            PutOrigin::At(Origin::Path(path)) => failure.text.starts_with(&format!("{path:?} ")),
            _ => false,
        };
        about_source || matches!(failure.code, Code::NoSource | Code::SourceChanged | Code::Corrupt)
    }
}

fn offered(file: &PushFile, request: &PushRequest) -> File<Offered> {
    let item = |origin, name| {
        let offer = Offer {
            file: 0,
            name,
            root: request.root.clone(),
            path: request.path.clone(),
            if_exists: request.if_exists,
            user: request.user.clone(),
        };
        Offered(PutSpec { origin, streams: request.streams, cause: Cause::Offered(offer) })
    };
    match file {
        PushFile::Path(path) => {
            let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
            // The reader that opens it says what is wrong with it, if something is.
            let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
            File::new(item(PutOrigin::At(Origin::Path(path.clone())), name), size)
        }
        PushFile::Generated { name, len, seed } => match Source::generated(*len, *seed) {
            Ok(source) => File::new(item(PutOrigin::Open(Arc::new(source)), name.clone()), *len),
            Err(error) => {
                let nothing = PutOrigin::At(Origin::Path(PathBuf::new()));
                let error = JobError::told(code_of_source(&error), &error.to_string());
                File::failed(item(nothing, name.clone()), error)
            }
        },
    }
}
