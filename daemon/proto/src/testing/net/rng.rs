//! Seeded pseudo-random numbers that replay for ever.
//!
//! xoshiro256++ 1.0 (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2019), its state filled by
//! `SplitMix64` as its authors recommend. It is written here because an external crate may change its algorithm between
//! versions, and then the seed of an old failure would mean another run. For simulations only: it hides nothing.

/// A stream of pseudo-random numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimRng {
    state: [u64; 4],
}

impl SimRng {
    /// The stream of this seed; any value is a good seed.
    #[must_use]
    pub fn new(seed: u64) -> SimRng {
        let mut fill = seed;
        SimRng { state: [(); 4].map(|()| split_mix(&mut fill)) }
    }

    /// The stream number `stream` of this seed: other streams of the same seed are unrelated to it.
    #[must_use]
    pub fn stream(seed: u64, stream: u64) -> SimRng {
        let mut mixed = stream;
        SimRng::new(seed ^ split_mix(&mut mixed))
    }

    /// An unrelated stream, which this one's state decides. Takes one draw.
    #[must_use]
    pub fn fork(&mut self) -> SimRng {
        SimRng::new(self.next_u64())
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Uniform in `[0, n)`, 0 if `n` is 0. Always one draw: the bias of n/2^64 is no matter here.
    pub fn below(&mut self, n: u64) -> u64 {
        let product = u128::from(self.next_u64()) * u128::from(n);
        (product >> 64) as u64
    }

    /// Uniform in `[0, 1)` with 53 bits.
    pub fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }

    /// True with probability `p`. Always one draw.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// In `[lo, hi]`, every doubling as likely as any other. 0 counts as the octave below 1, so `lo` may be 0.
    pub fn log_uniform(&mut self, lo: u64, hi: u64) -> u64 {
        let (bottom, top) = (log2(lo as f64 + 1.0), log2(hi as f64 + 2.0));
        let value = exp2(bottom + self.unit() * (top - bottom));
        ((value - 1.0) as u64).clamp(lo, hi.max(lo))
    }
}

/// The next output of `SplitMix64`.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Bits after the point of [`log2`] and [`exp2`].
const LOG_BITS: u32 = 40;
const EXPONENT_SHIFT: u32 = 52;
const EXPONENT_BIAS: u64 = 1023;

/// Logarithm of `x >= 1`. The standard library's may differ between platforms in the last bit; multiplication and square
/// root may not (IEEE 754), so these two functions are made of them.
fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut result = ((bits >> EXPONENT_SHIFT) - EXPONENT_BIAS) as f64;
    let fraction = bits & ((1 << EXPONENT_SHIFT) - 1);
    let mut mantissa = f64::from_bits(fraction | (EXPONENT_BIAS << EXPONENT_SHIFT));
    let mut weight = 0.5;
    for _ in 0..LOG_BITS {
        mantissa *= mantissa;
        if mantissa >= 2.0 {
            mantissa *= 0.5;
            result += weight;
        }
        weight *= 0.5;
    }
    result
}

/// Two to the power of `y`, `0 <= y < 1024`.
fn exp2(y: f64) -> f64 {
    let whole = y as u64;
    let mut result = f64::from_bits((whole + EXPONENT_BIAS) << EXPONENT_SHIFT);
    let mut fraction = y - whole as f64;
    let mut root: f64 = 2.0;
    for _ in 0..LOG_BITS {
        root = root.sqrt();
        fraction *= 2.0;
        if fraction >= 1.0 {
            fraction -= 1.0;
            result *= root;
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_outputs() {
        let mut rng = SimRng { state: [1, 2, 3, 4] };
        let expected =
            [41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386, 9_228_616_714_210_784_205];
        assert_eq!([(); 5].map(|()| rng.next_u64()), expected);
        let mut state = 1_234_567;
        assert_eq!(split_mix(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(split_mix(&mut state), 3_203_168_211_198_807_973);
    }

    #[test]
    fn logarithms_agree_with_the_library() {
        for x in [1.0, 1.5, 2.0, 3.0, 1000.0, 67_108_866.0, 1.8e19] {
            assert!((log2(x) - f64::log2(x)).abs() < 1e-9, "{x}");
            assert!((exp2(log2(x)) / x - 1.0).abs() < 1e-9, "{x}");
        }
    }

    #[test]
    fn log_uniform_is_flat_over_octaves_and_stays_inside() {
        let mut rng = SimRng::new(3);
        let mut small = 0;
        for _ in 0..100_000 {
            let value = rng.log_uniform(0, 64 << 20);
            assert!(value <= 64 << 20);
            small += u32::from(value < 8191);
        }
        assert!((49_000..51_000).contains(&small), "half of the octaves are below 2^13: {small}");
        assert_eq!(rng.log_uniform(7, 7), 7);
        assert!((0..1000).map(|_| rng.log_uniform(0, 3)).any(|v| v == 0));
        assert!((0..1000).map(|_| rng.log_uniform(1, u64::MAX)).all(|v| v >= 1));
    }

    #[test]
    fn below_chance_and_streams() {
        let mut rng = SimRng::new(1);
        let mut counts = [0u32; 5];
        for _ in 0..100_000 {
            counts[usize::try_from(rng.below(5)).unwrap()] += 1;
        }
        assert!(counts.iter().all(|&count| (19_000..21_000).contains(&count)), "{counts:?}");
        assert_eq!(rng.below(0), 0);
        assert!(!(0..1000).any(|_| rng.chance(0.0)) && (0..1000).all(|_| rng.chance(1.0)));
        assert_ne!(SimRng::stream(1, 0), SimRng::stream(1, 1));
        assert_eq!(rng.clone().fork(), rng.fork());
    }
}
