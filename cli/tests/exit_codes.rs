//! Every way in which a push to a real `udpxd` ends badly: its exit code, one line what, one line what to do.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::io::Write;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use support::daemon::{Bob, udpxd};
use support::{Home, Ran};

/// How it should have ended.
struct End {
    code: i32,
    kind: &'static str,
    /// In the line that says what.
    text: &'static [&'static str],
    /// In the line that says what to do.
    remedy: &'static [&'static str],
}

fn end(code: i32, kind: &'static str, text: &'static [&'static str], remedy: &'static [&'static str]) -> End {
    End { code, kind, text, remedy }
}

/// Checks how a command ended, whether it spoke in lines or in JSON.
fn check(what: &str, ran: &Ran, end: &End) {
    assert_eq!(ran.code, end.code, "{what}: {ran:?}");
    let (text, remedy) = if ran.stdout.starts_with('{') {
        let event = ran.last_event();
        assert_eq!(
            (event["event"].as_str(), event["kind"].as_str()),
            (Some("error"), Some(end.kind)),
            "{what}"
        );
        assert_eq!(event["exit"].as_i64(), Some(i64::from(end.code)), "{what}");
        let word = |key: &str| event[key].as_str().unwrap().to_owned();
        (word("text"), word("remedy"))
    } else {
        let lines: Vec<&str> = ran.stderr.lines().collect();
        let [.., text, remedy] = lines.as_slice() else { panic!("{what}: {ran:?}") };
        let text = text.strip_prefix("udpxctl: ").unwrap_or_else(|| panic!("{what}: {ran:?}"));
        (text.to_owned(), remedy.strip_prefix("  ").unwrap_or_else(|| panic!("{what}: {ran:?}")).to_owned())
    };
    for (words, line) in [(end.text, &text), (end.remedy, &remedy)] {
        for word in words {
            assert!(line.contains(word), "{what}: {word:?} is not in {line:?} of {ran:?}");
        }
    }
    assert!(!text.ends_with('.') && remedy.ends_with(['.', '"', '}', ']']), "{what}: {text:?} {remedy:?}");
}

#[test]
fn what_is_refused_before_data_flows() {
    let bob = Bob::start();
    bob.file("f", 100_000);
    std::fs::create_dir_all(bob.inbox().join("taken/f")).unwrap();
    std::fs::write(bob.inbox().join("there"), "old").unwrap();
    let table = [
        ("f", end(2, "usage", &["no destination given: udpxctl push FILE HOST"], &["udpxctl --help"])),
        ("- bob", end(2, "usage", &["standard input"], &["udpxctl push - bob:NAME"])),
        ("missing bob", end(66, "no-source", &["missing: No such file"], &["Check the path"])),
        ("f missing bob", end(4, "partly", &["1 of 2 files failed"], &["for those files"])),
        ("f bob:taken", end(73, "no-space", &["bob: ", "taken", "is a directory"], &["Give the name"])),
        ("f bob:there/f", end(73, "no-space", &["bob: ", "not a directory"], &["Choose another name"])),
        ("f bob:there --if-exists fail", end(73, "no-space", &["bob: ", "exists already"], &["replace"])),
        ("f bob:../x", end(77, "refused", &["bob: "], &[])),
        (
            "f bob --identity other",
            end(77, "refused", &["bob: this machine does not know your key"], &["On bob, add to", "udpxk1"]),
        ),
        ("f carol", end(78, "config", &["no key is known for carol"], &["udpxctl key", "--peer-key"])),
    ];
    for (line, end) in &table {
        check(line, &bob.pushed(line), end);
        check(line, &bob.pushed(&format!("--json {line}")), end);
    }
    assert_eq!(bob.names(), ["f", "taken", "there"], "f came with the one that is missing");
}

#[test]
fn nobody_answers() {
    let bob = Bob::start();
    bob.file("f", 100);
    // Bound, so that nothing answers and no ICMP error comes either.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silence =
        end(68, "unreachable", &["bob does not answer"], &["Check that udpxd runs there", "firewall"]);
    let refusal = end(68, "unreachable", &["nothing listens on UDP port"], &["Start udpxd there."]);
    for (port, seconds, end) in
        [(silent.local_addr().unwrap().port(), 2..4, silence), (closed, 0..3, refusal)]
    {
        for json in ["", "--json"] {
            let begun = Instant::now();
            let ran = bob.home.line(&format!("push {json} f bob --timeout 2s --port {port}"));
            check("nobody", &ran, &end);
            assert!(seconds.contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
        }
    }
}

/// A push of a file that takes some seconds, in the middle.
struct Push<'b> {
    bob: &'b Bob,
    child: Child,
}

impl Push<'_> {
    fn begin<'b>(bob: &'b Bob, options: &str) -> Push<'b> {
        let child = bob.push(&format!("f bob --rate 20mbit {options}")).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !bob.names().iter().any(|name| name.ends_with(".part")) {
            assert!(Instant::now() < deadline, "it never began");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
        Push { bob, child }
    }

    fn end(self) -> Ran {
        let ran = Ran::of(&self.child.wait_with_output().unwrap());
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.bob.names().is_empty() {
            assert!(Instant::now() < deadline, "{:?} stays in the inbox", self.bob.names());
            std::thread::sleep(Duration::from_millis(10));
        }
        ran
    }
}

