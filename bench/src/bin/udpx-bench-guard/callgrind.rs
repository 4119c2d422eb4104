//! Runs this program under callgrind and reads what it wrote.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// The function whose instructions are counted, with all that it calls.
const COUNTED: &str = "*counted_region*";

/// Why there is nothing to compare.
#[derive(Debug)]
pub(crate) enum Trouble {
    NoValgrind,
    Failed(String),
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Trouble::Failed(error.to_string())
    }
}

/// Instructions of a workload, by function.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Profile {
    pub(crate) workload: String,
    pub(crate) total: u64,
    /// What each function executed itself, without those that it calls.
    pub(crate) functions: BTreeMap<String, u64>,
}

/// Counts these workloads, two at a time.
pub(crate) fn count(workloads: &[&str]) -> Result<Vec<Profile>, Trouble> {
    if Command::new("valgrind").arg("--version").output().is_err() {
        return Err(Trouble::NoValgrind);
    }
    let dir = tempfile::tempdir()?;
    let (left, right) = workloads.split_at(workloads.len().div_ceil(2));
    let each = |names: &[&str]| -> Result<Vec<Profile>, Trouble> {
        names.iter().map(|name| run(dir.path(), name)).collect()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(|| each(right));
        let mut profiles = each(left)?;
        let rest = other.join().map_err(|_| Trouble::Failed("a thread panicked".into()))?;
        profiles.extend(rest?);
        Ok(profiles)
    })
}

fn run(dir: &Path, workload: &str) -> Result<Profile, Trouble> {
    let file = dir.join(workload);
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--dump-line=no", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg(std::env::current_exe()?)
        .args(["--run", workload])
        // The environment lies on the stack: its length would move everything that is aligned there.
        .env_clear()
        .output()?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(Trouble::Failed(format!("{workload} failed under valgrind: {words}")));
    }
    let profile = parse(workload, &std::fs::read_to_string(&file)?);
    if profile.total == 0 {
        return Err(Trouble::Failed(format!("callgrind counted nothing of {workload}")));
    }
    Ok(profile)
}

/// Reads callgrind's format: `fn=` begins a function, lines of two numbers are its own cost, and the line after `calls=` is that of
/// what it called. A name is given once, behind its number in parentheses.
fn parse(workload: &str, text: &str) -> Profile {
    let mut names: BTreeMap<&str, String> = BTreeMap::new();
    let mut profile = Profile { workload: workload.into(), ..Profile::default() };
    let mut current = String::new();
    let mut called = false;
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (number, name) = name.split_once(' ').unwrap_or((name, ""));
            if !name.is_empty() {
                names.insert(number, plain(name));
            }
            if line.starts_with("fn=") {
                current = names.get(number).cloned().unwrap_or_default();
            }
        } else if line.starts_with("calls=") {
            called = true;
        } else if line.starts_with(|c: char| c.is_ascii_digit() || c == '+' || c == '*' || c == '-') {
            let cost = line.split_whitespace().nth(1).and_then(|cost| cost.parse::<u64>().ok()).unwrap_or(0);
            if !std::mem::take(&mut called) {
                profile.total += cost;
                *profile.functions.entry(current.clone()).or_default() += cost;
            }
        }
    }
    profile
}

/// A name without the hash that the compiler gives it, and without the number of a function that ran within itself.
fn plain(name: &str) -> String {
    let name = name.split("'").next().unwrap_or(name);
    match name.rfind("::h") {
        Some(at) if name.len() == at + 19 && name[at + 3..].bytes().all(|b| b.is_ascii_hexdigit()) => {
            name[..at].to_owned()
        }
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_costs_are_told_from_those_of_callees() {
        let text = "version: 1\nevents: Ir\nfn=(1) a::one::h0123456789abcdef\n0 5\ncfn=(2) b::two\ncalls=3 0\n0 900\n\
                    0 7\nfn=(2)\n0 900\n\ntotals: 912\n";
        let profile = parse("w", text);
        assert_eq!(profile.total, 912);
        assert_eq!(profile.functions["a::one"], 12);
        assert_eq!(profile.functions["b::two"], 900);
    }
}
