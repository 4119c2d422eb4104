//! The adaptive rate: a model of the path from delivery-rate samples, not a reaction to single losses.
//!
//! The model is three numbers: the most that was delivered lately (`bw`), the least RTT, and `p_base`,
//! the share of packets which the path loses *whatever we send*. `p_base` is measured only in rounds
//! sent well below what the path delivers, so loss that we cause ourselves never enters it; it is
//! compensated (sent on top), while loss above it, or a standing queue, is ours and is cut.
//!
//! After BBR (Cardwell et al., draft-ietf-ccwg-bbr) for the shape of its probing, and the monitor
//! intervals of PCC (Dong et al., NSDI 2015) for telling the two kinds of loss apart.

use super::filter::WindowedMax;
use super::{RatePolicy, Sample};
use crate::time::Time;

/// Doubles the rate each round while the path's rate is being found: 2/ln 2, rounded down.
const STARTUP_GAIN: f64 = 2.77;
/// Startup is over after so many rounds without a quarter more.
const FULL_ROUNDS: u32 = 3;
/// Empties the queue that Startup built.
const DRAIN_GAIN: f64 = 0.5;
const DRAIN_ROUNDS: u32 = 3;
/// One round above the known rate, then below it until the probe's queue is gone, then level.
const UP_GAIN: f64 = 1.25;
const DOWN_GAIN: f64 = 0.8;
const CYCLE: u32 = 8;
/// Share of the known rate at which the path's own loss is measured.
const MEASURE_GAIN: f64 = 0.85;
const MEASURE_ROUNDS: u32 = 2;
/// `p_base` is measured again after so many round trips, and not before 5 s.
const MEASURE_RTTS: u64 = 30;
const MEASURE_EVERY: u64 = 5_000_000_000;
/// More than this is not the weather of a path but its end.
const BASE_LOSS_MAX: f64 = 0.4;
/// Loss above `p_base` by more than this, and by more than chance, is ours.
const EXCESS: f64 = 0.02;
/// What a cut leaves.
const CUT: f64 = 0.85;
/// What it leaves of a rate that gives way to others.
const CUT_LOW: f64 = 0.5;
/// More loss than this for 5 rounds and 2 s means that nearly nothing gets through.
const COLLAPSE: f64 = 0.5;
const COLLAPSE_ROUNDS: u32 = 5;
const COLLAPSE_TIME: u64 = 2_000_000_000;
/// The delivery maximum is kept for ten rounds, and not shorter than our own threads may stall.
const BW_ROUNDS: u64 = 10;
const BW_WINDOW_MIN: u64 = 300_000_000;
/// The least RTT is forgotten after this.
const RTT_WINDOW: u64 = 10_000_000_000;
/// RTT noise of hosts: queues shorter than this are not queues.
const RTT_NOISE: u64 = 1_000_000;
/// What SACKs may be late, as room in the window.
const SACK_ROOM: f64 = 0.002;
/// First window, in packets (design section 8).
const INITIAL_PACKETS: f64 = 64.0;
/// Probe time-outs that are silence, and the halvings that follow.
const SILENT: u32 = 3;
const BACK_OFFS: u32 = 4;
/// Rounds whose tallies are kept.
const KEPT: usize = 16;

#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Mode {
    Startup { best_bps: u64, stale: u32 },
    Drain { left: u32 },
    Cruise { step: u32 },
    Measure { left: u32 },
}

/// What happened to the packets of one round.
#[derive(Copy, Clone, Debug, Default)]
struct Round {
    acked: u32,
    lost: u32,
    gain: f64,
    measuring: bool,
    overrun: bool,
    queue: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Adaptive {
    mode: Mode,
    round: u32,
    rounds: [Round; KEPT],
    bw: WindowedMax,
    min_rtt: (u64, Time),
    round_rtt: u64,
    datagram: f64,
    gain: f64,
    base: Base,
    measured_at: Time,
    /// Rounds in a row, and since when, in which nearly everything was lost.
    collapsing: (u32, Time),
    standing: u32,
    cut_at: u32,
    /// Delivery samples of trains sent up to this phase are not of the present rate.
    stale_until: Option<u32>,
    has_bw: bool,
    /// Gives way to others.
    low: bool,
    cap_bps: f64,
}

/// The path's own loss: packets counted in measuring rounds, the older ones half.
#[derive(Copy, Clone, Debug, Default)]
struct Base {
    acked: f64,
    lost: f64,
}

impl Base {
    fn share(self) -> f64 {
        let all = self.acked + self.lost;
        if all < 1.0 { 0.0 } else { (self.lost / all).min(BASE_LOSS_MAX) }
    }

    fn add(&mut self, round: Round) {
        self.acked += f64::from(round.acked);
        self.lost += f64::from(round.lost);
    }

