//! Parts that nobody writes any more: what a daemon left behind that was killed.
//!
//! Whoever writes a part holds a lock on it (flock(2)), which the kernel drops with the process. So a part that can
//! be locked is an orphan, whatever other daemons share the directory.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

use super::path::is_part_name;

/// Locks a new part for as long as its file is open. False if a search for orphans was faster and has removed it: in
/// between it looked like one.
#[must_use]
pub(super) fn claim(part: &File) -> bool {
    // Whoever searches holds the lock for a moment only.
    match part.lock().and_then(|()| part.metadata()) {
        Ok(metadata) => metadata.nlink() > 0,
        // A file system without locks has no orphans removed either.
        Err(error) => {
            tracing::debug!(%error, "a part could not be locked");
            true
        }
    }
}

/// Removes the orphaned parts beneath `root`, of which it looks at no more than [`ENTRIES_MAX`] entries; returns
/// those removed.
///
/// # Errors
/// If `root` itself cannot be read; what cannot be read beneath it is left alone.
pub fn remove_orphans(root: &Path) -> io::Result<Vec<PathBuf>> {
    search(root, DEPTH_MAX)
}

/// Removes the orphaned parts in one directory, as far as it can.
pub fn remove_orphans_in(directory: &Path) {
    match search(directory, 1) {
        Ok(removed) => tracing::debug!(?removed, "orphaned parts"),
        // Whoever writes there will be told.
        Err(error) => tracing::debug!(%error, ?directory, "no search for orphaned parts"),
    }
}

fn search(root: &Path, depth_max: usize) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    let mut open = vec![fs::read_dir(root)?];
    let mut seen = 0;
    while let Some(directory) = open.last_mut() {
        let Some(entry) = directory.next() else {
            open.pop();
            continue;
        };
        seen += 1;
        if seen > ENTRIES_MAX {
            tracing::warn!(?root, "not all of the directory was searched for unfinished files");
            break;
        }
        // The type is the entry's own: links are not followed.
        let Ok((entry, kind)) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind))) else {
            continue;
        };
        let path = entry.path();
        if kind.is_dir() && open.len() < depth_max {
            open.extend(fs::read_dir(&path));
        } else if kind.is_file() && is_part_name(entry.file_name().as_bytes()) && remove_orphan(&path) {
            removed.push(path);
        }
    }
    Ok(removed)
}

/// Removes a part unless somebody holds it, and holds it meanwhile: whoever has just created it finds out.
fn remove_orphan(path: &Path) -> bool {
    let part = OpenOptions::new().write(true).custom_flags(libc::O_NOFOLLOW).open(path);
    part.is_ok_and(|part| part.try_lock().is_ok() && fs::remove_file(path).is_ok())
}

/// Entries that one search looks at.
pub const ENTRIES_MAX: usize = 1_000_000;
/// Directories deep.
const DEPTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parts_that_nobody_holds_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        let [orphan, held] =
            ["0123456789abcdef", "fedcba9876543210"].map(|n| deep.join(format!(".udpx-{n}.part")));
        fs::write(&orphan, "half").unwrap();
        let writer = File::create(&held).unwrap();
        assert!(claim(&writer));
        for other in ["b.part", ".udpx-1.part", "udpx"] {
            fs::write(root.path().join(other), "kept").unwrap();
        }
        std::os::unix::fs::symlink("/", root.path().join("link")).unwrap();
        assert_eq!(remove_orphans(root.path()).unwrap(), [orphan]);
        drop(writer);
        assert_eq!(remove_orphans(root.path()).unwrap(), [held]);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 5);
        assert!(remove_orphans(&root.path().join("none")).is_err());
    }

    #[test]
    fn a_part_that_was_taken_for_an_orphan_is_not_claimed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join(".udpx-0123456789abcdef.part");
        let part = File::create(&path).unwrap();
        remove_orphans_in(root.path());
        assert!(!path.exists() && !claim(&part));
    }
}
