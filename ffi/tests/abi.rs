//! The ABI is kept in `ffi/abi.txt`: the exported symbols, and from C the size, alignment and offsets of every structure. A
//! change there needs another version, unless this one is not out yet: `UDPX_BLESS=1 cargo test -p udpx --test abi` writes
//! the file, with the version.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::fmt::Write as _;
use std::process::Command;

use support::{Build, build, prefix, root};

/// What the shared library exports, sorted.
fn symbols() -> Vec<String> {
    let library = prefix().join("lib/libudpx.so.0");
    let output =
        Command::new("nm").args(["--dynamic", "--defined-only", "--format=posix"]).arg(library).output();
    let output = output.expect("nm comes with the C compiler");
    let text = String::from_utf8(output.stdout).unwrap();
    let mut symbols: Vec<String> =
        text.lines().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    symbols.sort();
    symbols
}

/// The structures of the header with their fields.
fn structures(header: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for piece in header.split("typedef struct ").skip(1) {
        let Some((name, rest)) = piece.split_once(" {\n") else { continue };
        if name.contains(['\n', ';']) {
            continue;
        }
        let body = rest.split_once("\n}").unwrap().0;
        let fields = body.lines().filter(|line| line.ends_with(';') && !line.trim_start().starts_with('*'));
        let fields = fields.map(|line| {
            let name = line.trim_end_matches(';').rsplit([' ', '*']).next().unwrap();
            name.split('[').next().unwrap().to_owned()
        });
        found.push((name.to_owned(), fields.collect()));
    }
    found
}

/// As the C compiler lays them out.
fn layouts() -> String {
    let header = std::fs::read_to_string(root().join("include/udpx.h")).unwrap();
    let structures = structures(&header);
    assert!(structures.len() >= 6, "{structures:?}");
    let mut program =
        String::from("#include <stdalign.h>\n#include <stdio.h>\n#include <udpx.h>\nint main(void)\n{\n");
    for (name, fields) in &structures {
        writeln!(
            program,
            "    printf(\"struct {name} size %zu align %zu\\n\", sizeof({name}), alignof({name}));"
        )
        .unwrap();
        for field in fields {
            writeln!(program, "    printf(\"    {field} at %zu\\n\", offsetof({name}, {field}));").unwrap();
        }
    }
    program.push_str("    return 0;\n}\n");
    let place = tempfile::tempdir().unwrap();
    let source = place.path().join("layout.c");
    std::fs::write(&source, program).unwrap();
    let program = build(&source, Build::Gcc, place.path()).expect("gcc is needed to test libudpx");
    String::from_utf8(Command::new(program).output().unwrap().stdout).unwrap()
}

#[test]
fn nothing_but_udpx_is_exported() {
    let symbols = symbols();
    assert!(symbols.iter().all(|symbol| symbol.starts_with("udpx_")), "{symbols:?}");
    let header = std::fs::read_to_string(root().join("include/udpx.h")).unwrap();
    for symbol in &symbols {
        assert!(header.contains(&format!("{symbol}(")), "{symbol} is not in the header");
    }
}

#[test]
fn the_abi_is_the_one_that_is_kept() {
    let file = root().join("ffi/abi.txt");
    let version = env!("CARGO_PKG_VERSION");
    let now = format!("version {version}\n{}\n{}", symbols().join("\n"), layouts());
    let mut kept = std::fs::read_to_string(&file).unwrap();
    if std::env::var_os("UDPX_BLESS").is_some() && kept != now {
        assert!(may_change(&kept, version), "version {version} is out: its ABI cannot change any more");
        std::fs::write(&file, &now).unwrap();
        kept.clone_from(&now);
    }
    let different = kept.lines().zip(now.lines()).find(|(old, new)| old != new);
    assert!(kept == now, "the ABI has changed: raise the version and keep the new one. First: {different:?}");
}

/// Whether another ABI may take the place of the kept one: that of another version, or of one that is not out yet.
fn may_change(kept: &str, version: &str) -> bool {
    let changes = std::fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    !kept.starts_with(&format!("version {version}\n"))
        || changes.contains(&format!("## Unreleased ({version})"))
}

#[test]
fn a_version_that_is_out_keeps_its_abi() {
    assert!(!may_change("version 0.0.9\n...", "0.0.9") && may_change("version 0.0.9\n...", "0.0.10"));
}

#[test]
fn the_soname_says_the_abi() {
    let library = prefix().join("lib/libudpx.so");
    let output = Command::new("readelf").arg("--dynamic").arg(library).output().unwrap();
    assert!(String::from_utf8(output.stdout).unwrap().contains("Library soname: [libudpx.so.0]"));
}
