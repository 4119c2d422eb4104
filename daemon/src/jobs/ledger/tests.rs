use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use udpx_control::schema::JobState;
use udpx_proto::Code;

use super::super::record::tests::{file, job};
use super::super::store::FILE_NAME;
use super::*;
use crate::unprivileged::is_this_user;

fn open(directory: &Path) -> (Ledger, Kept) {
    Ledger::open(directory, History::default(), Arc::new(|| {})).unwrap()
}

const LONG: Duration = Duration::from_secs(30);

#[test]
fn jobs_roots_limits_and_numbers_survive() {
    let directory = tempfile::tempdir().unwrap();
    let rings = Arc::new(AtomicU64::new(0));
    let bell: Bell = {
        let rings = rings.clone();
        Arc::new(move || {
            rings.fetch_add(1, Ordering::Relaxed);
        })
    };
    let (mut ledger, kept) = Ledger::open(directory.path(), History::default(), bell).unwrap();
    assert!(kept.jobs.is_empty() && kept.roots.is_empty());
    let mut record = job(ledger.next_id());
    record.files.set(1, file(1, b"\xff"));
    let saved = ledger.save(&mut record);
    ledger.set_root("disk", Path::new("/srv/disk"));
    ledger.set_limit(Some(8000));
    assert!(!ledger.is_durable(saved) && rings.load(Ordering::Relaxed) <= 2);
    ledger.flush(LONG).unwrap();
    assert!(ledger.is_durable(saved) && rings.load(Ordering::Relaxed) >= 1);
    assert_eq!(ledger.next_id(), 2);
    drop(ledger);
    let (mut ledger, kept) = open(directory.path());
    assert_eq!(kept.jobs, [record]);
    assert_eq!((kept.roots["disk"].as_path(), kept.limit_bps), (Path::new("/srv/disk"), Some(8000)));
    assert_eq!(ledger.next_id(), 2, "the other was never saved");
    ledger.remove(1);
    ledger.remove_root("disk");
    ledger.set_limit(None);
    // Nothing is said of it; dropping it writes what is left.
    drop(ledger);
    let (mut ledger, kept) = open(directory.path());
    assert!(kept.jobs.is_empty() && kept.roots.is_empty() && kept.limit_bps.is_none());
    assert_eq!(ledger.next_id(), 3, "numbers are not used again");
}

#[test]
fn many_changes_are_few_commits_and_the_last_one_counts() {
    let directory = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(directory.path());
    let mut record = job(1);
    let mut commits = 0;
    for bytes in 0..5_000 {
        record.bytes = bytes;
        record.files.set(0, file(bytes, b"a"));
        ledger.save(&mut record);
        commits += u32::from(matches!(ledger.poll(), Some(LedgerReport::Durable(_))));
    }
    ledger.flush(LONG).unwrap();
    assert!(commits < 2_500, "{commits} commits");
    drop(ledger);
    let (_, kept) = open(directory.path());
    assert_eq!((kept.jobs[0].bytes, kept.jobs[0].files.of(0).unwrap().job), (4_999, 4_999));
}

#[test]
fn history_is_pruned_when_it_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let (mut ledger, _) = open(directory.path());
    let now = unix_ms();
    for id in 1..=5 {
        let mut record = job(id);
        if id > 1 {
            (record.state, record.ended_unix_ms) = (JobState::Failed, Some(now - 1000 * (6 - id)));
        }
        ledger.save(&mut record);
    }
    drop(ledger);
    let history = History { jobs_max: 2, ..History::default() };
    let ids = |kept: &Kept| kept.jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    let (ledger, kept) = Ledger::open(directory.path(), history, Arc::new(|| {})).unwrap();
    assert_eq!(ids(&kept), [1, 4, 5], "the one that goes on is not history");
    drop(ledger);
    assert_eq!(ids(&open(directory.path()).1), [1, 4, 5], "nor are they on the disk");
}

