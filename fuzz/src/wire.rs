//! Packets, frames and SACKs, as they are once a packet has opened.

use udpx_proto::handshake::{UnknownSession, is_hello};
use udpx_proto::wire::bulk::Bulk;
use udpx_proto::wire::frame::{Frame, FrameHeader, Frames};
use udpx_proto::wire::header::{Header, Kind, NUMBER_MAX};
use udpx_proto::wire::sack::Sack;

/// A datagram, before any key is known.
pub fn packets(data: &[u8]) {
    let _ = Kind::of(data);
    let _ = is_hello(data);
    if let Ok(hint) = UnknownSession::parse(data) {
        assert_eq!(hint.as_bytes(), data);
    }
    if let Ok((header, _)) = Header::parse(data) {
        assert!(header.number() <= NUMBER_MAX);
    }
    if let Ok(bulk) = Bulk::parse(data) {
        assert!(bulk.len > 0 && bulk.offset.checked_add(bulk.len as u64).is_some());
        assert_eq!(bulk.aad.len() + bulk.sealed.len(), data.len());
    }
}

/// The plaintext of a MIXED packet.
pub fn frames(data: &[u8]) {
    let mut frames = Frames::new(data);
    let mut bytes = 0;
    while let Ok(Some(frame)) = frames.next() {
        bytes += size_of::<FrameHeader>();
        match frame {
            Frame::Sack(sack) => check(&sack),
            Frame::Stream { offset, data, .. } => {
                assert!(offset.checked_add(data.len() as u64).is_some());
                bytes += data.len();
            }
            Frame::Open(open) => assert!(open.end.is_none_or(|end| end >= open.start)),
            Frame::Ping(body) | Frame::Pong(body) | Frame::Close { text: body, .. } => bytes += body.len(),
            _ => {}
        }
    }
    assert!(bytes <= data.len());
}

/// The body of a SACK frame.
pub fn sack(data: &[u8]) {
    let Ok(length) = u16::try_from(data.len()) else { return };
    let mut frame = vec![SACK, 0];
    frame.extend(length.to_le_bytes());
    frame.extend(data);
    frames(&frame);
}

fn check(sack: &Sack<'_>) {
    let info = sack.info;
    assert!(info.lo < info.hi && info.lo.is_multiple_of(64));
    let middle = info.lo + (info.hi - info.lo) / 2;
    for of_interest in [0..u64::MAX, info.lo..middle, middle..middle, middle..info.hi, info.hi..u64::MAX] {
        let mut next = 0;
        sack.for_each_word(of_interest, |first, received, covered| {
            assert!(first >= next && first >= info.lo && first < info.hi && received & !covered == 0);
            next = first.saturating_add(64);
        });
    }
}

/// Its frame kind (PROTOCOL.md 5).
const SACK: u8 = 7;
