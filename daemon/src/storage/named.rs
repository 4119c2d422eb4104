//! Parts by names that somebody else has chosen: what a process does that lends its rights to the daemon.

use std::ffi::OsStr;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::beneath::{INSIDE, NO_LINKS, open_beneath};
use super::orphans;
use super::part::{IfExists, Part};
use super::path::RelPath;
use super::vault::{RootVault, VaultError, open_dir};

impl RootVault {
    /// Creates the part of that name for a file that will be called `path`, with the directories above it. No space
    /// is reserved: that is for whoever writes it.
    ///
    /// # Errors
    /// [`VaultError`]; a part of that name must not exist.
    pub(crate) fn create_named(
        &self,
        path: &RelPath,
        part: &OsStr,
        if_exists: IfExists,
    ) -> Result<Part, VaultError> {
        let dir = self.directory(path)?;
        self.check_destination(&dir, path, if_exists)?;
        for _ in 0..CREATE_ATTEMPTS_MAX {
            if let Some(file) = self.create_under(&dir, path, part)? {
                let place = self.place(path, part.to_os_string(), if_exists);
                return Ok(Part::new(self.ops.clone(), dir, file, None, place));
            }
        }
        let part = self.shown(path.parent()).join(part);
        Err(VaultError::Io { path: part, action: "created", error: io::ErrorKind::AlreadyExists.into() })
    }

    /// Opens a part that was created before. Dropping it removes the file.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(crate) fn reopen_named(&self, path: &RelPath, part: &OsStr) -> Result<Part, VaultError> {
        let shown = self.shown(path.parent()).join(part);
        let failed = |error| VaultError::at(&shown, "opened", error);
        let dir = self.existing_directory(path.parent()).map_err(failed)?;
        let flags = OFlag::O_RDWR | OFlag::O_NONBLOCK;
        let file = open_beneath(&dir, Path::new(part), flags, Mode::empty(), NO_LINKS).map_err(failed)?;
        if !file.metadata().map_err(failed)?.is_file() {
            return Err(VaultError::Outside(shown));
        }
        let place = self.place(path, part.to_os_string(), IfExists::Replace);
        Ok(Part::new(self.ops.clone(), dir, file, None, place))
    }

    /// Removes a part, if it is there.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(crate) fn remove_named(&self, path: &RelPath, part: &OsStr) -> Result<(), VaultError> {
        let removed = self.existing_directory(path.parent()).and_then(|dir| self.ops.unlink(&dir, part));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(VaultError::at(&self.shown(path.parent()).join(part), "removed", error))
            }
            _ => Ok(()),
        }
    }

    /// Removes what a process that was killed has left in the directory of `path`; returns that directory.
    pub(crate) fn remove_orphans_beside(&self, path: &RelPath) -> PathBuf {
        let parent = self.shown(path.parent());
        // Through its descriptor: by name somebody could put another directory in its place.
        if let Ok(dir) = self.existing_directory(path.parent()) {
            orphans::remove_orphans_in(Path::new(&format!("/proc/self/fd/{}", dir.as_raw_fd())));
        }
        parent
    }

    /// Makes the names in a directory durable; `None` is the root.
    ///
    /// # Errors
    /// [`VaultError`].
    pub(crate) fn sync_directory(&self, path: Option<&RelPath>) -> Result<(), VaultError> {
        let below = path.map_or(Path::new(""), RelPath::as_path);
        let dir = self.existing_directory(below);
        let synced = dir.and_then(|dir| self.ops.sync_dir(&dir));
        synced.map_err(|error| VaultError::at(&self.shown(below), "synced", error))
    }

    /// Looks at what `path` leads to, through links that stay beneath the root; `None` is the root.
    ///
    /// # Errors
    /// What the system says: ENOENT, or EXDEV for a link that leads out.
    pub(crate) fn look(&self, path: Option<&RelPath>) -> io::Result<Metadata> {
        let below = path.map_or(Path::new("."), RelPath::as_path);
        open_beneath(&self.root, below, OFlag::O_PATH, Mode::empty(), INSIDE)?.metadata()
    }

    fn existing_directory(&self, below: &Path) -> io::Result<Arc<File>> {
        match below.as_os_str().is_empty() {
            true => Ok(self.root.clone()),
            false => open_dir(&self.root, below).map(Arc::new),
        }
    }
}

/// Opens a file by its absolute path, through no link at all: it has none in it, or somebody has planted it.
///
/// # Errors
/// What the system says: ELOOP for a link.
pub(crate) fn open_without_links(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    open_from_top(path, flags)
}

/// Looks at what has that absolute path, through no link at all.
///
/// # Errors
/// What the system says.
pub(crate) fn look_without_links(path: &Path) -> io::Result<Metadata> {
    open_from_top(path, OFlag::O_PATH)?.metadata()
}

fn open_from_top(path: &Path, flags: OFlag) -> io::Result<File> {
    let top = File::open("/")?;
    let below = path.strip_prefix("/").map_err(|_| io::ErrorKind::InvalidInput)?;
    open_beneath(&top, below, flags, Mode::empty(), NO_LINKS)
}

/// How often a part is created anew that a search for orphans has removed at once.
const CREATE_ATTEMPTS_MAX: u32 = 3;
