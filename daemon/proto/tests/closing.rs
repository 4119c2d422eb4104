//! How sessions live without traffic, and how they end: by CLOSE, by silence, by both at once.

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use common::{MIB, bottleneck, delay, lose, over};
use udpx_proto::testing::net::{Side, Verdict};
use udpx_proto::testing::{End, Pair};
use udpx_proto::{Code, Event, Time};

const IDLE: Duration = Duration::from_secs(60);

fn closed_with(end: &End) -> Option<u32> {
    end.events.iter().find_map(|event| match event {
        Event::Closed { code, .. } => Some(*code),
        _ => None,
    })
}

fn timed_out(end: &End) -> bool {
    end.events.iter().any(|event| matches!(event, Event::TimedOut))
}

fn both_ended(pair: &mut Pair) -> bool {
    pair.a.session.is_ended() && pair.b.session.is_ended()
}

/// A transfer from A to B under way.
fn busy(seed: u64) -> Pair {
    let mut pair = Pair::new(&over(bottleneck(50_000_000, 40, 1.0), seed));
    pair.send_file(Side::A, 1, (0, 256 * MIB), 1);
    assert!(!pair.run_until(Duration::from_secs(1), |_| false));
    pair
}

#[test]
fn a_close_reaches_the_peer_in_half_a_round_trip() {
    for (seed, closer) in [(1, Side::A), (2, Side::B)] {
        let mut pair = busy(seed);
        let now = pair.now;
        pair.end(closer).session.close(now, Code::Interrupted, "stop\u{1b}[31m");
        assert!(pair.run_until(Duration::from_secs(2), both_ended), "seed {seed}");
        let peer = pair.end(closer.other());
        assert_eq!(closed_with(peer), Some(Code::Interrupted.number()), "seed {seed}");
        assert_eq!(closed_with(pair.end(closer)), None, "seed {seed}");
    }
}

#[test]
fn a_close_lost_a_hundred_times_still_ends_both() {
    for (seed, closer) in [(3, Side::A), (4, Side::B)] {
        let mut pair = Pair::new(&over(bottleneck(50_000_000, 40, 1.0), seed));
        let closing = Rc::new(Cell::new(false));
        let lost = Rc::new(Cell::new(0));
        let (active, count) = (Rc::clone(&closing), Rc::clone(&lost));
        pair.net.link_mut(closer, 0).add_filter(move |_, _| {
            if active.get() && count.get() < 100 {
                count.set(count.get() + 1);
                return Verdict::Drop;
            }
            Verdict::Pass
        });
        pair.send_file(Side::A, 1, (0, 256 * MIB), 1);
        pair.run_until(Duration::from_secs(1), |_| false);
        closing.set(true);
        let start = pair.now;
        pair.end(closer).session.close(start, Code::Done, "");
        // What was under way when it closed is heard for another half a round trip.
        let limit = IDLE + Duration::from_secs(1);
        assert!(pair.run_until(limit, both_ended), "seed {seed}: alive after {limit:?}");
        assert!(lost.get() > 1, "seed {seed}: CLOSE was sent {} times", lost.get());
        assert!(timed_out(pair.end(closer.other())), "seed {seed}");
        // Nothing is sent by the dead.
        let offered = [Side::A, Side::B].map(|side| pair.net.link(side, 0).stats().offered);
        pair.run_until(Duration::from_secs(600), |_| false);
        assert_eq!(offered, [Side::A, Side::B].map(|side| pair.net.link(side, 0).stats().offered));
    }
}

#[test]
fn both_may_close_at_once() {
    let mut pair = busy(5);
    let now = pair.now;
    pair.a.session.close(now, Code::Done, "a");
    pair.b.session.close(now, Code::Done, "b");
    assert!(pair.run_until(Duration::from_secs(2), both_ended));
}

