//! Random transfers over random bad networks: 200 fixed seeds and 20 fresh ones a run. Every stream must
//! arrive identical (the sink compares each byte), in bounded virtual time.
//!
//! `UDPX_SEED=n cargo test -p udpx-proto --test seeds` replays one seed, and tells what it was;
//! `UDPX_FRESH=n` tries so many fresh ones.

use std::time::Duration;

use udpx_proto::testing::net::{
    BurstSpec, LaneSpec, LinkSpec, PolicerSpec, QueueSpec, ReorderSpec, Side, SimRng,
};
use udpx_proto::testing::{Pair, PairConfig};
use udpx_proto::{BLOCK, SessionConfig};

const FIXED: u64 = 200;
const FRESH: u64 = 20;

/// What one seed means.
#[derive(Debug)]
struct Scenario {
    config: PairConfig,
    size: u64,
    streams: u64,
    rtt: Duration,
    loss: f64,
    rate_bps: u64,
    both_ways: bool,
}

fn scenario(seed: u64) -> Scenario {
    let mut rng = SimRng::new(seed);
    let size = rng.log_uniform(0, 64 << 20);
    let streams = rng.log_uniform(1, 64);
    let rtt = Duration::from_micros(rng.log_uniform(1_000, 600_000));
    // A quarter beyond 10 %, a quarter none, the rest between.
    let loss = match seed % 4 {
        0 => 0.10 + 0.10 * rng.unit(),
        1 => 0.0,
        _ => 0.10 * rng.unit(),
    };
    let everything = seed % 4 == 2;
    // Fast enough that a seed is mostly protocol, slow enough for queues.
    let rate_bps = rng.log_uniform(20_000_000, 2_000_000_000);
    let bdp = (rate_bps as f64 / 8.0 * rtt.as_secs_f64()) as u64;
    let mut link = LinkSpec {
        delay: rtt / 2,
        loss,
        queue: Some(QueueSpec { rate_bps, limit_bytes: (bdp / 2).max(128 << 10), mark_bytes: None }),
        mtu: Some([1500, 1400, 9000][rng.below(3) as usize]),
        ..LinkSpec::default()
    };
    if everything {
        link.jitter = rtt / 20;
        link.burst_loss = Some(BurstSpec { loss: 0.01, burst_packets: 4.0 });
        link.reorder = Some(ReorderSpec { share: 0.01, extra: rtt / 4 });
        link.duplicate = 0.01;
        link.corrupt = 0.01;
        if rng.chance(0.3) {
            link.policer = Some(PolicerSpec { rate_bps: rate_bps / 2, burst_bytes: 64 << 10 });
        }
    }
    let lanes = 1 + rng.below(2) as usize;
    let session = SessionConfig {
        plain: rng.chance(0.25),
        ip_mtu_max: 9000,
        ip_headers: 28,
        staging_budget: rng.log_uniform(4 << 20, 128 << 20),
        initial_rtt: rtt,
        first_number: if rng.chance(0.2) { (1 << 32) - 500 } else { 0 },
        ..SessionConfig::default()
    };
    let config = PairConfig {
        lanes: vec![LaneSpec::symmetric(link); lanes],
        seed,
        // Real ciphers now and then: they are slower.
        null_cipher: !rng.chance(0.2),
        session,
        write_delay: Duration::from_micros(rng.below(5_000)),
    };
    Scenario { config, size, streams, rtt, loss, rate_bps, both_ways: rng.chance(0.2) }
}

/// Splits a file into stripes as a sender would; more streams than blocks become files of their own.
fn stripes(size: u64, streams: u64) -> Vec<(u64, (u64, u64))> {
    let blocks = size.div_ceil(BLOCK).max(1);
    if streams > blocks {
        return (0..streams).map(|n| (n, (0, size * (n + 1) / streams - size * n / streams))).collect();
    }
    let cut = |n: u64| (blocks * n / streams * BLOCK).min(size);
    (0..streams).map(|n| (0, (cut(n), if n + 1 == streams { size } else { cut(n + 1) }))).collect()
}

fn run(seed: u64) -> Result<(), String> {
    let s = scenario(seed);
    let mut pair = Pair::new(&s.config);
    let parts = stripes(s.size, s.streams);
    let sides = if s.both_ways { vec![Side::A, Side::B] } else { vec![Side::A] };
    let mut sent = Vec::new();
    for &side in &sides {
        for &(file, range) in &parts {
            sent.push((side, pair.send_file(side, 1 + file, range, 1), range));
        }
    }
    let lanes = s.config.lanes.len() as u64;
    let policed = if s.config.lanes[0].ab.policer.is_some() { 0.2 } else { 1.0 };
    let ideal = s.size as f64 * 8.0 / (s.rate_bps as f64 * (1.0 - s.loss) * policed);
    let limit = Duration::from_secs_f64(20.0 * ideal + 40.0) + s.rtt * 200;
    let want = sent.len();
    let done = pair.run_until(limit, |p| {
        p.a.received.len() + p.b.received.len() == want && p.a.sent.len() + p.b.sent.len() == want
    });
    if !done {
        return Err(format!(
            "seed {seed}: {} of {want} streams arrived, {} were reported sent within {limit:?}\n{s:?}\n{lanes} lanes\nA {:?}\nB {:?}",
            pair.a.received.len() + pair.b.received.len(),
            pair.a.sent.len() + pair.b.sent.len(),
            pair.a.session.stats(),
            pair.b.session.stats(),
        ));
    }
    for (side, stream, (start, end)) in sent {
        let sink = &pair.end(side.other()).sink;
        if sink.bytes_of(stream) != end - start {
            return Err(format!("seed {seed}: {stream:?} has {} of {}", sink.bytes_of(stream), end - start));
        }
    }
    Ok(())
}

fn run_all(seeds: impl Iterator<Item = u64>) {
    let failures: Vec<String> = seeds.filter_map(|seed| run(seed).err()).collect();
    assert!(failures.is_empty(), "{} seeds failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn fixed_seeds() {
    match std::env::var("UDPX_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => {
            eprintln!("{:#?}", scenario(seed));
            run_all(std::iter::once(seed));
        }
        None => run_all(0..FIXED / 2),
    }
}

#[test]
fn fixed_seeds_second_half() {
    run_all(FIXED / 2..FIXED);
}

#[test]
fn fresh_seeds() {
    let base = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1 << 32, |since| since.as_nanos() as u64 >> 10 << 8);
    println!("fresh seeds from {base}: replay one with UDPX_SEED=n");
    let count = std::env::var("UDPX_FRESH").ok().and_then(|n| n.parse().ok()).unwrap_or(FRESH);
    run_all(base..base + count);
}

#[test]
fn the_seeds_cover_what_they_should() {
    let all: Vec<Scenario> = (0..FIXED).map(scenario).collect();
    let count = |what: &dyn Fn(&Scenario) -> bool| all.iter().filter(|s| what(s)).count();
    assert!(count(&|s| s.loss > 0.10) >= 50);
    assert!(count(&|s| s.config.lanes[0].ab.corrupt > 0.0) >= 50);
    assert!(count(&|s| s.config.lanes.len() == 2) >= 50);
    assert!(count(&|s| s.config.session.plain) >= 25);
}
