//! The examples and the tests in C: built by gcc, clang and as C++ with all warnings, run as they are, under valgrind and
//! under sanitizers, against an installation that pkg-config finds.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use udpxd::config::Rights;
use udpxd::hosting::addresses::Address;
use udpxd::hosting::{Host, HostConfig, Offer};
use udpxd::identity;

use support::{Build, Receiver, Under, build, bytes, command, prefix, root, told};

fn example(name: &str) -> PathBuf {
    root().join(format!("ffi/examples/{name}.c"))
}

/// A file goes from one C program into the callback of another.
fn transfer(how: Build, under: Under, len: usize) {
    let place = tempfile::tempdir().unwrap();
    let Some(push) = build(&example("push"), how, place.path()) else { return };
    let Some(receive) = build(&example("receive"), how, place.path()) else { return };
    let (Some(mut push), Some(receive)) = (command(&push, under), command(&receive, under)) else { return };
    let (source, came) = (place.path().join("source"), place.path().join("came"));
    std::fs::write(&source, bytes(len)).unwrap();
    let receiver = Receiver::start(receive, &came);
    let pushed = push.arg(&source).arg(&receiver.ticket).output().unwrap();
    assert!(pushed.status.success(), "{}", told(&pushed));
    let (status, said) = receiver.end();
    assert_eq!((status, std::fs::read(&came).unwrap() == bytes(len)), (Some(0), true), "{said}");
    assert!(said.contains(&format!("received {len} bytes")), "{said}");
}

#[test]
fn a_file_goes_into_a_callback() {
    transfer(Build::Gcc, Under::Nothing, 20_000_003);
    transfer(Build::Gcc, Under::Nothing, 0);
}

#[test]
fn the_same_by_clang() {
    transfer(Build::Clang, Under::Nothing, 100_000);
}

#[test]
fn the_same_as_cxx() {
    transfer(Build::Cxx, Under::Nothing, 100_000);
}

#[test]
fn the_same_with_the_static_library() {
    transfer(Build::Static, Under::Nothing, 100_000);
}

#[test]
fn the_same_under_valgrind() {
    transfer(Build::Gcc, Under::Valgrind, 3_000_000);
}

#[test]
fn the_same_under_sanitizers() {
    transfer(Build::Sanitized, Under::Nothing, 3_000_000);
}

/// A directory that is served by a ticket, until it is dropped.
struct Served {
    ticket: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn start(path: PathBuf) -> Self {
        let rights = Rights { write: true, read: false, list: false };
        let offer = Offer::Directory { path, rights, once: false };
        let mut config = HostConfig::new(offer, identity::ephemeral().unwrap());
        config.addresses = vec![Address::parse("127.0.0.1").unwrap()];
        let mut host = Host::start(&config).unwrap();
        let ticket = host.ticket().unwrap().text().to_string();
        let stop: Arc<AtomicBool> = Arc::default();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                host.next_event(Duration::from_millis(20)).unwrap();
            }
        });
        Self { ticket, stop, thread: Some(thread) }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_directory_is_mirrored() {
    let (place, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let here = place.path().join("here");
    std::fs::create_dir_all(here.join("directory")).unwrap();
    std::os::unix::fs::symlink("a", here.join("link")).unwrap();
    for (name, len) in [("a", 10), ("b", 0), ("c d", 70_000)] {
        std::fs::write(here.join(name), bytes(len)).unwrap();
    }
    let served = Served::start(there.path().to_owned());
    for (how, under) in
        [(Build::Gcc, Under::Nothing), (Build::Gcc, Under::Valgrind), (Build::Sanitized, Under::Nothing)]
    {
        let Some(program) = build(&example("mirror"), how, place.path()) else { continue };
        let Some(mut command) = command(&program, under) else { continue };
        let output = command.arg(&here).arg(format!("{}:{how:?}{under:?}/", served.ticket)).output().unwrap();
        assert!(output.status.success(), "{}", told(&output));
        assert_eq!(output.stdout, b"3 files\n");
        let copy = there.path().join(format!("{how:?}{under:?}"));
        for (name, len) in [("a", 10), ("b", 0), ("c d", 70_000)] {
            assert_eq!(std::fs::read(copy.join(name)).unwrap(), bytes(len), "{name}");
        }
        assert_eq!(std::fs::read_dir(copy).unwrap().count(), 3);
    }
}

#[test]
fn every_example_is_clean_in_every_language() {
    let place = tempfile::tempdir().unwrap();
    for name in ["push", "receive", "events", "mirror"] {
        for how in [Build::Gcc, Build::Clang, Build::Cxx] {
            build(&example(name), how, place.path());
        }
    }
}

/// Programs of `tests/c` check themselves, and end with 0.
fn check(name: &str, how: Build, under: Under) {
    check_with(name, how, under, &[]);
}

fn check_with(name: &str, how: Build, under: Under, more: &[&str]) {
    let place = tempfile::tempdir().unwrap();
    let source = root().join(format!("ffi/tests/c/{name}.c"));
    let Some(program) = build(&source, how, place.path()) else { return };
    let Some(mut command) = command(&program, under) else { return };
    let output = command.arg(place.path()).args(more).output().unwrap();
    assert!(output.status.success(), "{name} {how:?} {under:?}: {}", told(&output));
}

#[test]
fn bad_input_is_refused() {
    check("misuse", Build::Gcc, Under::Nothing);
    check("misuse", Build::Cxx, Under::Nothing);
}

#[test]
fn bad_input_is_refused_under_valgrind() {
    check("misuse", Build::Gcc, Under::Valgrind);
}

#[test]
fn bad_input_is_refused_under_sanitizers() {
    check("misuse", Build::Sanitized, Under::Nothing);
}

#[test]
fn engines_in_one_process() {
    check("engines", Build::Gcc, Under::Nothing);
}

#[test]
fn engines_in_one_process_under_valgrind() {
    check("engines", Build::Gcc, Under::Valgrind);
}

#[test]
fn engines_in_one_process_under_sanitizers() {
    check("engines", Build::Sanitized, Under::Nothing);
}

#[test]
fn bytes_go_into_callbacks_descriptors_and_memory() {
    check("streams", Build::Cxx, Under::Nothing);
}

/// A callback that takes ten seconds holds up its file, and loses nothing.
#[test]
fn a_callback_may_take_ten_seconds() {
    check_with("streams", Build::Gcc, Under::Nothing, &["10"]);
}

#[test]
fn bytes_go_into_callbacks_under_valgrind() {
    check_with("streams", Build::Gcc, Under::Valgrind, &["1", "2"]);
}

#[test]
fn bytes_go_into_callbacks_under_sanitizers() {
    check_with("streams", Build::Sanitized, Under::Nothing, &["1", "6"]);
}

#[test]
fn python_calls_it() {
    if !support::has("python3") {
        println!("SKIPPED python_calls_it: there is no python3");
        return;
    }
    let script = root().join("ffi/tests/smoke.py");
    let output = Command::new("python3").arg(script).arg(prefix().join("lib/libudpx.so.0")).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}
