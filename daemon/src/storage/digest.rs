//! BLAKE3 of a file, computed block by block in any order.
//!
//! BLAKE3 is a binary tree over 1 KiB chunks. An aligned 1 MiB [`BLOCK`] of the file is a whole subtree of
//! it, so its 32-byte chaining value ([`Cv`]) can be computed from the block and its index alone, on any
//! thread, as soon as the block has passed. [`DigestTree`] collects them; when all are there, merging them
//! yields exactly `blake3::hash` of the whole file.
//!
//! One case differs: a file of at most one block *is* its only subtree, and the root of a BLAKE3 tree is
//! finalised differently from an inner node. [`Subtrees`] therefore knows the size of the file, and for
//! such a file its only `Cv` is the digest of the whole file already.

use std::ops::Range;

use blake3::hazmat::{self, HasherExt, Mode};

use super::BLOCK;

/// Bytes of the largest file that can be described: bounds the index of a [`DigestTree`] to 512 KiB and
/// its chaining values to 2 GiB, of which memory is taken only as blocks arrive.
pub const FILE_BYTES_MAX: u64 = 1 << 46;

/// The chaining value of one block, or the digest of a file that has only one block.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cv(pub [u8; 32]);

impl std::fmt::Debug for Cv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cv({})", blake3::Hash::from(self.0).to_hex())
    }
}

/// How a file of a given size divides into blocks, and how one of them is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subtrees {
    size: u64,
}

impl Subtrees {
    /// The blocks of a file of which it is known only that it has more than one: all are whole, as far as one can say.
    pub const UNKNOWN: Self = Self { size: FILE_BYTES_MAX };

    /// The blocks of a file of `size` bytes; `None` above [`FILE_BYTES_MAX`].
    pub fn of(size: u64) -> Option<Self> {
        (size <= FILE_BYTES_MAX).then_some(Self { size })
    }

    /// Bytes of the file.
    pub fn size(self) -> u64 {
        self.size
    }

    /// Number of blocks; 0 for an empty file.
    pub fn count(self) -> u64 {
        self.size.div_ceil(BLOCK)
    }

    /// The byte range of block `index`, empty beyond the end of the file.
    pub fn range(self, index: u64) -> Range<u64> {
        let start = index.saturating_mul(BLOCK).min(self.size);
        start..start.saturating_add(BLOCK).min(self.size)
    }

    /// The chaining value of block `index`. `None` if `bytes` isn't exactly the block's length, or if
    /// there is no such block.
    pub fn cv(self, index: u64, bytes: &[u8]) -> Option<Cv> {
        let range = self.range(index);
        if range.is_empty() || bytes.len() as u64 != range.end - range.start {
            return None;
        }
        let mut running = RunningCv::default();
        running.extend(index, bytes);
        running.finish(self)
    }
}

/// The chaining value of a block whose bytes are hashed in pieces, from its first to its last.
#[derive(Clone, Debug, Default)]
pub struct RunningCv {
    hasher: Box<blake3::Hasher>,
    index: u64,
    len: u64,
}

impl RunningCv {
    /// Bytes hashed so far.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether nothing was hashed yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Hashes the next bytes of block `index`. Pieces of a power of two, of 64 KiB or more, are hashed fastest.
    pub fn extend(&mut self, index: u64, bytes: &[u8]) {
        if self.len == 0 {
            self.index = index;
            // `reset` would keep the offset of the block before.
            *self.hasher = blake3::Hasher::new();
            self.hasher.set_input_offset(index.saturating_mul(BLOCK));
        }
        debug_assert_eq!(self.index, index, "pieces of two blocks");
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
    }

    /// The value of the block in a file divided like `subtrees`, and a fresh start. `None` if what was hashed is not exactly
    /// the block.
    pub fn finish(&mut self, subtrees: Subtrees) -> Option<Cv> {
        let range = subtrees.range(self.index);
        let len = std::mem::take(&mut self.len);
        if range.is_empty() || len != range.end - range.start {
            return None;
        }
        Some(match subtrees.count() {
            1 => Cv(*self.hasher.finalize().as_bytes()),
            _ => Cv(self.hasher.finalize_non_root()),
        })
    }

