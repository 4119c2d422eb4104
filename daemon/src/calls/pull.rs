//! A pull: files of the peer, each asked for and stored here as a daemon would store it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use udpx_proto::Code;
use udpx_proto::messages::IfExists;

use super::Descriptor;
use super::files::File;
use super::run::Item;
use crate::engine::report::GetSpec;
use crate::report::JobError;
use crate::storage::orphans;
use crate::storage::pipe::{Outlet, PipeVault, SinkRef};
use crate::storage::vault::RootVault;
use crate::transfer::code_of_vault;
use crate::transfer::take::Place;

/// How files are fetched.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fetching {
    /// Streams that are wished for each file; by its size if `None`.
    pub(crate) streams: Option<u16>,
    pub(crate) if_exists: IfExists,
    /// Permission bits that no file gets, as umask(2) has them.
    pub(crate) umask: u32,
}

/// A file to fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullFile {
    /// Root at the sender; empty for its default.
    pub root: String,
    /// Path beneath the root.
    pub path: Vec<u8>,
    /// Where it goes here.
    pub destination: PullTo,
}

/// Where a file goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PullTo {
    /// To this name. Directories that are missing above it are made.
    Path(PathBuf),
    /// To what is open already, from the first byte to the last: a pipe, a terminal, or a file at its position.
    Open(Descriptor),
    /// To code of this process, which is called on another thread.
    Sink(SinkRef),
}

impl From<PathBuf> for PullTo {
    fn from(path: PathBuf) -> Self {
        Self::Path(path)
    }
}

impl Fetching {
    /// A file that this process stores by itself.
    ///
    /// # Errors
    /// Its destination cannot be.
    pub(crate) fn file(&self, file: &PullFile) -> Result<File, JobError> {
        let destination = match &file.destination {
            PullTo::Path(destination) => destination,
            PullTo::Sink(sink) => {
                let outlet = Outlet::sink(sink.clone(), Path::new("the receiving program"));
                return Ok(self.piped(&file.root, &file.path, Arc::new(outlet)));
            }
            PullTo::Open(Descriptor { file: to, shown }) => {
                let outlet = Outlet::new(to.clone(), shown);
                let outlet =
                    outlet.map_err(|error| JobError::told(code_of_vault(&error), &error.to_string()))?;
                return Ok(self.piped(&file.root, &file.path, Arc::new(outlet)));
            }
        };
        let (root, below) = split(destination)
            .map_err(|error| JobError::with_remedy(Code::NoSpace, format!("{destination:?}: {error}")))?;
        let vault = RootVault::open(&root);
        let vault = vault.map_err(|error| JobError::told(code_of_vault(&error), &error.to_string()))?;
        // What an earlier pull that was killed has left where this one writes.
        if let Some(parent) = destination.parent() {
            orphans::remove_orphans_in(parent);
        }
        let place = Place { vault: Arc::new(vault), root };
        Ok(self.file_in(&file.root, &file.path, place, &below))
    }

    /// A file of the peer that goes to a descriptor in its order. The outlet is made once for all sessions that may try:
    /// only that knows what was written.
    pub(crate) fn piped(&self, root: &str, path: &[u8], outlet: Arc<Outlet>) -> File {
        // Paths are shown as the place's root and what is beneath it: here that is one name.
        let name = PathBuf::from(outlet.name().file_name().unwrap_or_default());
        let place = Place { vault: Arc::new(PipeVault::new(outlet)), root: PathBuf::new() };
        Self { streams: Some(1), ..self.clone() }.file_in(root, path, place, &name)
    }

    /// A file of the peer that becomes `below` in a place.
    pub(crate) fn file_in(&self, root: &str, path: &[u8], place: Place, below: &Path) -> File {
        let spec = GetSpec {
            file: 0,
            root: root.to_owned(),
            path: path.to_vec(),
            streams: self.streams,
            place,
            destination: below.as_os_str().as_bytes().to_vec(),
            mode_mask: !self.umask & 0o777,
            if_exists: self.if_exists,
        };
        File::new(Item::Get(spec), 0)
    }
}

/// A destination as a directory that exists and a path beneath it, whose missing directories the vault makes.
///
/// Directories of the user's own choice may be reached through links and `..`, so what exists is left to the system.
fn split(destination: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let mut root = match destination.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        Some(_) => PathBuf::from("."),
        None => return Err(io::ErrorKind::IsADirectory.into()),
    };
    let name = destination.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut below = PathBuf::from(name);
    while let Err(error) = std::fs::metadata(&root) {
        let missing = match root.components().next_back() {
            Some(Component::Normal(name)) if error.kind() == io::ErrorKind::NotFound => name.to_owned(),
            _ => return Err(error),
        };
        below = Path::new(&missing).join(below);
        root.pop();
        if root.as_os_str().is_empty() {
            root.push(".");
        }
    }
    Ok((root, below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_begins_where_the_disk_ends() {
        let directory = tempfile::tempdir().unwrap();
        let at = |path: &str| directory.path().join(path);
        std::fs::create_dir_all(at("a/b")).unwrap();
        for (path, root, below) in [("a/f", "a", "f"), ("a/c/d/f", "a", "c/d/f"), ("a/b/../f", "a/b/..", "f")]
        {
            assert_eq!(split(&at(path)).unwrap(), (at(root), PathBuf::from(below)), "{path}");
        }
        assert_eq!(split(Path::new("f")).unwrap(), (PathBuf::from("."), PathBuf::from("f")));
        assert_eq!(split(Path::new("no such/f")).unwrap(), (PathBuf::from("."), PathBuf::from("no such/f")));
        assert!(split(&at("none/../f")).is_err() && split(Path::new("/")).is_err());
    }
}
