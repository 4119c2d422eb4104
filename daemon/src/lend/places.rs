//! What a user has named, resolved once.
//!
//! A path of a demand is compared with the names as they were given and as they turned out to be, component by
//! component. What lies beneath a destination is then opened from the directory that was there when it was named, by
//! openat2, so that nothing which is renamed or linked meanwhile leads out of it.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use udpx_proto::Code;

use crate::report::JobError;
use crate::storage::path::{PathError, RelPath};
use crate::storage::vault::RootVault;
use crate::transfer::code_of_vault;

/// Sources and destinations of one process.
pub const NAMED_MAX: usize = 1 << 16;

/// The named places.
#[derive(Debug)]
pub(super) struct Places {
    /// The real path of each source, by that and by the given one.
    sources: HashMap<PathBuf, PathBuf>,
    destinations: Vec<Destination>,
}

struct Destination {
    /// As it was given, and as it is.
    names: [PathBuf; 2],
    /// The part of it that was there.
    root: Arc<RootVault>,
    root_path: PathBuf,
    /// The rest.
    below: PathBuf,
}

/// A place at or beneath a destination.
#[derive(Clone)]
pub(super) struct Spot {
    pub(super) root: Arc<RootVault>,
    root_path: PathBuf,
    /// Beneath the root; `None` is the root itself.
    pub(super) below: Option<RelPath>,
}

impl Spot {
    /// Its absolute path.
    pub(super) fn path(&self) -> PathBuf {
        self.below
            .as_ref()
            .map_or_else(|| self.root_path.clone(), |below| self.root_path.join(below.as_path()))
    }

    /// The directory that it is in.
    pub(super) fn directory(&self) -> PathBuf {
        self.below
            .as_ref()
            .map_or_else(|| self.root_path.clone(), |below| self.root_path.join(below.parent()))
    }
}

impl Places {
    /// Looks the names up.
    ///
    /// # Errors
    /// As [`super::Vault::new`].
    pub(super) fn resolve(sources: &[PathBuf], destinations: &[PathBuf]) -> Result<Self, JobError> {
        if sources.len() + destinations.len() > NAMED_MAX {
            let text = format!("more than {NAMED_MAX} files and directories are named");
            return Err(JobError::new(Code::Usage, text, "Name fewer at once."));
        }
        let mut places = Self { sources: HashMap::new(), destinations: Vec::new() };
        for source in sources {
            let given = plain(source).ok_or_else(|| not_plain(source))?;
            // One that is not there is told when it is asked for: the others are lent all the same. Should it appear
            // meanwhile, no link on the way to it is followed.
            let real = source.canonicalize().unwrap_or_else(|_| given.clone());
            places.sources.insert(given, real.clone());
            places.sources.insert(real.clone(), real);
        }
        for destination in destinations {
            places.destinations.push(Destination::resolve(destination)?);
        }
        Ok(places)
    }

    /// The real path of a source, if it is one.
    pub(super) fn source(&self, path: &Path) -> Option<&Path> {
        self.sources.get(&plain(path)?).map(PathBuf::as_path)
    }

    /// A place at or beneath a destination, if it is one. It may have a name that no file can have.
    pub(super) fn spot(&self, path: &Path) -> Option<Result<Spot, PathError>> {
        let path = plain(path)?;
        self.destinations.iter().find_map(|destination| destination.spot(&path))
    }

    /// A directory that files of a destination stand in: one above what is missing of it, too.
    pub(super) fn directory(&self, path: &Path) -> Option<Spot> {
        let path = plain(path)?;
        self.destinations.iter().find_map(|destination| destination.directory(&path))
    }
}

impl Destination {
    fn resolve(given: &Path) -> Result<Self, JobError> {
        let name = plain(given).ok_or_else(|| not_plain(given))?;
        let failed = |error: io::Error| {
            JobError::with_remedy(Code::NoSpace, format!("{given:?} cannot be reached: {error}"))
        };
        let (root_path, below) = split(&name).map_err(failed)?;
        let root = RootVault::open(&root_path)
            .map_err(|error| JobError::told(code_of_vault(&error), &error.to_string()))?;
        let real = if below.as_os_str().is_empty() { root_path.clone() } else { root_path.join(&below) };
        Ok(Self { names: [name, real], root: Arc::new(root), root_path, below })
    }

    fn spot(&self, path: &Path) -> Option<Result<Spot, PathError>> {
        let rest = self.names.iter().find_map(|name| path.strip_prefix(name).ok())?;
        Some(self.beneath(&self.below.join(rest)))
    }

    fn directory(&self, path: &Path) -> Option<Spot> {
        if let Some(spot) = self.spot(path) {
            return spot.ok();
        }
        // Above it, but not above what was there.
        let [given, real] = &self.names;
        let missing = self.below.components().count();
        let root = given.ancestors().nth(missing).unwrap_or(given);
        let rest = path.strip_prefix(&self.root_path).or_else(|_| path.strip_prefix(root)).ok()?;
        let is_above = real.starts_with(path) || given.starts_with(path);
        is_above.then(|| self.beneath(rest).ok()).flatten()
    }

