//! What a session lends comes back: credit of streams given up, slots of streams that ended, staging
//! memory that ran out, the queue of stream 0.

mod common;

use std::time::Duration;

use common::{MIB, bottleneck, delay, finish, lose, over};
use udpx_proto::messages::{Abort, Progress};
use udpx_proto::testing::net::{LinkSpec, Side};
use udpx_proto::testing::{End, Pair};
use udpx_proto::{Code, DropReason, Event, Message, RequestId, SendError};

#[test]
fn credit_of_streams_given_up_comes_back() {
    for (seed, by_sender) in [(1, true), (2, true), (3, false), (4, false)] {
        let mut config = over(LinkSpec { loss: 0.05, ..bottleneck(50_000_000, 30, 1.0) }, seed);
        config.session.staging_budget = MIB;
        let mut pair = Pair::new(&config);
        // Far more bytes than there is credit are given up, in all states of sending.
        for file in 0..40 {
            let stream = pair.send_file(Side::A, file, (0, 4 * MIB), 1);
            pair.run_until(Duration::from_millis(3 + 7 * file), |_| false);
            if !by_sender {
                pair.b.session.stop_receiving(stream);
                pair.run_until(Duration::from_millis(30), |_| false);
            }
            pair.a.session.reset_stream(stream, Code::Interrupted);
        }
        pair.run_until(Duration::from_secs(1), |_| false);
        let resets = pair.b.events.iter().filter(|event| matches!(event, Event::StreamReset { .. })).count();
        assert_eq!(resets + pair.b.received.len(), 40, "seed {seed}");
        let (received, sent) = (pair.b.received.len(), pair.a.sent.len());
        pair.send_file(Side::A, 1000, (0, 8 * MIB), 1);
        finish(&mut pair, received.max(sent) + 1, Duration::from_secs(30), &format!("seed {seed}"));
    }
}

#[test]
fn slots_are_used_again_and_again() {
    for (seed, loss) in [(5, 0.0), (6, 0.1)] {
        let link = LinkSpec { loss, jitter: Duration::from_millis(8), ..delay(10) };
        let mut pair = Pair::new(&over(link, seed));
        let (mut opened, mut highest) = (0, 0);
        while opened < 3000 {
            for _ in 0..30 {
                let len = [0, 1, 100, 1400, 5000][opened % 5];
                let id = pair.send_file(Side::A, opened as u64, (0, len), 1);
                highest = highest.max(id.slot());
                opened += 1;
            }
            finish(&mut pair, opened, Duration::from_secs(10), &format!("seed {seed}, {opened} files"));
        }
        assert!(highest <= 30, "seed {seed}: slot {highest} of 30 streams at once");
        let mut requests: Vec<_> = pair.b.received.iter().map(|d| d.request.0).collect();
        requests.sort_unstable();
        assert!(requests.into_iter().eq(0..3000), "seed {seed}: each file once");
    }
}

#[test]
fn streams_are_not_without_limit() {
    let mut pair = Pair::new(&over(delay(10), 7));
    let most = udpx_proto::limits::STREAMS_MAX - 1;
    for file in 0..most {
        pair.send_file(Side::A, file as u64, (0, 3000), 1);
    }
    let open = udpx_proto::OpenStream { request: RequestId(1), start: 0, end: None, weight: 1 };
    assert!(pair.a.session.open_stream(open).is_err());
    finish(&mut pair, most, Duration::from_secs(20), "seed 7");
    assert!(pair.a.session.open_stream(open).is_ok());
}

#[test]
fn a_receiver_without_staging_memory_loses_time_only() {
    for seed in [8, 9] {
        let mut pair = Pair::new(&over(bottleneck(50_000_000, 20, 1.0), seed));
        pair.send_file(Side::A, 1, (0, 8 * MIB), 1);
        for _ in 0..10 {
            pair.run_until(Duration::from_millis(100), |_| false);
            pair.b.sink.refuse += 30;
        }
        finish(&mut pair, 1, Duration::from_secs(60), &format!("seed {seed}"));
        assert_eq!(pair.b.session.drops().get(DropReason::NoStaging), 300, "seed {seed}");
    }
}

#[test]
fn slow_writers_slow_the_sender_and_lose_nothing() {
    for seed in [10, 11] {
        let mut config = over(bottleneck(200_000_000, 10, 1.0), seed);
        config.session.staging_budget = MIB;
        config.write_delay = Duration::from_millis(100);
        let mut pair = Pair::new(&config);
        pair.send_file(Side::A, 1, (0, 32 * MIB), 1);
        let start = pair.now;
        finish(&mut pair, 1, Duration::from_secs(30), &format!("seed {seed}"));
        let took = pair.now.saturating_since(start);
        // Some credit runs ahead of free staging, but the writers decide: 1 MiB each 100 ms.
        assert!(took > Duration::from_millis(1500), "seed {seed}: {took:?}");
        let drops: Vec<_> = pair.b.session.drops().iter().collect();
        assert!(drops.is_empty(), "seed {seed}: {drops:?}");
    }
}

#[test]
fn messages_arrive_once_and_in_order_whatever_is_lost() {
    for (seed, loss) in [(12, 0.0), (13, 0.2), (14, 0.4)] {
        let mut pair = Pair::new(&over(delay(20), seed));
        let _lost = lose(&mut pair, Side::A, (loss, seed), |_| true);
        let _lost = lose(&mut pair, Side::B, (loss, seed + 100), |_| true);
        let (mut queued, mut full) = (0, 0);
        let text = "x".repeat(100_000);
        let arrived = |end: &End| -> Vec<u64> {
            let number = |event: &Event| match event {
                Event::Message(Message::Progress(p)) => Some(p.written),
                Event::Message(Message::Abort(abort)) => Some(u64::from(abort.code)),
                _ => None,
            };
            end.events.iter().filter_map(number).collect()
        };
        while queued < 400 {
            let (request, written) = (RequestId(1), u64::from(queued));
            let message = if queued % 4 == 0 {
                Message::Abort(Abort { request, code: queued, text: text.clone() })
            } else {
                Message::Progress(Progress { request, written })
            };
            match pair.a.session.send_message(&message) {
                Ok(()) => queued += 1,
                Err(SendError::Full) => {
                    full += 1;
                    pair.run_until(Duration::from_millis(50), |_| false);
                }
                Err(error) => panic!("seed {seed}: {error}"),
            }
        }
        assert!(full > 0, "seed {seed}: the queue has an end");
        let done = pair.run_until(Duration::from_secs(300), |p| p.a.session.control_unacked() == 0);
        assert!(done, "seed {seed}: {} bytes unacknowledged", pair.a.session.control_unacked());
        assert!(arrived(&pair.b).into_iter().eq(0..400), "seed {seed}");
    }
}
