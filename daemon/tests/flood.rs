//! Handshakes by the ten thousand from many addresses, while a known peer connects and transfers.
//!
//! The flood takes a core for itself, and so many packets take much of another's time in the kernel alone. So what is
//! asserted is what udpxd can do about it: that the peer is let in at once and its file arrives, that memory stays bounded,
//! and that a packet of the flood costs the daemon a few microseconds. The transfer's rate is printed; it depends on what
//! else the machine does.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Receiver, file};
use udpx_proto::handshake::{Credential, Initiator, InitiatorConfig, PARAMS_VERSION, Params, Progress};
use udpx_proto::{LaneId, Time};
use udpxd::embedded::{Event, PushFile, push};
use udpxd::{PublicKey, RatePolicy, identity};

/// Addresses that the flood comes from, each with a socket of its own.
const SOURCES: usize = 64;
/// Different handshakes, so that few are copies of one that was answered.
const HELLOS: usize = 2048;
const A_SECOND: u64 = 50_000;
const RATE_BPS: f64 = 100e6;

fn initiator(to: PublicKey, lane: usize) -> Initiator {
    let params = Params {
        version: PARAMS_VERSION,
        plain_ok: false,
        mtu_max: 1500,
        staging_credit: 1 << 20,
        lanes_max: 1,
        max_ack_delay_us: 25_000,
        has_aes: true,
    };
    let local = identity::ephemeral().unwrap();
    let (remote, lane) = (to, LaneId(lane as u32 + 1));
    let config = InitiatorConfig { local: &local, remote, credential: Credential::None, params, lane };
    Initiator::new(config, Time::ZERO, &mut identity::OsRandom::open().unwrap()).unwrap()
}

/// What a flood is of.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Kind {
    /// Handshakes that any stranger could begin.
    Strangers,
    /// The same, of sources that have got a cookie before, and bring it.
    WithCookies,
    /// Such as lead to nothing.
    Garbage,
}

