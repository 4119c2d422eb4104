//! A stream whose end is known only when its data has been sent (a pipe).

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use udpx_proto::testing::net::{LaneSpec, LinkSpec, Side};
use udpx_proto::testing::{Pair, PairConfig};
use udpx_proto::wire::bulk::Bulk;
use udpx_proto::{BLOCK, OpenStream, RequestId, SessionConfig};

fn pair(link: LinkSpec, seed: u64) -> Pair {
    let session = SessionConfig { ip_mtu_max: 1500, ip_headers: 28, ..SessionConfig::default() };
    Pair::new(&PairConfig {
        lanes: vec![LaneSpec::symmetric(link)],
        seed,
        null_cipher: true,
        session,
        write_delay: Duration::ZERO,
    })
}

#[test]
fn a_pipe_ends_whatever_is_lost_and_reordered() {
    for seed in 0..40 {
        let link = LinkSpec {
            delay: Duration::from_millis(10),
            jitter: Duration::from_millis(if seed % 2 == 0 { 0 } else { 8 }),
            loss: 0.02 * (seed % 10) as f64,
            ..LinkSpec::default()
        };
        let mut pair = pair(link, seed);
        let open = OpenStream { request: RequestId(1), start: 0, end: None, weight: 1 };
        let stream = pair.a.session.open_stream(open).expect("the first");
        pair.a.files.insert(stream, 1);
        pair.b.sink.files.insert(stream, 1);
        let size = seed * 100_000;
        pair.a.session.extend_stream(stream, size);
        if seed % 3 == 0 {
            pair.a.session.finish_stream(stream, size);
        } else {
            pair.run_until(Duration::from_millis(5 * seed), |_| false);
            pair.a.session.finish_stream(stream, size);
        }
        let done =
            pair.run_until(Duration::from_secs(60), |p| !p.b.received.is_empty() && !p.a.sent.is_empty());
        assert!(done, "seed {seed}: the pipe did not end");
        assert_eq!(pair.b.sink.bytes_of(stream), size, "seed {seed}");
    }
}

/// A pipe is read into blocks of which each is given up once the peer has all of it: nothing may be read again below
/// the acknowledged prefix, and no piece may lie in two blocks.
#[test]
fn what_the_peer_has_is_not_read_again_and_blocks_stay_apart() {
    const BLOCKS: u64 = 24;
    for seed in 0..6 {
        let link = LinkSpec {
            delay: Duration::from_millis(15),
            jitter: Duration::from_millis(seed % 3 * 4),
            loss: 0.03 * (seed + 1) as f64,
            ..LinkSpec::default()
        };
        let mut pair = pair(link, seed);
        let open = OpenStream { request: RequestId(1), start: 0, end: None, weight: 1 };
        let stream = pair.a.session.open_stream(open).expect("the first");
        pair.a.files.insert(stream, 1);
        pair.b.sink.files.insert(stream, 1);
        let pieces: Rc<RefCell<Vec<(u64, u64)>>> = Rc::default();
        let seen = pieces.clone();
        pair.tap = Some(Box::new(move |side, packet| {
            if side == Side::A
                && let Ok(bulk) = Bulk::parse(packet)
            {
                seen.borrow_mut().push((bulk.offset, bulk.len as u64));
            }
        }));
        let size = BLOCKS * BLOCK - seed * 1000;
        let (mut given_up, mut grown, mut repeated) = (0, 0, 0);
        let done = pair.run_until(Duration::from_secs(300), |pair| {
            for (offset, len) in pieces.borrow_mut().drain(..) {
                assert!(offset >= given_up, "seed {seed}: {offset} is read again below {given_up}");
                assert_eq!(offset / BLOCK, (offset + len - 1) / BLOCK, "seed {seed}: {offset} + {len}");
                repeated += u64::from(offset + len <= grown);
                grown = grown.max(offset + len);
            }
            if let Some(progress) = pair.a.session.stream_progress(stream) {
                assert!(progress.unacked_from >= given_up, "the prefix never shrinks");
                given_up = progress.unacked_from;
                // Never more than four blocks in hand, as of a pipe with a small window.
                let read = (given_up / BLOCK + 4).min(BLOCKS);
                pair.a.session.extend_stream(stream, (read * BLOCK).min(size));
                if read == BLOCKS {
                    pair.a.session.finish_stream(stream, size);
                }
            }
            !pair.b.received.is_empty() && !pair.a.sent.is_empty()
        });
        assert!(done && repeated > 0, "seed {seed}: {given_up} of {size}, {repeated} repeated");
        assert_eq!(pair.b.sink.bytes_of(stream), size, "seed {seed}");
    }
}
