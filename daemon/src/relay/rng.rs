//! Small seeded random numbers for the fate of datagrams: `SplitMix64` (Steele, Lea and Flood, "Fast splittable
//! pseudorandom number generators", 2014). It hides nothing and need not.

/// A stream of pseudo-random numbers.
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `[0, n)`, 0 if `n` is 0. The bias of n/2^64 does not matter here.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

/// A probability, ready to be drawn against.
pub(super) struct Chance(u64);

impl Chance {
    /// `probability` is clamped to 0..=1; what is not a number counts as 0.
    pub(super) fn new(probability: f64) -> Self {
        // A float becomes an integer by saturation, so 1.0 becomes u64::MAX, and NaN 0.
        Self((probability * 18_446_744_073_709_551_616.0) as u64)
    }

    /// Draws only if the outcome is open: the usual fault-free case costs nothing.
    pub(super) fn happens(&self, rng: &mut Rng) -> bool {
        match self.0 {
            0 => false,
            u64::MAX => true,
            threshold => rng.next() < threshold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chances_come_true_as_often_as_they_say() {
        let mut rng = Rng::new(7);
        for (probability, low, high) in [(0.0, 0, 0), (0.1, 9_700, 10_300), (1.0, 100_000, 100_000)] {
            let chance = Chance::new(probability);
            let count = (0..100_000).filter(|_| chance.happens(&mut rng)).count();
            assert!((low..=high).contains(&count), "{probability}: {count}");
        }
        assert!(!Chance::new(f64::NAN).happens(&mut rng) && !Chance::new(-1.0).happens(&mut rng));
        assert!((0..1000).all(|_| rng.below(3) < 3) && rng.below(0) == 0);
    }
}
