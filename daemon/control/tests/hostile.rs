//! Clients that break the rules: each is refused by name, and costs no more than the limit says.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use support::{Place, error, fatal, request, responses, write};
use udpx_control::frame;
use udpx_control::limits::{
    CONNECTIONS_MAX, CONNECTIONS_PER_UID_MAX, FRAME_BYTES_MAX, FRAME_TIME_MAX, OUTPUT_BYTES_MAX,
    OUTPUT_SKIP_BYTES, OUTPUT_THROTTLE_BYTES, REQUESTS_MAX,
};
use udpx_control::schema::{Event, Jobs, Phase, Progress, Reply, Request, Response, Version};
use udpx_control::server::{Accepted, ConnectionError, Full, Limits, Polled};

fn version(id: u64) -> Vec<u8> {
    Request::new(id, Version {}).encode().unwrap()
}

/// Sends bytes with copies of a descriptor.
fn pass(stream: &UnixStream, bytes: &[u8], descriptor: impl AsFd, count: usize) {
    let numbers = vec![descriptor.as_fd().as_raw_fd(); count];
    let rights = [ControlMessage::ScmRights(&numbers)];
    let slices = [std::io::IoSlice::new(bytes)];
    sendmsg::<()>(stream.as_raw_fd(), &slices, &rights, MsgFlags::empty(), None).unwrap();
}

#[test]
fn garbage_is_told_so_and_dropped() {
    let mut place = Place::new(Limits::default());
    let two_gib = (2u32 << 30).to_le_bytes();
    let oversized = u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_le_bytes();
    for (bytes, text) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "542393671 bytes"),
        (&two_gib, "2147483648 bytes"),
        (&oversized, "1048577 bytes"),
        (&[0; 64], "without content"),
        (&frame::encode(b"nonsense").unwrap(), "not understood"),
        (&frame::encode(b"{\"schema\":1,\"id\":0,\"command\":\"key\"}").unwrap(), "no valid id"),
        (&frame::encode(&[0xff; 1000]).unwrap(), "not understood"),
    ] {
        let (mut stream, mut connection) = place.connect();
        write(&mut stream, bytes);
        let end = fatal(&mut connection).to_string();
        drop(connection);
        let (id, report) = error(&mut stream);
        assert!(end.contains(text) && report.text.contains(text), "{end}\n{report}");
        assert_eq!((id, report.code), (0, 76));
        assert!(responses(&mut stream).1, "closed");
    }
    assert_eq!(place.listener.connections(), 0);
}

#[test]
fn a_connection_survives_requests_that_are_merely_wrong() {
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    for json in [
        r#"{"schema":1,"id":5,"command":"doctor"}"#,
        r#"{"schema":9,"id":6,"command":"key"}"#,
        r#"{"schema":1,"id":7,"command":"show"}"#,
    ] {
        write(&mut stream, &frame::encode(json.as_bytes()).unwrap());
    }
    write(&mut stream, &version(8));
    for id in 5..8 {
        let Ok(Polled::Refused(error)) = connection.poll_request(Instant::now()) else { panic!("{id}") };
        assert_eq!(error.id, id);
    }
    assert_eq!(request(&mut connection).request.id, 8);
    let answers: Vec<_> = responses(&mut stream).0.iter().map(|response| response.id).collect();
    assert_eq!(answers, [5, 6, 7]);
}

#[test]
fn half_a_frame_has_ten_seconds() {
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    let (start, bytes) = (Instant::now(), version(1));
    let at = |milliseconds| start + Duration::from_millis(milliseconds);
    assert!(connection.deadline().is_none());
    // A byte now and then does not help: the whole frame counts.
    for second in 0..10 {
        write(&mut stream, &bytes[usize::try_from(second).unwrap()..][..1]);
        assert!(matches!(connection.poll_request(at(second * 1000)), Ok(Polled::Idle)));
        connection.check_deadline(at(second * 1000)).unwrap();
    }
    assert_eq!(connection.deadline(), Some(start + FRAME_TIME_MAX));
    connection.check_deadline(at(9999)).unwrap();
    assert!(matches!(connection.check_deadline(at(10_000)), Err(ConnectionError::SlowFrame)));
    assert_eq!(error(&mut stream).1.code, 75);
}

#[test]
fn the_time_of_a_frame_begins_with_its_own_first_byte() {
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    let start = Instant::now();
    let later = start + Duration::from_secs(9);
    let (one, two) = (version(1), version(2));
    write(&mut stream, &one[..10]);
    assert!(matches!(connection.poll_request(start), Ok(Polled::Idle)));
    write(&mut stream, &[&one[10..], &two[..10]].concat());
    assert!(matches!(connection.poll_request(later), Ok(Polled::Request(_))));
    assert_eq!(connection.deadline(), Some(later + FRAME_TIME_MAX));
    write(&mut stream, &two[10..]);
    assert!(matches!(connection.poll_request(later), Ok(Polled::Request(_))));
    assert!(connection.deadline().is_none());
}

