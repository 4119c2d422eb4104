//! Clocks that are a day wrong: whether a ticket is good is decided by the clock of the machine that made it, and by no other.
//!
//! A machine's programs get another clock by a library that is loaded before libc (LD_PRELOAD) and stands between them and
//! `clock_gettime`. So the programs are those that are shipped, unchanged, and nothing in them could be told another time by
//! accident. A time namespace does not do: it leaves CLOCK_REALTIME alone. The same is `faketime`, which would have to be
//! installed; a dozen lines of C need only the compiler that the C library is tested with.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::sys::signal::Signal;
use support::two::{Machine, Two};

const SHIFTED: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t id, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(id, now);
    const char *shift = getenv("CLOCK_SHIFT");
    if (result == 0 && shift && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) now->tv_sec += atol(shift);
    return result;
}
"#;

/// A day, seconds.
const DAY: i64 = 24 * 3600;

/// Restarts a machine whose clock is wrong by so many seconds from now on.
fn shift(machine: &mut Machine, seconds: i64) {
    let library = machine.programs().join("shifted.so");
    if !library.exists() {
        let source = library.with_extension("c");
        fs::write(&source, SHIFTED).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(&source)
            .arg("-ldl")
            .status();
        assert!(built.expect("a C compiler is needed to test clocks").success());
    }
    machine.environment =
        vec![("LD_PRELOAD", library.display().to_string()), ("CLOCK_SHIFT", seconds.to_string())];
    machine.end(Signal::SIGTERM);
    machine.start();
}

/// Seconds by which the clock of a machine's daemon differs from ours, by when it says that a ticket of ten minutes ends.
fn difference(machine: &Machine) -> i64 {
    let told = machine.administered("invite --json").last_event()["expires_unix_ms"].as_i64().unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    told / 1000 - now - 600
}

fn invited(two: &Two, more: &str) -> String {
    let ran = two.b.administered(&format!("invite {more}"));
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.stdout.trim().strip_prefix("sudo udpxctl ").unwrap().to_owned()
}

#[test]
fn a_joiner_whose_clock_is_a_day_wrong_joins_while_the_ticket_is_good_and_not_later() {
    let mut two = Two::strangers();
    two.a.file("sent", 1000);
    for (seconds, name) in [(DAY, "late"), (-DAY, "early")] {
        shift(&mut two.a, seconds);
        let really = difference(&two.a);
        assert!((really - seconds).abs() < 60, "the daemon has the other clock: {really}");
        // By its own clock the ticket would be over, or good for a day longer than it is.
        let expired = invited(&two, "--expires 1s");
        let good = invited(&two, &format!("--name {name}"));
        std::thread::sleep(Duration::from_millis(1500));
        let refused = two.a.administered(&format!("{expired} --name bob"));
        assert!(refused.code == 77 && refused.stderr.contains("has expired"), "{name}: {refused:?}");
        let joined = two.a.administered(&format!("{good} --name bob"));
        assert_eq!(joined.code, 0, "{name}: {joined:?}");
        // What they say to each other later depends on no clock either.
        let pushed = two.a.ran(&format!("push sent bob:{name}"));
        assert!(pushed.code == 0 && two.b.state.join("inbox").join(name).join(name).exists(), "{pushed:?}");
        assert_eq!(two.b.administered(&format!("peer remove {name}")).code, 0);
        assert_eq!(two.a.administered("peer remove bob").code, 0);
    }
}

#[test]
fn an_inviter_whose_clock_is_a_day_wrong_decides_by_it() {
    let mut two = Two::strangers();
    for (seconds, name) in [(DAY, "late"), (-DAY, "early")] {
        shift(&mut two.b, seconds);
        let really = difference(&two.b);
        assert!((really - seconds).abs() < 60, "the daemon has the other clock: {really}");
        let expired = invited(&two, "--expires 1s");
        std::thread::sleep(Duration::from_millis(1500));
        let refused = two.a.administered(&expired);
        assert!(refused.code == 77 && refused.stderr.contains("has expired"), "{name}: {refused:?}");
        let good = invited(&two, &format!("--name {name}"));
        assert_eq!(two.a.administered(&format!("{good} --name bob")).code, 0);
        assert_eq!(two.b.administered(&format!("peer remove {name}")).code, 0);
        assert_eq!(two.a.administered("peer remove bob").code, 0);
    }
    // A clock that is set right while a ticket is open: what was good for ten minutes a day from now is good for a day and
    // ten minutes, what ended yesterday has ended.
    shift(&mut two.b, DAY);
    let future = invited(&two, "--name future");
    shift(&mut two.b, -DAY);
    let past = invited(&two, "--name past");
    shift(&mut two.b, 0);
    let refused = two.a.administered(&past);
    assert!(refused.code == 77 && refused.stderr.contains("has expired"), "{refused:?}");
    assert_eq!(two.a.administered(&future).code, 0);
}
