//! docs/CONTROL.md and the code say the same.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::collections::BTreeSet;

use serde_json::Value;
use udpx_control::limits;
use udpx_control::schema::{Body, Command, Event, Operation, Reply, Request, Response, Version};

const DOCUMENT: &str = include_str!("../../../docs/CONTROL.md");

/// The lines of all blocks of a kind.
fn examples(kind: &str) -> Vec<&'static str> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in DOCUMENT.lines() {
        match line.strip_prefix("```") {
            Some(info) => inside = info == kind,
            None if inside => lines.push(line),
            None => {}
        }
    }
    assert!(lines.len() > 20, "{} examples of {kind}", lines.len());
    lines
}

/// Numbers are compared as numbers: 5 and 5.0 are the same to JSON.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn value(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn every_request_is_understood_and_written_the_same() {
    let mut commands = BTreeSet::new();
    for line in examples("json request") {
        let request = Request::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{error}: {line}"));
        let written = serde_json::to_value(&request).unwrap();
        assert!(same(&written, &value(line)), "{line}\nis written\n{written}");
        assert_eq!(Request::parse(written.to_string().as_bytes()).unwrap(), request);
        commands.insert(request.command.name());
    }
    assert_eq!(commands, Command::NAMES.iter().copied().collect(), "every command has an example");
}

#[test]
fn every_response_is_understood_and_written_the_same() {
    let mut said = BTreeSet::new();
    for line in examples("json response") {
        let response: Response = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let written = serde_json::to_value(&response).unwrap();
        assert!(same(&written, &value(line)), "{line}\nis written\n{written}");
        assert_eq!(serde_json::from_value::<Response>(written.clone()).unwrap(), response);
        let body = &written["body"];
        for key in ["event", "reply", "operation", "state"] {
            let word = body[key].as_str().or_else(|| body["job"][key].as_str());
            said.extend(word.map(|word| format!("{key} {word}")));
        }
        match &response.body {
            Body::Event(event) => assert_ne!(*event, Event::Unknown, "{line}"),
            Body::Ok(reply) | Body::Done(reply) => assert_ne!(*reply, Reply::Unknown, "{line}"),
            Body::Error(_) => {}
        }
        if let Body::Event(Event::Demand(demand)) = &response.body {
            assert_ne!(demand.operation, Operation::Unknown, "{line}");
        }
    }
    let all = EVENTS.iter().map(|word| format!("event {word}"));
    let all = all.chain(REPLIES.iter().map(|word| format!("reply {word}")));
    for word in all.chain(OPERATIONS.iter().map(|word| format!("operation {word}"))) {
        assert!(said.contains(&word), "no example of {word}");
    }
}

/// Whoever adds a variant has to come by here, and then adds it to the list below.
#[allow(dead_code, reason = "it is there to be compiled")]
fn the_lists_are_complete(event: &Event, reply: &Reply, operation: &Operation) {
    match event {
        Event::Queued { .. } | Event::Connected { .. } | Event::Progress(_) | Event::Retry { .. } => {}
        Event::File(_)
        | Event::Job(_)
        | Event::Rows { .. }
        | Event::Sources { .. }
        | Event::Samples { .. }
        | Event::Pong(_) => {}
        Event::Entries { .. } | Event::Inbox(_) | Event::Root(_) | Event::Peer(_) | Event::Session(_) => {}
        Event::Demand(_) | Event::Unknown => {}
    }
    match reply {
        Reply::Nothing | Reply::Accepted { .. } | Reply::Job { .. } | Reply::Listed { .. } => {}
        Reply::Ping(_) | Reply::Stats(_) | Reply::Version(_) | Reply::Key(_) | Reply::Unknown => {}
        Reply::Invited(_) | Reply::Joined { .. } => {}
    }
    match operation {
        Operation::Open { .. } | Operation::Create { .. } | Operation::Reopen { .. } => {}
        Operation::Commit { .. } | Operation::Remove { .. } | Operation::Sync { .. } => {}
        Operation::Stat { .. } | Operation::Unknown => {}
    }
}

const EVENTS: [&str; 16] = [
    "queued",
    "connected",
    "progress",
    "retry",
    "file",
    "job",
    "rows",
    "sources",
    "samples",
    "pong",
    "entries",
    "inbox",
    "root",
    "peer",
    "session",
    "demand",
];
const REPLIES: [&str; 10] =
    ["nothing", "accepted", "job", "listed", "ping", "stats", "version", "key", "invited", "joined"];
const OPERATIONS: [&str; 7] = ["open", "create", "reopen", "commit", "remove", "sync", "stat"];

#[test]
fn the_bytes_of_a_frame_are_those_shown() {
    let shown: Vec<u8> = DOCUMENT
        .lines()
        .filter_map(|line| line.strip_prefix("    00")?.get(4..52))
        .flat_map(|hex| hex.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()))
        .collect();
    assert_eq!(shown, Request::new(1, Version {}).encode().unwrap());
}

#[test]
fn the_limits_are_those_shown() {
    for (name, value) in [
        ("bytes of a frame", limits::FRAME_BYTES_MAX.to_string()),
        ("time of a frame, first byte to last", format!("{} s", limits::FRAME_TIME_MAX.as_secs())),
        ("descriptors with a frame", limits::DESCRIPTORS_MAX.to_string()),
        ("demands without an answer", limits::DEMANDS_MAX.to_string()),
        (
            "time of an answer to a demand; to `commit` and `sync`",
            format!("{} s; {} s", limits::DEMAND_TIME_MAX.as_secs(), limits::SYNC_TIME_MAX.as_secs()),
        ),
        (
            "connections",
            format!("{}, of which {} only for root", limits::CONNECTIONS_MAX, limits::CONNECTIONS_RESERVED),
        ),
        ("connections of one user", limits::CONNECTIONS_PER_UID_MAX.to_string()),
        ("requests of a connection without a result", limits::REQUESTS_MAX.to_string()),
        ("bytes left unread by a client", limits::OUTPUT_THROTTLE_BYTES.to_string()),
        ("the same", limits::OUTPUT_BYTES_MAX.to_string()),
        ("bytes left unread, for `progress`", limits::OUTPUT_SKIP_BYTES.to_string()),
    ] {
        assert!(DOCUMENT.contains(&format!("\n| {name} | {value} |")), "{name} is {value}");
    }
    for text in [
        format!("pieces of `show`, {} at most", limits::ROWS_PER_FRAME_MAX),
        format!("a piece of a directory, {} at most", limits::ENTRIES_PER_FRAME_MAX),
        format!("lists the first {} sources", limits::SOURCES_SHOWN_MAX),
        format!("{} s for a daemon to take the connection", limits::CONNECT_TIME_MAX.as_secs()),
    ] {
        assert!(DOCUMENT.contains(&text), "{text}");
    }
}

#[test]
fn every_command_has_a_row() {
    let rows = DOCUMENT.split("## 5 Commands").nth(1).unwrap().split("### 5.1").next().unwrap();
    for name in Command::NAMES {
        assert!(rows.contains(&format!("`{name}`")), "{name}");
    }
}
