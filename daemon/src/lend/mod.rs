//! Lending a user's rights to the daemon: the user's end of a vault (`docs/CONTROL.md`, section 8).
//!
//! ```text
//!  udpxd ── demand ──► Clerks ── a few threads ──► Vault::answer ──► files of this user
//!        ◄─ vault-reply (with a descriptor) ◄── Answered
//! ```
//!
//! The daemon runs as a user who can read nobody's home. Whoever pushes or pulls opens, creates, renames and syncs for
//! it, with the rights of its own process, and only what the user has named: a [`Vault`] knows the sources and
//! destinations of its command and refuses everything else, whatever the daemon asks for. Names are resolved once, when
//! they are given; a link that somebody plants later leads nowhere.
//!
//! A part that was created and neither committed nor removed vanishes with the vault: on Ctrl-C, or when the daemon is
//! gone. [`Vault::leave_parts`] hands them to another process instead.

mod clerks;
mod places;
mod serve;
mod umask;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use udpx_control::Name;
use udpx_control::schema::{self, Demand, EntryKind, ErrorReport, Obstacle, Operation, Outcome};
use udpx_proto::Code;

pub use clerks::{Answered, Clerks};
pub use places::NAMED_MAX;
pub use serve::{attend, sleep};
pub use umask::umask;

use crate::report::JobError;
use crate::storage::named::{look_without_links, open_without_links};
use crate::storage::part::{Finish, IfExists, Part};
use crate::storage::path::is_part_name;
use crate::storage::source::SourceError;
use crate::storage::vault::VaultError;
use crate::transfer::{code_of_source, code_of_vault};
use places::{Places, Spot};

/// Parts that are open at once: as many as one session receives.
pub const PARTS_MAX: usize = 256;

/// What a process lends: its rights over the files that its user has named. It may be shared by several threads.
#[derive(Debug)]
pub struct Vault {
    places: Places,
    umask: u32,
    /// Files that are open already, by the absolute paths under which they are asked for.
    open: HashMap<PathBuf, File>,
    held: Mutex<Held>,
}

/// What was begun and not ended.
#[derive(Debug, Default)]
struct Held {
    /// By the final path and the name of the part.
    parts: HashMap<(PathBuf, OsString), Arc<Part>>,
    /// Directories in which orphans were looked for.
    searched: HashSet<PathBuf>,
}

impl Vault {
    /// Lends the files `sources`, for reading, and everything at and beneath `destinations`, for writing. All paths are
    /// absolute; a destination need not exist.
    ///
    /// # Errors
    /// A destination that cannot be reached, a relative path, more than
    /// [`NAMED_MAX`] of them.
    pub fn new(sources: &[PathBuf], destinations: &[PathBuf]) -> Result<Self, JobError> {
        let places = Places::resolve(sources, destinations)?;
        Ok(Self { places, umask: umask(), open: HashMap::new(), held: Mutex::default() })
    }

    /// Lends a file that is open for reading already, too, under an absolute path that need not be its own.
    #[must_use]
    pub fn with_open(mut self, path: PathBuf, file: File) -> Self {
        self.open.insert(path, file);
        self
    }

    /// Does what the daemon demands, if it is one of the named places, and returns what came of it, with the file that
    /// was opened. It may wait for the disk.
    pub fn answer(&self, demand: &Demand) -> (Outcome, Option<OwnedFd>) {
        let done = match &demand.operation {
            Operation::Open { path } => self.open(path.as_path()),
            Operation::Create { path, part, if_exists } => self.create(path.as_path(), part, *if_exists),
            Operation::Reopen { path, part } => self.reopen(path.as_path(), part),
            Operation::Commit { path, part, if_exists, mode, mtime_ns } => {
                let modified = mtime_ns.and_then(time_of);
                let finish = Finish { mode: mode & 0o777 & !self.umask, modified };
                self.commit(path.as_path(), part, *if_exists, finish)
            }
            Operation::Remove { path, part } => self.remove(path.as_path(), part),
            Operation::Sync { path } => self.sync(path.as_path()),
            Operation::Stat { path } => self.stat(path.as_path()),
            Operation::Unknown => Err(Refusal::unknown()),
        };
        done.unwrap_or_else(|refusal| (refusal.0, None))
    }

    /// From now on nothing vanishes with this vault: another process goes on with its parts.
    pub fn leave_parts(&self) {
        self.held().parts.drain().for_each(|(_, part)| part.keep());
    }