    /// Forgets what was hashed.
    pub fn clear(&mut self) {
        self.len = 0;
    }
}

/// Which threads compute digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hashing {
    /// The engine's, next to the cipher and while the bytes are in its cache: least work in all. For few cores.
    Inline,
    /// The readers' and the writers', so that the engine carries more packets. For many cores.
    Beside,
}

impl Hashing {
    /// What suits this machine. Up to two cores, the threads that hash would take turns with the engine on them, and find its
    /// bytes in no cache.
    pub fn suited() -> Self {
        match std::thread::available_parallelism().map_or(1, usize::from) {
            0..=2 => Self::Inline,
            _ => Self::Beside,
        }
    }
}

/// Bytes that are hashed at a time, next to the cipher: they stay in the first two levels of cache.
pub const HASH_STEP: u64 = 64 << 10;

/// The chaining values of a file, set in any order.
#[derive(Debug)]
pub struct DigestTree {
    subtrees: Subtrees,
    /// One entry per [`PAGE`] blocks, allocated with the first of them; as many as were needed so far.
    pages: Vec<Option<Box<Page>>>,
    present: u64,
}

/// 1 GiB of the file: an aligned subtree of its own, merged to one value as soon as it is complete, so that
/// the last block of a large file doesn't cost a merge of the whole tree.
#[derive(Debug)]
struct Page {
    cvs: [Cv; PAGE],
    present: [u64; PAGE / 64],
    merged: Option<Cv>,
}

impl DigestTree {
    /// A tree for a file of that many bytes, with nothing set.
    pub fn new(subtrees: Subtrees) -> Self {
        Self { subtrees, pages: Vec::new(), present: 0 }
    }

    /// The division that this tree follows.
    pub fn subtrees(&self) -> Subtrees {
        self.subtrees
    }

    /// The size is known now, of a tree for [`Subtrees::UNKNOWN`]. False, with nothing changed, if something was set
    /// beyond it.
    pub fn set_size(&mut self, subtrees: Subtrees) -> bool {
        let count = subtrees.count();
        let pages = count.div_ceil(PAGE as u64);
        let beyond = |page: &Page| page.present.iter().any(|&word| word != 0);
        if self.pages.iter().skip(pages as usize).flatten().any(|page| beyond(page))
            || (count..pages * PAGE as u64).any(|index| self.get(index).is_some())
        {
            return false;
        }
        self.subtrees = subtrees;
        self.pages.truncate(pages as usize);
        if let Some(number) = (self.pages.len() as u64).checked_sub(1) {
            let blocks = self.page_blocks(number);
            if let Some(page) = &mut self.pages[number as usize] {
                page.merged = page.is_complete(blocks).then(|| merge(&page.cvs[..blocks]));
            }
        }
        true
    }

    /// Sets (or replaces, when a bad block was sent again) the value of block `index`. A block beyond the
    /// end of the file is ignored.
    pub fn set(&mut self, index: u64, cv: Cv) {
        if index >= self.subtrees.count() {
            return;
        }
        let blocks = self.page_blocks(index / PAGE as u64);
        let number = (index / PAGE as u64) as usize;
        if self.pages.len() <= number {
            self.pages.resize_with(number + 1, || None);
        }
        let page = self.pages[number].get_or_insert_with(Page::empty);
        let at = (index % PAGE as u64) as usize;
        if page.has(at) && page.cvs[at] == cv {
            // A merge is worth it only when something changed.
            return;
        }
        self.present += u64::from(!page.has(at));
        page.present[at / 64] |= 1 << (at % 64);
        page.cvs[at] = cv;
        page.merged = page.is_complete(blocks).then(|| merge(&page.cvs[..blocks]));
    }

