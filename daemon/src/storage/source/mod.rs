//! Sources: the bytes that are sent.
//!
//! A [`Source`] is a memory-mapped regular file: sealing reads straight from the page cache, and a
//! retransmission reads the mapping again instead of a send buffer. The price is that the file may change
//! under us. Three layers deal with that:
//!
//! 1. Ranges are populated ([`Source::populate`]) by a reader thread before the engine touches them; a file
//!    that has shrunk shows there as an error.
//! 2. If it shrinks after that, the SIGBUS guard puts zeros in place and sets the mark
//!    ([`Source::is_changed`]), which the engine reads after it has sealed a train and before it sends it.
//! 3. Size, modification and change time are compared with those at open, every 64 MiB and at the end
//!    ([`Source::verify_unchanged`]).
//!
//! Where a mapping will not do ([`Loading::Read`]) blocks are read into slabs instead, ahead of the sending cursor, and
//! kept until the peer has them: what is sent is then what was hashed, whatever becomes of the file.
//!
//! A source once marked stays so: [`Source::slice`] gives nothing any more.

mod generated;
mod sigbus;
pub(super) mod writeback;

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use memmap2::{Advice, Mmap, UncheckedAdvice};
use nix::fcntl::{FcntlArg, SealFlag};
use udpx_control::descriptor::DescriptorError;

pub use self::sigbus::{ThreadGuard, guard_thread};

use self::generated::Pattern;
use self::sigbus::Registration;
use super::digest::Subtrees;
use super::pipe::Slab;

/// Why a source could not be opened or can no longer be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nothing has that name.
    #[error("{0:?} does not exist; check the name, or that its directory is mounted.")]
    NotFound(PathBuf),
    /// Permission denied.
    #[error(
        "{0:?} can't be read by this user; grant read permission on it and search permission on its directories."
    )]
    Unreadable(PathBuf),
    /// It is a directory.
    #[error("{0:?} is a directory; name the files in it.")]
    IsDirectory(PathBuf),
    /// It is to be listed, and is not a directory.
    #[error("{0:?} is not a directory; only directories are listed.")]
    NotDirectory(PathBuf),
    /// A symbolic link leads out of the root, or round in circles.
    #[error("{0:?} leads out of its root, or through too many symbolic links; use the real name.")]
    Outside(PathBuf),
    /// It is a pipe, a socket or a device.
    #[error("{0:?} is not a regular file; copy its contents into one and send that.")]
    NotRegular(PathBuf),
    /// It came as a descriptor that does not serve.
    #[error("{path:?} can't be sent as it was handed over: {error}")]
    Handed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: DescriptorError,
    },
    /// A pipe of which a part has gone to a session that was lost: it cannot be read again.
    #[error(
        "{path:?} can't be sent again: {bytes} bytes of it are gone with a session that was lost, and a pipe can be read only once; start what writes to it anew."
    )]
    Spent {
        /// The pipe.
        path: PathBuf,
        /// Bytes that nothing holds any more.
        bytes: u64,
    },
    /// A pipe that another transfer still reads.
    #[error("{0:?} is being sent by a transfer that has not ended yet; try again.")]
    Busy(PathBuf),
    /// Too many pipes.
    #[error("{0:?} is one pipe too many for this process; try again when others have ended.")]
    TooManyPipes(PathBuf),
    /// It is larger than [`super::digest::FILE_BYTES_MAX`].
    #[error("{path:?} has {size} bytes, more than the 64 TiB that one file may have; split it.")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// It is not what it was when it was opened.
    #[error("{path:?} {change} while it was being sent; send it again when nothing writes to it.")]
    Changed {
        /// The file.
        path: PathBuf,
        /// What happened to it.
        change: Change,
    },
    /// Any other failure of the system.
    #[error("{path:?} could not be {action}: {error}; check the file system and the system log.")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried: a past participle.
        action: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

/// What happened to a source since it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Change {
    /// It is shorter.
    #[error("was truncated")]
    Truncated,
    /// It is longer.
    #[error("grew")]
    Grown,
    /// Same size, other times: somebody wrote to it or changed its attributes.
    #[error("was rewritten")]
    Rewritten,
    /// Its last name was removed. Its bytes may be whole, but nothing vouches for that any more: removal
    /// changes the very time that would tell.
    #[error("was deleted")]
    Deleted,
    /// It looks the same, but a page of it could not be read: it was shorter for a moment, or the disk or
    /// network mount failed.
    #[error("had a part that could not be read")]
    Faulted,
}

