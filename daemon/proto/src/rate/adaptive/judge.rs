//! What became of a round's packets, once all are accounted for: whether its loss was the path's or ours, and what is cut then.

use super::rounds::Round;
use super::{Adaptive, CUT, CUT_LOW, DRAIN_ROUNDS, HOLD_ROUNDS, Mode, Pace, UP_MOST};
use crate::time::Time;

/// Probes are never smaller.
const UP_LEAST: f64 = 0.03;
/// Probes that cost nothing before they are larger again.
const CLEAN_UPS: u32 = 8;
/// Loss above the base by more than this, and by more than chance, is ours.
const EXCESS: f64 = 0.01;
/// So few lost packets are no evidence by themselves; those of several rounds together are.
const FEW: u32 = 2;
/// The mean of so many rounds shows less of it.
const EXCESS_ROUNDS: f64 = 8.0;
/// What was measured within so many rounds is not asked again.
const TRIED_ROUNDS: u32 = 12;
/// More loss than this for 5 rounds and 2 s means that nearly nothing gets through.
const COLLAPSE: f64 = 0.5;
const COLLAPSE_ROUNDS: u32 = 5;
const COLLAPSE_TIME: u64 = 2_000_000_000;

impl Adaptive {
    /// The rounds of two rounds ago and before: their packets are all accounted for.
    pub(super) fn judge(&mut self, now: Time) {
        while let Some(round) = self.rounds.next_judged(2) {
            self.judge_round(round, now);
        }
    }

    fn judge_round(&mut self, round: Round, now: Time) {
        if round.packets() < 1.0 || round.void {
            return;
        }
        let p = round.loss();
        // A bucket that had time to fill passes much for a moment: only the first search may teach the base.
        let below = round.pace == Pace::Below || !self.searched || self.mode == Mode::Compete;
        let full = self.found_full(&round, now);
        let is_base = below && self.base.learn(round, self.known_bps(), full);
        if is_base && round.pace == Pace::Below {
            self.measured_at = now;
        }
        if p > COLLAPSE {
            self.collapsing.0 += 1;
            if self.collapsing.0 >= COLLAPSE_ROUNDS && now.nanos_since(self.collapsing.1) > COLLAPSE_TIME {
                match (&mut self.rival, self.mode) {
                    (Some(rival), Mode::Compete) => rival.on_collapse(now),
                    _ => self.scale(0.5, now),
                }
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

    /// Whether even the luckiest packet of the round waited in a queue that was more than half of the longest one lately:
    /// queues lose packets when they are full.
    fn found_full(&mut self, round: &Round, now: Time) -> bool {
        if round.sent_rtt == u64::MAX {
            return false;
        }
        self.longest.update(now.as_nanos(), round.sent_rtt as f64);
        let half = self.min_rtt.0 + (self.longest.get() as u64).saturating_sub(self.min_rtt.0) / 2;
        round.sent_rtt > self.queue_above().max(half)
    }

    /// Whether a level round, or the mean of the last ones, lost more than the base and chance explain.
    fn is_ours(&mut self, round: &Round) -> bool {
        let explained = |packets| self.base.explains(packets, 2.0) - self.base.share() + EXCESS;
        let excess = round.loss() - self.base.share();
        if round.pace == Pace::Level {
            self.excess += (excess - self.excess) / EXCESS_ROUNDS;
        }
        // In a small round two packets are much more than two standard deviations, and yet chance.
        let few = round.lost <= FEW;
        let ours = (!few && excess > explained(round.packets()))
            || self.excess > explained(round.packets() * EXCESS_ROUNDS);
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
    fn cut_to_delivered(&mut self, round: Round, now: Time) {
        let mut took = if round.delivered_bps > 0.0 { round.delivered_bps } else { CUT * self.bw.get() };
        let queued = round.rtt_max > self.queue_above();
        if self.ceiling.is_some() && !queued && !round.app_limited && round.sent_for > 0 {
            // Cut to the best that arrived, and lost again: that was a bucket's. The rate is what came through of the whole
            // round, and what chance may have taken of it, or lately, if that is more: a burst of losses is over by now.
            let chance = self.base.explains(round.packets(), 2.0) - self.base.share();
            let through = (f64::from(round.acked) + chance * round.packets()) * self.datagram;
            took = took.min((through * 8e9 / round.sent_for as f64).max(self.last_bps));
        }
        if self.low {
            return self.cut(CUT_LOW, now);
        }
        let bw = took.min(self.bw.get());
        self.bw.reset(now.as_nanos(), bw);
        self.stale_until = Some(self.rounds.now + 1);
        if !queued {
            // Nothing waits and yet it is dropped: a policer. What it let through is what it lets through.
            self.hold_below(bw);
        }
        let searching = matches!(self.mode, Mode::Startup { .. });
        if searching {
            self.end_search(now);
            self.enter(Mode::Drain { left: DRAIN_ROUNDS });
        } else {
            self.enter(Mode::Down { left: 1 });
        }
    }

    /// A policer lets through `bps`: for a while nothing above that is tried.
    pub(super) fn hold_below(&mut self, bps: f64) {
        self.ceiling = Some((bps, self.rounds.now + self.hold));
        self.hold = (self.hold * 2).min(HOLD_ROUNDS.1);
    }

    /// At most once in three rounds, so that a cut is judged by its own outcome.
    pub(super) fn cut(&mut self, to: f64, now: Time) {
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
}