#[test]
fn a_source_that_changes_under_way() {
    let bob = Bob::start();
    let append = |path: &Path| {
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    };
    let truncate = |path: &Path| {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1 << 20).unwrap();
    };
    let rewrite = |path: &Path| {
        std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all(b"other").unwrap();
    };
    type Change<'a> = (&'static [&'static str], &'a dyn Fn(&Path));
    let changes: [Change<'_>; 4] = [
        (&["f\" was truncated while it was being sent"], &truncate),
        (&["f\" grew while it was being sent"], &append),
        (&["f\" was rewritten while it was being sent"], &rewrite),
        (&["f\" was deleted while it was being sent"], &|path| std::fs::remove_file(path).unwrap()),
    ];
    for (at, (text, change)) in changes.into_iter().enumerate() {
        let path = bob.file("f", 6 << 20);
        let push = Push::begin(&bob, if at % 2 == 0 { "" } else { "--json" });
        change(&path);
        let end = End {
            code: 67,
            kind: "source-changed",
            text: &[],
            remedy: &["Send it again when nothing writes to it."],
        };
        check(text[0], &push.end(), &End { text, ..end });
    }
}

#[test]
fn an_interrupted_push() {
    let bob = Bob::start();
    bob.file("f", 16 << 20);
    let interrupted = end(130, "interrupted", &["interrupted"], &["The same command can be run again."]);
    for options in ["", "--json"] {
        let push = Push::begin(&bob, options);
        let id = push.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        let begun = Instant::now();
        check("Ctrl-C", &push.end(), &interrupted);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn a_daemon_that_is_killed_and_never_back() {
    let mut bob = Bob::start();
    bob.file("f", 16 << 20);
    let child = bob.push("f bob --rate 20mbit --timeout 3s").spawn().unwrap();
    std::thread::sleep(Duration::from_millis(700));
    bob.kill();
    let begun = Instant::now();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    check("killed", &ran, &end(68, "unreachable", &["bob has not answered for 3 s"], &["udpxd runs there"]));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    let silent = ran.stderr.lines().filter(|line| line.starts_with("no answer from bob")).count();
    assert_eq!(silent, 1, "{ran:?}");
}

#[test]
fn an_inbox_that_cannot_be_written() {
    // Root may write anywhere: it runs the daemon as somebody else.
    let nobody = nix::unistd::geteuid().is_root().then_some(65534);
    let bob = Bob::start_as(nobody);
    bob.file("f", 100);
    let mode = |mode| std::fs::set_permissions(bob.inbox(), std::fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    let unwritable = end(73, "no-space", &["bob: ", "f\" can't be written by"], &["Grant write permission"]);
    for json in ["", "--json"] {
        check("unwritable", &bob.pushed(&format!("{json} f bob")), &unwritable);
    }
    mode(0o755);
}

/// A small file system over a directory, for as long as it lives.
struct Tmpfs<'p>(&'p Path);

impl Drop for Tmpfs<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[test]
fn a_file_system_that_is_full() {
    let bob = Bob::start();
    bob.file("f", 3 << 20);
    let inbox = bob.inbox();
    let small = bob.home.path().join("bob/inbox/alice/small");
    std::fs::create_dir(&small).unwrap();
    let mut mount = Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&small);
    if !mount.status().is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a_file_system_that_is_full: only root can mount a small one to fill");
        return;
    }
    let _tmpfs = Tmpfs(&small);
    let full = end(73, "no-space", &["bob: ", "needs 3", "2"], &["ree some space"]);
    for json in ["", "--json"] {
        check("full", &bob.pushed(&format!("{json} f bob:small/f")), &full);
    }
    assert_eq!(std::fs::read_dir(inbox.join("small")).unwrap().count(), 0);
}

#[test]
fn a_configuration_of_udpxd_that_is_wrong() {
    let home = Home::new();
    let config = home.path().join("udpxd.toml");
    for (text, words) in [
        ("listen = 7\n", &["udpxd.toml", "listen"][..]),
        ("colour = \"red\"\n", &["udpxd.toml", "colour"]),
        ("[[peer]]\nname = \"a\"\n", &["udpxd.toml", "key"]),
    ] {
        std::fs::write(&config, text).unwrap();
        for command in ["run", "check"] {
            let output = Command::new(udpxd()).args([command, "--config"]).arg(&config).output().unwrap();
            let ran = Ran::of(&output);
            assert_eq!(ran.code, 78, "{text}: {ran:?}");
            assert!(ran.stderr.starts_with("udpxd: "), "{ran:?}");
            for word in words {
                assert!(ran.stderr.contains(word), "{word:?} is not in {ran:?}");
            }
        }
    }
}

#[test]
fn a_result_that_cannot_be_written() {
    let bob = Bob::start();
    bob.file("f", 10);
    let full = || std::fs::File::create("/dev/full").unwrap();
    for line in ["key", "key --json", "version"] {
        let output = bob.home.command(line.split(' ')).stdout(full()).output().unwrap();
        check(
            line,
            &Ran::of(&output),
            &end(74, "io", &["standard output cannot be written"], &["Free space"]),
        );
    }
    for line in ["f bob", "--json f bob"] {
        let output = bob.push(line).stdout(full()).output().unwrap();
        check(
            line,
            &Ran::of(&output),
            &end(74, "io", &["standard output cannot be written"], &["Free space"]),
        );
        assert_eq!(bob.names(), ["f"], "the file has arrived all the same");
    }
    // Whoever closes the pipe has read enough.
    let mut child = bob.home.command(["key"]).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(bob.config().exists());
}
