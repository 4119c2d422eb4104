//! What a process of a row cost: CPU time, how often it slept, and the most memory it held.
//!
//! CPU time and sleeps come from the kernel when the process is reaped, those of the children that it waited for included. Memory
//! is looked at every [`SAMPLE`] while it runs: anonymous and shared pages of the process and its descendants. A mapped
//! file in memory counts as shared, so a row that maps its source shows the window that it keeps mapped.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use nix::unistd::Pid;

/// How often memory is looked at: a look costs some 50 us a process.
const SAMPLE: Duration = Duration::from_millis(25);
/// Generations of children that are counted: sshd has three.
const GENERATIONS: u32 = 4;

/// Of one process, all its life.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time.
    pub(crate) cpu_seconds: f64,
    /// Times it waited for something and was woken.
    pub(crate) wakeups: u64,
    /// Anonymous and shared memory, the most that was seen, bytes.
    pub(crate) peak_bytes: u64,
}

/// What all children reaped so far have used. Its growth while one is reaped is that one's.
pub(crate) fn reaped() -> Usage {
    let seconds = |t: TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    getrusage(UsageWho::RUSAGE_CHILDREN).map_or_else(
        |_| Usage::default(),
        |usage| Usage {
            cpu_seconds: seconds(usage.user_time()) + seconds(usage.system_time()),
            wakeups: usage.voluntary_context_switches().unsigned_abs(),
            peak_bytes: 0,
        },
    )
}

/// A thread that looks at a process's memory.
pub(crate) struct MemoryWatch {
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl MemoryWatch {
    pub(crate) fn start(pid: Pid) -> MemoryWatch {
        let (peak, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (seen, stop) = (peak.clone(), over.clone());
        let watch = move || {
            while !stop.load(Ordering::Acquire) {
                seen.fetch_max(memory_of(pid, GENERATIONS), Ordering::Relaxed);
                std::thread::park_timeout(SAMPLE);
            }
        };
        // Without the thread there is no figure, and nothing else is lost.
        let thread = std::thread::Builder::new().name("memory".into()).spawn(watch).ok();
        MemoryWatch { peak, over, thread }
    }

    /// The most that was seen, bytes. Ends the looking.
    pub(crate) fn finish(&mut self) -> u64 {
        self.over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does nothing that panics.
            let _ = thread.join();
        }
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.finish();
    }
}

fn memory_of(pid: Pid, generations: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let own = resident(&status);
    if generations == 0 {
        return own;
    }
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    own + pids.map(|child| memory_of(Pid::from_raw(child), generations - 1)).sum::<u64>()
}

/// Anonymous and shared bytes of a `/proc/PID/status`.
fn resident(status: &str) -> u64 {
    let lines = status.lines().filter(|line| line.starts_with("RssAnon:") || line.starts_with("RssShmem:"));
    let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<u64>().ok();
    lines.filter_map(kib).sum::<u64>() * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anonymous_and_shared_pages_are_added_and_files_are_not() {
        let status =
            "Name:\tx\nVmRSS:\t   900 kB\nRssAnon:\t   100 kB\nRssFile:\t   700 kB\nRssShmem:\t   20 kB\n";
        assert_eq!(resident(status), 120 * 1024);
        assert_eq!(resident(""), 0);
    }

    #[test]
    fn a_process_with_memory_is_seen_with_it() {
        let mut watch = MemoryWatch::start(Pid::this());
        let held = std::hint::black_box(vec![1u8; 32 << 20]);
        std::thread::sleep(SAMPLE * 4);
        assert!(watch.finish() >= held.len() as u64);
    }
}
