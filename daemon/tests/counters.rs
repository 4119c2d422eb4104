//! How well batching works when the socket is the bottleneck.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use common::{Receiver, send};
use udpxd::RatePolicy;
use udpxd::config::Sink;
use udpxd::daemon::DaemonEvent;
use udpxd::embedded::PushFile;

#[test]
fn calls_are_full_at_full_rate_and_it_works_without_offload() {
    for gso in [true, false] {
        let receiver = Receiver::with("127.0.0.1:0", |config| {
            config.sink = Sink::Null;
            config.mtu_max = 1500;
        });
        let len = 300 << 20;
        let mut request = receiver.request(vec![PushFile::Generated { name: b"g".to_vec(), len, seed: 1 }]);
        request.call.way.gso = gso;
        request.call.way.policy = RatePolicy::Fixed { bps: 100e9 };
        let summary = send(request).0.unwrap();
        let sent = summary.socket;
        let received = receiver.wait_for(|event| match event {
            DaemonEvent::Disconnected { socket, .. } => Some(*socket),
            _ => None,
        });
        let (calls, datagrams) = (sent.send_calls as f64, sent.sent_datagrams as f64);
        println!("gso {gso}: {:.1} datagrams a sendmmsg; {sent:?}; received {received:?}", datagrams / calls);
        if gso {
            assert!(datagrams / calls >= 80.0, "{sent:?}");
            assert!(sent.sent_trains >= 2 * sent.send_calls, "{sent:?}");
            let datagrams = received.received_datagrams as f64;
            assert!(datagrams / received.receive_calls as f64 >= 40.0, "{received:?}");
            assert!(datagrams / received.received_buffers as f64 >= 20.0, "{received:?}");
        } else {
            assert_eq!(received.received_buffers, received.received_datagrams, "every packet went singly");
            assert!(datagrams / calls >= 20.0, "and still many a call: {sent:?}");
        }
        assert_eq!((summary.bytes, summary.files.len()), (len, 1));
    }
}