#[test]
fn a_client_that_dies_is_noticed_wherever_it_stood() {
    let mut place = Place::new(Limits::default());
    let bytes = version(1);
    for cut in 0..bytes.len() {
        let (mut stream, mut connection) = place.connect();
        write(&mut stream, &bytes[..cut]);
        drop(stream);
        match fatal(&mut connection) {
            ConnectionError::Closed => assert_eq!(cut, 0),
            ConnectionError::Died => assert!(cut > 0),
            other => panic!("{cut}: {other}"),
        }
    }
    // With a request in flight: the daemon learns which one to stop, and its answer does no harm.
    let (mut stream, mut connection) = place.connect();
    write(&mut stream, &bytes);
    assert_eq!(request(&mut connection).request.id, 1);
    drop(stream);
    assert!(matches!(fatal(&mut connection), ConnectionError::Closed));
    assert_eq!(connection.in_flight().collect::<Vec<_>>(), [1]);
    let late = connection.send(Response::done(1, Reply::Nothing), Vec::new());
    assert!(matches!(late, Err(ConnectionError::Closed)));
}

#[test]
fn a_reader_that_never_reads_is_dropped_before_it_costs_much() {
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    write(&mut stream, &version(1));
    request(&mut connection);
    let retry = || Response::event(1, Event::Retry { job: 1, text: "x".repeat(10_000) });
    let mut sent = 0;
    let end = loop {
        sent += 10_000;
        match connection.send(retry(), Vec::new()) {
            Ok(()) => assert!(connection.waiting_bytes() <= OUTPUT_BYTES_MAX),
            Err(end) => break end,
        }
    };
    assert!(matches!(end, ConnectionError::NeverReads { .. }), "{end}");
    assert!((OUTPUT_BYTES_MAX..2 * OUTPUT_BYTES_MAX).contains(&sent), "{sent}");
}

#[test]
fn who_is_behind_gets_no_stale_progress_and_is_asked_for_nothing_new() {
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    write(&mut stream, &version(1));
    request(&mut connection);
    let progress = || {
        let progress = Progress {
            job: 1,
            bytes: 0,
            total: None,
            rate_bps: 0,
            rtt_us: 0,
            loss: 0.0,
            phase: Phase::Sending,
            eta_us: None,
            quiet_us: 0,
        };
        Response::event(1, Event::Progress(progress))
    };
    for _ in 0..100_000 {
        connection.send(progress(), Vec::new()).unwrap();
    }
    let behind = connection.waiting_bytes();
    assert!((OUTPUT_SKIP_BYTES..OUTPUT_SKIP_BYTES + 1000).contains(&behind), "{behind}");
    // It is still served; but not for ever.
    write(&mut stream, &version(2));
    assert_eq!(request(&mut connection).request.id, 2);
    while connection.waiting_bytes() <= OUTPUT_THROTTLE_BYTES {
        connection
            .send(Response::event(1, Event::Retry { job: 1, text: "x".repeat(1000) }), Vec::new())
            .unwrap();
    }
    write(&mut stream, &[version(3), version(4)[..10].to_vec()].concat());
    assert!(matches!(connection.poll_request(Instant::now()), Ok(Polled::Idle)));
    // When it reads at last it is served again, and what it could not send meanwhile is not held against it.
    stream.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 1 << 20];
    while connection.waiting_bytes() > 0 {
        while stream.read(&mut buffer).is_ok() {}
        connection.flush().unwrap();
    }
    assert_eq!(request(&mut connection).request.id, 3);
    connection.check_deadline(Instant::now()).unwrap();
}

#[test]
fn too_many_requests_at_once_are_refused_one_by_one() {
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    let max = u64::try_from(REQUESTS_MAX).unwrap();
    for id in 1..=max + 1 {
        write(&mut stream, &version(id));
    }
    for id in 1..=max {
        assert_eq!(request(&mut connection).request.id, id);
    }
    assert!(matches!(connection.poll_request(Instant::now()), Ok(Polled::Refused(_))));
    let (id, report) = error(&mut stream);
    assert_eq!((id, report.code), (max + 1, 75));
    assert!(report.text.contains("64 requests"), "{report}");
    connection.send(Response::done(1, Reply::Nothing), Vec::new()).unwrap();
    write(&mut stream, &version(max + 1));
    assert_eq!(request(&mut connection).request.id, max + 1);
    // An id that is in use is no question that could be answered.
    connection.send(Response::done(2, Reply::Nothing), Vec::new()).unwrap();
    responses(&mut stream);
    write(&mut stream, &version(3));
    assert!(matches!(fatal(&mut connection), ConnectionError::Unreadable(_)));
    assert_eq!(error(&mut stream).0, 0);
}

