//! What the figures were taken on: they mean nothing without it.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// Kernel, processor and number of CPUs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cpus: usize,
}

impl Machine {
    pub(crate) fn read() -> Machine {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info.lines().find_map(|l| l.strip_prefix("model name")).and_then(|l| l.split_once(':'));
        Machine {
            kernel: first_line("/proc/sys/kernel/osrelease"),
            cpu: model.map_or_else(|| "unknown CPU".into(), |(_, name)| name.trim().to_owned()),
            cpus: std::thread::available_parallelism().map_or(1, Into::into),
        }
    }
}

/// The commit that the sources around this program's package are of, `-dirty` if they have changed since.
pub(crate) fn commit() -> String {
    let git =
        ["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"];
    said("git", &git).unwrap_or_else(|| "unknown".into())
}

/// The date in UTC.
pub(crate) fn date() -> String {
    said("date", &["-u", "+%Y-%m-%d"]).unwrap_or_else(|| "unknown".into())
}

fn said(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The three load averages; the first is what says whether the machine was ours alone.
pub(crate) fn load_average() -> String {
    first_line("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Touches `bytes` of free memory, by a file in the memory-backed `dir` that is removed at once.
///
/// A virtual machine may have given its free pages back to its host, and then the first touch of each costs a
/// fault there: the same copy takes a second or four, by what ran before it. Every row starts from touched memory.
pub(crate) fn warm_memory(dir: &Path, bytes: u64) -> io::Result<()> {
    let mut file = tempfile::tempfile_in(dir)?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..bytes.div_ceil(zeros.len() as u64) {
        file.write_all(&zeros)?;
    }
    Ok(())
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}
