//! Blocks in memory, for as long as they may have to be sent again: what a pipe said, and files that are read instead of
//! being mapped.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::storage::BLOCK;
use crate::storage::digest::Cv;

/// One block of what a pipe said, or of a file.
#[derive(Debug)]
pub struct Slab {
    memory: Memory,
    len: usize,
    /// Its chaining value, once it is whole.
    pub(super) cv: Cv,
    /// Where its memory goes when it is dropped.
    pool: Option<Arc<Pool>>,
}

impl Slab {
    pub(super) fn new() -> Self {
        Self { memory: vec![0; BLOCK as usize].into(), len: 0, cv: Cv([0; 32]), pool: None }
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

    /// Takes a whole block from elsewhere, with its chaining value.
    ///
    /// # Errors
    /// Those of `read`, which fills all the room.
    pub(in crate::storage) fn fill<E>(
        &mut self,
        read: impl FnOnce(&mut [u8]) -> Result<Cv, E>,
    ) -> Result<(), E> {
        self.cv = read(&mut self.memory)?;
        self.len = self.memory.len();
        Ok(())
    }

    pub(super) fn is_full(&self) -> bool {
        self.len == self.memory.len()
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else { return };
        let memory = std::mem::take(&mut self.memory);
        pool.bytes.fetch_sub(memory.len() as u64, Ordering::AcqRel);
        if memory.len() == BLOCK as usize {
            // Beyond a few it is the system's again.
            let _ = pool.to_spare.try_send(memory);
        }
    }
}

/// Memory for the blocks of files that are read, of one engine.
#[derive(Clone, Debug)]
pub struct SlabPool(Arc<Pool>);

/// Of one block.
type Memory = Box<[u8]>;

#[derive(Debug)]
struct Pool {
    /// Memory of whole blocks that is not in use, in a channel to itself.
    to_spare: Sender<Memory>,
    spare: Receiver<Memory>,
    /// Bytes in use.
    bytes: AtomicU64,
}

impl Default for SlabPool {
    fn default() -> Self {
        let (to_spare, spare) = bounded(SPARE_MAX);
        Self(Arc::new(Pool { to_spare, spare, bytes: AtomicU64::new(0) }))
    }
}

impl SlabPool {
    /// Room for `len` bytes of a block. Where there is too much in use already it is given only if it has to be (`sure`):
    /// a file could not go on without it.
    pub fn take(&self, len: usize, sure: bool) -> Option<Slab> {
        let len = len.min(BLOCK as usize);
        let before = self.0.bytes.fetch_add(len as u64, Ordering::AcqRel);
        if before + len as u64 > POOL_BYTES_MAX && !sure {
            self.0.bytes.fetch_sub(len as u64, Ordering::AcqRel);
            return None;
        }
        let spare = if len == BLOCK as usize { self.0.spare.try_recv().ok() } else { None };
        let memory = spare.unwrap_or_else(|| vec![0; len].into());
        Some(Slab { memory, len: 0, cv: Cv([0; 32]), pool: Some(self.0.clone()) })
    }

    /// Bytes that are in use.
    pub fn bytes(&self) -> u64 {
        self.0.bytes.load(Ordering::Acquire)
    }
}

/// Bytes of all files of an engine that are read ahead, or sent and perhaps to be sent again; and a block for each beyond.
const POOL_BYTES_MAX: u64 = 256 << 20;
/// Blocks of memory that are kept for the next.
const SPARE_MAX: usize = 64;

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
