//! Hosts that meet, die and come back, over bad paths.

mod common;

use std::time::Duration;

use common::{MIB, bottleneck, session};
use udpx_proto::testing::Hosts;
use udpx_proto::testing::net::{LaneSpec, LinkSpec, Side};

const RTT: Duration = Duration::from_millis(60);

fn hosts(loss: f64, seed: u64) -> Hosts {
    let link = LinkSpec { loss, ..bottleneck(50_000_000, 60, 2.0) };
    Hosts::new(&LaneSpec::symmetric(link), session(), seed)
}

fn meet(hosts: &mut Hosts, limit: Duration) -> bool {
    hosts.open(Side::A);
    hosts.run_until(limit, |h| h.hosts.iter().all(|host| host.confirmed() > 0))
}

#[test]
fn handshakes_succeed_though_three_of_ten_packets_are_lost_each_way() {
    let mut slowest = Duration::ZERO;
    for seed in 0..50 {
        let mut hosts = hosts(0.3, seed);
        let begin = hosts.now;
        assert!(meet(&mut hosts, Duration::from_secs(30)), "seed {seed}");
        slowest = slowest.max(hosts.now.saturating_since(begin));
        // Copies of the HELLO made no second session.
        assert_eq!(hosts.host(Side::B).ends.len(), 1, "seed {seed}");
    }
    println!("the slowest took {slowest:?}");
}

/// A transfer from A that has gone on for a second.
fn busy(seed: u64, loss: f64) -> Hosts {
    let mut hosts = hosts(loss, seed);
    hosts.host(Side::A).job = Some((1, 64 * MIB));
    assert!(meet(&mut hosts, Duration::from_secs(30)));
    hosts.run_until(Duration::from_secs(1), |_| false);
    assert!(hosts.host(Side::B).received() > MIB);
    hosts
}

#[test]
fn a_transfer_goes_on_within_two_seconds_and_two_round_trips_of_a_restart_of_either_end() {
    for side in [Side::A, Side::B] {
        for (seed, loss) in [(1, 0.0), (2, 0.05), (3, 0.05), (4, 0.05)] {
            let mut hosts = busy(seed, loss);
            hosts.restart(side);
            let restarted = hosts.now;
            if side == Side::A {
                // The job is on its disk.
                hosts.open(Side::A);
            }
            let goes_on = hosts.run_until(Duration::from_secs(20), |h| {
                h.hosts[Side::B as usize].ends.last().is_some_and(|end| {
                    end.session.is_confirmed()
                        && end.session.stats().unique_bytes_received > MIB
                        && (side == Side::B || h.hosts[Side::B as usize].ends.len() > 1)
                })
            });
            let took = hosts.now.saturating_since(restarted);
            println!("{side:?} restarted, loss {loss}: a MiB more after {took:?}");
            assert!(goes_on, "{side:?}, seed {seed}");
            // A MiB at 50 Mbit/s takes 170 ms, and a rate has to be found.
            let most = Duration::from_secs(2) + 2 * RTT;
            assert!(took <= most, "{side:?}, seed {seed}, loss {loss}: {took:?}");
        }
    }
}

/// Whoever only receives has nothing to send that could find out.
#[test]
fn a_file_that_is_fetched_goes_on_when_its_sender_was_restarted() {
    for (seed, loss) in [(11, 0.0), (12, 0.05), (13, 0.05)] {
        let mut hosts = hosts(loss, seed);
        hosts.host(Side::B).serves = Some((1, 64 * MIB));
        assert!(meet(&mut hosts, Duration::from_secs(30)));
        hosts.run_until(Duration::from_secs(1), |_| false);
        assert!(hosts.host(Side::A).received() > MIB, "seed {seed}");
        hosts.restart(Side::B);
        let restarted = hosts.now;
        let goes_on = hosts.run_until(Duration::from_secs(20), |h| {
            let host = &h.hosts[Side::A as usize];
            host.opened > 1
                && host.ends.last().is_some_and(|end| end.session.stats().unique_bytes_received > MIB)
        });
        let took = hosts.now.saturating_since(restarted);
        println!("the sender restarted, loss {loss}: a MiB more after {took:?}");
        assert!(goes_on && took <= Duration::from_secs(2) + 2 * RTT, "seed {seed}: {took:?}");
    }
}

