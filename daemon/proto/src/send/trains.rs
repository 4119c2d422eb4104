//! How long a train may be: one millisecond of the rate, and less where losses cluster behind a position of trains.
//!
//! A policer with a shallow bucket passes the first packets of a train and drops the rest, however low the mean rate is. So
//! losses are counted by position, in octaves: where those behind a position are lost much more often than those before
//! it, trains end there. The limit is doubled again from time to time: the path may have changed.

use crate::limits::TRAIN_PACKETS_MAX;

/// Octaves of positions: 0, 1, 2-3, 4-7, ... 32-63.
const OCTAVES: usize = 7;
const _: () = assert!(1 << (OCTAVES - 1) == TRAIN_PACKETS_MAX);
/// Packets between two judgements.
const PACKETS: u64 = 512;
/// Losses behind a position are a cluster when they are so much more frequent, and so many.
const EXCESS: f64 = 0.05;
const LOSSES_MIN: u32 = 16;
/// Judgements without a cluster after which longer trains are tried, doubled each time that they fail.
const PATIENCE: (u32, u32) = (128, 4096);

/// Losses by position, and the limit that follows.
#[derive(Debug)]
pub(crate) struct Trains {
    sent: [u32; OCTAVES],
    lost: [u32; OCTAVES],
    packets: u64,
    /// Most packets of a train.
    limit: usize,
    calm: u32,
    patience: u32,
}

impl Trains {
    pub(crate) fn new() -> Self {
        Self {
            sent: [0; OCTAVES],
            lost: [0; OCTAVES],
            packets: 0,
            limit: TRAIN_PACKETS_MAX,
            calm: 0,
            patience: PATIENCE.0,
        }
    }

    /// Most packets of a train.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// A train of so many packets leaves; true if trains are to be shorter now.
    pub(crate) fn on_sent(&mut self, packets: usize) -> bool {
        let mut from = 0;
        for (octave, sent) in self.sent.iter_mut().enumerate() {
            let to = packets.min(1 << octave);
            *sent += (to - from) as u32;
            from = to;
        }
        self.packets += packets as u64;
        self.packets >= PACKETS && self.judge()
    }

    /// The packet at `position` of its train was lost.
    pub(crate) fn on_lost(&mut self, position: u64) {
        let octave = (u64::BITS - position.leading_zeros()) as usize;
        self.lost[octave.min(OCTAVES - 1)] += 1;
    }

    fn judge(&mut self) -> bool {
        self.packets = 0;
        // Where the difference is greatest, there it begins.
        let steps = (1..OCTAVES).filter_map(|octave| Some((octave, self.step_at(octave)?)));
        let clustered =
            steps.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))).map(|(octave, _)| octave);
        let before = self.limit;
        if let Some(octave) = clustered {
            self.limit = (1 << (octave - 1)).min(self.limit);
            self.patience = (self.patience * 2).min(PATIENCE.1);
            self.calm = 0;
        } else if self.limit < TRAIN_PACKETS_MAX {
            self.calm += 1;
            if self.calm >= self.patience {
                self.calm = 0;
                self.limit *= 2;
            }
        }
        let changed = self.limit != before;
        for count in self.sent.iter_mut().chain(&mut self.lost) {
            *count = if changed { 0 } else { *count / 2 };
        }
        self.limit < before
    }

    /// How much more often packets from `octave` on are lost than those before, if it is much.
    fn step_at(&self, octave: usize) -> Option<f64> {
        let sum = |counts: &[u32]| counts.iter().sum::<u32>();
        let (front, behind) = (sum(&self.sent[..octave]), sum(&self.sent[octave..]));
        let (lost_front, lost_behind) = (sum(&self.lost[..octave]), sum(&self.lost[octave..]));
        if lost_behind < LOSSES_MIN || front == 0 || behind == 0 {
            return None;
        }
        let (p, q) = (f64::from(lost_front) / f64::from(front), f64::from(lost_behind) / f64::from(behind));
        let all = f64::from(lost_front + lost_behind) / f64::from(front + behind);
        let chance = (all * (1.0 - all) * (1.0 / f64::from(front) + 1.0 / f64::from(behind))).sqrt();
        // Twice, too: with heavy loss anywhere a train is nobody's business.
        (q > p + EXCESS + 4.0 * chance && q > 2.0 * p).then_some(q - p)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends trains of at most `limit` packets of which those from `depth` on are lost, and others with period `random`.
    fn run(trains: &mut Trains, count: usize, depth: usize, random: usize) {
        let mut number = 0;
        for _ in 0..count {
            let packets = trains.limit();
            for position in 0..packets {
                number += 1;
                if position >= depth || number % random == 0 {
                    trains.on_lost(position as u64);
                }
            }
            trains.on_sent(packets);
        }
    }

    #[test]
    fn trains_end_where_losses_begin() {
        for (depth, limit) in [(5, 4), (8, 8), (1, 1), (20, 16)] {
            let mut trains = Trains::new();
            run(&mut trains, 100, depth, usize::MAX);
            assert_eq!(trains.limit(), limit, "depth {depth}");
        }
    }

    #[test]
    fn random_loss_shortens_nothing() {
        for random in [5, 20, 100] {
            let mut trains = Trains::new();
            run(&mut trains, 10_000, usize::MAX, random);
            assert_eq!(trains.limit(), TRAIN_PACKETS_MAX, "one of {random}");
        }
    }

    #[test]
    fn a_path_that_changed_has_long_trains_again() {
        let mut trains = Trains::new();
        run(&mut trains, 100, 5, usize::MAX);
        run(&mut trains, 400_000, usize::MAX, usize::MAX);
        assert_eq!(trains.limit(), TRAIN_PACKETS_MAX);
    }
}
