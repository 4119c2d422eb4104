//! Directories that are listed, and echoes, from a daemon over good and bad paths.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::fs::{self, File};
use std::time::Duration;

use common::{Detour, Receiver};
use udpxd::Code;
use udpxd::embedded::{Call, Event, Ping, list, ping};
use udpxd::relay::Impairments;
use udpxd::storage::listing::{LIST_ENTRIES_MAX, Listing};

fn call(daemon: &Receiver, detour: &Detour) -> Call {
    let mut call = Call::new(daemon.secret.public(), vec![detour.address], daemon.alice.clone());
    call.way.mtu_max = 1500;
    call
}

fn names(listing: &Listing) -> Vec<String> {
    listing.entries.iter().map(|entry| entry.name.to_str().unwrap().to_owned()).collect()
}

#[test]
fn a_directory_with_more_entries_than_a_listing_is_cut_and_says_so() {
    let daemon = Receiver::start();
    let place = daemon.inbox().join("full");
    fs::create_dir_all(&place).unwrap();
    for number in 0..=LIST_ENTRIES_MAX {
        File::create(place.join(number.to_string())).unwrap();
    }
    let detour = Detour::to(daemon.address, Impairments::default());
    let listing = list(call(&daemon, &detour), "inbox", b"full/", &mut |_| {}).unwrap();
    assert!(listing.is_cut);
    let names = names(&listing);
    assert!(names.len() == LIST_ENTRIES_MAX && names.is_sorted(), "{}", names.len());
}

#[test]
fn a_bad_path_loses_no_entry() {
    let daemon = Receiver::start();
    fs::create_dir_all(daemon.inbox()).unwrap();
    for number in 0..3000 {
        File::create(daemon.inbox().join(format!("{number:04}"))).unwrap();
    }
    let bad = Impairments { loss: 0.1, delay: Duration::from_millis(3), ..Impairments::default() };
    let detour = Detour::to(daemon.address, bad);
    let listing = list(call(&daemon, &detour), "", b"", &mut |_| {}).unwrap();
    assert!(!listing.is_cut);
    let expected: Vec<String> = (0..3000).map(|number| format!("{number:04}")).collect();
    assert!(names(&listing) == expected, "{}", listing.entries.len());
}

#[test]
fn a_root_that_there_is_not_and_a_missing_right_are_refused() {
    let mut daemon = Receiver::start();
    fs::create_dir_all(daemon.inbox()).unwrap();
    let detour = Detour::to(daemon.address, Impairments::default());
    let ask =
        |root, path: &[u8]| list(call(&daemon, &detour), root, path, &mut |_| {}).map_err(|error| error.code);
    assert_eq!(ask("other", b""), Err(Code::Refused));
    assert_eq!(ask("", b"../"), Err(Code::Refused));
    assert_eq!(ask("", b"none"), Err(Code::NoSource));
    assert!(ask("", b"").is_ok_and(|listing| listing.entries.is_empty()));
    daemon.config.peers[0].rights.list = false;
    daemon.restart();
    let error = list(call(&daemon, &detour), "", b"", &mut |_| {}).unwrap_err();
    assert!(error.code == Code::Refused && error.remedy.ends_with("list = true"), "{error}");
}

#[test]
fn what_comes_back_and_what_is_lost_make_all_echoes() {
    let daemon = Receiver::start();
    let bad = Impairments {
        loss: 0.2,
        duplicate: 0.2,
        corrupt: 0.05,
        delay: Duration::from_millis(4),
        ..Impairments::default()
    };
    let detour = Detour::to(daemon.address, bad);
    let all = Ping {
        count: 80,
        size: 600,
        interval: Duration::from_millis(5),
        patience: Duration::from_millis(500),
    };
    let mut echoes = Vec::new();
    let summary = ping(call(&daemon, &detour), all, &mut |event| {
        if let Event::Echo { number, bytes: 600, rtt_us } = event {
            echoes.push((number, rtt_us));
        }
    });
    let summary = summary.unwrap();
    assert_eq!((summary.sent, summary.received as usize), (80, echoes.len()));
    assert!((20..80).contains(&summary.received) && summary.loss() > 0.0, "{summary:?}");
    let (least, mean, most) = summary.rtt_us().unwrap();
    assert!(8_000 <= least && least <= mean && mean <= most && most < 500_000, "{summary:?}");
    echoes.sort_unstable();
    echoes.dedup_by_key(|echo| echo.0);
    assert_eq!(echoes.len(), summary.received as usize, "each is counted once");
}
