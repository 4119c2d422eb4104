//! Blocks of a pipe in memory, for as long as they may have to be sent again.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::storage::BLOCK;
use crate::storage::digest::Cv;

/// One block of what a pipe said.
#[derive(Debug)]
pub struct Slab {
    memory: Box<[u8]>,
    len: usize,
    /// Its chaining value, once it is whole.
    pub(super) cv: Cv,
}

impl Slab {
    pub(super) fn new() -> Self {
        Self { memory: vec![0; BLOCK as usize].into(), len: 0, cv: Cv([0; 32]) }
    }

    /// What was read into it.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }

    /// Its chaining value.
    pub fn cv(&self) -> Cv {
        self.cv
    }

    pub(super) fn room(&mut self) -> &mut [u8] {
        &mut self.memory[self.len..]
    }

    pub(super) fn grow(&mut self, by: usize) {
        self.len = (self.len + by).min(self.memory.len());
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.memory.len()
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}

/// Consecutive blocks, from which a stream is sent.
#[derive(Clone, Debug, Default)]
pub struct Slabs {
    /// Block number of the first.
    first: u64,
    slabs: VecDeque<Arc<Slab>>,
}

impl Slabs {
    /// None yet; the first one that comes is block `first`.
    pub fn from(first: u64) -> Self {
        Self { first, slabs: VecDeque::new() }
    }

    /// Adds the next block.
    pub fn push(&mut self, slab: Arc<Slab>) {
        self.slabs.push_back(slab);
    }

    /// Takes the first block out.
    pub fn pop(&mut self) -> Option<Arc<Slab>> {
        let slab = self.slabs.pop_front()?;
        self.first += 1;
        Some(slab)
    }

    /// Forgets the blocks below this one.
    pub fn drop_below(&mut self, block: u64) {
        while self.first < block && self.pop().is_some() {}
    }

    /// Block number of the first.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// One past the last block.
    pub fn end(&self) -> u64 {
        self.first + self.slabs.len() as u64
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slabs.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.slabs.is_empty()
    }

    /// A block.
    pub fn get(&self, block: u64) -> Option<&Arc<Slab>> {
        self.slabs.get(usize::try_from(block.checked_sub(self.first)?).ok()?)
    }

    /// `len` bytes at `offset`, which lie in one block.
    pub fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let start = (offset % BLOCK) as usize;
        self.get(offset / BLOCK)?.bytes().get(start..start.checked_add(len)?)
    }
}