    fn open(&self, path: &Path) -> Result<(Outcome, Option<OwnedFd>), Refusal> {
        if let Some(file) = self.open.get(path) {
            let again = file.try_clone().map_err(|error| SourceError::at_open(path, error))?;
            return Ok((Outcome::Opened, Some(again.into())));
        }
        let real = self.places.source(path).ok_or_else(|| Refusal::not_named(path))?;
        let file = open_without_links(real).map_err(|error| SourceError::at_open(path, error))?;
        let metadata = file.metadata().map_err(|error| SourceError::at_open(path, error))?;
        if metadata.is_dir() {
            return Err(SourceError::IsDirectory(path.into()).into());
        }
        if !metadata.is_file() {
            return Err(SourceError::NotRegular(path.into()).into());
        }
        Ok((Outcome::Opened, Some(file.into())))
    }

    fn create(
        &self,
        path: &Path,
        part: &Name,
        if_exists: schema::IfExists,
    ) -> Result<(Outcome, Option<OwnedFd>), Refusal> {
        let (spot, key) = self.spot_of(path, part)?;
        let Some(below) = &spot.below else { return Err(VaultError::IsDirectory(path.into()).into()) };
        if self.held().parts.len() >= PARTS_MAX {
            return Err(Refusal::too_many(path));
        }
        let directory = spot.directory();
        if !self.held().has_searched(&directory) {
            spot.root.remove_orphans_beside(below);
        }
        let created = spot.root.create_named(below, &key.1, if_exists_of(if_exists))?;
        self.hold(key, created)
    }

    fn reopen(&self, path: &Path, part: &Name) -> Result<(Outcome, Option<OwnedFd>), Refusal> {
        let (_, key) = self.spot_of(path, part)?;
        let part = self.part(path, &key)?;
        let descriptor = part.descriptor().map_err(|error| VaultError::at(path, "opened", error))?;
        self.held().parts.insert(key, part);
        Ok((Outcome::Opened, descriptor))
    }

    fn commit(
        &self,
        path: &Path,
        part: &Name,
        if_exists: schema::IfExists,
        finish: Finish,
    ) -> Result<(Outcome, Option<OwnedFd>), Refusal> {
        let (_, key) = self.spot_of(path, part)?;
        let part = self.part(path, &key)?;
        let committed = part.commit_as(if_exists_of(if_exists), finish);
        if matches!(committed, Ok(_) | Err(VaultError::NotDurable { .. })) {
            self.held().parts.remove(&key);
        } else {
            // Its end is the daemon's business: it demands that it be removed.
            self.held().parts.insert(key, part);
        }
        Ok((Outcome::Committed { path: committed?.into() }, None))
    }

    fn remove(&self, path: &Path, part: &Name) -> Result<(Outcome, Option<OwnedFd>), Refusal> {
        let (spot, key) = self.spot_of(path, part)?;
        // Dropped, it is removed; where a commit is under way, unless that succeeds.
        let held = self.held().parts.remove(&key);
        if let (None, Some(below)) = (held, &spot.below) {
            spot.root.remove_named(below, &key.1)?;
        }
        Ok((Outcome::Done, None))
    }

    fn sync(&self, path: &Path) -> Result<(Outcome, Option<OwnedFd>), Refusal> {
        let spot = self.places.directory(path).ok_or_else(|| Refusal::not_named(path))?;
        spot.root.sync_directory(spot.below.as_ref())?;
        Ok((Outcome::Done, None))
    }

    fn stat(&self, path: &Path) -> Result<(Outcome, Option<OwnedFd>), Refusal> {
        let found = match (self.places.source(path), self.places.spot(path)) {
            (Some(real), _) => look_without_links(real),
            (None, Some(spot)) => {
                let spot = spot.map_err(VaultError::from)?;
                spot.root.look(spot.below.as_ref())
            }
            (None, None) => return Err(Refusal::not_named(path)),
        };
        let (kind, bytes) = match found {
            Ok(metadata) if metadata.is_file() => (Some(EntryKind::File), metadata.len()),
            Ok(metadata) if metadata.is_dir() => (Some(EntryKind::Directory), 0),
            Ok(_) => (Some(EntryKind::Other), 0),
            Err(error) => match error.raw_os_error() {
                Some(libc::ENOENT | libc::ENOTDIR) => (None, 0),
                // It leads out, or round in circles: no business of the daemon's.
                Some(libc::EXDEV | libc::ELOOP) => (Some(EntryKind::Link), 0),
                _ => return Err(VaultError::at(path, "examined", error).into()),
            },
        };
        Ok((Outcome::Found { kind, bytes }, None))
    }

