//! Two machines whose daemons may enter nobody's home, and their users: everything a job does with a user's own files.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use support::Ran;
use support::two::{Two, names, until};

#[test]
fn files_of_closed_homes_go_there_and_come_back_with_their_owners_rights() {
    let two = Two::start();
    let sent = two.a.file("sent", (5 << 20) + 7);
    let ran = two.a.ran("push sent b:deep/");
    assert!(ran.code == 0 && ran.stdout.contains("b:") && ran.stdout.contains("deep/sent"), "{ran:?}");
    assert_eq!(fs::read(two.inbox().join("deep/sent")).unwrap(), fs::read(&sent).unwrap());
    let ran = two.a.ran("pull b:deep/sent new/place/");
    assert_eq!(ran.code, 0, "{ran:?}");
    let got = two.a.home.join("new/place/sent");
    assert_eq!(fs::read(&got).unwrap(), fs::read(&sent).unwrap());
    let (file, directory) = (fs::metadata(&got).unwrap(), fs::metadata(two.a.home.join("new")).unwrap());
    if let Some((daemon, user)) = two.a.uids {
        assert_eq!((file.uid(), directory.uid()), (user, user), "not the daemon's ({daemon})");
        assert_eq!(fs::metadata(two.inbox().join("deep/sent")).unwrap().uid(), two.b.uids.unwrap().0);
    } else {
        println!("SKIPPED the users of files: needs root");
    }
    assert_eq!(file.permissions().mode() & 0o7007, 0);
    assert_eq!(names(&two.a.home.join("new/place")), ["sent"], "no part is left");
    let listed = two.a.ran("ls b:deep");
    assert!(listed.code == 0 && listed.stdout.contains("sent"), "{listed:?}");
    let echoes = two.a.ran("ping -c 2 -i 10ms b");
    assert!(echoes.code == 0 && echoes.stdout.contains("2 of 2"), "{echoes:?}");
}

#[test]
fn a_job_of_the_daemon_is_traced_and_drawn_for_its_user() {
    let two = Two::start();
    two.a.file("sent", 3 << 20);
    let ran = two.a.ran("push sent b --trace trace --plot job.svg");
    assert_eq!(ran.code, 0, "{ran:?}");
    let trace = fs::read_to_string(two.a.home.join("trace")).unwrap();
    let sent = trace.lines().filter(|line| line.contains(" SEND ")).count();
    assert!(sent > 300 && trace.contains(" RECV "), "{sent} of {} lines", trace.lines().count());
    assert!(fs::read_to_string(two.a.home.join("job.svg")).unwrap().contains("</svg>"));
    let ran = two.a.ran("show 1 --plot again.svg");
    assert_eq!(ran.code, 0, "{ran:?}");
    // What cannot be written is told before anything is sent.
    let ran = two.a.ran("push sent b:other --trace no/such/directory");
    assert!(ran.code == 74 && !two.arrived().contains(&"other".to_owned()), "{ran:?}");
}

#[test]
fn what_a_user_may_not_the_daemon_does_not_for_her() {
    let two = Two::start();
    if !Uid::effective().is_root() {
        println!("SKIPPED rights of users: needs root");
        return;
    }
    // Of another user: neither read, nor written to.
    let others = two.b.file("others", 10);
    let ran = two.a.ran(&format!("push {} b", others.display()));
    assert!(ran.code == 66 && !ran.stderr.is_empty(), "{ran:?}");
    two.a.file("mine", 10);
    assert_eq!(two.a.ran("push mine b").code, 0);
    let ran = two.a.ran(&format!("pull b:mine {}/x", two.b.home.display()));
    assert!(ran.code == 73 && ran.stderr.contains("home-b"), "{ran:?}");
    assert_eq!(names(&two.b.home), ["others"]);
}

#[test]
fn a_detached_job_goes_on_by_itself() {
    let two = Two::start();
    let sent = two.a.file("sent", 8 << 20);
    let ran = two.a.ran("push --detach --limit 40mbit sent b");
    assert!(ran.code == 0 && ran.stdout.trim() == "1", "{ran:?}");
    until("the file arrives", || two.arrived() == ["sent"]);
    assert_eq!(fs::read(two.inbox().join("sent")).unwrap(), fs::read(&sent).unwrap());
    let ran = two.a.ran("watch 1");
    assert_eq!(ran.code, 0, "{ran:?}");
    let ran = two.a.ran("show 1 --json");
    assert_eq!(ran.last_event()["ok"], true, "{ran:?}");
}