    fn beneath(&self, below: &Path) -> Result<Spot, PathError> {
        // Joining with nothing leaves a slash at the end.
        let below: PathBuf = below.components().collect();
        let below = if below.as_os_str().is_empty() { None } else { Some(RelPath::parse(below)?) };
        Ok(Spot { root: self.root.clone(), root_path: self.root_path.clone(), below })
    }
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.names.fmt(f)
    }
}

/// An absolute path without `..`, its superfluous slashes removed; `None` if it is another one.
fn plain(path: &Path) -> Option<PathBuf> {
    let odd = |component: &Component<'_>| !matches!(component, Component::RootDir | Component::Normal(_));
    let good = path.is_absolute() && !path.components().any(|component| odd(&component));
    (good && !path.as_os_str().as_bytes().contains(&0)).then(|| path.components().collect())
}

fn not_plain(path: &Path) -> JobError {
    let text = format!("{path:?} is not an absolute path without \"..\"");
    JobError::new(Code::Usage, text, "Give the whole path, beginning with a slash.")
}

/// A destination as the real path of a directory that exists and what is beneath it: nothing if it is a directory.
fn split(destination: &Path) -> io::Result<(PathBuf, PathBuf)> {
    if destination.is_dir() {
        return Ok((destination.canonicalize()?, PathBuf::new()));
    }
    let mut below: Vec<&OsStr> = Vec::new();
    let mut root = destination;
    loop {
        let name = root.file_name().ok_or(io::ErrorKind::NotADirectory)?;
        root = root.parent().ok_or(io::ErrorKind::NotADirectory)?;
        below.insert(0, name);
        match root.canonicalize() {
            Ok(real) => return Ok((real, below.iter().collect())),
            // Somebody's link to nothing is no missing directory.
            Err(error) if error.kind() == io::ErrorKind::NotFound && root.symlink_metadata().is_err() => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_begins_where_the_disk_ends() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("a/b")).unwrap();
        std::os::unix::fs::symlink("a", real.join("link")).unwrap();
        std::os::unix::fs::symlink("none", real.join("dangling")).unwrap();
        for (path, root, below) in [
            ("a", "a", ""),
            ("a/b/f", "a/b", "f"),
            ("a/c/d/f", "a", "c/d/f"),
            ("link/f", "a", "f"),
            ("link", "a", ""),
            ("dangling", "", "dangling"),
        ] {
            let (found, rest) = split(&real.join(path)).unwrap();
            assert_eq!((found, rest), (real.join(root).components().collect(), below.into()), "{path}");
        }
        assert!(split(&real.join("dangling/f")).is_err());
    }

    #[test]
    fn only_what_was_named_is_a_place() {
        let directory = tempfile::tempdir().unwrap();
        let real = directory.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("in")).unwrap();
        std::fs::write(real.join("source"), "").unwrap();
        std::os::unix::fs::symlink("source", real.join("alias")).unwrap();
        let places =
            Places::resolve(&[real.join("alias")], &[real.join("in/"), real.join("new/deep/file")]).unwrap();
        for path in ["alias", "source"] {
            assert_eq!(places.source(&real.join(path)), Some(&*real.join("source")), "{path}");
        }
        assert!(places.source(&real.join("in")).is_none() && places.source(Path::new("source")).is_none());
        for (path, spot) in [
            ("in", Some("in")),
            ("in//a/./b", Some("in/a/b")),
            ("new/deep/file", Some("new/deep/file")),
            ("new/deep/file/x", Some("new/deep/file/x")),
            ("new/deep", None),
            ("new/deep/other", None),
            ("in/../source", None),
            ("inside", None),
            ("source", None),
            ("", None),
        ] {
            let found = places.spot(&real.join(path)).map(|spot| spot.unwrap().path());
            assert_eq!(found, spot.map(|spot| real.join(spot)), "{path}");
        }
        for (path, good) in [("in", true), ("in/x", true), ("new/deep", true), ("new", true), ("", true)] {
            assert_eq!(places.directory(&real.join(path)).is_some(), good, "{path}");
        }
        assert!(places.directory(real.parent().unwrap()).is_none());
        assert!(places.directory(&real.join("other")).is_none());
    }

    #[test]
    fn what_cannot_be_named_is_an_error() {
        for (sources, destinations, code) in [
            (vec!["relative".into()], vec![], Code::Usage),
            (vec![], vec!["/tmp/../etc".into()], Code::Usage),
            (vec![], vec!["/dev/null/f".into()], Code::NoSpace),
        ] {
            let error = Places::resolve(&sources, &destinations).unwrap_err();
            assert_eq!(error.code, code, "{error}");
            assert!(!error.remedy.is_empty());
        }
        // What is not there is told when it is demanded: the other files of a command are lent all the same.
        assert!(Places::resolve(&["/no such directory/f".into()], &[]).is_ok());
    }
}
