//! Pulls, listings and pings from a daemon in this process: what is said, and the exit codes.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::{Home, Ran};
use udpxd::config::{Config, Peer, Rights};
use udpxd::daemon::Daemon;
use udpxd::identity;
use udpxd::relay::{Impairments, Relay, RelayConfig};

struct Lab {
    home: Home,
    /// Where the daemon has its files.
    there: tempfile::TempDir,
    address: SocketAddr,
    key: String,
    _daemon: Daemon,
}

impl Lab {
    fn new() -> Lab {
        Lab::with(Rights { write: true, read: true, list: true })
    }

    fn with(rights: Rights) -> Lab {
        let (home, there) = (Home::new(), tempfile::tempdir().unwrap());
        let key = identity::parse_key(&home.key()).unwrap();
        let inbox = Some(there.path().to_path_buf());
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            peers: vec![Peer { rights, inbox, ..Peer::new("me", key) }],
            ..Config::default()
        };
        let daemon = Daemon::start_as(&config, identity::ephemeral().unwrap(), "udpxd.toml").unwrap();
        let (address, key) = (daemon.listening()[0], identity::key_text(&daemon.key()));
        Lab { home, there, address, key, _daemon: daemon }
    }

    fn file(&self, name: impl AsRef<Path>, text: &str) {
        fs::write(self.there.path().join(name), text).unwrap();
    }

    fn here(&self, path: impl AsRef<Path>) -> PathBuf {
        self.home.path().join(path)
    }

    fn run(&self, line: &str) -> Ran {
        self.run_words(line.split_whitespace().map(OsString::from).collect())
    }

    fn run_words(&self, mut words: Vec<OsString>) -> Ran {
        let port = self.address.port().to_string();
        words.extend(["--port", &port, "--peer-key", &self.key].map(OsString::from));
        self.home.run(words)
    }
}

#[test]
fn files_come_to_where_they_were_asked_for() {
    let lab = Lab::new();
    fs::create_dir(lab.there.path().join("deep")).unwrap();
    lab.file("a", "alpha");
    lab.file("deep/b", "beta");
    fs::create_dir(lab.here("place")).unwrap();
    for (line, path, text) in [
        ("127.0.0.1:a", "a", "alpha"),
        ("127.0.0.1:deep/b c", "c", "beta"),
        ("127.0.0.1:a place", "place/a", "alpha"),
        ("127.0.0.1:/inbox/deep/b new/directory/", "new/directory/b", "beta"),
        ("127.0.0.1:deep/b a", "a", "beta"),
    ] {
        let ran = lab.run(&format!("pull {line}"));
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        assert_eq!(fs::read_to_string(lab.here(path)).unwrap(), text, "{line}");
        assert!(ran.stdout.contains("blake3") && ran.stdout.contains("control"), "{ran:?}");
    }
    let ran = lab.run("pull --json --streams 2 127.0.0.1:a 127.0.0.1:deep/b both");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.events().iter().filter(|event| event["event"] == "file").count(), 2);
    assert_eq!((ran.last_event()["files"].clone(), ran.last_event()["bytes"].clone()), (2.into(), 9.into()));
    assert_eq!(fs::read_to_string(lab.here("both/b")).unwrap(), "beta");
    let ran = lab.run("pull 127.0.0.1:a --if-exists fail");
    assert_eq!(ran.code, 73, "{ran:?}");
}

#[test]
fn what_the_peer_refuses_has_its_code() {
    let lab = Lab::new();
    lab.file("a", "alpha");
    fs::create_dir(lab.there.path().join("directory")).unwrap();
    for (line, code, text) in [
        ("pull 127.0.0.1:missing", 66, "does not exist"),
        ("pull 127.0.0.1:directory", 66, "is a directory"),
        ("pull 127.0.0.1:../a", 77, "\"..\""),
        ("pull 127.0.0.1:/etc/passwd", 77, "no root \"etc\""),
        ("pull 127.0.0.1:a 127.0.0.1:missing", 4, "1 of 2 files failed"),
        ("pull a", 2, "names no file of a host"),
        ("ls 127.0.0.1:missing", 66, "does not exist"),
        ("ls 127.0.0.1:a", 66, "is not a directory"),
        ("ls 127.0.0.1:..", 77, "\"..\""),
    ] {
        let ran = lab.run(line);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        assert!(ran.stderr.contains(text), "{line}: {ran:?}");
        let json = lab.run(&format!("{line} --json"));
        assert_eq!(
            (json.code, json.last_event()["exit"].as_i64()),
            (code, Some(i64::from(code))),
            "{json:?}"
        );
    }
}

