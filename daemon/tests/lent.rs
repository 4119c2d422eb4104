//! What a process lends to the daemon, and what it does not: real files, demands as they come from the socket.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod storage_support;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use storage_support::{as_ordinary_user, have_root, names, noise, set_mode, wait_for};
use udpx_control::Name;
use udpx_control::descriptor::classify;
use udpx_control::limits::DEMANDS_MAX;
use udpx_control::schema::{Demand, EntryKind, IfExists, Obstacle, Operation, Outcome};
use udpxd::lend::{Clerks, PARTS_MAX, Vault, umask};

const PART: &str = ".udpx-00112233445566aa.part";

fn demand(operation: Operation) -> Demand {
    Demand { demand: 1, job: 1, operation }
}

fn name(path: impl AsRef<Path>) -> Name {
    Name::from(path.as_ref())
}

fn create(path: &Path, part: &str) -> Demand {
    demand(Operation::Create { path: name(path), part: part.into(), if_exists: IfExists::Replace })
}

fn commit(path: &Path, part: &str, if_exists: IfExists) -> Demand {
    let (path, part) = (name(path), part.into());
    let mtime_ns = Some(1_234_567_890_123_456_789);
    demand(Operation::Commit { path, part, if_exists, mode: 0o6777, mtime_ns })
}

fn opened(vault: &Vault, demand: &Demand) -> OwnedFd {
    match vault.answer(demand) {
        (Outcome::Opened, Some(file)) => file,
        other => panic!("{demand:?}: {other:?}"),
    }
}

/// The code and obstacle of a failure, which has a remedy.
fn failure(vault: &Vault, demand: &Demand) -> (u32, Option<Obstacle>) {
    match vault.answer(demand) {
        (Outcome::Failed { error, obstacle, .. }, None) => {
            assert!(!error.remedy.is_empty() && error.text.ends_with('.'), "{error:?}");
            (error.code, obstacle)
        }
        other => panic!("{demand:?}: {other:?}"),
    }
}

/// A directory by its real name.
fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let real = directory.path().canonicalize().unwrap();
    (directory, real)
}

