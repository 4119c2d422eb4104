//! Which packet numbers of a lane have been received: one ring of bits for two uses.
//!
//! It refuses replays, and SACK frames are copied out of it word by word. It spans a window of
//! `capacity` numbers (rounded to words) that ends with the word of the highest number received; what
//! lies below is too old to be told apart and is refused. A number is marked only after its packet has
//! been authenticated, so nobody can move the window but the peer.
//!
//! Invariant: in the ring, bits above the highest number are zero.

/// Numbers in one word.
const WORD: u64 = u64::BITS as u64;

/// What is known of a packet number before its packet is opened.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Not received yet.
    Fresh,
    /// Received before: a replay, or a copy made by the network.
    Duplicate,
    /// Below the window: it cannot be told.
    TooOld,
}

/// The received packet numbers of one lane.
#[derive(Clone)]
pub struct PacketNumberRing {
    /// A power of two of words; the word of number `n` is at `n / 64` modulo their count.
    words: Box<[u64]>,
    highest: Option<u64>,
    /// Numbers below are refused even where the ring is wide enough for them; a multiple of 64.
    floor: u64,
}

impl PacketNumberRing {
    /// Numbers that a lane tracks from the start.
    pub const CAPACITY_MIN: usize = 1 << 16;
    /// Numbers that a lane tracks at most, 128 KiB of bits.
    pub const CAPACITY_MAX: usize = 1 << 20;