/// How the bytes of files come into memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loading {
    /// By mapping them: the fastest way. It takes a handler for SIGBUS in this process.
    #[default]
    Mapped,
    /// By reading them, block by block, shortly before they are sent: for a process whose signals are not ours.
    Read,
}

/// The bytes of one file, or a generated pattern.
pub struct Source {
    path: PathBuf,
    subtrees: Subtrees,
    backing: Backing,
}

enum Backing {
    File(Mapped),
    Generated(Pattern),
}

struct Mapped {
    /// Before the mapping, so that it is dropped first: the handler must forget memory before it is unmapped.
    registration: Option<Registration>,
    /// None for an empty file, which can't be mapped, and for one that is read.
    map: Option<Mmap>,
    file: File,
    stamp: Stamp,
    attributes: Attributes,
    /// Set when a check found the file changed; faults have their own mark in the registration.
    changed: AtomicBool,
}

/// What travels with the bytes, as it was at open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits, without set-id and sticky.
    pub mode: u32,
    /// Modification time.
    pub modified: SystemTime,
}

/// What must stay as it was at open. The change time can't be set back by `utimensat`, so that a rewrite
/// which restores the modification time shows too.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    size: u64,
    inode: (u64, u64),
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            inode: (metadata.dev(), metadata.ino()),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Source {
    /// Opens and maps the regular file `path`.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        Self::open_to(path, Loading::Mapped)
    }

    /// Opens the regular file `path`.
    pub fn open_to(path: &Path, loading: Loading) -> Result<Self, SourceError> {
        // O_NONBLOCK: opening a FIFO that nobody writes to must not hang before we see that it is one.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new().read(true).custom_flags(flags).open(path);
        Self::load(file.map_err(|error| SourceError::at_open(path, error))?, path, loading)
    }

    /// Maps a file that is open for reading already; `path` is for messages only.
    pub fn from_file(file: File, path: &Path) -> Result<Self, SourceError> {
        Self::load(file, path, Loading::Mapped)
    }

    /// Takes a file that is open for reading already; `path` is for messages only.
    pub fn load(file: File, path: &Path, loading: Loading) -> Result<Self, SourceError> {
        let failed = |action| move |error| SourceError::Io { path: path.into(), action, error };
        let metadata = file.metadata().map_err(failed("examined"))?;
        if metadata.is_dir() {
            return Err(SourceError::IsDirectory(path.into()));
        }
        if !metadata.is_file() {
            return Err(SourceError::NotRegular(path.into()));
        }
        let size = metadata.len();
        let too_large = || SourceError::TooLarge { path: path.into(), size };
        let subtrees = Subtrees::of(size).ok_or_else(too_large)?;
        let len = usize::try_from(size).map_err(|_| too_large())?;
        // Memory that can't shrink raises no SIGBUS: a process that sends nothing else needs no handler.
        let is_memory = cannot_shrink(&file);
        let (map, registration) = match len {
            0 => (None, None),
            _ if loading == Loading::Read && !is_memory => (None, None),
            _ => {
                let map = map_file(&file, len).map_err(failed("mapped into memory"))?;
                let registration = match is_memory {
                    true => None,
                    false => Some(Registration::new(&map).map_err(failed("guarded against truncation"))?),
                };
                // Larger read-ahead for what isn't cached yet.
                let _ = map.advise(Advice::Sequential);
                (Some(map), registration)
            }
        };
        let stamp = Stamp::of(&metadata);
        let modified = metadata.modified().map_err(failed("examined"))?;
        let attributes = Attributes { mode: metadata.mode() & 0o777, modified };
        let mapped = Mapped { registration, map, file, stamp, attributes, changed: AtomicBool::new(false) };
        Ok(Self { path: path.into(), subtrees, backing: Backing::File(mapped) })
    }

    /// A source of `len` pseudo-random bytes that repeat every 8 MiB, for benchmarks.
    pub fn generated(len: u64, seed: u64) -> Result<Self, SourceError> {
        let path = PathBuf::from("(generated)");
        let Some(subtrees) = Subtrees::of(len) else {
            return Err(SourceError::TooLarge { path, size: len });
        };
        Ok(Self { path, subtrees, backing: Backing::Generated(Pattern::new(seed)) })
    }

    /// Bytes at open.
    pub fn size(&self) -> u64 {
        self.subtrees.size()
    }

    /// How the source divides into blocks.
    pub fn subtrees(&self) -> Subtrees {
        self.subtrees
    }

    /// Whether [`Source::slice`] has its bytes. Otherwise [`Source::read_block`] is the way to them.
    pub fn is_in_memory(&self) -> bool {
        match &self.backing {
            Backing::File(mapped) => mapped.map.is_some() || self.size() == 0,
            Backing::Generated(_) => true,
        }
    }

    /// Reads a block into `slab`, which has room for just that, and hashes it.
    pub fn read_block(&self, block: u64, slab: &mut Slab) -> Result<(), SourceError> {
        let Backing::File(mapped) = &self.backing else {
            return Err(self.mark_changed());
        };
        let start = self.subtrees.range(block).start;
        slab.fill(|room| {
            match mapped.file.read_exact_at(room, start) {
                Ok(()) => {}
                // It is shorter than it was.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(self.mark_changed()),
                Err(error) => {
                    return Err(SourceError::Io { path: self.path.clone(), action: "read", error });
                }
            }
            self.subtrees.cv(block, room).ok_or_else(|| self.mark_changed())
        })
    }

    /// The name it was opened under.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Permissions and modification time; `None` for a generated source.
    pub fn attributes(&self) -> Option<Attributes> {
        match &self.backing {
            Backing::File(mapped) => Some(mapped.attributes),
            Backing::Generated(_) => None,
        }
    }

    /// `len` bytes at `offset` (at most 1 MiB of a generated source); `None` beyond the end, or once the
    /// source is marked as changed.
    ///
    /// Bytes of a mapped file may turn into zeros while they are read: use them, then ask
    /// [`Source::is_changed`], then trust them.
    pub fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let end = offset.checked_add(len as u64)?;
        if end > self.size() || self.is_changed() {
            return None;
        }
        match &self.backing {
            Backing::Generated(pattern) => pattern.slice(offset, len),
            Backing::File(Mapped { map: None, .. }) => (self.size() == 0).then_some(&[]),
            Backing::File(Mapped { map: Some(map), .. }) => map.get(offset as usize..end as usize),
        }
    }

    /// Brings a range into memory, so that touching it costs no disk access. The range is cut to the file.
    pub fn populate(&self, range: Range<u64>) -> Result<(), SourceError> {
        let range = range.start..range.end.min(self.size());
        let Backing::File(Mapped { map: Some(map), file, .. }) = &self.backing else {
            return Ok(());
        };
        if range.is_empty() {
            return Ok(());
        }
        let (offset, len) = (range.start as usize, (range.end - range.start) as usize);
        let populated = loop {
            match map.advise_range(Advice::PopulateRead, offset, len) {
                Err(error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR)) => {}
                // Before Linux 5.14: reading brings the pages into the cache at least.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break read_through(file, range),
                populated => break populated,
            }
        };
        match populated {
            Ok(()) => Ok(()),
            // madvise(2): touching a page would have raised SIGBUS.
            Err(error) if error.raw_os_error() == Some(libc::EFAULT) => Err(self.mark_changed()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(self.mark_changed()),
            Err(error) => Err(SourceError::Io { path: self.path.clone(), action: "read", error }),
        }
    }

    /// Takes a range out of this process's memory; it stays in the page cache, and comes back when it is touched. For what is not
    /// needed any more, so that a large mapping is not taken apart at once, at its end.
    pub fn release(&self, range: Range<u64>) {
        let range = range.start..range.end.min(self.size());
        if let Backing::File(Mapped { map: Some(map), .. }) = &self.backing
            && !range.is_empty()
        {
            // It saves memory if it can.
            let _ = forget(map, range.start as usize, (range.end - range.start) as usize);
        }
    }

    /// The mark: whether the source was found changed, by the SIGBUS guard or by a check.
    pub fn is_changed(&self) -> bool {
        match &self.backing {
            Backing::File(mapped) => mapped.is_marked(),
            Backing::Generated(_) => false,
        }
    }

    /// Sets the mark, for example because `sendmsg` from the mapping said EFAULT, and says what is wrong.
    pub fn mark_changed(&self) -> SourceError {
        if let Backing::File(mapped) = &self.backing {
            mapped.changed.store(true, Ordering::Release);
        }
        match self.verify_unchanged() {
            Err(error) => error,
            Ok(()) => SourceError::Changed { path: self.path.clone(), change: Change::Faulted },
        }
    }

    /// Compares the file with what it was at open. Sets the mark if it differs.
    pub fn verify_unchanged(&self) -> Result<(), SourceError> {
        let Backing::File(mapped) = &self.backing else {
            return Ok(());
        };
        let metadata = mapped.file.metadata().map_err(|error| SourceError::Io {
            path: self.path.clone(),
            action: "examined",
            error,
        })?;
        match mapped.change(&metadata) {
            None => Ok(()),
            Some(change) => {
                mapped.changed.store(true, Ordering::Release);
                Err(SourceError::Changed { path: self.path.clone(), change })
            }
        }
    }
}

