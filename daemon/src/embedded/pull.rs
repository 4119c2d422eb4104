//! A pull: files of the peer, each asked for and stored here as a daemon would store it.

use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use udpx_proto::Code;
use udpx_proto::messages::IfExists;

use super::job::{File, Item, Job};
use super::link::Room;
use super::{Call, Event};
use crate::engine::report::{GetSpec, Task};
use crate::report::{JobError, Summary};
use crate::storage::orphans;
use crate::storage::vault::RootVault;
use crate::transfer::take::Place;
use crate::transfer::{Failure, code_of_vault};

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

/// A file to fetch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PullFile {
    /// Root at the sender; empty for its default.
    pub root: String,
    /// Path beneath the root.
    pub path: Vec<u8>,
    /// The name that it gets here. Directories that are missing above it are made.
    pub destination: PathBuf,
}

/// Fetches the files and returns when all are durable here. `events` is called on this thread.
///
/// # Errors
/// [`JobError`]: that of the only file, the common code if all failed alike, [`Code::Partly`] if some arrived.
pub fn pull(request: PullRequest, events: &mut dyn FnMut(Event)) -> Result<Summary, JobError> {
    let files: Vec<File<GetSpec>> =
        request.files.iter().map(|file| wanted(file, &request)).collect::<Result<_, _>>()?;
    Job::new(request.call, Room::FILES, files, events)?.run()
}

impl Item for GetSpec {
    fn task(&self, index: usize) -> Task {
        Task::Get(Box::new(Self { file: index, ..self.clone() }))
    }

    fn is_ours(&self, failure: &Failure) -> bool {
        let root = format!("{:?}", self.place.root);
        let about_destination = failure.text.starts_with(root.trim_end_matches('"'));
        about_destination || matches!(failure.code, Code::NoSpace | Code::Corrupt)
    }
}

fn wanted(file: &PullFile, request: &PullRequest) -> Result<File<GetSpec>, JobError> {
    let (root, below) = split(&file.destination)
        .map_err(|error| JobError::with_remedy(Code::NoSpace, format!("{:?}: {error}", file.destination)))?;
    let vault = RootVault::open(&root);
    let vault = vault.map_err(|error| JobError::told(code_of_vault(&error), &error.to_string()))?;
    // What an earlier pull that was killed has left where this one writes.
    if let Some(parent) = file.destination.parent() {
        orphans::remove_orphans_in(parent);
    }
    Ok(File::new(
        GetSpec {
            file: 0,
            root: file.root.clone(),
            path: file.path.clone(),
            streams: request.streams,
            place: Place { vault: Arc::new(vault), root },
            destination: below.as_os_str().as_bytes().to_vec(),
            mode_mask: !request.umask & 0o777,
            if_exists: request.if_exists,
        },
        0,
    ))
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
