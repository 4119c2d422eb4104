//! Streams share a session's rate by their weights and never wait for each other.

mod common;

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use common::{MIB, bottleneck, is_bulk, over};
use udpx_proto::testing::Pair;
use udpx_proto::testing::net::{Side, Verdict};
use udpx_proto::wire::bulk::Bulk;

#[test]
fn a_withheld_stream_holds_nothing_else_up() {
    for seed in [1, 2, 3] {
        let mut config = over(bottleneck(100_000_000, 40, 2.0), seed);
        // Far less credit than the other streams need, so that it has to come back while one stream's
        // lowest hole never closes.
        config.session.staging_budget = 4 * MIB;
        config.write_delay = Duration::from_millis(5);
        let mut pair = Pair::new(&config);
        let victim = pair.send_file(Side::A, 1, (0, 64 * MIB), 1);
        let withheld = Rc::new(Cell::new(0));
        let count = Rc::clone(&withheld);
        pair.net.link_mut(Side::A, 0).add_filter(move |packet, _| {
            if is_bulk(packet) && Bulk::parse(packet).expect("our own packets parse").stream == victim {
                count.set(count.get() + 1);
                return Verdict::Drop;
            }
            Verdict::Pass
        });
        let others: Vec<_> = (2..6).map(|file| pair.send_file(Side::A, file, (0, 8 * MIB), 1)).collect();
        // 32 MiB at 100 Mbit/s take 2.7 s alone; what is withheld takes its share of the rate, for ever.
        let done = pair.run_until(Duration::from_secs(30), |p| p.b.received.len() >= others.len());
        let stats = pair.a.session.stats();
        assert!(done, "seed {seed}: only {:?} finished\n{stats:#?}", pair.b.received);
        for id in others {
            assert!(pair.b.received.iter().any(|d| d.stream == id), "seed {seed}: {id:?} did not finish");
        }
        assert!(withheld.get() > 100, "seed {seed}: the withheld stream went on trying");
        assert_eq!(pair.b.sink.bytes_of(victim), 0, "seed {seed}");
        assert!(pair.b.session.is_open() && pair.a.session.is_open(), "seed {seed}");
    }
}

#[test]
fn weights_are_shares_of_the_rate() {
    for (seed, loss) in [(4, 0.0), (5, 0.02)] {
        let mut link = bottleneck(100_000_000, 20, 1.0);
        link.loss = loss;
        let mut pair = Pair::new(&over(link, seed));
        let light = pair.send_file(Side::A, 1, (0, 64 * MIB), 1);
        let heavy = pair.send_file(Side::A, 2, (0, 64 * MIB), 3);
        // From the second MiB on, while both are active.
        let part = |p: &Pair| (p.b.sink.bytes_of(light), p.b.sink.bytes_of(heavy));
        let limit = Duration::from_secs(30);
        assert!(pair.run_until(limit, |p| part(p).1 > MIB), "seed {seed}");
        let before = part(&pair);
        assert!(pair.run_until(limit, |p| part(p).1 > 60 * MIB), "seed {seed}");
        let after = part(&pair);
        let ratio = (after.1 - before.1) as f64 / (after.0 - before.0) as f64;
        assert!((2.7..=3.3).contains(&ratio), "seed {seed}: weights 1:3 gave 1:{ratio:.2}");
    }
}

#[test]
fn a_stream_that_was_idle_does_not_make_up_for_it() {
    let seed = 6;
    let mut pair = Pair::new(&over(bottleneck(100_000_000, 20, 1.0), seed));
    let first = pair.send_file(Side::A, 1, (0, 64 * MIB), 1);
    let limit = Duration::from_secs(30);
    assert!(pair.run_until(limit, |p| p.b.sink.bytes_of(first) > 16 * MIB), "seed {seed}");
    let late = pair.send_file(Side::A, 2, (0, 64 * MIB), 1);
    let before = pair.b.sink.bytes_of(first);
    assert!(pair.run_until(limit, |p| p.b.sink.bytes_of(late) > 16 * MIB), "seed {seed}");
    let gained = pair.b.sink.bytes_of(first) - before;
    let ratio = gained as f64 / (16 * MIB) as f64;
    assert!(
        (0.9..=1.1).contains(&ratio),
        "seed {seed}: the older stream got {ratio:.2} of the newer's bytes"
    );
}
