//! The adaptive rate: a model of the path from delivery-rate samples, not a reaction to single losses.
//!
//! The model is three numbers: the most that was delivered lately (`bw`), the least RTT, and the *base loss*, the share of
//! packets which the path loses whatever we send. The base is measured only in rounds sent well below what the path
//! delivers, so loss that we cause ourselves never enters it; it is compensated (sent on top), while loss above it, or a
//! standing queue, is ours and is cut. A queue that stands though we have left it is another's: see [`rival`].
//!
//! Acknowledgements come in by `samples`, which divides time into rounds; `judge` says of each round whose its loss was;
//! `modes` decides what is done in the next.
//!
//! After BBR (Cardwell et al., draft-ietf-ccwg-bbr) for the shape of its probing, and the monitor intervals of PCC (Dong
//! et al., NSDI 2015) for telling the two kinds of loss apart. `docs/RATE.md` argues it.

mod judge;
mod modes;
mod rival;
mod rounds;
mod samples;

use super::filter::WindowedMax;
use super::{RateHint, RatePolicy, Sample};
use crate::time::Time;
use rival::Rival;
use rounds::{Base, Pace, Rounds};

/// Doubles the rate each round while the path's rate is being found: 2/ln 2, rounded down.
const STARTUP_GAIN: f64 = 2.77;
/// In flight then, in BDP: a queue of one BDP at most.
const STARTUP_WINDOW: f64 = 2.0;
/// Rounds that a drain lasts at most.
const DRAIN_ROUNDS: u32 = 3;
/// One round above the known rate, then below it until the probe's queue is gone, then level.
const UP_MOST: f64 = 0.25;
/// Share of the BDP in flight at which the path's own loss and queue are measured.
const MEASURE_WINDOW: f64 = 0.8;
/// What a mark or a local overrun leaves.
const CUT: f64 = 0.85;
/// What a standing queue or a loss leaves of a rate that gives way to others.
const CUT_LOW: f64 = 0.5;
/// A rate that loss has bounded, with no queue to be seen, is held for so many rounds, doubled each time it proves right.
const HOLD_ROUNDS: (u32, u32) = (16, 128);
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
    /// The longest of the rounds' least RTTs.
    longest: WindowedMax,
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
    /// The last round met a queue.
    queued: bool,
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
    /// Lane and number of the packet that would go on the present burst of losses.
    next_lost: (usize, u64),
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
            longest: WindowedMax::new(RTT_WINDOW),
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
            queued: false,
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
            next_lost: (0, 0),
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
            self.rounds.void();
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
        // What a cap held down says nothing of the path.
        let held = self.bw.get() >= CUT_LOW * self.cap_bps;
        (self.has_bw && !searching && !held).then(|| RateHint { bps: self.bw.get(), rtt_ns: self.min_rtt.0 })
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
