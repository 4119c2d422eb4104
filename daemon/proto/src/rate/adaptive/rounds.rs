//! What became of the packets of each round, and the share of them that the path loses whatever we send.

use crate::time::Time;

/// Rounds whose tallies are kept.
const KEPT: usize = 16;
/// More than this is not the weather of a path but its end.
const BASE_LOSS_MAX: f64 = 0.4;
/// A round that was sent at less than this share of what the path is known to deliver lost nothing by our doing.
const BELOW: f64 = 0.87;
/// So many packets say all that there is to say of the base: older ones count for less.
const BASE_PACKETS: f64 = 20_000.0;

/// Bursts of a hundred packets are as long as is believed: longer ones are outages.
const CORRELATION_MAX: f64 = 0.99;

/// How a round was sent.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Pace {
    /// At the known rate, or searching for it.
    #[default]
    Level,
    /// Above it, to see whether there is more.
    Up,
    /// Below it.
    Below,
}

/// What happened to the packets of one round.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Round {
    pub(super) acked: u32,
    pub(super) lost: u32,
    /// Runs of packets, one sent after the other, that were lost.
    pub(super) bursts: u32,
    pub(super) pace: Pace,
    /// Wire bits a second at its start.
    pub(super) bps: f64,
    /// The best delivery-rate sample of its trains.
    pub(super) delivered_bps: f64,
    /// The least and the greatest RTT in it, nanoseconds.
    pub(super) rtt: u64,
    pub(super) rtt_max: u64,
    /// The least RTT of packets that were sent in it.
    pub(super) sent_rtt: u64,
    /// When it began, and for how many nanoseconds it was sent.
    began: Time,
    pub(super) sent_for: u64,
    /// There was not always something to send.
    pub(super) app_limited: bool,
    /// It tells nothing: local overrun, silence.
    pub(super) void: bool,
}

impl Round {
    pub(super) fn packets(self) -> f64 {
        f64::from(self.acked) + f64::from(self.lost)
    }

    pub(super) fn loss(self) -> f64 {
        f64::from(self.lost) / self.packets().max(1.0)
    }
}

/// The last rounds, by number.
#[derive(Debug)]
pub(super) struct Rounds {
    /// Number of the present one.
    pub(super) now: u32,
    /// Number of the first that was not judged.
    judged: u32,
    kept: [Round; KEPT],
}

impl Rounds {
    pub(super) fn new() -> Self {
        Self {
            now: 0,
            judged: 0,
            kept: [Round { rtt: u64::MAX, sent_rtt: u64::MAX, ..Round::default() }; KEPT],
        }
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Round> {
        (self.now.wrapping_sub(number) < KEPT as u32).then(|| &mut self.kept[number as usize % KEPT])
    }

    pub(super) fn current(&mut self) -> &mut Round {
        &mut self.kept[self.now as usize % KEPT]
    }

    /// The next round that was not judged yet and ended at least `back` rounds before the present one.
    pub(super) fn next_judged(&mut self, back: u32) -> Option<Round> {
        if self.judged + back > self.now {
            return None;
        }
        // What fell out of the ring tells nothing any more.
        self.judged = self.judged.max((self.now + 1).saturating_sub(KEPT as u32));
        let mut round = self.kept[self.judged as usize % KEPT];
        self.judged += 1;
        round.sent_for = self.kept[self.judged as usize % KEPT].began.nanos_since(round.began);
        Some(round)
    }

    pub(super) fn begin(&mut self, pace: Pace, bps: f64, began: Time) {
        self.now += 1;
        self.kept[self.now as usize % KEPT] =
            Round { pace, bps, began, rtt: u64::MAX, sent_rtt: u64::MAX, ..Round::default() };
    }

    /// None of the rounds until now says anything about the rate any more.
    pub(super) fn void(&mut self) {
        self.kept.iter_mut().for_each(|round| round.void = true);
    }
}

/// The path's own loss.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Base {
    acked: f64,
    lost: f64,
    bursts: f64,
}

impl Base {
    pub(super) fn share(self) -> f64 {
        let all = self.acked + self.lost;
        if all < 1.0 { 0.0 } else { (self.lost / all).min(BASE_LOSS_MAX) }
    }

    /// Something is known.
    pub(super) fn is_known(self) -> bool {
        self.acked + self.lost >= 64.0
    }

    /// Takes a round that was sent below what the path delivers, `bw` bits a second. What was lost while a queue was
    /// `full` may be others' doing: then there is at most so much loss of the path's own.
    pub(super) fn learn(&mut self, round: Round, bw: f64, full: bool) -> bool {
        // The second condition holds whatever the base is taken to be, so a wrong base cannot confirm itself.
        let below = round.bps * (1.0 - self.share()) <= BELOW * bw && round.bps <= bw;
        let at_most = round.loss() < 2.0 * self.share() - self.explains(round.packets(), 2.0);
        if !below || round.void || (full && !at_most) {
            return false;
        }
        self.acked += f64::from(round.acked);
        self.lost += f64::from(round.lost);
        self.bursts += f64::from(round.bursts);
        let all = self.acked + self.lost;
        if all > BASE_PACKETS {
            self.scale(BASE_PACKETS / all);
        }
        true
    }

    /// What is known counts half from now on.
    pub(super) fn age(&mut self) {
        self.scale(0.5);
    }

    fn scale(&mut self, by: f64) {
        self.acked *= by;
        self.lost *= by;
        self.bursts *= by;
    }

    /// How much more the loss of many packets scatters than if each were lost by itself: losses that follow each other
    /// are one event. For a chain of good and bad states (Gilbert, 1960), (1 + r) / (1 - r), r being the correlation of
    /// neighbours.
    fn clumping(self) -> f64 {
        if self.lost < 1.0 {
            return 1.0;
        }
        let p = self.share();
        let after_another = (self.lost - self.bursts) / self.lost;
        let correlation = ((after_another - p) / (1.0 - p)).clamp(0.0, CORRELATION_MAX);
        (1.0 + correlation) / (1.0 - correlation)
    }

    /// Loss of a round of `packets` beyond what the base and chance explain, in standard deviations `sigmas`.
    pub(super) fn explains(self, packets: f64, sigmas: f64) -> f64 {
        let p = self.share();
        // Who knows nothing takes every loss for its own.
        let known = if self.is_known() { self.acked + self.lost } else { BASE_PACKETS };
        // An estimate of nothing at all is an estimate too.
        let each = (p * (1.0 - p)).max(1.0 / known) * self.clumping();
        let variance = each * (1.0 / packets.max(1.0) + 1.0 / known);
        p + sigmas * variance.sqrt()
    }
}