    /// An empty ring of [`CAPACITY_MIN`](Self::CAPACITY_MIN).
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(Self::CAPACITY_MIN)
    }

    /// An empty ring of `capacity` numbers, rounded up to a power of two between 128 and
    /// [`CAPACITY_MAX`](Self::CAPACITY_MAX).
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        let capacity = capacity.clamp(2 * WORD as usize, Self::CAPACITY_MAX).next_power_of_two();
        Self { words: vec![0; capacity / WORD as usize].into(), highest: None, floor: 0 }
    }

    /// Numbers that the window spans.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.words.len() * WORD as usize
    }

    /// Widens the window to at least `capacity` numbers, as far as
    /// [`CAPACITY_MAX`](Self::CAPACITY_MAX). What had left the old window stays refused: nothing is
    /// known of it any more.
    pub fn grow(&mut self, capacity: usize) {
        let mut wider = Self::with_capacity(capacity.max(self.capacity()));
        if wider.words.len() == self.words.len() {
            return;
        }
        wider.floor = self.lowest();
        wider.highest = self.highest;
        if let Some(highest) = self.highest {
            for word in self.lowest() / WORD..=highest / WORD {
                let at = wider.index(word);
                wider.words[at] = self.word(word);
            }
        }
        *self = wider;
    }

    /// The highest number received.
    #[must_use]
    pub fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// The lowest number of the window.
    #[must_use]
    pub fn lowest(&self) -> u64 {
        self.highest.map_or(0, |highest| self.lowest_word(highest / WORD) * WORD)
    }

    /// Whether a packet with this number may be opened.
    #[must_use]
    pub fn check(&self, number: u64) -> Verdict {
        let Some(highest) = self.highest else { return Verdict::Fresh };
        if number > highest {
            return Verdict::Fresh;
        }
        let word = number / WORD;
        if word < self.lowest_word(highest / WORD) {
            return Verdict::TooOld;
        }
        match self.words[self.index(word)] >> (number % WORD) & 1 {
            0 => Verdict::Fresh,
            _ => Verdict::Duplicate,
        }
    }

    /// Notes that the packet with this number was received and is authentic. A number beyond the
    /// window moves it; one below it is ignored.
    pub fn mark(&mut self, number: u64) {
        let word = number / WORD;
        match self.highest {
            None => self.highest = Some(number),
            Some(highest) => {
                let top = highest / WORD;
                if word < self.lowest_word(top) {
                    return;
                }
                if word > top {
                    let entered = (word - top).min(self.words.len() as u64);
                    for entering in word - (entered - 1)..=word {
                        let at = self.index(entering);
                        self.words[at] = 0;
                    }
                }
                self.highest = Some(highest.max(number));
            }
        }
        let at = self.index(word);
        self.words[at] |= 1 << (number % WORD);
    }

    /// Writes a bit for each number of `lo..hi` into `out`, the lowest bit of the first byte first:
    /// set if received. Bits of the last byte beyond `hi` are zero. Numbers outside the window read as
    /// not received, so a report must not reach below [`lowest`](Self::lowest).
    ///
    /// # Panics
    /// If `out` has less than a bit for each number.
    pub fn copy_bits(&self, lo: u64, hi: u64, out: &mut [u8]) {
        let count = usize::try_from(hi.saturating_sub(lo)).unwrap_or(usize::MAX);
        let out = &mut out[..count.div_ceil(8)];
        let (whole, rest) = out.as_chunks_mut::<8>();
        let mut at = lo;
        for bytes in whole {
            *bytes = self.bits(at, hi).to_le_bytes();
            at = at.saturating_add(WORD);
        }
        if !rest.is_empty() {
            rest.copy_from_slice(&self.bits(at, hi).to_le_bytes()[..rest.len()]);
        }
    }

    /// The bits of `lo..hi`, 64 numbers to a word, that of `lo` lowest in the first; bits of the last
    /// word beyond `hi` are zero. Numbers outside the window read as in [`copy_bits`](Self::copy_bits).
    pub fn words(&self, lo: u64, hi: u64) -> impl Iterator<Item = u64> + '_ {
        (lo..hi).step_by(WORD as usize).map(move |at| self.bits(at, hi))
    }

    /// The lowest number of `lo..hi` that was not received.
    #[must_use]
    pub fn first_missing(&self, lo: u64, hi: u64) -> Option<u64> {
        (lo..hi).step_by(WORD as usize).zip(self.words(lo, hi)).find_map(|(at, received)| {
            let missing = !received;
            let number = at.checked_add(u64::from(missing.trailing_zeros()))?;
            (missing != 0 && number < hi).then_some(number)
        })
    }

    /// Whether each number of `lo..hi` was received.
    #[must_use]
    pub fn all_received(&self, lo: u64, hi: u64) -> bool {
        self.first_missing(lo, hi).is_none()
    }

    /// Calls `f(start, length)` for each maximal run of numbers in `lo..hi` that were not received, in
    /// ascending order.
    pub fn for_each_hole(&self, lo: u64, hi: u64, mut f: impl FnMut(u64, u64)) {
        // A hole that reached the end of the words looked at so far.
        let mut open: Option<u64> = None;
        for (at, received) in (lo..hi).step_by(WORD as usize).zip(self.words(lo, hi)) {
            let span = (hi - at).min(WORD);
            let mut position = 0;
            while position < span {
                let rest = received >> position;
                match open {
                    None => {
                        position += u64::from((!rest).trailing_zeros());
                        open = (position < span).then_some(at + position);
                    }
                    Some(start) => {
                        position += u64::from(rest.trailing_zeros());
                        if position < span {
                            f(start, at + position - start);
                            open = None;
                        }
                    }
                }
            }
        }
        if let Some(start) = open {
            f(start, hi - start);
        }
    }

    /// The bits of up to 64 numbers from `at` on, below `hi`, the lowest number in the lowest bit.
    fn bits(&self, at: u64, hi: u64) -> u64 {
        let (word, shift) = (at / WORD, at % WORD);
        let mut bits = self.word(word) >> shift;
        if shift > 0 {
            bits |= self.word(word + 1) << (WORD - shift);
        }
        match hi - at {
            span @ 0..WORD => bits & ((1 << span) - 1),
            _ => bits,
        }
    }

    /// The bits of the 64 numbers from `64 * word` on, zero outside the window.
    fn word(&self, word: u64) -> u64 {
        let Some(highest) = self.highest else { return 0 };
        let top = highest / WORD;
        if word > top || word < self.lowest_word(top) {
            return 0;
        }
        self.words[self.index(word)]
    }

    /// The lowest word of a window that ends with word `top`.
    fn lowest_word(&self, top: u64) -> u64 {
        (top + 1).saturating_sub(self.words.len() as u64).max(self.floor / WORD)
    }

    fn index(&self, word: u64) -> usize {
        (word & (self.words.len() as u64 - 1)) as usize
    }
}

impl Default for PacketNumberRing {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for PacketNumberRing {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("PacketNumberRing")
            .field("lowest", &self.lowest())
            .field("highest", &self.highest)
            .field("capacity", &self.capacity())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// The same thing, the slow way.
    #[derive(Default)]
    struct Model {
        seen: BTreeSet<u64>,
        words: u64,
        floor: u64,
    }

    impl Model {
        fn lowest(&self) -> u64 {
            let end = self.seen.last().map_or(0, |highest| highest / WORD + 1);
            (end.saturating_sub(self.words) * WORD).max(self.floor)
        }

        fn received(&self, number: u64) -> bool {
            number >= self.lowest() && self.seen.contains(&number)
        }

        fn check(&self, number: u64) -> Verdict {
            match (number < self.lowest(), self.seen.contains(&number)) {
                (true, _) => Verdict::TooOld,
                (false, true) => Verdict::Duplicate,
                (false, false) => Verdict::Fresh,
            }
        }

        fn mark(&mut self, number: u64) {
            if number >= self.lowest() {
                self.seen.insert(number);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Mark(u64),
        Run(u64, u64),
        Ahead(u64),
        Grow(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..900_u64).prop_map(Step::Mark),
            4 => (0..900_u64, 0..200_u64).prop_map(|(at, length)| Step::Run(at, length)),
            2 => (0..700_u64).prop_map(Step::Ahead),
            1 => (0..2000_usize).prop_map(Step::Grow),
        ]
    }

