//! Several flows through one bottleneck: sessions among themselves, and beside CUBIC and BBR.

use std::time::Duration;

use udpx_proto::testing::crowd::{Crowd, Kind};
use udpx_proto::{RatePolicy, SessionConfig};

use super::{Outcome, Row, ms, row};
use crate::wan::path::{Path, Seen, adaptive, look, rate, session};

pub(super) fn add(rows: &mut Vec<Row>) {
    fair(rows);
    rivals(rows);
}

/// What several flows have got in the last `last` of `all` seconds.
struct Shares {
    /// Bits a second of each.
    rates: Vec<f64>,
    /// Share of all packets that the bottleneck dropped.
    dropped: f64,
}

fn shares(mut crowd: Crowd, all: u64, last: u64) -> Shares {
    crowd.run_for(Duration::from_secs(all - last));
    let n = crowd.flows.len();
    let before: Vec<Seen> = (0..n).map(|flow| look(&mut crowd, flow)).collect();
    crowd.run_for(Duration::from_secs(last));
    let rates = before.iter().enumerate().map(|(flow, seen)| rate(seen, &look(&mut crowd, flow))).collect();
    let end = look(&mut crowd, 0);
    let dropped = (end.dropped - before[0].dropped) / (end.offered - before[0].offered).max(1.0);
    Shares { rates, dropped }
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
    let mut flows = |name: String, path: Path, rtts: Vec<u64>, lanes: Vec<usize>, target: f64| {
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
            let Shares { rates, dropped } = shares(Crowd::new(&path.bottleneck(), &flows, seed), 90, 60);
            let used = rates.iter().sum::<f64>() / path.ideal();
            let text = format!(
                "Jain {:.3}, {} Mbit/s, together {used:.2}, dropped {dropped:.3}",
                jain(&rates),
                mbits(&rates)
            );
            Outcome::at_least(jain(&rates), target, text).and(used > 0.85)
        }));
    };
    for n in [2, 4, 8] {
        flows(format!("fair {n} flows"), Path::default(), vec![50; n], vec![1; n], 0.95);
        let rtts = (0..n).map(|i| if i % 2 == 0 { 25 } else { 100 }).collect();
        flows(format!("fair {n} flows 1:4"), Path::default(), rtts, vec![1; n], 0.8);
    }
    flows("fair 4 lanes and 1".into(), Path::default(), vec![50; 2], vec![4, 1], 0.95);
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
                    let Shares { rates, dropped } = shares(Crowd::new(&p.bottleneck(), &flows, seed), 90, 60);
                    let c = p.ideal();
                    let (ours, theirs) = (rates[0] / c, rates[1] / c);
                    let text = format!(
                        "ours {ours:.2}, theirs {theirs:.2}, together {:.2}, dropped {dropped:.3}",
                        ours + theirs
                    );
                    Outcome::at_least(ours.min(theirs), least, text).and(ours + theirs >= 0.9)
                }));
                let r = rival.clone();
                rows.push(row(format!("low {name} {rtt} ms {queue} BDP"), move |seed| {
                    let low = Kind::Session(SessionConfig { policy: RatePolicy::Low, ..session() }, 1);
                    let alone = shares(Crowd::new(&path.bottleneck(), &[path.flow(r.clone())], seed), 90, 60);
                    let flows = [path.flow(low), path.flow(r.clone())];
                    let Shares { rates, .. } = shares(Crowd::new(&path.bottleneck(), &flows, seed), 90, 60);
                    let c = path.ideal();
                    let left = rates[1] / alone.rates[0];
                    let text = format!("leaves {left:.2}, takes {:.2} of C", rates[0] / c);
                    Outcome::at_least(left, 0.9, text)
                }));
            }
        }
    }
}