#[test]
fn each_right_is_asked_for_by_its_line() {
    let lab = Lab::with(Rights { write: false, read: false, list: false });
    lab.file("a", "alpha");
    fs::write(lab.here("mine"), "gamma").unwrap();
    for (line, right) in
        [("pull 127.0.0.1:a", "read"), ("ls 127.0.0.1", "list"), ("push mine 127.0.0.1", "write")]
    {
        let ran = lab.run(line);
        assert_eq!(ran.code, 77, "{ran:?}");
        assert!(ran.stderr.contains(&format!("[[peer]] name = \"me\": {right} = true")), "{ran:?}");
    }
    assert!(!lab.here("a").exists() && !lab.there.path().join("mine").exists());
    assert_eq!(lab.run("ping 127.0.0.1 -c 1").code, 0, "whoever is known gets echoes");
}

#[test]
fn names_of_bytes_come_and_are_listed() {
    let lab = Lab::new();
    let ran = lab.run("ls --json 127.0.0.1");
    assert_eq!((ran.code, ran.last_event()["entries"].as_u64()), (0, Some(0)), "{ran:?}");
    let odd = OsStr::from_bytes(b"\xff\n");
    lab.file(odd, "odd");
    lab.file("two\nlines", "12345");
    fs::create_dir(lab.there.path().join("a directory")).unwrap();
    std::os::unix::fs::symlink("nowhere", lab.there.path().join("link")).unwrap();
    lab.file(".udpx-0123456789abcdef.part", "half");
    let ran = lab.run("ls 127.0.0.1:");
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!((ran.code, lines.len()), (0, 4), "{ran:?}");
    assert!(lines[0].starts_with("dir    -  20") && lines[0].ends_with("Z  a directory"), "{ran:?}");
    assert!(lines[1].starts_with("other  -  ") && lines[1].ends_with("  link"), "{ran:?}");
    assert!(lines[2].starts_with("file   5  ") && lines[2].ends_with("  two\\nlines"), "{ran:?}");
    assert!(lines[3].starts_with("file   3  ") && lines[3].ends_with("  \\xff\\n"), "{ran:?}");
    let ran = lab.run("ls --json 127.0.0.1:/inbox/");
    let entries: Vec<_> = ran.events().into_iter().filter(|event| event["event"] == "entry").collect();
    assert_eq!((entries.len(), &entries[3]["name_b64"]), (4, &"/wo=".into()), "{ran:?}");
    assert_eq!((&entries[0]["kind"], &entries[2]["bytes"]), (&"dir".into(), &5.into()));
    assert_eq!(ran.last_event()["truncated"], false);
    let source = OsString::from_vec([b"127.0.0.1:", odd.as_bytes()].concat());
    let ran = lab.run_words(vec!["pull".into(), source]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read_to_string(lab.here(odd)).unwrap(), "odd");
}

#[test]
fn a_directory_of_many_pages_is_listed_whole() {
    let lab = Lab::new();
    for number in 0..5000 {
        lab.file(format!("{number:04}{}", "x".repeat(100)), "");
    }
    let ran = lab.run("ls 127.0.0.1");
    let names: Vec<&str> = ran.stdout.lines().filter_map(|line| line.split("Z  ").nth(1)).collect();
    assert!(ran.code == 0 && names.len() == 5000 && names.is_sorted(), "{}", names.len());
}

#[test]
fn echoes_come_back_or_are_counted_as_lost() {
    let lab = Lab::new();
    let ran = lab.run("ping 127.0.0.1 -c 3 -i 10ms -s 1024");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.stdout.matches("1024 bytes from 127.0.0.1: echo").count(), 3, "{ran:?}");
    assert!(ran.stdout.contains("3 of 3 echoes came back, loss 0.0 %; rtt min "), "{ran:?}");
    for wrong in ["-c 0", "-s 7", "-s 1025", "-i 1"] {
        assert_eq!(lab.run(&format!("ping 127.0.0.1 {wrong}")).code, 2, "{wrong}");
    }

    let bad = Impairments { loss: 0.2, delay: Duration::from_millis(5), ..Impairments::default() };
    let listen = "127.0.0.1:0".parse().unwrap();
    let relay = Relay::bind(RelayConfig { listen, target: lab.address, up: bad.clone(), down: bad, seed: 3 })
        .unwrap();
    let (port, stop) = (relay.local_addr().port(), relay.stopper());
    let running = std::thread::spawn(move || relay.run().unwrap());
    let key = &lab.key;
    let line = format!("ping 127.0.0.1 --json -c 60 -i 10ms --port {port} --peer-key {key}");
    let ran = lab.home.line(&line);
    let last = ran.last_event();
    let (sent, received) = (last["sent"].as_u64().unwrap(), last["received"].as_u64().unwrap());
    assert_eq!((ran.code, sent), (0, 60), "{ran:?}");
    assert!((15..60).contains(&received), "{received} of {sent}");
    assert_eq!(ran.events().iter().filter(|event| event["event"] == "echo").count() as u64, received);
    assert!(last["rtt_min_us"].as_u64().unwrap() >= 10_000, "{last}");
    stop.stop().unwrap();
    running.join().unwrap();
    let ran = lab.home.line(&format!("ping 127.0.0.1 --timeout 3s --port {port} --peer-key {key}"));
    assert_eq!(ran.code, 68, "{ran:?}");
}
