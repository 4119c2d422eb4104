//! A push: files of this machine, each offered to the peer.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use udpx_proto::messages::IfExists;

use super::Descriptor;
use super::files::File;
use super::run::Item;
use crate::report::JobError;
use crate::storage::pipe::{self, Inlet};
use crate::storage::readers::Origin;
use crate::storage::source::{Source, SourceError};
use crate::transfer::code_of_source;
use crate::transfer::put::{Cause, Offer, PutOrigin, PutSpec};

/// How files are offered to a peer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Offering {
    /// Root at the receiver; empty for its default.
    pub(crate) root: String,
    /// Path beneath the root. Empty, or ending in a slash: a directory, in which each file gets its base name.
    pub(crate) path: Vec<u8>,
    /// Streams of each file; by its size if `None`.
    pub(crate) streams: Option<u16>,
    pub(crate) if_exists: IfExists,
    /// Who asks: told to the receiver, and proves nothing.
    pub(crate) user: String,
}

/// A file to send.
#[derive(Clone, Debug)]
pub enum PushFile {
    /// A regular file of this machine.
    Path(PathBuf),
    /// What is open already: a regular file, or a pipe that is read to its end and can be sent once.
    Open {
        /// Its base name; empty if only its place at the peer is to name it.
        name: Vec<u8>,
        /// It.
        descriptor: Descriptor,
    },
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

/// A source that is open. It is made once for all sessions that may try to send it: of a pipe only that knows what was
/// read.
#[derive(Clone, Debug)]
pub(crate) enum Given {
    /// A regular file at its beginning.
    File {
        /// It.
        file: Arc<std::fs::File>,
        /// Its name, for messages.
        shown: PathBuf,
        /// Bytes.
        size: u64,
    },
    /// What is read to its end.
    Pipe(Arc<Inlet>),
}

impl Given {
    /// Standard input, or a descriptor that was passed: what it is decides how it is read.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn of(Descriptor { file, shown }: &Descriptor) -> Result<Self, SourceError> {
        if pipe::is_stream(file).map_err(|error| SourceError::at_open(shown, error))? {
            return Ok(Self::Pipe(Arc::new(Inlet::new(file.clone(), shown)?)));
        }
        let size = file.metadata().map_or(0, |metadata| metadata.len());
        Ok(Self::File { file: file.clone(), shown: shown.clone(), size })
    }
}

impl Offering {
    fn offer(&self, name: Vec<u8>) -> Offer {
        let Self { root, path, if_exists, user, .. } = self.clone();
        Offer { file: 0, name, root, path, if_exists, user }
    }

    /// A file of this process.
    pub(crate) fn file(&self, file: &PushFile) -> File {
        let item = |origin, name| {
            let cause = Cause::Offered(self.offer(name));
            Item::Put(PutSpec { origin, streams: self.streams, cause })
        };
        match file {
            PushFile::Path(path) => {
                let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
                // The reader that opens it says what is wrong with it, if something is.
                let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
                File::new(item(PutOrigin::At(Origin::Path(path.clone())), name), size)
            }
            PushFile::Open { name, descriptor } => match Given::of(descriptor) {
                Ok(given) => self.given(&given, name),
                Err(error) => {
                    let nothing = PutOrigin::At(Origin::Path(descriptor.shown.clone()));
                    let error = JobError::told(code_of_source(&error), &error.to_string());
                    File::failed(item(nothing, name.clone()), error)
                }
            },
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

    /// What was open when it was handed over; `name` may be empty if only its place at the peer is to name it.
    pub(crate) fn given(&self, given: &Given, name: &[u8]) -> File {
        match given {
            Given::File { file, shown, size } => self.handed(file.clone(), shown.clone(), name, *size),
            Given::Pipe(inlet) => {
                let cause = Cause::Offered(self.offer(name.to_vec()));
                let origin = PutOrigin::Pipe(inlet.clone());
                File::new(Item::Put(PutSpec { origin, streams: self.streams, cause }), 0)
            }
        }
    }

    /// A file that somebody else has opened, of `size` bytes.
    pub(crate) fn handed(&self, file: Arc<std::fs::File>, path: PathBuf, name: &[u8], size: u64) -> File {
        let cause = Cause::Offered(self.offer(name.to_vec()));
        let origin = PutOrigin::At(Origin::Handed { file, path });
        File::new(Item::Put(PutSpec { origin, streams: self.streams, cause }), size)
    }

    /// A file that somebody else opens when its turn comes; `size` bytes, 0 if that is not known.
    pub(crate) fn lent(&self, path: PathBuf, size: u64) -> File {
        let offer = self.offer(path.file_name().unwrap_or_default().as_bytes().to_vec());
        File::new(Item::Lent { path, offer, streams: self.streams, origin: None }, size)
    }
}
