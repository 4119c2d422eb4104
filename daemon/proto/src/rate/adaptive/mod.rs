//! The adaptive rate: a model of the path from delivery-rate samples, not a reaction to single losses.
//!
//! The model is three numbers: the most that was delivered lately (`bw`), the least RTT, and the *base loss*, the share of
//! packets which the path loses whatever we send. The base is measured only in rounds sent well below what the path
//! delivers, so loss that we cause ourselves never enters it; it is compensated (sent on top), while loss above it, or a
//! standing queue, is ours and is cut. A queue that stands though we have left it is another's: see [`rival`].
//!
//! After BBR (Cardwell et al., draft-ietf-ccwg-bbr) for the shape of its probing, and the monitor intervals of PCC (Dong
//! et al., NSDI 2015) for telling the two kinds of loss apart. `docs/RATE.md` argues it.

mod rival;
mod rounds;

use super::filter::WindowedMax;
use super::{RateHint, RatePolicy, Sample};
use crate::time::Time;
use rival::Rival;
use rounds::{Base, Pace, Rounds};

/// Doubles the rate each round while the path's rate is being found: 2/ln 2, rounded down.
const STARTUP_GAIN: f64 = 2.77;
/// In flight then, in BDP: a queue of one BDP at most.
const STARTUP_WINDOW: f64 = 2.0;
/// Startup is over after so many rounds without a quarter more.
const FULL_ROUNDS: u32 = 3;
/// Empties the queue that Startup built.
const DRAIN_GAIN: f64 = 0.5;
const DRAIN_ROUNDS: u32 = 3;
/// One round above the known rate, then below it until the probe's queue is gone, then level.
const UP_MOST: f64 = 0.25;
const UP_LEAST: f64 = 0.03;
/// Probes that cost nothing before they are larger again.
const CLEAN_UPS: u32 = 8;
const DOWN_GAIN: f64 = 0.8;
const DOWN_ROUNDS: u32 = 3;
/// So many at most, and at least one: flows that probe in step would never change their shares.
const LEVEL_ROUNDS: u64 = 3;
/// Share of the known rate, and of the BDP in flight, at which the path's own loss and queue are measured.
const MEASURE_GAIN: f64 = 0.85;
const MEASURE_WINDOW: f64 = 0.8;
const MEASURE_ROUNDS: u32 = 2;
/// Measured again after so many round trips, and not before 5 s.
const MEASURE_RTTS: u64 = 30;
const MEASURE_EVERY: u64 = 5_000_000_000;
/// Loss above the base by more than this, and by more than chance, is ours.
const EXCESS: f64 = 0.01;
/// The mean of so many rounds shows less of it.
const EXCESS_ROUNDS: f64 = 8.0;
/// What a mark or a local overrun leaves.
const CUT: f64 = 0.85;
/// What a standing queue or a loss leaves of a rate that gives way to others.
const CUT_LOW: f64 = 0.5;
/// Growth that makes it worth to search for much more.
const LAUNCH: f64 = 0.75;
/// A rate that loss has bounded, with no queue to be seen, is held for so many rounds, doubled each time it proves right.
const HOLD_ROUNDS: (u32, u32) = (16, 128);
/// What was measured within so many rounds is not asked again.
const TRIED_ROUNDS: u32 = 12;
/// More loss than this for 5 rounds and 2 s means that nearly nothing gets through.
const COLLAPSE: f64 = 0.5;
const COLLAPSE_ROUNDS: u32 = 5;
const COLLAPSE_TIME: u64 = 2_000_000_000;
/// The delivery maximum is kept for ten rounds, and not shorter than our own threads may stall.
const BW_ROUNDS: u64 = 10;
const BW_WINDOW_MIN: u64 = 300_000_000;
/// The least RTT is forgotten after this.
const RTT_WINDOW: u64 = 60_000_000_000;
/// RTT noise of hosts: queues shorter than this are not queues.
const RTT_NOISE: u64 = 1_000_000;
/// Trains and SACKs of our own make this much of RTT.
const QUEUE_NOISE: u64 = 3_000_000;
/// A host that stalls for no longer than this is no path that shrank.
const STALL: u64 = 20_000_000;
/// A round has at least so many packets: fewer tell nothing.
const ROUND_PACKETS: u32 = 32;
/// What SACKs may be late, as room in the window.
const SACK_ROOM: f64 = 0.002;
/// First window, in packets (design section 8).
const INITIAL_PACKETS: f64 = 64.0;
/// Probe time-outs that are silence.
const SILENT: u32 = 3;
/// What is risked of a rate that was known before a pause (draft-ietf-tsvwg-careful-resume).
const RESUME: f64 = 0.5;
/// A pause of so many round trips makes it so.
const PAUSE_RTTS: u64 = 10;

