//! The rows of the table: what is measured on which path, and what it must reach.

use std::time::Duration;

use udpx_proto::RatePolicy;
use udpx_proto::testing::crowd::{Crowd, Kind};
use udpx_proto::testing::net::{Node, PolicerSpec, Queue, QueueSpec, ReorderSpec};
use udpx_proto::{SessionConfig, Time};

use super::path::{Path, Seen, adaptive, look, rate, session, watch};

/// One row.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) run: Box<dyn Fn(u64) -> Outcome>,
}

/// What came of it.
pub(super) struct Outcome {
    pub(super) met: bool,
    pub(super) text: String,
}

impl Outcome {
    fn at_least(value: f64, target: f64, text: String) -> Self {
        Self { met: value >= target, text }
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn row(name: impl Into<String>, run: impl Fn(u64) -> Outcome + 'static) -> Row {
    Row { name: name.into(), run: Box::new(run) }
}

pub(super) fn all() -> Vec<Row> {
    let mut rows = Vec::new();
    grid(&mut rows);
    far(&mut rows);
    bursts(&mut rows);
    queues(&mut rows);
    policers(&mut rows);
    rough(&mut rows);
    fair(&mut rows);
    rivals(&mut rows);
    changes(&mut rows);
    rows
}

/// A transfer's figures in its steady part.
pub(super) struct Steady {
    /// Of what the path allows.
    pub(super) share: f64,
    /// Round trips until 90 % of that came in one round trip.
    pub(super) start_up: f64,
    /// Stream bytes sent over what the losses made necessary.
    pub(super) excess: f64,
    /// Share of packets that the bottleneck dropped.
    pub(super) own_loss: f64,
    /// Mean wait in the bottleneck's queue over the RTT.
    pub(super) queue: f64,
    /// Longest queue in start-up, BDP.
    pub(super) overshoot: f64,
}

/// A transfer of `rounds` round trips after start-up, and no less than `least` seconds.
pub(super) fn steady(path: &Path, seed: u64, rounds: f64, least: f64) -> Steady {
    let rtt = path.rtt.as_secs_f64();
    let limit = path.start_up_rtts() * rtt;
    let span = limit + (rounds * rtt).max(least);
    let mut crowd = path.crowd(adaptive(), seed);
    let step = (rtt / 4.0).clamp(0.001, 0.1);
    let mut seen = vec![look(&mut crowd, 0)];
    let mut overshoot = 0.0;
    while crowd.now < Time::from_nanos(((1.0 + span) * 1e9) as u64) {
        crowd.run_for(Duration::from_secs_f64(step));
        seen.push(look(&mut crowd, 0));
        if seen[seen.len() - 1].at < limit + 4.0 * rtt {
            overshoot = crowd.bottleneck.stats().queue_max_bytes as f64 / path.bdp();
        }
    }
    let window = (rtt / step).round().max((0.01 / step).round()) as usize;
    let reached = (window..seen.len())
        .find(|&i| rate(&seen[i - window], &seen[i]) >= 0.9 * path.ideal())
        .unwrap_or(seen.len());
    let start_up = reached as f64 * step / rtt;
    let from = seen.iter().position(|s| s.at >= limit).expect("the run is longer").min(reached);
    let (a, b) = (seen[from], seen[seen.len() - 1]);
    let dropped = (b.dropped - a.dropped) / (b.offered - a.offered).max(1.0);
    let lost = 1.0 - (1.0 - path.loss) * (1.0 - dropped);
    Steady {
        share: rate(&a, &b) / path.ideal(),
        start_up,
        excess: (b.payload_sent - a.payload_sent) * (1.0 - lost) / (b.bytes - a.bytes).max(1.0),
        own_loss: dropped,
        queue: (b.queued_ns - a.queued_ns) / (b.queued - a.queued).max(1.0) / 1e9 / rtt,
        overshoot,
    }
}

fn grid(rows: &mut Vec<Row>) {
    for (bps, c) in [(10e6, "10M"), (100e6, "100M"), (1e9, "1G"), (10e9, "10G")] {
        for rtt in [1, 20, 100, 200, 600] {
            for loss in [0.0, 0.01, 0.05, 0.1, 0.2] {
                let path = Path { bps, rtt: ms(rtt), loss, ..Path::default() };
                rows.push(row(format!("grid {c} {rtt} ms {}%", loss * 100.0), move |seed| {
                    // Ten thousand million bits a second are simulated for a short while only.
                    let (rounds, least) = if bps >= 10e9 { (15.0, 1.0) } else { (60.0, 8.0) };
                    let s = steady(&path, seed, rounds, least);
                    let target = if loss > 0.05 { 0.90 } else { 0.95 };
                    let limit = path.start_up_rtts();
                    let text = format!(
                        "steady {:.3}, start {:.1}/{limit:.1} RTT, sent {:.3}, own loss {:.3}, over {:.2}, queue {:.2}",
                        s.share, s.start_up, s.excess, s.own_loss, s.overshoot, s.queue
                    );
                    let mut o = Outcome::at_least(s.share, target, text);
                    let small = path.bdp() < 64.0 * 1500.0;
                    o.met &= s.excess <= 1.02 && (small || s.start_up <= limit + 0.3);
                    o
                }));
            }
        }
    }
}

fn far(rows: &mut Vec<Row>) {
    for (loss, target) in [(0.05, 0.850), (0.3, 0.500)] {
        let path = Path { bps: 1e9, rtt: ms(1000), loss, ..Path::default() };
        rows.push(row(format!("far 1G 1 s {}%", loss * 100.0), move |seed| {
            let s = steady(&path, seed, 40.0, 0.0);
            let goodput = s.share * path.ideal() / 1e9;
            Outcome::at_least(
                goodput,
                target,
                format!("steady {:.0} Mbit/s, sent {:.3}", goodput * 1e3, s.excess),
            )
        }));
    }
}

fn bursts(rows: &mut Vec<Row>) {
    for loss in [0.01, 0.05] {
        for burst in [3.0, 20.0] {
            let path = Path { loss, burst: Some(burst), ..Path::default() };
            rows.push(row(format!("burst {}% x{burst}", loss * 100.0), move |seed| {
                let plain = steady(&Path { burst: None, ..path.clone() }, seed, 200.0, 0.0);
                let s = steady(&path, seed, 200.0, 0.0);
                let text = format!("{:.3}, random {:.3}, sent {:.3}", s.share, plain.share, s.excess);
                Outcome::at_least(s.share / plain.share, 0.9, text)
            }));
        }
    }
}

fn queues(rows: &mut Vec<Row>) {
    for queue in [0.2, 1.0, 5.0] {
        let path = Path { queue, ..Path::default() };
        rows.push(row(format!("queue {queue}"), move |seed| {
            let s = steady(&path, seed, 400.0, 0.0);
            let text =
                format!("own loss {:.3}, mean queue {:.2} BDP, steady {:.3}", s.own_loss, s.queue, s.share);
            let met = s.own_loss < 0.03 && (queue < 1.0 || s.queue <= 0.5) && s.share >= 0.9;
            Outcome { met, text }
        }));
    }
    rows.push(row("queue 0.2, loss 5%, policer 80M", move |seed| {
        let policer = Some(PolicerSpec { rate_bps: 80_000_000, burst_bytes: 50_000 });
        let path = Path { queue: 0.2, loss: 0.05, policer, ..Path::default() };
        let s = steady(&path, seed, 400.0, 0.0);
        let total = 1.0 - (1.0 - s.own_loss) * (1.0 - path.loss);
        let text = format!("total loss {total:.3}, steady {:.3}", s.share);
        Outcome { met: total <= 0.08 && s.share >= 0.8, text }
    }));
}

fn policers(rows: &mut Vec<Row>) {
    for mbps in [20u64, 100, 500] {
        for (depth, bytes) in [("5 packets", 5 * 1500), ("50 ms", mbps * 1_000_000 / 8 / 20)] {
            let policer = Some(PolicerSpec { rate_bps: mbps * 1_000_000, burst_bytes: bytes });
            let path = Path { bps: 2e9, policer, ..Path::default() };
            rows.push(row(format!("policer {mbps}M {depth}"), move |seed| {
                let s = steady(&path, seed, 400.0, 0.0);
                let text = format!("{:.3} of it, loss {:.3}", s.share, s.own_loss);
                Outcome { met: s.share >= 0.8 && s.own_loss < 0.05, text }
            }));
        }
    }
}

fn rough(rows: &mut Vec<Row>) {
    let mut add = |name: &str, target: f64, path: Path| {
        rows.push(row(format!("rough {name}"), move |seed| {
            let s = steady(&path, seed, 400.0, 0.0);
            let text = format!("steady {:.3}, sent {:.3}, own loss {:.3}", s.share, s.excess, s.own_loss);
            Outcome::at_least(s.share, target, text)
        }));
    };
    add("wander 30 % of the RTT", 0.85, Path { wander: ms(30), rtt: ms(50), ..Path::default() });
    add("jitter 30 % of the RTT", 0.85, Path { jitter: ms(30), rtt: ms(50), ..Path::default() });
    add("aggregation 20 ms", 0.85, Path { aggregate: ms(20), ..Path::default() });
    let extra = ms(12);
    add(
        "reorder 5 % by RTT/4",
        0.9,
        Path { reorder: Some(ReorderSpec { share: 0.05, extra }), ..Path::default() },
    );
    add("half of the SACKs lost", 0.9, Path { ack_loss: 0.5, ..Path::default() });
    add("100:1", 0.9, Path { back_bps: Some(1e6), ..Path::default() });
    add("100:1, 5 %", 0.9, Path { back_bps: Some(1e6), loss: 0.05, ..Path::default() });
}

/// Bits a second of every flow in the last `last` of `all` seconds.
fn shares(mut crowd: Crowd, all: u64, last: u64) -> Vec<f64> {
    crowd.run_for(Duration::from_secs(all - last));
    let n = crowd.flows.len();
    let before: Vec<Seen> = (0..n).map(|flow| look(&mut crowd, flow)).collect();
    crowd.run_for(Duration::from_secs(last));
    before.iter().enumerate().map(|(flow, seen)| rate(seen, &look(&mut crowd, flow))).collect()
}

fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|r| r * r).sum();
    sum * sum / (rates.len() as f64 * squares).max(1.0)
}

