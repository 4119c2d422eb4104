//! The demo, small: clean, over a bad path, with odd names, and interrupted.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::{Home, Ran};

#[test]
fn a_clean_demo_says_ok() {
    let home = Home::new();
    let ran = home.line("demo --size 8MiB");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.ends_with("\nok\n"), "{ran:?}");
    for word in ["8.0 MiB", "receiver  process", "compare", "control", "total", "bit/s"] {
        assert!(ran.stdout.contains(word), "{word:?} is not in {}", ran.stdout);
    }
    assert_eq!(home.leftovers(), [""; 0]);
    let quiet = home.line("demo --size 1MiB -q");
    assert_eq!((quiet.code, quiet.stdout.as_str()), (0, ""), "{quiet:?}");
}

#[test]
fn the_summary_event_has_the_promised_fields_and_its_rows_add_up() {
    let home = Home::new();
    let ran = home.line("demo --size 8MiB --streams 4 --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let summary = ran.last_event();
    assert_eq!((&summary["ok"], &summary["bytes"]), (&true.into(), &(8 << 20).into()));
    assert_eq!(summary["digest"].as_str().unwrap().len(), 64);
    assert!(summary["seconds"].as_f64().unwrap() > 0.0 && summary["goodput_bps"].as_u64().unwrap() > 0);
    let streams = summary["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 4);
    for column in ["packets", "frames", "wire_bytes", "payload_bytes", "retransmitted", "retransmitted_bytes"]
    {
        let rows = streams.iter().chain([&summary["control"]]);
        let sum: u64 = rows.map(|row| row[column].as_u64().unwrap()).sum();
        assert_eq!(summary[column].as_u64(), Some(sum), "{column}");
    }
}

#[test]
fn a_bad_path_is_survived_and_accounted_for() {
    let home = Home::new();
    let ran = home.line("demo --size 8MiB --loss 2% --delay 5ms --corrupt 0.1% --json");
    assert_eq!(ran.code, 0, "{ran:?}");
    let summary = ran.last_event();
    assert!(summary["retransmitted"].as_u64().unwrap() > 0);
    assert!(summary["relay"]["up"]["lost"].as_u64().unwrap() > 0);
    assert!(summary["rtt_min_us"].as_u64().unwrap() >= 10_000, "{summary}");
    assert_eq!(home.leftovers(), [""; 0]);
}

#[test]
fn every_other_impairment_and_plain_too() {
    let home = Home::new();
    let ran = home.line(
        "demo --size 4MiB --plain --no-gso --loss 1% --jitter 2ms --reorder 1% --duplicate 1% --rate 500mbit --mtu 1400",
    );
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains("authenticated, not encrypted") && ran.stdout.contains("doubled"), "{ran:?}");
}

#[test]
fn empty_and_tiny_files() {
    let home = Home::new();
    for size in ["0", "1"] {
        let ran = home.run(["demo", "--json", "--size", size]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert_eq!(ran.last_event()["bytes"], size.parse::<u64>().unwrap());
    }
}

#[test]
fn names_with_newlines_and_without_utf8() {
    let home = Home::new();
    for (name, shown) in [(&b"a\nb \x1b[2Jc"[..], "a\\nb \\x1b[2Jc"), (b"\xff\xfe.bin", "\\xff\\xfe.bin")] {
        let name = OsStr::from_bytes(name);
        std::fs::write(home.path().join(name), vec![7; 3_000_000]).unwrap();
        let ran = home.run([OsStr::new("demo"), OsStr::new("--file"), name]);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.contains(shown) && !ran.stdout.contains('\x1b'), "{ran:?}");
        assert!(!ran.stderr.contains('\x1b'), "{ran:?}");
        let ran = home.run([OsStr::new("demo"), OsStr::new("--json"), OsStr::new("--file"), name]);
        let events = ran.events();
        let file = events.iter().find(|event| event["event"] == "file").unwrap();
        assert_eq!(file.get("name_b64").is_some(), name.to_str().is_none(), "{file}");
        std::fs::remove_file(home.path().join(name)).unwrap();
    }
}

/// Waits for `ready`, interrupts, and expects an orderly end.
fn interrupt(home: &Home, arguments: &str, ready: impl Fn() -> bool) -> Ran {
    let child = home.command(arguments.split_whitespace()).process_group(0).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !ready() {
        assert!(Instant::now() < deadline, "it never came so far");
        std::thread::sleep(Duration::from_millis(5));
    }
    // As the terminal does: the whole foreground process group.
    let group = format!("-{}", child.id());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    let begun = Instant::now();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    ran
}

/// Processes of this program that were started for that directory.
fn processes_about(home: &Home) -> usize {
    let needle = home.path().as_os_str().as_bytes().to_vec();
    let own = std::process::id().to_string();
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name != OsStr::new(&own)))
        .filter_map(|path| std::fs::read(path.join("cmdline")).ok())
        .filter(|line| line.windows(needle.len()).any(|part| part == needle))
        .count()
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let home = Home::new();
    // Slow enough to be in the middle of the push.
    let receiving = || home.leftovers().iter().any(|name| parts(&home, name) > 0);
    let ran = interrupt(&home, "demo --size 64MiB --rate 20mbit", receiving);
    assert_eq!(ran.code, 130, "{ran:?}");
    assert!(ran.stderr.contains("interrupted") && ran.stderr.contains("can be run again"), "{ran:?}");
    assert_eq!(home.leftovers(), [""; 0]);
    assert_eq!(processes_about(&home), 0);

    let generating = || !home.leftovers().is_empty();
    let ran = interrupt(&home, "demo --size 512MiB --json", generating);
    assert_eq!(ran.code, 130, "{ran:?}");
    assert_eq!(ran.last_event()["kind"], "interrupted");
    assert_eq!(home.leftovers(), [""; 0]);
}

#[test]
fn the_other_processes_do_not_outlive_a_killed_demo() {
    let home = Home::new();
    let mut child = home
        .command(["demo", "--size", "64MiB", "--delay", "1ms", "--rate", "20mbit"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !home.leftovers().iter().any(|name| parts(&home, name) > 0) {
        assert!(Instant::now() < deadline, "it never came so far");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(processes_about(&home), 1, "the receiver");
    child.kill().unwrap();
    child.wait().unwrap();
    while processes_about(&home) > 0 {
        assert!(Instant::now() < deadline, "the receiver lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Files that a demo's receiver has begun.
fn parts(home: &Home, demo: &str) -> usize {
    std::fs::read_dir(home.path().join(demo).join("received")).map_or(0, Iterator::count)
}
