//! A part: a file on its way in.
//!
//! Bytes are written under a temporary name in the destination directory, in any order and from several
//! threads. [`Part::commit`] gives the file its final name, in the one order that survives a power cut:
//!
//! ```text
//! writes ──► mode, mtime ──► fsync of the file ──► rename ──► fsync of the directory ──► "durable"
//! ```
//!
//! so that under the final name there is never anything but the whole file. An fsync that failed is never
//! repeated: the kernel has dropped the pages that it could not write and would report success (errors are
//! reported once). Such a part is *poisoned*: nothing may be committed from it, and dropping it removes it.
//!
//! Write-back is started every [`WRITEBACK_STEP`] bytes and waited for every [`WRITEBACK_BOUND`], so that the
//! final fsync finds little to do and a slow disk slows the sender instead of filling memory.

use std::ffi::{OsStr, OsString};
use std::fs::{File, FileTimes, Permissions};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::SystemTime;

use nix::fcntl::AtFlags;

use super::allowance::Charge;
use super::fileops::FileOps;
use super::lender::LentVault;
use super::path::numbered;
use super::pipe::PipePart;
use super::vault::VaultError;

/// Bytes written to a part after which their write-back is started.
pub const WRITEBACK_STEP: u64 = 16 << 20;
/// Bytes written to a part after which a writer waits for the write-back of all but the last step: bounds
/// the dirty pages of a part.
pub const WRITEBACK_BOUND: u64 = 256 << 20;

/// Numbers that [`IfExists::Rename`] tries.
const RENAME_NUMBER_MAX: u32 = 9999;

/// What to do when the final name is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IfExists {
    /// Replace the file, atomically.
    #[default]
    Replace,
    /// [`VaultError::Exists`], at creation already if it shows then.
    Fail,
    /// The same error; the caller counts it as done.
    Skip,
    /// Take the next free name: `name (1).ext`.
    Rename,
}

/// What a finished file gets along with its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finish {
    /// Permission bits; set-id and sticky bits are dropped.
    pub mode: u32,
    /// Modification time; `None` leaves the time of the last write.
    pub modified: Option<SystemTime>,
}

/// A file being received, shared by the engine and the writers. Dropped without [`Part::commit`] or
/// [`Part::keep`] it is removed, which may block: let a writer thread drop it.
pub struct Part {
    sink: Sink,
    size: Option<u64>,
    written: AtomicU64,
    reread: AtomicU64,
}

enum Sink {
    File(PartFile),
    Pipe(PipePart),
    Null,
}

struct PartFile {
    ops: Arc<dyn FileOps>,
    file: File,
    home: Home,
    place: Place,
    state: AtomicU8,
    poisoned: AtomicBool,
    /// What it takes of what may lie in its root.
    charge: Option<Charge>,
}

/// Who may rename and remove a part.
enum Home {
    /// We, in this directory.
    Directory(Arc<File>),
    /// A process of the user who owns it: the file came as a descriptor.
    Lent(LentVault),
}

/// Where a part stands and where it goes.
#[derive(Debug)]
pub(super) struct Place {
    /// The destination directory as a path, for messages and for the name that commit reports.
    pub(super) dir_path: PathBuf,
    pub(super) part_name: OsString,
    pub(super) name: OsString,
    pub(super) if_exists: IfExists,
}

/// Under its temporary name; dropped with the part.
const OPEN: u8 = 0;
/// Between the start of a commit and its outcome.
const COMMITTING: u8 = 1;
/// Under its final name, or kept for a journal.
const SETTLED: u8 = 2;

impl Part {
    pub(super) fn new(
        ops: Arc<dyn FileOps>,
        dir: Arc<File>,
        file: File,
        size: Option<u64>,
        place: Place,
    ) -> Self {
        Self::of(PartFile::new(ops, file, Home::Directory(dir), place), size)
    }

    /// A part whose file came as a descriptor, and which another process names and removes.
    pub(super) fn lent(
        ops: Arc<dyn FileOps>,
        lender: LentVault,
        file: File,
        size: Option<u64>,
        place: Place,
    ) -> Self {
        Self::of(PartFile::new(ops, file, Home::Lent(lender), place), size)
    }

    /// The same, on somebody's account.
    pub(super) fn charged(mut self, charge: Option<Charge>) -> Self {
        if let Sink::File(part) = &mut self.sink {
            part.charge = charge;
        }
        self
    }

