//! What a mistake in the command line says, and its exit code.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use support::Home;

#[test]
fn mistakes_and_their_codes() {
    let home = Home::new();
    std::fs::write(home.path().join("file"), "x").unwrap();
    std::fs::create_dir_all(home.path().join("dir")).unwrap();
    std::fs::write(home.path().join("dir/file"), "y").unwrap();
    let key = home.key();
    let table: &[(&str, i32, &[&str])] = &[
        ("", 2, &["Usage: udpxctl"]),
        ("fly", 2, &["unrecognized subcommand 'fly'"]),
        ("push", 2, &["required arguments were not provided", "FILE"]),
        ("push file", 2, &["no destination given: udpxctl push FILE HOST"]),
        ("push file bob --streams 0", 2, &["--streams"]),
        ("push file bob --rate fast", 2, &["100mbit"]),
        ("push file bob --timeout 5", 2, &["20ms"]),
        ("push file bob --port 0", 2, &["--port"]),
        ("push file bob --peer-key abc", 2, &["udpxk1"]),
        ("push file bob --if-exists maybe", 2, &["replace, skip, fail, rename"]),
        ("push file 2001:db8::1", 2, &["IPv6 address without brackets", "Write [2001:db8::1]"]),
        ("push file bob:/", 2, &["names no root"]),
        ("push file dir/file bob", 2, &["file and dir/file would both be called file"]),
        ("push dir bob", 2, &["dir is a directory", "tar cf"]),
        ("push missing bob", 66, &["missing: No such file or directory"]),
        (
            "push file 127.0.0.1",
            78,
            &["no key is known for 127.0.0.1", "udpxctl key", "--peer-key", "peers.toml"],
        ),
        ("push -q -v file bob", 2, &["cannot be used with"]),
        ("demo --loss 1", 2, &["1%"]),
        ("demo --size 1GiB --file file", 2, &["cannot be used with"]),
        ("demo --file missing", 66, &["missing: No such file"]),
        ("demo --file dir", 66, &["not a regular file"]),
        ("demo --dir /nonexistent/x", 73, &["no directory can be made", "--dir"]),
        ("key --identity dir", 78, &["identity"]),
    ];
    for (line, code, words) in table {
        let ran = home.line(line);
        assert_eq!(ran.code, *code, "{line}: {ran:?}");
        assert_eq!(ran.stdout, "", "{line}");
        for word in *words {
            assert!(ran.stderr.contains(word), "{line}: {word:?} is not in {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("panicked"), "{line}: {}", ran.stderr);
    }
    let resolved = home.line(&format!("push file no-such-host.invalid --peer-key {key}"));
    assert_eq!(resolved.code, 68, "{resolved:?}");
    assert_eq!(home.leftovers(), [""; 0]);
}

#[test]
fn mistakes_are_events_too() {
    let home = Home::new();
    for (line, code, kind) in [
        ("--json push file", 2, "usage"),
        ("push --json", 2, "usage"),
        ("push --json missing bob", 66, "no-source"),
        ("demo --json --file missing", 66, "no-source"),
    ] {
        let ran = home.line(line);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        let event = ran.last_event();
        assert_eq!((&event["event"], &event["kind"]), (&"error".into(), &kind.into()), "{line}");
        assert_eq!(ran.stderr, "", "{line}");
    }
}

#[test]
fn a_path_that_looks_like_a_port_is_warned_of() {
    let home = Home::new();
    std::fs::write(home.path().join("file"), "x").unwrap();
    let ran = home.line("push file 127.0.0.1:4433");
    assert!(ran.stderr.contains("4433 in 127.0.0.1:4433 is taken as a file name"), "{ran:?}");
}

#[test]
fn the_key_is_made_once_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let key = home.key();
    assert!(key.starts_with("udpxk1") && key.len() == 70, "{key}");
    assert_eq!(home.key(), key);
    assert_eq!(home.line("key --json").last_event()["key"], key);
    let file = home.path().join(".local/state/udpx/identity.key");
    assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    let version = home.line("version");
    assert_eq!((version.code, version.stdout), (0, format!("udpxctl {}\n", env!("CARGO_PKG_VERSION"))));
}