    fn age(&mut self) {
        self.acked /= 2.0;
        self.lost /= 2.0;
    }
}

impl Adaptive {
    pub(super) fn new(policy: RatePolicy, datagram: u16, rtt: u64, now: Time) -> Self {
        let rtt = rtt.max(1);
        let datagram = f64::from(datagram);
        let mut bw = WindowedMax::new(BW_WINDOW_MIN.max(BW_ROUNDS * rtt));
        bw.reset(now.as_nanos(), INITIAL_PACKETS * datagram * 8e9 / rtt as f64 / STARTUP_GAIN);
        Self {
            mode: Mode::Startup { best_bps: 0, stale: 0 },
            round: 0,
            rounds: [Round::default(); KEPT],
            bw,
            min_rtt: (rtt, now),
            round_rtt: u64::MAX,
            datagram,
            gain: STARTUP_GAIN,
            base: Base::default(),
            measured_at: now,
            collapsing: (0, now),
            standing: 0,
            cut_at: 0,
            stale_until: None,
            has_bw: false,
            low: policy == RatePolicy::Low,
            cap_bps: f64::INFINITY,
        }
    }

    pub(super) fn set_policy(&mut self, policy: RatePolicy) {
        self.low = policy == RatePolicy::Low;
    }

    /// Nothing above `bps` is sent. A rate that a cap held down is searched again from there.
    pub(super) fn set_cap(&mut self, bps: f64, now: Time) {
        let held = self.uncapped_bps() >= self.cap_bps;
        self.cap_bps = bps;
        if held && self.has_bw {
            self.bw.reset(now.as_nanos(), self.bw.get());
            self.enter(Mode::Startup { best_bps: 0, stale: 0 });
        }
    }

    pub(super) fn set_datagram(&mut self, datagram: u16) {
        self.datagram = f64::from(datagram);
    }

    pub(super) fn phase(&self) -> u32 {
        self.round
    }

    pub(super) fn path_loss(&self) -> f64 {
        self.base.share()
    }

    pub(super) fn pacing_bps(&self) -> f64 {
        self.uncapped_bps().min(self.cap_bps)
    }

    fn uncapped_bps(&self) -> f64 {
        let compensated = match self.mode {
            Mode::Startup { .. } | Mode::Cruise { .. } => 1.0 / (1.0 - self.base.share()),
            // Measuring and draining are meant to stay below what is delivered.
            Mode::Drain { .. } | Mode::Measure { .. } => 1.0,
        };
        (self.bw.get() * self.gain * compensated).max(self.floor())
    }

    /// Two datagrams a round trip keep the path's clock going.
    fn floor(&self) -> f64 {
        2.0 * self.datagram * 8e9 / self.min_rtt.0.max(RTT_NOISE) as f64
    }

    pub(super) fn window(&self) -> u64 {
        let gain = if matches!(self.mode, Mode::Startup { .. }) { STARTUP_GAIN } else { 2.0 };
        let wire = (self.bw.get() / (1.0 - self.base.share())).min(self.cap_bps) / 8.0;
        let bdp = wire * self.min_rtt.0 as f64 / 1e9;
        (gain * bdp + wire * SACK_ROOM + INITIAL_PACKETS * self.datagram) as u64
    }

    fn bdp(&self) -> u64 {
        (self.bw.get() / 8.0 * self.min_rtt.0 as f64 / 1e9) as u64
    }

    pub(super) fn tally(&mut self, phase: u32, acked: u32, lost: u32) {
        if self.round.wrapping_sub(phase) < KEPT as u32 {
            let round = &mut self.rounds[phase as usize % KEPT];
            round.acked += acked;
            round.lost += lost;
        }
    }

    pub(super) fn on_sample(&mut self, s: &Sample) {
        if let Some(rtt) = s.rtt {
            self.round_rtt = self.round_rtt.min(rtt);
            if rtt <= self.min_rtt.0 || s.now.nanos_since(self.min_rtt.1) > RTT_WINDOW || !self.has_bw {
                self.min_rtt = (rtt.max(1), s.now);
            }
        }
        // What was sent before a cut tells of the rate that was cut.
        let stale = self.stale_until.is_some_and(|phase| s.phase <= phase);
        if let Some(bps) = s.delivery_bps
            && (!s.app_limited || bps > self.bw.get())
            && !stale
        {
            if self.has_bw {
                self.bw.set_window(BW_WINDOW_MIN.max(BW_ROUNDS * self.min_rtt.0));
                self.bw.update(s.now.as_nanos(), bps);
            } else {
                // The first guess came from a window, not from the path.
                self.has_bw = true;
                self.bw.reset(s.now.as_nanos(), bps.max(self.bw.get()));
            }
        }
        if s.overruns > 0 {
            self.rounds[s.phase as usize % KEPT].overrun = true;
            self.cut(s.now);
        }
        if s.marks > 0 {
            self.cut(s.now);
        }
        self.leave_early(s);
        if s.phase == self.round && s.acked > 0 {
            self.next_round(s);
        }
    }

    /// Down and Drain end as soon as the queue is gone.
    fn leave_early(&mut self, s: &Sample) {
        if s.in_flight > self.bdp() {
            return;
        }
        match self.mode {
            Mode::Drain { .. } => self.enter(Mode::Cruise { step: 2 }),
            Mode::Cruise { step: 1 } => self.enter(Mode::Cruise { step: 2 }),
            _ => {}
        }
    }

