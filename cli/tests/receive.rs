//! `udpxctl receive -o` and whoever has its ticket, as processes of their own.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

use support::host::Hosting;
use support::{Home, Ran};

struct Lab {
    there: Home,
    here: Home,
}

impl Lab {
    fn new() -> Lab {
        let lab = Lab { there: Home::new(), here: Home::new() };
        std::fs::create_dir(lab.there.path().join("in")).unwrap();
        lab
    }

    fn file(&self, name: &str, len: usize) -> Vec<u8> {
        let bytes: Vec<u8> = (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        std::fs::write(self.here.path().join(name), &bytes).unwrap();
        bytes
    }

    fn got(&self) -> PathBuf {
        self.there.path().join("in/got")
    }

    /// What is where the file is to come, parts included.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.there.path().join("in")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// A push that takes some seconds, once it is on its way.
    fn slow_push(&self, ticket: &str) -> Child {
        let line = format!("push f {ticket} --rate 20mbit");
        let child = self.here.command(line.split_whitespace()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.names().iter().any(|name| name.ends_with(".part")) {
            assert!(Instant::now() < deadline, "it never began");
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(300));
        child
    }
}

#[test]
fn one_file_comes_and_that_is_the_end() {
    let lab = Lab::new();
    let bytes = lab.file("f", 5_000_001);
    std::fs::write(lab.got(), "old").unwrap();
    let host = Hosting::start(&lab.there, "receive -o in/got");
    let pushed = lab.here.line(&format!("push f {}:ignored/name", host.ticket));
    assert_eq!(pushed.code, 0, "{pushed:?}");
    assert!(pushed.stdout.contains(&format!("127.0.0.1:{}  4.8 MiB", lab.got().display())), "{pushed:?}");
    let ticket = host.ticket.clone();
    let ran = host.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with(&format!("{}  4.8 MiB in ", lab.got().display())), "{ran:?}");
    assert!(ran.stdout.contains("blake3 ") && !ran.stdout.contains(&ticket), "{ran:?}");
    assert_eq!(ran.stderr.lines().filter(|line| *line == ticket).count(), 1, "{ran:?}");
    assert!(ran.stderr.contains(&format!("  udpxctl push FILE {ticket}\n")), "{ran:?}");
    assert_eq!(std::fs::read(lab.got()).unwrap(), bytes);
    assert_eq!(lab.names(), ["got"]);
    let again = lab.here.line(&format!("push f {ticket}"));
    assert_eq!(again.code, 68, "{again:?}");
    assert!(again.stderr.contains("The command that printed the ticket has ended"), "{again:?}");
}

#[test]
fn an_empty_file_is_one_too_and_events_tell_of_it() {
    let lab = Lab::new();
    lab.file("f", 0);
    let host = Hosting::start(&lab.there, "receive -o in/got --json");
    assert_eq!(lab.here.line(&format!("push f {}", host.ticket)).code, 0);
    let ran = host.end();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let events = ran.events();
    assert_eq!(events[0]["event"], "ticket");
    let last = ran.last_event();
    assert_eq!((&last["event"], &last["bytes"], &last["files"]), (&"summary".into(), &0.into(), &1.into()));
    assert_eq!(last["path"], lab.got().to_str().unwrap());
    assert_eq!(std::fs::read(lab.got()).unwrap(), b"");
    let quiet = Hosting::start(&lab.there, "receive -q -o in/got");
    assert_eq!(lab.here.line(&format!("push f {}", quiet.ticket)).code, 0);
    let ticket = quiet.ticket.clone();
    let ran = quiet.end();
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.trim()), (0, "", ticket.as_str()));
}

#[test]
fn of_two_senders_exactly_one_wins() {
    let lab = Lab::new();
    lab.file("f", 3_000_000);
    let host = Hosting::start(&lab.there, "receive -o in/got");
    let homes: Vec<Home> = (0..3).map(|_| Home::new()).collect();
    let children: Vec<Child> = homes
        .iter()
        .map(|home| {
            std::fs::copy(lab.here.path().join("f"), home.path().join("f")).unwrap();
            home.command(["push", "f", &host.ticket, "--rate", "20mbit"]).spawn().unwrap()
        })
        .collect();
    let ran: Vec<Ran> =
        children.into_iter().map(|child| Ran::of(&child.wait_with_output().unwrap())).collect();
    let (won, lost): (Vec<_>, Vec<_>) = ran.into_iter().partition(|ran| ran.code == 0);
    assert_eq!(won.len(), 1, "{lost:?}");
    for ran in lost {
        assert_eq!(ran.code, 77, "{ran:?}");
        assert!(ran.stderr.contains("127.0.0.1: this ticket was used by another machine already"), "{ran:?}");
    }
    let ran = host.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("was refused: This ticket was used by another machine"), "{ran:?}");
    assert_eq!(lab.names(), ["got"]);
}

