//! Transfers over paths that lose, damage, delay, and vanish for a while.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Detour, Receiver, file, send, send_in_background};
use udpxd::RatePolicy;
use udpxd::embedded::{Event, PushFile, PushRequest};
use udpxd::relay::Impairments;
use udpxd::report::Summary;

/// Sends a file through a relay.
fn through(
    receiver: &Receiver,
    up: Impairments,
    len: usize,
    change: impl FnOnce(&mut PushRequest),
) -> Summary {
    let detour = Detour::to(receiver.address, up);
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", len);
    let mut request = receiver.request_to(vec![detour.address], vec![PushFile::Path(path.clone())]);
    request.call.way.mtu_max = 1500;
    change(&mut request);
    let (result, events) = send(request);
    let summary = result.unwrap_or_else(|error| panic!("{error}, after {events:?}"));
    assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(&path).unwrap());
    assert_eq!(receiver.names(), ["f"]);
    summary
}

#[test]
fn loss_damage_copies_and_disorder() {
    let receiver = Receiver::start();
    let bad = Impairments {
        loss: 0.03,
        corrupt: 0.01,
        duplicate: 0.01,
        reorder: 0.02,
        delay: Duration::from_millis(5),
        jitter: Duration::from_millis(2),
        ..Impairments::default()
    };
    let summary = through(&receiver, bad.clone(), 12 << 20, |request| request.streams = Some(3));
    assert!(summary.total.retransmitted > 100, "{summary:?}");
    assert!(summary.rtt_min_us >= 10_000);
    let plain = Receiver::with("127.0.0.1:0", |config| config.peers[0].plain = true);
    through(&plain, bad, 6 << 20, |request| request.call.way.plain = true);
}

#[test]
fn holes_do_not_stall_a_receiver_with_little_memory() {
    let receiver = Receiver::with("127.0.0.1:0", |config| config.staging = 8 << 20);
    let lossy = Impairments { loss: 0.05, delay: Duration::from_millis(20), ..Impairments::default() };
    let summary = through(&receiver, lossy, 40 << 20, |request| {
        request.streams = Some(8);
        request.call.way.policy = RatePolicy::Fixed { bps: 300e6 };
    });
    assert!(summary.seconds < 30.0, "{summary:?}");
}

/// A wire that can be cut.
fn cuttable(target: SocketAddr) -> (SocketAddr, Arc<AtomicBool>) {
    let front = UdpSocket::bind("127.0.0.1:0").unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").unwrap();
    back.connect(target).unwrap();
    let (address, cut) = (front.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    // Whoever spoke at the front last hears the answers: a session that hears nothing takes another socket.
    let client = Arc::new(Mutex::new(None));
    for (from, to, flag) in [
        (front.try_clone().unwrap(), back.try_clone().unwrap(), cut.clone()),
        (back.try_clone().unwrap(), front.try_clone().unwrap(), cut.clone()),
    ] {
        let client = client.clone();
        std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((len, sender)) = from.recv_from(&mut buffer) {
                let to_client = *client.lock().unwrap();
                let _ = match (flag.load(Ordering::Relaxed), sender == target, to_client) {
                    (false, true, Some(client)) => to.send_to(&buffer[..len], client),
                    (false, false, _) => {
                        *client.lock().unwrap() = Some(sender);
                        to.send(&buffer[..len])
                    }
                    _ => Ok(0),
                };
            }
        });
    }
    (address, cut)
}

#[test]
fn a_network_that_is_gone_for_five_seconds_costs_five_seconds() {
    let receiver = Receiver::start();
    let (address, cut) = cuttable(receiver.address);
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", 16 << 20);
    let mut request = receiver.request_to(vec![address], vec![PushFile::Path(path.clone())]);
    request.call.way.mtu_max = 1500;
    request.call.way.policy = RatePolicy::Fixed { bps: 50e6 };
    let begin = Instant::now();
    let push = send_in_background(request);
    std::thread::sleep(Duration::from_millis(700));
    cut.store(true, Ordering::Relaxed);
    std::thread::sleep(Duration::from_secs(5));
    cut.store(false, Ordering::Relaxed);
    let (result, events) = push.join().unwrap();
    let summary = result.unwrap();
    assert_eq!(summary.sessions, 1);
    assert!(begin.elapsed() < Duration::from_secs(14), "{:?}", begin.elapsed());
    assert!(events.iter().any(|event| matches!(event, Event::Quiet { .. })));
    assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
}
