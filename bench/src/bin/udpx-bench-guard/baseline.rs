//! The committed counts: a line for each workload, beneath it the functions that make it up.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;
use std::process::Command;

use super::callgrind::{Profile, Trouble};

/// Functions below this share of their workload have no line.
const SHARE_MIN: f64 = 0.005;

/// What counts depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Toolchain(String);

impl Toolchain {
    pub(crate) fn here() -> Result<Self, Trouble> {
        let output = Command::new("rustc").arg("--version").output()?;
        let version = String::from_utf8_lossy(&output.stdout);
        let version = version.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        // What valgrind shows of the CPU, and the cipher and memcpy choose by.
        let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let avx2 = flags.lines().find(|l| l.starts_with("flags")).is_some_and(|l| l.contains(" avx2"));
        let simd = if avx2 { "avx2" } else { "no avx2" };
        Ok(Self(format!("{version}, {}, {simd}", std::env::consts::ARCH)))
    }
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Baseline {
    pub(crate) toolchain: Toolchain,
    workloads: BTreeMap<String, Counts>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Counts {
    total: u64,
    functions: BTreeMap<String, u64>,
}

impl Baseline {
    /// An absent file is an empty baseline.
    pub(crate) fn read(path: &Path) -> Result<Self, Trouble> {
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error.into()),
        }
    }

    fn parse(text: &str) -> Result<Self, Trouble> {
        let mut baseline = Self::default();
        let mut current = None;
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            if let Some(toolchain) = line.strip_prefix("toolchain: ") {
                baseline.toolchain = Toolchain(toolchain.into());
                continue;
            }
            let (count, name) = line.trim().split_once(' ').unwrap_or((line, ""));
            let Ok(count) = count.parse::<u64>() else {
                return Err(Trouble::Failed(format!("the baseline has a line that is none: {line}")));
            };
            if line.starts_with(' ') {
                let counts: Option<&mut Counts> =
                    current.as_ref().and_then(|w| baseline.workloads.get_mut(w));
                if let Some(counts) = counts {
                    counts.functions.insert(name.into(), count);
                }
            } else {
                current = Some(name.to_owned());
                baseline.workloads.insert(name.into(), Counts { total: count, ..Counts::default() });
            }
        }
        Ok(baseline)
    }

    /// Whether nothing was ever counted.
    pub(crate) fn is_empty(&self) -> bool {
        self.workloads.is_empty()
    }

    /// This baseline with other counts for some workloads.
    pub(crate) fn updated(mut self, toolchain: Toolchain, profiles: &[Profile]) -> Self {
        if self.toolchain != toolchain {
            self.workloads.clear();
        }
        self.toolchain = toolchain;
        for profile in profiles {
            let least = (profile.total as f64 * SHARE_MIN) as u64;
            let functions = profile.functions.iter().filter(|&(_, &count)| count >= least);
            let functions = functions.map(|(name, &count)| (name.clone(), count)).collect();
            self.workloads.insert(profile.workload.clone(), Counts { total: profile.total, functions });
        }
        self
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Trouble> {
        Ok(std::fs::write(path, self.text())?)
    }

    fn text(&self) -> String {
        let mut text = String::from(
            "# Instructions of each workload, and of its functions without those that they call.\n\
             # Written by: cargo run --release -p udpx-bench --bin udpx-bench-guard -- --update\n",
        );
        // Writing to a String cannot fail.
        let _ = writeln!(text, "toolchain: {}", self.toolchain);
        for (name, counts) in &self.workloads {
            let _ = writeln!(text, "{} {name}", counts.total);
            let mut functions: Vec<_> = counts.functions.iter().collect();
            functions.sort_by_key(|&(_, &count)| std::cmp::Reverse(count));
            for (function, count) in functions {
                let _ = writeln!(text, "    {count} {function}");
            }
        }
        text
    }

    pub(crate) fn total(&self, workload: &str) -> Option<u64> {
        self.workloads.get(workload).map(|counts| counts.total)
    }

    /// A line for each function that counts, the one that changed most first.
    pub(crate) fn differences(&self, profile: &Profile) -> Vec<String> {
        let none = Counts::default();
        let before = &self.workloads.get(&profile.workload).unwrap_or(&none).functions;
        let least = (profile.total as f64 * SHARE_MIN) as u64;
        let mut lines: Vec<(i64, String)> = Vec::new();
        let gone = before.iter().filter(|(name, _)| !profile.functions.contains_key(*name));
        let now =
            profile.functions.iter().filter(|&(name, &count)| count >= least || before.contains_key(name));
        for (name, count, was) in now
            .map(|(name, &count)| (name, count, before.get(name).copied()))
            .chain(gone.map(|(name, &was)| (name, 0, Some(was))))
        {
            let change = count.cast_signed() - was.unwrap_or(0).cast_signed();
            let share = count as f64 * 100.0 / profile.total as f64;
            lines.push((change, format!("{share:5.1} %  {count:>11}  {change:+11}  {name}")));
        }
        lines.sort_by_key(|&(change, _)| std::cmp::Reverse(change.abs()));
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(total: u64, functions: &[(&str, u64)]) -> Profile {
        let functions = functions.iter().map(|&(name, count)| (name.to_owned(), count)).collect();
        Profile { workload: "w".into(), total, functions }
    }

    #[test]
    fn what_is_written_is_read_back_and_small_functions_are_left_out() {
        let counted = profile(1000, &[("a::b::<impl T for U>::c", 900), ("tiny", 1)]);
        let written = Baseline::default().updated(Toolchain("r".into()), &[counted]);
        let read = Baseline::parse(&written.text()).unwrap();
        assert_eq!((read.toolchain.0.as_str(), read.total("w"), read.total("v")), ("r", Some(1000), None));
        assert_eq!(read.workloads["w"].functions.len(), 1);
        assert!(Baseline::parse("nonsense here\n").is_err());
    }

    #[test]
    fn counts_of_another_toolchain_are_forgotten() {
        let old = Baseline::default().updated(Toolchain("old".into()), &[profile(10, &[])]);
        let other = Profile { workload: "v".into(), ..profile(20, &[]) };
        let new = old.updated(Toolchain("new".into()), &[other]);
        assert_eq!((new.total("w"), new.total("v")), (None, Some(20)));
    }

    #[test]
    fn the_function_that_changed_most_comes_first_and_one_that_is_gone_is_named() {
        let before =
            Baseline::default().updated(Toolchain::default(), &[profile(100, &[("a", 60), ("gone", 40)])]);
        let lines = before.differences(&profile(170, &[("a", 61), ("new", 109)]));
        assert!(
            lines[0].contains("+109") && lines[1].contains("-40") && lines[2].contains("+1"),
            "{lines:?}"
        );
    }
}