#[test]
fn ctrl_c_leaves_nothing() {
    let lab = Lab::new();
    lab.file("f", 8_000_000);
    let host = Hosting::start(&lab.there, "receive -o in/got");
    let sender = lab.slow_push(&host.ticket);
    host.interrupt();
    let ran = host.end();
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.stderr.ends_with("The ticket is void now; the same command makes a new one.\n"), "{ran:?}");
    assert!(lab.names().is_empty(), "{:?}", lab.names());
    let begun = Instant::now();
    let sender = Ran::of(&sender.wait_with_output().unwrap());
    assert_eq!(sender.code, 77, "{sender:?}");
    assert!(sender.stderr.contains("127.0.0.1: this ticket is void"), "{sender:?}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let early = Hosting::start(&lab.there, "receive -o in/got");
    early.interrupt();
    assert_eq!(early.end().code, 130);
}

#[test]
fn a_sender_that_was_killed_can_come_again() {
    let lab = Lab::new();
    let bytes = lab.file("f", 8_000_000);
    let host = Hosting::start(&lab.there, "receive -o in/got");
    let mut sender = lab.slow_push(&host.ticket);
    sender.kill().unwrap();
    sender.wait().unwrap();
    let stranger = Home::new();
    std::fs::write(stranger.path().join("f"), "not theirs").unwrap();
    assert_eq!(stranger.line(&format!("push f {}", host.ticket)).code, 77);
    let again = lab.here.line(&format!("push f {}", host.ticket));
    assert_eq!(again.code, 0, "{again:?}");
    let ran = host.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(std::fs::read(lab.got()).unwrap(), bytes);
    assert_eq!(lab.names(), ["got"]);
}

#[test]
fn a_sender_that_gives_up_is_told_of_and_waited_for() {
    let lab = Lab::new();
    lab.file("f", 8_000_000);
    let host = Hosting::start(&lab.there, "receive -o in/got");
    let sender = lab.slow_push(&host.ticket);
    let id = sender.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(Ran::of(&sender.wait_with_output().unwrap()).code, 130);
    assert_eq!(lab.here.line(&format!("push f {}", host.ticket)).code, 0);
    let ran = host.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("it did not come: ") && ran.stderr.contains("may try again"), "{ran:?}");
}

#[test]
fn a_ticket_that_nobody_used_in_time() {
    let lab = Lab::new();
    let host = Hosting::start(&lab.there, "receive -o in/got --expires 1s");
    let ran = host.end();
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(ran.stderr.contains("nobody came before the ticket expired"), "{ran:?}");
}

#[test]
fn mistakes_of_whoever_receives() {
    let lab = Lab::new();
    for (line, code, words) in [
        ("receive --json", 2, "-o FILE"),
        ("receive -o in", 73, "is a directory"),
        ("receive -o in/new/", 73, "is a directory"),
        ("receive -o missing/got", 73, "does not exist"),
        ("receive -o in/got extra", 2, "unexpected argument"),
    ] {
        let ran = lab.there.line(line);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        let told = format!("{}{}", ran.stdout, ran.stderr);
        assert!(told.contains(words), "{line}: {ran:?}");
    }
    let host = Hosting::start(&lab.there, "receive -o in/got");
    for line in [format!("pull {}:x", host.ticket), format!("ls {}", host.ticket)] {
        let ran = lab.here.line(&line);
        assert_eq!(ran.code, 77, "{ran:?}");
        assert!(ran.stderr.contains("this ticket is for one file to be pushed"), "{ran:?}");
    }
}

#[test]
fn a_place_that_cannot_be_written_ends_it() {
    if nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED a_place_that_cannot_be_written_ends_it: root may write anywhere");
        return;
    }
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    lab.file("f", 10);
    let inside = lab.there.path().join("in");
    std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o555)).unwrap();
    let host = Hosting::start(&lab.there, "receive -o in/got");
    assert_eq!(lab.here.line(&format!("push f {}", host.ticket)).code, 73);
    let ran = host.end();
    assert!(ran.code == 73 && ran.stderr.contains("can't be written"), "{ran:?}");
    std::fs::set_permissions(&inside, std::fs::Permissions::from_mode(0o755)).unwrap();
}
