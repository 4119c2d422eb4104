//! BBR version 1, in packets (Cardwell et al., "BBR: congestion-based congestion control", 2016; the constants are those of
//! the Linux module). A model: no long-term policer detection, no ACK-aggregation allowance.

use super::tcp::AckInfo;
use crate::time::Time;

const HIGH_GAIN: f64 = 2.885;
const CYCLE: [f64; 8] = [1.25, 0.75, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
const RTT_WINDOW: u64 = 10_000_000_000;
const PROBE_RTT_TIME: u64 = 200_000_000;
const BW_ROUNDS: usize = 10;

#[derive(Copy, Clone, PartialEq, Debug)]
enum Mode {
    Startup,
    Drain,
    ProbeBw(usize),
    ProbeRtt(Time),
}

/// The state of one flow.
#[derive(Clone, Debug)]
pub struct Bbr {
    mode: Mode,
    /// Best rate of each of the last rounds, packets a second.
    rates: [f64; BW_ROUNDS],
    round: usize,
    round_end: u64,
    full: (f64, u32),
    min_rtt: (f64, Time),
    cycle_at: Time,
}

impl Default for Bbr {
    fn default() -> Self {
        Self {
            mode: Mode::Startup,
            rates: [0.0; BW_ROUNDS],
            round: 0,
            round_end: 0,
            full: (0.0, 0),
            min_rtt: (f64::INFINITY, Time::ZERO),
            cycle_at: Time::ZERO,
        }
    }
}

impl Bbr {
    fn bw(&self) -> f64 {
        self.rates.iter().copied().fold(0.0, f64::max)
    }

    fn bdp(&self) -> f64 {
        self.bw() * self.min_rtt.0
    }

    /// Packets.
    #[must_use]
    pub fn window(&self) -> f64 {
        if self.bw() == 0.0 {
            return 10.0;
        }
        match self.mode {
            Mode::Startup | Mode::Drain => (HIGH_GAIN * self.bdp()).max(10.0),
            Mode::ProbeBw(_) => (2.0 * self.bdp()).max(4.0) + 3.0,
            Mode::ProbeRtt(_) => 4.0,
        }
    }

    /// Packets a second.
    #[must_use]
    pub fn pacing(&self) -> f64 {
        let gain = match self.mode {
            Mode::Startup => HIGH_GAIN,
            Mode::Drain => 1.0 / HIGH_GAIN,
            Mode::ProbeBw(step) => CYCLE[step],
            Mode::ProbeRtt(_) => 1.0,
        };
        if self.bw() == 0.0 { 10_000.0 } else { self.bw() * gain }
    }

    /// News.
    pub fn on_ack(&mut self, now: Time, ack: &AckInfo) {
        let new_round = ack.delivered.0 >= self.round_end;
        if new_round {
            self.round_end = ack.delivered.1;
            self.round += 1;
            self.rates[self.round % BW_ROUNDS] = 0.0;
        }
        let slot = &mut self.rates[self.round % BW_ROUNDS];
        *slot = slot.max(ack.rate);
        let expired = now.nanos_since(self.min_rtt.1) > RTT_WINDOW;
        if ack.rtt <= self.min_rtt.0 || expired {
            self.min_rtt = (ack.rtt, now);
        }
        match self.mode {
            Mode::Startup => {
                if new_round {
                    if self.bw() >= 1.25 * self.full.0 {
                        self.full = (self.bw(), 0);
                    } else {
                        self.full.1 += 1;
                    }
                    if self.full.1 >= 3 {
                        self.mode = Mode::Drain;
                    }
                }
            }
            Mode::Drain => {
                if ack.in_flight as f64 <= self.bdp() {
                    self.enter_cycle(now);
                }
            }
            Mode::ProbeBw(step) => {
                let long = now.nanos_since(self.cycle_at) as f64 / 1e9 > self.min_rtt.0;
                let done = match step {
                    0 => long && ack.in_flight as f64 >= 1.25 * self.bdp(),
                    1 => long || ack.in_flight as f64 <= self.bdp(),
                    _ => long,
                };
                // A probe that cannot fill its window is not held for ever.
                let stuck = now.nanos_since(self.cycle_at) as f64 / 1e9 > 2.0 * self.min_rtt.0;
                if done || stuck {
                    self.mode = Mode::ProbeBw((step + 1) % CYCLE.len());
                    self.cycle_at = now;
                }
            }
            Mode::ProbeRtt(until) => {
                if now >= until {
                    self.min_rtt.1 = now;
                    self.enter_cycle(now);
                }
            }
        }
        if expired && !matches!(self.mode, Mode::ProbeRtt(_) | Mode::Startup) {
            self.mode = Mode::ProbeRtt(now.after_nanos(PROBE_RTT_TIME + (self.min_rtt.0 * 1e9) as u64));
            self.min_rtt = (ack.rtt, now);
        }
    }

    fn enter_cycle(&mut self, now: Time) {
        self.mode = Mode::ProbeBw(2);
        self.cycle_at = now;
    }
}