#[test]
fn keep_alives_hold_an_idle_session_for_ten_minutes() {
    for (seed, loss) in [(6, 0.0), (7, 0.2)] {
        let mut pair = Pair::new(&over(delay(80), seed));
        let _lost = lose(&mut pair, Side::A, (loss, seed), |_| true);
        let ended =
            pair.run_until(Duration::from_secs(600), |p| !(p.a.session.is_open() && p.b.session.is_open()));
        assert!(!ended, "seed {seed}: a session ended while idle");
        let sent = [Side::A, Side::B].map(|side| pair.net.link(side, 0).stats().offered);
        assert!(sent.iter().all(|&n| n < 1000), "seed {seed}: idling took {sent:?} packets");
    }
}

#[test]
fn silence_ends_a_session_after_exactly_a_minute() {
    for seed in [8, 9] {
        let mut pair = Pair::new(&over(delay(80), seed));
        // Some idle time first, so that keep-alives are the last that is heard.
        let silence = pair.now + Duration::from_secs(50 + 5 * seed);
        for side in [Side::A, Side::B] {
            let late = move |_: &[u8], at| if at < silence { Verdict::Pass } else { Verdict::Drop };
            pair.net.link_mut(side, 0).add_filter(late);
        }
        let mut heard = [(0, pair.now); 2];
        let mut ended = [None; 2];
        let done = pair.run_until(4 * IDLE, |p| {
            for (index, end) in [&p.a, &p.b].into_iter().enumerate() {
                let received = end.session.stats().received_packets;
                if received != heard[index].0 {
                    heard[index] = (received, p.now);
                }
                if end.session.is_ended() {
                    ended[index].get_or_insert(p.now);
                }
            }
            ended.iter().all(Option::is_some)
        });
        assert!(done, "seed {seed}");
        assert!(timed_out(&pair.a) && timed_out(&pair.b), "seed {seed}");
        for (index, at) in ended.into_iter().enumerate() {
            assert!(heard[index].0 > 2, "seed {seed}: end {index} heard keep-alives");
            let silent = at.expect("both ended").saturating_since(heard[index].1);
            assert_eq!(silent, IDLE, "seed {seed}: end {index}");
        }
    }
}

#[test]
fn a_network_that_returns_within_a_minute_is_forgiven() {
    for (seed, gone) in [(10, 5), (11, 30), (12, 59)] {
        let mut link = bottleneck(50_000_000, 40, 1.0);
        let start = Time::from_nanos(2_000_000_000);
        link.blackouts = vec![(start, start + Duration::from_secs(gone))];
        let mut pair = Pair::new(&over(link, seed));
        pair.send_file(Side::A, 1, (0, 16 * MIB), 1);
        common::finish(&mut pair, 1, Duration::from_secs(gone + 30), &format!("seed {seed}, gone {gone} s"));
    }
}

#[test]
fn pings_come_back_byte_for_byte() {
    let mut pair = Pair::new(&over(delay(30), 13));
    let longest: Vec<u8> = (0..udpx_proto::limits::PING_MAX).map(|i| (i * 7) as u8).collect();
    let bodies: [&[u8]; 4] = [b"\0", b"echo", &[0xff; 300], &longest];
    for body in bodies {
        pair.a.session.ping(body).expect("few pings wait");
        pair.b.session.ping(body).expect("few pings wait");
    }
    assert!(pair.a.session.ping(b"").is_err(), "an empty PING is a probe");
    assert!(pair.a.session.ping(&vec![0; udpx_proto::limits::PING_MAX + 1]).is_err());
    let pongs = |end: &End| -> Vec<Vec<u8>> {
        let pong = |event: &Event| match event {
            Event::Pong { body } => Some(body.clone()),
            _ => None,
        };
        end.events.iter().filter_map(pong).collect()
    };
    assert!(pair.run_until(Duration::from_secs(1), |p| pongs(&p.a).len() + pongs(&p.b).len() == 8));
    for end in [&pair.a, &pair.b] {
        let mut got = pongs(end);
        got.sort_by_key(Vec::len);
        assert_eq!(got, bodies, "every echo, unchanged");
    }
    for _ in 0..64 {
        pair.a.session.ping(b"x").expect("as many may wait");
    }
    assert!(pair.a.session.ping(b"x").is_err(), "not without limit");
}
