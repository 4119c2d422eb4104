//! `--plot` and `--trace` of real transfers.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use support::daemon::Bob;

#[test]
fn a_trace_has_a_line_for_each_packet_that_the_summary_counts() {
    let bob = Bob::start();
    bob.file("f", 3_000_000);
    let ran = bob.pushed("--json f bob --trace t.txt --mtu 1500");
    assert_eq!(ran.code, 0, "{ran:?}");
    let summary = ran.last_event();
    let trace = std::fs::read_to_string(bob.home.path().join("t.txt")).unwrap();
    let lines: Vec<Vec<&str>> =
        trace.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(' ').collect()).collect();
    assert!(lines.iter().all(|line| line.len() == 9), "{trace}");
    let count = |event: &str| lines.iter().filter(|line| line[1] == event).count() as u64;
    // The summary is made when the session is closed; the packets that say so to the peer come after it.
    let closing = count("SEND") - summary["packets"].as_u64().unwrap();
    let last = lines.iter().filter(|line| line[1] == "SEND").rev().take(closing as usize);
    assert!(closing <= 3 && last.into_iter().all(|line| line[4] == "mixed"), "{closing} more than {summary}");
    assert_eq!(Some(count("LOST")), summary["lost"].as_u64());
    assert!(count("RECV") > 0);
    // Every byte of the file is in some line.
    let of_data = lines.iter().filter(|line| line[1] == "SEND" && line[4] == "bulk");
    let mut ranges: Vec<(u64, u64)> =
        of_data.map(|line| (line[6].parse().unwrap(), line[7].parse().unwrap())).collect();
    ranges.sort_unstable();
    let end =
        ranges.iter().fold(0, |end, &(offset, len)| if offset <= end { end.max(offset + len) } else { end });
    // The last few bytes may have gone beside other frames.
    assert!(end > 2_990_000, "{end}");
}

#[test]
fn what_cannot_be_written_is_74_and_the_file_arrives_all_the_same() {
    let bob = Bob::start();
    bob.file("f", 3_000_000);
    for (option, text) in [
        ("--trace /dev/full", "the trace cannot be written: /dev/full"),
        ("--plot /nonexistent/p.svg", "the plot cannot be written: /nonexistent/p.svg"),
    ] {
        let ran = bob.pushed(&format!("-q f bob {option}"));
        assert!(ran.code == 74 && ran.stderr.contains(text), "{ran:?}");
        assert_eq!(bob.names(), ["f"]);
        std::fs::remove_file(bob.inbox().join("f")).unwrap();
    }
    let ran = bob.pushed("-q f bob --trace /nonexistent/t");
    assert!(
        ran.code == 74 && bob.names().is_empty(),
        "nothing is sent where the trace cannot begin: {ran:?}"
    );
}

#[test]
fn a_plot_is_a_picture_of_the_transfer() {
    let bob = Bob::start();
    bob.file("f", 3_000_000);
    let ran = bob.pushed("f bob --rate 30mbit --plot p.svg");
    assert_eq!(ran.code, 0, "{ran:?}");
    let svg = std::fs::read_to_string(bob.home.path().join("p.svg")).unwrap();
    for words in
        ["<svg ", "f to bob", "2.9 MiB in ", "rate on the wire, Mbit/s", "round trip, ms", "packets lost, %"]
    {
        assert!(svg.contains(words), "{words:?} is not in it");
    }
}
