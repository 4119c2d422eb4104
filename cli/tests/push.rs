//! Pushes to a receiver in another process: what arrives, what is said, and the exit codes.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;

use support::{Home, Ran, Receiver};

struct Lab {
    home: Home,
    receiver: Receiver,
    inbox: PathBuf,
}

impl Lab {
    fn new() -> Lab {
        let home = Home::new();
        let inbox = home.path().join("inbox");
        std::fs::create_dir(&inbox).unwrap();
        let receiver = Receiver::start(&home, &inbox, &home.key());
        Lab { home, receiver, inbox }
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.home.path().join(name), text).unwrap();
    }

    fn push(&self, line: &str) -> Ran {
        let options = self.receiver.options();
        let words = line.split_whitespace().map(str::to_owned);
        self.home.run(["push".to_owned()].into_iter().chain(words).chain(options))
    }

    fn received(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.inbox.join(path)).ok()
    }
}

#[test]
fn files_arrive_under_the_names_that_were_asked_for() {
    let lab = Lab::new();
    lab.file("a", "alpha");
    lab.file("b", "beta");
    for (line, path, text) in [
        ("a 127.0.0.1", "a", "alpha"),
        ("a 127.0.0.1:c", "c", "alpha"),
        ("b 127.0.0.1:deep/down/", "deep/down/b", "beta"),
        ("b 127.0.0.1:a", "a", "beta"),
    ] {
        let ran = lab.push(line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        assert_eq!(lab.received(path).as_deref(), Some(text), "{line}");
        assert!(ran.stdout.contains("blake3") && ran.stdout.contains("control"), "{ran:?}");
    }
    let ran = lab.push("--json a b 127.0.0.1:both/");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.events().iter().filter(|event| event["event"] == "file").count(), 2);
    assert_eq!(ran.last_event()["files"], 2);
    assert_eq!((lab.received("both/a"), lab.received("both/b")), (Some("alpha".into()), Some("beta".into())));
}

#[test]
fn what_exists_is_treated_as_asked() {
    let lab = Lab::new();
    lab.file("a", "new");
    let set = || std::fs::write(lab.inbox.join("a"), "old").unwrap();
    set();
    let ran = lab.push("a 127.0.0.1 --if-exists skip");
    assert_eq!((ran.code, lab.received("a").unwrap().as_str()), (0, "old"), "{ran:?}");
    let ran = lab.push("a 127.0.0.1 --if-exists fail");
    assert_ne!(ran.code, 0, "{ran:?}");
    assert_eq!(lab.received("a").unwrap(), "old");
    let ran = lab.push("a 127.0.0.1 --if-exists rename");
    assert_eq!((ran.code, lab.received("a").unwrap().as_str()), (0, "old"), "{ran:?}");
    assert_eq!(std::fs::read_dir(&lab.inbox).unwrap().count(), 2);
    let ran = lab.push("a 127.0.0.1 --if-exists replace");
    assert_eq!((ran.code, lab.received("a").unwrap().as_str()), (0, "new"), "{ran:?}");
}

#[test]
fn some_of_several_files_failing_is_code_4() {
    let lab = Lab::new();
    lab.file("a", "alpha");
    let ran = lab.push("a missing 127.0.0.1");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("missing") && ran.stderr.contains("1 of 2 files failed"), "{ran:?}");
    assert_eq!(lab.received("a").as_deref(), Some("alpha"));
    let ran = lab.push("--json missing gone 127.0.0.1");
    assert_eq!(ran.code, 66, "{ran:?}");
    assert_eq!(ran.last_event()["kind"], "no-source");
}

#[test]
fn a_stranger_is_refused_and_told_what_to_do() {
    let lab = Lab::new();
    lab.file("a", "alpha");
    let ran = lab.push("a 127.0.0.1 --identity other.key");
    assert_eq!(ran.code, 77, "{ran:?}");
    assert!(ran.stderr.contains("key"), "{ran:?}");
    assert_eq!(lab.received("a"), None);
}

#[test]
fn a_silent_host_is_unreachable() {
    let home = Home::new();
    std::fs::write(home.path().join("a"), "alpha").unwrap();
    // Bound, so that nothing answers and no ICMP error comes either.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let ran = home.line(&format!("push a 127.0.0.1 --timeout 3s --port {port} --peer-key {}", home.key()));
    assert_eq!(ran.code, 68, "{ran:?}");
    assert!(ran.stderr.contains("no answer from 127.0.0.1 for 2 s, retrying"), "{ran:?}");
}

#[test]
fn a_peer_of_the_file_needs_no_key_on_the_command_line() {
    let lab = Lab::new();
    lab.file("a", "alpha");
    let config = lab.home.path().join(".config/udpx");
    std::fs::create_dir_all(&config).unwrap();
    let text = format!("[[peer]]\nname = \"bob\"\naddress = \"127.0.0.1\"\nkey = \"{}\"\n", lab.receiver.key);
    std::fs::write(config.join("peers.toml"), text).unwrap();
    let ran = lab.home.line(&format!("push a bob:x --port {}", lab.receiver.port));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("bob:"), "{ran:?}");
    assert_eq!(lab.received("x").as_deref(), Some("alpha"));
}
