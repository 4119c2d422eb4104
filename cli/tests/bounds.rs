//! What a peer may take of a machine: room on its disk, and its line.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::Ran;
use support::two::{Two, names, until};

const REMEDY: &str = "On bob, remove files there, or raise the quota: sudo udpxctl peer quota alice SIZE";

#[test]
fn a_quota_is_known_before_data_flows_and_stays() {
    let mut two = Two::acquainted();
    two.a.file("some", 600_000);
    let set = two.b.administered("peer quota alice 1MB");
    assert!(set.code == 0 && set.stdout == "alice: 977 KiB\n", "{set:?}");
    assert_eq!(two.a.ran("push some bob:one").code, 0);
    let refused = two.a.ran("push some bob:two");
    assert!(refused.code == 73 && refused.stderr.contains(REMEDY), "{refused:?}");
    assert!(refused.stderr.contains("needs 600000 more bytes, and 600000 of the 1000000"), "{refused:?}");
    let inbox = two.b.state.join("inbox/alice");
    assert_eq!(names(&inbox), ["one"], "nothing is left of it");
    let shown = two.b.administered("peer show alice").stdout;
    assert!(shown.contains("quota      977 KiB, 586 KiB used\n"), "{shown}");
    // It is no matter of one daemon's life.
    two.b.end(Signal::SIGKILL);
    two.b.start();
    assert_eq!(two.a.ran("push some bob:two").code, 73);
    // Room is made by whoever removes something, or by the command.
    fs::remove_file(inbox.join("one")).unwrap();
    until("the room is seen", || two.a.ran("push some bob:two").code == 0);
    assert_eq!(two.b.administered("peer quota alice none").stdout, "alice: no quota, 586 KiB used\n");
    assert_eq!(two.a.ran("push some bob:three").code, 0);
    assert_eq!(two.b.administered("peer quota nobody 1MB").code, 2);
    assert_eq!(two.b.administered("peer quota alice lots").code, 2);
}

#[test]
fn a_pipe_that_goes_over_the_quota_is_stopped_half_way() {
    let two = Two::acquainted();
    let long = two.a.file("long", 6_000_000);
    assert_eq!(two.b.administered("peer quota alice 3MB").code, 0);
    let mut push = two.a.udpxctl("push - bob:stream");
    let push = push.stdin(fs::File::open(long).unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let refused = Ran::of(&push.output().unwrap());
    assert!(refused.code == 73 && refused.stderr.contains(REMEDY), "{refused:?}");
    until("nothing is left of it", || names(&two.b.state.join("inbox/alice")).is_empty());
    // What it had taken is given back.
    two.a.file("fits", 2_900_000);
    assert_eq!(two.a.ran("push fits bob").code, 0);
}

#[test]
fn roots_have_quotas_and_file_systems_keep_room() {
    let mut two = Two::acquainted();
    two.a.file("some", 600_000);
    let place = two.b.state.with_file_name("films");
    fs::create_dir(&place).unwrap();
    std::os::unix::fs::chown(&place, two.b.uids.map(|uids| uids.0), None).unwrap();
    assert_eq!(two.b.administered(&format!("root add films {}", place.display())).code, 0);
    assert_eq!(two.b.administered("peer grant alice --root films --write").code, 0);
    two.b.configure_also("quotas = { films = \"500 kB\", inbox = \"700 kB\" }");
    two.b.end(Signal::SIGTERM);
    two.b.start();
    let refused = two.a.ran("push some bob:/films/in");
    let remedy =
        "On bob, remove files there, or raise the quota: in its udpxd.toml, under [quotas]: films = \"SIZE\"";
    assert!(refused.code == 73 && refused.stderr.contains(remedy), "{refused:?}");
    assert!(names(&place).is_empty());
    // That of the inbox is for each peer who has none of its own.
    assert_eq!(two.a.ran("push some bob:one").code, 0);
    assert_eq!(two.a.ran("push some bob:two").code, 73);
    assert_eq!(two.b.administered("peer quota alice 2MB").code, 0);
    assert_eq!(two.a.ran("push some bob:two").code, 0);
    two.b.configure_also("keep_free = \"1000000 TiB\"");
    two.b.end(Signal::SIGTERM);
    two.b.start();
    let refused = two.a.ran("push some bob:three");
    let remedy = "On bob, free some space, or set a lower keep_free in its udpxd.toml";
    assert!(refused.code == 73 && refused.stderr.contains(remedy), "{refused:?}");
    assert_eq!(names(&two.b.state.join("inbox/alice")), ["one", "two"]);
}

#[test]
fn the_cap_of_everything_stays_until_a_command_ends_it() {
    let mut two = Two::acquainted();
    let restart = |two: &mut Two, signal| {
        two.b.end(signal);
        two.b.start();
        two.b.administered("limit all").stdout
    };
    assert_eq!(two.b.administered("limit all 8mbit").stdout, "everything: 8.00 Mbit/s\n");
    // What was answered is kept.
    let told = restart(&mut two, Signal::SIGKILL);
    assert!(told.starts_with("everything: 8.00 Mbit/s"), "{told}");
    two.a.file("some", BYTES);
    let begin = Instant::now();
    assert_eq!(two.a.ran("push some bob").code, 0);
    assert!(begin.elapsed() >= Duration::from_millis(1000));
    assert_eq!(two.b.administered("limit all none").stdout, "everything: no limit\n");
    let told = restart(&mut two, Signal::SIGTERM);
    assert_eq!(told, "everything: none\n");
}

/// Bytes that take a second and a half at [`RATE`].
const BYTES: usize = 1_500_000;
const RATE: &str = "8mbit";

#[test]
fn a_peers_cap_holds_whoever_asks_and_stays() {
    let mut two = Two::acquainted();
    two.a.file("some", BYTES);
    assert_eq!(two.b.administered("peer grant alice --read").code, 0);
    let limited = two.b.administered(&format!("limit peer alice {RATE}"));
    assert!(limited.code == 0 && limited.stdout.contains("alice: 8.00 Mbit/s"), "{limited:?}");
    let seconds = |line: &str| {
        let begin = Instant::now();
        let ran = two.a.ran(line);
        assert_eq!(ran.code, 0, "{ran:?}");
        begin.elapsed()
    };
    // Both ways: what the peer sends, and what it fetches.
    let least = Duration::from_millis(1000);
    assert!(seconds("push some bob") >= least);
    assert!(seconds("pull bob:some back") >= least);
    two.b.end(Signal::SIGKILL);
    two.b.start();
    let shown = two.b.administered("peer show alice").stdout;
    assert!(shown.contains("limit      8.00 Mbit/s\n"), "{shown}");
    let begin = Instant::now();
    assert_eq!(two.a.ran("push some bob:again").code, 0);
    assert!(begin.elapsed() >= least);
    assert_eq!(two.b.administered("limit peer alice none").code, 0);
    assert!(two.b.administered("peer show alice").stdout.contains("limit      none\n"));
    assert_eq!(two.b.administered("limit peer nobody 8mbit").code, 2);
    assert_eq!(two.b.administered("limit peer alice 5").code, 2);
    if two.b.uids.is_some() {
        let ran = two.b.ran("limit peer alice 8mbit");
        assert!(ran.code == 77 && ran.stderr.contains("udpx-admin"), "{ran:?}");
        assert_eq!(two.b.ran("peer quota alice none").code, 77);
    }
}
