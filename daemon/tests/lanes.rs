//! Sessions of several lanes, between a daemon and an embedded engine with real sockets.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{Receiver, file, send, send_in_background};
use udpxd::embedded::{Call, PullFile, PullRequest, PushFile, PushRequest, pull};
use udpxd::report::{LaneRow, Summary};
use udpxd::{IfExists, RatePolicy};

/// Enough that each lane has its turn many times.
const LEN: usize = 16 << 20;
/// Enough that something can happen in the middle.
const LONG: usize = 48 << 20;

/// A daemon that serves so many lanes.
fn receiver(lanes: u8) -> Receiver {
    Receiver::with("127.0.0.1:0", |config| {
        config.lanes = Some(lanes);
        config.mtu_max = 1500;
    })
}

fn request(receiver: &Receiver, path: &std::path::Path, lanes: u8) -> PushRequest {
    let mut request = receiver.request(vec![PushFile::Path(path.into())]);
    request.call.way.lanes = Some(lanes);
    request
}

/// Packets of data went by each of so many lanes, and by no more. How many by which is the scheduler's to say: a lane whose thread
/// has no core is passed over.
fn expect_lanes(summary: &Summary, lanes: usize, count: impl Fn(&LaneRow) -> u64) {
    assert_eq!(summary.lanes.len(), lanes, "{:?}", summary.lanes);
    assert!(summary.lanes.iter().all(|lane| count(lane) > 4 * 44), "{:?}", summary.lanes);
}

#[test]
fn a_push_goes_over_as_many_lanes_as_both_ends_allow() {
    for (ours, theirs, expected) in [(1, 1, 1), (2, 2, 2), (4, 4, 4), (8, 3, 3), (4, 1, 1), (1, 4, 1)] {
        let receiver = receiver(theirs);
        let source = tempfile::tempdir().unwrap();
        let path = file(source.path(), "f", LEN);
        let summary = send(request(&receiver, &path, ours)).0.unwrap();
        expect_lanes(&summary, expected, |lane| lane.sent);
        assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
    }
}

#[test]
fn a_pull_goes_over_as_many_lanes_as_both_ends_allow() {
    for (ours, theirs, expected) in [(1, 4, 1), (2, 2, 2), (4, 4, 4)] {
        let receiver = receiver(theirs);
        std::fs::create_dir_all(receiver.inbox()).unwrap();
        let path = file(&receiver.inbox(), "f", LEN);
        let here = tempfile::tempdir().unwrap();
        let mut call = Call::new(receiver.secret.public(), vec![receiver.address], receiver.alice.clone());
        call.way.lanes = Some(ours);
        let request = PullRequest {
            files: vec![PullFile {
                root: String::new(),
                path: b"f".to_vec(),
                destination: here.path().join("f").into(),
            }],
            call,
            streams: None,
            if_exists: IfExists::Replace,
            umask: 0o022,
        };
        let summary = pull(request, &mut |_| {}).unwrap();
        expect_lanes(&summary, expected, |lane| lane.received);
        assert!(std::fs::read(here.path().join("f")).unwrap() == std::fs::read(path).unwrap());
    }
}

#[test]
fn many_small_files_and_plain_data_go_over_four_lanes() {
    for plain in [false, true] {
        let receiver = Receiver::with("127.0.0.1:0", |config| {
            config.lanes = Some(4);
            config.peers[0].plain = true;
        });
        let source = tempfile::tempdir().unwrap();
        let paths: Vec<_> = (0..40).map(|n| file(source.path(), format!("f{n}"), n * n * 3000 + 1)).collect();
        let mut request = receiver.request(paths.iter().cloned().map(PushFile::Path).collect());
        request.call.way.lanes = Some(4);
        request.call.way.plain = plain;
        let summary = send(request).0.unwrap();
        assert_eq!((summary.files.len(), summary.lanes.len()), (40, 4), "plain {plain}");
        for path in paths {
            let arrived = std::fs::read(receiver.inbox().join(path.file_name().unwrap())).unwrap();
            assert!(arrived == std::fs::read(path).unwrap());
        }
    }
}

#[test]
fn a_receiver_that_is_restarted_gets_all_lanes_again() {
    let mut receiver = receiver(4);
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", LONG);
    let mut request = request(&receiver, &path, 4);
    request.call.way.policy = RatePolicy::Fixed { bps: 150e6 };
    let sender = send_in_background(request);
    // In the middle of some two and a half seconds.
    std::thread::sleep(Duration::from_millis(900));
    receiver.restart();
    let (result, events) = sender.join().unwrap();
    let summary = result.unwrap();
    assert_eq!((summary.sessions, summary.lanes.len()), (2, 4), "{:?} {events:?}", summary.lanes);
    assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
}

/// A network that keeps the lanes apart: each source port has a port of its own behind it. The first of them to be heard of
/// loses everything once `carried` bytes have passed.
fn tearing(target: SocketAddr, carried: u64, stop: Arc<AtomicBool>) -> (SocketAddr, JoinHandle<usize>) {
    let open = |address: SocketAddr| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        if address.port() != 0 {
            socket.connect(address).unwrap();
        }
        socket
    };
    let front = open(SocketAddr::from(([127, 0, 0, 1], 0)));
    let address = front.local_addr().unwrap();
    let thread = std::thread::spawn(move || {
        let mut flows: Vec<(SocketAddr, UdpSocket)> = Vec::new();
        let (mut buffer, mut passed) = (vec![0; 65_536], 0);
        while !stop.load(Ordering::Relaxed) {
            let mut idle = true;
            while let Ok((len, from)) = front.recv_from(&mut buffer) {
                idle = false;
                let at = flows.iter().position(|(client, _)| *client == from).unwrap_or_else(|| {
                    flows.push((from, open(target)));
                    flows.len() - 1
                });
                passed += len as u64;
                if at > 0 || passed < carried {
                    let _ = flows[at].1.send(&buffer[..len]);
                }
            }
            for (at, (client, back)) in flows.iter().enumerate() {
                while let Ok(len) = back.recv(&mut buffer) {
                    idle = false;
                    if at > 0 || passed < carried {
                        let _ = front.send_to(&buffer[..len], *client);
                    }
                }
            }
            if idle {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        flows.len()
    });
    (address, thread)
}

#[test]
fn a_first_lane_whose_path_dies_takes_no_session_with_it() {
    let receiver = receiver(3);
    let stop = Arc::new(AtomicBool::new(false));
    let (address, network) = tearing(receiver.address, LONG as u64 / 3, stop.clone());
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", LONG);
    let mut request = request(&receiver, &path, 3);
    request.call.way.addresses = vec![address];
    request.call.way.policy = RatePolicy::Fixed { bps: 200e6 };
    let (result, events) = send(request);
    stop.store(true, Ordering::Relaxed);
    assert_eq!(network.join().unwrap(), 3);
    let summary = result.unwrap();
    assert_eq!((summary.sessions, summary.lanes.len()), (1, 3), "{events:?}");
    // The dead lane got less than its third.
    let sent: Vec<u64> = summary.lanes.iter().map(|lane| lane.sent).collect();
    assert!(sent[0] * 4 < sent[0] + sent[1] + sent[2], "{sent:?}");
    assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
}
