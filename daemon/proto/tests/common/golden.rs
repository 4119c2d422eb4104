//! Comparison with committed bytes.

use std::fmt::Write as _;
use std::path::PathBuf;

/// Compares named byte strings with `tests/golden/NAME`; with `UDPX_BLESS=1` in the environment writes that
/// file anew.
///
/// # Panics
/// Where they differ.
pub(crate) fn compare(name: &str, entries: &[(String, Vec<u8>)]) {
    let mut text = String::new();
    for (label, bytes) in entries {
        write!(text, "{label}:").expect("a string takes all");
        for (index, byte) in bytes.iter().enumerate() {
            let gap = if index % 32 == 0 {
                "\n  "
            } else if index % 4 == 0 {
                " "
            } else {
                ""
            };
            write!(text, "{gap}{byte:02x}").expect("a string takes all");
        }
        text.push('\n');
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UDPX_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("it has a directory")).expect("a writable checkout");
        std::fs::write(&path, &text).expect("a writable checkout");
    }
    let golden = std::fs::read_to_string(&path).expect("the golden file is committed");
    for (ours, theirs) in text.split(':').zip(golden.split(':')) {
        assert_eq!(ours, theirs, "the bytes of version 1 changed in {name}");
    }
    assert_eq!(text, golden, "entries of {name} were added or removed");
}
