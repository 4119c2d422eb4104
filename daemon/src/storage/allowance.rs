//! How much a place may hold: a quota, and how much free space its file system is to keep.
//!
//! ```text
//! part created ─► charged with its size ─► (grows, if nobody knew its size) ─► committed: used
//!                                                                          └─► dropped: given back
//! ```
//!
//! What lies in the place is counted by looking at it, when a part is first created there, and again when an answer of
//! "full" rests on an old count: people remove files behind our back. In between what we commit is added. So there is no
//! record that could be wrong after a crash, and no account for each peer in a place that several use.

use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::fcntl::{AtFlags, OFlag};
use nix::sys::stat::fstatat;

use super::beneath::{NO_LINKS, open_beneath};
use super::fileops::FileOps;
use super::listing::{EntryKind, kind_of};
use super::path::is_part_name;
use super::vault::VaultError;

/// What a place may hold. Shared by all vaults that were opened there, one after the other.
#[derive(Debug, Default)]
pub struct Allowance {
    terms: Mutex<Terms>,
    state: Mutex<State>,
}

/// What is allowed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Bytes of files that may lie in the place; `None` for any number.
    pub quota: Option<u64>,
    /// Bytes of its file system that are to stay free for others.
    pub keep_free: u64,
    /// What raises the quota, on this machine: a command, or a line of the configuration.
    pub remedy: String,
}

#[derive(Debug, Default)]
struct State {
    /// Bytes of files, and when they were counted.
    counted: Option<(u64, Instant)>,
    /// Bytes of parts.
    charged: u64,
}

impl Allowance {
    /// Sets what is allowed from now on. What lies there already stays.
    pub fn set(&self, terms: Terms) {
        *lock(&self.terms) = terms;
    }

    /// Bytes that lie here, parts included, as far as they have been counted.
    pub fn used(&self) -> Option<u64> {
        // While somebody counts there is no waiting for it.
        let state = self.state.try_lock().ok()?;
        state.counted.map(|(bytes, _)| bytes + state.charged)
    }

    /// Takes `bytes` more for the file `shown`.
    fn charge(&self, root: &File, shown: &Path, bytes: u64) -> Result<(), VaultError> {
        let Terms { quota, remedy, .. } = lock(&self.terms).clone();
        let mut state = lock(&self.state);
        if let Some(quota) = quota {
            let full = |state: &State| {
                let used = state.counted.map_or(0, |(bytes, _)| bytes).saturating_add(state.charged);
                (used.saturating_add(bytes) > quota).then_some(used)
            };
            let age = state.counted.map(|(_, at)| at.elapsed());
            let old = age.is_none_or(|age| age >= COUNT_EVERY || full(&state).is_some() && age >= BELIEVED);
            if old {
                let counted = count(root).map_err(|error| VaultError::at(shown, "counted", error))?;
                state.counted = Some((counted, Instant::now()));
            }
            if let Some(used) = full(&state) {
                return Err(VaultError::OverQuota { path: shown.into(), needed: bytes, used, quota, remedy });
            }
        }
        state.charged = state.charged.saturating_add(bytes);
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        let mut state = lock(&self.state);
        state.charged = state.charged.saturating_sub(bytes);
    }

    /// A part of `bytes` has become a file, in place of one of `replaced` bytes.
    fn settle(&self, bytes: u64, replaced: u64) {
        let mut state = lock(&self.state);
        state.charged = state.charged.saturating_sub(bytes);
        if let Some((counted, _)) = &mut state.counted {
            *counted = counted.saturating_add(bytes).saturating_sub(replaced);
        }
    }

    /// Refuses to take `bytes` more of the file system of `file`, where that would not leave enough.
    fn check_free(&self, ops: &dyn FileOps, file: &File, shown: &Path, bytes: u64) -> Result<(), VaultError> {
        let keep = lock(&self.terms).keep_free;
        if keep == 0 {
            return Ok(());
        }
        let free = ops.free_bytes(file).map_err(|error| VaultError::at(shown, "examined", error))?;
        match free.checked_sub(bytes) {
            Some(left) if left >= keep => Ok(()),
            _ => Err(VaultError::BelowFloor { path: shown.into(), needed: bytes, free, keep }),
        }
    }
}