    fn of(file: PartFile, size: Option<u64>) -> Self {
        Self { sink: Sink::File(file), size, written: AtomicU64::new(0), reread: AtomicU64::new(0) }
    }

    /// A part whose bytes go into a pipe, in order.
    pub(super) fn pipe(pipe: PipePart, size: Option<u64>) -> Self {
        Self { sink: Sink::Pipe(pipe), size, written: AtomicU64::new(0), reread: AtomicU64::new(0) }
    }

    /// Its pipe: whole blocks in order, and no others, go through that.
    pub(crate) fn as_pipe(&self) -> Option<&PipePart> {
        match &self.sink {
            Sink::Pipe(pipe) => Some(pipe),
            Sink::File(_) | Sink::Null => None,
        }
    }

    /// A part that counts what it is given and keeps nothing, for measuring everything but the disk.
    pub fn null(size: Option<u64>) -> Self {
        Self { sink: Sink::Null, size, written: AtomicU64::new(0), reread: AtomicU64::new(0) }
    }

    /// The size announced at creation.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Bytes written so far, repeated ones counted again.
    pub fn written_bytes(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Bytes read back so far.
    pub fn reread_bytes(&self) -> u64 {
        self.reread.load(Ordering::Relaxed)
    }

    /// Whether an error made everything since the last sync untrustworthy.
    pub fn is_poisoned(&self) -> bool {
        matches!(&self.sink, Sink::File(part) if part.poisoned.load(Ordering::Acquire))
    }

    /// The temporary path; `None` for a null part.
    pub fn part_path(&self) -> Option<PathBuf> {
        match &self.sink {
            Sink::File(part) => Some(part.place.dir_path.join(&part.place.part_name)),
            Sink::Pipe(_) | Sink::Null => None,
        }
    }

    /// The vault that names it, where that is another process, and where it stands and goes.
    pub(super) fn lender(&self) -> Option<(&LentVault, &Place)> {
        match &self.sink {
            Sink::File(PartFile { home: Home::Lent(lender), place, .. }) => Some((lender, place)),
            Sink::File(_) | Sink::Pipe(_) | Sink::Null => None,
        }
    }

    /// Its file once more, for another process to write to; `None` for a null part.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(crate) fn descriptor(&self) -> io::Result<Option<OwnedFd>> {
        match &self.sink {
            Sink::File(part) => part.file.try_clone().map(|file| Some(file.into())),
            Sink::Pipe(_) | Sink::Null => Ok(None),
        }
    }

    /// Whether bytes given to this part can be read back.
    pub fn is_readable(&self) -> bool {
        matches!(self.sink, Sink::File(_))
    }

