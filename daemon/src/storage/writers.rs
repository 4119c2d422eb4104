//! Writer threads: they carry staged blocks to the disk and bring the empty blocks back.
//!
//! Two kinds of thread, so that a slow fsync never stands in the way of data:
//! - *writers* take [`WriteJob`]s. Each has a queue of its own, and a block of a file always goes to the same
//!   one: the runs of a block that was flushed early are in the file before its last run is written and the
//!   block is hashed.
//! - *clerks* share one queue of [`ClerkJob`]s: creating, committing and removing files. Several commits wait
//!   for the disk at once, which the file system's journal turns into one flush.
//!
//! The engine sends a commit only after the replies to all writes of that part. Both kinds answer into one
//! bounded queue and ring the bell.

use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::blocks::Block;
use super::digest::{Cv, Subtrees};
use super::lender::Adoption;
use super::listing::Listing;
use super::part::{Finish, Part};
use super::path::RelPath;
use super::source::SourceError;
use super::vault::{PartSpec, Vault, VaultError};
use super::{BLOCK, Bell, Refused};
use crate::liveness::Beat;

/// Blocks that wait for one writer.
pub const WRITE_QUEUE_MAX: usize = 128;
/// Jobs that wait for the clerks.
pub const CLERK_QUEUE_MAX: usize = 1024;
/// Replies that wait for the engine; writers pause when it is full.
pub const WRITE_REPLIES_MAX: usize = 512;

/// A staged block to be written.
#[derive(Debug)]
pub struct WriteJob {
    /// Comes back with the reply.
    pub tag: u64,
    /// The file.
    pub part: Arc<Part>,
    /// Index of the block in the file.
    pub block_index: u64,
    /// The bytes: its valid runs are written, the others left alone.
    pub block: Block,
    /// Given with the write that completes the block: its chaining value is wanted. The bytes that aren't in
    /// `block` because they were flushed before are read back from the file.
    pub completes: Option<Subtrees>,
}

/// Work on names and whole files.
pub enum ClerkJob {
    /// Create the part of a file.
    Create {
        /// Comes back with the reply.
        tag: u64,
        /// Where.
        vault: Arc<dyn Vault>,
        /// As what.
        path: RelPath,
        /// What is known of it.
        spec: PartSpec,
    },
    /// Make a part durable under its final name.
    Commit {
        /// Comes back with the reply.
        tag: u64,
        /// The vault that created it.
        vault: Arc<dyn Vault>,
        /// The file, all of whose writes have been answered.
        part: Arc<Part>,
        /// Its mode and time.
        finish: Finish,
    },
    /// Look at the file that came for a part, and reserve its space.
    Adopt(Box<Adoption>),
    /// Read a directory.
    List {
        /// Comes back with the reply.
        tag: u64,
        /// Where.
        vault: Arc<dyn Vault>,
        /// Which; `None` is the root itself.
        path: Option<RelPath>,
    },
    /// Drop a part; the last one to drop it removes the unfinished file, which may block.
    Discard {
        /// Comes back with the reply.
        tag: u64,
        /// The file.
        part: Arc<Part>,
    },
}

impl std::fmt::Debug for ClerkJob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClerkJob::Create { tag, path, .. } => write!(f, "Create({tag}, {path:?})"),
            ClerkJob::Commit { tag, part, .. } => write!(f, "Commit({tag}, {part:?})"),
            ClerkJob::Adopt(adoption) => write!(f, "Adopt({})", adoption.tag),
            ClerkJob::List { tag, path, .. } => write!(f, "List({tag}, {path:?})"),
            ClerkJob::Discard { tag, part } => write!(f, "Discard({tag}, {part:?})"),
        }
    }
}