    /// Forgets block `index`, which turned out bad and will come again.
    pub fn forget(&mut self, index: u64) {
        if self.get(index).is_some()
            && let Some(page) = &mut self.pages[(index / PAGE as u64) as usize]
        {
            let at = (index % PAGE as u64) as usize;
            page.present[at / 64] &= !(1 << (at % 64));
            page.merged = None;
            self.present -= 1;
        }
    }

    /// The value of block `index` if it was set.
    pub fn get(&self, index: u64) -> Option<Cv> {
        let page = self.pages.get(usize::try_from(index / PAGE as u64).ok()?)?.as_ref()?;
        let at = (index % PAGE as u64) as usize;
        page.has(at).then(|| page.cvs[at])
    }

    /// Number of blocks not set yet.
    pub fn missing_count(&self) -> u64 {
        self.subtrees.count() - self.present
    }

    /// The blocks not set yet, in ascending order.
    pub fn missing(&self) -> impl Iterator<Item = u64> + '_ {
        (0..self.subtrees.count()).filter(|&index| self.get(index).is_none())
    }

    /// BLAKE3 of the whole file, once every block is set.
    pub fn root(&self) -> Option<[u8; 32]> {
        if self.missing_count() > 0 {
            return None;
        }
        match self.pages.as_slice() {
            [] => Some(*blake3::hash(&[]).as_bytes()),
            [only] => only.as_ref().map(|page| root(&page.cvs[..self.page_blocks(0)])),
            pages => {
                let merged: Option<Vec<Cv>> = pages.iter().map(|page| page.as_ref()?.merged).collect();
                merged.map(|cvs| root(&cvs))
            }
        }
    }

    /// Number of blocks in page `page`.
    fn page_blocks(&self, page: u64) -> usize {
        (self.subtrees.count() - page * PAGE as u64).min(PAGE as u64) as usize
    }
}

impl Page {
    fn empty() -> Box<Self> {
        Box::new(Self { cvs: [Cv([0; 32]); PAGE], present: [0; PAGE / 64], merged: None })
    }

    fn has(&self, at: usize) -> bool {
        self.present[at / 64] & (1 << (at % 64)) != 0
    }

    fn is_complete(&self, blocks: usize) -> bool {
        self.present.iter().map(|word| word.count_ones() as usize).sum::<usize>() == blocks
    }
}

/// Blocks in a page of the tree: a power of two, so that a page is an aligned subtree.
const PAGE: usize = 1024;

/// The left side of a BLAKE3 tree of `count` aligned leaves: the largest power of two below `count`.
fn left_count(count: usize) -> usize {
    count.div_ceil(2).next_power_of_two()
}

fn merge(cvs: &[Cv]) -> Cv {
    match cvs {
        [only] => *only,
        _ => {
            let (left, right) = cvs.split_at(left_count(cvs.len()));
            Cv(hazmat::merge_subtrees_non_root(&merge(left).0, &merge(right).0, Mode::Hash))
        }
    }
}