fn mbits(rates: &[f64]) -> String {
    rates.iter().map(|r| format!("{:.1}", r / 1e6)).collect::<Vec<_>>().join(" ")
}

fn fair(rows: &mut Vec<Row>) {
    let mut add = |name: String, path: Path, rtts: Vec<u64>, lanes: Vec<usize>, target: f64| {
        rows.push(row(name, move |seed| {
            let flows: Vec<_> = rtts
                .iter()
                .zip(&lanes)
                .enumerate()
                .map(|(i, (&rtt, &lanes))| {
                    let kind = Kind::Session(SessionConfig { lanes_max: 8, ..session() }, lanes);
                    let mut flow = Path { rtt: ms(rtt), ..path.clone() }.flow(kind);
                    flow.start = ms(700 * i as u64 + 37 * (seed % 16));
                    flow
                })
                .collect();
            let rates = shares(Crowd::new(&path.bottleneck(), &flows, seed), 90, 60);
            let used = rates.iter().sum::<f64>() / path.ideal();
            let text = format!("Jain {:.3}, {} Mbit/s, together {used:.2}", jain(&rates), mbits(&rates));
            let mut o = Outcome::at_least(jain(&rates), target, text);
            o.met &= used > 0.85;
            o
        }));
    };
    for n in [2, 4, 8] {
        add(format!("fair {n} flows"), Path::default(), vec![50; n], vec![1; n], 0.95);
        let rtts = (0..n).map(|i| if i % 2 == 0 { 25 } else { 100 }).collect();
        add(format!("fair {n} flows 1:4"), Path::default(), rtts, vec![1; n], 0.8);
    }
    add("fair 4 lanes and 1".into(), Path::default(), vec![50; 2], vec![4, 1], 0.95);
}

