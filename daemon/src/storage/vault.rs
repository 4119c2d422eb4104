//! Vaults: places that hold files.
//!
//! A [`RootVault`] is a directory tree that belongs to the daemon. Names from a peer are resolved below it by
//! openat2 alone: never above the root, never through `/proc` links, and for writing through no symbolic link
//! at all, whatever is renamed around us meanwhile. [`NullVault`] keeps nothing and serves benchmarks.
//! A user's own files are a third kind, [`LentVault`]: a process of that user does what the
//! daemon may not, by means of a `RootVault` of its own.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::Mode;
use udpx_control::descriptor::DescriptorError;
use udpx_proto::Code;

use super::allowance::{Allowance, Charge};
use super::beneath::{INSIDE, NO_LINKS, open_beneath};
use super::fileops::{FileOps, LinuxFiles};
use super::lender::LentVault;
use super::listing::{EntryKind, Listing, kind_of, list_directory};
use super::part::{Finish, IfExists, Part, Place, is_no_space};
use super::path::{PathError, RelPath, part_name};
use super::reserve::reserve;
use super::source::{Loading, Source, SourceError};

/// A place that holds files. Every call may block: only worker threads call.
pub trait Vault: Send + Sync {
    /// Opens a file for sending, whose bytes come into memory in this way.
    fn open_source(&self, path: &RelPath, loading: Loading) -> Result<Source, SourceError>;
    /// Creates the temporary file for one that is to be received as `path`, with the directories above it.
    fn create_part(&self, path: &RelPath, spec: PartSpec) -> Result<Part, VaultError>;
    /// Gives a part its final name, durably, and returns that name.
    fn commit(&self, part: &Part, finish: Finish) -> Result<PathBuf, VaultError>;
    /// The entries of a directory, or of the root, by name.
    fn list(&self, path: Option<&RelPath>) -> Result<Listing, SourceError>;
    /// The vault as one whose work another process does: then nothing else is called, and no thread waits for it.
    fn as_lent(&self) -> Option<&LentVault> {
        None
    }
}

/// What is known of a file when its part is created.
#[derive(Clone, Copy, Debug)]
pub struct PartSpec {
    /// Its bytes, reserved at once; `None` if the sender doesn't know yet.
    pub size: Option<u64>,
    /// What to do when the name is taken.
    pub if_exists: IfExists,
    /// Random bits for the temporary name.
    pub nonce: u64,
}

