//! A set of block indices: which blocks of a file are claimed by a stream or done.

use std::ops::Range;

/// One bit a block: 128 KiB for a file of 1 TiB.
#[derive(Debug)]
pub(crate) struct BlockSet {
    count: u64,
    /// As far as anything was ever inserted: a size that a peer claims costs nothing yet.
    words: Vec<u64>,
}

impl BlockSet {
    /// For indices below `count`; empty.
    pub(crate) fn new(count: u64) -> Self {
        Self { count, words: Vec::new() }
    }

    /// How many indices there are is known now; no fewer than were inserted.
    pub(crate) fn set_count(&mut self, count: u64) {
        self.count = count;
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.words.get((index / 64) as usize).is_some_and(|word| word & 1 << (index % 64) != 0)
    }

    /// Adds an index; false if it was there, or lies beyond the end.
    pub(crate) fn insert(&mut self, index: u64) -> bool {
        index < self.count && self.insert_range(index..index + 1)
    }

    /// Adds all of a range; false, with nothing added, if one of them was there or lies beyond the end.
    pub(crate) fn insert_range(&mut self, range: Range<u64>) -> bool {
        if range.is_empty() || range.end > self.count {
            return range.is_empty();
        }
        let words = (range.start / 64) as usize..range.end.div_ceil(64) as usize;
        if self.words.len() < words.end {
            self.words.resize(words.end, 0);
        }
        let mask = |word: usize| {
            let first = word as u64 * 64;
            let (from, to) = (range.start.max(first) - first, range.end.min(first + 64) - first);
            u64::MAX >> (64 - (to - from)) << from
        };
        if words.clone().any(|word| self.words[word] & mask(word) != 0) {
            return false;
        }
        words.for_each(|word| self.words[word] |= mask(word));
        true
    }

    /// Takes an index out; false if it was not there.
    pub(crate) fn remove(&mut self, index: u64) -> bool {
        let there = self.contains(index);
        if there {
            self.words[(index / 64) as usize] &= !(1 << (index % 64));
        }
        there
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_is_inserted_once() {
        let mut set = BlockSet::new(65);
        assert!(set.insert(64) && !set.insert(64) && set.contains(64) && !set.contains(63));
        assert!(!set.insert(128), "beyond the end");
        assert!(set.remove(64) && !set.remove(64));
        assert!(set.insert(64));
    }

    #[test]
    fn a_range_is_inserted_as_its_indices_would_be() {
        for (start, end) in [(0, 1), (0, 64), (63, 65), (1, 200), (64, 128), (130, 131), (0, 200), (5, 5)] {
            let mut set = BlockSet::new(200);
            assert!(set.insert_range(start..end));
            assert!(
                (0..200).all(|index| set.contains(index) == (start..end).contains(&index)),
                "{start}..{end}"
            );
            for index in start..end {
                assert!(!set.insert_range(index..200), "{index} is there");
            }
        }
        let mut set = BlockSet::new(200);
        assert!(!set.insert_range(0..201) && !set.contains(0));
        assert!(set.insert(100) && !set.insert_range(0..200) && !set.contains(99), "all or nothing");
        let begin = std::time::Instant::now();
        assert!(BlockSet::new(1 << 26).insert_range(0..1 << 26));
        assert!(begin.elapsed() < std::time::Duration::from_secs(1));
    }
}
