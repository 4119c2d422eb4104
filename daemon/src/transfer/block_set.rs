//! A set of block indices: which blocks of a file are claimed by a stream or done.

/// One bit a block: 128 KiB for a file of 1 TiB.
#[derive(Debug)]
pub(crate) struct BlockSet {
    words: Vec<u64>,
}

impl BlockSet {
    /// For indices below `count`; empty.
    pub(crate) fn new(count: u64) -> Self {
        Self { words: vec![0; count.div_ceil(64) as usize] }
    }

    pub(crate) fn contains(&self, index: u64) -> bool {
        self.words.get((index / 64) as usize).is_some_and(|word| word & 1 << (index % 64) != 0)
    }

    /// Adds an index; false if it was there, or lies beyond the end.
    pub(crate) fn insert(&mut self, index: u64) -> bool {
        match self.words.get_mut((index / 64) as usize) {
            Some(word) if *word & 1 << (index % 64) == 0 => {
                *word |= 1 << (index % 64);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn remove(&mut self, index: u64) {
        if let Some(word) = self.words.get_mut((index / 64) as usize) {
            *word &= !(1 << (index % 64));
        }
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
        set.remove(64);
        assert!(set.insert(64));
    }
}
