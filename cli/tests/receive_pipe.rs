//! `udpxctl receive` onto standard output, with pipes at both ends: `receive > G` here, `cat F | udpxctl push - TICKET`
//! there.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use support::{Home, Ran};

const MIB: usize = 1 << 20;

fn bytes(len: usize) -> Vec<u8> {
    (0..len as u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8).collect()
}

/// A `receive` that waits, whose standard output is the test's to read.
struct Receiving {
    child: Child,
    ticket: String,
    errors: JoinHandle<String>,
}

impl Receiving {
    fn start(home: &Home, line: &str) -> Receiving {
        let words = line.split_whitespace().chain(["--address", "127.0.0.1"]);
        let mut child = home.command(words).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let (found, tickets) = channel();
        let errors = std::thread::spawn(move || {
            let mut all = String::new();
            loop {
                let begin = all.len();
                if stderr.read_line(&mut all).unwrap_or(0) == 0 {
                    return all;
                }
                if all[begin..].starts_with("udpx1") {
                    let _ = found.send(all[begin..].trim().to_owned());
                }
            }
        });
        let ticket = tickets.recv_timeout(Duration::from_secs(10)).unwrap();
        Receiving { child, ticket, errors }
    }

    fn stdout(&mut self) -> ChildStdout {
        self.child.stdout.take().unwrap()
    }

    fn end(mut self) -> (i32, String) {
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        (code, self.errors.join().unwrap())
    }
}

fn all_of(mut stdout: ChildStdout) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut all = Vec::new();
        stdout.read_to_end(&mut all).unwrap();
        all
    })
}

/// `udpxctl push -`, fed by a thread.
fn fed(home: &Home, ticket: &str, data: Vec<u8>) -> Ran {
    let mut child = home.command(["push", "-", ticket]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Whoever has gone has said why.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&data)));
    let ran = Ran::of(&child.wait_with_output().unwrap());
    feeding.join().unwrap();
    ran
}

#[test]
fn what_goes_into_one_pipe_comes_out_of_the_other() {
    let (there, here) = (Home::new(), Home::new());
    for len in [0, 1, MIB - 1, MIB, MIB + 1, 40_000_003] {
        let mut receiving = Receiving::start(&there, "receive");
        let got = all_of(receiving.stdout());
        let ran = fed(&here, &receiving.ticket, bytes(len));
        assert_eq!(ran.code, 0, "{len}: {ran:?}");
        let (code, errors) = receiving.end();
        assert_eq!(code, 0, "{len}: {errors}");
        assert!(got.join().unwrap() == bytes(len), "{len}");
        assert!(errors.contains("COMMAND | udpxctl push - udpx1") && errors.contains("blake3 "), "{errors}");
    }
}

#[test]
fn a_large_file_that_would_go_in_several_streams_comes_in_order() {
    let (there, here) = (Home::new(), Home::new());
    let data = bytes(200 * MIB);
    std::fs::write(here.path().join("f"), &data).unwrap();
    let mut receiving = Receiving::start(&there, "receive -q");
    let got = all_of(receiving.stdout());
    let ran = here.run(["push", "f", &receiving.ticket]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let ticket = receiving.ticket.clone();
    let (code, errors) = receiving.end();
    assert_eq!((code, errors.trim()), (0, ticket.as_str()));
    assert!(got.join().unwrap() == data);
}

#[test]
fn a_reader_that_goes_ends_both() {
    let (there, here) = (Home::new(), Home::new());
    let mut receiving = Receiving::start(&there, "receive");
    let mut stdout = receiving.stdout();
    let reading = std::thread::spawn(move || stdout.read_exact(&mut [0; 10]).unwrap());
    let ran = fed(&here, &receiving.ticket, bytes(20 * MIB));
    reading.join().unwrap();
    assert_eq!(ran.code, 74, "{ran:?}");
    assert!(ran.stderr.contains("has gone"), "{ran:?}");
    let (code, errors) = receiving.end();
    assert_eq!(code, 74, "{errors}");
    assert!(errors.contains("/dev/stdout") && errors.contains("has gone"), "{errors}");
}

#[test]
fn a_sender_that_dies_half_way_is_an_error_and_no_end() {
    let (there, here) = (Home::new(), Home::new());
    std::fs::write(here.path().join("f"), bytes(20 * MIB)).unwrap();
    let mut receiving = Receiving::start(&there, "receive");
    let mut stdout = receiving.stdout();
    let mut sender = here.command(["push", "f", &receiving.ticket, "--rate", "40mbit"]).spawn().unwrap();
    stdout.read_exact(&mut vec![0; 2 * MIB]).unwrap();
    // In good order: a session that only falls silent is given up after a minute.
    let id = sender.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    sender.wait().unwrap();
    let got = all_of(stdout);
    let (code, errors) = receiving.end();
    assert_ne!(code, 0, "{errors}");
    assert!(errors.contains("only a part of it came, and is written"), "{errors}");
    assert!(got.join().unwrap().len() < 18 * MIB);
}

#[test]
fn events_go_elsewhere() {
    let (there, here) = (Home::new(), Home::new());
    let refused = there.line("receive --json");
    assert_eq!(refused.code, 2, "{refused:?}");
    let mut receiving = Receiving::start(&there, "receive --json-to events");
    let got = all_of(receiving.stdout());
    assert_eq!(fed(&here, &receiving.ticket, bytes(5000)).code, 0);
    assert_eq!(receiving.end().0, 0);
    assert!(got.join().unwrap() == bytes(5000));
    let stdout = std::fs::read_to_string(there.path().join("events")).unwrap();
    let last = Ran { code: 0, stdout, stderr: String::new() }.last_event();
    assert_eq!((&last["event"], &last["bytes"]), (&"summary".into(), &5000.into()));
}