#[derive(Copy, Clone, PartialEq, Debug)]
enum Mode {
    Startup {
        best_bps: f64,
        stale: u32,
    },
    Drain {
        left: u32,
    },
    Up,
    Down {
        left: u32,
    },
    Level {
        left: u32,
    },
    Measure {
        left: u32,
    },
    /// Nothing is heard; the rate was `bps`.
    Dark {
        bps: f64,
    },
    /// Half of `bps` is tried: its first packets are of round `from`.
    Resume {
        bps: f64,
        from: u32,
    },
    /// Others keep a queue.
    Compete,
}

/// See the module.
#[derive(Debug)]
pub struct Adaptive {
    mode: Mode,
    rounds: Rounds,
    acked_in_round: u32,
    bw: WindowedMax,
    /// Delivered lately: the last sample.
    last_bps: f64,
    min_rtt: (u64, Time),
    srtt: u64,
    datagram: f64,
    gain: f64,
    up: f64,
    clean_ups: u32,
    /// Mean loss beyond the base in level rounds.
    excess: f64,
    base: Base,
    measured_at: Time,
    measured_round: u32,
    /// Rounds in a row, and since when, in which nearly everything was lost.
    collapsing: (u32, Time),
    /// Samples in a row far below the rate with a queue growing, and since when.
    falling: (u32, Time),
    /// Level rounds in a row with a queue.
    standing: u32,
    /// Rounds in a row without one, while competing.
    empty: u32,
    rival: Option<Rival>,
    cut_at: u32,
    /// Bits a second that loss has shown to be the most, until that round, and for how long next time.
    ceiling: Option<(f64, u32)>,
    hold: u32,
    /// Ups to pass before the next search, and how many after the next failure.
    launch: (u32, u32),
    launched_at: f64,
    /// Delivery samples of trains sent up to this phase are not of the present rate: those of the round after a cut still
    /// span the one before.
    stale_until: Option<u32>,
    has_bw: bool,
    /// The first search is over.
    searched: bool,
    low: bool,
    cap_bps: f64,
    last_sample: Time,
}

impl Adaptive {
    pub(super) fn new(
        policy: RatePolicy,
        datagram: u16,
        rtt: u64,
        hint: Option<RateHint>,
        now: Time,
    ) -> Self {
        let rtt = rtt.max(1);
        let datagram = f64::from(datagram);
        let mut bw = WindowedMax::new(BW_WINDOW_MIN.max(BW_ROUNDS * rtt));
        bw.reset(now.as_nanos(), INITIAL_PACKETS * datagram * 8e9 / rtt as f64 / STARTUP_GAIN);
        let mut new = Self {
            mode: Mode::Startup { best_bps: 0.0, stale: 0 },
            rounds: Rounds::new(),
            acked_in_round: 0,
            bw,
            last_bps: 0.0,
            min_rtt: (rtt, now),
            srtt: rtt,
            datagram,
            gain: STARTUP_GAIN,
            up: UP_MOST,
            clean_ups: 0,
            excess: 0.0,
            base: Base::default(),
            measured_at: now,
            measured_round: 0,
            collapsing: (0, now),
            falling: (0, now),
            standing: 0,
            empty: 0,
            rival: None,
            cut_at: 0,
            ceiling: None,
            hold: HOLD_ROUNDS.0,
            launch: (0, 1),
            launched_at: 0.0,
            stale_until: None,
            has_bw: false,
            searched: false,
            low: policy == RatePolicy::Low,
            cap_bps: f64::INFINITY,
            last_sample: now,
        };
        // A path whose round trip is another one is another path.
        if let Some(hint) = hint.filter(|hint| hint.is_of(rtt)) {
            new.mode = Mode::Resume { bps: hint.bps, from: 0 };
        }
        let bps = new.pacing_bps();
        new.rounds.current().bps = bps;
        new
    }

    pub(super) fn policy(&self) -> RatePolicy {
        if self.low { RatePolicy::Low } else { RatePolicy::Adaptive }
    }

