//! Vaults and parts on a real file system: names, places, attributes, full disks.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod storage_support;

use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use storage_support::{FINISH, SmallDisk, as_ordinary_user, have_root, names, noise, set_mode, spec};
use udpxd::storage::listing::EntryKind;
use udpxd::storage::part::{Finish, IfExists, Part};
use udpxd::storage::path::RelPath;
use udpxd::storage::source::{Loading, SourceError};
use udpxd::storage::vault::{NullVault, RootVault, Vault, VaultError};

fn vault() -> (tempfile::TempDir, RootVault) {
    let dir = tempfile::tempdir().unwrap();
    let vault = RootVault::open(dir.path()).unwrap();
    (dir, vault)
}

fn rel(name: &str) -> RelPath {
    RelPath::parse(name).unwrap()
}

fn put(part: &Part, offset: u64, bytes: &[u8]) -> Result<u64, VaultError> {
    part.write(offset, &mut [IoSlice::new(bytes)])
}

/// Receives one small file.
fn store(
    vault: &RootVault,
    name: &str,
    bytes: &[u8],
    if_exists: IfExists,
) -> Result<std::path::PathBuf, VaultError> {
    let part = vault.create_part(&rel(name), spec(bytes.len() as u64, if_exists))?;
    put(&part, 0, bytes)?;
    vault.commit(&part, FINISH)
}

