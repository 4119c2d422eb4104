//! A source without a file, for benchmarks: pseudo-random bytes that repeat every 8 MiB.

/// Bytes after which the pattern repeats: larger than a core's L2, as file data is.
const PERIOD: usize = 8 << 20;
/// Bytes of the beginning repeated behind the period, so that a slice across the wrap is contiguous.
const MIRROR: usize = 1 << 20;

/// The pattern.
pub(super) struct Pattern {
    bytes: Box<[u8]>,
}

impl Pattern {
    /// The pattern of `seed`; equal seeds give equal bytes on every machine.
    pub(super) fn new(seed: u64) -> Self {
        let mut bytes = vec![0; PERIOD + MIRROR].into_boxed_slice();
        let mut state = seed;
        for word in bytes[..PERIOD].as_chunks_mut::<8>().0 {
            // splitmix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *word = (z ^ (z >> 31)).to_le_bytes();
        }
        bytes.copy_within(..MIRROR, PERIOD);
        Self { bytes }
    }

    /// `len` bytes at `offset`; `None` if `len` exceeds 1 MiB.
    pub(super) fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = (offset % PERIOD as u64) as usize;
        (len <= MIRROR).then(|| &self.bytes[start..start + len])
    }
}