#[test]
fn hints_alone_tear_nothing_down() {
    use udpx_proto::wire::header::Header;
    let mut hosts = busy(5, 0.0);
    hosts.heard = Some(Vec::new());
    hosts.run_until(Duration::from_millis(300), |_| false);
    // Whoever sees the packets can say that nobody knows them.
    let heard = hosts.heard.take().expect("it was listened");
    let mut forged = 0;
    for (from, packet) in &heard {
        if let (Side::A, Ok((header, _))) = (from, Header::parse(packet)) {
            let mut hint = vec![0x1c, 0, 0, 0];
            hint.extend_from_slice(&header.lane().0.to_le_bytes());
            hint.extend_from_slice(&header.number().to_le_bytes());
            hosts.receive(Side::A, &hint);
            forged += 1;
        }
    }
    assert!(forged > 100);
    // Who has not seen the packets cannot even say so.
    let live = &hosts.host(Side::A).ends[0].session;
    let (_, packet) = heard.iter().rev().find(|(from, _)| *from == Side::A).expect("data");
    let header = Header::parse(packet).expect("a packet of a session").0;
    assert!(live.has_sent(header.lane(), header.number()));
    assert!(!live.has_sent(header.lane(), header.number() + 1_000_000));
    assert!(!live.has_sent(udpx_proto::LaneId(!header.lane().0), header.number()));
    let opened = hosts.host(Side::A).opened;
    assert!(hosts.run_until(Duration::from_secs(60), |h| !h.hosts[1].ends[0].received.is_empty()));
    assert_eq!(hosts.host(Side::A).opened, opened, "it was believed");
}

#[test]
fn both_may_open_at_once() {
    for seed in 0..10 {
        let mut hosts = hosts(0.1, seed);
        for (side, file) in [(Side::A, 1), (Side::B, 2)] {
            hosts.host(side).job = Some((file, 4 * MIB));
            hosts.open(side);
        }
        // Each has its own session, since a session belongs to whoever wanted it.
        let done = hosts.run_until(Duration::from_secs(60), |h| {
            h.hosts.iter().all(|host| host.ends.iter().any(|end| !end.received.is_empty()))
        });
        assert!(done, "seed {seed}");
        for side in [Side::A, Side::B] {
            let host = hosts.host(side);
            assert_eq!((host.confirmed(), host.opened), (2, 1), "seed {seed}");
        }
    }
}

#[test]
fn everything_that_was_ever_heard_has_no_effect_when_it_is_repeated() {
    // Within the ten seconds in which a REPLY is remembered, and after them.
    for later in [Duration::from_secs(2), Duration::from_secs(12)] {
        let mut hosts = hosts(0.0, 6);
        hosts.heard = Some(Vec::new());
        hosts.host(Side::A).job = Some((1, 8 * MIB));
        assert!(meet(&mut hosts, Duration::from_secs(10)));
        assert!(hosts.run_until(Duration::from_secs(60), |h| !h.hosts[1].ends[0].received.is_empty()));
        hosts.run_until(later, |_| false);
        let heard = hosts.heard.take().expect("it was listened");
        let state = |hosts: &Hosts| {
            hosts.hosts.each_ref().map(|host| {
                let stats = host.ends[0].session.stats();
                (host.confirmed(), stats.received_packets, stats.unique_bytes_received, host.opened)
            })
        };
        let before = state(&hosts);
        let mut halves = 0;
        for (from, packet) in &heard {
            hosts.receive(from.other(), packet);
            halves = halves.max(hosts.host(Side::B).ends.len() - 1);
        }
        assert_eq!(state(&hosts), before, "after {later:?}");
        // The first packet alone makes the acceptor compute, and that is all.
        assert_eq!(halves, usize::from(later > Duration::from_secs(10)), "after {later:?}");
        // The live session is none the worse for it.
        let live = &mut hosts.host(Side::A).ends[0].session;
        live.ping(b"still there").expect("room");
        assert!(hosts.run_until(Duration::from_secs(2), |h| !h.hosts[0].ends[0].events.is_empty()));
        assert_eq!(hosts.host(Side::A).confirmed(), 1);
    }
}

#[test]
fn whoever_says_that_only_other_versions_are_spoken_downgrades_nothing() {
    let mut hosts = hosts(0.0, 7);
    hosts.heard = Some(Vec::new());
    hosts.open(Side::A);
    hosts.run_until(Duration::from_millis(1), |_| false);
    let heard = hosts.heard.take().expect("it was listened");
    let hello = &heard.first().expect("a HELLO").1;
    for version in [0, 2, 15] {
        let mut forged = vec![version << 4 | 11, 0, 0, 0];
        forged.extend_from_slice(b"udpx");
        forged.extend_from_slice(&hello[8..12]);
        forged.push(1);
        forged.extend_from_slice(&[version; 15]);
        hosts.receive(Side::A, &forged);
        // A HELLO that says so itself gets no session.
        let mut other = hello.clone();
        other[0] = version << 4 | 8;
        hosts.receive(Side::B, &other);
    }
    assert!(hosts.run_until(RTT * 2, |h| h.hosts.iter().all(|host| host.confirmed() > 0)));
    assert_eq!(hosts.host(Side::B).ends.len(), 1);
}
