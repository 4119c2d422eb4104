//! What the acknowledgements say: round trips, delivery rates, and where one round ends and the next begins.

use super::{
    Adaptive, BW_ROUNDS, BW_WINDOW_MIN, CUT, DRAIN_ROUNDS, Mode, Pace, RESUME, RTT_NOISE, RTT_WINDOW, STALL,
    Sample,
};

/// Less than this share of what was sent, and of what the path delivered before, is a fall.
const FALLEN: f64 = 0.6;
/// A round has at least so many packets: fewer tell nothing.
const ROUND_PACKETS: u32 = 32;

impl Adaptive {
    pub(in crate::rate) fn on_packet_acked(&mut self, phase: u32) {
        if let Some(round) = self.rounds.get_mut(phase) {
            round.acked += 1;
        }
    }

    pub(in crate::rate) fn on_packet_lost(&mut self, phase: u32, lane: usize, number: u64) {
        let next = self.next_lost == (lane, number);
        self.next_lost = (lane, number + 1);
        if let Some(round) = self.rounds.get_mut(phase) {
            round.lost += 1;
            round.bursts += u32::from(!next);
        }
    }

    pub(in crate::rate) fn on_sample(&mut self, s: &Sample) {
        self.last_sample = s.now;
        if let Some(rtt) = s.rtt {
            let round = self.rounds.current();
            round.rtt = round.rtt.min(rtt);
            round.rtt_max = round.rtt_max.max(rtt);
            if let Some(round) = self.rounds.get_mut(s.phase) {
                round.sent_rtt = round.sent_rtt.min(rtt);
            }
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

    fn take_delivery(&mut self, s: &Sample) {
        let Some(bps) = s.delivery_bps else { return };
        // What was sent before a cut tells of the rate that was cut.
        if self.stale_until.is_some_and(|phase| s.phase <= phase) {
            return;
        }
        if let Some(round) = self.rounds.get_mut(s.phase) {
            round.delivered_bps = round.delivered_bps.max(bps);
            round.app_limited |= s.app_limited;
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
        // Of less that was sent, less arrives.
        let round = self.rounds.get_mut(s.phase).copied();
        let sent = round.map_or(f64::INFINITY, |round| round.bps);
        let expected = self.bw.get().min(sent * (1.0 - self.base.share()));
        // Where nothing waits, what does not arrive was dropped: by a policer whose bucket is empty.
        let searching = matches!(self.mode, Mode::Startup { .. });
        let dropped = searching && round.is_some_and(|round| round.loss() > 1.0 - FALLEN);
        let blind = matches!(self.mode, Mode::Compete | Mode::Measure { .. });
        if !(queued || dropped) || bps > FALLEN * expected || blind {
            self.falling = (0, s.now);
            return;
        }
        self.falling.0 += 1;
        if self.falling.0 >= 3 && s.now.nanos_since(self.falling.1) >= STALL {
            if !queued {
                self.end_search_at_policer(s.now);
                return;
            }
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

    fn next_round(&mut self, s: &Sample) {
        let rtt = self.rounds.current().rtt;
        // A round without a measured RTT leaves what was known.
        if rtt != u64::MAX {
            self.queued = rtt > self.queue_above();
        }
        let queued = self.queued;
        let before = self.measured_round;
        self.judge(s.now);
        if self.measured_round == before {
            self.next_mode(s, queued);
        }
        self.begin_round();
    }

    pub(super) fn begin_round(&mut self) {
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
        self.rounds.begin(pace, bps, self.last_sample);
    }

    /// Rounds have enough packets to tell something, but where the path holds fewer in so many round trips.
    fn round_packets(&self) -> u32 {
        if matches!(self.mode, Mode::Startup { .. } | Mode::Resume { .. }) { 1 } else { ROUND_PACKETS }
    }
}
