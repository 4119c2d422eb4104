//! The engine's ends of the storage threads: what a full queue does not take waits here, in order.
//!
//! The waiting lists are bounded by what makes the work: a staging block each for writes, the read-ahead of each
//! source for reads, a few jobs a transfer for clerks.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use crate::liveness::Beat;
use crate::storage::Bell;
use crate::storage::Refused;
use crate::storage::readers::{ReadReply, ReadRequest, Readers};
use crate::storage::writers::{ClerkJob, WriteJob, WriteReply, Writers};

/// Reads, writes and work on names.
pub(crate) struct Workers {
    readers: Readers,
    writers: Writers,
    queue: Queue,
}

/// Work that waits for its thread pool.
#[derive(Default)]
pub(crate) struct Queue {
    reads: VecDeque<ReadRequest>,
    writes: VecDeque<WriteJob>,
    clerk: VecDeque<ClerkJob>,
}

impl Queue {
    /// A block to be populated, hashed or verified.
    pub(crate) fn read(&mut self, request: ReadRequest) {
        self.reads.push_back(request);
    }

    /// A block to be written.
    pub(crate) fn write(&mut self, job: WriteJob) {
        self.writes.push_back(job);
    }

    /// A file to be created, committed or dropped.
    pub(crate) fn clerk(&mut self, job: ClerkJob) {
        self.clerk.push_back(job);
    }
}

impl Workers {
    /// Starts the threads; `bell` wakes the engine.
    pub(crate) fn start(bell: &Bell) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // On two cores one of each keeps the cores for sealing; more cores hash and write in parallel.
        let each = (cores / 2).clamp(1, 4);
        let readers = Readers::spawn(each, bell)?;
        let writers = Writers::spawn(each, each.max(2), bell)?;
        Ok(Self { readers, writers, queue: Queue::default() })
    }

    /// The signs of life of the writers.
    pub(crate) fn beats(&self) -> &[Arc<Beat>] {
        self.writers.beats()
    }

    /// Where new work is put. It is handed on by [`pump`](Self::pump).
    pub(crate) fn queue(&mut self) -> &mut Queue {
        &mut self.queue
    }

    /// Hands on as much as the threads take. Called after each reply and at the end of each tick.
    pub(crate) fn pump(&mut self) {
        pump(&mut self.queue.reads, |request| self.readers.try_send(request));
        pump(&mut self.queue.writes, |job| self.writers.try_write(job));
        pump(&mut self.queue.clerk, |job| self.writers.try_clerk(job));
    }

    pub(crate) fn next_read(&mut self) -> Option<ReadReply> {
        self.readers.try_recv()
    }

    pub(crate) fn next_write(&mut self) -> Option<WriteReply> {
        self.writers.try_recv()
    }
}

fn pump<T>(waiting: &mut VecDeque<T>, mut hand_on: impl FnMut(T) -> Result<(), Refused<T>>) {
    while let Some(work) = waiting.pop_front() {
        if let Err(refused) = hand_on(work) {
            waiting.push_front(refused.into_inner());
            return;
        }
    }
}