    /// The place of a part, and the name under which it is held.
    fn spot_of(&self, path: &Path, part: &Name) -> Result<(Spot, (PathBuf, OsString)), Refusal> {
        let spot = self.places.spot(path).ok_or_else(|| Refusal::not_named(path))?;
        if !is_part_name(part.as_bytes()) {
            return Err(Refusal::not_a_part(part));
        }
        let part = std::ffi::OsStr::from_bytes(part.as_bytes()).to_os_string();
        let spot = spot.map_err(VaultError::from)?;
        let path = spot.path();
        Ok((spot, (path, part)))
    }

    /// A part that is held, or one that another process has created.
    fn part(&self, path: &Path, key: &(PathBuf, OsString)) -> Result<Arc<Part>, Refusal> {
        if let Some(part) = self.held().parts.get(key) {
            return Ok(part.clone());
        }
        let spot =
            self.places.spot(path).ok_or_else(|| Refusal::not_named(path))?.map_err(VaultError::from)?;
        let Some(below) = &spot.below else { return Err(VaultError::IsDirectory(path.into()).into()) };
        Ok(Arc::new(spot.root.reopen_named(below, &key.1)?))
    }

    fn hold(&self, key: (PathBuf, OsString), part: Part) -> Result<(Outcome, Option<OwnedFd>), Refusal> {
        let descriptor = part.descriptor().map_err(|error| VaultError::at(&key.0, "opened", error))?;
        self.held().parts.insert(key, Arc::new(part));
        Ok((Outcome::Opened, descriptor))
    }

    /// A panic of another thread leaves whole entries.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether orphans were looked for in a directory; from now on they were.
    fn has_searched(&mut self, directory: &Path) -> bool {
        if self.searched.len() >= SEARCHED_MAX {
            self.searched.clear();
        }
        !self.searched.insert(directory.to_path_buf())
    }
}

/// An outcome that is none.
struct Refusal(Outcome);

impl Refusal {
    fn new(code: Code, text: String, remedy: &str) -> Self {
        Self(Outcome::failed(ErrorReport::new((code.number(), code.kind()), text, remedy)))
    }

    fn not_named(path: &Path) -> Self {
        let text = format!("{path:?} was not named to the process that lends files.");
        Self::new(Code::Refused, text, "Name it, or find out why the daemon asks for it.")
    }

    fn not_a_part(part: &Name) -> Self {
        let text = format!("{part:?} is no name of an unfinished file, and the daemon asks for it.");
        Self::new(Code::Refused, text, "Use udpxctl and udpxd of the same version.")
    }

    fn too_many(path: &Path) -> Self {
        let text = format!("{path:?} is one unfinished file too many: {PARTS_MAX} are open.");
        Self::new(Code::TryAgain, text, "Wait until some of them are done.")
    }

    fn unknown() -> Self {
        let text = "The daemon demands something that this program does not know.".to_owned();
        Self::new(Code::Protocol, text, "Use udpxctl and udpxd of the same version.")
    }

    fn told(code: Code, sentence: &str) -> ErrorReport {
        let error = JobError::told(code, sentence);
        ErrorReport::new((code.number(), code.kind()), error.text + ".", error.remedy)
    }
}

impl From<SourceError> for Refusal {
    fn from(error: SourceError) -> Self {
        Self(Outcome::failed(Self::told(code_of_source(&error), &error.to_string())))
    }
}

impl From<VaultError> for Refusal {
    fn from(error: VaultError) -> Self {
        let obstacle = match &error {
            VaultError::IsDirectory(_) => Some(Obstacle::Directory),
            VaultError::Exists(_) => Some(Obstacle::Exists),
            _ => None,
        };
        let renamed = matches!(error, VaultError::NotDurable { .. });
        let error = Self::told(code_of_vault(&error), &error.to_string());
        Self(Outcome::Failed { error, renamed, obstacle })
    }
}

fn if_exists_of(if_exists: schema::IfExists) -> IfExists {
    match if_exists {
        schema::IfExists::Replace => IfExists::Replace,
        schema::IfExists::Skip => IfExists::Skip,
        schema::IfExists::Fail => IfExists::Fail,
        schema::IfExists::Rename => IfExists::Rename,
    }
}

/// A time since 1970; one that the clock cannot express is none.
fn time_of(ns: i64) -> Option<SystemTime> {
    let distance = Duration::from_nanos(ns.unsigned_abs());
    if ns >= 0 { UNIX_EPOCH.checked_add(distance) } else { UNIX_EPOCH.checked_sub(distance) }
}

/// Directories that are remembered as searched.
const SEARCHED_MAX: usize = 4096;
