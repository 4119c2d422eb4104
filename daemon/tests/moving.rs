//! Addresses that change under a transfer, with real sockets: a NAT that forgets its ports, and an address that is taken
//! from the machine.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::{Receiver, file, send, send_in_background};
use nix::sched::{CloneFlags, unshare};
use udpxd::daemon::DaemonEvent;
use udpxd::embedded::{Call, Event, PullFile, PullRequest, PushFile, pull};
use udpxd::{IfExists, RatePolicy};

/// A NAT for one client: what goes to the daemon comes from another port each time that it is rebound, and the port
/// before hears nothing any more.
struct Nat {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<usize>>,
}

impl Nat {
    /// Rebinds `first` after the first datagram and then `every` so often.
    fn to(target: SocketAddr, first: Duration, every: Duration) -> Self {
        let front = UdpSocket::bind("127.0.0.1:0").unwrap();
        front.set_nonblocking(true).unwrap();
        let address = front.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = Some(thread::spawn(move || run(&front, target, (first, every), &stopped)));
        Self { address, stop, thread }
    }

    /// How often it was rebound.
    fn end(mut self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// A port of the NAT's; every second one is of another host.
fn outside(n: usize, target: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind(format!("127.0.1.{}:0", 1 + n / 2)).unwrap();
    socket.connect(target).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn run(
    front: &UdpSocket,
    target: SocketAddr,
    (first, every): (Duration, Duration),
    stop: &AtomicBool,
) -> usize {
    let (mut back, mut client, mut next, mut rebound) = (outside(0, target), None, None, 0);
    let (begin, mut carried) = (Instant::now(), 0);
    let mut buffer = vec![0; 65_536];
    while !stop.load(Ordering::Relaxed) {
        let mut idle = true;
        while let Ok((len, from)) = front.recv_from(&mut buffer) {
            (client, idle) = (Some(from), false);
            next.get_or_insert(Instant::now() + first);
            let _ = back.send(&buffer[..len]);
        }
        // A path of 100 Mbit/s, or a pull over loopback would be over before anything happens to it.
        let most = begin.elapsed().as_micros() as u64 * PATH_BPS / 8_000_000;
        while carried < most
            && let (Ok(len), Some(client)) = (back.recv(&mut buffer), client)
        {
            idle = false;
            carried += len as u64;
            let _ = front.send_to(&buffer[..len], client);
        }
        carried = carried.max(most.saturating_sub(BURST));
        if next.is_some_and(|at| Instant::now() >= at) {
            rebound += 1;
            next = Some(Instant::now() + every);
            back = outside(rebound, target);
        }
        if idle {
            thread::sleep(Duration::from_micros(200));
        }
    }
    rebound
}

const PATH_BPS: u64 = 100_000_000;
/// Bytes that may pass at once after a pause.
const BURST: u64 = 20_000;

const FIRST: Duration = Duration::from_secs(1);
/// More often than NATs do, so that the test is short.
const EVERY: Duration = Duration::from_millis(1500);

#[test]
fn a_push_goes_on_while_a_nat_forgets_its_ports() {
    let receiver = Receiver::start();
    let nat = Nat::to(receiver.address, FIRST, EVERY);
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", 48 << 20);
    let mut request = receiver.request_to(vec![nat.address], vec![PushFile::Path(path.clone())]);
    request.call.way.mtu_max = 1500;
    request.call.way.policy = RatePolicy::Fixed { bps: 80e6 };
    let (result, events) = send(request);
    let rebound = nat.end();
    let summary = result.unwrap();
    assert!(rebound >= 3, "{rebound}");
    assert_eq!(summary.sessions, 1, "{events:?}");
    let told: BTreeSet<_> = receiver
        .events()
        .iter()
        .filter_map(|event| match event {
            DaemonEvent::Tally(tally) => tally.sessions.first().map(|session| session.address),
            _ => None,
        })
        .collect();
    assert!(told.len() >= 2, "where the peer is now: {told:?}");
    assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
}

#[test]
fn a_pull_goes_on_while_a_nat_forgets_its_ports() {
    let receiver = Receiver::start();
    std::fs::create_dir_all(receiver.inbox()).unwrap();
    let path = file(&receiver.inbox(), "f", 48 << 20);
    let here = tempfile::tempdir().unwrap();
    let nat = Nat::to(receiver.address, FIRST, EVERY);
    let mut call = Call::new(receiver.secret.public(), vec![nat.address], receiver.alice.clone());
    call.way.mtu_max = 1500;
    let destination = here.path().join("f");
    let request = PullRequest {
        files: vec![PullFile {
            root: String::new(),
            path: b"f".to_vec(),
            destination: destination.clone().into(),
        }],
        call,
        streams: None,
        if_exists: IfExists::Replace,
        umask: 0o022,
    };
    let mut events = Vec::new();
    let result = pull(request, &mut |event| events.push(event));
    let rebound = nat.end();
    let summary = result.unwrap();
    assert!(rebound >= 3, "{rebound}");
    assert_eq!(summary.sessions, 1, "{events:?}");
    assert!(std::fs::read(destination).unwrap() == std::fs::read(path).unwrap());
}

fn ip(command: &str) {
    let done = Command::new("ip").args(command.split_whitespace()).output().unwrap();
    assert!(done.status.success(), "ip {command}: {}", String::from_utf8_lossy(&done.stderr));
}

/// In a network namespace of its own, which ends with the thread: both ends live on its loopback, and the route chooses
/// the source.
#[test]
fn a_push_goes_on_from_another_address_when_its_own_is_taken_away() {
    if !nix::unistd::geteuid().is_root() {
        let required = std::env::var("UDPX_REQUIRE").is_ok_and(|what| what == "root");
        assert!(!required, "this test needs root");
        eprintln!("SKIPPED a_push_goes_on_from_another_address_when_its_own_is_taken_away: needs root");
        return;
    }
    thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        ip("link set lo up");
        for address in ["10.9.0.1", "10.9.0.2", "10.9.0.100"] {
            ip(&format!("addr add {address}/32 dev lo"));
        }
        ip("route replace local 10.9.0.100 dev lo src 10.9.0.1 table local");
        let receiver = Receiver::with("10.9.0.100:0", |_| {});
        let source = tempfile::tempdir().unwrap();
        let path = file(source.path(), "f", 24 << 20);
        let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
        request.call.way.policy = RatePolicy::Fixed { bps: 50e6 };
        let push = send_in_background(request);
        thread::sleep(Duration::from_secs(1));
        ip("route replace local 10.9.0.100 dev lo src 10.9.0.2 table local");
        ip("addr del 10.9.0.1/32 dev lo");
        let (result, events) = push.join().unwrap();
        let summary = result.unwrap();
        assert_eq!(summary.sessions, 1, "{events:?}");
        assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
        // It took the time of the file, and a few seconds of silence.
        assert!(summary.seconds < 30.0, "{}", summary.seconds);
        assert!(!events.iter().any(|event| matches!(event, Event::Retry { .. })), "{events:?}");
    })
    .join()
    .unwrap();
}
