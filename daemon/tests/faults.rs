//! What goes wrong at either end, and what is said about it.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::fs::OpenOptions;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Receiver, bytes, file, send, send_in_background};
use udpx_udp::{SendBatch, Socket, SocketOptions};
use udpxd::daemon::DaemonEvent;
use udpxd::embedded::{Event, PushFile};
use udpxd::identity;
use udpxd::{Code, RatePolicy};

#[test]
fn an_unknown_key_is_told_what_to_do() {
    let receiver = Receiver::start();
    let source = tempfile::tempdir().unwrap();
    let stranger = identity::ephemeral().unwrap();
    let key = identity::key_text(&stranger.public());
    for len in [10, 10 << 20] {
        let files = vec![PushFile::Path(file(source.path(), "f", len))];
        let mut request = receiver.request(files);
        request.call.identity = stranger.clone();
        let error = send(request).0.unwrap_err();
        assert_eq!(error.code, Code::Refused, "{error}");
        assert!(error.remedy.contains(&key) && error.remedy.contains("udpxd.toml"), "{error}");
    }
    assert!(receiver.names().is_empty());
    let seen = receiver.wait_for(|event| match event {
        DaemonEvent::Refused { key, .. } => Some(*key),
        _ => None,
    });
    assert_eq!(seen, stranger.public());
}

#[test]
fn more_sessions_than_allowed_are_sent_away_by_name_and_come_again() {
    let receiver = Receiver::with("127.0.0.1:0", |config| config.limits.sessions = 1);
    let source = tempfile::tempdir().unwrap();
    let files = |len| vec![PushFile::Path(file(source.path(), format!("f{len}"), len))];
    let mut long = receiver.request(files(12 << 20));
    long.call.way.policy = RatePolicy::Fixed { bps: 40e6 };
    let cancel = long.call.cancel.clone();
    let long = send_in_background(long);
    receiver.wait_for(|event| matches!(event, DaemonEvent::Connected { .. }).then_some(()));
    let (result, events) = send(receiver.request(files(10)));
    let error = result.expect_err("one is enough");
    assert_eq!(error.code, Code::TryAgain, "{error} {events:?}");
    assert!(error.text.contains("as many sessions open as it allows, 1"), "{error}");
    assert!(error.remedy.contains("raise sessions in [limits]"), "{error}");
    // Strangers are told what strangers are told, and take nobody's place.
    let mut stranger = receiver.request(files(11));
    stranger.call.identity = identity::ephemeral().unwrap();
    assert_eq!(send(stranger).0.unwrap_err().code, Code::Refused);
    assert!(!long.is_finished(), "{:?}", long.join().unwrap().0);
    cancel.store(true, Ordering::Relaxed);
    let _ = long.join().unwrap();
    send(receiver.request(files(10))).0.unwrap();
}

#[test]
fn nobody_there_and_silence_are_told_apart() {
    let source = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let files = vec![PushFile::Path(file(source.path(), "f", 10))];
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let closed = {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap()
    };
    let begin = Instant::now();
    let request = receiver.request_to(vec![closed], files.clone());
    let error = send(request).0.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert_eq!(error.code, Code::Unreachable);
    assert!(error.to_string().contains("othing listens") && error.remedy.contains("udpxd"), "{error}");
    let mut request = receiver.request_to(vec![silent.local_addr().unwrap()], files.clone());
    request.call.way.connect_timeout = Duration::from_secs(1);
    let error = send(request).0.unwrap_err();
    assert_eq!(error.code, Code::Unreachable);
    assert!(error.text.contains("does not answer") && error.remedy.contains("firewall"), "{error}");
    // The right key at the second address is found though the first is silent.
    let addresses = vec![silent.local_addr().unwrap(), receiver.address];
    send(receiver.request_to(addresses, files)).0.unwrap();
}

#[test]
fn a_full_destination_is_said_before_data_flows() {
    let receiver = Receiver::start();
    let generated = PushFile::Generated { name: b"g".to_vec(), len: 1 << 45, seed: 1 };
    let begin = Instant::now();
    let (result, events) = send(receiver.request(vec![generated]));
    let error = result.unwrap_err();
    assert_eq!(error.code, Code::NoSpace, "{error}");
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(!events.iter().any(|event| matches!(event, Event::Accepted { .. })), "{events:?}");
    assert!(receiver.names().is_empty());
}