/// Throws HELLOs with right MACs from many addresses.
struct Flood {
    stop: Arc<AtomicBool>,
    thrown: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn begin(target: SocketAddr, key: PublicKey, kind: Kind) -> Self {
        let sockets: Vec<UdpSocket> = (0..SOURCES)
            .map(|n| {
                let socket = UdpSocket::bind((Ipv4Addr::new(127, 1, n as u8, 1), 0)).unwrap();
                socket.connect(target).unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
                socket
            })
            .collect();
        let mut hellos: Vec<Initiator> = (0..HELLOS).map(|n| initiator(key, n)).collect();
        if kind == Kind::WithCookies {
            hellos.iter_mut().enumerate().for_each(|(n, hello)| fetch_cookie(&sockets[n % SOURCES], hello));
        }
        let mut packets: Vec<Vec<u8>> = hellos.iter().map(|hello| hello.packet().to_vec()).collect();
        if kind == Kind::Garbage {
            packets.iter_mut().for_each(|packet| spoil(packet, &key));
        }
        let (stop, thrown) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, count) = (stop.clone(), thrown.clone());
        let thread = std::thread::spawn(move || throw(&sockets, &packets, &stopped, &count));
        Self { stop, thrown, thread: Some(thread) }
    }

    fn thrown(&self) -> u64 {
        self.thrown.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Garbage behind the ephemeral key: it passes the MAC, costs a Diffie-Hellman, and opens nothing.
fn spoil(packet: &mut [u8], key: &PublicKey) {
    packet[48 + 32] ^= 1;
    let mac_key = blake3::derive_key("udpx v1 HELLO mac", &key.0);
    let (body, mac) = packet.split_last_chunk_mut::<16>().unwrap();
    mac.copy_from_slice(&blake3::keyed_hash(&mac_key, body).as_bytes()[..16]);
}

/// Asks until a cookie is there: the first ones who knock are answered without.
fn fetch_cookie(socket: &UdpSocket, hello: &mut Initiator) {
    let mut buffer = [0; 2048];
    for _ in 0..20 {
        socket.send(hello.packet()).unwrap();
        while let Ok(len) = socket.recv(&mut buffer) {
            if let Ok(Progress::CookieRetry | Progress::Done(_)) = hello.handle(Time::ZERO, &buffer[..len]) {
                return;
            }
        }
    }
    panic!("neither cookie nor reply");
}

fn throw(sockets: &[UdpSocket], packets: &[Vec<u8>], stop: &AtomicBool, count: &AtomicU64) {
    let begin = Instant::now();
    let mut sent = 0;
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        // What a busy machine could not throw is not made up for.
        let due = begin.elapsed().as_micros() as u64 * A_SECOND / 1_000_000;
        sent = sent.max(due.saturating_sub(A_SECOND / 100));
        if sent >= due {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let _ = sockets[n % SOURCES].send(&packets[n % packets.len()]);
        sent += 1;
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// A value of a line of `/proc/self/status`, bytes.
fn status(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// CPU time that the receiving engine's thread has used, seconds: of the first thread of that name.
fn engine_seconds(thread: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks as f64 / 100.0
}

/// The engines' threads of this process.
fn engines() -> Vec<i32> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let named = tasks.filter(|task| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "udpx-engine-0")
    });
    named.map(|task| task.file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// A push by a known peer: how long until it was connected, and its rate.
fn honest(receiver: &Receiver, len: usize) -> (Duration, f64) {
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), format!("honest{len}"), len);
    let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
    request.call.way.policy = RatePolicy::Fixed { bps: RATE_BPS };
    request.call.way.mtu_max = 1500;
    let (begin, mut connected) = (Instant::now(), None);
    let result = push(request, &mut |event| {
        if matches!(event, Event::Connected { .. }) {
            connected.get_or_insert(begin.elapsed());
        }
    });
    let summary = result.unwrap();
    let arrived = receiver.inbox().join(path.file_name().unwrap());
    assert!(std::fs::read(arrived).unwrap() == std::fs::read(path).unwrap());
    (connected.unwrap(), len as f64 * 8.0 / summary.seconds)
}

/// It takes five where nothing else runs; a session's handshake takes a hundred and fifty.
const MICROSECONDS_MOST: f64 = 60.0;

fn withstands(kind: Kind) {
    let receiver = Receiver::start();
    let (_, alone) = honest(&receiver, 10 << 20);
    // The sending engine is gone again; the receiver's has the name that it gave itself by now.
    let [engine] = engines()[..] else { panic!("one engine listens") };
    let before = status("VmRSS:");
    let flood = Flood::begin(receiver.address, receiver.secret.public(), kind);
    std::thread::sleep(Duration::from_millis(500));
    let (cpu, thrown, begin) = (engine_seconds(engine), flood.thrown(), Instant::now());
    std::thread::sleep(Duration::from_secs(2));
    let (cpu, thrown) = (engine_seconds(engine) - cpu, flood.thrown() - thrown);
    let each = cpu * 1e6 / thrown as f64;
    let a_second = thrown as f64 / begin.elapsed().as_secs_f64();
    let (connected, under_fire) = honest(&receiver, 20 << 20);
    let grown = status("VmRSS:").saturating_sub(before);
    drop(flood);
    println!(
        "{kind:?}: {a_second:.0} HELLOs a second, {each:.1} µs of CPU each; connected in {connected:?}; {:.1} of \
         {:.1} Mbit/s; {} KiB more",
        under_fire / 1e6,
        alone / 1e6,
        grown >> 10
    );
    assert!(connected < Duration::from_secs(2), "{connected:?}");
    assert!(each < MICROSECONDS_MOST, "{each} µs");
    assert!(grown < 64 << 20, "{} MiB more", grown >> 20);
}

/// One after the other: each takes all that this machine has.
#[test]
fn floods_of_handshakes_do_not_keep_a_known_peer_out() {
    withstands(Kind::Strangers);
    withstands(Kind::WithCookies);
    withstands(Kind::Garbage);
}
