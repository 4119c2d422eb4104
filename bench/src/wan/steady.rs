//! One session alone on a path: what is measured of its steady part.

use std::time::Duration;

use udpx_proto::Time;

use super::path::{Path, adaptive, look, rate};

/// Start-up is looked at this many round trips longer than it may take.
const START_UP_SEEN: f64 = 16.0;

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
    let step = (rtt / 4.0).min(0.1);
    let window = (rtt / step).round() as usize;
    let mut seen = vec![look(&mut crowd, 0)];
    let (mut overshoot, mut reached) = (0.0, None);
    while crowd.now < Time::from_nanos(((1.0 + span) * 1e9) as u64) {
        let starting = seen[seen.len() - 1].at < limit + START_UP_SEEN * rtt;
        crowd.run_for(Duration::from_secs_f64(if starting { step } else { step.max(0.001) }));
        seen.push(look(&mut crowd, 0));
        let last = seen.len() - 1;
        if starting && last >= window && reached.is_none() {
            let now = rate(&seen[last - window], &seen[last]);
            reached = (now >= 0.9 * path.ideal()).then_some(last);
        }
        if seen[last].at < limit + 4.0 * rtt {
            overshoot = crowd.bottleneck.stats().queue_max_bytes as f64 / path.bdp();
        }
    }
    let start_up = reached.map_or(f64::INFINITY, |reached| seen[reached].at / rtt);
    let from = seen.iter().position(|s| s.at >= limit).expect("the run is longer");
    let from = reached.map_or(from, |reached| from.min(reached));
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
