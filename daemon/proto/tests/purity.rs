//! Rules of the source that a compiler does not check: the protocol core touches no clock, socket, file,
//! randomness or thread; wire parsing is casts; threads are joined by bounded channels only.

use std::path::{Path, PathBuf};

/// One line of source without comment and string literals.
struct Line {
    file: PathBuf,
    number: usize,
    code: String,
}

/// All lines of Rust beneath `root`, a directory of this repository, but for files of unit tests.
fn source(root: &str) -> Vec<Line> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(root);
    let mut lines = Vec::new();
    let mut directories = vec![base];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("the directory is in the repository") {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
                let text = std::fs::read_to_string(&path).expect("source is UTF-8");
                lines.extend(text.lines().enumerate().map(|(index, line)| Line {
                    file: path.clone(),
                    number: index + 1,
                    code: code_of(line),
                }));
            }
        }
    }
    assert!(lines.len() > 1000, "{root} is where the source is");
    lines
}

fn code_of(line: &str) -> String {
    let outside: Vec<&str> = line.split('"').step_by(2).collect();
    outside.join("\"\"").split("//").next().unwrap_or_default().to_owned()
}

/// Lines that hold `word` where it is not part of a longer name.
fn uses<'a>(lines: &'a [Line], word: &'a str) -> impl Iterator<Item = &'a Line> {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    lines.iter().filter(move |line| {
        line.code.match_indices(word).any(|(at, _)| {
            let before = line.code[..at].chars().next_back();
            let after = line.code[at + word.len()..].chars().next();
            let starts = word.starts_with(part);
            let ends = word.ends_with(part);
            !(starts && before.is_some_and(part) || ends && after.is_some_and(part))
        })
    })
}

fn refuse(lines: &[Line], words: &[&str], allowed: impl Fn(&Line) -> bool, why: &str) {
    let mut found = String::new();
    for word in words {
        for line in uses(lines, word).filter(|line| !allowed(line)) {
            found += &format!("\n{}:{}: {}", line.file.display(), line.number, line.code.trim());
        }
    }
    assert!(found.is_empty(), "{why}:{found}");
}

#[test]
fn the_core_is_sans_io() {
    let words = [
        "std::time",
        "Instant",
        "SystemTime",
        "UNIX_EPOCH",
        "std::fs",
        "File",
        "OpenOptions",
        "std::io",
        "UdpSocket",
        "TcpStream",
        "TcpListener",
        "ToSocketAddrs",
        "std::thread",
        "thread_local",
        "Mutex",
        "RwLock",
        "Condvar",
        "std::sync",
        "mpsc",
        "std::env",
        "std::process",
        "getrandom",
        "OsRng",
        "thread_rng",
        "SystemRandom",
        "rand",
        "RandomState",
        "println",
        "eprintln",
        "print",
        "eprint",
        "tracing",
        "log",
        "libc",
        "nix",
        "mio",
        "socket2",
        "unsafe",
        "static mut",
        "async",
    ];
    refuse(&source("daemon/proto/src"), &words, |_| false, "udpx-proto is a pure function of its input");
    let root = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"));
    assert!(root.expect("the root of the crate").contains("#![forbid(unsafe_code)]"));
}

#[test]
fn hash_maps_with_random_order_stay_out_of_the_core() {
    // Their order differs from run to run, so a seed would not replay; the harness only looks things up.
    let allowed = |line: &Line| line.file.components().any(|part| part.as_os_str() == "testing");
    let lines = source("daemon/proto/src");
    refuse(&lines, &["HashMap", "HashSet"], allowed, "the order of a hash map is no function of a seed");
}

#[test]
fn wire_parsing_is_casts() {
    // Only the align-1 integers decode bytes; key material and simulations are no wire.
    let allowed = |line: &Line| {
        line.file.ends_with("wire/le.rs")
            || line.file.ends_with("keys/suite.rs")
            || line.file.components().any(|part| part.as_os_str() == "testing")
    };
    let words = [
        "from_le_bytes",
        "from_be_bytes",
        "from_ne_bytes",
        "read_u16",
        "read_u32",
        "read_u64",
        "byteorder",
        "transmute",
        "get_u16",
        "get_u32",
        "get_u64",
        "from_str_radix",
    ];
    refuse(&source("daemon/proto/src"), &words, allowed, "wire structs are cast with bytemuck");

    // And the files that define the wire do cast.
    let source_root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in [
        "wire/header.rs",
        "wire/bulk.rs",
        "wire/frame.rs",
        "wire/sack.rs",
        "handshake/wire.rs",
        "messages/mod.rs",
    ] {
        let text = std::fs::read_to_string(source_root.join(file)).expect("the file is there");
        assert!(text.contains("Pod, Zeroable") && text.contains("bytemuck"), "{file} has no Pod structs");
        let structs = text.matches("#[repr(C)]").count();
        let asserted = text.matches("align_of::<").count();
        assert!(asserted >= structs, "{file}: {structs} wire structs, {asserted} checks of their layout");
    }
}

#[test]
fn threads_are_joined_by_bounded_channels() {
    let words = ["unbounded", "mpsc", "tokio", "flume", "async_channel"];
    for root in ["daemon/src", "daemon/udp/src", "cli/src"] {
        let lines = source(root);
        refuse(&lines, &words, |_| false, "channels between threads are bounded crossbeam ones");
    }
    let bounded = source("daemon/src");
    assert!(uses(&bounded, "bounded").count() > 0, "the daemon's threads are joined by something");
}
