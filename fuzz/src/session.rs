//! A live session against a peer that holds the keys: any frames, any bulk data, at any time.
//!
//! The input is a row of packets: a byte that says kind and pause, two of length, and that many of plaintext. The
//! session must neither panic nor send more than it was allowed to; debug assertions check its invariants.

use std::time::Duration;

use udpx_proto::keys::LaneKeys;
use udpx_proto::testing::net::SimRng;
use udpx_proto::testing::{Memory, SimRandom, acquainted};
use udpx_proto::wire::TAG;
use udpx_proto::wire::bulk::BulkPrefix;
use udpx_proto::wire::header::{Header, Kind};
use udpx_proto::{Arrival, LaneId, OpenStream, Plan, RequestId, Session, SessionConfig, StreamId, Time};

/// A row of packets.
pub fn session(data: &[u8]) {
    // Always the same secrets, and a checksum in place of a cipher.
    let (hostile, honest) = acquainted(&mut SimRandom(SimRng::new(3)));
    let mut keys = LaneKeys::new(&hostile.secrets, 0, hostile.role, hostile.suite, Time::ZERO);
    let mut now = Time::from_nanos(1_000_000_000);
    let config =
        SessionConfig { ip_mtu_max: 1500, ip_headers: 28, staging_budget: 1 << 20, ..Default::default() };
    let mut session = Session::new(config, honest, now);
    let open = OpenStream { request: RequestId(1), start: 0, end: Some(1 << 20), weight: 1 };
    if let Ok(stream) = session.open_stream(open) {
        session.extend_stream(stream, 1 << 20);
    }
    let mut memory = Memory::of(0);
    let (mut plan, mut train) = (Plan::new(), vec![0; 1 << 16]);
    let (mut rest, mut number) = (data, 0);
    while let Some(([how, low, high], after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(after.len()).min(1400);
        let (plaintext, after) = after.split_at(length);
        rest = after;
        number += 1 + u64::from(how >> 5) * 1000;
        let packet = packet(&mut keys, number, how & 1 != 0, plaintext);
        let _ = session.handle_datagram(now, &Arrival::default(), &packet, &mut memory);
        session.end_of_batch(now);
        session.bytes_written(std::mem::take(&mut memory.unwritten));
        for _ in 0..8 {
            if !session.poll_transmit(now, &mut plan) {
                break;
            }
            if session.seal(&plan, &memory, &mut train).is_err() {
                break;
            }
        }
        while session.poll_event().is_some() {}
        now = now + Duration::from_micros(1 << (how >> 1 & 15));
        if session.next_deadline(now).is_some_and(|at| at <= now) {
            session.handle_timeout(now);
        }
        session.check_invariants();
        if !session.is_open() {
            break;
        }
    }
}

/// A packet that opens. Bulk data takes stream and offset from its first twelve bytes.
fn packet(keys: &mut LaneKeys, number: u64, bulk: bool, plaintext: &[u8]) -> Vec<u8> {
    let (mut packet, plaintext) = match plaintext.split_first_chunk::<12>() {
        Some((head, payload)) if bulk && !payload.is_empty() => {
            let stream = StreamId(u32::from_le_bytes([head[0], head[1], head[2], head[3]]));
            let offset = u64::from_le_bytes([
                head[4], head[5], head[6], head[7], head[8], head[9], head[10], head[11],
            ]);
            let header = Header::new(Kind::Bulk, 0, LaneId(2), number);
            let prefix = BulkPrefix::new(header, stream, offset, payload.len() as u16);
            (bytemuck::bytes_of(&prefix).to_vec(), payload)
        }
        _ => (bytemuck::bytes_of(&Header::new(Kind::Mixed, 0, LaneId(2), number)).to_vec(), plaintext),
    };
    let head = packet.len();
    packet.resize(head + plaintext.len() + TAG, 0);
    let (aad, sealed) = packet.split_at_mut(head);
    keys.seal(number, aad, plaintext, sealed);
    packet
}