#[test]
fn a_file_comes_in() {
    let (_keep, home) = place();
    let vault = Vault::new(&[], std::slice::from_ref(&home)).unwrap();
    let path = home.join("new/deep/file");
    let file = File::from(opened(&vault, &create(&path, PART)));
    classify(&file).unwrap().check_part().unwrap();
    let part = home.join("new/deep").join(PART);
    assert_eq!(fs::metadata(&part).unwrap().mode() & 0o7777, 0o600);
    assert!(File::open(&part).unwrap().try_lock().is_err(), "it is claimed");
    let bytes = noise(100_000);
    file.write_all_at(&bytes, 0).unwrap();
    let committed = vault.answer(&commit(&path, PART, IfExists::Fail)).0;
    assert_eq!(committed, Outcome::Committed { path: name(&path) });
    let metadata = fs::metadata(&path).unwrap();
    assert_eq!(metadata.mode() & 0o7777, 0o777 & !umask(), "set-id bits are dropped, the umask holds");
    assert_eq!(metadata.modified().unwrap(), UNIX_EPOCH + Duration::from_nanos(1_234_567_890_123_456_789));
    assert_eq!(fs::read(&path).unwrap(), bytes);
    assert_eq!(vault.answer(&demand(Operation::Sync { path: name(home.join("new/deep")) })).0, Outcome::Done);
    drop(vault);
    assert_eq!(names(&home.join("new/deep")), [r#""file""#]);
}

#[test]
fn what_is_in_the_way_is_said_before_and_at_the_end() {
    let (_keep, home) = place();
    fs::create_dir(home.join("dir")).unwrap();
    fs::write(home.join("file"), "old").unwrap();
    let vault = Vault::new(&[], std::slice::from_ref(&home)).unwrap();
    for if_exists in [IfExists::Skip, IfExists::Fail] {
        let create = Operation::Create { path: name(home.join("file")), part: PART.into(), if_exists };
        assert_eq!(failure(&vault, &demand(create)), (73, Some(Obstacle::Exists)));
    }
    for directory in [home.join("dir"), home.clone()] {
        assert_eq!(failure(&vault, &create(&directory, PART)), (73, Some(Obstacle::Directory)));
    }
    let path = home.join("late");
    opened(&vault, &create(&path, PART));
    fs::write(&path, "somebody else's").unwrap();
    assert_eq!(failure(&vault, &commit(&path, PART, IfExists::Skip)), (73, Some(Obstacle::Exists)));
    let other = vault.answer(&commit(&path, PART, IfExists::Rename)).0;
    assert_eq!(other, Outcome::Committed { path: name(home.join("late (1)")) });
    assert_eq!(fs::read(&path).unwrap(), b"somebody else's");
}

#[test]
fn a_part_vanishes_unless_it_is_committed_or_left() {
    let (_keep, home) = place();
    let parts: Vec<String> = (0..4).map(|n| format!(".udpx-000000000000000{n}.part")).collect();
    let path = home.join("f");
    let vault = Vault::new(&[], std::slice::from_ref(&home)).unwrap();
    for part in &parts {
        opened(&vault, &create(&path, part));
    }
    assert_eq!(failure(&vault, &create(&path, &parts[0])).0, 74, "it must not exist");
    let remove = |part: &str| demand(Operation::Remove { path: name(&path), part: part.into() });
    for _ in 0..2 {
        assert_eq!(vault.answer(&remove(&parts[0])).0, Outcome::Done, "gone is gone");
    }
    assert_eq!(names(&home).len(), 3);
    drop(vault);
    assert_eq!(names(&home).len(), 0);

    let first = Vault::new(&[], std::slice::from_ref(&home)).unwrap();
    // As the daemon does: it holds the file, and with it the lock.
    let file = File::from(opened(&first, &create(&path, PART)));
    file.write_all_at(b"half", 0).unwrap();
    first.leave_parts();
    drop(first);
    let second = Vault::new(&[], std::slice::from_ref(&home)).unwrap();
    opened(&second, &create(&home.join("g"), &parts[1]));
    let again =
        File::from(opened(&second, &demand(Operation::Reopen { path: name(&path), part: PART.into() })));
    again.write_all_at(b" whole", 4).unwrap();
    let committed = second.answer(&commit(&path, PART, IfExists::Replace)).0;
    assert_eq!(committed, Outcome::Committed { path: name(&path) });
    assert_eq!(fs::read(&path).unwrap(), b"half whole");
    assert!(matches!(second.answer(&commit(&path, PART, IfExists::Replace)).0, Outcome::Failed { .. }));
}

#[test]
fn an_orphan_goes_when_the_next_part_comes() {
    let (_keep, home) = place();
    let orphan = home.join(".udpx-0000000000000bad.part");
    fs::write(&orphan, "of a process that was killed").unwrap();
    let vault = Vault::new(&[], std::slice::from_ref(&home)).unwrap();
    opened(&vault, &create(&home.join("f"), PART));
    assert!(!orphan.exists());
    assert_eq!(names(&home).len(), 1);
}

#[test]
fn a_source_is_opened_for_reading_and_no_other_file() {
    let (_keep, home) = place();
    let [source, other, fifo, link] = ["source", "other", "fifo", "link"].map(|n| home.join(n));
    fs::write(&source, "bytes").unwrap();
    fs::write(&other, "secret").unwrap();
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("source", &link).unwrap();
    let vault = Vault::new(&[link.clone(), fifo.clone(), home.clone()], &[]).unwrap();
    let open = |path: &Path| demand(Operation::Open { path: name(path) });
    for path in [&link, &source] {
        let mut file = File::from(opened(&vault, &open(path)));
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "bytes");
        assert!(file.write_all(b"x").is_err(), "for reading only");
    }
    assert_eq!(failure(&vault, &open(&other)).0, 77);
    assert_eq!(failure(&vault, &open(&home.join("../source"))).0, 77);
    assert_eq!(failure(&vault, &open(&fifo)).0, 66);
    assert_eq!(failure(&vault, &open(&home)).0, 66);
    let found = vault.answer(&demand(Operation::Stat { path: name(&source) })).0;
    assert_eq!(found, Outcome::Found { kind: Some(EntryKind::File), bytes: 5 });
    // Somebody else may write to the directory, and puts a link in its place.
    fs::remove_file(&source).unwrap();
    symlink("other", &source).unwrap();
    assert_eq!(failure(&vault, &open(&source)).0, 77);
    assert_eq!(failure(&vault, &open(&link)).0, 77);
}

#[test]
fn a_source_that_is_not_there_is_missed_when_it_is_asked_for() {
    let (_keep, home) = place();
    let [there, gone, other] = ["there", "gone", "other"].map(|n| home.join(n));
    fs::write(&there, "bytes").unwrap();
    fs::write(&other, "secret").unwrap();
    let vault = Vault::new(&[there.clone(), gone.clone()], &[]).unwrap();
    let open = |path: &Path| demand(Operation::Open { path: name(path) });
    opened(&vault, &open(&there));
    assert_eq!(failure(&vault, &open(&gone)).0, 66);
    symlink("other", &gone).unwrap();
    assert_ne!(failure(&vault, &open(&gone)).0, 0, "a link that somebody has planted");
    fs::remove_file(&gone).unwrap();
    fs::write(&gone, "here after all").unwrap();
    opened(&vault, &open(&gone));
}

#[test]
fn nothing_leads_out_of_a_destination() {
    let (_keep, home) = place();
    let [inside, outside] = ["in", "out"].map(|n| home.join(n));
    fs::create_dir(&inside).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "s").unwrap();
    fs::write(outside.join(PART), "a part of another").unwrap();
    let vault = Vault::new(&[outside.join("secret")], std::slice::from_ref(&inside)).unwrap();
    symlink("../out", inside.join("door")).unwrap();
    symlink("/", inside.join("top")).unwrap();
    symlink("../out/secret", inside.join("file")).unwrap();
    let tricks = ["../out/x", "door/x", "top/tmp/x", "door/../x", "../in2/x"].map(|path| inside.join(path));
    for path in tricks.iter().chain([&outside.join("x"), &outside.join("secret"), &PathBuf::from("x")]) {
        assert_eq!(failure(&vault, &create(path, PART)).0, 77, "{path:?}");
        assert_eq!(failure(&vault, &commit(path, PART, IfExists::Replace)).0, 77, "{path:?}");
        let (at, part) = (name(path), Name::from(PART));
        for operation in
            [Operation::Remove { path: at.clone(), part: part.clone() }, Operation::Reopen { path: at, part }]
        {
            assert_eq!(failure(&vault, &demand(operation)).0, 77, "{path:?}");
        }
    }
    for directory in [outside.clone(), inside.join("door"), inside.join("top"), home.join("in/..")] {
        assert_eq!(failure(&vault, &demand(Operation::Sync { path: name(directory) })).0, 77);
    }
    // Of what a link leads to outside nothing is told; the link itself may be replaced.
    let found = vault.answer(&demand(Operation::Stat { path: name(inside.join("file")) })).0;
    assert_eq!(found, Outcome::Found { kind: Some(EntryKind::Link), bytes: 0 });
    let found = vault.answer(&demand(Operation::Stat { path: name(inside.join("none/f")) })).0;
    assert_eq!(found, Outcome::Found { kind: None, bytes: 0 });
    opened(&vault, &create(&inside.join("file"), PART));
    vault.answer(&commit(&inside.join("file"), PART, IfExists::Replace));
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"s");
    assert!(!inside.join("file").symlink_metadata().unwrap().is_symlink());
    for part in ["secret", "../out/secret", "", ".udpx-1.part", "/etc/passwd"] {
        assert_eq!(failure(&vault, &create(&inside.join("f"), part)).0, 77, "{part:?}");
    }
    assert_eq!(failure(&vault, &demand(Operation::Unknown)).0, 76);
    assert_eq!(names(&outside).len(), 2);
    // The named directory itself is renamed, and a link takes its place.
    fs::rename(&inside, home.join("moved")).unwrap();
    symlink("out", &inside).unwrap();
    opened(&vault, &create(&inside.join("f"), PART));
    assert!(home.join("moved").join(PART).exists());
    assert_eq!(names(&outside).len(), 2);
}

