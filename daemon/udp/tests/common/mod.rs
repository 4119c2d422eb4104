//! What the tests share: pairs of sockets, patterned trains, patient receiving.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use udpx_udp::{RecvBatch, SendBatch, SendOutcome, Socket, SocketOptions};

pub(crate) const LOOPBACKS: [&str; 2] = ["127.0.0.1:0", "[::1]:0"];

/// A receiver, and a sender connected to it.
pub(crate) fn pair(address: &str, send: &SocketOptions, receive: &SocketOptions) -> (Socket, Socket) {
    let receiver = Socket::bind(address.parse().unwrap(), receive).unwrap();
    let to = receiver.local_addr();
    let from = SocketAddr::new(to.ip(), 0);
    let sender = Socket::connect(from, to, send).unwrap();
    (sender, receiver)
}

/// Bytes that tell where in the stream they belong: packet `i` of a run begins with its number.
pub(crate) fn pattern(seed: u32, segment: usize, bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes);
    for (index, packet) in vec![0u8; bytes].chunks(segment).enumerate() {
        let number = seed.wrapping_mul(1000).wrapping_add(index as u32);
        let head = number.to_le_bytes();
        out.extend((0..packet.len()).map(|at| head[at % 4] ^ (at / 4) as u8));
    }
    out
}

pub(crate) fn queue(batch: &mut SendBatch, to: Option<SocketAddr>, ecn: u8, segment: u16, bytes: &[u8]) {
    let mut slot = batch.train(to, ecn, segment).unwrap();
    slot.buffer()[..bytes.len()].copy_from_slice(bytes);
    slot.commit(bytes.len()).unwrap();
}

/// Datagrams with their marks, until `count` have come or a second has passed without any.
pub(crate) fn collect(socket: &mut Socket, count: usize) -> Vec<(u8, Vec<u8>)> {
    let mut batch = RecvBatch::new(16);
    let mut out = Vec::new();
    let mut last = Instant::now();
    while out.len() < count && last.elapsed() < Duration::from_secs(1) {
        if socket.recv(&mut batch).unwrap() == 0 {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        last = Instant::now();
        for received in batch.iter() {
            out.extend(received.datagrams().map(|datagram| (received.ecn, datagram.to_vec())));
        }
    }
    // Nothing more may follow.
    assert_eq!(socket.recv(&mut batch).unwrap(), 0, "more than {count} datagrams");
    out
}

/// The packets that trains must arrive as.
pub(crate) fn packets<'a>(trains: impl IntoIterator<Item = (usize, &'a [u8])>) -> Vec<Vec<u8>> {
    trains.into_iter().flat_map(|(segment, bytes)| bytes.chunks(segment).map(<[u8]>::to_vec)).collect()
}

/// Sends until the batch is empty, for sockets whose peer keeps reading or has room.
pub(crate) fn send_all(socket: &mut Socket, batch: &mut SendBatch) -> SendOutcome {
    let outcome = socket.send(batch);
    assert!(!outcome.blocked && batch.is_empty(), "{outcome:?}");
    outcome
}

/// The same where the outcome does not matter.
pub(crate) fn flush(socket: &mut Socket, batch: &mut SendBatch) {
    assert_eq!(send_all(socket, batch).dropped, 0);
}

/// Whether a root-only test can run; without root it says so, and fails where root was promised.
pub(crate) fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        let required = std::env::var("UDPX_REQUIRE").unwrap_or_default();
        assert!(!required.contains("root"), "{test} needs root, and UDPX_REQUIRE asks for it");
        eprintln!("SKIPPED {test}: needs root");
    }
    root
}