    fn compare(ring: &PacketNumberRing, model: &Model, lo: u64, hi: u64) {
        let wanted: Vec<bool> = (lo..hi).map(|number| model.received(number)).collect();
        let mut bytes = vec![0xff; wanted.len().div_ceil(8)];
        ring.copy_bits(lo, hi, &mut bytes);
        let words: Vec<u8> = ring.words(lo, hi).flat_map(u64::to_le_bytes).collect();
        assert_eq!(&words[..bytes.len()], &bytes[..]);
        assert!(words[bytes.len()..].iter().all(|&byte| byte == 0));
        let bits: Vec<bool> = (0..bytes.len() * 8).map(|i| bytes[i / 8] >> (i % 8) & 1 == 1).collect();
        assert_eq!(&bits[..wanted.len()], &wanted[..]);
        assert!(bits[wanted.len()..].iter().all(|bit| !bit));
        let missing = (lo..hi).find(|&number| !model.received(number));
        assert_eq!(ring.first_missing(lo, hi), missing);
        assert_eq!(ring.all_received(lo, hi), missing.is_none());

        let mut rebuilt = vec![true; wanted.len()];
        let mut end_before = None;
        ring.for_each_hole(lo, hi, |start, length| {
            assert!(length > 0 && end_before.is_none_or(|end| start > end), "a hole is maximal");
            end_before = Some(start + length);
            for number in start..start + length {
                rebuilt[(number - lo) as usize] = false;
            }
        });
        assert_eq!(rebuilt, wanted);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]
        #[test]
        fn does_what_a_set_does(
            base in prop_oneof![Just(0), 0..1_000_000_u64],
            steps in prop::collection::vec(step(), 1..60),
            ranges in prop::collection::vec((0..1500_u64, 0..700_u64), 8),
        ) {
            let mut ring = PacketNumberRing::with_capacity(256);
            let mut model = Model { words: 4, ..Model::default() };
            for step in steps {
                let highest = ring.highest().unwrap_or(base);
                match step {
                    Step::Mark(at) => {
                        ring.mark(base + at);
                        model.mark(base + at);
                    }
                    Step::Run(at, length) => for number in base + at..base + at + length {
                        ring.mark(number);
                        model.mark(number);
                    },
                    Step::Ahead(by) => {
                        ring.mark(highest + by);
                        model.mark(highest + by);
                    }
                    Step::Grow(capacity) => {
                        model.floor = model.lowest();
                        ring.grow(capacity);
                        model.words = ring.capacity() as u64 / WORD;
                    }
                }
                prop_assert_eq!(ring.highest(), model.seen.last().copied());
                prop_assert_eq!(ring.lowest(), model.lowest());
            }
            for (at, length) in ranges {
                let lo = base + at;
                for number in lo..lo + length {
                    prop_assert_eq!(ring.check(number), model.check(number));
                }
                compare(&ring, &model, lo, lo + length);
            }
        }
    }

    #[test]
    fn a_far_jump_empties_the_window() {
        let mut ring = PacketNumberRing::new();
        for number in 0..1000 {
            ring.mark(number);
        }
        ring.mark(10_000_000_000);
        assert_eq!(ring.check(999), Verdict::TooOld);
        assert_eq!(ring.check(10_000_000_000 - 1000), Verdict::Fresh);
        assert_eq!(ring.check(10_000_000_000), Verdict::Duplicate);
        assert_eq!(ring.first_missing(10_000_000_000 - 5, 10_000_000_001), Some(10_000_000_000 - 5));
    }

    #[test]
    fn the_highest_number_of_all_is_no_overflow() {
        let mut ring = PacketNumberRing::with_capacity(128);
        ring.mark(u64::MAX);
        ring.mark(u64::MAX - 70);
        assert_eq!(ring.check(u64::MAX), Verdict::Duplicate);
        assert_eq!(ring.check(u64::MAX - 1), Verdict::Fresh);
        assert_eq!(ring.check(0), Verdict::TooOld);
        let mut holes = Vec::new();
        ring.for_each_hole(u64::MAX - 72, u64::MAX, |start, length| holes.push((start, length)));
        assert_eq!(holes, [(u64::MAX - 72, 2), (u64::MAX - 69, 69)]);
        let mut bits = [0; 9];
        ring.copy_bits(u64::MAX - 70, u64::MAX, &mut bits);
        assert_eq!(bits, [1, 0, 0, 0, 0, 0, 0, 0, 0]);
        ring.grow(PacketNumberRing::CAPACITY_MAX * 4);
        assert_eq!(ring.capacity(), PacketNumberRing::CAPACITY_MAX);
        assert_eq!(ring.check(u64::MAX - 70), Verdict::Duplicate);
        assert_eq!(ring.check(u64::MAX - 200), Verdict::TooOld);
    }
}