#[test]
fn a_part_becomes_the_file() {
    let (dir, vault) = vault();
    let bytes = noise(3_000_000);
    let part = vault.create_part(&rel("new/deep dir/file"), spec(3_000_000, IfExists::Fail)).unwrap();
    let deep = dir.path().join("new/deep dir");
    assert_eq!(names(&deep), [r#"".udpx-0123456789abcdef.part""#]);
    let created = std::fs::metadata(part.part_path().unwrap()).unwrap();
    assert_eq!((created.mode() & 0o7777, created.len()), (0o600, 3_000_000));
    assert!(created.blocks() * 512 >= 3_000_000, "the space is reserved");
    let (left, right) = bytes.split_at(1_234_567);
    put(&part, 1_234_567, right).unwrap();
    let halves = left.split_at(5);
    part.write(0, &mut [IoSlice::new(halves.0), IoSlice::new(b""), IoSlice::new(halves.1)]).unwrap();
    let mut back = vec![0; 1000];
    part.read_at(1_234_000, &mut back).unwrap();
    assert_eq!(back, bytes[1_234_000..1_235_000]);
    assert_eq!((part.written_bytes(), part.reread_bytes()), (3_000_000, 1000));

    let modified = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    let path = vault.commit(&part, Finish { mode: 0o6755, modified: Some(modified) }).unwrap();
    assert_eq!(path, deep.join("file"));
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o755, "set-id bits are stripped");
    assert_eq!(metadata.modified().unwrap(), modified);
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    assert!(matches!(vault.commit(&part, FINISH), Err(VaultError::Finished(_))));
    drop(part);
    assert_eq!(names(&deep), [r#""file""#]);
}

#[test]
fn an_abandoned_part_is_removed_unless_kept() {
    let (dir, vault) = vault();
    drop(vault.create_part(&rel("a"), spec(10, IfExists::Replace)).unwrap());
    assert!(names(dir.path()).is_empty());
    let part = vault.create_part(&rel("a"), spec(10, IfExists::Replace)).unwrap();
    part.keep();
    drop(part);
    assert_eq!(names(dir.path()).len(), 1);
    // The same random bits again: the next name is taken.
    let part = vault.create_part(&rel("a"), spec(10, IfExists::Replace)).unwrap();
    assert!(part.part_path().unwrap().ends_with(".udpx-0123456789abcdf0.part"));
}

#[test]
fn a_taken_name_is_treated_as_asked() {
    let (dir, vault) = vault();
    let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
    store(&vault, "f.txt", b"first", IfExists::Fail).unwrap();
    for policy in [IfExists::Fail, IfExists::Skip] {
        assert!(matches!(store(&vault, "f.txt", b"x", policy), Err(VaultError::Exists(_))));
        // The name is taken while the data flows.
        let part = vault.create_part(&rel("late"), spec(1, policy)).unwrap();
        std::fs::write(dir.path().join("late"), b"someone else").unwrap();
        assert!(matches!(vault.commit(&part, FINISH), Err(VaultError::Exists(_))));
        drop(part);
        assert_eq!(read("late"), b"someone else");
        std::fs::remove_file(dir.path().join("late")).unwrap();
    }
    store(&vault, "f.txt", b"second", IfExists::Replace).unwrap();
    assert_eq!(read("f.txt"), b"second");
    let renamed = store(&vault, "f.txt", b"third", IfExists::Rename).unwrap();
    assert_eq!(renamed, dir.path().join("f (1).txt"));
    assert!(store(&vault, "f.txt", b"fourth", IfExists::Rename).unwrap().ends_with("f (2).txt"));
    assert_eq!((read("f.txt"), read("f (1).txt")), (b"second".to_vec(), b"third".to_vec()));
    assert_eq!(names(dir.path()), [r#""f (1).txt""#, r#""f (2).txt""#, r#""f.txt""#]);
}

#[test]
fn strange_names_are_stored() {
    let (dir, vault) = vault();
    for name in [&b"with space"[..], b"new\nline/\xff\xfe", b"-rf *"] {
        let path = RelPath::parse(OsStr::from_bytes(name)).unwrap();
        let part = vault.create_part(&path, spec(0, IfExists::Fail)).unwrap();
        assert_eq!(vault.commit(&part, FINISH).unwrap(), dir.path().join(OsStr::from_bytes(name)));
        assert_eq!(vault.open_source(&path, Loading::Mapped).unwrap().size(), 0);
    }
}

#[test]
fn a_directory_or_file_in_the_way_is_refused() {
    let (dir, vault) = vault();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::write(dir.path().join("file"), b"").unwrap();
    for policy in [IfExists::Replace, IfExists::Fail, IfExists::Rename] {
        let error = vault.create_part(&rel("sub"), spec(1, policy)).unwrap_err();
        assert!(matches!(error, VaultError::IsDirectory(_)), "{error}");
    }
    let error = vault.create_part(&rel("file/below"), spec(1, IfExists::Replace)).unwrap_err();
    assert!(matches!(error, VaultError::NotDirectory(_)), "{error}");
    let error = vault.create_part(&rel("file/below/more"), spec(1, IfExists::Replace)).unwrap_err();
    assert!(matches!(error, VaultError::NotDirectory(_)), "{error}");
    // A directory that appears while the data flows.
    let part = vault.create_part(&rel("late"), spec(1, IfExists::Replace)).unwrap();
    std::fs::create_dir(dir.path().join("late")).unwrap();
    assert!(matches!(vault.commit(&part, FINISH), Err(VaultError::IsDirectory(_))));
    drop(part);
    assert_eq!(names(dir.path()), [r#""file""#, r#""late""#, r#""sub""#]);
    assert!(matches!(RootVault::open(&dir.path().join("nowhere")), Err(VaultError::NotFound(_))));
    assert!(matches!(RootVault::open(&dir.path().join("file")), Err(VaultError::NotDirectory(_))));
}

#[test]
fn links_never_lead_out() {
    let (dir, vault) = vault();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    std::fs::create_dir(dir.path().join("inside")).unwrap();
    std::fs::write(dir.path().join("inside/plain"), b"plain").unwrap();
    symlink(outside.path(), dir.path().join("out")).unwrap();
    symlink("..", dir.path().join("up")).unwrap();
    symlink("inside", dir.path().join("alias")).unwrap();
    symlink(outside.path().join("secret"), dir.path().join("target")).unwrap();
    symlink("/proc/self/root", dir.path().join("magic")).unwrap();

    for name in ["out/secret", "up/etc/passwd", "target", "magic/etc/passwd"] {
        assert!(vault.open_source(&rel(name), Loading::Mapped).is_err(), "{name}");
    }
    assert_eq!(vault.open_source(&rel("alias/plain"), Loading::Mapped).unwrap().size(), 5);
    for name in ["out/new", "out/new/deeper", "up/new", "alias/new", "magic/tmp/new"] {
        let error = vault.create_part(&rel(name), spec(1, IfExists::Replace)).unwrap_err();
        assert!(matches!(error, VaultError::Outside(_) | VaultError::NotDirectory(_)), "{name}: {error}");
    }
    // A link under the final name is replaced itself; what it points to is untouched.
    store(&vault, "target", b"mine", IfExists::Replace).unwrap();
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(std::fs::read(dir.path().join("target")).unwrap(), b"mine");
    assert_eq!(names(outside.path()), [r#""secret""#]);
}

#[test]
fn what_is_not_a_file_is_not_opened() {
    let (dir, vault) = vault();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    assert!(matches!(vault.open_source(&rel("sub"), Loading::Mapped), Err(SourceError::IsDirectory(_))));
    assert!(matches!(vault.open_source(&rel("none"), Loading::Mapped), Err(SourceError::NotFound(_))));
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(vault.open_source(&rel("fifo"), Loading::Mapped), Err(SourceError::NotRegular(_))));
}

#[test]
fn a_directory_without_write_permission_is_refused() {
    let (dir, vault) = vault();
    set_mode(dir.path(), 0o555);
    for name in ["file", "new/file"] {
        let error =
            as_ordinary_user(|| vault.create_part(&rel(name), spec(1, IfExists::Replace)).unwrap_err());
        assert!(matches!(error, VaultError::NotWritable(_)), "{error}");
    }
    set_mode(dir.path(), 0o755);
}

#[test]
fn a_full_disk_shows_before_data_flows() {
    let test = "a_full_disk_shows_before_data_flows";
    if !have_root(test) {
        return;
    }
    let disk = SmallDisk::mount(4 << 20);
    let vault = RootVault::open(disk.path()).unwrap();
    let error = vault.create_part(&rel("big"), spec(5 << 20, IfExists::Replace)).unwrap_err();
    let VaultError::NoSpace { needed, free, .. } = &error else { panic!("{error}") };
    assert_eq!((*needed, *free), (5 << 20, 4 << 20));
    assert!(
        error.to_string().contains("needs 5242880 more bytes and its file system has 4194304 free"),
        "{error}"
    );
    assert!(names(disk.path()).is_empty());
    assert!(store(&vault, "fits", &noise(3 << 20), IfExists::Replace).is_ok());
}

#[test]
fn a_disk_that_fills_up_later_does_not_tear() {
    let test = "a_disk_that_fills_up_later_does_not_tear";
    if !have_root(test) {
        return;
    }
    let disk = SmallDisk::mount(4 << 20);
    let vault = RootVault::open(disk.path()).unwrap();
    // A size that nobody announced can't be reserved.
    let unknown = udpxd::storage::vault::PartSpec { size: None, ..spec(0, IfExists::Replace) };
    let part = vault.create_part(&rel("stream"), unknown).unwrap();
    put(&part, 0, &noise(3 << 20)).unwrap();
    let error = put(&part, 3 << 20, &noise(2 << 20)).unwrap_err();
    let VaultError::NoSpace { needed, free, .. } = &error else { panic!("{error}") };
    assert_eq!((*needed, *free), (1 << 20, 0), "after the megabyte that still fitted");
    assert!(!part.is_poisoned(), "space may be made");
    drop(part);
    assert!(names(disk.path()).is_empty());
}

#[test]
fn bytes_beyond_the_announced_size_are_refused() {
    let (_dir, vault) = vault();
    let part = vault.create_part(&rel("f"), spec(10, IfExists::Replace)).unwrap();
    assert!(matches!(put(&part, 5, b"123456"), Err(VaultError::OutOfRange { .. })));
    assert!(matches!(put(&part, u64::MAX, b"1"), Err(VaultError::OutOfRange { .. })));
    assert!(put(&part, 5, b"12345").is_ok() && !part.is_poisoned());
}

#[test]
fn listings_show_what_is_there() {
    let (dir, vault) = vault();
    store(&vault, "b/file", b"12345", IfExists::Replace).unwrap();
    symlink("b", dir.path().join("c")).unwrap();
    let _unfinished = vault.create_part(&rel("a"), spec(1, IfExists::Replace)).unwrap();
    let listing = vault.list(None).unwrap();
    let shown: Vec<_> = listing.entries.iter().map(|e| (e.name.to_str().unwrap(), e.kind, e.size)).collect();
    assert_eq!(shown, [("b", EntryKind::Directory, 0), ("c", EntryKind::Other, 0)]);
    assert!(!listing.is_cut);
    let below = vault.list(Some(&rel("b"))).unwrap();
    assert_eq!((below.entries[0].kind, below.entries[0].size), (EntryKind::File, 5));
    let metadata = std::fs::metadata(dir.path().join("b/file")).unwrap();
    assert_eq!(below.entries[0].modified, metadata.modified().unwrap());
    assert!(matches!(vault.list(Some(&rel("none"))), Err(SourceError::NotFound(_))));
}

#[test]
fn the_null_vault_counts_only() {
    let part = NullVault.create_part(&rel("f"), spec(10, IfExists::Replace)).unwrap();
    put(&part, 0, b"0123456789").unwrap();
    assert_eq!(part.written_bytes(), 10);
    assert!(part.read_at(0, &mut [0; 1]).is_err() && put(&part, 10, b"x").is_err());
    assert_eq!(NullVault.commit(&part, FINISH).unwrap(), Path::new("/dev/null"));
}
