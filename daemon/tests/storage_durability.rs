//! The order of writes, syncs and renames, and what remains when a step fails or the power goes.
//!
//! A recording file layer logs every step. The log is replayed up to every point with everything dropped
//! that had not been synced: wherever the final name then exists, the content under it must be whole.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod storage_support;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use storage_support::{FINISH, names, noise, spec};
use udpxd::storage::fileops::{FileOps, LinuxFiles};
use udpxd::storage::part::{IfExists, Part, WRITEBACK_BOUND, WRITEBACK_STEP};
use udpxd::storage::path::RelPath;
use udpxd::storage::vault::{RootVault, Vault, VaultError};

/// One step; files are named by inode.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Create(u64, OsString),
    Write(u64, u64, Vec<u8>),
    Writeback(bool),
    Sync(u64),
    Rename(OsString, OsString),
    SyncDir,
    Unlink(OsString),
}

/// The call that shall fail.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    Write(i32),
    /// The n-th write is interrupted, the others are cut to 1000 bytes.
    Short,
    Sync(i32),
    SyncDir(i32),
    Rename(i32),
    Allocate(i32),
    Writeback(i32),
}

struct Recorder {
    log: Mutex<Vec<Step>>,
    fault: Mutex<Fault>,
    calls: AtomicUsize,
}

impl Recorder {
    fn new(fault: Fault) -> Arc<Self> {
        Arc::new(Self { log: Mutex::default(), fault: Mutex::new(fault), calls: AtomicUsize::new(0) })
    }

    fn record(&self, step: Step) {
        self.log.lock().unwrap().push(step);
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn steps(&self) -> Vec<Step> {
        self.log.lock().unwrap().clone()
    }
}

fn inode(file: &File) -> u64 {
    file.metadata().unwrap().ino()
}

fn fails<T>(errno: i32) -> io::Result<T> {
    Err(io::Error::from_raw_os_error(errno))
}

impl FileOps for Recorder {
    fn create(&self, dir: &File, name: &OsStr) -> io::Result<File> {
        let file = LinuxFiles.create(dir, name)?;
        self.record(Step::Create(inode(&file), name.to_os_string()));
        Ok(file)
    }

    fn allocate(&self, file: &File, size: u64) -> io::Result<()> {
        match self.fault() {
            Fault::Allocate(errno) => fails(errno),
            _ => LinuxFiles.allocate(file, size),
        }
    }

    fn set_len(&self, file: &File, size: u64) -> io::Result<()> {
        LinuxFiles.set_len(file, size)
    }

    fn free_bytes(&self, file: &File) -> io::Result<u64> {
        LinuxFiles.free_bytes(file)
    }

    fn write(&self, file: &File, offset: u64, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        let all: Vec<u8> = buffers.iter().flat_map(|buffer| buffer.iter().copied()).collect();
        let bytes = match self.fault() {
            Fault::Write(errno) => return fails(errno),
            Fault::Short if call % 3 == 1 => return fails(libc::EINTR),
            Fault::Short => &all[..all.len().min(1000)],
            _ => &all[..],
        };
        let written = LinuxFiles.write(file, offset, &[IoSlice::new(bytes)])?;
        self.record(Step::Write(inode(file), offset, bytes[..written].to_vec()));
        Ok(written)
    }

