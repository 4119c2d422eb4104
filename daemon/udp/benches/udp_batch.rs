//! What batching and offloads are worth on loopback at 1472-byte datagrams. `README.md` beside this file says what
//! the numbers mean.
//!
//! Sending: the receiver's queue is always full, so each figure is the cost of the send path alone, down to the drop
//! in the receiving socket. "copied" builds each packet (32 bytes of header, 1440 of payload) in a slab first;
//! "gathered" hands the kernel the header and the payload where they lie.
//! Receiving: the queue is filled outside the measured time, then drained.
#![allow(clippy::unwrap_used, reason = "a failed set-up ends the benchmark")]
#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use criterion::{
    BenchmarkGroup, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use nix::sys::socket::{setsockopt, sockopt::UdpGsoSegment};
use socket2::{MaybeUninitSlice, MsgHdrMut, SockRef};
use udpx_udp::{GatherBatch, RecvBatch, SendBatch, Socket, SocketOptions};

const PACKET: usize = 1472;
const HEADER: usize = 32;
const PAYLOAD: usize = PACKET - HEADER;
const TRAIN: usize = 44;
/// Trains in one round of sending, and in one `sendmmsg` with GSO.
const TRAINS: usize = 4;
const ROUND_BYTES: usize = TRAINS * TRAIN * PACKET;
/// Trains that fill the queue for one round of receiving.
const FILL: usize = 16;
/// Payload to choose from: larger than the second-level cache, as a mapped file is.
const SOURCE: usize = 16 << 20;

/// The packets of one round after the other: headers, and payload that moves through the source.
struct Payload {
    source: Vec<u8>,
    headers: Vec<u8>,
    at: usize,
}

impl Payload {
    fn new() -> Self {
        Self { source: vec![0x55; SOURCE], headers: vec![0xaa; TRAINS * TRAIN * HEADER], at: 0 }
    }

    /// Moves on; then `packets` gives the round's (header, payload) pairs.
    fn advance(&mut self) {
        self.at = (self.at + TRAINS * TRAIN * PAYLOAD) % (SOURCE - TRAINS * TRAIN * PAYLOAD);
    }

    fn packets(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.chunks_exact(HEADER).zip(self.source[self.at..].chunks_exact(PAYLOAD))
    }

    fn copy_to(&self, slab: &mut [u8]) {
        for (packet, (header, payload)) in slab.chunks_exact_mut(PACKET).zip(self.packets()) {
            packet[..HEADER].copy_from_slice(header);
            packet[HEADER..].copy_from_slice(payload);
        }
    }
}

fn options(gso: bool, gro: bool) -> SocketOptions {
    SocketOptions { gso, gro, ecn: false, ..SocketOptions::default() }
}

/// A socket that takes trains whole and drops them, its queue being full.
fn full_sink() -> Socket {
    let small = SocketOptions { receive_buffer: 2048, ..options(true, true) };
    let sink = Socket::bind("127.0.0.1:0".parse().unwrap(), &small).unwrap();
    let feeder = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..64 {
        feeder.send_to(&[0; 1000], sink.local_addr()).unwrap();
    }
    sink
}

fn connected(to: SocketAddr, gso: bool) -> Socket {
    Socket::connect("127.0.0.1:0".parse().unwrap(), to, &options(gso, true)).unwrap()
}

fn plain_connected(to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    socket
}

fn send(criterion: &mut Criterion) {
    let sink = full_sink();
    let to = sink.local_addr();
    let mut group = criterion.benchmark_group("send");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Bytes(ROUND_BYTES as u64));
    one_by_one(&mut group, to);
    one_train_a_call(&mut group, to);
    for (name, gso) in [("sendmmsg", false), ("sendmmsg+gso", true)] {
        batched(&mut group, name, connected(to, gso));
    }
    group.finish();
}

/// A call a packet: `sendto`, or `sendmsg` of two slices.
fn one_by_one(group: &mut BenchmarkGroup<'_, WallTime>, to: SocketAddr) {
    let socket = plain_connected(to);
    let mut payload = Payload::new();
    let mut slab = vec![0; ROUND_BYTES];
    group.bench_function("sendto/copied", |bencher| {
        bencher.iter(|| {
            payload.advance();
            payload.copy_to(&mut slab);
            for packet in slab.chunks_exact(PACKET) {
                socket.send(packet).unwrap();
            }
        });
    });
    group.bench_function("sendto/gathered", |bencher| {
        bencher.iter(|| {
            payload.advance();
            for (header, body) in payload.packets() {
                SockRef::from(&socket).send_vectored(&[IoSlice::new(header), IoSlice::new(body)]).unwrap();
            }
        });
    });
}

