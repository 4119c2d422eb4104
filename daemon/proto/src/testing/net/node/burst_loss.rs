//! Loss in bursts: the two-state Markov chain of Gilbert ("Capacity of a burst-noise channel", 1960) and Elliott (1963).

use super::Fate;
use crate::testing::net::SimRng;
use crate::time::Time;

/// A good and a bad state, between which every packet may switch before its own fate is drawn.
#[derive(Debug)]
pub struct BurstLoss {
    /// Probability of good to bad.
    enter: f64,
    /// Probability of bad to good.
    leave: f64,
    loss_good: f64,
    loss_bad: f64,
    bad: bool,
}

impl BurstLoss {
    /// Gilbert's channel, which loses everything in the bad state and nothing in the good one: a share `loss` (below 1) of
    /// all packets, in bursts of `burst_packets` (at least 1) on average. High loss in short bursts is impossible: the
    /// bursts are then as short as may be, with one packet between them.
    #[must_use]
    pub fn new(loss: f64, burst_packets: f64) -> BurstLoss {
        let enter = loss / ((1.0 - loss) * burst_packets);
        if enter <= 1.0 {
            BurstLoss::states(enter, 1.0 / burst_packets, 0.0, 1.0)
        } else {
            BurstLoss::states(1.0, (1.0 - loss) / loss, 0.0, 1.0)
        }
    }

    /// Elliott's channel: probabilities of entering and leaving the bad state, and of loss in either.
    #[must_use]
    pub fn states(enter: f64, leave: f64, loss_good: f64, loss_bad: f64) -> BurstLoss {
        BurstLoss { enter, leave, loss_good, loss_bad, bad: false }
    }

    pub(super) fn process(&mut self, at: Time, rng: &mut SimRng) -> Fate {
        self.bad ^= rng.chance(if self.bad { self.leave } else { self.enter });
        let lost = rng.chance(if self.bad { self.loss_bad } else { self.loss_good });
        if lost { Fate::Drop } else { Fate::Pass(at) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Share of lost packets and mean length of a burst.
    fn measure(mut node: BurstLoss) -> (f64, f64) {
        let mut rng = SimRng::new(5);
        let (mut lost, mut bursts, mut in_burst) = (0u32, 0u32, false);
        for _ in 0..1_000_000 {
            let drop = node.process(Time::ZERO, &mut rng) == Fate::Drop;
            lost += u32::from(drop);
            bursts += u32::from(drop && !in_burst);
            in_burst = drop;
        }
        (f64::from(lost) / 1e6, f64::from(lost) / f64::from(bursts))
    }

    #[test]
    fn mean_loss_and_burst_length_are_as_asked() {
        let (loss, burst) = measure(BurstLoss::new(0.05, 8.0));
        assert!((loss - 0.05).abs() < 0.003 && (burst - 8.0).abs() < 0.3, "{loss} {burst}");
        let (loss, burst) = measure(BurstLoss::new(0.8, 2.0));
        assert!((loss - 0.8).abs() < 0.01 && (burst - 4.0).abs() < 0.1, "{loss} {burst}");
        // Half of the packets in the bad state, a third of the time there.
        let (loss, _) = measure(BurstLoss::states(0.1, 0.2, 0.0, 0.5));
        assert!((loss - 1.0 / 6.0).abs() < 0.005, "{loss}");
    }
}