/// What a writer or a clerk did.
#[derive(Debug)]
pub enum WriteReply {
    /// Of a [`WriteJob`].
    Written(Written),
    /// Of [`ClerkJob::Create`] and [`ClerkJob::Adopt`].
    Created {
        /// The request's tag.
        tag: u64,
        /// The part, with its space reserved.
        result: Result<Arc<Part>, VaultError>,
    },
    /// Of [`ClerkJob::Commit`].
    Committed {
        /// The request's tag.
        tag: u64,
        /// The final path, durable.
        result: Result<PathBuf, VaultError>,
    },
    /// Of [`ClerkJob::List`].
    Listed {
        /// The request's tag.
        tag: u64,
        /// What is there.
        result: Result<Listing, SourceError>,
    },
    /// Of [`ClerkJob::Discard`].
    Discarded {
        /// The request's tag.
        tag: u64,
    },
}

/// What became of a block.
#[derive(Debug)]
pub struct Written {
    /// The request's tag.
    pub tag: u64,
    /// Index of the block in the file.
    pub block_index: u64,
    /// The block, for the pool.
    pub block: Block,
    /// Valid bytes that it held: what the staging credit gets back, also after an error.
    pub bytes: u32,
    /// Bytes read back from the file to hash the block.
    pub reread_bytes: u64,
    /// The chaining value if it was wanted (and the part can be read back, where that was needed).
    pub result: Result<Option<Cv>, VaultError>,
}

/// The engine's end of the writers and clerks.
pub struct Writers {
    /// Emptied first on drop: the threads end when the queues are closed.
    ends: Option<Ends>,
    threads: Vec<JoinHandle<()>>,
    beats: Vec<Arc<Beat>>,
    refused: AtomicU64,
}

struct Ends {
    writers: Vec<Sender<WriteJob>>,
    clerks: Sender<ClerkJob>,
    replies: Receiver<WriteReply>,
}

impl Writers {
    /// Starts the threads, at least one of each kind; they ring `bell` after each reply.
    pub fn spawn(writers: usize, clerks: usize, bell: &Bell) -> io::Result<Self> {
        let (replies, inbox) = bounded(WRITE_REPLIES_MAX);
        let (clerk_jobs, clerk_queue) = bounded(CLERK_QUEUE_MAX);
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        let mut beats = Vec::new();
        for number in 0..writers.max(1) {
            let (sender, queue) = bounded(WRITE_QUEUE_MAX);
            senders.push(sender);
            let name = format!("udpx-write-{number}");
            let beat = Beat::working(&name);
            beats.push(beat.clone());
            let work = move |job| beat.during(|| write(job));
            threads.push(spawn_worker(name, queue, replies.clone(), bell.clone(), work)?);
        }
        for number in 0..clerks.max(1) {
            let name = format!("udpx-clerk-{number}");
            let (pipe_replies, pipe_bell) = (replies.clone(), bell.clone());
            let work = move |job| perform(job, &pipe_replies, &pipe_bell);
            threads.push(spawn_worker(name, clerk_queue.clone(), replies.clone(), bell.clone(), work)?);
        }
        let ends = Some(Ends { writers: senders, clerks: clerk_jobs, replies: inbox });
        Ok(Self { ends, threads, beats, refused: AtomicU64::new(0) })
    }

    /// The signs of life of the writers.
    pub fn beats(&self) -> &[Arc<Beat>] {
        &self.beats
    }

    /// Queues a block for writing, or gives it back at once.
    pub fn try_write(&self, job: WriteJob) -> Result<(), Refused<WriteJob>> {
        let Some(ends) = &self.ends else {
            return Err(Refused::Closed(job));
        };
        // A pipe has a writer of its own: it may stand still for as long as its reader does.
        let part = job.part.clone();
        if let Some(pipe) = part.as_pipe() {
            return pipe.try_write(job);
        }
        let home = job.tag.wrapping_add(job.block_index) % ends.writers.len() as u64;
        ends.writers[home as usize].try_send(job).map_err(|error| self.refuse(error))
    }

    /// Queues work on names and whole files, or gives it back at once.
    pub fn try_clerk(&self, job: ClerkJob) -> Result<(), Refused<ClerkJob>> {
        let Some(ends) = &self.ends else {
            return Err(Refused::Closed(job));
        };
        ends.clerks.try_send(job).map_err(|error| self.refuse(error))
    }