fn rivals(rows: &mut Vec<Row>) {
    for (name, rival, least) in [("cubic", Kind::Cubic, 0.30), ("bbr", Kind::Bbr, 0.25)] {
        for rtt in [40, 100] {
            for queue in [0.5, 1.0, 5.0] {
                let path = Path { rtt: ms(rtt), queue, ..Path::default() };
                let (p, r) = (path.clone(), rival.clone());
                rows.push(row(format!("rival {name} {rtt} ms {queue} BDP"), move |seed| {
                    let mut flows = [p.flow(adaptive()), p.flow(r.clone())];
                    flows[0].start = ms(63 + 37 * (seed % 16));
                    let rates = shares(Crowd::new(&p.bottleneck(), &flows, seed), 90, 60);
                    let c = p.ideal();
                    let (ours, theirs) = (rates[0] / c, rates[1] / c);
                    let text = format!("ours {ours:.2}, theirs {theirs:.2}, together {:.2}", ours + theirs);
                    let mut o = Outcome::at_least(ours.min(theirs), least, text);
                    o.met &= ours + theirs >= 0.9;
                    o
                }));
                let r = rival.clone();
                rows.push(row(format!("low {name} {rtt} ms {queue} BDP"), move |seed| {
                    let low = Kind::Session(SessionConfig { policy: RatePolicy::Low, ..session() }, 1);
                    let alone = shares(Crowd::new(&path.bottleneck(), &[path.flow(r.clone())], seed), 90, 60);
                    let flows = [path.flow(low), path.flow(r.clone())];
                    let rates = shares(Crowd::new(&path.bottleneck(), &flows, seed), 90, 60);
                    let c = path.ideal();
                    let left = rates[1] / alone[0];
                    let text = format!("leaves {left:.2}, takes {:.2} of C", rates[0] / c);
                    Outcome::at_least(left, 0.9, text)
                }));
            }
        }
    }
}