/// Why a file could not be stored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VaultError {
    /// The name itself is refused.
    #[error(transparent)]
    Name(#[from] PathError),
    /// Nothing has that name.
    #[error("{0:?} does not exist; create it, or check the name.")]
    NotFound(PathBuf),
    /// The destination is a directory.
    #[error("{0:?} is a directory; give the name that the file shall have in it.")]
    IsDirectory(PathBuf),
    /// Something above the destination is a file.
    #[error("{0:?} lies below something that is not a directory; choose another name.")]
    NotDirectory(PathBuf),
    /// Permission denied, or a read-only file system.
    #[error(
        "{0:?} can't be written by this user; grant write permission on its directory, or choose another one."
    )]
    NotWritable(PathBuf),
    /// A symbolic link would have to be followed, or the root left.
    #[error("{0:?} leads through a symbolic link or out of its root; use the real name.")]
    Outside(PathBuf),
    /// The name is taken, and the job says not to replace it.
    #[error("{0:?} exists already; remove it, or allow it to be replaced.")]
    Exists(PathBuf),
    /// The disk, or the user's quota, is full.
    #[error(
        "{path:?} needs {needed} more bytes and its file system has {free} free for this user; free some space (or raise the quota)."
    )]
    NoSpace {
        /// The destination.
        path: PathBuf,
        /// Bytes still to be stored.
        needed: u64,
        /// Bytes free for this user, quota not considered.
        free: u64,
    },
    /// The place may hold no more.
    #[error(
        "{path:?} needs {needed} more bytes, and {used} of the {quota} that may lie there are used. On it, remove files there, or raise the quota: {remedy}"
    )]
    OverQuota {
        /// The destination.
        path: PathBuf,
        /// Bytes still to be stored.
        needed: u64,
        /// Bytes that lie there.
        used: u64,
        /// Bytes that may.
        quota: u64,
        /// What raises it.
        remedy: String,
    },
    /// The file system is to keep more free space than there would be.
    #[error(
        "{path:?} needs {needed} more bytes, and of the {free} that its file system has free {keep} are to stay so. On it, free some space, or set a lower keep_free in its udpxd.toml"
    )]
    BelowFloor {
        /// The destination.
        path: PathBuf,
        /// Bytes still to be stored.
        needed: u64,
        /// Bytes free.
        free: u64,
        /// Bytes that are to stay free.
        keep: u64,
    },
    /// The file system doesn't take files of that size.
    #[error(
        "{path:?} would have {size} bytes, more than its file system can hold in one file; choose another one."
    )]
    TooLarge {
        /// The destination.
        path: PathBuf,
        /// Its announced size in bytes.
        size: u64,
    },
    /// Bytes outside of the announced size, or a read of what was not kept.
    #[error(
        "{bytes} bytes at {offset} lie outside of {path:?}; this is a defect of the sender, please report it."
    )]
    OutOfRange {
        /// The destination.
        path: PathBuf,
        /// First byte.
        offset: u64,
        /// Their number.
        bytes: u64,
    },
    /// An earlier error made the content untrustworthy.
    #[error(
        "{0:?} had a write error before and can't be trusted; look into the system log and send it again."
    )]
    Poisoned(PathBuf),
    /// The file has its final name, but the directory could not be synced.
    #[error(
        "{path:?} is complete, but its directory could not be synced ({error}): a power cut may lose it; look into the system log and send it again."
    )]
    NotDurable {
        /// The final name.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The part was committed already, or is being committed.
    #[error("{0:?} is being committed twice; this is a defect, please report it.")]
    Finished(PathBuf),
    /// A descriptor that was handed over does not serve.
    #[error("{path:?} can't be written as it was handed over: {error}")]
    Handed {
        /// The destination.
        path: PathBuf,
        /// What is wrong with it.
        error: DescriptorError,
    },
    /// A pipe whose other end was closed.
    #[error("The reader of {0:?} has gone; let it read to the end, or take the file into another one.")]
    ReaderGone(PathBuf),
    /// A pipe that has taken a part of the file, of a session that was lost.
    #[error(
        "{path:?} has got {bytes} bytes by a session that was lost, and they can't be taken back; run the whole pipeline again."
    )]
    Begun {
        /// The pipe.
        path: PathBuf,
        /// What was written.
        bytes: u64,
    },
    /// The code that takes the bytes wants no more of them.
    #[error("{0:?} did not take all of it; send it again when the program that takes it is ready.")]
    Declined(PathBuf),
    /// A pipe that another transfer has not given up yet, or there are too many of them.
    #[error("{0:?} can't be written now; try again when other transfers through pipes have ended.")]
    Busy(PathBuf),
    /// The user's process that was to do it could not; its words.
    #[error("{text}")]
    Lent {
        /// Of the table of errors.
        code: Code,
        /// What happened, and what to do about it.
        text: String,
    },
    /// Any other failure of the system.
    #[error("{path:?} could not be {action}: {error}; check the file system and the system log.")]
    Io {
        /// The destination.
        path: PathBuf,
        /// What was tried: a past participle.
        action: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

impl VaultError {
    /// Sorts what a call on `path` failed with.
    pub(crate) fn at(path: &Path, action: &'static str, error: io::Error) -> Self {
        let path = path.to_path_buf();
        match error.raw_os_error() {
            Some(libc::ENOENT) => VaultError::NotFound(path),
            Some(libc::EISDIR) => VaultError::IsDirectory(path),
            Some(libc::ENOTDIR) => VaultError::NotDirectory(path),
            Some(libc::EACCES | libc::EPERM | libc::EROFS) => VaultError::NotWritable(path),
            Some(libc::ELOOP | libc::EXDEV) => VaultError::Outside(path),
            _ => VaultError::Io { path, action, error },
        }
    }
}

/// A directory tree that belongs to the daemon.
pub struct RootVault {
    pub(super) root: Arc<File>,
    pub(super) root_path: PathBuf,
    pub(super) ops: Arc<dyn FileOps>,
    /// Mode of all files, instead of their senders'.
    file_mode: Option<u32>,
    /// How much may lie here.
    allowance: Option<Arc<Allowance>>,
}

impl RootVault {
    /// The tree below `path`, an existing directory. The root itself may be reached through links: its name
    /// comes from the configuration, not from a peer.
    pub fn open(path: &Path) -> Result<Self, VaultError> {
        Self::with_ops(path, Arc::new(LinuxFiles))
    }

    /// The same, with the system calls given by the caller.
    pub fn with_ops(path: &Path, ops: Arc<dyn FileOps>) -> Result<Self, VaultError> {
        let root = File::open(path).map_err(|error| VaultError::at(path, "opened", error))?;
        let metadata = root.metadata().map_err(|error| VaultError::at(path, "examined", error))?;
        if !metadata.is_dir() {
            return Err(VaultError::NotDirectory(path.into()));
        }
        Ok(Self { root: Arc::new(root), root_path: path.into(), ops, file_mode: None, allowance: None })
    }

    /// The same, all of whose files get this mode: senders' modes mean nothing where others read.
    #[must_use]
    pub fn with_file_mode(self, mode: u32) -> Self {
        Self { file_mode: Some(mode), ..self }
    }

    /// The same, with a bound on what may lie in it.
    #[must_use]
    pub fn with_allowance(self, allowance: Arc<Allowance>) -> Self {
        Self { allowance: Some(allowance), ..self }
    }

    /// What a file to come takes of what may lie here.
    fn charge(&self, path: &RelPath, size: Option<u64>) -> Result<Option<Charge>, VaultError> {
        let charge = |allowance: &Arc<Allowance>| {
            let (root, shown) = (self.root.clone(), self.path_of(path));
            Charge::new(allowance.clone(), root, shown, &*self.ops, size.unwrap_or(0))
        };
        self.allowance.as_ref().map(charge).transpose()
    }

    /// The directory of a destination, made where it is missing.
    pub(super) fn directory(&self, path: &RelPath) -> Result<Arc<File>, VaultError> {
        let parent = path.parent();
        if parent.as_os_str().is_empty() {
            return Ok(self.root.clone());
        }
        match open_dir(&self.root, parent) {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                let made = self.make_directories(parent).map(Arc::new);
                made.map_err(|error| VaultError::at(&self.shown(parent), "created", error))
            }
            opened => opened.map(Arc::new).map_err(|error| self.failed(path, "opened", error)),
        }
    }

    /// Makes each missing directory of `path` and syncs the one above it: a file that is durable in a
    /// directory which isn't would be lost all the same.
    fn make_directories(&self, path: &Path) -> io::Result<File> {
        let mut dir = self.root.try_clone()?;
        for component in path {
            let component = Path::new(component);
            let next = match open_dir(&dir, component) {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    match nix::sys::stat::mkdirat(&dir, component, Mode::from_bits_truncate(DIRECTORY_MODE)) {
                        Ok(()) => self.ops.sync_dir(&dir)?,
                        // Another thread made it in the meantime.
                        Err(Errno::EEXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    open_dir(&dir, component)?
                }
                opened => opened?,
            };
            dir = next;
        }
        Ok(dir)
    }

    /// Refuses a destination that can be seen to fail before any byte has travelled.
    pub(super) fn check_destination(
        &self,
        dir: &File,
        path: &RelPath,
        if_exists: IfExists,
    ) -> Result<(), VaultError> {
        match nix::sys::stat::fstatat(dir, path.name(), AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) if kind_of(&stat) == EntryKind::Directory => {
                Err(VaultError::IsDirectory(self.path_of(path)))
            }
            Ok(_) if matches!(if_exists, IfExists::Fail | IfExists::Skip) => {
                Err(VaultError::Exists(self.path_of(path)))
            }
            Ok(_) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(self.failed(path, "examined", error.into())),
        }
    }

    /// Creates the temporary file under the first free name.
    fn create_file(&self, dir: &File, path: &RelPath, nonce: u64) -> Result<(File, OsString), VaultError> {
        let mut number = nonce;
        loop {
            let name = part_name(number);
            match self.create_under(dir, path, &name)? {
                Some(file) => return Ok((file, name)),
                None => number = number.wrapping_add(1),
            }
        }
    }

    /// Creates the temporary file of that name, claimed; `None` if the name is taken, or no longer ours.
    pub(super) fn create_under(
        &self,
        dir: &File,
        path: &RelPath,
        name: &OsStr,
    ) -> Result<Option<File>, VaultError> {
        match self.ops.create(dir, name) {
            Ok(file) => Ok(super::orphans::claim(&file).then_some(file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) if is_no_space(&error) => {
                let free = self.ops.free_bytes(dir).unwrap_or(0);
                Err(VaultError::NoSpace { path: self.path_of(path), needed: 1, free })
            }
            Err(error) => Err(self.failed(path, "created", error)),
        }
    }

    /// Where a part of that name stands, and where it goes.
    pub(super) fn place(&self, path: &RelPath, part_name: OsString, if_exists: IfExists) -> Place {
        let name = path.name().to_os_string();
        Place { dir_path: self.shown(path.parent()), part_name, name, if_exists }
    }

    pub(super) fn path_of(&self, path: &RelPath) -> PathBuf {
        self.shown(path.as_path())
    }

    pub(super) fn shown(&self, path: &Path) -> PathBuf {
        self.root_path.join(path)
    }

    pub(super) fn failed(&self, path: &RelPath, action: &'static str, error: io::Error) -> VaultError {
        VaultError::at(&self.path_of(path), action, error)
    }
}

impl Vault for RootVault {
    fn open_source(&self, path: &RelPath, loading: Loading) -> Result<Source, SourceError> {
        let shown = self.path_of(path);
        // O_NONBLOCK: a FIFO without a writer must not hang the thread.
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let file = open_beneath(&self.root, path.as_path(), flags, Mode::empty(), INSIDE);
        Source::load(file.map_err(|error| SourceError::at_open(&shown, error))?, &shown, loading)
    }

    fn create_part(&self, path: &RelPath, spec: PartSpec) -> Result<Part, VaultError> {
        let dir = self.directory(path)?;
        self.check_destination(&dir, path, spec.if_exists)?;
        let charge = self.charge(path, spec.size)?;
        let (file, part_name) = self.create_file(&dir, path, spec.nonce)?;
        let reserved = reserve(&*self.ops, &file, &self.path_of(path), spec.size.unwrap_or(0));
        // From here on dropping the part removes the file.
        let place = self.place(path, part_name, spec.if_exists);
        let part = Part::new(self.ops.clone(), dir, file, spec.size, place).charged(charge);
        reserved.map(|()| part)
    }

    fn commit(&self, part: &Part, finish: Finish) -> Result<PathBuf, VaultError> {
        part.commit(Finish { mode: self.file_mode.unwrap_or(finish.mode), ..finish })
    }

    fn list(&self, path: Option<&RelPath>) -> Result<Listing, SourceError> {
        let below = path.map_or(Path::new("."), RelPath::as_path);
        let shown = path.map_or_else(|| self.root_path.clone(), |path| self.path_of(path));
        let failed = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOTDIR) => SourceError::NotDirectory(shown.clone()),
            _ => SourceError::at_open(&shown, error),
        };
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let dir = open_beneath(&self.root, below, flags, Mode::empty(), INSIDE).map_err(failed)?;
        list_directory(&dir).map_err(failed)
    }
}

/// Opens a directory for making files in it and for syncing it.
pub(super) fn open_dir(dir: &File, path: &Path) -> io::Result<File> {
    open_beneath(dir, path, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty(), NO_LINKS)
}

/// Mode of directories that are made for a destination, before the umask; a set-gid bit is inherited.
const DIRECTORY_MODE: u32 = 0o770;

/// A vault that takes everything and keeps nothing: benchmarks without a disk.
#[derive(Clone, Copy, Debug, Default)]
pub struct NullVault;

impl Vault for NullVault {
    fn open_source(&self, path: &RelPath, _: Loading) -> Result<Source, SourceError> {
        Err(SourceError::NotFound(path.as_path().into()))
    }

    fn create_part(&self, _: &RelPath, spec: PartSpec) -> Result<Part, VaultError> {
        Ok(Part::null(spec.size))
    }

    fn commit(&self, part: &Part, finish: Finish) -> Result<PathBuf, VaultError> {
        part.commit(finish)
    }

    fn list(&self, _: Option<&RelPath>) -> Result<Listing, SourceError> {
        Ok(Listing { entries: Vec::new(), is_cut: false })
    }
}