    pub(super) fn set_policy(&mut self, policy: RatePolicy) {
        self.low = policy == RatePolicy::Low;
    }

    /// Nothing above `bps` is sent. A rate that a cap held down is searched again from there.
    pub(super) fn set_cap(&mut self, bps: f64, now: Time) {
        // Probes, drains and measurements move about the rate: near the cap is at it.
        let held = self.bw.get() >= CUT_LOW * self.cap_bps || self.uncapped_bps() >= self.cap_bps;
        self.cap_bps = bps;
        // What was found under one cap says nothing of another.
        self.ceiling = None;
        if held && self.has_bw {
            self.bw.reset(now.as_nanos(), self.bw.get());
            self.enter(Mode::Startup { best_bps: 0.0, stale: 0 });
        }
    }

    pub(super) fn set_datagram(&mut self, datagram: u16) {
        self.datagram = f64::from(datagram);
    }

    pub(super) fn phase(&self) -> u32 {
        self.rounds.now
    }

    pub(super) fn path_loss(&self) -> f64 {
        self.base.share()
    }

    /// What to remember of the path, once it is known.
    pub(super) fn hint(&self) -> Option<RateHint> {
        let searching = matches!(self.mode, Mode::Startup { .. } | Mode::Resume { .. });
        (self.has_bw && !searching).then(|| RateHint { bps: self.bw.get(), rtt_ns: self.min_rtt.0 })
    }

    pub(super) fn pacing_bps(&self) -> f64 {
        self.uncapped_bps().min(self.cap_bps)
    }

    fn uncapped_bps(&self) -> f64 {
        let bps = match self.mode {
            Mode::Resume { bps, .. } => RESUME * bps,
            Mode::Dark { .. } => 0.0,
            Mode::Compete => {
                // The window is what counts; this spreads it over the round trip.
                let window = self.rival.map_or(0.0, |rival| rival.bytes());
                1.2 * window * 8e9 / self.srtt as f64
            }
            // Measuring and draining are meant to stay below what is delivered.
            Mode::Drain { .. } | Mode::Measure { .. } => self.gain * self.bw.get(),
            Mode::Startup { .. } | Mode::Up | Mode::Down { .. } | Mode::Level { .. } => {
                self.gain * self.known_bps() / (1.0 - self.base.share())
            }
        };
        bps.max(self.floor())
    }

    /// What the path delivers: the most that it did lately, or what a policer was found to let through.
    fn known_bps(&self) -> f64 {
        let bw = self.bw.get();
        self.ceiling.map_or(bw, |(bps, _)| bw.min(bps))
    }

    /// Two datagrams a round trip keep the path's clock going.
    fn floor(&self) -> f64 {
        2.0 * self.datagram * 8e9 / self.min_rtt.0.max(RTT_NOISE) as f64
    }

    pub(super) fn window(&self) -> u64 {
        let base = self.base.share();
        let wire = (self.bw.get() / (1.0 - base)).min(self.cap_bps) / 8.0;
        let bdp = wire * self.min_rtt.0 as f64 / 1e9;
        let room = wire * SACK_ROOM;
        let bytes = match self.mode {
            Mode::Compete => self.rival.map_or(0.0, |rival| rival.bytes()) + 4.0 * self.datagram,
            Mode::Measure { .. } => MEASURE_WINDOW * bdp + room + 4.0 * self.datagram,
            Mode::Resume { bps, .. } => {
                let saved = bps.min(self.cap_bps) / 8.0;
                saved * (self.srtt as f64 / 1e9 + SACK_ROOM) + INITIAL_PACKETS * self.datagram
            }
            Mode::Startup { .. } => STARTUP_WINDOW * bdp + room + INITIAL_PACKETS * self.datagram,
            _ => 2.0 * bdp + room + INITIAL_PACKETS * self.datagram,
        };
        bytes as u64
    }

    /// In flight when no queue is left but what the host's own timing makes.
    fn level_bytes(&self) -> u64 {
        let wire = self.bw.get() / 8.0 / (1.0 - self.base.share());
        (wire * (self.min_rtt.0 as f64 / 1e9 + SACK_ROOM) + 2.0 * self.datagram) as u64
    }

    /// RTTs above this mean a queue.
    fn queue_above(&self) -> u64 {
        self.min_rtt.0 + (self.min_rtt.0 / 8).max(QUEUE_NOISE)
    }