#[test]
fn ten_thousand_connections_of_one_user() {
    let mut place = Place::new(Limits::default());
    let mut kept = Vec::new();
    for number in 0..10_000 {
        let mut stream = UnixStream::connect(&place.path).unwrap();
        match place.listener.accept().unwrap().unwrap() {
            Accepted::Connection(connection) => kept.push((stream, connection)),
            Accepted::Full { full, .. } => {
                assert_eq!(kept.len(), CONNECTIONS_PER_UID_MAX);
                if number % 1000 == 0 {
                    let (id, report) = error(&mut stream);
                    assert_eq!((id, report.code), (0, 75));
                    assert!(report.text.contains("has 64 connections") && full.to_string() == report.text);
                    assert!(responses(&mut stream).1, "closed");
                }
            }
            dropped @ Accepted::Dropped(_) => panic!("{dropped:?}"),
        }
    }
    // Those who were there first are served as ever, and a place that is left is given away.
    let (stream, connection) = kept.last_mut().unwrap();
    write(stream, &version(1));
    assert_eq!(request(connection).request.id, 1);
    kept.pop();
    place.connect();
}

#[test]
fn thousands_of_connections_of_many_users() {
    // Both ends are held here, and the usual soft limit is 1024.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    assert!(hard >= 4096, "this test needs 4096 open files, and the hard limit is {hard}: raise it");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let limits = Limits { per_uid: usize::MAX, ..Limits::default() };
    let mut place = Place::new(limits);
    let mut kept = Vec::new();
    let reserved = if nix::unistd::geteuid().is_root() { 0 } else { limits.reserved };
    // All wait in the backlog at once, as far as it goes.
    for _ in 0..4 {
        let waiting: Vec<_> = (0..500).map(|_| UnixStream::connect(&place.path).unwrap()).collect();
        for stream in waiting {
            match place.listener.accept().unwrap().unwrap() {
                Accepted::Connection(connection) => kept.push((stream, connection)),
                Accepted::Full { full, .. } => assert_eq!(full, Full::Total(CONNECTIONS_MAX - reserved)),
                dropped @ Accepted::Dropped(_) => panic!("{dropped:?}"),
            }
        }
        assert!(place.listener.accept().unwrap().is_none());
    }
    assert_eq!(place.listener.connections(), CONNECTIONS_MAX - reserved);
    kept.clear();
    assert_eq!(place.listener.connections(), 0);
}

#[test]
fn descriptors_that_nobody_wants_are_closed() {
    let mut place = Place::new(Limits::default());
    let unannounced = version(1);
    let announced = frame::encode(br#"{"schema":1,"id":1,"descriptors":1,"command":"version"}"#).unwrap();
    let many = frame::encode(br#"{"schema":1,"id":1,"descriptors":65,"command":"version"}"#).unwrap();
    let lying = frame::encode(br#"{"schema":1,"id":1,"descriptors":2,"command":"version"}"#).unwrap();
    for (bytes, count, ends, text) in [
        (&unannounced, 1, true, "no frame announced"),
        (&announced, 1, false, "takes 0 descriptors"),
        (&announced, 3, true, "no frame announced"),
        (&many, 65, true, "More than 64"),
        (&many, 253, true, "More than 64"),
        (&lying, 1, true, "announced 2 descriptors, and 1 came"),
    ] {
        let (mut stream, mut connection) = place.connect();
        let (mut reader, writer) = std::io::pipe().unwrap();
        pass(&stream, bytes, &writer, count);
        drop(writer);
        match connection.poll_request(Instant::now()) {
            Err(_) => assert!(ends, "{text}"),
            Ok(Polled::Refused(_)) => assert!(!ends, "{text}"),
            other => panic!("{other:?}"),
        }
        let (_, report) = error(&mut stream);
        assert!(report.text.contains(text), "{text}: {report}");
        if ends {
            drop(connection);
        }
        // Every copy is closed, or this would wait for ever.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn descriptors_in_the_middle_of_frames_and_before_the_end_are_closed_too() {
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let bytes = version(1);
    for byte in &bytes[..40] {
        pass(&stream, &[*byte], &writer, 2);
    }
    drop(writer);
    let mut polled = connection.poll_request(Instant::now());
    assert!(matches!(polled, Err(ConnectionError::Inbound(_))), "{polled:?}");
    drop(connection);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert!(error(&mut stream).1.text.contains("More than 64"));
    // A client that passes one and dies.
    let (stream, mut connection) = place.connect();
    let (mut reader, writer) = std::io::pipe().unwrap();
    pass(&stream, &bytes[..10], &writer, 1);
    drop((stream, writer));
    polled = connection.poll_request(Instant::now());
    assert!(matches!(polled, Err(ConnectionError::Died)), "{polled:?}");
    drop(connection);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
}

#[test]
fn an_answer_that_is_too_large_becomes_an_error() {
    let mut place = Place::new(Limits::default());
    let (mut stream, mut connection) = place.connect();
    write(&mut stream, &Request::new(1, Jobs::default()).encode().unwrap());
    request(&mut connection);
    let event = Event::Retry { job: 1, text: "x".repeat(FRAME_BYTES_MAX) };
    connection.send(Response::event(1, event), Vec::new()).unwrap();
    let (id, report) = error(&mut stream);
    assert_eq!((id, report.code), (1, 1));
    assert_eq!(connection.in_flight().count(), 0);
}