#[test]
fn a_full_disk_is_reported_and_what_it_missed_is_written_later() {
    let Some(disk) = SmallDisk::mount() else { return };
    let (mut ledger, _) = open(&disk.0);
    let mut record = job(1);
    ledger.save(&mut record);
    ledger.flush(LONG).unwrap();
    let ballast = disk.0.join("ballast");
    let full = fs::write(&ballast, vec![1; SmallDisk::BYTES]).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(libc::ENOSPC));
    let until = Instant::now() + LONG;
    let failure = loop {
        // More than the pages that the file has already.
        record.host.push_str(&"b".repeat(100_000));
        ledger.save(&mut record);
        match ledger.poll() {
            Some(LedgerReport::Failing(error)) => break error,
            _ => assert!(Instant::now() < until, "nothing failed"),
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(failure.to_string().contains(FILE_NAME) && failure.code() == Code::NoSpace, "{failure:?}");
    (record.retries, record.host) = (77, "bob".into());
    let saved = ledger.save(&mut record);
    assert!(ledger.flush(Duration::from_millis(10)).is_err() && !ledger.is_durable(saved));
    fs::remove_file(&ballast).unwrap();
    ledger.flush(LONG).unwrap();
    assert!(ledger.is_durable(saved));
    drop(ledger);
    assert_eq!(open(&disk.0).1.jobs[0].retries, 77);
}

/// Two megabytes of memory as a disk, gone with this value.
struct SmallDisk(PathBuf, #[allow(dead_code, reason = "removes the directory")] tempfile::TempDir);

impl SmallDisk {
    const BYTES: usize = 4 << 20;

    fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={}", Self::BYTES), "udpx-test"])
            .arg(directory.path());
        if !nix::unistd::geteuid().is_root() || !mount.status().is_ok_and(|status| status.success()) {
            println!(
                "SKIPPED a_full_disk_is_reported_and_what_it_missed_is_written_later: it mounts a tmpfs"
            );
            return None;
        }
        Some(Self(directory.path().into(), directory))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    if !is_this_user("jobs::ledger::tests::a_directory_that_cannot_be_made_is_named") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let inner = directory.path().join("state");
    let error = Ledger::open(&inner, History::default(), Arc::new(|| {})).err().unwrap();
    assert!(error.to_string().contains("state/jobs.redb"), "{error}");
}

/// Killed at any moment, everything that was said to be durable is there, and every record is whole.
#[test]
fn kill_9_in_mid_commit_loses_nothing_that_was_durable() {
    if let Some(directory) = std::env::var_os(CHILD) {
        return write_for_ever(Path::new(&directory));
    }
    let directory = tempfile::tempdir().unwrap();
    let told = directory.path().join("told");
    let mut seen = 0;
    for round in 0..12_u64 {
        let _ = fs::remove_file(&told);
        let mut child = child(directory.path());
        while !told.exists() {
            assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(round * round * 700));
        child.kill().unwrap();
        child.wait().unwrap();
        let durable: u64 = fs::read_to_string(&told).unwrap().trim().parse().unwrap();
        let (_, kept) = open(directory.path());
        let job = &kept.jobs[0];
        assert!(job.bytes >= durable && job.bytes > seen, "{} of {durable}", job.bytes);
        // Written in the same commit or in none.
        assert_eq!(job.files.of(0).unwrap().bytes, job.bytes);
        // A change of its own, and the earlier one.
        let root = kept.roots["disk"].to_string_lossy()[1..].parse::<u64>().unwrap();
        assert!(root == job.bytes || root == job.bytes + 1, "{root} after {}", job.bytes);
        seen = job.bytes;
    }
}

const CHILD: &str = "UDPX_TEST_LEDGER_DIRECTORY";

fn child(directory: &Path) -> Child {
    let me = std::env::current_exe().unwrap();
    let name = "jobs::ledger::tests::kill_9_in_mid_commit_loses_nothing_that_was_durable";
    let mut command = Command::new(me);
    command.args(["--exact", name, "--nocapture"]).env(CHILD, directory).stdout(Stdio::null());
    command.spawn().unwrap()
}

fn write_for_ever(directory: &Path) {
    let (mut ledger, kept) = open(directory);
    let mut record = kept.jobs.into_iter().next().unwrap_or_else(|| job(1));
    loop {
        record.bytes += 1;
        let mut outcome = file(1, b"a");
        outcome.bytes = record.bytes;
        record.files.set(0, outcome);
        ledger.set_root("disk", Path::new(&format!("/{}", record.bytes)));
        ledger.save(&mut record);
        ledger.flush(LONG).unwrap();
        let next = directory.join("told.new");
        fs::write(&next, record.bytes.to_string()).unwrap();
        fs::rename(&next, directory.join("told")).unwrap();
    }
}