    /// The next reply, if there is one.
    pub fn try_recv(&self) -> Option<WriteReply> {
        self.ends.as_ref()?.replies.try_recv().ok()
    }

    /// How often a request was given back because its queue was full.
    pub fn refused_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn refuse<T>(&self, error: crossbeam_channel::TrySendError<T>) -> Refused<T> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        error.into()
    }
}

impl Drop for Writers {
    fn drop(&mut self) {
        self.ends = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a writer thread had panicked");
            }
        }
    }
}

fn spawn_worker<T: Send + 'static>(
    name: String,
    queue: Receiver<T>,
    replies: Sender<WriteReply>,
    bell: Bell,
    work: impl Fn(T) -> WriteReply + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name).spawn(move || {
        for job in queue {
            if replies.send(work(job)).is_err() {
                return;
            }
            bell();
        }
    })
}

/// Does the work of a clerk. The writer of a pipe answers where writers do.
fn perform(job: ClerkJob, replies: &Sender<WriteReply>, bell: &Bell) -> WriteReply {
    match job {
        ClerkJob::Create { tag, vault, path, spec } => {
            let created = vault.create_part(&path, spec).and_then(|part| {
                part.as_pipe().map_or(Ok(()), |pipe| pipe.start(replies, bell))?;
                Ok(part)
            });
            WriteReply::Created { tag, result: created.map(Arc::new) }
        }
        ClerkJob::Commit { tag, vault, part, finish } => {
            WriteReply::Committed { tag, result: vault.commit(&part, finish) }
        }
        ClerkJob::Adopt(adoption) => {
            WriteReply::Created { tag: adoption.tag, result: adoption.adopt().map(Arc::new) }
        }
        ClerkJob::List { tag, vault, path } => WriteReply::Listed { tag, result: vault.list(path.as_ref()) },
        ClerkJob::Discard { tag, part } => {
            drop(part);
            WriteReply::Discarded { tag }
        }
    }
}

fn write(job: WriteJob) -> WriteReply {
    let WriteJob { tag, part, block_index, mut block, completes } = job;
    let bytes = block.valid_bytes();
    let mut reread_bytes = 0;
    let result = write_runs(&part, block_index, &block).and_then(|()| match completes {
        Some(subtrees) => hash(&part, block_index, &mut block, subtrees, &mut reread_bytes),
        None => Ok(None),
    });
    block.clear();
    WriteReply::Written(Written { tag, block_index, block, bytes, reread_bytes, result })
}

fn write_runs(part: &Part, block_index: u64, block: &Block) -> Result<(), VaultError> {
    let offset = block_index.saturating_mul(BLOCK);
    for run in block.runs() {
        let bytes = &block.bytes()[run.start as usize..run.end as usize];
        part.write(offset.saturating_add(run.start.into()), &mut [IoSlice::new(bytes)])?;
    }
    Ok(())
}

/// The chaining value of a block, whose gaps are first filled from the file.
fn hash(
    part: &Part,
    block_index: u64,
    block: &mut Block,
    subtrees: Subtrees,
    reread_bytes: &mut u64,
) -> Result<Option<Cv>, VaultError> {
    let range = subtrees.range(block_index);
    let len = (range.end - range.start) as u32;
    if !block.holds_exactly(len.into()) {
        if !part.is_readable() {
            return Ok(None);
        }
        for gap in gaps(block, len) {
            let buffer = &mut block.bytes_mut()[gap.start as usize..gap.end as usize];
            *reread_bytes += buffer.len() as u64;
            part.read_at(range.start + u64::from(gap.start), buffer)?;
        }
    }
    Ok(block.cv(subtrees, block_index))
}

/// What lies between the runs of a block, up to `len`.
fn gaps(block: &Block, len: u32) -> Vec<std::ops::Range<u32>> {
    let starts = std::iter::once(0).chain(block.runs().iter().map(|run| run.end));
    let ends = block.runs().iter().map(|run| run.start).chain(std::iter::once(len));
    starts.zip(ends).map(|(start, end)| start..end.min(len)).filter(|gap| !gap.is_empty()).collect()
}