/// Seconds after `from` until a round trip brought `share` of the ideal.
fn back_after(seen: &[Seen], from: f64, window: usize, wanted: f64) -> f64 {
    (window..seen.len())
        .find(|&i| seen[i].at - from > 1e-6 && rate(&seen[i - window], &seen[i]) >= wanted)
        .map_or(f64::INFINITY, |i| seen[i].at - from)
}

fn dark(outages: Vec<(f64, f64)>, target: &str, until: f64) -> impl Fn(u64) -> Outcome + 'static {
    let target = target.to_owned();
    move |seed| {
        let path = Path::default();
        let at = |s: f64| Time::from_nanos(((1.0 + s) * 1e9) as u64);
        let spans: Vec<_> = outages.iter().map(|&(from, to)| (at(from), at(to))).collect();
        let mut flow = path.flow(adaptive());
        flow.out.blackouts = spans.clone();
        flow.back.blackouts = spans;
        let mut crowd = Crowd::new(&path.bottleneck(), &[flow], seed);
        let step = 0.005;
        let seen = watch(&mut crowd, 0, Duration::from_secs_f64(until), Duration::from_secs_f64(step));
        let rtt = path.rtt.as_secs_f64();
        // One window after the moment when the rate is right, as it is measured over a round trip.
        let limit = 3.0 * rtt + 0.3 + rtt;
        let backs: Vec<f64> =
            outages.iter().map(|&(_, to)| back_after(&seen, to, 10, 0.95 * path.ideal())).collect();
        let worst = backs.iter().copied().fold(0.0, f64::max);
        let text = format!("full after {worst:.3} s ({target}; measured over one RTT, so {limit:.2})");
        Outcome { met: worst <= limit, text }
    }
}

fn changes(rows: &mut Vec<Row>) {
    rows.push(row("dark 5 s", dark(vec![(10.0, 15.0)], "3 RTT + 300 ms", 20.0)));
    rows.push(row("dark 30 s", dark(vec![(10.0, 40.0)], "3 RTT + 300 ms", 45.0)));
    let flaps = (0..5).map(|i| (5.0 + 7.0 * f64::from(i), 7.0 + 7.0 * f64::from(i))).collect();
    rows.push(row("dark 2 s of 7", dark(flaps, "3 RTT + 300 ms", 42.0)));
    for (name, loss) in [("", 0.0), (", 5 %", 0.05)] {
        rows.push(row(format!("capacity x10{name}"), move |seed| {
            let path = Path { bps: 10e6, loss, ..Path::default() };
            let wide = Path { bps: 100e6, loss, ..Path::default() };
            let mut worst: f64 = 0.0;
            // At several moments of the controller's own cycle.
            for shift in 0..5 {
                let mut crowd = path.crowd(adaptive(), seed);
                let at = 10.0 + 0.07 * f64::from(shift);
                crowd.run_for(Duration::from_secs_f64(at));
                crowd.bottleneck.replace(Node::Queue(Queue::new(wide.queue_spec(), 26)));
                let seen = watch(&mut crowd, 0, Duration::from_secs(5), ms(5));
                worst = worst.max(back_after(&seen, at, 10, 0.9 * wide.ideal()));
            }
            let rtts = worst / 0.05;
            Outcome {
                met: rtts <= 11.0,
                text: format!("90 % after {rtts:.1} RTT (10, and one that it is measured over)"),
            }
        }));
        rows.push(row(format!("capacity /10{name}"), move |seed| {
            let path = Path { loss, ..Path::default() };
            let narrow = Path { bps: 10e6, loss, ..Path::default() };
            let mut crowd = path.crowd(adaptive(), seed);
            crowd.run_for(Duration::from_secs(10));
            let narrow_queue =
                QueueSpec { limit_bytes: path.queue_spec().limit_bytes, ..narrow.queue_spec() };
            crowd.bottleneck.replace(Node::Queue(Queue::new(narrow_queue, 26)));
            let seen = watch(&mut crowd, 0, Duration::from_secs(5), ms(5));
            // The first SACK that can know comes one RTT after the change.
            let below = (10..seen.len())
                .find(|&i| (seen[i].sent - seen[i - 10].sent) * 8.0 / 0.05 <= 1.05 * narrow.bps)
                .map_or(f64::INFINITY, |i| seen[i].at - 10.0);
            let rtts = below / 0.05;
            let late = rate(&seen[seen.len() - 200], &seen[seen.len() - 1]) / narrow.ideal();
            let text = format!(
                "below after {rtts:.1} RTT (1 to the first SACK, 3, and one of measuring); then {late:.2}"
            );
            Outcome { met: rtts <= 5.0 && late > 0.9, text }
        }));
    }
}