    fn start_writeback(&self, file: &File, wait: bool) -> io::Result<()> {
        self.record(Step::Writeback(wait));
        match self.fault() {
            Fault::Writeback(errno) => fails(errno),
            _ => LinuxFiles.start_writeback(file, wait),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        match self.fault() {
            Fault::Sync(errno) => fails(errno),
            _ => {
                LinuxFiles.sync(file)?;
                self.record(Step::Sync(inode(file)));
                Ok(())
            }
        }
    }

    fn rename(&self, dir: &File, from: &OsStr, to: &OsStr, replace: bool) -> io::Result<()> {
        match self.fault() {
            Fault::Rename(errno) => return fails(errno),
            _ => LinuxFiles.rename(dir, from, to, replace)?,
        }
        self.record(Step::Rename(from.into(), to.into()));
        Ok(())
    }

    fn sync_dir(&self, dir: &File) -> io::Result<()> {
        match self.fault() {
            Fault::SyncDir(errno) => fails(errno),
            _ => {
                LinuxFiles.sync_dir(dir)?;
                self.record(Step::SyncDir);
                Ok(())
            }
        }
    }

    fn unlink(&self, dir: &File, name: &OsStr) -> io::Result<()> {
        LinuxFiles.unlink(dir, name)?;
        self.record(Step::Unlink(name.into()));
        Ok(())
    }
}

fn rel(name: &str) -> RelPath {
    RelPath::parse(name).unwrap()
}

fn put(part: &Part, offset: u64, bytes: &[u8]) -> Result<u64, VaultError> {
    part.write(offset, &mut [IoSlice::new(bytes)])
}

fn place(fault: Fault) -> (tempfile::TempDir, Arc<Recorder>, RootVault) {
    let dir = tempfile::tempdir().unwrap();
    let recorder = Recorder::new(fault);
    let vault = RootVault::with_ops(dir.path(), recorder.clone()).unwrap();
    (dir, recorder, vault)
}

/// What is on the disk after a power cut behind `steps`: names and contents. Unsynced writes are lost; each
/// unsynced rename may or may not have reached the disk: `renames` says which of the two is replayed.
fn after_power_cut(steps: &[Step], renames: bool) -> BTreeMap<OsString, Vec<u8>> {
    let mut cached: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut synced: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    let mut names: BTreeMap<OsString, u64> = BTreeMap::new();
    let mut durable_names: BTreeMap<OsString, u64> = BTreeMap::new();
    for step in steps {
        match step {
            Step::Create(inode, name) => drop(names.insert(name.clone(), *inode)),
            Step::Write(inode, offset, bytes) => {
                let content = cached.entry(*inode).or_default();
                let end = *offset as usize + bytes.len();
                content.resize(content.len().max(end), 0);
                content[*offset as usize..end].copy_from_slice(bytes);
            }
            Step::Sync(inode) => drop(synced.insert(*inode, cached.get(inode).cloned().unwrap_or_default())),
            Step::Rename(from, to) => {
                let inode = names.remove(from).expect("the part is there");
                names.insert(to.clone(), inode);
            }
            Step::SyncDir => durable_names = names.clone(),
            Step::Unlink(name) => drop(names.remove(name)),
            Step::Writeback(_) => {}
        }
    }
    let visible = if renames { names } else { durable_names };
    visible.into_iter().map(|(name, inode)| (name, synced.get(&inode).cloned().unwrap_or_default())).collect()
}

#[test]
fn the_final_name_never_shows_a_torn_file() {
    for (policy, before) in [
        (IfExists::Replace, None),
        (IfExists::Fail, None),
        (IfExists::Rename, Some(b"older".to_vec())),
        (IfExists::Replace, Some(b"older".to_vec())),
    ] {
        let (dir, recorder, vault) = place(Fault::None);
        let mut prefix = Vec::new();
        if let Some(older) = &before {
            std::fs::write(dir.path().join("f"), older).unwrap();
            let inode = std::fs::metadata(dir.path().join("f")).unwrap().ino();
            prefix = vec![
                Step::Create(inode, "f".into()),
                Step::Write(inode, 0, older.clone()),
                Step::Sync(inode),
                Step::SyncDir,
            ];
        }
        let bytes = noise(40_000);
        let part = vault.create_part(&rel("f"), spec(40_000, policy)).unwrap();
        for start in [20_000, 0, 30_000, 10_000] {
            put(&part, start, &bytes[start as usize..start as usize + 10_000]).unwrap();
        }
        let path = vault.commit(&part, FINISH).unwrap();
        let name = path.file_name().unwrap();

        let steps = [prefix.clone(), recorder.steps()].concat();
        let mut seen = 0;
        for cut in prefix.len()..=steps.len() {
            for renames in [false, true] {
                let disk = after_power_cut(&steps[..cut], renames);
                match disk.get(name) {
                    Some(content) if *content == bytes => seen += 1,
                    Some(content) => assert_eq!(Some(content), before.as_ref(), "torn after step {cut}"),
                    None => assert!(before.is_none() || policy == IfExists::Rename),
                }
                if let Some(older) = before.as_ref().filter(|_| policy == IfExists::Rename) {
                    assert_eq!(disk.get(OsStr::new("f")), Some(older), "the older file stays");
                }
            }
        }
        assert!(seen >= 2, "in the end it is there");
        assert_eq!(after_power_cut(&steps, false).get(name), Some(&bytes), "COMPLETE means durable");
    }
}

#[test]
fn new_directories_are_durable_too() {
    let (_dir, recorder, vault) = place(Fault::None);
    let _part = vault.create_part(&rel("x/y/z"), spec(1, IfExists::Replace)).unwrap();
    assert_eq!(recorder.steps()[..2], [Step::SyncDir, Step::SyncDir], "one for each directory made");
}

#[test]
fn a_failed_fsync_is_final() {
    for errno in [libc::EIO, libc::ENOSPC] {
        let (dir, recorder, vault) = place(Fault::Sync(errno));
        let part = vault.create_part(&rel("f"), spec(5, IfExists::Replace)).unwrap();
        put(&part, 0, b"12345").unwrap();
        let error = vault.commit(&part, FINISH).unwrap_err();
        assert!(error.to_string().contains("could not be synced"), "{error}");
        // The disk recovers, and an fsync would succeed now: it must not be asked.
        *recorder.fault.lock().unwrap() = Fault::None;
        let calls = recorder.calls.load(Ordering::SeqCst);
        assert!(part.is_poisoned());
        assert!(matches!(vault.commit(&part, FINISH), Err(VaultError::Poisoned(_))));
        assert!(matches!(put(&part, 0, b"1"), Err(VaultError::Poisoned(_))));
        assert!(matches!(part.read_at(0, &mut [0; 1]), Err(VaultError::Poisoned(_))));
        assert_eq!(recorder.calls.load(Ordering::SeqCst), calls);
        drop(part);
        assert!(names(dir.path()).is_empty());
    }
}

#[test]
fn a_failed_directory_sync_is_not_success() {
    let (dir, _recorder, vault) = place(Fault::SyncDir(libc::EIO));
    let part = vault.create_part(&rel("f"), spec(5, IfExists::Replace)).unwrap();
    put(&part, 0, b"12345").unwrap();
    let error = vault.commit(&part, FINISH).unwrap_err();
    assert!(matches!(error, VaultError::NotDurable { .. }), "{error}");
    assert!(vault.commit(&part, FINISH).is_err());
    drop(part);
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), b"12345", "whole, and under its name");
}

