//! The limit on open sources, in a process of its own: it would starve other tests.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

use udpxd::storage::source::Source;

#[test]
fn too_many_sources_are_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, b"x").unwrap();
    let mut sources = Vec::new();
    let error = loop {
        match Source::open(&path) {
            Ok(source) => sources.push(source),
            Err(error) => break error,
        }
        // The table or the descriptors, whichever is smaller.
        assert!(sources.len() <= 4096);
    };
    assert!(error.to_string().contains("Too many open files"), "{error}");
    drop(sources);
    assert!(Source::open(&path).is_ok());
}
