//! The end of a file on a path that loses: copies save round trips, within a budget; a clean path has none.

mod common;

use std::time::Duration;

use common::{MIB, bottleneck, finish, over};
use udpx_proto::session::StreamStats;
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::Side;
use udpx_proto::{Message, messages::RateLimit};

const RTT_MS: u64 = 100;

/// Sends a file over 50 Mbit/s with 100 ms which lose `loss` of the packets; returns the time from when the last of its
/// bytes was first sent until all had arrived, in round trips, and the sender's counters of the stream.
fn tail(loss: f64, bytes: u64, seed: u64) -> (f64, StreamStats) {
    let mut link = bottleneck(50_000_000, RTT_MS, 1.0);
    link.loss = loss;
    let mut pair = Pair::new(&over(link, seed));
    // The path is known, and its loss.
    pair.send_file(Side::A, 1, (0, 4 * MIB), 1);
    finish(&mut pair, 1, Duration::from_secs(100), &format!("seed {seed}"));
    let stream = pair.send_file(Side::A, 2, (0, bytes), 1);
    let unsent = |p: &mut Pair| {
        p.a.session.stream_progress(stream).is_some_and(|progress| progress.unsent_from == bytes)
    };
    assert!(pair.run_until(Duration::from_secs(100), unsent), "seed {seed}");
    let sent_at = pair.now;
    finish(&mut pair, 2, Duration::from_secs(100), &format!("seed {seed}"));
    let took = pair.b.received[1].at.saturating_since(sent_at);
    (took.as_secs_f64() * 1000.0 / RTT_MS as f64, pair.a.sent[1].stats)
}

#[test]
fn copies_save_round_trips_at_the_end() {
    // Loss, mean number of round trips without copies (measured by this very function), and how many they have to save.
    for (loss, without, saved) in [(0.02, 1.88, 0.1), (0.05, 2.64, 0.4), (0.1, 3.43, 0.3)] {
        let seeds = 100..140;
        let count = seeds.clone().count() as f64;
        let mean = seeds.map(|seed| tail(loss, 4 * MIB, seed).0).sum::<f64>() / count;
        assert!(mean < without - saved, "loss {loss}: {mean:.2} round trips");
    }
}

#[test]
fn copies_are_counted_apart_and_stay_within_their_share() {
    for (seed, bytes) in [(1, 20_000), (2, 300_000), (3, 4 * MIB), (4, 32 * MIB)] {
        let (_, stats) = tail(0.1, bytes, seed);
        let packet = 1424;
        let budget = (bytes / 100).clamp(packet, 64 * packet);
        assert!(stats.copied_bytes > 0 && stats.copied_bytes <= budget, "{bytes}: {stats:?}");
        let whole = bytes + stats.retransmitted_bytes + stats.copied_bytes;
        assert_eq!(stats.payload_bytes, whole, "{bytes}: {stats:?}");
    }
}

#[test]
fn a_clean_path_copies_nothing() {
    let (_, stats) = tail(0.0, 4 * MIB, 5);
    assert_eq!((stats.copied_packets, stats.payload_bytes), (0, 4 * MIB), "{stats:?}");
}

#[test]
fn what_is_sent_is_what_was_lost_and_two_hundredths_at_most() {
    for (seed, loss) in (10..).zip([0.01, 0.05, 0.1, 0.2]) {
        let mut link = bottleneck(50_000_000, 20, 1.0);
        link.loss = loss;
        let mut pair = Pair::new(&over(link, seed));
        // A hundred times what the path holds, and more.
        let bytes = 16 * MIB;
        pair.send_file(Side::A, 1, (0, bytes), 1);
        finish(&mut pair, 1, Duration::from_secs(100), &format!("seed {seed}"));
        let stats = pair.a.session.stats();
        let net = pair.net.link(Side::A, 0).stats();
        let realised = net.lost_total() as f64 / net.offered as f64;
        let sent = (stats.unique_bytes_sent + stats.retransmitted_bytes + stats.copied_bytes) as f64;
        let share = sent * (1.0 - realised) / bytes as f64;
        assert!(share <= 1.02, "loss {loss}: {share:.4} of what loss makes necessary");
    }
}

/// Messages of stream 0 from A to B: the time in which half and all of them arrive, and how many datagrams were doubled.
fn messages(loss: f64, seed: u64) -> (usize, u64) {
    let mut link = bottleneck(50_000_000, RTT_MS, 1.0);
    link.loss = loss;
    let mut pair = Pair::new(&over(link, seed));
    pair.send_file(Side::A, 1, (0, 1 << 40), 1);
    pair.run_until(Duration::from_secs(2), |_| false);
    let mut late = 0;
    for bps in 0..200 {
        pair.a
            .session
            .send_message(&Message::RateLimit(RateLimit { bps: Some(1_000_000_000 + bps) }))
            .expect("few");
        let heard = pair.b.events.len();
        // Half a round trip, and the queue.
        let limit = Duration::from_millis(RTT_MS / 2 + RTT_MS);
        late += usize::from(!pair.run_until(limit, |p| p.b.events.len() > heard));
        pair.run_until(Duration::from_secs(2), |p| p.b.events.len() > heard);
        assert_eq!(pair.b.events.len(), heard + 1);
    }
    (late, pair.a.session.stats().doubled_packets)
}

#[test]
fn control_frames_are_doubled_where_one_in_twenty_would_be_lost() {
    let (_, doubled) = messages(0.02, 20);
    assert_eq!(doubled, 0, "2 % is no reason");
    let (late, doubled) = messages(0.2, 21);
    // Of 200 alone 40 would be late.
    assert!(doubled >= 200 && late < 20, "{doubled} doubled, {late} late");
}
