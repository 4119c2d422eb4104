//! Whether trains arrive as single packets do.
//!
//! Some kernels and drivers damage what they cut out of a GSO buffer: all packets of a train, or its last one, leave with
//! wrong headers and vanish, and no error says so. It looks like heavy loss. A policer, which has nothing to do with it,
//! passes the first packets of a train; a path that loses loses single packets as well. So when the first or the last
//! packets of trains are lost suspiciously often, a *trial* is made: every other train is a single packet, which no
//! offload touches. If trains lose where single packets do not, they are to be sent without offload from then on.

use crate::time::Time;

/// Trains of which the losses are counted before they are judged, again and again.
const TRAINS: u32 = 64;
/// Share of first, or last, packets lost that is suspicious. A path's own loss may be as much: the trial tells.
const SUSPICIOUS: f64 = 0.2;
/// Packets of each kind whose fate a trial waits for: before it finds anything, and before it gives up.
const TRIAL: (u32, u32) = (24, 96);
/// How much more of the trains has to be lost, beside three standard deviations.
const EXCESS: f64 = 0.15;
/// Judgements that are left out after a trial that found nothing, doubled up to the second.
const REST: (u32, u32) = (8, 1024);

/// Where in a train a packet stood.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// It was a train of its own.
    Single,
    /// The first of several.
    First,
    /// The last of several.
    Last,
    /// The one before the last, of three or more.
    Before,
    /// Somewhere else.
    Inside,
}

impl Place {
    /// Of packet `position` in a train of `packets`.
    pub(crate) fn of(position: u64, packets: u64) -> Self {
        match position {
            _ if packets <= 1 => Self::Single,
            0 => Self::First,
            last if last + 1 == packets => Self::Last,
            before if before + 2 == packets => Self::Before,
            _ => Self::Inside,
        }
    }
}

/// Packets of one place whose fate is known.
#[derive(Copy, Clone, Debug, Default)]
struct Count {
    all: u32,
    lost: u32,
}

impl Count {
    fn share(self) -> f64 {
        f64::from(self.lost) / f64::from(self.all.max(1))
    }

    fn add(&mut self, lost: bool) {
        self.all += 1;
        self.lost += u32::from(lost);
    }
}

#[derive(Copy, Clone, Debug)]
enum State {
    /// Trains of several packets, and their first and last packets that were lost.
    Watching { trains: u32, first: u32, last: u32 },
    /// Every other train is a single packet; what left since then counts.
    Trying { since: Time, single: bool, counts: [Count; 4] },
    /// It was found.
    Faulty,
}

/// The watch over one session's trains.
#[derive(Debug)]
pub(crate) struct TrainHealth {
    state: State,
    rest: u32,
    resting: u32,
}

const WATCHING: State = State::Watching { trains: 0, first: 0, last: 0 };

impl TrainHealth {
    pub(crate) fn new() -> Self {
        Self { state: WATCHING, rest: REST.0, resting: 0 }
    }

    /// Whether the next train shall be a single packet.
    pub(crate) fn wants_single(&self) -> bool {
        matches!(self.state, State::Trying { single: true, .. })
    }

    /// A trial is made: the fate of packets that arrive is of interest as well.
    pub(crate) fn is_trying(&self) -> bool {
        matches!(self.state, State::Trying { .. })
    }

    /// A train of so many packets leaves.
    pub(crate) fn on_sent(&mut self, now: Time, packets: usize) {
        match &mut self.state {
            State::Watching { trains, first, last } if packets > 1 => {
                *trains += 1;
                if *trains < TRAINS {
                    return;
                }
                let suspicious = f64::from((*first).max(*last)) > SUSPICIOUS * f64::from(TRAINS);
                self.state = WATCHING;
                self.resting = self.resting.saturating_sub(1);
                if suspicious && self.resting == 0 {
                    self.state = State::Trying { since: now, single: true, counts: Default::default() };
                }
            }
            State::Trying { single, .. } => *single = !*single,
            State::Watching { .. } | State::Faulty => {}
        }
    }

    /// The receiver's host could not keep up. A socket that is nearly full has room for a single packet and none for a
    /// train, so what was seen says nothing.
    pub(crate) fn on_overrun(&mut self) {
        if !matches!(self.state, State::Faulty) {
            self.state = WATCHING;
            self.resting = self.resting.max(REST.0);
        }
    }

    /// The fate of a packet that left at `sent` is known; true once, if trains turn out to vanish.
    pub(crate) fn on_fate(&mut self, sent: Time, place: Place, lost: bool) -> bool {
        match &mut self.state {
            State::Watching { first, last, .. } => {
                *first += u32::from(lost && place == Place::First);
                *last += u32::from(lost && place == Place::Last);
                false
            }
            State::Trying { since, counts, .. } if sent >= *since => {
                let count = match place {
                    Place::Single => 0,
                    Place::First => 1,
                    Place::Last => 2,
                    Place::Before => 3,
                    Place::Inside => return false,
                };
                counts[count].add(lost);
                let counts = *counts;
                self.judge(counts)
            }
            State::Trying { .. } | State::Faulty => false,
        }
    }

