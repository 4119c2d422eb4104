//! What is counted: the parts of the data path one by one, and a whole simulated transfer.
//!
//! Each is set up outside of [`counted_region`], the only function whose instructions callgrind counts. Everything has a fixed
//! seed and no clock, so that a run repeats exactly.

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use udpx_proto::keys::{LaneKeys, Role, SessionSecrets, Suite, TAG_LEN};
use udpx_proto::testing::net::{LaneSpec, LinkSpec, QueueSpec, Side};
use udpx_proto::testing::steps::{PAYLOAD, Step, Transfer, bulk_packet, settle_ranges};
use udpx_proto::testing::{Pair, PairConfig};
use udpx_proto::wire::bulk::{Bulk, BulkPrefix};
use udpx_proto::wire::header::Header;
use udpx_proto::{SessionConfig, Time};
use udpx_udp::{RecvBatch, SendBatch, Socket, SocketOptions};

pub(crate) struct Workload {
    pub(crate) name: &'static str,
    /// Packets that it handles, or datagrams, or ranges: what its count is divided by to be read.
    units: u64,
    pub(crate) run: fn(),
}

pub(crate) const WORKLOADS: [Workload; 11] = [
    Workload { name: "parse", units: 44_000, run: parse },
    Workload { name: "seal", units: 1000, run: || cipher(true) },
    Workload { name: "open", units: 1000, run: || cipher(false) },
    Workload { name: "ranges", units: 4 * 745, run: ranges },
    Workload { name: "emit", units: STEPS, run: || step(Step::Plan, 0.0, 1) },
    Workload { name: "scheduler", units: STEPS, run: || step(Step::Plan, 0.0, 64) },
    Workload { name: "sack", units: STEPS, run: || step(Step::Acknowledge, 0.01, 4) },
    Workload { name: "assembly", units: STEPS, run: || step(Step::Receive, 0.01, 4) },
    Workload { name: "report", units: STEPS, run: || step(Step::Report, 0.01, 4) },
    Workload { name: "batch", units: 64 * 44, run: batch },
    Workload { name: "transfer", units: TRANSFER.div_ceil(1424), run: transfer },
];

/// Packets of the loop that is taken apart, before and while a step of it is counted.
const STEPS: u64 = 10_000;
/// Bytes of the whole transfer.
const TRANSFER: u64 = 8 << 20;

/// What the count of a workload is divided by.
pub(crate) fn units(name: &str) -> u64 {
    WORKLOADS.iter().find(|workload| workload.name == name).map_or(1, |workload| workload.units)
}

/// Callgrind counts from here to the return, by the name of this function.
#[inline(never)]
fn counted_region(work: &mut dyn FnMut()) {
    work();
    // What comes after the call keeps it from being a jump.
    black_box(());
}

fn keys(role: Role) -> LaneKeys {
    let secrets = SessionSecrets::new([1; 32], [2; 32], [3; 32]);
    LaneKeys::new(&secrets, 0, role, Suite::Aes256Gcm, Time::ZERO)
}

fn parse() {
    let send = keys(Role::Initiator);
    let packets: Vec<_> = (0..44).map(|number| bulk_packet(&send, number)).collect();
    counted_region(&mut || {
        for packet in packets.iter().cycle().take(44_000) {
            let packet = black_box(&packet[..]);
            let (header, kind) = Header::parse(packet).expect("a good packet");
            black_box((header.number(), kind, Bulk::parse(packet).expect("a good packet").offset));
        }
    });
}

fn cipher(seal: bool) {
    let (send, mut receive) = (keys(Role::Initiator), keys(Role::Responder));
    let packets: Vec<_> = (0..1000).map(|number| bulk_packet(&send, number)).collect();
    let (plaintext, mut out) = (vec![7; PAYLOAD], vec![0; PAYLOAD + TAG_LEN]);
    counted_region(&mut || {
        for (number, packet) in packets.iter().enumerate() {
            let (aad, sealed) = packet.split_at(BulkPrefix::SIZE);
            if seal {
                send.seal(1000 + number as u64, aad, black_box(&plaintext), &mut out);
            } else {
                let opened = receive.open(Time::ZERO, 0, number as u64, aad, sealed, &mut out[..PAYLOAD]);
                opened.expect("a good packet");
            }
        }
    });
}

fn ranges() {
    counted_region(&mut || {
        black_box(settle_ranges(black_box(4)));
    });
}

fn step(counted: Step, loss: f64, streams: u16) {
    let mut transfer = Transfer::new(loss, streams);
    transfer.run(STEPS, &mut |_, f| f());
    transfer.run(STEPS, &mut |which, f| if which == counted { counted_region(f) } else { f() });
}

/// Trains are built, sent and received over loopback; what the kernel does is not counted.
fn batch() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = SocketOptions::default();
    let mut receiver = Socket::bind(any, &options).expect("loopback");
    let mut sender = Socket::connect(any, receiver.local_addr(), &options).expect("loopback");
    let (mut send, mut receive) = (SendBatch::new(4), RecvBatch::new(8));
    let mut datagrams = 0;
    counted_region(&mut || {
        for _ in 0..16 {
            for _ in 0..4 {
                let mut slot = send.train(None, 2, 1472).expect("there is room");
                slot.buffer()[0] = 1;
                slot.commit(44 * 1472).expect("a train");
            }
            assert!(!sender.send(&mut send).blocked);
            while receiver.recv(&mut receive).expect("loopback") > 0 {
                datagrams += receive.iter().flat_map(|received| received.datagrams()).map(black_box).count();
            }
        }
    });
    assert_eq!(datagrams, 64 * 44);
}

/// 8 MiB over 100 Mbit/s, 20 ms and 1 % loss, sealed with the null cipher; the simulated network is counted as well.
fn transfer() {
    let queue = QueueSpec { rate_bps: 100_000_000, limit_bytes: 250_000, mark_bytes: None };
    let delay = Duration::from_millis(10);
    let link = LinkSpec { queue: Some(queue), delay, loss: 0.01, ..LinkSpec::default() };
    let lanes = vec![LaneSpec::symmetric(link)];
    let session = SessionConfig { ip_mtu_max: 1500, ip_headers: 28, ..SessionConfig::default() };
    let config = PairConfig { lanes, seed: 7, null_cipher: true, session, write_delay: Duration::ZERO };
    let mut pair = Pair::new(&config);
    pair.send_file(Side::A, 1, (0, TRANSFER), 1);
    counted_region(&mut || {
        assert!(pair.run_until(Duration::from_secs(60), |pair| !pair.a.sent.is_empty()));
    });
}