impl Mapped {
    fn is_marked(&self) -> bool {
        self.changed.load(Ordering::Acquire)
            || self.registration.as_ref().is_some_and(Registration::is_faulted)
    }

    fn change(&self, now: &Metadata) -> Option<Change> {
        let (then, now_stamp) = (self.stamp, Stamp::of(now));
        if now_stamp.size < then.size {
            Some(Change::Truncated)
        } else if now_stamp.size > then.size {
            Some(Change::Grown)
        } else if now_stamp.modified != then.modified || now_stamp.inode != then.inode {
            Some(Change::Rewritten)
        } else if now_stamp.changed != then.changed {
            // A descriptor that was passed to us may never have had a name: only a change counts.
            Some(if now.nlink() == 0 { Change::Deleted } else { Change::Rewritten })
        } else {
            self.is_marked().then_some(Change::Faulted)
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("path", &self.path).field("size", &self.size()).finish_non_exhaustive()
    }
}

impl SourceError {
    /// Sorts what opening `path` failed with.
    pub(crate) fn at_open(path: &Path, error: io::Error) -> Self {
        let path = path.to_path_buf();
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => SourceError::NotFound(path),
            Some(libc::EACCES | libc::EPERM) => SourceError::Unreadable(path),
            Some(libc::EISDIR) => SourceError::IsDirectory(path),
            Some(libc::ELOOP | libc::EXDEV) => SourceError::Outside(path),
            // A socket, or a device without a driver.
            Some(libc::ENXIO | libc::ENODEV) => SourceError::NotRegular(path),
            _ => SourceError::Io { path, action: "opened", error },
        }
    }
}

