//! Paths that change in mid-transfer: they go dark, become wider or narrower, or nothing is sent for a while.

use std::time::Duration;

use udpx_proto::Time;
use udpx_proto::testing::crowd::Crowd;
use udpx_proto::testing::net::{Node, Queue, QueueSpec};

use super::{Outcome, Row, ms, row};
use crate::wan::path::{Path, Seen, adaptive, look, rate, watch};

/// Seconds after `from` until a round trip brought `share` of the ideal.
fn back_after(seen: &[Seen], from: f64, window: usize, wanted: f64) -> f64 {
    (window..seen.len())
        .find(|&i| seen[i].at - from > 1e-6 && rate(&seen[i - window], &seen[i]) >= wanted)
        .map_or(f64::INFINITY, |i| seen[i].at - from)
}

/// A transfer that has nothing to send for ten seconds and then goes on.
pub(in crate::wan) struct Pause {
    /// When it went on, seconds.
    pub(in crate::wan) again: f64,
    /// Wire bytes over BDP that left until the first of them can have been acknowledged.
    pub(in crate::wan) sent_bdp: f64,
    /// Round trips until one of them brought 90 % of what came before the pause.
    pub(in crate::wan) back_rtts: f64,
}

impl Pause {
    /// Ten seconds of sending, ten of silence, ten more.
    pub(in crate::wan) fn run(path: &Path, seed: u64) -> (Self, Vec<Seen>) {
        const SPAN: Duration = Duration::from_secs(10);
        let rtt = path.rtt.as_secs_f64();
        let step = path.rtt / PAUSE_STEPS as u32;
        let mut flow = path.flow(adaptive());
        flow.file = (path.ideal() / 8.0 * SPAN.as_secs_f64()) as u64;
        let file = flow.file;
        let mut crowd = Crowd::new(&path.bottleneck(), &[flow], seed);
        let mut seen = vec![look(&mut crowd, 0)];
        while crowd.delivered(0) < file && seen[seen.len() - 1].at < 3.0 * SPAN.as_secs_f64() {
            seen.extend(watch(&mut crowd, 0, step, step).pop());
        }
        // Its steady part, without the slow ends.
        let (early, late) = (seen[seen.len() / 2], seen[seen.len().saturating_sub(5 * PAUSE_STEPS)]);
        let before = rate(&early, &late);
        seen.extend(watch(&mut crowd, 0, SPAN, step).into_iter().skip(1));
        let last = seen[seen.len() - 1];
        crowd.send_file(0, 2, file);
        let after = watch(&mut crowd, 0, SPAN, step);
        // One step short: what is acknowledged at its end may have let more go.
        let sent = after[PAUSE_STEPS - 1].sent - last.sent;
        let back = back_after(&after, last.at, PAUSE_STEPS, 0.9 * before);
        seen.extend(after.into_iter().skip(1));
        (Self { again: last.at, sent_bdp: sent / path.bdp(), back_rtts: back / rtt }, seen)
    }
}

/// Looks a round trip.
const PAUSE_STEPS: usize = 10;

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
        Outcome::below(worst, limit + 1e-9, text)
    }
}

pub(super) fn add(rows: &mut Vec<Row>) {
    rows.push(row("dark 5 s", dark(vec![(10.0, 15.0)], "3 RTT + 300 ms", 20.0)));
    rows.push(row("dark 30 s", dark(vec![(10.0, 40.0)], "3 RTT + 300 ms", 45.0)));
    let flaps = (0..5).map(|i| (5.0 + 7.0 * f64::from(i), 7.0 + 7.0 * f64::from(i))).collect();
    rows.push(row("dark 2 s of 7", dark(flaps, "3 RTT + 300 ms", 42.0)));
    for loss in [0.0, 0.05] {
        rows.push(row(format!("pause 10 s, loss {}%", loss * 100.0), move |seed| {
            let path = Path { loss, ..Path::default() };
            let (pause, _) = Pause::run(&path, seed);
            let text = format!(
                "{:.2} BDP before the first new sample (1), 90 % of the old rate after {:.1} RTT (10)",
                pause.sent_bdp, pause.back_rtts
            );
            Outcome::below(pause.back_rtts, 10.0, text).and(pause.sent_bdp <= 1.0)
        }));
    }
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
            let text = format!("90 % after {rtts:.1} RTT (10, and one that it is measured over)");
            Outcome::below(rtts, 11.0 + 1e-9, text)
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
            Outcome::below(rtts, 5.0 + 1e-9, text).and(late > 0.9)
        }));
    }
}