#[test]
fn what_the_user_may_not_the_daemon_may_not() {
    if !have_root("what_the_user_may_not_the_daemon_may_not") {
        return;
    }
    let (_keep, home) = place();
    set_mode(&home, 0o755);
    let (mine, secret) = (home.join("mine"), home.join("secret"));
    fs::create_dir(&mine).unwrap();
    set_mode(&mine, 0o777);
    fs::write(&secret, "s").unwrap();
    set_mode(&secret, 0o600);
    as_ordinary_user(|| {
        let vault =
            Vault::new(std::slice::from_ref(&secret), &[mine.clone(), home.join("not mine")]).unwrap();
        assert_eq!(failure(&vault, &demand(Operation::Open { path: name(&secret) })).0, 66);
        assert_eq!(failure(&vault, &create(&home.join("not mine"), PART)).0, 73);
        opened(&vault, &create(&mine.join("f"), PART));
        vault.answer(&commit(&mine.join("f"), PART, IfExists::Replace));
        assert_eq!(fs::metadata(mine.join("f")).unwrap().uid(), 65534);
    });
}

#[test]
fn threads_answer_and_ring() {
    let (_keep, home) = place();
    let vault = Arc::new(Vault::new(&[], std::slice::from_ref(&home)).unwrap());
    let clerks = Clerks::start(&vault).unwrap();
    let part = |n: usize| format!(".udpx-{n:016x}.part");
    for n in 0..DEMANDS_MAX {
        let demand = Demand { demand: n as u64, ..create(&home.join(n.to_string()), &part(n)) };
        clerks.give(demand).unwrap();
    }
    let mut answered = Vec::new();
    while answered.len() < DEMANDS_MAX {
        let mut polled = [PollFd::new(clerks.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut polled, PollTimeout::from(10_000u16)), Ok(1), "{}", answered.len());
        while let Some(next) = clerks.next() {
            assert!(next.outcome == Outcome::Opened && next.descriptor.is_some());
            answered.push(next.demand.demand);
        }
    }
    answered.sort_unstable();
    assert!(answered.into_iter().eq(0..DEMANDS_MAX as u64));
    assert!(clerks.next().is_none());
    for n in DEMANDS_MAX..=PARTS_MAX {
        let demand = create(&home.join(n.to_string()), &part(n));
        wait_for(|| clerks.next().map(drop).or(clerks.give(demand.clone()).ok()));
        if let Outcome::Failed { error, .. } = wait_for(|| clerks.next()).outcome {
            assert_eq!((n, error.code), (PARTS_MAX, 75));
        }
    }
    drop(clerks);
    drop(vault);
    assert_eq!(names(&home).len(), 0);
    assert_eq!(fs::metadata(&home).unwrap().permissions().mode() & 0o7000, 0);
}
