//! What is done in the next round: searching, probing, measuring, or competing with others.

use super::{Adaptive, CUT, CUT_LOW, DRAIN_ROUNDS, Mode, Rival, STARTUP_GAIN, Sample, UP_MOST};
use crate::time::Time;

/// Startup is over after so many rounds without a quarter more.
const FULL_ROUNDS: u32 = 3;
/// Empties the queue that Startup built.
const DRAIN_GAIN: f64 = 0.5;
/// Empties the queue of a probe.
const DOWN_GAIN: f64 = 0.8;
const DOWN_ROUNDS: u32 = 3;
/// So many at most, and at least one: flows that probe in step would never change their shares.
const LEVEL_ROUNDS: u64 = 3;
/// Share of the known rate at which the path's own loss and queue are measured.
const MEASURE_GAIN: f64 = 0.85;
const MEASURE_ROUNDS: u32 = 2;
/// Measured again after so many round trips, and not before 5 s.
const MEASURE_RTTS: u64 = 30;
const MEASURE_EVERY: u64 = 5_000_000_000;
/// Growth that makes it worth to search for much more.
const LAUNCH: f64 = 0.75;

impl Adaptive {
    pub(super) fn next_mode(&mut self, s: &Sample, queued: bool) {
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
    pub(super) fn try_launch(&mut self) {
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
    pub(super) fn end_search(&mut self, now: Time) {
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

    /// A search that went beyond what a policer lets through, on what its bucket held: another one would do the same.
    pub(super) fn end_search_at_policer(&mut self, now: Time) {
        self.launched_at = self.launched_at.max(self.last_bps);
        self.end_search(now);
        self.hold_below(self.last_bps);
        self.enter(Mode::Drain { left: DRAIN_ROUNDS });
    }

    fn measure_due(&self, now: Time) -> bool {
        now.nanos_since(self.measured_at) > MEASURE_EVERY.max(MEASURE_RTTS * self.min_rtt.0)
    }

    pub(super) fn enter_measure(&mut self, now: Time) {
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
    pub(super) fn enter_level(&mut self) {
        let mixed = (self.last_sample.as_nanos() ^ self.srtt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        self.enter(Mode::Level { left: 1 + (mixed % LEVEL_ROUNDS) as u32 });
    }

    pub(super) fn enter(&mut self, mode: Mode) {
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
}