    pub(super) fn tally(&mut self, phase: u32, acked: u32, lost: u32) {
        if let Some(round) = self.rounds.get_mut(phase) {
            round.acked += acked;
            round.lost += lost;
        }
    }

    pub(super) fn on_sample(&mut self, s: &Sample) {
        self.last_sample = s.now;
        if let Some(rtt) = s.rtt {
            let round = self.rounds.current();
            round.rtt = round.rtt.min(rtt);
            round.rtt_max = round.rtt_max.max(rtt);
            self.srtt = if self.has_bw { (7 * self.srtt + rtt) / 8 } else { rtt }.max(1);
            if rtt <= self.min_rtt.0 || s.now.nanos_since(self.min_rtt.1) > RTT_WINDOW || !self.has_bw {
                self.min_rtt = (rtt.max(1), s.now);
            }
        }
        self.acked_in_round += s.acked;
        self.take_delivery(s);
        if s.overruns > 0 {
            if let Some(round) = self.rounds.get_mut(s.phase) {
                round.void = true;
            }
            self.cut(CUT, s.now);
        }
        if s.marks > 0 {
            self.cut(CUT, s.now);
        }
        if let Some(rival) = self.rival.as_mut().filter(|_| self.mode == Mode::Compete) {
            rival.on_acked(s.now, f64::from(s.acked) * self.datagram, self.srtt);
        }
        if matches!(self.mode, Mode::Down { .. } | Mode::Level { .. }) {
            self.try_launch();
        }
        match self.mode {
            Mode::Dark { bps } => {
                // What was sent before the silence is of no account.
                self.rounds.void();
                self.enter(Mode::Resume { bps, from: self.rounds.now + 1 });
                self.begin_round();
            }
            Mode::Resume { bps, from } if s.phase >= from && s.acked > 0 && self.has_bw => {
                self.end_resume(bps, s);
            }
            Mode::Drain { .. } | Mode::Down { .. } if s.in_flight <= self.level_bytes() => {
                self.enter_level();
                // What was sent below the rate stays apart from what is sent at it.
                self.begin_round();
            }
            _ => {}
        }
        if s.phase == self.rounds.now && s.acked > 0 && self.acked_in_round >= self.round_packets() {
            self.next_round(s);
        }
    }

    /// Rounds have enough packets to tell something, but where the path holds fewer in so many round trips.
    fn round_packets(&self) -> u32 {
        if matches!(self.mode, Mode::Startup { .. } | Mode::Resume { .. }) { 1 } else { ROUND_PACKETS }
    }

    fn take_delivery(&mut self, s: &Sample) {
        let Some(bps) = s.delivery_bps else { return };
        // What was sent before a cut tells of the rate that was cut.
        if self.stale_until.is_some_and(|phase| s.phase <= phase) {
            return;
        }
        if let Some(round) = self.rounds.get_mut(s.phase) {
            round.delivered_bps = round.delivered_bps.max(bps);
        }
        let before = self.bw.get();
        if s.app_limited && bps <= before {
            return;
        }
        self.last_bps = bps;
        if !self.has_bw {
            // The first guess came from a window, not from the path.
            self.has_bw = true;
            self.bw.reset(s.now.as_nanos(), bps.max(before));
            return;
        }
        self.watch_fall(s, bps);
        self.bw.set_window(BW_WINDOW_MIN.max(BW_ROUNDS * self.min_rtt.0));
        self.bw.update(s.now.as_nanos(), bps);
    }

    /// A path that became much narrower shows at once: less arrives, later.
    fn watch_fall(&mut self, s: &Sample, bps: f64) {
        let queued = s.rtt.is_some_and(|rtt| rtt > self.min_rtt.0 + self.min_rtt.0 / 4 + RTT_NOISE);
        if !queued || bps > 0.6 * self.bw.get() || matches!(self.mode, Mode::Compete | Mode::Measure { .. }) {
            self.falling = (0, s.now);
            return;
        }
        self.falling.0 += 1;
        if self.falling.0 >= 3 && s.now.nanos_since(self.falling.1) >= STALL {
            // As long as less and less arrives, the last sample is the best one.
            self.bw.reset(s.now.as_nanos(), bps);
            self.falling = (3, self.falling.1);
            if !matches!(self.mode, Mode::Drain { .. }) {
                self.enter(Mode::Drain { left: 2 * DRAIN_ROUNDS });
            }
        }
    }

