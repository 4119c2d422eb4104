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
use crate::storage::digest::Hashing;
use crate::storage::lender::{Answered, Answers, Routed};
use crate::storage::pipe::SlabPool;
use crate::storage::readers::{ReadReply, ReadRequest, Readers};
use crate::storage::source::Loading;
use crate::storage::writers::{ClerkJob, WriteJob, WriteReply, Writers};

/// Reads, writes and work on names.
pub(crate) struct Workers {
    readers: Readers,
    writers: Writers,
    queue: Queue,
}

/// Work that waits for its thread pool.
pub(crate) struct Queue {
    reads: VecDeque<ReadRequest>,
    /// Memory for blocks of files that are not mapped.
    slabs: SlabPool,
    writes: VecDeque<WriteJob>,
    clerk: VecDeque<ClerkJob>,
    /// Replies to work that no thread had to do.
    replies: VecDeque<WriteReply>,
    /// What processes of users have done for us.
    answers: Answers,
    bell: Bell,
    hashing: Hashing,
}

impl Queue {
    /// A block to be populated, hashed or verified.
    pub(crate) fn read(&mut self, request: ReadRequest) {
        self.reads.push_back(request);
    }

    /// Memory for blocks of files that are not mapped.
    pub(crate) fn slabs(&self) -> &SlabPool {
        &self.slabs
    }

    /// Who computes digests.
    pub(crate) fn hashing(&self) -> Hashing {
        self.hashing
    }

    /// A block to be written.
    pub(crate) fn write(&mut self, job: WriteJob) {
        self.writes.push_back(job);
    }

    /// A file to be created, committed or dropped: by a clerk, or by the process that lends it.
    pub(crate) fn clerk(&mut self, job: ClerkJob) {
        match self.answers.route(job) {
            Routed::Clerk(job) => self.clerk.push_back(job),
            Routed::Sent => {}
            Routed::Reply(reply) => {
                self.replies.push_back(reply);
                (self.bell)();
            }
        }
    }

    /// The next reply of a lender. Files that came for parts go on to a clerk.
    fn next_lent(&mut self) -> Option<WriteReply> {
        while let Some(answered) = self.answers.next() {
            match answered {
                Answered::Reply(reply) => return Some(reply),
                Answered::Adopt(adoption) => self.clerk.push_back(ClerkJob::Adopt(adoption)),
            }
        }
        None
    }
}

impl Workers {
    /// Starts the threads; `bell` wakes the engine. `loading` is how files come into memory, `hashing` who computes their
    /// digests.
    pub(crate) fn start(bell: &Bell, loading: Loading, hashing: Hashing) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        // On two cores one of each keeps the cores for sealing; more cores hash and write in parallel.
        let each = (cores / 2).clamp(1, 4);
        let readers = Readers::spawn(each, bell, loading)?;
        let writers = Writers::spawn(each, each.max(2), bell)?;
        let queue = Queue {
            reads: VecDeque::new(),
            slabs: SlabPool::default(),
            writes: VecDeque::new(),
            clerk: VecDeque::new(),
            replies: VecDeque::new(),
            answers: Answers::new(bell),
            bell: bell.clone(),
            hashing,
        };
        Ok(Self { readers, writers, queue })
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
        let own = self.queue.replies.pop_front();
        own.or_else(|| self.queue.next_lent()).or_else(|| self.writers.try_recv())
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
