//! Commands through real daemons on both ends: many files, many clients, many destinations.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::fs;
use std::time::Duration;

use support::Ran;
use support::two::{Two, names, until};

#[test]
fn a_job_of_many_files_is_paused_and_resumed() {
    let two = Two::start();
    let files: Vec<String> = (0..40).map(|number| format!("file{number:02}")).collect();
    for name in &files {
        two.a.file(name, 1 << 20);
    }
    let line = format!("push {} b:many/ --limit 80mbit", files.join(" "));
    let child = two.a.begun(&line);
    until("some of it has arrived", || two.inbox().join("many/file01").exists());
    support::interrupt(&child);
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert!(ran.code == 130 && ran.stderr.contains("job 1 is paused"), "{ran:?}");
    let whole = names(&two.inbox().join("many")).into_iter().filter(|name| !name.starts_with('.'));
    assert!(whole.count() < 40, "it was to be interrupted");
    assert_eq!(two.a.ran("limit 1 none").code, 0);
    let ran = two.a.ran("resume 1 --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.last_event()["files"], 40, "what had arrived before is told too");
    assert_eq!(names(&two.inbox().join("many")), files);
    let shown = two.a.ran("show 1");
    assert!(
        shown.stdout.contains("and 24 more") && shown.stdout.contains("files        40 of 40"),
        "{shown:?}"
    );
}

#[test]
fn a_file_that_is_not_there_does_not_hold_up_the_others() {
    let two = Two::start();
    two.a.file("here", 100);
    let ran = two.a.ran("push here gone b");
    assert!(
        ran.code == 4 && ran.stderr.contains("gone") && ran.stderr.contains("1 of 2 files failed"),
        "{ran:?}"
    );
    assert_eq!(two.arrived(), ["here"]);
    let events = two.a.ran("push here gone b --json").events();
    let failed = events.iter().find(|event| event["ok"] == false).unwrap();
    assert_eq!((&failed["name"], &failed["code"]), (&"gone".into(), &66.into()), "{events:?}");
    assert_eq!(two.a.ran("watch 1").code, 4, "the code is the job's");
}

#[test]
fn several_destinations_are_a_job_each() {
    let two = Two::start();
    two.a.file("f", 1 << 20);
    let ran = two.a.ran("push f b:one/ --to b:two/ --to nobody");
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains("nobody: ") && ran.stderr.contains("1 of 3 hosts failed"), "{ran:?}");
    assert!(two.inbox().join("one/f").exists() && two.inbox().join("two/f").exists());
    let jobs = two.a.ran("jobs --all");
    assert_eq!(jobs.stdout.lines().filter(|line| line.contains(" done ")).count(), 2, "{jobs:?}");
    assert!(two.a.ran("jobs").stdout.starts_with("no jobs"));
}

#[test]
fn twenty_clients_at_once() {
    let two = Two::start();
    let children: Vec<_> = (0..20)
        .map(|number| {
            two.a.file(&format!("f{number}"), (1 << 20) + number);
            two.a.begun(&format!("push f{number} b:all/ --json"))
        })
        .collect();
    for child in children {
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.last_event()["files"], 1);
    }
    let arrived = names(&two.inbox().join("all"));
    assert_eq!(arrived.len(), 20, "{arrived:?}");
    for name in arrived {
        let (sent, got) = (fs::read(two.a.home.join(&name)), fs::read(two.inbox().join("all").join(&name)));
        assert_eq!(sent.unwrap(), got.unwrap(), "{name}");
    }
}

#[test]
fn a_deadline_a_limit_and_a_cancel() {
    let two = Two::start();
    two.a.file("f", 20 << 20);
    let ran = two.a.ran("push f b:late --limit 8mbit --deadline 2s");
    assert!(ran.code == 75 && !ran.stderr.is_empty(), "{ran:?}");
    let child = two.a.begun("push f b:cancelled --limit 8mbit");
    until("it runs", || two.a.ran("jobs").stdout.contains(" running "));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(two.a.ran("cancel 2").code, 0);
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert!(ran.code == 130 && ran.stderr.contains("job 2 was cancelled"), "{ran:?}");
    assert_eq!(two.arrived(), [""; 0], "no part is left");
    let ran = two.a.ran("cancel 2");
    assert!(ran.code == 2 && ran.stderr.contains("Job 2 was cancelled."), "{ran:?}");
}