/// Changes the source a while after its push began; returns how the push ended.
fn change_while_sending(change: impl FnOnce(&Path)) -> (Code, String) {
    let receiver = Receiver::start();
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", 48 << 20);
    let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
    request.call.way.policy = RatePolicy::Fixed { bps: 200e6 };
    let push = send_in_background(request);
    std::thread::sleep(Duration::from_millis(700));
    change(&path);
    let error = push.join().unwrap().0.expect_err("the source changed");
    receiver.wait_for(|event| {
        matches!(event, DaemonEvent::Failed { code: Code::SourceChanged, .. }).then_some(())
    });
    std::thread::sleep(Duration::from_millis(100));
    assert!(receiver.names().is_empty(), "{:?}", receiver.names());
    (error.code, error.text)
}

#[test]
fn a_source_that_is_truncated_fails_its_push() {
    let (code, text) = change_while_sending(|path| {
        OpenOptions::new().write(true).open(path).unwrap().set_len(1 << 20).unwrap();
    });
    assert_eq!(code, Code::SourceChanged);
    assert!(text.contains("was truncated"), "{text}");
}

#[test]
fn a_source_that_grows_fails_its_push() {
    let (code, text) = change_while_sending(|path| {
        OpenOptions::new().append(true).open(path).unwrap().write_all(b"more").unwrap();
    });
    assert_eq!(code, Code::SourceChanged);
    assert!(text.contains("grew"), "{text}");
}

#[test]
fn a_source_that_is_rewritten_fails_its_push() {
    let (code, text) = change_while_sending(|path| {
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.write_all_at(&bytes(48 << 20, 99), 0).unwrap();
    });
    assert_eq!(code, Code::SourceChanged);
    assert!(text.contains("was rewritten"), "{text}");
}

#[test]
fn a_source_that_is_deleted_fails_its_push() {
    let (code, text) = change_while_sending(|path| std::fs::remove_file(path).unwrap());
    assert_eq!(code, Code::SourceChanged);
    assert!(text.contains("was deleted"), "{text}");
}

#[test]
fn garbage_at_the_port_does_not_disturb_a_transfer() {
    let receiver = Receiver::start();
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", 20 << 20);
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, to) = (stop.clone(), receiver.address);
    let garbage = std::thread::spawn(move || throw_garbage(to, &stopped));
    let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
    request.call.way.policy = RatePolicy::Fixed { bps: 100e6 };
    let result = send(request).0;
    stop.store(true, Ordering::Relaxed);
    let thrown = garbage.join().unwrap();
    println!("{thrown} datagrams of garbage");
    assert!(thrown > 100_000, "{thrown}");
    result.unwrap();
    assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
}

/// Sends 100,000 datagrams a second of all sizes, truncated and oversized ones among them; returns how many.
fn throw_garbage(to: SocketAddr, stop: &AtomicBool) -> u64 {
    const A_MILLISECOND: u64 = 100;
    let mut socket = Socket::connect("127.0.0.1:0".parse().unwrap(), to, &SocketOptions::default()).unwrap();
    let mut batch = SendBatch::new(8);
    let noise = bytes(65_000, 5);
    let (begin, mut sent, mut round) = (Instant::now(), 0, 0_usize);
    while !stop.load(Ordering::Relaxed) {
        if sent > begin.elapsed().as_millis() as u64 * A_MILLISECOND {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let size = [1, 15, 16, 17, 48, 1000, 1200, 1472, 9000, 65_000][round % 10];
        let mut slot = batch.train(None, 0, size).unwrap();
        let bytes = (usize::from(size) * 60).min(65_000) / usize::from(size) * usize::from(size);
        slot.buffer()[..bytes].copy_from_slice(&noise[..bytes]);
        // Half of them look like packets of a session, or like handshakes.
        for datagram in slot.buffer()[..bytes].chunks_mut(usize::from(size)).step_by(2) {
            datagram[0] = 0x10 | [1, 2, 3, 8, 9, 10, 11, 12][round / 10 % 8];
        }
        slot.commit(bytes).unwrap();
        sent += socket.send(&mut batch).datagrams as u64;
        batch.clear();
        round += 1;
    }
    sent
}

#[test]
fn a_receiver_that_is_restarted_gets_the_file_anew() {
    let mut receiver = Receiver::start();
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", 24 << 20);
    let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
    request.call.way.policy = RatePolicy::Fixed { bps: 100e6 };
    let push = send_in_background(request);
    std::thread::sleep(Duration::from_millis(800));
    receiver.restart();
    let (result, events) = push.join().unwrap();
    let summary = result.unwrap();
    assert_eq!(summary.sessions, 2, "{events:?}");
    assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
    assert_eq!(receiver.names(), ["f"]);
}
