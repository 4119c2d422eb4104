//! What a directory of a vault holds, as shown to a peer that may list it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, SFlag};

use super::path::is_part_name;

/// Entries that one listing returns; a larger directory is cut there and says so.
pub const LIST_ENTRIES_MAX: usize = 100_000;

/// The entries of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Sorted by name; unfinished files are left out.
    pub entries: Vec<Entry>,
    /// Whether there were more than [`LIST_ENTRIES_MAX`].
    pub is_cut: bool,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: OsString,
    /// What it is.
    pub kind: EntryKind,
    /// Its bytes, for a file.
    pub size: u64,
    /// When it was last modified.
    pub modified: SystemTime,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A link, pipe, socket or device: never followed, read or sent.
    Other,
}

/// Lists an open directory, following no link.
pub(super) fn list_directory(dir: &File) -> io::Result<Listing> {
    let mut found = BTreeMap::new();
    let mut is_cut = false;
    for entry in nix::dir::Dir::from_fd(dir.try_clone()?.into())?.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name == "." || name == ".." || is_part_name(name.as_bytes()) {
            continue;
        }
        if found.len() == LIST_ENTRIES_MAX {
            is_cut = true;
            break;
        }
        match nix::sys::stat::fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => found.insert(name.to_os_string(), stat),
            // Removed since it was listed.
            Err(Errno::ENOENT) => None,
            Err(error) => return Err(error.into()),
        };
    }
    let entries = found.into_iter().map(|(name, stat)| Entry {
        name,
        kind: kind_of(&stat),
        size: if kind_of(&stat) == EntryKind::File { stat.st_size.unsigned_abs() } else { 0 },
        modified: modified_of(&stat),
    });
    Ok(Listing { entries: entries.collect(), is_cut })
}

/// What a stat describes.
pub(super) fn kind_of(stat: &FileStat) -> EntryKind {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => EntryKind::File,
        SFlag::S_IFDIR => EntryKind::Directory,
        _ => EntryKind::Other,
    }
}

fn modified_of(stat: &FileStat) -> SystemTime {
    let nanoseconds = Duration::from_nanos(stat.st_mtime_nsec.unsigned_abs());
    let seconds = Duration::from_secs(stat.st_mtime.unsigned_abs());
    let whole = match stat.st_mtime {
        0.. => SystemTime::UNIX_EPOCH.checked_add(seconds),
        _ => SystemTime::UNIX_EPOCH.checked_sub(seconds),
    };
    whole.and_then(|time| time.checked_add(nanoseconds)).unwrap_or(SystemTime::UNIX_EPOCH)
}