    fn end_resume(&mut self, bps: f64, s: &Sample) {
        // As much arrives as was sent, or nearly: the path is the one that it was.
        let Some(sample) = s.delivery_bps else { return };
        if sample >= 0.7 * RESUME * bps * (1.0 - self.base.share()) {
            self.bw.reset(s.now.as_nanos(), bps);
            self.enter_level();
        } else if s.app_limited {
            // So few bytes, an announcement perhaps, tell nothing.
            return;
        } else {
            self.bw.reset(s.now.as_nanos(), sample);
            self.enter(Mode::Startup { best_bps: 0.0, stale: 0 });
        }
        self.begin_round();
    }

    fn begin_round(&mut self) {
        self.acked_in_round = 0;
        let pace = match self.mode {
            Mode::Up => Pace::Up,
            Mode::Drain { .. } | Mode::Down { .. } | Mode::Measure { .. } => Pace::Below,
            _ => Pace::Level,
        };
        let bps = match (self.mode, self.rival) {
            (Mode::Compete, Some(rival)) => rival.bytes() * 8e9 / self.srtt as f64,
            _ => self.pacing_bps(),
        };
        self.rounds.begin(pace, bps);
    }

    fn next_round(&mut self, s: &Sample) {
        let rtt = self.rounds.current().rtt;
        let queued = rtt != u64::MAX && rtt > self.queue_above();
        let before = self.measured_round;
        self.judge(s.now);
        if self.measured_round == before {
            self.next_mode(s, queued);
        }
        self.begin_round();
    }

    /// The rounds of two rounds ago and before: their packets are all accounted for.
    fn judge(&mut self, now: Time) {
        while let Some(round) = self.rounds.next_judged(2) {
            self.judge_round(round, now);
        }
    }