/// A memfd whose owner has sealed it against becoming shorter. Other files have no seals.
fn cannot_shrink(file: &File) -> bool {
    nix::fcntl::fcntl(file, FcntlArg::F_GET_SEALS)
        .is_ok_and(|seals| SealFlag::from_bits_retain(seals).contains(SealFlag::F_SEAL_SHRINK))
}

#[allow(unsafe_code, reason = "a mapping of a file that others may write to")]
fn map_file(file: &File, len: usize) -> io::Result<Mmap> {
    // SAFETY: memmap2 asks that the file isn't changed while it is mapped, which nobody can promise. What a
    // change can do is covered: a truncated page is replaced by the SIGBUS guard, and a rewritten one yields
    // other bytes, which are only ever hashed, sealed or sent as plain u8, never interpreted as anything else.
    unsafe { memmap2::MmapOptions::new().len(len).map(file) }
}

#[allow(unsafe_code, reason = "advice that may change what an anonymous mapping holds")]
fn forget(map: &Mmap, offset: usize, len: usize) -> io::Result<()> {
    // SAFETY: this mapping is shared, read-only and of a file, so that pages which go come back from the file: at worst as
    // `map_file` says of a file that somebody changes.
    unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, len) }
}

/// Reads a range and throws the bytes away. `UnexpectedEof` if the file ends before it.
fn read_through(file: &File, range: Range<u64>) -> io::Result<()> {
    let mut scratch = [0; 64 << 10];
    let mut offset = range.start;
    while offset < range.end {
        let want = (range.end - offset).min(scratch.len() as u64) as usize;
        match file.read_at(&mut scratch[..want], offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => offset += read as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