/// A call a train: `sendmsg` on a socket whose default is to segment.
fn one_train_a_call(group: &mut BenchmarkGroup<'_, WallTime>, to: SocketAddr) {
    let socket = plain_connected(to);
    setsockopt(&socket, UdpGsoSegment, &(PACKET as i32)).unwrap();
    let mut payload = Payload::new();
    let mut slab = vec![0; ROUND_BYTES];
    group.bench_function("sendmsg+gso/copied", |bencher| {
        bencher.iter(|| {
            payload.advance();
            payload.copy_to(&mut slab);
            for train in slab.chunks_exact(TRAIN * PACKET) {
                socket.send(train).unwrap();
            }
        });
    });
    group.bench_function("sendmsg+gso/gathered", |bencher| {
        bencher.iter(|| {
            payload.advance();
            let mut packets = payload.packets();
            for _ in 0..TRAINS {
                let mut slices = [IoSlice::new(&[]); 2 * TRAIN];
                for (pair, (header, body)) in slices.chunks_exact_mut(2).zip(packets.by_ref().take(TRAIN)) {
                    pair[0] = IoSlice::new(header);
                    pair[1] = IoSlice::new(body);
                }
                SockRef::from(&socket).send_vectored(&slices).unwrap();
            }
        });
    });
}

/// A call a round, by this crate.
fn batched(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut socket: Socket) {
    let mut payload = Payload::new();
    let mut batch = SendBatch::new(TRAINS);
    group.bench_function(format!("{name}/copied"), |bencher| {
        bencher.iter(|| {
            payload.advance();
            let mut packets = payload.packets();
            for _ in 0..TRAINS {
                let mut slot = batch.train(None, 0, PACKET as u16).unwrap();
                let slab = slot.buffer().chunks_exact_mut(PACKET);
                for (packet, (header, body)) in slab.zip(packets.by_ref().take(TRAIN)) {
                    packet[..HEADER].copy_from_slice(header);
                    packet[HEADER..].copy_from_slice(body);
                }
                slot.commit(TRAIN * PACKET).unwrap();
            }
            assert_eq!(socket.send(&mut batch).datagrams, TRAINS * TRAIN);
        });
    });
    let mut idle = Some(GatherBatch::new());
    group.bench_function(format!("{name}/gathered"), |bencher| {
        bencher.iter(|| {
            payload.advance();
            let mut packets = payload.packets();
            let mut batch = idle.take().unwrap_or_default();
            for _ in 0..TRAINS {
                let mut slot = batch.train(None, 0, PACKET as u16).unwrap();
                for (header, body) in packets.by_ref().take(TRAIN) {
                    slot.push(header);
                    slot.push(body);
                }
                slot.commit().unwrap();
            }
            assert_eq!(socket.send_gather(&mut batch).datagrams, TRAINS * TRAIN);
            idle = Some(batch.recycle());
        });
    });
}

fn receive(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receive");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Bytes((FILL * TRAIN * PACKET) as u64));
    let mut room = vec![MaybeUninit::uninit(); 65_536];
    let mut control = [MaybeUninit::uninit(); 128];
    drained(&mut group, "recvmsg", false, move |socket| {
        let mut slices = [MaybeUninitSlice::new(&mut room)];
        let mut message = MsgHdrMut::new().with_buffers(&mut slices).with_control(&mut control);
        SockRef::from(&*socket).recvmsg(&mut message, 0).unwrap_or(0)
    });
    for (name, gro) in [("recvmmsg", false), ("recvmmsg+gro", true)] {
        let mut batch = RecvBatch::new(16);
        drained(&mut group, name, gro, move |socket| {
            socket.recv(&mut batch).unwrap();
            batch
                .iter()
                .flat_map(|received| received.datagrams())
                .map(|datagram| black_box(datagram).len())
                .sum()
        });
    }
    group.finish();
}

/// Measures `take`, which reads some bytes (0: none left), over a queue filled before.
fn drained(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    gro: bool,
    mut take: impl FnMut(&mut Socket) -> usize,
) {
    let mut receiver = Socket::bind("127.0.0.1:0".parse().unwrap(), &options(true, gro)).unwrap();
    let mut sender = connected(receiver.local_addr(), true);
    let mut batch = SendBatch::new(FILL);
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|rounds| {
            let mut spent = Duration::ZERO;
            for _ in 0..rounds {
                for _ in 0..FILL {
                    batch.train(None, 0, PACKET as u16).unwrap().commit(TRAIN * PACKET).unwrap();
                }
                assert_eq!(sender.send(&mut batch).trains, FILL);
                let start = Instant::now();
                let mut bytes = 0;
                loop {
                    match take(&mut receiver) {
                        0 => break,
                        some => bytes += some,
                    }
                }
                spent += start.elapsed();
                assert_eq!(bytes, FILL * TRAIN * PACKET, "the receive buffer is too small for one round");
            }
            spent
        });
    });
}

/// Many short samples: on a shared machine the lowest ones are those that nobody disturbed.
fn quick() -> Criterion {
    Criterion::default()
        .sample_size(100)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1700))
}

criterion_group! { name = benches; config = quick(); targets = send, receive }
criterion_main!(benches);
