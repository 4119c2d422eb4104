//! What can't be tested through the public interface: the death by a SIGBUS that isn't ours.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use super::*;

const CHILD: &str = "UDPX_TEST_SIGBUS_CHILD";

fn file_of(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, bytes).unwrap();
    (dir, path)
}

/// Runs one test of this binary again as a process of its own.
fn run_child(test: &str) -> std::process::ExitStatus {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, "1")
        .output()
        .unwrap()
        .status
}

#[test]
fn a_foreign_sigbus_still_kills() {
    if std::env::var_os(CHILD).is_none() {
        let status = run_child("storage::source::tests::a_foreign_sigbus_still_kills");
        assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
        return;
    }
    let _guard = guard_thread().unwrap();
    let (_dir, path) = file_of(&[1; 8192]);
    let _ours = Source::open(&path).unwrap();
    let (_dir, foreign) = file_of(&[1; 8192]);
    let foreign = OpenOptions::new().read(true).write(true).open(foreign).unwrap();
    let map = map_file(&foreign, 8192).unwrap();
    foreign.set_len(0).unwrap();
    let sum: u32 = map.iter().map(|&byte| u32::from(byte)).sum();
    println!("survived with {sum}");
}

#[test]
fn a_dropped_source_is_forgotten() {
    let (_dir, path) = file_of(&[1; 8192]);
    let source = Source::open(&path).unwrap();
    let Backing::File(mapped) = &source.backing else { panic!("a file is mapped") };
    let address = mapped.map.as_ref().unwrap().as_ptr() as usize;
    assert!(sigbus::is_registered(address) && sigbus::is_registered(address + 8191));
    assert!(!sigbus::is_registered(address + 8192));
    drop(source);
    assert!(!sigbus::is_registered(address));
}

#[test]
fn memory_that_cannot_shrink_needs_no_guard() {
    use nix::sys::memfd::{MFdFlags, memfd_create};
    for (sealed, guarded) in [(false, true), (true, false)] {
        let file = File::from(memfd_create(c"source", MFdFlags::MFD_ALLOW_SEALING).unwrap());
        io::Write::write_all(&mut &file, &[7; 8192]).unwrap();
        if sealed {
            nix::fcntl::fcntl(&file, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_SHRINK)).unwrap();
        }
        let source = Source::from_file(file, Path::new("memory")).unwrap();
        let bytes = source.slice(0, 8192).unwrap();
        assert_eq!(bytes, [7; 8192]);
        assert_eq!(sigbus::is_registered(bytes.as_ptr() as usize), guarded);
    }
}

#[test]
fn registrations_race_with_faults() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let (_dir, path) = file_of(&[1; 4096]);
                while !stop.load(Ordering::Relaxed) {
                    assert!(!Source::open(&path).unwrap().is_changed());
                }
            });
        }
        for _ in 0..200 {
            let _guard = guard_thread().unwrap();
            let (_dir, path) = file_of(&[1; 16384]);
            let source = Source::open(&path).unwrap();
            let bytes = source.slice(0, 16384).unwrap();
            OpenOptions::new().write(true).open(&path).unwrap().set_len(4096).unwrap();
            assert_eq!((bytes[0], bytes[4096], bytes[16383]), (1, 0, 0));
            assert!(source.is_changed());
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn the_fallback_sees_a_short_file() {
    let (_dir, path) = file_of(&[1; 100_000]);
    let file = File::open(&path).unwrap();
    assert!(read_through(&file, 5..100_000).is_ok());
    assert_eq!(read_through(&file, 5..100_001).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

/// KiB of a mapped file that are in this process's memory.
fn resident_kib(path: &Path) -> u64 {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let name = path.to_str().unwrap();
    let of_file = maps.lines().skip_while(|line| !line.ends_with(name));
    let resident = of_file.filter_map(|line| line.strip_prefix("Rss:")).next().unwrap();
    resident.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn what_was_released_leaves_memory_and_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("source");
    let bytes: Vec<u8> = (0..3_u32 << 20).map(|at| (at / 3) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    let source = Source::open(&path).unwrap();
    source.populate(0..source.size()).unwrap();
    assert_eq!(resident_kib(&path), 3 << 10);
    source.release(0..2 << 20);
    assert!(resident_kib(&path) <= 1 << 10);
    assert!(source.slice(0, bytes.len()).unwrap() == bytes && !source.is_changed());
    assert_eq!(resident_kib(&path), 3 << 10);
    source.release(1 << 20..u64::MAX);
    // Where the kernel maps two megabytes as one page, what shares it goes too.
    assert!(resident_kib(&path) <= 1 << 10);
}
