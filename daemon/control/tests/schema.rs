//! What is not understood: garbage, strangers, newer versions; and what is ignored.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use proptest::prelude::*;
use udpx_control::Name;
use udpx_control::frame::{Decoder, FrameError, PREFIX_BYTES};
use udpx_control::limits::{ENTRIES_PER_FRAME_MAX, FRAME_BYTES_MAX, ROWS_PER_FRAME_MAX, SOURCES_SHOWN_MAX};
use udpx_control::schema::{
    Body, Command, Direction, Entry, EntryKind, Event, How, JobReport, JobState, Local, PlaceReport, Policy,
    Push, Remote, Request, RequestErrorKind, Response, Row, Show, StatsReport, TransferOptions,
};

fn refusal(json: &str) -> (u64, RequestErrorKind, u32) {
    let error = Request::parse(json.as_bytes()).expect_err(json);
    let report = error.report();
    assert!(!report.text.is_empty() && !report.remedy.is_empty(), "{report:?}");
    assert_eq!(error.response().id, error.id);
    (error.id, error.kind, report.code)
}

#[test]
fn garbage_has_no_id() {
    for json in [
        "",
        "x",
        "[]",
        "7",
        "{}",
        "{\"schema\":1}",
        "{\"id\":1}",
        "{\"schema\":-1,\"id\":1}",
        "{\"schema\":1,\"id\":1.5}",
        "{\"schema\":1,\"id\":1,\"id\":2}",
        "{\"schema\":1,\"id\":1}x",
        "{\"schema\":1,\"id\":\"1\"}",
        "\u{0}",
    ] {
        // A command that is missing is an unknown one, the rest is no request at all.
        let (id, kind, code) = refusal(json);
        assert!(id == 0 && matches!(kind, RequestErrorKind::Unreadable(_)) && code == 76, "{json}: {kind:?}");
    }
    assert!(Request::parse(b"\xff\xfe").is_err());
    let deep = format!("{{\"schema\":1,\"id\":1,\"command\":\"jobs\",\"args\":{}", "[".repeat(100_000));
    assert!(Request::parse(deep.as_bytes()).is_err());
    let deep = format!("{{\"schema\":1,\"id\":1,\"x\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Request::parse(deep.as_bytes()).is_err());
}

#[test]
fn strangers_are_named() {
    let (id, kind, code) = refusal(r#"{"schema":1,"id":9,"command":"doctor","args":{"x":[1]}}"#);
    assert!(matches!(&kind, RequestErrorKind::UnknownCommand(name) if name == "doctor"), "{kind:?}");
    assert_eq!((id, code), (9, 76));
    let long = format!(r#"{{"schema":1,"id":9,"command":"{}"}}"#, "x".repeat(100_000));
    assert!(refusal(&long).1.to_string().len() < 200);
    let (id, kind, code) = refusal(r#"{"schema":2,"id":9,"command":7,"descriptors":"x"}"#);
    assert_eq!((id, code), (0, 76), "{kind:?}");
    let (id, kind, code) = refusal(r#"{"schema":2,"id":9,"command":"jobs","args":{"ended":"perhaps"}}"#);
    assert!(matches!(kind, RequestErrorKind::Newer(2)), "{kind:?}");
    assert_eq!((id, code), (9, 76));
    let (id, kind, code) = refusal(r#"{"schema":1,"id":9,"command":"show","args":{}}"#);
    assert!(kind.to_string().contains("missing field `job`"), "{kind}");
    assert_eq!((id, code), (9, 2));
    assert!(matches!(refusal(r#"{"schema":1,"id":0,"command":"key"}"#).1, RequestErrorKind::Zero("id")));
    assert!(matches!(refusal(r#"{"schema":0,"id":1,"command":"key"}"#).1, RequestErrorKind::Zero("schema")));
}

#[test]
fn misspelt_words_are_no_defaults() {
    let push = |options: &str| {
        format!(
            r#"{{"schema":1,"id":1,"command":"push","args":{{"sources":[],"destinations":[],"options":{options}}}}}"#
        )
    };
    assert!(Request::parse(push(r#"{"if_exists":"fail"}"#).as_bytes()).is_ok());
    for options in
        [r#"{"if_exists":"fial"}"#, r#"{"policy":"fixed"}"#, r#"{"policy":"x"}"#, r#"{"limit_bps":-1}"#]
    {
        assert_eq!(refusal(&push(options)).2, 2, "{options}");
    }
    assert_eq!(refusal(r#"{"schema":1,"id":1,"command":"limit","args":{"target":"jobs","job":1}}"#).2, 2);
}

#[test]
fn the_number_of_descriptors_is_that_of_the_files() {
    let local = |how| Local { path: "/f".into(), how, bytes: None };
    let sources = vec![local(How::Fd), local(How::Vault), local(How::Fd)];
    let options = TransferOptions { trace: true, ..TransferOptions::default() };
    let push = Push { sources, destinations: Vec::new(), options };
    let mut request = Request::new(1, push);
    assert_eq!(request.descriptors, 3);
    let parse = |request: &Request| Request::parse(&request.encode().unwrap()[PREFIX_BYTES..]);
    assert_eq!(parse(&request).unwrap(), request);
    for given in [0, 2, 4, usize::MAX] {
        request.descriptors = given;
        let error = parse(&request).unwrap_err();
        assert!(matches!(error.kind, RequestErrorKind::Descriptors { expected: 3, .. }), "{error}");
        assert_eq!((error.id, error.report().code), (1, 2));
    }
}

#[test]
fn what_is_new_is_ignored() {
    let json = r#"{"schema":1,"new":{"a":[1]},"id":1,"command":"show","args":{"job":7,"new":[[]]}}"#;
    let request = Request::parse(json.as_bytes()).unwrap();
    assert_eq!(request.command, Command::Show(Show { job: 7, samples: false }));
    let body = |json: &str| serde_json::from_str::<Response>(json).unwrap().body;
    let event = r#"{"schema":1,"id":1,"kind":"event","body":{"event":"eclipse","job":7},"new":1}"#;
    assert_eq!(body(event), Body::Event(Event::Unknown));
    let job = serde_json::to_value(job()).unwrap().to_string().replace("\"running\"", "\"dreaming\"");
    assert_eq!(serde_json::from_str::<JobReport>(&job).unwrap().state, JobState::Unknown);
    let row = r#"{"packets":1,"frames":1,"wire_bytes":1,"payload_bytes":1,"seconds":1,"retransmitted":0,"retransmitted_bytes":0,"duplicates":0,"new":2}"#;
    assert_eq!(serde_json::from_str::<Row>(row).unwrap().packets, 1);
}

fn job() -> JobReport {
    JobReport {
        job: u64::MAX,
        uid: u32::MAX,
        user: "alice".into(),
        direction: Direction::Push,
        peer: "bob".into(),
        sources: Vec::new(),
        sources_total: u64::MAX,
        destination: PlaceReport { root: String::new(), path: "".into() },
        state: JobState::Running,
        bytes: u64::MAX,
        total: Some(u64::MAX),
        files: 0,
        rate_bps: u64::MAX,
        rtt_us: 0,
        loss: f64::NAN,
        policy: Policy::Fixed { rate_bps: u64::MAX },
        limit_bps: None,
        created_unix_ms: 0,
        started_unix_ms: None,
        ended_unix_ms: None,
        retries: 0,
        error: None,
    }
}

#[test]
fn extreme_numbers_survive() {
    let response = Response::event(u64::MAX, Event::Job(Box::new(JobReport { loss: 1e-300, ..job() })));
    let json = serde_json::to_string(&response).unwrap();
    assert_eq!(serde_json::from_str::<Response>(&json).unwrap(), response);
    // Not a number is said as 0: JSON would say null, which is none either.
    let json = serde_json::to_string(&job()).unwrap();
    assert_eq!(serde_json::from_str::<JobReport>(&json).unwrap(), JobReport { loss: 0.0, ..job() });
}

/// The worst name there is: as long as a path may be, and no byte of it is UTF-8.
fn worst(len: usize) -> Name {
    Name::new(vec![0xff; len])
}

#[test]
fn pieces_of_lists_fit_into_a_frame_with_the_worst_names() {
    let entry = Entry {
        name: worst(255),
        kind: EntryKind::Directory,
        bytes: u64::MAX,
        mode: u32::MAX,
        mtime_ns: i64::MIN,
    };
    let entries = vec![entry; ENTRIES_PER_FRAME_MAX];
    let place = PlaceReport { root: "r".repeat(255), path: worst(4095) };
    let report = JobReport { sources: vec![place.clone(); SOURCES_SHOWN_MAX], destination: place, ..job() };
    let row = Row {
        stream: Some(u32::MAX),
        packets: u64::MAX,
        frames: u64::MAX,
        wire_bytes: u64::MAX,
        payload_bytes: u64::MAX,
        seconds: 1.234_567_890_123_456_7e-300,
        retransmitted: u64::MAX,
        retransmitted_bytes: u64::MAX,
        duplicates: u64::MAX,
    };
    let rows = vec![row; ROWS_PER_FRAME_MAX];
    let stats = StatsReport { streams: rows.clone(), ..StatsReport::default() };
    let done =
        udpx_control::schema::Reply::Job { job: Box::new(report.clone()), stats: Some(Box::new(stats)) };
    for response in [
        Response::event(u64::MAX, Event::Entries { entries }),
        Response::event(u64::MAX, Event::Job(Box::new(report.clone()))),
        Response::event(u64::MAX, Event::Sources { job: u64::MAX, sources: report.sources.clone() }),
        Response::event(u64::MAX, Event::Rows { job: u64::MAX, rows }),
        Response::done(u64::MAX, done),
    ] {
        assert!(response.encode().is_ok());
    }
    let sources = vec![Local { path: worst(4095), how: How::Vault, bytes: Some(u64::MAX) }; 100];
    let push = Push { sources, destinations: Vec::new(), options: TransferOptions::default() };
    assert!(matches!(Request::new(1, push).encode(), Err(FrameError::TooLarge { .. })));
}

fn names() -> impl Strategy<Value = Name> {
    prop_oneof![
        any::<Vec<u8>>().prop_map(Name::new),
        any::<String>().prop_map(|text| Name::from(text.as_str()))
    ]
}

prop_compose! {
    fn pushes()(
        sources in prop::collection::vec((names(), any::<bool>()), 0..5),
        host: String,
        port: Option<u16>,
        root: String,
        path in names(),
        detach: bool,
        rate: Option<u64>,
        streams: Option<u16>,
    ) -> Push {
        let how = |vault| if vault { How::Vault } else { How::Fd };
        let policy = rate.map_or(Policy::Low, |rate_bps| Policy::Fixed { rate_bps });
        Push {
            sources: sources.into_iter().map(|(path, vault)| Local { path, how: how(vault), bytes: vault.then_some(7) }).collect(),
            destinations: vec![Remote { host, port, key: port.map(|_| "udpxk1".into()), root, path }],
            options: TransferOptions { detach, policy, streams, limit_bps: rate, ..TransferOptions::default() },
        }
    }
}

proptest! {
    #[test]
    fn any_push_survives_the_way(push in pushes(), id in 1u64..) {
        let request = Request::new(id, push);
        let mut decoder = Decoder::default();
        decoder.push(&request.encode().unwrap());
        let frame = decoder.next_frame().unwrap().unwrap();
        prop_assert_eq!(Request::parse(frame.json()).unwrap(), request);
    }

    #[test]
    fn any_bytes_are_a_request_or_an_error(bytes: Vec<u8>) {
        let _ = Request::parse(&bytes);
    }

    #[test]
    fn a_damaged_request_is_a_request_or_an_error(push in pushes(), at: prop::sample::Index, byte: u8) {
        let mut json = Request::new(1, push).encode().unwrap().split_off(PREFIX_BYTES);
        let at = at.index(json.len());
        json[at] = byte;
        if let Err(error) = Request::parse(&json) {
            prop_assert!(error.response().encode().unwrap().len() < FRAME_BYTES_MAX);
        }
    }
}