#[test]
fn ctrl_c_pauses_and_resume_goes_on() {
    let two = Two::start();
    let sent = two.a.file("sent", 16 << 20);
    let child = two.a.begun("push --limit 40mbit sent b");
    std::thread::sleep(Duration::from_millis(700));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.stderr.contains("udpxctl resume 1") && ran.stderr.contains("udpxctl cancel 1"), "{ran:?}");
    let jobs = two.a.ran("jobs");
    assert!(jobs.stdout.contains("paused"), "{jobs:?}");
    until("b has nothing of it", || two.arrived().is_empty());
    assert_eq!(two.a.ran("limit 1 none").code, 0);
    let ran = two.a.ran("resume 1");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read(two.inbox().join("sent")).unwrap(), fs::read(&sent).unwrap());
}

#[test]
fn a_closed_terminal_leaves_the_job_running() {
    let two = Two::start();
    let sent = two.a.file("sent", 8 << 20);
    let child = two.a.begun("push --limit 40mbit sent b");
    std::thread::sleep(Duration::from_millis(500));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGHUP).unwrap();
    child.wait_with_output().unwrap();
    until("the file arrives", || two.arrived() == ["sent"]);
    assert_eq!(fs::read(two.inbox().join("sent")).unwrap(), fs::read(&sent).unwrap());
}

#[test]
fn the_command_waits_for_a_daemon_that_is_started_again() {
    let mut two = Two::start();
    let sent = two.a.file("sent", 16 << 20);
    let child = two.a.begun("push --limit 80mbit sent b");
    std::thread::sleep(Duration::from_millis(600));
    two.a.end(Signal::SIGKILL);
    two.b.end(Signal::SIGTERM);
    std::thread::sleep(Duration::from_millis(300));
    two.b.start();
    two.a.start();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(fs::read(two.inbox().join("sent")).unwrap(), fs::read(&sent).unwrap());
    assert_eq!(two.arrived(), ["sent"]);
}

/// A seed for the moments; another one with UDPX_FRESH in the environment.
fn moments() -> impl FnMut(u64) -> u64 {
    let fresh = std::env::var("UDPX_FRESH").ok().and_then(|seed| seed.parse().ok());
    let mut state: u64 = fresh.unwrap_or(0x5eed);
    println!("moments of seed {state}");
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[test]
fn signals_at_any_moment_tear_nothing() {
    let mut two = Two::start();
    let mut moment = moments();
    let sent = two.a.file("sent", 3 << 20);
    let whole = fs::read(&sent).unwrap();
    assert_eq!(two.a.ran("push sent b:source").code, 0);
    for round in 0..18 {
        let pulls = moment(2) == 1;
        let line = match pulls {
            true => format!("pull --limit 60mbit b:source got-{round}"),
            false => format!("push --limit 60mbit sent b:sent-{round}"),
        };
        let mut child = two.a.begun(&line);
        std::thread::sleep(Duration::from_millis(moment(500)));
        let victim = moment(6);
        let signal = match moment(4) {
            0 => Signal::SIGINT,
            1 => Signal::SIGHUP,
            2 => Signal::SIGTERM,
            _ => Signal::SIGKILL,
        };
        match victim {
            0 => {
                two.a.end(if signal == Signal::SIGHUP { Signal::SIGTERM } else { signal });
                two.a.start();
            }
            1 => {
                two.b.end(if signal == Signal::SIGHUP { Signal::SIGTERM } else { signal });
                two.b.start();
            }
            _ => {
                let _ = kill(Pid::from_raw(child.id() as i32), signal);
            }
        }
        let begin = std::time::Instant::now();
        while child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(40), "{line}: {signal} at {victim} hangs it");
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(child.wait_with_output());
    }
    // Whatever is left of the jobs ends now.
    for job in 1..=19 {
        two.a.ran(&format!("cancel {job}"));
    }
    until("b has no part", || !two.arrived().iter().any(|name| name.ends_with(".part")));
    // A process that was killed could not remove its parts; the next one does.
    assert_eq!(two.a.ran("pull b:source last").code, 0);
    for (directory, prefix) in [(two.inbox(), "sent-"), (two.a.home.clone(), "got-")] {
        for name in names(&directory) {
            assert!(!name.ends_with(".part"), "{name} is left");
            if name.starts_with(prefix) {
                assert!(fs::read(directory.join(&name)).unwrap() == whole, "{name} is torn");
            }
        }
    }
}
