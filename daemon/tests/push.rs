//! Files over real sockets, from an embedded engine to a daemon.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{Receiver, file, names, send, send_in_background};
use udpxd::config::Sink;
use udpxd::daemon::DaemonEvent;
use udpxd::embedded::{Event, PushFile, PushRequest};
use udpxd::report::Summary;
use udpxd::{Code, IfExists, RatePolicy};

/// Sends a fresh file and compares what arrived with it.
fn round_trip(receiver: &Receiver, len: usize, change: impl FnOnce(&mut PushRequest)) -> Summary {
    let source = tempfile::tempdir().unwrap();
    let name = format!("file-{len}");
    let path = file(source.path(), &name, len);
    let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
    change(&mut request);
    let (result, events) = send(request);
    let summary = result.unwrap_or_else(|error| panic!("{len} bytes: {error:?}, after {events:?}"));
    let arrived = std::fs::read(receiver.inbox().join(&name)).unwrap();
    assert!(arrived == std::fs::read(&path).unwrap(), "{len} bytes differ");
    let sent = &summary.files[0];
    assert_eq!(sent.path, receiver.inbox().join(&name));
    assert_eq!((sent.bytes, summary.bytes), (len as u64, len as u64));
    assert_eq!(sent.digest, *blake3::hash(&arrived).as_bytes());
    let rows = summary.streams.iter().chain([&summary.control]);
    let (packets, wire) =
        rows.fold((0, 0), |(packets, wire), row| (packets + row.packets, wire + row.wire_bytes));
    assert_eq!((summary.total.packets, summary.total.wire_bytes), (packets, wire));
    assert!(summary.total.payload_bytes >= len as u64 && summary.control.packets > 0);
    assert!(matches!(events.last(), Some(Event::FileDone(_))));
    assert_eq!(
        names(&receiver.inbox()).iter().filter(|name| name.as_bytes().starts_with(b".udpx-")).count(),
        0
    );
    summary
}

#[test]
fn files_of_all_sizes_arrive() {
    let receiver = Receiver::start();
    for len in [0, 1, 1200, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 3] {
        round_trip(&receiver, len, |_| {});
    }
    let received = receiver.wait_for(|event| match event {
        DaemonEvent::Received { peer, file, .. } if file.bytes == (5 << 20) + 3 => {
            Some((peer.clone(), file.clone()))
        }
        _ => None,
    });
    assert_eq!(received.0, "alice");
    assert_eq!(received.1.rows.iter().map(|row| row.payload_bytes).sum::<u64>() >> 20, 5);
}

#[test]
fn a_large_file_arrives_in_four_streams() {
    let receiver = Receiver::start();
    let summary = round_trip(&receiver, 100 << 20, |request| request.streams = Some(4));
    assert_eq!(summary.streams.len(), 4);
}

#[test]
fn ipv6_without_offload_and_plain() {
    let receiver = Receiver::with("[::1]:0", |config| config.peers[0].plain = true);
    round_trip(&receiver, (5 << 20) + 3, |_| {});
    round_trip(&receiver, (5 << 20) + 4, |request| request.call.way.gso = false);
    round_trip(&receiver, (40 << 20) + 5, |request| request.call.way.plain = true);
    round_trip(&receiver, (5 << 20) + 6, |request| {
        request.call.way.plain = true;
        request.call.way.gso = false;
    });
}

#[test]
fn plain_is_refused_quietly_where_only_one_end_allows_it() {
    let receiver = Receiver::start();
    round_trip(&receiver, 3 << 20, |request| request.call.way.plain = true);
}

#[test]
fn strange_names_and_attributes_arrive() {
    let receiver = Receiver::start();
    let source = tempfile::tempdir().unwrap();
    let strange: [&[u8]; 5] =
        [b"two words", b"line\nbreak", b"\xff\xfe not utf-8", b"-rf *", "\u{1f980}".as_bytes()];
    let mut files = Vec::new();
    for (index, name) in strange.into_iter().enumerate() {
        let path = file(source.path(), OsStr::from_bytes(name), 1000 + index);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        files.push(PushFile::Path(path));
    }
    let modified = std::fs::metadata(source.path().join("two words")).unwrap().modified().unwrap();
    let mut request = receiver.request(files);
    request.path = b"deep/directory with spaces/".to_vec();
    let summary = send(request).0.unwrap();
    assert_eq!(summary.files.len(), strange.len());
    let inside = receiver.inbox().join("deep/directory with spaces");
    assert_eq!(names(&inside), names(source.path()));
    let metadata = std::fs::metadata(inside.join("two words")).unwrap();
    assert_eq!((metadata.permissions().mode() & 0o777, metadata.modified().unwrap()), (0o660, modified));
}