    fn judge_round(&mut self, round: rounds::Round, now: Time) {
        if round.packets() < 1.0 || round.void {
            return;
        }
        let p = round.loss();
        // A bucket that had time to fill passes much for a moment: only the first search may teach the base.
        let below = round.pace == Pace::Below || !self.searched || self.mode == Mode::Compete;
        let is_base = below && self.base.learn(round, self.known_bps());
        if is_base && round.pace == Pace::Below {
            self.measured_at = now;
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
        if is_base {
            return;
        }
        if let (Mode::Compete, Some(rival)) = (self.mode, &mut self.rival) {
            let event = p > self.base.explains(round.packets(), 3.0);
            rival.on_round(now, event);
            return;
        }
        if !self.base.is_known() {
            return;
        }
        let ours = self.is_ours(&round);
        match round.pace {
            Pace::Up => {
                let base = self.base.share();
                let costs = p > self.base.explains(round.packets(), 3.0) + base.min(EXCESS);
                self.judge_up(costs);
            }
            Pace::Below => {}
            Pace::Level if ours && self.rounds.now.wrapping_sub(self.cut_at) >= 3 => {
                self.cut_at = self.rounds.now;
                // Lost in spite of the last cut: perhaps it is not ours after all. That is found out first.
                let tried = self.rounds.now.wrapping_sub(self.measured_round) < TRIED_ROUNDS;
                if self.ceiling.is_some() && !tried {
                    self.enter_measure(now);
                } else {
                    self.cut_to_delivered(round, now);
                }
            }
            Pace::Level => {}
        }
    }

    /// Whether a level round, or the mean of the last ones, lost more than the base and chance explain.
    fn is_ours(&mut self, round: &rounds::Round) -> bool {
        let explained = |packets| self.base.explains(packets, 2.0) - self.base.share() + EXCESS;
        let excess = round.loss() - self.base.share();
        if round.pace == Pace::Level {
            self.excess += (excess - self.excess) / EXCESS_ROUNDS;
        }
        let ours =
            excess > explained(round.packets()) || self.excess > explained(round.packets() * EXCESS_ROUNDS);
        if ours {
            self.excess = 0.0;
        }
        ours
    }

    /// Probes that only cost become smaller, and larger again when they cost nothing.
    fn judge_up(&mut self, ours: bool) {
        if ours {
            self.up = (self.up / 2.0).max(UP_LEAST);
            self.clean_ups = 0;
            return;
        }
        self.clean_ups += 1;
        if self.clean_ups >= CLEAN_UPS {
            self.clean_ups = 0;
            self.up = (self.up * 2.0).min(UP_MOST);
        }
    }

    /// More was sent than the path takes: what it took is the rate.
    fn cut_to_delivered(&mut self, round: rounds::Round, now: Time) {
        let took = if round.delivered_bps > 0.0 { round.delivered_bps } else { CUT * self.bw.get() };
        let queued = round.rtt_max > self.queue_above();
        if self.low {
            return self.cut(CUT_LOW, now);
        }
        let bw = took.min(self.bw.get());
        self.bw.reset(now.as_nanos(), bw);
        self.stale_until = Some(self.rounds.now + 1);
        if !queued {
            // Nothing waits and yet it is dropped: a policer. What it let through is what it lets through.
            self.ceiling = Some((bw, self.rounds.now + self.hold));
            self.hold = (self.hold * 2).min(HOLD_ROUNDS.1);
        }
        let searching = matches!(self.mode, Mode::Startup { .. });
        if searching {
            self.end_search(now);
            self.enter(Mode::Drain { left: DRAIN_ROUNDS });
        } else {
            self.enter(Mode::Down { left: 1 });
        }
    }

    fn next_mode(&mut self, s: &Sample, queued: bool) {
        if self.ceiling.is_some_and(|(_, until)| self.rounds.now >= until) {
            self.ceiling = None;
        }
        match self.mode {
            Mode::Startup { best_bps, stale } => {
                let bw = self.bw.get();
                let (best_bps, stale) = if bw >= 1.25 * best_bps || s.app_limited {
                    (bw.max(best_bps), 0)
                } else {
                    (best_bps, stale + 1)
                };
                if stale >= FULL_ROUNDS || (queued && stale > 0) || (queued && self.low) {
                    self.end_search(s.now);
                    self.enter(Mode::Drain { left: DRAIN_ROUNDS });
                } else {
                    self.enter(Mode::Startup { best_bps, stale });
                }
            }
            Mode::Drain { left } if left > 1 => self.enter(Mode::Drain { left: left - 1 }),
            Mode::Drain { .. } => self.enter_level(),
            Mode::Measure { left } if left > 1 => self.enter(Mode::Measure { left: left - 1 }),
            Mode::Measure { .. } => self.end_measure(s, queued),
            Mode::Up => self.enter(Mode::Down { left: DOWN_ROUNDS }),
            Mode::Down { left } if left > 1 => self.enter(Mode::Down { left: left - 1 }),
            Mode::Down { .. } => self.enter_level(),
            Mode::Level { left } => self.next_level(left, s, queued),
            Mode::Compete => {
                self.empty = if queued { 0 } else { self.empty + 1 };
                if self.empty >= 4 {
                    self.leave_rival(s.now);
                } else if self.measure_due(s.now) {
                    self.enter_measure(s.now);
                }
            }
            Mode::Dark { .. } | Mode::Resume { .. } => {}
        }
    }

    fn next_level(&mut self, left: u32, s: &Sample, queued: bool) {
        self.standing = if queued { self.standing + 1 } else { 0 };
        if self.low && queued {
            self.cut(CUT_LOW, s.now);
            return;
        }
        if self.measure_due(s.now) || self.standing >= 3 {
            self.standing = 0;
            self.enter_measure(s.now);
        } else if left > 1 || self.ceiling.is_some() {
            self.enter(Mode::Level { left: left.max(2) - 1 });
        } else {
            self.launched_at = self.bw.get();
            self.enter(Mode::Up);
        }
    }

    /// Much of a probe came through: there is more, and it is searched for as at the start.
    fn try_launch(&mut self) {
        let grown = self.bw.get() >= self.launched_at * (1.0 + LAUNCH * self.up);
        if self.launched_at == 0.0 || !grown || self.up < UP_MOST {
            return;
        }
        self.launched_at = 0.0;
        if self.launch.0 > 0 {
            self.launch.0 -= 1;
            return;
        }
        self.launched_at = self.bw.get();
        self.enter(Mode::Startup { best_bps: 0.0, stale: 1 });
    }

    /// A search that found little makes the next one rarer.
    fn end_search(&mut self, now: Time) {
        self.searched = true;
        // A full bucket passed more than the path does.
        if self.last_bps > 0.0 && self.last_bps < CUT * self.bw.get() {
            self.bw.reset(now.as_nanos(), self.last_bps);
        }
        if self.launched_at > 0.0 && self.bw.get() < 1.5 * self.launched_at {
            self.launch = (self.launch.1, (2 * self.launch.1).min(32));
        } else {
            self.launch = (0, 1);
        }
        self.launched_at = 0.0;
    }

    fn measure_due(&self, now: Time) -> bool {
        now.nanos_since(self.measured_at) > MEASURE_EVERY.max(MEASURE_RTTS * self.min_rtt.0)
    }

    fn enter_measure(&mut self, now: Time) {
        self.measured_at = now;
        self.measured_round = self.rounds.now;
        self.base.age();
        self.enter(Mode::Measure { left: MEASURE_ROUNDS });
    }

    /// A queue that stands when our part of it is gone belongs to others.
    fn end_measure(&mut self, s: &Sample, queued: bool) {
        if !queued {
            self.leave_rival(s.now);
            return;
        }
        match &mut self.rival {
            Some(rival) => rival.pause(s.now.nanos_since(self.measured_at)),
            None if self.low => {
                self.enter_level();
                self.cut(CUT_LOW, s.now);
                return;
            }
            None => {
                let bytes = self.bw.get() / 8.0 * self.srtt as f64 / 1e9;
                let mut rival = Rival::new(bytes, s.now);
                // Whoever was here first has more than its share, and others wait for it.
                rival.on_loss(s.now);
                self.rival = Some(rival);
            }
        }
        self.empty = 0;
        self.enter(Mode::Compete);
    }

    fn leave_rival(&mut self, now: Time) {
        if self.rival.take().is_some() {
            self.bw.reset(now.as_nanos(), self.last_bps);
        }
        self.enter_level();
    }

    /// Level for a while that others do not share. The nanoseconds of a SACK's arrival are as good as chance.
    fn enter_level(&mut self) {
        let mixed = (self.last_sample.as_nanos() ^ self.srtt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        self.enter(Mode::Level { left: 1 + (mixed % LEVEL_ROUNDS) as u32 });
    }

    fn enter(&mut self, mode: Mode) {
        self.mode = mode;
        self.gain = match mode {
            Mode::Startup { .. } => STARTUP_GAIN,
            Mode::Drain { .. } => DRAIN_GAIN,
            Mode::Measure { .. } => MEASURE_GAIN,
            Mode::Up if self.low => 1.0 + self.up / 4.0,
            Mode::Up => 1.0 + self.up,
            Mode::Down { .. } => DOWN_GAIN,
            _ => 1.0,
        };
    }

    /// At most once in three rounds, so that a cut is judged by its own outcome.
    fn cut(&mut self, to: f64, now: Time) {
        if self.rounds.now.wrapping_sub(self.cut_at) < 3 {
            return;
        }
        self.cut_at = self.rounds.now;
        match (&mut self.rival, self.mode) {
            (Some(rival), Mode::Compete) => rival.on_loss(now),
            _ => self.scale(to, now),
        }
        if matches!(self.mode, Mode::Startup { .. }) {
            self.enter(Mode::Drain { left: DRAIN_ROUNDS });
        }
    }

    fn scale(&mut self, by: f64, now: Time) {
        self.bw.reset(now.as_nanos(), self.bw.get() * by);
        self.stale_until = Some(self.rounds.now + 1);
    }

    /// Nothing is heard. What comes after the silence may be another path: half of what this one had is tried.
    pub(super) fn on_silence(&mut self, count: u32, _: Time) {
        if count >= SILENT && self.has_bw && !matches!(self.mode, Mode::Dark { .. }) {
            let bps = match self.mode {
                Mode::Resume { bps, .. } => bps * RESUME,
                _ => self.bw.get(),
            };
            self.rival = None;
            self.enter(Mode::Dark { bps });
        }
    }

    /// Trains have another length: what was lost before was lost to the old one.
    pub(super) fn on_trains_changed(&mut self) {
        self.base = Base::default();
        self.ceiling = None;
        self.rounds.void();
    }

    /// Sending begins again with nothing in flight.
    pub(super) fn on_restart(&mut self, now: Time) {
        let idle = now.nanos_since(self.last_sample) > PAUSE_RTTS * self.srtt + STALL;
        let level = !matches!(self.mode, Mode::Dark { .. } | Mode::Resume { .. } | Mode::Startup { .. });
        if idle && level && self.has_bw {
            self.rival = None;
            self.rounds.void();
            self.enter(Mode::Resume { bps: self.bw.get(), from: self.rounds.now + 1 });
            self.begin_round();
        }
    }
}
