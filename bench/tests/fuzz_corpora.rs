//! The fuzz targets as plain tests: all inputs that are kept pass, and no parser is without a target.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

#[test]
fn every_input_that_is_kept_passes() {
    let mut failed = Vec::new();
    for (name, target) in fuzz::TARGETS {
        let inputs: Vec<PathBuf> = ["corpus", "regressions"]
            .iter()
            .flat_map(|kind| files(&top().join("fuzz").join(kind).join(name)))
            .collect();
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for path in inputs {
            let input = fs::read(&path).unwrap();
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                failed.push(path);
            }
        }
        // Nothing, everything, and what is cut off.
        for input in [&[][..], &[0xff; 2000], &[0; 2000]] {
            target(input);
        }
    }
    assert!(failed.is_empty(), "these inputs fail: {failed:?}");
}

#[test]
fn every_target_has_its_program() {
    let manifest = fs::read_to_string(top().join("fuzz/Cargo.toml")).unwrap();
    for (name, _) in fuzz::TARGETS {
        let program = fs::read_to_string(top().join(format!("fuzz/fuzz_targets/{name}.rs"))).unwrap();
        assert!(program.contains(&format!("udpx_fuzz::{name}(data)")), "{name}");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
    assert_eq!(files(&top().join("fuzz/fuzz_targets")).len(), fuzz::TARGETS.len());
}

/// Functions that read bytes which somebody else wrote, as `file::function`.
fn readers() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for room in ["daemon/proto/src", "daemon/control/src", "daemon/src", "cli/src", "ffi/src"] {
        for path in files(&top().join(room)) {
            let shown = path.strip_prefix(top()).unwrap().to_str().unwrap().to_owned();
            let is_test =
                shown.contains("/tests") || shown.contains("/testing/") || shown.ends_with("testing.rs");
            if is_test || !shown.ends_with(".rs") {
                continue;
            }
            let mut function = String::new();
            for line in fs::read_to_string(&path).unwrap().lines() {
                let line = line.trim();
                if line == "#[cfg(test)]" {
                    break;
                }
                let begins = line.split_once("fn ").filter(|(before, _)| {
                    before.is_empty()
                        || before.ends_with(' ') && (before.starts_with("pub") || before.starts_with("const"))
                });
                if let (Some((_, name)), false) = (begins, line.starts_with("//")) {
                    function = name.split(['(', '<']).next().unwrap().to_owned();
                    if NAMES.iter().any(|begin| function.starts_with(begin)) {
                        found.insert(format!("{shown}::{function}"));
                    }
                }
                if !line.starts_with("//") && CALLS.iter().any(|call| line.contains(call)) {
                    found.insert(format!("{shown}::{function}"));
                }
            }
        }
    }
    found
}

#[test]
fn every_parser_is_reached_by_a_target_or_says_why_not() {
    let text = fs::read_to_string(top().join("fuzz/entries.txt")).unwrap();
    let mut listed = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let (entry, by) = line.split_once(' ').unwrap_or((line, ""));
        assert!(listed.insert(entry.to_owned(), by.trim().to_owned()).is_none(), "{entry} stands twice");
    }
    let found = readers();
    assert!(found.len() > 40, "the search for parsers finds them: {found:?}");
    let missing: Vec<_> = found.iter().filter(|entry| !listed.contains_key(*entry)).collect();
    assert!(missing.is_empty(), "give these a target, and a line in fuzz/entries.txt: {missing:#?}");
    let gone: Vec<_> = listed.keys().filter(|entry| !found.contains(*entry)).collect();
    assert!(
        gone.is_empty(),
        "these are no parsers any more; take their lines out of fuzz/entries.txt: {gone:#?}"
    );
    for (entry, by) in listed {
        let known = |name: &str| fuzz::TARGETS.iter().any(|(target, _)| *target == name);
        let fuzzed = !by.is_empty() && by.split(' ').all(known);
        let reason = by.strip_prefix("none: ").is_some_and(|why| why.len() > 10);
        assert!(fuzzed || reason, "{entry}: {by:?} is neither targets nor \"none: \" and a reason");
    }
}

/// What functions are called that read.
const NAMES: [&str; 5] = ["parse", "decode", "deserialize", "from_bytes", "next_frame"];
/// What they call.
const CALLS: [&str; 10] = [
    "serde_json::from_",
    "toml::from_",
    "DeTable::parse",
    "postcard::take_from",
    "postcard::from_",
    "bytemuck::try_from_bytes",
    "bytemuck::try_cast_slice(",
    "pod_read_unaligned",
    "FromStr for",
    "RawValue::get",
];
