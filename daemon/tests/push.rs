//! Files over real sockets, from an embedded engine to a daemon.

mod common;

use common::{Receiver, bytes, file, send};
use udpxd::embedded::{Event, PushFile};

fn round_trip(receiver: &Receiver, len: usize, streams: Option<u16>) {
    let source = tempfile::tempdir().unwrap();
    let name = format!("file-{len}");
    let path = file(source.path(), &name, len);
    let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
    request.streams = streams;
    let (result, events) = send(request);
    let summary = result.unwrap_or_else(|error| panic!("{len} bytes: {error:?}, after {events:?}"));
    let arrived = std::fs::read(receiver.inbox().join(&name)).unwrap();
    assert!(arrived == std::fs::read(&path).unwrap(), "{len} bytes differ");
    let sent = &summary.files[0];
    assert_eq!(sent.path, receiver.inbox().join(&name));
    assert_eq!((sent.bytes, summary.bytes), (len as u64, len as u64));
    assert_eq!(sent.digest, *blake3::hash(&arrived).as_bytes());
    let rows = summary.streams.iter().chain([&summary.control]);
    let (packets, wire) =
        rows.fold((0, 0), |(packets, wire), row| (packets + row.packets, wire + row.wire_bytes));
    assert_eq!((summary.total.packets, summary.total.wire_bytes), (packets, wire));
    assert!(summary.total.payload_bytes >= len as u64 && summary.control.packets > 0);
    assert!(matches!(events.last(), Some(Event::FileDone(_))));
}

#[test]
fn files_of_all_sizes_arrive() {
    let receiver = Receiver::start();
    for len in [0, 1, 1200, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, (5 << 20) + 3] {
        round_trip(&receiver, len, None);
    }
}

#[test]
fn a_large_file_arrives_in_four_streams() {
    let receiver = Receiver::start();
    round_trip(&receiver, 100 << 20, Some(4));
    let _ = bytes(1, 1);
}
