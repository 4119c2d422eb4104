//! The bytes of wire version 1 never change: messages, frames and headers are compared with
//! committed files. A new type needs a new entry in its file.

mod common;

use std::collections::BTreeSet;

use common::golden::compare;
use udpx_proto::messages::{
    Abort, BadSubtrees, Complete, ENVELOPE, Envelope, Finish, GetAccepted, GetRequest, IfExists, InOrder,
    JoinAccepted, JoinRequest, LaneOffer, ListEntries, ListEntry, ListKind, ListRequest, Progress,
    PutAccepted, PutRequest, RateLimit, RekeyAnswer, RekeyRequest, Subtrees, Unsupported,
};
use udpx_proto::wire::bulk::BulkPrefix;
use udpx_proto::wire::frame::{Frame, FrameWriter, Frames, Open};
use udpx_proto::wire::header::{Header, Kind};
use udpx_proto::wire::sack::{SackBuilder, SackInfo};
use udpx_proto::{LaneId, Message, RequestId, StreamId};

/// A message of every type.
fn messages() -> Vec<Message> {
    let request = RequestId(0x0102_0304_0506);
    let put = PutRequest {
        request,
        root: "inbox".into(),
        path: b"dir/na\nme\xff".to_vec(),
        name: b"na\nme\xff".to_vec(),
        size: Some((4 << 30) + 1),
        mode: 0o640,
        mtime_ns: -1_500_000_000,
        if_exists: IfExists::Rename,
        user: "ana".into(),
    };
    let stream_put = PutRequest { size: None, if_exists: IfExists::Replace, ..put.clone() };
    vec![
        Message::Unsupported(Unsupported { kind: 999, version: 2 }),
        Message::LaneOffer(LaneOffer { index: 1, lane: 0xf000_0001 }),
        Message::RateLimit(RateLimit { bps: Some(100_000_000) }),
        Message::RateLimit(RateLimit { bps: None }),
        Message::RekeyRequest(RekeyRequest { noise: (0..48).collect() }),
        Message::RekeyAnswer(RekeyAnswer { noise: (48..96).collect() }),
        Message::PutRequest(put.clone()),
        Message::PutRequest(stream_put),
        Message::PutRequest(PutRequest { if_exists: IfExists::Skip, ..put.clone() }),
        Message::PutRequest(PutRequest { if_exists: IfExists::Fail, ..put }),
        Message::PutAccepted(PutAccepted { request, path: b"inbox/ana/x".to_vec(), skipped: false }),
        Message::Subtrees(Subtrees { request, first: 300, digests: vec![[0x11; 32], [0x22; 32]] }),
        Message::Finish(Finish { request, size: 1 << 20, digest: [0x33; 32] }),
        Message::BadSubtrees(BadSubtrees { request, indices: vec![0, 1, 127, 128, u64::MAX] }),
        Message::Complete(Complete { request, path: b"x".to_vec(), size: 9, digest: [0x44; 32], reread: 1 }),
        Message::Abort(Abort { request, code: 67, text: "it changed".into() }),
        Message::Progress(Progress { request, written: 1 << 40 }),
        Message::GetRequest(GetRequest {
            request,
            root: String::new(),
            path: b"a/\xff".to_vec(),
            streams: None,
        }),
        Message::GetRequest(GetRequest {
            request,
            root: "r".into(),
            path: b"a".to_vec(),
            streams: Some(300),
        }),
        Message::InOrder(InOrder { request }),
        Message::GetAccepted(GetAccepted { request, size: (4 << 30) + 1, mode: 0o640, mtime_ns: -1 }),
        Message::ListRequest(ListRequest { request, root: "inbox".into(), path: b"dir".to_vec() }),
        Message::ListEntries(ListEntries {
            request,
            entries: vec![
                ListEntry {
                    name: b"a\nb".to_vec(),
                    kind: ListKind::Regular,
                    size: 1 << 40,
                    mtime_ns: 1 << 60,
                },
                ListEntry { name: b"\xff".to_vec(), kind: ListKind::Directory, size: 0, mtime_ns: -1 },
                ListEntry { name: b"z".to_vec(), kind: ListKind::Other, size: 0, mtime_ns: 0 },
            ],
            last: true,
            truncated: false,
        }),
        Message::JoinRequest(JoinRequest { request, name: "ana-laptop".into(), port: 48379 }),
        Message::JoinAccepted(JoinAccepted { request, name: "bob".into(), joiner: "ana".into() }),
    ]
}

#[test]
fn messages_are_as_ever() {
    let mut seen = BTreeSet::new();
    let mut entries = Vec::new();
    for message in messages() {
        let bytes = message.encode().expect("small");
        let envelope: Envelope = bytemuck::pod_read_unaligned(&bytes[..ENVELOPE]);
        assert_eq!(envelope.length(), bytes.len() - ENVELOPE);
        assert_eq!(Message::decode(&envelope, &bytes[ENVELOPE..]), Ok(message), "it comes back");
        let number = u16::from(bytes[0]) | u16::from(bytes[1]) << 8;
        let version = u16::from(bytes[2]) | u16::from(bytes[3]) << 8;
        let known = Message::TYPES.iter().find(|(n, v, _)| (*n, *v) == (number, version));
        let name = known.expect("each encodes a type of the table").2;
        seen.insert((number, version));
        entries.push((format!("{name} {number} v{version}"), bytes));
    }
    let all: BTreeSet<_> = Message::TYPES.iter().map(|&(n, v, _)| (n, v)).collect();
    assert_eq!(seen, all, "every message type is in the golden file");
    compare("messages.hex", &entries);
}