    /// Writes `buffers` one after the other from `offset` on, all of them, and returns their bytes.
    ///
    /// No space left is [`VaultError::NoSpace`] (or [`VaultError::OverQuota`], [`VaultError::BelowFloor`]) and leaves the part usable; any other error poisons it.
    pub fn write(&self, offset: u64, mut buffers: &mut [IoSlice<'_>]) -> Result<u64, VaultError> {
        let total: u64 = buffers.iter().map(|buffer| buffer.len() as u64).sum();
        if offset.checked_add(total).is_none_or(|end| self.size.is_some_and(|size| end > size)) {
            return Err(VaultError::OutOfRange { path: self.shown(), offset, bytes: total });
        }
        let part = match &self.sink {
            Sink::File(part) => part,
            Sink::Null => {
                self.written.fetch_add(total, Ordering::Relaxed);
                return Ok(total);
            }
            // At no offset of anybody's choice.
            Sink::Pipe(_) => return Err(VaultError::OutOfRange { path: self.shown(), offset, bytes: total }),
        };
        part.check()?;
        if let Some(charge) = &part.charge {
            charge.grow(&*part.ops, &part.file, offset + total)?;
        }
        let mut at = offset;
        IoSlice::advance_slices(&mut buffers, 0);
        while !buffers.is_empty() {
            match part.ops.write(&part.file, at, buffers) {
                Ok(0) => return Err(part.poison("written", io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    at += written as u64;
                    IoSlice::advance_slices(&mut buffers, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_no_space(&error) => return Err(part.no_space(offset + total - at)),
                Err(error) => return Err(part.poison("written", error)),
            }
        }
        let before = self.written.fetch_add(total, Ordering::Relaxed);
        part.smooth(before, before + total)?;
        Ok(total)
    }

    /// Fills `buffer` from `offset`: bytes just written, out of the page cache, to be hashed. Counted.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), VaultError> {
        let Sink::File(part) = &self.sink else {
            return Err(VaultError::OutOfRange { path: self.shown(), offset, bytes: buffer.len() as u64 });
        };
        part.check()?;
        part.file.read_exact_at(buffer, offset).map_err(|error| part.failed("read back", error))?;
        self.reread.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the file durable under its final name and returns that name. All writes must have returned.
    ///
    /// [`VaultError::Exists`] leaves the part as it was; any error of an fsync poisons it. When the last
    /// step fails ([`VaultError::NotDurable`]) the file has its final name already, whole, but a power cut
    /// may take the name back.
    pub fn commit(&self, finish: Finish) -> Result<PathBuf, VaultError> {
        match &self.sink {
            Sink::File(part) => self.commit_as(part.place.if_exists, finish),
            Sink::Pipe(pipe) => pipe.commit(),
            Sink::Null => Ok(PathBuf::from("/dev/null")),
        }
    }

    /// The same, where it is known only now what to do when the name is taken.
    pub(crate) fn commit_as(&self, if_exists: IfExists, finish: Finish) -> Result<PathBuf, VaultError> {
        let Sink::File(part) = &self.sink else {
            return Ok(PathBuf::from("/dev/null"));
        };
        part.check()?;
        let dir = part.dir()?;
        let begun = part.state.compare_exchange(OPEN, COMMITTING, Ordering::AcqRel, Ordering::Acquire);
        if begun.is_err() {
            return Err(VaultError::Finished(part.path()));
        }
        let replaced = part.replaced_bytes(dir, if_exists);
        let renamed = part.sync_and_rename(dir, if_exists, finish);
        if let (Ok(_), Some(charge)) = (&renamed, &part.charge) {
            charge.settle(replaced);
        }
        part.state.store(if renamed.is_ok() { SETTLED } else { OPEN }, Ordering::Release);
        let path = part.place.dir_path.join(renamed?);
        part.ops.sync_dir(dir).map_err(|error| {
            part.poisoned.store(true, Ordering::Release);
            VaultError::NotDurable { path: path.clone(), error }
        })?;
        Ok(path)
    }

    /// Leaves the file under its temporary name when the part is dropped: a journal names it.
    pub fn keep(&self) {
        if let Sink::File(part) = &self.sink {
            // A commit under way settles it anyway.
            let _ = part.state.compare_exchange(OPEN, SETTLED, Ordering::AcqRel, Ordering::Acquire);
        }
    }

    fn shown(&self) -> PathBuf {
        match &self.sink {
            Sink::File(part) => part.path(),
            Sink::Pipe(pipe) => pipe.name().into(),
            Sink::Null => PathBuf::from("/dev/null"),
        }
    }
}

impl PartFile {
    fn new(ops: Arc<dyn FileOps>, file: File, home: Home, place: Place) -> Self {
        Self {
            ops,
            file,
            home,
            place,
            state: AtomicU8::new(OPEN),
            poisoned: AtomicBool::new(false),
            charge: None,
        }
    }

    /// The directory in which we may rename it.
    fn dir(&self) -> Result<&File, VaultError> {
        match &self.home {
            Home::Directory(dir) => Ok(dir),
            Home::Lent(_) => Err(LentVault::misused()),
        }
    }

    fn path(&self) -> PathBuf {
        self.place.dir_path.join(&self.place.name)
    }

    fn check(&self) -> Result<(), VaultError> {
        match self.poisoned.load(Ordering::Acquire) {
            true => Err(VaultError::Poisoned(self.path())),
            false => Ok(()),
        }
    }

    /// Starts write-back when the bytes written pass a step, and waits for it when they pass the bound.
    fn smooth(&self, before: u64, after: u64) -> Result<(), VaultError> {
        if before / WRITEBACK_STEP == after / WRITEBACK_STEP {
            return Ok(());
        }
        let wait = before / WRITEBACK_BOUND != after / WRITEBACK_BOUND;
        match self.ops.start_writeback(&self.file, wait) {
            Ok(()) => Ok(()),
            // Pace only: file systems without it do without.
            Err(error) if is_unsupported(&error) || error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(self.poison("written back", error)),
        }
    }

    /// Bytes of the file that this one is about to replace, for the account that both are on.
    fn replaced_bytes(&self, dir: &File, if_exists: IfExists) -> u64 {
        if self.charge.is_none() || if_exists != IfExists::Replace {
            return 0;
        }
        let old = nix::sys::stat::fstatat(dir, self.place.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        old.map_or(0, |old| old.st_size.unsigned_abs())
    }

    fn sync_and_rename(
        &self,
        dir: &File,
        if_exists: IfExists,
        finish: Finish,
    ) -> Result<OsString, VaultError> {
        let attributes =
            self.file.set_permissions(Permissions::from_mode(finish.mode & 0o777)).and_then(|()| {
                finish
                    .modified
                    .map_or(Ok(()), |time| self.file.set_times(FileTimes::new().set_modified(time)))
            });
        match attributes {
            // FAT and some network mounts keep neither; the content matters more.
            Err(error) if is_unsupported(&error) || error.kind() == io::ErrorKind::PermissionDenied => {
                tracing::warn!(path = ?self.path(), %error, "mode and time could not be set");
            }
            attributes => attributes.map_err(|error| self.failed("given its mode and time", error))?,
        }
        self.ops.sync(&self.file).map_err(|error| self.poison("synced", error))?;
        match if_exists {
            IfExists::Replace => self.rename(dir, &self.place.name, true),
            IfExists::Fail | IfExists::Skip => self.rename(dir, &self.place.name, false),
            IfExists::Rename => self.rename_to_free_name(dir),
        }
    }

    fn rename_to_free_name(&self, dir: &File) -> Result<OsString, VaultError> {
        let name = &self.place.name;
        let candidates =
            std::iter::once(name.clone()).chain((1..=RENAME_NUMBER_MAX).map(|n| numbered(name, n)));
        for candidate in candidates {
            match self.rename(dir, &candidate, false) {
                Err(VaultError::Exists(_)) => {}
                outcome => return outcome,
            }
        }
        Err(VaultError::Exists(self.path()))
    }

    fn rename(&self, dir: &File, to: &OsStr, replace: bool) -> Result<OsString, VaultError> {
        let renamed = self.ops.rename(dir, &self.place.part_name, to, replace);
        match renamed.map_err(|error| (error.raw_os_error(), error)) {
            Ok(()) => Ok(to.to_os_string()),
            Err((Some(libc::EEXIST | libc::ENOTEMPTY), _)) if !replace => {
                Err(VaultError::Exists(self.path()))
            }
            Err((Some(libc::EISDIR | libc::ENOTEMPTY | libc::EEXIST), _)) => {
                Err(VaultError::IsDirectory(self.path()))
            }
            Err((_, error)) => Err(self.failed("renamed", error)),
        }
    }

    fn failed(&self, action: &'static str, error: io::Error) -> VaultError {
        VaultError::at(&self.path(), action, error)
    }

    fn poison(&self, action: &'static str, error: io::Error) -> VaultError {
        self.poisoned.store(true, Ordering::Release);
        VaultError::Io { path: self.path(), action, error }
    }

    fn no_space(&self, needed: u64) -> VaultError {
        VaultError::NoSpace { path: self.path(), needed, free: self.ops.free_bytes(&self.file).unwrap_or(0) }
    }
}

impl Drop for PartFile {
    fn drop(&mut self) {
        if *self.state.get_mut() == SETTLED {
            return;
        }
        let dir = match &self.home {
            Home::Directory(dir) => dir,
            Home::Lent(lender) => return lender.discard(&self.place),
        };
        if let Err(error) = self.ops.unlink(dir, &self.place.part_name) {
            tracing::warn!(part = ?Path::join(&self.place.dir_path, &self.place.part_name), %error, "an unfinished file could not be removed");
        }
    }
}

impl std::fmt::Debug for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Part").field("path", &self.shown()).field("size", &self.size).finish_non_exhaustive()
    }
}

/// No block left on the disk, or in the user's quota.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

/// The file system or kernel doesn't know the call.
pub(super) fn is_unsupported(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINVAL | libc::ESPIPE))
}