#[test]
fn a_directory_takes_the_file_inside_and_another_one_in_its_way_refuses_it() {
    let receiver = Receiver::start();
    std::fs::create_dir_all(receiver.inbox().join("place/file-7")).unwrap();
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "file-7", 7);
    let to = |dest: &[u8]| {
        let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
        request.path = dest.to_vec();
        request
    };
    let error = send(to(b"place")).0.unwrap_err();
    assert_eq!(error.code, Code::NoSpace, "{error}");
    assert!(error.text.contains("is a directory"), "{error}");
    std::fs::remove_dir(receiver.inbox().join("place/file-7")).unwrap();
    let summary = send(to(b"place")).0.unwrap();
    assert_eq!(summary.files[0].path, receiver.inbox().join("place/file-7"));
    assert_eq!(send(to(b"place/other")).0.unwrap().files[0].path, receiver.inbox().join("place/other"));
    // A file where a directory is needed, and a way out of the root.
    assert_eq!(send(to(b"place/other/below")).0.unwrap_err().code, Code::NoSpace);
    assert_eq!(send(to(b"../outside")).0.unwrap_err().code, Code::Refused);
    assert_eq!(names(&receiver.inbox().join("place")), ["file-7", "other"]);
}

#[test]
fn what_happens_to_an_existing_file_is_chosen() {
    let receiver = Receiver::start();
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "name.txt", 5000);
    std::fs::create_dir_all(receiver.inbox()).unwrap();
    let existing = receiver.inbox().join("name.txt");
    let with = |if_exists| {
        std::fs::write(&existing, "old").unwrap();
        let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
        request.if_exists = if_exists;
        send(request).0
    };
    let skipped = with(IfExists::Skip).unwrap();
    assert!(skipped.files[0].skipped && std::fs::read(&existing).unwrap() == b"old");
    let error = with(IfExists::Fail).unwrap_err();
    assert!(error.code == Code::NoSpace && error.text.contains("exists already"), "{error}");
    assert_eq!(with(IfExists::Rename).unwrap().files[0].path, receiver.inbox().join("name (1).txt"));
    assert_eq!(std::fs::read(&existing).unwrap(), b"old");
    with(IfExists::Replace).unwrap();
    assert_eq!(std::fs::read(&existing).unwrap(), std::fs::read(&path).unwrap());
}

#[test]
fn many_files_arrive_together_and_one_that_is_missing_does_not_stop_them() {
    let receiver = Receiver::start();
    let source = tempfile::tempdir().unwrap();
    let mut files: Vec<PushFile> =
        (0..200).map(|n| PushFile::Path(file(source.path(), format!("{n:03}"), n * 100))).collect();
    let summary = send(receiver.request(files.clone())).0.unwrap();
    assert_eq!(summary.files.len(), 200);
    assert_eq!(names(&receiver.inbox()), names(source.path()));
    files.insert(3, PushFile::Path(source.path().join("missing")));
    files.truncate(10);
    let (result, events) = send(receiver.request(files));
    let error = result.unwrap_err();
    assert_eq!((error.code, error.summary.unwrap().files.len()), (Code::Partly, 9));
    let failed = events.iter().find_map(|event| match event {
        Event::FileFailed { file, error } => Some((*file, error.code)),
        _ => None,
    });
    assert_eq!(failed, Some((3, Code::NoSource)));
}

#[test]
fn a_generated_source_into_nowhere_has_a_digest_on_both_ends() {
    let receiver = Receiver::with("127.0.0.1:0", |config| config.sink = Sink::Null);
    let generated = PushFile::Generated { name: b"g".to_vec(), len: (70 << 20) + 9, seed: 3 };
    let summary = send(receiver.request(vec![generated])).0.unwrap();
    let received = receiver.wait_for(|event| match event {
        DaemonEvent::Received { file, .. } => Some(file.clone()),
        _ => None,
    });
    assert_eq!((received.digest, received.bytes), (summary.files[0].digest, (70 << 20) + 9));
}

#[test]
fn more_than_four_gibibytes_arrive() {
    let receiver = Receiver::with("127.0.0.1:0", |config| config.sink = Sink::Null);
    let len = (4 << 30) + 1;
    let generated = PushFile::Generated { name: b"g".to_vec(), len, seed: 3 };
    let summary = send(receiver.request(vec![generated])).0.unwrap();
    assert_eq!((summary.bytes, summary.streams.len()), (len, 4));
    assert!(summary.total.payload_bytes >= len);
}

#[test]
fn a_cancelled_push_ends_soon_and_leaves_nothing() {
    let receiver = Receiver::start();
    let source = tempfile::tempdir().unwrap();
    let mut request = receiver.request(vec![PushFile::Path(file(source.path(), "f", 64 << 20))]);
    request.call.way.policy = RatePolicy::Fixed { bps: 50e6 };
    let cancel = request.call.cancel.clone();
    let push = send_in_background(request);
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(receiver.names().len(), 1, "a part");
    let begin = Instant::now();
    cancel.store(true, Ordering::Relaxed);
    let error = push.join().unwrap().0.unwrap_err();
    assert_eq!(error.code, Code::Interrupted);
    assert!(begin.elapsed() < Duration::from_millis(600), "{:?}", begin.elapsed());
    receiver.wait_for(|event| matches!(event, DaemonEvent::Failed { .. }).then_some(()));
    for _ in 0..100 {
        if receiver.names().is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{:?} is left", receiver.names());
}