    fn judge(&mut self, [single, first, last, before]: [Count; 4]) -> bool {
        let least = single.all.min(first.all).min(last.all);
        if least < TRIAL.0 {
            return false;
        }
        // A policer loses what stands before the last packet as well.
        let faulty = exceeds(first, single) || (exceeds(last, single) && exceeds(last, before));
        if faulty {
            self.state = State::Faulty;
        } else if least >= TRIAL.1 {
            self.resting = self.rest;
            self.rest = (2 * self.rest).min(REST.1);
            self.state = WATCHING;
        }
        faulty
    }
}

/// Whether much more of `these` is lost than of `those`, and more than chance explains.
fn exceeds(these: Count, those: Count) -> bool {
    let (n, m) = (f64::from(these.all.max(1)), f64::from(those.all.max(1)));
    let all = (f64::from(these.lost) + f64::from(those.lost)) / (n + m);
    let chance = (all * (1.0 - all) * (1.0 / n + 1.0 / m)).sqrt();
    those.all > 0 && these.share() > those.share() + EXCESS + 3.0 * chance
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `trains` trains of eight over a path that loses packet `position` of a train of `packets` as `lost` says.
    fn run(trains: u64, mut lost: impl FnMut(u64, u64) -> bool) -> (bool, TrainHealth) {
        let mut health = TrainHealth::new();
        let mut found = false;
        for number in 1..=trains {
            let now = Time::from_nanos(number * 1_000_000);
            let packets = if health.wants_single() { 1 } else { 8 };
            health.on_sent(now, packets as usize);
            for position in 0..packets {
                let lost = lost(position, packets);
                found |= health.on_fate(now, Place::of(position, packets), lost);
            }
        }
        (found, health)
    }

    /// A pseudo-random number below `n`.
    fn dice(n: u64) -> impl FnMut() -> u64 {
        let mut state = 7u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % n
        }
    }

    #[test]
    fn trains_that_vanish_whole_or_by_their_last_packet_are_found_once() {
        for fault in
            [|_: u64, packets: u64| packets > 1, |at: u64, packets: u64| packets > 1 && at + 1 == packets]
        {
            let (found, mut health) = run(130, fault);
            assert!(found);
            assert!(!health.wants_single() && !health.on_fate(Time::FAR, Place::First, true), "once");
        }
        // Half of the trains, on a path that loses a tenth of everything.
        let (mut coin, mut tenth) = (dice(2), dice(10));
        let mut gone = false;
        let (found, _) = run(2000, |at, packets| {
            gone = if at == 0 { coin() == 0 } else { gone };
            (packets > 1 && gone) || tenth() == 0
        });
        assert!(found);
    }

    #[test]
    fn loss_policers_and_black_outs_are_no_fault_of_trains() {
        for n in [2, 3, 5, 20] {
            let mut dice = dice(n);
            assert!(!run(20_000, |_, _| dice() == 0).0, "one of {n}");
        }
        // A bucket of five packets; and one that is empty as often as not, even for the first.
        assert!(!run(20_000, |at, _| at >= 5).0);
        let mut coin = dice(2);
        assert!(!run(20_000, |at, _| at >= 5 || coin() == 0).0);
        // Everything vanishes for a while, and passes again.
        let mut count = 0;
        assert!(
            !run(20_000, |_, _| {
                count += 1;
                count % 3000 < 900
            })
            .0
        );
    }

    #[test]
    fn a_receiver_that_cannot_keep_up_is_no_fault_of_trains() {
        let mut health = TrainHealth::new();
        for number in 1..=20_000 {
            let now = Time::from_nanos(number * 1_000_000);
            let packets = if health.wants_single() { 1 } else { 8 };
            health.on_sent(now, packets as usize);
            // Its queue takes what is small, and tells of the rest with the next acknowledgement.
            if number % 8 == 0 {
                health.on_overrun();
            }
            for position in 0..packets {
                assert!(!health.on_fate(now, Place::of(position, packets), packets > 1));
            }
        }
    }

    #[test]
    fn trials_that_find_nothing_become_rare() {
        let mut coin = dice(2);
        let (mut singles, mut trains) = (0u64, 0u64);
        run(200_000, |at, packets| {
            trains += u64::from(at == 0);
            singles += u64::from(packets == 1);
            coin() == 0
        });
        assert!(singles > 0 && singles * 100 < trains, "{singles} of {trains}");
    }
}
