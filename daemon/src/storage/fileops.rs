//! The system calls behind a part, as a seam.
//!
//! Durability is a matter of order: write, fsync, rename, fsync of the directory. The [`FileOps`] of
//! production, [`LinuxFiles`], are the bare calls; tests wrap them to let one fail, or to record the order
//! and replay it with everything lost that was not synced. Retrying, short writes and what an error means
//! stand above, in [`super::part`] and [`super::vault`].

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IoSlice};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, OFlag, RenameFlags};
use nix::sys::stat::Mode;
use nix::unistd::UnlinkatFlags;

use super::beneath::{NO_LINKS, open_beneath};

/// What a part needs from the system. `dir` is always an open directory and every name a single component.
pub trait FileOps: Send + Sync {
    /// Creates the file `name`, which must not exist, with mode 0600, open for reading and writing.
    fn create(&self, dir: &File, name: &OsStr) -> io::Result<File>;
    /// Reserves `size` bytes on disk and makes the file that long (fallocate).
    fn allocate(&self, file: &File, size: u64) -> io::Result<()>;
    /// Makes the file `size` bytes long without reserving anything (ftruncate).
    fn set_len(&self, file: &File, size: u64) -> io::Result<()>;
    /// Whether the file's system keeps its pages in memory only: to reserve one is as much work as to write it.
    fn is_memory(&self, _file: &File) -> bool {
        false
    }
    /// Bytes free for this user on the file system of `file` (statvfs).
    fn free_bytes(&self, file: &File) -> io::Result<u64>;
    /// Writes at `offset` and returns how many bytes it took, maybe fewer than given (pwritev).
    fn write(&self, file: &File, offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<usize>;
    /// Starts writing back what is dirty, after waiting, with `wait`, for what is on its way (sync_file_range).
    fn start_writeback(&self, file: &File, wait: bool) -> io::Result<()>;
    /// Makes the content of a file durable (fsync).
    fn sync(&self, file: &File) -> io::Result<()>;
    /// Renames within a directory; without `replace`, `AlreadyExists` if the new name is taken (renameat2).
    fn rename(&self, dir: &File, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()>;
    /// Makes the names in a directory durable (fsync).
    fn sync_dir(&self, dir: &File) -> io::Result<()>;
    /// Removes a file.
    fn unlink(&self, dir: &File, name: &OsStr) -> io::Result<()>;
}

/// The real calls.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxFiles;

impl FileOps for LinuxFiles {
    fn create(&self, dir: &File, name: &OsStr) -> io::Result<File> {
        let flags = OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL;
        open_beneath(dir, Path::new(name), flags, Mode::from_bits_truncate(0o600), NO_LINKS)
    }

    fn allocate(&self, file: &File, size: u64) -> io::Result<()> {
        Ok(nix::fcntl::fallocate(
            file,
            FallocateFlags::empty(),
            0,
            size.try_into().map_err(|_| Errno::EFBIG)?,
        )?)
    }

    fn set_len(&self, file: &File, size: u64) -> io::Result<()> {
        file.set_len(size)
    }

    fn is_memory(&self, file: &File) -> bool {
        nix::sys::statfs::fstatfs(file)
            .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::TMPFS_MAGIC)
    }

    fn free_bytes(&self, file: &File) -> io::Result<u64> {
        let stat = nix::sys::statvfs::fstatvfs(file)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }

    fn write(&self, file: &File, offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(nix::sys::uio::pwritev(file, buffers, offset.try_into().map_err(|_| Errno::EFBIG)?)?)
    }

    fn start_writeback(&self, file: &File, wait: bool) -> io::Result<()> {
        super::source::writeback::start(file, wait)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, dir: &File, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()> {
        if replace {
            return Ok(nix::fcntl::renameat(dir, from, dir, to)?);
        }
        match nix::fcntl::renameat2(dir, from, dir, to, RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EINVAL | Errno::ENOSYS) => rename_by_link(dir, from, to),
            renamed => Ok(renamed?),
        }
    }

    fn sync_dir(&self, dir: &File) -> io::Result<()> {
        dir.sync_all()
    }

    fn unlink(&self, dir: &File, name: &OsStr) -> io::Result<()> {
        Ok(nix::unistd::unlinkat(dir, name, UnlinkatFlags::NoRemoveDir)?)
    }
}

/// Renames without replacing where the file system knows no RENAME_NOREPLACE: a hard link doesn't replace
/// either, only both names exist for a moment.
fn rename_by_link(dir: &File, from: &OsStr, to: &OsStr) -> io::Result<()> {
    nix::unistd::linkat(dir, from, dir, to, AtFlags::empty())?;
    Ok(nix::unistd::unlinkat(dir, from, UnlinkatFlags::NoRemoveDir)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_way_of_renaming_replaces_unasked() {
        let temp = tempfile::tempdir().unwrap();
        let dir = File::open(temp.path()).unwrap();
        let (from, to, free) = (OsStr::new("from"), OsStr::new("to"), OsStr::new("free"));
        for by_link in [false, true] {
            let rename = |to| match by_link {
                true => rename_by_link(&dir, from, to),
                false => LinuxFiles.rename(&dir, from, to, false),
            };
            std::fs::write(temp.path().join(from), b"new").unwrap();
            std::fs::write(temp.path().join(to), b"old").unwrap();
            assert_eq!(rename(to).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(std::fs::read(temp.path().join(to)).unwrap(), b"old");
            rename(free).unwrap();
            assert_eq!(std::fs::read(temp.path().join(free)).unwrap(), b"new");
            assert!(!temp.path().join(from).exists());
            std::fs::remove_file(temp.path().join(free)).unwrap();
        }
    }

    #[test]
    fn a_created_file_is_new_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let dir = File::open(temp.path()).unwrap();
        let file = LinuxFiles.create(&dir, OsStr::new("f")).unwrap();
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(
            LinuxFiles.create(&dir, OsStr::new("f")).unwrap_err().kind(),
            io::ErrorKind::AlreadyExists
        );
        assert!(LinuxFiles.free_bytes(&file).unwrap() > 0);
    }
}