#[test]
fn a_failed_write_poisons_but_a_full_disk_does_not() {
    let (dir, recorder, vault) = place(Fault::Write(libc::EIO));
    let part = vault.create_part(&rel("f"), spec(5, IfExists::Replace)).unwrap();
    assert!(matches!(put(&part, 0, b"12345"), Err(VaultError::Io { .. })));
    assert!(part.is_poisoned());
    drop(part);

    *recorder.fault.lock().unwrap() = Fault::Write(libc::EDQUOT);
    let part = vault.create_part(&rel("f"), spec(5, IfExists::Replace)).unwrap();
    assert!(matches!(put(&part, 0, b"12345"), Err(VaultError::NoSpace { needed: 5, .. })));
    *recorder.fault.lock().unwrap() = Fault::None;
    put(&part, 0, b"12345").unwrap();
    assert!(vault.commit(&part, FINISH).is_ok());
    assert_eq!(names(dir.path()), [r#""f""#]);
}

#[test]
fn short_and_interrupted_writes_are_continued() {
    let (dir, _recorder, vault) = place(Fault::Short);
    let bytes = noise(12_345);
    let part = vault.create_part(&rel("f"), spec(12_345, IfExists::Replace)).unwrap();
    let (a, b) = bytes.split_at(2_500);
    part.write(0, &mut [IoSlice::new(a), IoSlice::new(b)]).unwrap();
    vault.commit(&part, FINISH).unwrap();
    assert_eq!(std::fs::read(dir.path().join("f")).unwrap(), bytes);
}

#[test]
fn a_failed_rename_leaves_nothing_behind() {
    let (dir, _recorder, vault) = place(Fault::Rename(libc::EIO));
    let part = vault.create_part(&rel("f"), spec(0, IfExists::Replace)).unwrap();
    assert!(matches!(vault.commit(&part, FINISH), Err(VaultError::Io { .. })));
    drop(part);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn without_fallocate_the_file_is_sized() {
    let (_dir, _recorder, vault) = place(Fault::Allocate(libc::EOPNOTSUPP));
    let part = vault.create_part(&rel("f"), spec(1 << 20, IfExists::Replace)).unwrap();
    assert_eq!(std::fs::metadata(part.part_path().unwrap()).unwrap().len(), 1 << 20);
    let too_much = vault.create_part(&rel("f"), spec(1 << 45, IfExists::Replace)).unwrap_err();
    assert!(matches!(too_much, VaultError::NoSpace { .. }), "{too_much}");

    let (dir, _recorder, vault) = place(Fault::Allocate(libc::ENOSPC));
    let error = vault.create_part(&rel("f"), spec(1 << 20, IfExists::Replace)).unwrap_err();
    assert!(matches!(error, VaultError::NoSpace { needed: 0x10_0000, .. }), "{error}");
    let (other, _recorder, vault) = place(Fault::Allocate(libc::EFBIG));
    let error = vault.create_part(&rel("f"), spec(1 << 20, IfExists::Replace)).unwrap_err();
    assert!(matches!(error, VaultError::TooLarge { .. }), "{error}");
    assert!(names(dir.path()).is_empty() && names(other.path()).is_empty());
}

#[test]
fn write_back_starts_early_and_its_failure_counts() {
    let (_dir, recorder, vault) = place(Fault::None);
    let unknown = udpxd::storage::vault::PartSpec { size: None, ..spec(0, IfExists::Replace) };
    let part = vault.create_part(&rel("f"), unknown).unwrap();
    let step = vec![1; WRITEBACK_STEP as usize / 2];
    // The same bytes over and over: the count is of bytes written.
    for _ in 0..2 * WRITEBACK_BOUND / WRITEBACK_STEP {
        put(&part, 0, &step).unwrap();
    }
    let kicks: Vec<Step> =
        recorder.steps().into_iter().filter(|step| matches!(step, Step::Writeback(_))).collect();
    assert_eq!(kicks.len() as u64, WRITEBACK_BOUND / WRITEBACK_STEP);
    assert_eq!(kicks.iter().filter(|step| **step == Step::Writeback(true)).count(), 1);
    *recorder.fault.lock().unwrap() = Fault::Writeback(libc::EIO);
    put(&part, 0, &step).unwrap();
    assert!(put(&part, 0, &step).is_err() && part.is_poisoned());

    let (_dir, _recorder, vault) = place(Fault::Writeback(libc::ENOSYS));
    let part = vault.create_part(&rel("f"), unknown).unwrap();
    put(&part, 0, &vec![1; WRITEBACK_STEP as usize]).unwrap();
    assert!(!part.is_poisoned());
}
