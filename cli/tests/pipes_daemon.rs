//! Pipes through daemons: the standard input and output of a user's `udpxctl`, which two real `udpxd` read and write.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

#[path = "support/mod.rs"]
mod support;

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::Ran;
use support::two::{Two, until};

const MIB: usize = 1 << 20;

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// `udpxctl` with a pipe as its standard input.
fn fed(two: &Two, line: &str) -> (Child, ChildStdin) {
    let mut child = two.a.udpxctl(line).stdin(Stdio::piped()).spawn().unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

fn end(child: Child) -> Ran {
    Ran::of(&child.wait_with_output().unwrap())
}

/// The number of the job that runs.
fn job(two: &Two) -> u64 {
    let mut found = None;
    until("a job runs", || {
        let jobs = two.a.ran("jobs --json");
        let mut events = jobs.stdout.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        found = events.find(|event| event["state"] == "running").and_then(|job| job["job"].as_u64());
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn pipes_of_every_size_go_there_and_come_back() {
    let two = Two::start();
    for len in [0, 1, MIB - 1, MIB, MIB + 1, 30_000_001] {
        let data = bytes(len);
        let (child, mut stdin) = fed(&two, "push - b:n");
        let sent = data.clone();
        let feeding = std::thread::spawn(move || stdin.write_all(&sent).unwrap());
        let ran = end(child);
        assert_eq!(ran.code, 0, "{len}: {ran:?}");
        feeding.join().unwrap();
        assert!(std::fs::read(two.inbox().join("n")).unwrap() == data, "{len}");
        let output = two.a.udpxctl("pull b:n -").output().unwrap();
        assert!(output.status.success() && output.stdout == data, "{len}: {:?}", Ran::of(&output).stderr);
    }
    assert_eq!(two.arrived(), ["n"]);
}

#[test]
fn files_stand_for_pipes_where_the_shell_redirects() {
    let two = Two::start();
    let file = two.a.file("f", 3 * MIB + 7);
    let input = std::fs::File::open(&file).unwrap();
    let ran = Ran::of(&two.a.udpxctl("push - b:n").stdin(input).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    let output = std::fs::File::create(two.a.home.join("out")).unwrap();
    let ran = Ran::of(&two.a.udpxctl("pull b:n -").stdout(output).output().unwrap());
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(std::fs::read(&file).unwrap() == std::fs::read(two.a.home.join("out")).unwrap());
}

#[test]
fn a_reader_that_goes_is_told_of_and_a_slow_one_loses_nothing() {
    let two = Two::start();
    let data = bytes(24 * MIB);
    std::fs::write(two.inbox().join("n"), &data).unwrap();
    let mut child = two.a.begun("pull b:n -");
    let mut stdout = child.stdout.take().unwrap();
    let mut some = [0; 10];
    stdout.read_exact(&mut some).unwrap();
    drop(stdout);
    let ran = end(child);
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.stderr.contains("has gone"), "{ran:?}");

    let mut child = two.a.begun("pull b:n -");
    let mut stdout = child.stdout.take().unwrap();
    let mut got = vec![0; MIB];
    stdout.read_exact(&mut got).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    stdout.read_to_end(&mut got).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(got == data);
}

#[test]
fn a_daemon_that_is_killed_takes_the_pipe_with_it() {
    let mut two = Two::start();
    let (child, mut stdin) = fed(&two, "push - b:n");
    stdin.write_all(&bytes(3 * MIB)).unwrap();
    job(&two);
    two.a.end(Signal::SIGKILL);
    two.a.start();
    let ran = end(child);
    assert_eq!(ran.code, 75, "{ran:?}");
    assert!(ran.stderr.contains("pipe") && ran.stderr.contains("Run the whole command again"), "{ran:?}");
    drop(stdin);
    until("nothing is left", || two.arrived().is_empty());
}

#[test]
fn a_push_that_is_interrupted_is_cancelled_and_leaves_nothing() {
    let two = Two::start();
    let (child, mut stdin) = fed(&two, "push - b:n");
    stdin.write_all(&bytes(3 * MIB)).unwrap();
    let id = job(&two);
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    let ran = end(child);
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.stderr.contains(&format!("job {id} is cancelled")), "{ran:?}");
    drop(stdin);
    until("nothing is left", || two.arrived().is_empty());
    let again = two.a.ran(&format!("resume {id}"));
    assert_ne!(again.code, 0, "{again:?}");
}
