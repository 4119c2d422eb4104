//! Sources: every way in which a file can be missing, unreadable or change while it is being sent.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod storage_support;

use std::ffi::OsStr;
use std::fs::{File, FileTimes, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use storage_support::{as_ordinary_user, noise, set_mode};
use udpxd::storage::source::{Change, Source, SourceError, guard_thread};

fn file_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

fn writable(path: &Path) -> File {
    OpenOptions::new().write(true).open(path).unwrap()
}

fn change(source: &Source) -> Option<Change> {
    match source.verify_unchanged() {
        Ok(()) => None,
        Err(SourceError::Changed { change, .. }) => {
            assert!(source.is_changed() && source.slice(0, 0).is_none(), "a changed source gives nothing");
            Some(change)
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_file_reads_as_it_is() {
    let _guard = guard_thread().unwrap();
    for len in [0, 1, 4095, 4096, 4097, 3 << 20] {
        let bytes = noise(len);
        let (_dir, path) = file_of(&bytes);
        let source = Source::open(&path).unwrap();
        assert_eq!((source.size(), source.path()), (len as u64, path.as_path()));
        source.populate(0..u64::MAX).unwrap();
        source.populate(len as u64 / 2..len as u64).unwrap();
        assert_eq!(source.slice(0, len).unwrap(), bytes);
        assert_eq!(source.slice(len as u64, 0).unwrap(), b"");
        assert!(source.slice(len as u64, 1).is_none() && source.slice(0, len + 1).is_none());
        assert!(source.slice(u64::MAX, 2).is_none());
        assert!(source.verify_unchanged().is_ok() && !source.is_changed());
        assert_eq!(source.attributes().unwrap().mode, 0o644);
    }
}

#[test]
fn what_cannot_be_sent_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let missing = Source::open(&dir.path().join("a b\n")).unwrap_err();
    assert!(matches!(missing, SourceError::NotFound(_)));
    assert!(missing.to_string().contains(r#"/a b\n" does not exist; check the name"#), "{missing}");
    assert!(matches!(Source::open(dir.path()).unwrap_err(), SourceError::IsDirectory(_)));
    assert!(matches!(Source::open(&dir.path().join("x/y")).unwrap_err(), SourceError::NotFound(_)));
    assert!(matches!(Source::open(Path::new("/dev/null")).unwrap_err(), SourceError::NotRegular(_)));
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(Source::open(&fifo).unwrap_err(), SourceError::NotRegular(_)));
    let socket = dir.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(matches!(Source::open(&socket).unwrap_err(), SourceError::NotRegular(_)));
    let huge = dir.path().join("huge");
    if File::create(&huge).unwrap().set_len((1 << 46) + 1).is_ok() {
        assert!(matches!(Source::open(&huge).unwrap_err(), SourceError::TooLarge { .. }));
    }
}

#[test]
fn an_unreadable_file_says_so() {
    let (dir, path) = file_of(b"secret");
    set_mode(dir.path(), 0o755);
    set_mode(&path, 0o000);
    let error = as_ordinary_user(|| Source::open(&path).unwrap_err());
    assert!(matches!(error, SourceError::Unreadable(_)), "{error}");
}

#[test]
fn strange_names_are_fine() {
    let dir = tempfile::tempdir().unwrap();
    for name in [&b"with space"[..], b"new\nline", b"\xff\xfenot utf-8", b"-rf"] {
        let path = dir.path().join(OsStr::from_bytes(name));
        std::fs::write(&path, name).unwrap();
        assert_eq!(Source::open(&path).unwrap().slice(0, name.len()).unwrap(), name);
    }
}

#[test]
fn truncation_under_the_reader_gives_zeros_and_the_mark() {
    let _guard = guard_thread().unwrap();
    let bytes = vec![7; 1 << 20];
    let (_dir, path) = file_of(&bytes);
    let source = Source::open(&path).unwrap();
    let slice = source.slice(0, bytes.len()).unwrap();
    writable(&path).set_len(10_000).unwrap();
    // A slice that was handed out before the truncation is still being sealed.
    let sevens = slice.iter().filter(|&&byte| byte == 7).count();
    assert_eq!(sevens, 10_000);
    assert!(slice[12_288..].iter().all(|&byte| byte == 0));
    assert!(source.is_changed());
    assert!(source.slice(0, 1).is_none());
    assert_eq!(change(&source), Some(Change::Truncated));
    assert!(source.mark_changed().to_string().contains("was truncated while it was being sent"));
}

#[test]
fn truncation_and_regrowth_leave_the_mark() {
    let _guard = guard_thread().unwrap();
    let (_dir, path) = file_of(&[7; 65536]);
    let source = Source::open(&path).unwrap();
    let slice = source.slice(0, 65536).unwrap();
    let file = writable(&path);
    file.set_len(0).unwrap();
    assert_eq!(slice[5000], 0);
    file.write_all_at(&[7; 65536], 0).unwrap();
    assert!(source.is_changed() && source.slice(0, 1).is_none());
    assert_eq!(slice[5000], 0, "the replaced page stays");
}

#[test]
fn populating_a_truncated_file_is_an_error_not_a_signal() {
    let (_dir, path) = file_of(&[7; 65536]);
    let source = Source::open(&path).unwrap();
    writable(&path).set_len(100).unwrap();
    let error = source.populate(0..65536).unwrap_err();
    assert!(matches!(error, SourceError::Changed { change: Change::Truncated, .. }), "{error}");
    assert!(source.is_changed());
}

#[test]
fn every_change_is_told_apart() {
    let opened = || {
        let (dir, path) = file_of(&[7; 5000]);
        let source = Source::open(&path).unwrap();
        assert_eq!(change(&source), None);
        (dir, path, source)
    };
    let (_dir, path, source) = opened();
    OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    assert_eq!(change(&source), Some(Change::Grown));

    let (_dir, path, source) = opened();
    writable(&path).write_all_at(b"other", 10).unwrap();
    assert_eq!(change(&source), Some(Change::Rewritten));

    // The modification time put back: the change time tells.
    let (_dir, path, source) = opened();
    let before = std::fs::metadata(&path).unwrap().modified().unwrap();
    let file = writable(&path);
    file.write_all_at(b"other", 10).unwrap();
    file.set_times(FileTimes::new().set_modified(before)).unwrap();
    assert_eq!(change(&source), Some(Change::Rewritten));

    let (_dir, path, source) = opened();
    std::fs::remove_file(path).unwrap();
    assert_eq!(change(&source), Some(Change::Deleted));

    let (_dir, path) = file_of(b"");
    let source = Source::open(&path).unwrap();
    std::fs::write(&path, b"now").unwrap();
    assert_eq!(change(&source), Some(Change::Grown));
}

#[test]
fn a_descriptor_without_a_name_is_a_source() {
    let (_dir, path) = file_of(b"nameless");
    let file = File::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let source = Source::from_file(file, Path::new("(passed)")).unwrap();
    assert_eq!(change(&source), None);
    assert_eq!(source.slice(0, 8).unwrap(), b"nameless");
}

#[test]
fn a_generated_source_repeats_across_the_wrap() {
    let source = Source::generated(100 << 20, 42).unwrap();
    let period = 8 << 20;
    assert_eq!(source.slice(5, 1000), source.slice(5 + 3 * period, 1000));
    let across = source.slice(period - 300, 1 << 20).unwrap();
    assert_eq!(&across[..300], source.slice(period - 300, 300).unwrap());
    assert_eq!(&across[300..], source.slice(0, (1 << 20) - 300).unwrap());
    assert!(source.slice(0, (1 << 20) + 1).is_none());
    assert!(source.slice((100 << 20) - 1, 2).is_none());
    assert_ne!(source.slice(0, 64), Source::generated(64, 43).unwrap().slice(0, 64));
    source.populate(0..u64::MAX).unwrap();
    assert!(source.verify_unchanged().is_ok() && !source.is_changed());
}
