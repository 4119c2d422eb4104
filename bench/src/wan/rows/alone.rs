//! One session alone: the grid of capacities, round trips and losses, and paths that are worse than that.

use udpx_proto::testing::net::{PolicerSpec, ReorderSpec};

use super::{Outcome, Row, ms, row};
use crate::wan::path::Path;
use crate::wan::steady::steady;

pub(super) fn add(rows: &mut Vec<Row>) {
    grid(rows);
    far(rows);
    bursts(rows);
    queues(rows);
    policers(rows);
    rough(rows);
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
                    let small = path.bdp() < 64.0 * 1500.0;
                    let in_time = small || s.start_up <= limit + 0.3;
                    Outcome::at_least(s.share, target, text).and(s.excess <= 1.02 && in_time)
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
            Outcome::below(s.own_loss, 0.03, text).and((queue < 1.0 || s.queue <= 0.5) && s.share >= 0.9)
        }));
    }
    rows.push(row("queue 0.2, loss 5%, policer 80M", move |seed| {
        let policer = Some(PolicerSpec { rate_bps: 80_000_000, burst_bytes: 50_000 });
        let path = Path { queue: 0.2, loss: 0.05, policer, ..Path::default() };
        let s = steady(&path, seed, 400.0, 0.0);
        let total = 1.0 - (1.0 - s.own_loss) * (1.0 - path.loss);
        let text = format!("total loss {total:.3}, steady {:.3}", s.share);
        Outcome::below(total, 0.08, text).and(s.share >= 0.8)
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
                Outcome::below(s.own_loss, 0.05, text).and(s.share >= 0.8)
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