fn root(cvs: &[Cv]) -> [u8; 32] {
    match cvs {
        [only] => only.0,
        _ => {
            let (left, right) = cvs.split_at(left_count(cvs.len()));
            *hazmat::merge_subtrees_root(&merge(left).0, &merge(right).0, Mode::Hash).as_bytes()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
    }

    /// Sets the blocks in an order drawn from `seed`, checking that the root appears with the last one only.
    fn root_in_shuffled_order(file: &[u8], seed: u64) -> [u8; 32] {
        let subtrees = Subtrees::of(file.len() as u64).unwrap();
        let mut tree = DigestTree::new(subtrees);
        let mut order: Vec<u64> = (0..subtrees.count()).collect();
        order.sort_by_key(|i| (i + 1).wrapping_mul(seed | 1).rotate_left(23));
        for (done, &index) in order.iter().enumerate() {
            assert_eq!(tree.root(), None);
            assert_eq!(tree.missing_count(), subtrees.count() - done as u64);
            assert!(tree.missing().any(|i| i == index));
            let range = subtrees.range(index);
            let cv = subtrees.cv(index, &file[range.start as usize..range.end as usize]).unwrap();
            tree.set(index, cv);
            assert_eq!(tree.get(index), Some(cv));
        }
        assert_eq!(tree.missing().count(), 0);
        tree.root().unwrap()
    }

    #[test]
    fn equals_blake3_at_the_edges() {
        let mib = BLOCK as usize;
        let whole = bytes(9 * mib + 1);
        for size in [
            0,
            1,
            1023,
            1024,
            1025,
            mib - 1,
            mib,
            mib + 1,
            2 * mib,
            2 * mib + 1,
            3 * mib + mib / 2,
            4 * mib,
            5 * mib - 7,
            7 * mib + 1024,
            8 * mib,
            8 * mib + 1,
            9 * mib + 1,
        ] {
            let file = &whole[..size];
            assert_eq!(
                root_in_shuffled_order(file, size as u64),
                *blake3::hash(file).as_bytes(),
                "size {size}"
            );
        }
    }

    #[test]
    fn pages_merge_like_the_whole_tree() {
        // Real data of several GiB would be slow: the tree over chaining values is checked against the
        // recursion without pages.
        for count in [1023_u64, 1024, 1025, 2048, 2049, 3000] {
            let cvs: Vec<Cv> = (0..count).map(|i| Cv(*blake3::hash(&i.to_le_bytes()).as_bytes())).collect();
            let mut tree = DigestTree::new(Subtrees::of(count * BLOCK - 5).unwrap());
            for (i, cv) in cvs.iter().enumerate().rev() {
                tree.set(i as u64, *cv);
            }
            assert_eq!(tree.root(), Some(root(&cvs)), "{count} blocks");
        }
    }

    #[test]
    fn a_size_that_comes_last_makes_the_same_tree() {
        for count in [3_u64, 1023, 1024, 1025, 2048, 2050] {
            let subtrees = Subtrees::of(count * BLOCK - 5).unwrap();
            let (mut known, mut late) = (DigestTree::new(subtrees), DigestTree::new(Subtrees::UNKNOWN));
            for i in 0..count {
                let cv = Cv(*blake3::hash(&i.to_le_bytes()).as_bytes());
                known.set(i, cv);
                if i != count / 2 {
                    late.set(i, cv);
                }
            }
            assert!(!late.set_size(Subtrees::of((count - 1) * BLOCK).unwrap()), "something lies beyond");
            assert!(late.set_size(subtrees) && late.missing_count() == 1);
            late.set(count / 2, known.get(count / 2).unwrap());
            assert_eq!(late.root(), known.root(), "{count}");
        }
        let bytes = [7; BLOCK as usize];
        assert_eq!(Subtrees::UNKNOWN.cv(3, &bytes), Subtrees::of(9 * BLOCK).unwrap().cv(3, &bytes));
    }

    #[test]
    fn a_forgotten_block_is_missing_again() {
        let subtrees = Subtrees::of(3 * BLOCK).unwrap();
        let mut tree = DigestTree::new(subtrees);
        (0..3).for_each(|i| tree.set(i, Cv([i as u8; 32])));
        tree.set(99, Cv([0; 32]));
        let before = tree.root().unwrap();
        tree.forget(1);
        tree.forget(1);
        assert_eq!((tree.missing().collect::<Vec<_>>(), tree.root()), (vec![1], None));
        tree.set(1, Cv([9; 32]));
        assert_ne!(tree.root().unwrap(), before);
    }

    #[test]
    fn a_block_of_the_wrong_length_has_no_value() {
        let subtrees = Subtrees::of(BLOCK + 10).unwrap();
        assert_eq!(subtrees.cv(1, &[0; 11]), None);
        assert_eq!(subtrees.cv(2, &[]), None);
        assert_eq!(subtrees.range(u64::MAX), BLOCK + 10..BLOCK + 10);
        assert_eq!(Subtrees::of(FILE_BYTES_MAX + 1), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn equals_blake3_for_any_size_and_order(size in 0_usize..(6 << 20), seed: u64) {
            let file = bytes(size);
            prop_assert_eq!(root_in_shuffled_order(&file, seed), *blake3::hash(&file).as_bytes());
        }
    }
}