#[test]
fn frames_are_as_ever() {
    let stream = StreamId::new(5, 3);
    let open = Open { stream, weight: 3, request: RequestId(7), start: 1 << 20, end: Some((2 << 20) + 1) };
    let info = SackInfo {
        lane: LaneId(0x1000_0002),
        delay_us: 1234,
        newest: (1 << 32) + 200,
        lo: 1 << 32,
        hi: (1 << 32) + 201,
        overruns: 3,
        ecn: [1000, 0, 7],
    };
    let full = [u64::MAX, u64::MAX, u64::MAX, (1 << 9) - 1];
    let holes = [!0b110, u64::MAX, !(1 << 63), (1 << 9) - 2];
    let bits = [0x5555_5555_5555_5555, 0xaaaa_aaaa_aaaa_aaaa, 0x5555_5555_5555_5555, 0x155];
    let mut sack = SackBuilder::default();
    type Write<'a> = Box<dyn FnMut(&mut FrameWriter<'_>) -> bool + 'a>;
    let mut write_sack = |words: [u64; 4]| {
        let (body, map) = sack.build(&info, &words);
        (body, map.to_vec())
    };
    let [full, holes, bits] = [full, holes, bits].map(&mut write_sack);
    let frames: Vec<(&str, Write<'_>)> = vec![
        ("PING empty", Box::new(|w| w.ping(b""))),
        ("PING", Box::new(|w| w.ping(b"echo"))),
        ("PONG", Box::new(|w| w.pong(b"echo"))),
        ("STREAM", Box::new(|w| w.stream(stream, 1 << 33, b"first", b"second"))),
        ("STREAM control", Box::new(|w| w.stream(StreamId::CONTROL, 9, b"x", b""))),
        ("STREAM hole", Box::new(|w| w.stream_hole(stream, 2, 3).is_some())),
        ("STREAM_OPEN", Box::new(|w| w.open(&open))),
        ("STREAM_OPEN pipe", Box::new(|w| w.open(&Open { end: None, ..open }))),
        ("STREAM_END", Box::new(|w| w.end(stream, 1 << 34))),
        ("STREAM_RESET", Box::new(|w| w.reset(stream, 67, 4096))),
        ("SACK full", Box::new(|w| w.sack(&full.0, &full.1))),
        ("SACK holes", Box::new(|w| w.sack(&holes.0, &holes.1))),
        ("SACK bits", Box::new(|w| w.sack(&bits.0, &bits.1))),
        ("CREDIT", Box::new(|w| w.credit(1 << 36, 1 << 20))),
        ("LOWEST", Box::new(|w| w.lowest(LaneId(2), 50_000, 1 << 32))),
        ("PATH_CHALLENGE", Box::new(|w| w.path_challenge(0x0102_0304_0506_0708))),
        ("PATH_RESPONSE", Box::new(|w| w.path_response(0x0102_0304_0506_0708))),
        ("CLOSE", Box::new(|w| w.close(76, b"why"))),
        (
            "PADDING",
            Box::new(|w| {
                w.pad();
                true
            }),
        ),
    ];
    let mut entries = Vec::new();
    let mut kinds = BTreeSet::new();
    for (name, mut write) in frames {
        let mut bytes = Vec::new();
        let limit = if name == "PADDING" { 12 } else { 1400 };
        assert!(write(&mut FrameWriter::new(&mut bytes, limit)), "{name} fits");
        let mut parsed = Frames::new(&bytes);
        let frame = parsed.next().expect("it parses").expect("one frame");
        assert!(!matches!(frame, Frame::Unknown), "{name} is known");
        assert!(matches!(parsed.next(), Ok(None)), "{name} is one frame");
        kinds.insert(bytes[0]);
        entries.push((name.to_owned(), bytes));
    }
    // The kinds are numbered without gaps: one more is either here or unknown.
    let unused = *kinds.last().expect("there are some") + 1;
    assert_eq!(kinds.len(), usize::from(unused), "every frame kind is in the golden file");
    assert!(matches!(Frames::new(&[unused, 0, 0, 0]).next(), Ok(Some(Frame::Unknown))));
    compare("frames.hex", &entries);
}

#[test]
fn headers_are_as_ever() {
    let lane = LaneId(0xa000_0001);
    let kinds = [
        ("MIXED", Kind::Mixed),
        ("BULK", Kind::Bulk),
        ("BULK_PLAIN", Kind::BulkPlain),
        ("HELLO", Kind::Hello),
        ("REPLY", Kind::Reply),
        ("COOKIE", Kind::Cookie),
        ("VERSIONS", Kind::Versions),
        ("UNKNOWN_SESSION", Kind::UnknownSession),
    ];
    let mut entries: Vec<_> =
        kinds.iter().map(|(name, kind)| (format!("first byte {name}"), vec![kind.first_byte()])).collect();
    let known = (0..16).filter(|&low| Kind::of(&[0x10 | low]).is_ok()).count();
    assert_eq!(known, kinds.len(), "every packet kind is in the golden file");
    for (name, kind) in &kinds[..3] {
        let header = Header::new(*kind, 0x7f, lane, (1 << 32) + 5);
        entries.push((format!("header {name}"), bytemuck::bytes_of(&header).to_vec()));
        if *kind != Kind::Mixed {
            let prefix = BulkPrefix::new(header, StreamId::new(9, 2), (1 << 40) + 3, 1424);
            entries.push((format!("prefix {name}"), bytemuck::bytes_of(&prefix).to_vec()));
        }
    }
    compare("headers.hex", &entries);
}
