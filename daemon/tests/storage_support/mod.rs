//! What the storage tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use udpxd::storage::Bell;
use udpxd::storage::part::{Finish, IfExists};
use udpxd::storage::vault::PartSpec;

/// Reproducible bytes without a short period.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = len as u64 + 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[5]
    };
    (0..len).map(|_| next()).collect()
}

pub(crate) fn spec(size: u64, if_exists: IfExists) -> PartSpec {
    PartSpec { size: Some(size), if_exists, nonce: 0x0123_4567_89ab_cdef }
}

pub(crate) const FINISH: Finish = Finish { mode: 0o640, modified: None };

/// Names in a directory, sorted.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|e| format!("{:?}", e.unwrap().file_name())).collect();
    names.sort();
    names
}

/// True with root rights; else says so, or fails where UDPX_REQUIRE asks for them.
pub(crate) fn have_root(test: &str) -> bool {
    let have = Uid::effective().is_root();
    if !have {
        let required = std::env::var("UDPX_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|what| what == "root"),
            "{test} needs root, and UDPX_REQUIRE says so"
        );
        eprintln!("SKIPPED {test}: needs root");
    }
    have
}

/// Runs `work` on a thread whose file accesses are judged as those of an ordinary user.
pub(crate) fn as_ordinary_user<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    const NOBODY: u32 = 65534;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if Uid::effective().is_root() {
                // Per thread, and takes CAP_DAC_OVERRIDE away with it; the thread ends afterwards.
                setfsgid(Gid::from_raw(NOBODY));
                setfsuid(Uid::from_raw(NOBODY));
            }
            work()
        });
        thread.join().unwrap()
    })
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A tmpfs of its own, gone with this value.
pub(crate) struct SmallDisk(pub(crate) tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn mount(bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = format!("size={bytes}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "udpx-test"]).arg(dir.path());
        assert!(mount.status().unwrap().success());
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

/// A bell, and the number of its rings.
pub(crate) fn bell() -> (Bell, Arc<std::sync::atomic::AtomicU64>) {
    let rings = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counter = rings.clone();
    let bell: Bell = Arc::new(move || {
        counter.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    });
    (bell, rings)
}

/// Polls until there is something.
pub(crate) fn wait_for<T>(mut poll: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = poll() {
            return found;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "nothing came for 20 s");
        std::thread::sleep(Duration::from_micros(200));
    }
}