    fn next_round(&mut self, s: &Sample) {
        let queue_above = self.min_rtt.0 + self.min_rtt.0 / 4 + RTT_NOISE;
        let queued = self.round_rtt != u64::MAX && self.round_rtt > queue_above;
        self.round_rtt = u64::MAX;
        self.rounds[self.round as usize % KEPT].queue = queued;
        if let Some(done) = self.round.checked_sub(3) {
            self.judge(self.rounds[done as usize % KEPT], s.now);
        }
        self.next_mode(s, queued);
        self.round += 1;
        self.rounds[self.round as usize % KEPT] = Round {
            gain: self.gain,
            measuring: matches!(self.mode, Mode::Drain { .. } | Mode::Measure { .. }),
            ..Round::default()
        };
    }

    /// A round whose packets are all accounted for.
    fn judge(&mut self, round: Round, now: Time) {
        let all = f64::from(round.acked + round.lost);
        if all < 1.0 || round.overrun {
            return;
        }
        let p = f64::from(round.lost) / all;
        if round.measuring {
            self.base.add(round);
        } else if round.gain <= 1.05 {
            let base = self.base.share();
            let chance = 2.0 * (base.max(0.01) / all).sqrt();
            if p > base + EXCESS + chance && self.base.acked > 0.0 {
                self.cut(now);
            }
        }
        if p > COLLAPSE {
            self.collapsing.0 += 1;
            if self.collapsing.0 >= COLLAPSE_ROUNDS && now.nanos_since(self.collapsing.1) > COLLAPSE_TIME {
                self.scale(0.5, now);
                self.collapsing = (0, now);
            }
        } else {
            self.collapsing = (0, now);
        }
    }

    fn next_mode(&mut self, s: &Sample, queued: bool) {
        match self.mode {
            Mode::Startup { best_bps, stale } => {
                let bw = self.bw.get() as u64;
                let mode = if bw >= best_bps + best_bps / 4 || s.app_limited {
                    Mode::Startup { best_bps: bw.max(best_bps), stale: 0 }
                } else {
                    Mode::Startup { best_bps, stale: stale + 1 }
                };
                let full = matches!(mode, Mode::Startup { stale, .. } if stale >= FULL_ROUNDS);
                if full || (queued && self.round > 2) {
                    self.enter(Mode::Drain { left: DRAIN_ROUNDS });
                } else {
                    self.enter(mode);
                }
            }
            Mode::Drain { left } if left > 1 => self.enter(Mode::Drain { left: left - 1 }),
            Mode::Drain { .. } => self.enter(Mode::Cruise { step: 2 }),
            Mode::Measure { left } if left > 1 => self.enter(Mode::Measure { left: left - 1 }),
            Mode::Measure { .. } => self.enter(Mode::Cruise { step: 2 }),
            Mode::Cruise { step } => {
                let due = MEASURE_EVERY.max(MEASURE_RTTS * self.min_rtt.0);
                if s.now.nanos_since(self.measured_at) > due {
                    self.measured_at = s.now;
                    self.base.age();
                    self.enter(Mode::Measure { left: MEASURE_ROUNDS });
                    return;
                }
                self.enter(Mode::Cruise { step: (step + 1) % CYCLE });
                // A queue that stays in level rounds is ours to empty.
                self.standing = if queued && step >= 2 { self.standing + 1 } else { 0 };
                if self.standing >= 2 && self.gain <= 1.0 {
                    self.gain = DOWN_GAIN;
                    if self.low {
                        self.standing = 0;
                        self.cut(s.now);
                    }
                }
            }
        }
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.gain = match mode {
            Mode::Startup { .. } => STARTUP_GAIN,
            Mode::Drain { .. } => DRAIN_GAIN,
            Mode::Measure { .. } => MEASURE_GAIN,
            Mode::Cruise { step: 0 } => UP_GAIN,
            Mode::Cruise { step: 1 } => DOWN_GAIN,
            Mode::Cruise { .. } => 1.0,
        };
    }

    /// At most once in three rounds, so that a cut is judged by its own outcome.
    fn cut(&mut self, now: Time) {
        if self.round.wrapping_sub(self.cut_at) >= 3 {
            self.cut_at = self.round;
            self.scale(if self.low { CUT_LOW } else { CUT }, now);
            if matches!(self.mode, Mode::Startup { .. }) {
                self.enter(Mode::Drain { left: DRAIN_ROUNDS });
            }
        }
    }

    fn scale(&mut self, by: f64, now: Time) {
        self.bw.reset(now.as_nanos(), self.bw.get() * by);
        self.stale_until = Some(self.round);
    }

    /// Backs off while nothing is heard. What comes after the silence may be another path, so it is
    /// searched from there.
    pub(super) fn on_silence(&mut self, count: u32, now: Time) {
        if (SILENT..SILENT + BACK_OFFS).contains(&count) {
            self.scale(0.5, now);
            self.enter(Mode::Startup { best_bps: 0, stale: 0 });
        }
    }
}
