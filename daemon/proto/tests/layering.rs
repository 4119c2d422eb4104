//! The arrows between our crates, as `cargo metadata` sees them, are those of the architecture.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Which of our crates a crate may depend on. A crate that is not here yet needs a line of its own.
const ARROWS: [(&str, &[&str]); 7] = [
    ("udpx-proto", &[]),
    ("udpx-udp", &[]),
    ("udpx-control", &[]),
    ("udpxd", &["udpx-control", "udpx-proto", "udpx-udp"]),
    ("udpxctl", &["udpx-control", "udpxd"]),
    ("udpx", &["udpx-control", "udpxd"]),
    ("udpx-bench", &["udpx-control", "udpx-proto", "udpx-udp", "udpxd", "udpxctl", "udpx"]),
];

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--no-deps", "--format-version", "1"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo ran this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("cargo writes JSON")
}

fn names(list: &Value) -> impl Iterator<Item = (&str, &Value)> {
    let entries = list.as_array().into_iter().flatten();
    entries.map(|entry| (entry["name"].as_str().expect("everything has a name"), entry))
}

#[test]
fn no_arrow_points_the_wrong_way() {
    let metadata = metadata();
    let ours: BTreeMap<&str, &Value> = names(&metadata["packages"]).collect();
    assert!(ours.contains_key("udpx-proto") && ours.contains_key("udpxd"), "{:?}", ours.keys());
    let allowed: BTreeMap<_, _> = ARROWS.into_iter().collect();
    for (name, package) in &ours {
        let allowed = allowed.get(name).unwrap_or_else(|| panic!("{name} has no line in ARROWS"));
        for (dependency, entry) in names(&package["dependencies"]) {
            // A crate's tests may use its own features.
            if !ours.contains_key(dependency) || dependency == *name {
                continue;
            }
            assert!(allowed.contains(&dependency), "{name} -> {dependency} ({})", entry["kind"]);
        }
    }
}

#[test]
fn the_core_depends_on_no_input_or_output() {
    let metadata = metadata();
    let (_, proto) =
        names(&metadata["packages"]).find(|(name, _)| *name == "udpx-proto").expect("this crate");
    let direct: BTreeSet<&str> = names(&proto["dependencies"])
        .filter(|(_, entry)| entry["kind"].is_null())
        .map(|(name, _)| name)
        .collect();
    let known = BTreeSet::from([
        "aws-lc-rs",
        "blake3",
        "bytemuck",
        "postcard",
        "serde",
        "snow",
        "thiserror",
        "xxhash-rust",
        "zeroize",
    ]);
    assert!(direct.is_subset(&known), "new dependencies of the core: {:?}", direct.difference(&known));
}
