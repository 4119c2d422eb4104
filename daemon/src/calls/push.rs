//! A push: files of this machine, each offered to the peer.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use udpx_proto::messages::IfExists;

use super::files::File;
use super::run::Item;
use crate::report::JobError;
use crate::storage::pipe::Inlet;
use crate::storage::readers::Origin;
use crate::storage::source::Source;
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

    /// A file that somebody else has opened, of `size` bytes.
    pub(crate) fn handed(&self, file: Arc<std::fs::File>, path: PathBuf, name: &[u8], size: u64) -> File {
        let cause = Cause::Offered(self.offer(name.to_vec()));
        let origin = PutOrigin::At(Origin::Handed { file, path });
        File::new(Item::Put(PutSpec { origin, streams: self.streams, cause }), size)
    }

    /// What comes out of a pipe that was opened before.
    pub(crate) fn from_inlet(&self, inlet: Arc<Inlet>, name: &[u8]) -> File {
        let cause = Cause::Offered(self.offer(name.to_vec()));
        File::new(Item::Put(PutSpec { origin: PutOrigin::Pipe(inlet), streams: self.streams, cause }), 0)
    }

    /// A file that somebody else opens when its turn comes; `size` bytes, 0 if that is not known.
    pub(crate) fn lent(&self, path: PathBuf, size: u64) -> File {
        let offer = self.offer(path.file_name().unwrap_or_default().as_bytes().to_vec());
        File::new(Item::Lent { path, offer, streams: self.streams, origin: None }, size)
    }
}