/// What one part takes of an allowance; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Charge {
    allowance: Arc<Allowance>,
    /// The directory that is counted.
    root: Arc<File>,
    shown: PathBuf,
    bytes: AtomicU64,
    /// The file's space is its own already.
    reserved: bool,
}

impl Charge {
    /// For a part that is to become `shown` beneath `root`; of `bytes` bytes, or 0 while nobody knows.
    pub(super) fn new(
        allowance: Arc<Allowance>,
        root: Arc<File>,
        shown: PathBuf,
        ops: &dyn FileOps,
        bytes: u64,
    ) -> Result<Self, VaultError> {
        allowance.check_free(ops, &root, &shown, bytes)?;
        allowance.charge(&root, &shown, bytes)?;
        Ok(Self { allowance, root, shown, bytes: AtomicU64::new(bytes), reserved: bytes > 0 })
    }

    /// The part is about to be written up to `end`.
    pub(super) fn grow(&self, ops: &dyn FileOps, file: &File, end: u64) -> Result<(), VaultError> {
        if self.reserved {
            return Ok(());
        }
        let before = self.bytes.fetch_max(end, Ordering::AcqRel);
        let more = end.saturating_sub(before);
        let allowed =
            if more == 0 { Ok(()) } else { self.allowance.check_free(ops, file, &self.shown, more) };
        let charged = allowed.and_then(|()| self.allowance.charge(&self.root, &self.shown, more));
        if charged.is_err() {
            // It is over for this part; nobody writes behind that.
            self.bytes.fetch_sub(more, Ordering::AcqRel);
        }
        charged
    }

    /// The part is a file now, in place of one of `replaced` bytes.
    pub(super) fn settle(&self, replaced: u64) {
        self.allowance.settle(self.bytes.swap(0, Ordering::AcqRel), replaced);
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.allowance.give_back(*self.bytes.get_mut());
    }
}

/// Bytes of the regular files beneath a directory, parts left out; no link is followed. Of more than [`ENTRIES_MAX`]
/// entries it counts the first ones.
fn count(root: &File) -> io::Result<u64> {
    let mut bytes = 0u64;
    let mut seen = 0;
    // Directories whose entries are still to be looked at, by their paths: open ones would be too many.
    let mut pending = vec![PathBuf::from(".")];
    while let Some(path) = pending.pop() {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        let directory = match open_beneath(root, &path, flags, nix::sys::stat::Mode::empty(), NO_LINKS) {
            Ok(directory) => directory,
            // It has just gone, or is nothing of ours.
            Err(_) if seen > 0 => continue,
            Err(error) => return Err(error),
        };
        for entry in Dir::from_fd(directory.try_clone()?.into())?.iter() {
            let entry = entry?;
            let name = std::ffi::OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." || is_part_name(name.as_bytes()) {
                continue;
            }
            seen += 1;
            if seen > ENTRIES_MAX {
                tracing::warn!(
                    "a place has too many files for its quota to be exact; the first {ENTRIES_MAX} count"
                );
                return Ok(bytes);
            }
            let Ok(stat) = fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) else { continue };
            match kind_of(&stat) {
                EntryKind::File => bytes = bytes.saturating_add(stat.st_size.unsigned_abs()),
                EntryKind::Directory => pending.push(path.join(name)),
                EntryKind::Other => {}
            }
        }
    }
    Ok(bytes)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Numbers are right or counted anew; whoever panicked has left none half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A count is made anew after this, whatever it says.
