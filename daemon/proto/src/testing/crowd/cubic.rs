//! CUBIC congestion control (RFC 9438), in packets, with the delay part of `HyStart` (Ha and Rhee, 2011) that Linux has.

use crate::time::Time;

const C: f64 = 0.4;
const BETA: f64 = 0.7;
const INITIAL_WINDOW: f64 = 10.0;

/// The window of one flow.
#[derive(Clone, Debug)]
pub struct Cubic {
    cwnd: f64,
    ssthresh: f64,
    w_max: f64,
    /// The start of the present congestion avoidance stage: when, K, and the window at its start.
    epoch: Option<(Time, f64, f64)>,
    w_est: f64,
    /// The window before the last decrease.
    cwnd_prior: f64,
    min_rtt: f64,
}

impl Default for Cubic {
    fn default() -> Self {
        Self {
            cwnd: INITIAL_WINDOW,
            ssthresh: f64::INFINITY,
            w_max: 0.0,
            epoch: None,
            w_est: 0.0,
            cwnd_prior: 0.0,
            min_rtt: f64::INFINITY,
        }
    }
}

impl Cubic {
    /// A flow in congestion avoidance just after a loss at this window.
    #[must_use]
    pub fn after_loss_at(window: f64, now: Time) -> Self {
        let mut cubic = Self { cwnd: window, ..Self::default() };
        cubic.on_loss(now);
        cubic
    }

    /// Packets.
    #[must_use]
    pub fn window(&self) -> f64 {
        self.cwnd
    }

    /// So many packets were acknowledged; seconds of the smoothed and the latest round trip.
    pub fn on_ack(&mut self, now: Time, acked: f64, srtt: f64, rtt: f64) {
        self.min_rtt = self.min_rtt.min(rtt);
        if self.cwnd < self.ssthresh {
            self.cwnd += acked;
            let above = (self.min_rtt / 8.0).clamp(0.004, 0.016);
            if self.cwnd >= 16.0 && rtt > self.min_rtt + above {
                self.ssthresh = self.cwnd;
            }
            return;
        }
        let (start, k, _) = *self.epoch.get_or_insert_with(|| {
            self.w_est = self.cwnd;
            // Without a loss the epoch begins at the plateau (RFC 9438 4.2).
            self.w_max = self.w_max.max(self.cwnd);
            (now, ((self.w_max - self.cwnd).max(0.0) / C).cbrt(), self.cwnd)
        });
        let t = now.nanos_since(start) as f64 / 1e9;
        let curve = |t: f64| C * (t - k).powi(3) + self.w_max;
        let alpha = if self.w_est >= self.cwnd_prior { 1.0 } else { 3.0 * (1.0 - BETA) / (1.0 + BETA) };
        self.w_est += alpha * acked / self.cwnd;
        if curve(t) < self.w_est {
            self.cwnd = self.cwnd.max(self.w_est);
            return;
        }
        let target = curve(t + srtt).clamp(self.cwnd, 1.5 * self.cwnd);
        self.cwnd += (target - self.cwnd) / self.cwnd * acked;
    }

    /// A new congestion event.
    pub fn on_loss(&mut self, _: Time) {
        self.cwnd_prior = self.cwnd;
        // Fast convergence (RFC 9438 4.7).
        self.w_max = if self.cwnd < self.w_max { self.cwnd * (1.0 + BETA) / 2.0 } else { self.cwnd };
        self.ssthresh = (self.cwnd * BETA).max(2.0);
        self.cwnd = self.ssthresh;
        self.epoch = None;
    }

    /// Nothing was acknowledged for a retransmission time-out.
    pub fn on_timeout(&mut self, now: Time) {
        self.on_loss(now);
        self.cwnd = 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Acknowledges whole windows until `until` seconds; the window at each of the times.
    fn grow(cubic: &mut Cubic, rtt: f64, until: f64, mut seen: impl FnMut(f64, f64)) {
        let mut t = 0.0;
        while t < until {
            // A few acknowledgements a round trip, evenly.
            let steps = 20.0;
            t += rtt / steps;
            let acked = cubic.window() / steps;
            cubic.on_ack(Time::from_nanos((t * 1e9) as u64), acked, rtt, rtt);
            seen(t, cubic.window());
        }
    }

    #[test]
    fn the_window_follows_the_cubic_curve() {
        for (w_max, rtt) in [(1000.0, 0.1), (4000.0, 0.05), (20_000.0, 0.2)] {
            let mut cubic = Cubic::after_loss_at(w_max, Time::ZERO);
            let k = (w_max * (1.0 - BETA) / C).cbrt();
            grow(&mut cubic, rtt, 1.5 * k, |t, window| {
                let curve = C * (t - k).powi(3) + w_max;
                let off = (window - curve).abs() / w_max;
                assert!(off < 0.02, "W_max {w_max}, RTT {rtt}, {t} s: {window}, the curve says {curve}");
            });
        }
    }

    #[test]
    fn where_reno_is_faster_the_window_follows_it() {
        // RFC 9438 4.3: short round trips and small windows are Reno-friendly.
        let (w_max, rtt) = (50.0, 0.01);
        let mut cubic = Cubic::after_loss_at(w_max, Time::ZERO);
        grow(&mut cubic, rtt, 0.25, |t, window| {
            let reno = BETA * w_max + 3.0 * (1.0 - BETA) / (1.0 + BETA) * t / rtt;
            assert!((window - reno).abs() < 2.0, "{t} s: {window}, Reno has {reno}");
        });
    }

    #[test]
    fn the_mean_window_is_that_of_the_deterministic_loss_model() {
        // RFC 9438 5.1: AVG_W = (C (3 + beta) / (4 (1 - beta)))^(1/4) (RTT / p)^(3/4).
        for (rtt, p) in [(0.1, 1e-5_f64), (0.2, 1e-4)] {
            let mut cubic = Cubic::after_loss_at(500.0, Time::ZERO);
            let (mut t, mut sent, mut since, mut sum, mut rounds) = (0.0, 0.0, 0.0, 0.0, 0.0);
            while rounds < 4_000_000.0 && t < 20_000.0 {
                t += rtt / 10.0;
                let acked = cubic.window() / 10.0;
                let now = Time::from_nanos((t * 1e9) as u64);
                cubic.on_ack(now, acked, rtt, rtt);
                sent += acked;
                since += acked;
                if since >= 1.0 / p {
                    since = 0.0;
                    cubic.on_loss(now);
                }
                if t > 1000.0 {
                    sum += cubic.window();
                    rounds += 1.0;
                }
            }
            let mean = sum / rounds;
            let model = (C * (3.0 + BETA) / (4.0 * (1.0 - BETA))).powf(0.25) * (rtt / p).powf(0.75);
            assert!((mean / model - 1.0).abs() < 0.05, "RTT {rtt}, p {p}: {mean}, {model} ({sent})");
        }
    }
}
