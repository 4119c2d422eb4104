//! A capture of everything that was sent does not show what was sent, nor that it repeats.

mod common;

use std::time::Duration;

use common::{MIB, delay, over};
use udpx_proto::testing::Pair;
use udpx_proto::{
    Arrival, ChunkRef, OpenStream, PayloadSink, PayloadSource, Plan, RequestId, Session, StreamId,
};

const SECRET: &[u8] = b"the same forty-one bytes again and again\n";

/// A file of one repeated string.
struct Repeated(Vec<u8>);

impl Repeated {
    fn new() -> Self {
        Self(SECRET.iter().copied().cycle().take(SECRET.len() + 65_536).collect())
    }
}

impl PayloadSource for Repeated {
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        let at = (chunk.offset % SECRET.len() as u64) as usize;
        self.0.get(at..at + chunk.len as usize)
    }
}

/// A file in memory.
struct Memory {
    bytes: Vec<u8>,
    committed: usize,
}

impl PayloadSink for Memory {
    fn stage(&mut self, _: StreamId, offset: u64, len: usize) -> Option<&mut [u8]> {
        self.bytes.get_mut(offset as usize..offset as usize + len)
    }

    fn commit(&mut self, _: StreamId, _: u64, len: usize, _: bool) {
        self.committed += len;
    }
}

/// Sends what `from` has to send, and hands it to `to`; every packet is kept.
fn carry(
    pair_now: udpx_proto::Time,
    (from, to): (&mut Session, &mut Session),
    (source, sink): (&Repeated, &mut Memory),
    wire: &mut Vec<Vec<u8>>,
) {
    let (mut plan, mut out) = (Plan::new(), vec![0; 1 << 16]);
    while from.poll_transmit(pair_now, &mut plan) {
        let len = from.seal(&plan, source, &mut out).expect("the source is in memory");
        for packet in out[..len].chunks(plan.segment()) {
            to.handle_datagram(pair_now, &Arrival::default(), packet, sink).expect("a faithful wire");
            wire.push(packet.to_vec());
        }
    }
    to.end_of_batch(pair_now);
}

/// Moves 2 MiB of the repeated string and a message that holds it; returns every packet of A.
fn transfer(plain: bool) -> Vec<Vec<u8>> {
    let mut config = over(delay(1), 1);
    config.null_cipher = false;
    config.session.plain = plain;
    let Pair { mut a, mut b, mut now, .. } = Pair::new(&config);
    let source = Repeated::new();
    let mut sink = Memory { bytes: vec![0; 2 * MIB as usize], committed: 0 };
    let end = sink.bytes.len() as u64;
    let open = OpenStream { request: RequestId(1), start: 0, end: Some(end), weight: 1 };
    let stream = a.session.open_stream(open).expect("the first");
    a.session.extend_stream(stream, end);
    let small = OpenStream { request: RequestId(2), start: 0, end: Some(500), weight: 1 };
    let small = a.session.open_stream(small).expect("the second");
    a.session.extend_stream(small, 500);
    a.session.ping(SECRET).expect("the first");
    let (mut there, mut back) = (Vec::new(), Vec::new());
    while sink.committed < end as usize + 500 {
        carry(now, (&mut a.session, &mut b.session), (&source, &mut sink), &mut there);
        carry(now, (&mut b.session, &mut a.session), (&source, &mut sink), &mut back);
        now = now + Duration::from_micros(500);
        a.session.handle_timeout(now);
        b.session.handle_timeout(now);
    }
    let repeated: Vec<u8> = SECRET.iter().copied().cycle().take(sink.bytes.len()).collect();
    assert!(sink.bytes == repeated, "it arrived");
    there.extend(back);
    there
}

/// Whether any eight bytes in a row of the string stand in the packet.
fn shows(packet: &[u8], clear: usize) -> bool {
    packet[clear..].windows(8).any(|seen| SECRET.windows(8).any(|part| part == seen))
}

#[test]
fn a_capture_shows_nothing_of_a_repeated_string() {
    let packets = transfer(false);
    assert!(packets.len() > 1400);
    for packet in &packets {
        assert!(!shows(packet, 0));
    }
    // Equal plaintext gives no equal ciphertext either.
    let mut payloads: Vec<&[u8]> =
        packets.iter().filter(|p| common::is_bulk(p)).map(|p| &p[32..48]).collect();
    payloads.sort_unstable();
    let count = payloads.len();
    payloads.dedup();
    assert_eq!(payloads.len(), count);
}

#[test]
fn plain_sessions_show_file_data_and_nothing_else() {
    let packets = transfer(true);
    for packet in &packets {
        assert_eq!(shows(packet, 0), common::is_bulk(packet), "only BULK_PLAIN is in clear");
    }
}