const COUNT_EVERY: Duration = Duration::from_secs(600);
/// A count that says "full" is believed for this long.
const BELIEVED: Duration = Duration::from_secs(1);
/// Entries that are counted: about a second's work.
const ENTRIES_MAX: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::super::fileops::LinuxFiles;
    use super::*;

    fn place(quota: Option<u64>, keep_free: u64) -> (tempfile::TempDir, Arc<Allowance>, Arc<File>) {
        let directory = tempfile::tempdir().unwrap();
        let allowance = Arc::new(Allowance::default());
        allowance.set(Terms { quota, keep_free, remedy: "raise it".into() });
        let root = Arc::new(File::open(directory.path()).unwrap());
        (directory, allowance, root)
    }

    fn charge(allowance: &Arc<Allowance>, root: &Arc<File>, bytes: u64) -> Result<Charge, VaultError> {
        Charge::new(allowance.clone(), root.clone(), "x".into(), &LinuxFiles, bytes)
    }

    #[test]
    fn files_and_parts_count_and_what_is_dropped_does_not() {
        let (directory, allowance, root) = place(Some(1000), 0);
        std::fs::create_dir(directory.path().join("in")).unwrap();
        std::fs::write(directory.path().join("in/a"), [0; 300]).unwrap();
        std::fs::write(directory.path().join(".udpx-0123456789abcdef.part"), [0; 5000]).unwrap();
        std::os::unix::fs::symlink("/", directory.path().join("link")).unwrap();
        let first = charge(&allowance, &root, 500).unwrap();
        assert_eq!(allowance.used(), Some(800));
        let refused = charge(&allowance, &root, 201).unwrap_err();
        assert!(
            matches!(refused, VaultError::OverQuota { needed: 201, used: 800, quota: 1000, .. }),
            "{refused}"
        );
        drop(first);
        let second = charge(&allowance, &root, 700).unwrap();
        second.settle(300);
        drop(second);
        assert_eq!(allowance.used(), Some(700));
        // Another quota holds from now on.
        allowance.set(Terms { quota: Some(10), ..Terms::default() });
        assert!(charge(&allowance, &root, 1).is_err());
    }

    #[test]
    fn a_part_of_unknown_size_is_stopped_where_it_goes_too_far() {
        let (_directory, allowance, root) = place(Some(1000), 0);
        let growing = charge(&allowance, &root, 0).unwrap();
        growing.grow(&LinuxFiles, &root, 600).unwrap();
        growing.grow(&LinuxFiles, &root, 400).unwrap();
        assert_eq!(allowance.used(), Some(600));
        assert!(growing.grow(&LinuxFiles, &root, 1001).is_err());
        growing.grow(&LinuxFiles, &root, 1000).unwrap();
        drop(growing);
        assert_eq!(allowance.used(), Some(0));
    }

    #[test]
    fn free_space_that_is_to_stay_stays() {
        let (_directory, allowance, root) = place(None, u64::MAX);
        assert!(matches!(charge(&allowance, &root, 0), Err(VaultError::BelowFloor { .. })));
        allowance.set(Terms::default());
        let growing = charge(&allowance, &root, 0).unwrap();
        allowance.set(Terms { keep_free: u64::MAX / 2, ..Terms::default() });
        assert!(matches!(growing.grow(&LinuxFiles, &root, 1), Err(VaultError::BelowFloor { .. })));
        // One whose space was reserved takes nothing any more.
        allowance.set(Terms::default());
        let reserved = charge(&allowance, &root, 5).unwrap();
        allowance.set(Terms { keep_free: u64::MAX / 2, ..Terms::default() });
        reserved.grow(&LinuxFiles, &root, 5).unwrap();
    }

    #[test]
    fn a_full_place_is_counted_again_when_somebody_has_made_room() {
        let (directory, allowance, root) = place(Some(100), 0);
        std::fs::write(directory.path().join("a"), [0; 100]).unwrap();
        assert!(charge(&allowance, &root, 1).is_err());
        std::fs::remove_file(directory.path().join("a")).unwrap();
        let begin = Instant::now();
        while charge(&allowance, &root, 1).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}
