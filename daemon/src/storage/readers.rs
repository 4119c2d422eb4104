//! Reader threads: they touch the disk so that the engine touches memory only.
//!
//! For each 1 MiB block that is about to be sent a reader populates the mapping, hashes the block while it
//! is in the cache, unless the engine does, and checks that the file is still the one that was opened. The engine asks through
//! [`Readers::try_send`], which never blocks, and fetches replies with [`Readers::try_recv`] when the bell
//! has rung. Replies come in any order; each carries the request's tag.
//!
//! The pool belongs to one engine and ends with it: dropping it closes both queues and joins the threads.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use udpx_control::descriptor::classify;

use super::digest::Cv;
use super::path::RelPath;
use super::pipe::{Feed, Inlet, Line, Slab};
use super::source::{Loading, Source, SourceError, guard_thread};
use super::vault::Vault;
use super::{BLOCK, Bell, Refused};

/// Requests that wait for a reader: as many blocks as may be populated ahead of all sources of an engine.
pub const READ_QUEUE_MAX: usize = 256;
/// Replies that wait for the engine; readers pause when it is full.
pub const READ_REPLIES_MAX: usize = 256;
/// Blocks after which a source is compared with what it was at open: 64 MiB.
pub const VERIFY_EVERY_BLOCKS: u64 = (64 << 20) / BLOCK;

/// What a reader shall do.
#[derive(Debug)]
pub struct ReadRequest {
    /// Comes back with the reply.
    pub tag: u64,
    /// The work.
    pub job: ReadJob,
}

/// The kinds of work.
#[derive(Debug)]
pub enum ReadJob {
    /// Open a source.
    Open(Origin),
    /// Begin to read a pipe.
    Tap(Arc<Inlet>),
    /// Populate a block, and hash it if asked to: `hash` is false for a block that was hashed before and may
    /// have been evicted since.
    Prepare {
        /// The file.
        source: Arc<Source>,
        /// Index of the block.
        block: u64,
        /// Whether the chaining value is wanted.
        hash: bool,
    },
    /// Hash a block again that the receiver found bad, after checking that the source is unchanged.
    Rehash {
        /// The file.
        source: Arc<Source>,
        /// Index of the block.
        block: u64,
    },
    /// Read a block of a source that is not in memory, and hash it.
    Fetch {
        /// The file.
        source: Arc<Source>,
        /// Index of the block.
        block: u64,
        /// Room for it.
        slab: Slab,
    },
    /// Take what the receiver has out of memory.
    Release {
        /// The file.
        source: Arc<Source>,
        /// Bytes of it.
        range: Range<u64>,
    },
    /// Compare the file with what it was at open: the last step before it counts as sent.
    Verify {
        /// The file.
        source: Arc<Source>,
    },
}

/// Where a source comes from.
#[derive(Clone)]
pub enum Origin {
    /// A path of this process's own user.
    Path(PathBuf),
    /// A name in a vault.
    Vault(Arc<dyn Vault>, RelPath),
    /// A file that another process has opened.
    Handed {
        /// It.
        file: Arc<File>,
        /// Its name, for messages.
        path: PathBuf,
    },
}

impl Origin {
    /// Its name, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Origin::Path(path) | Origin::Handed { path, .. } => path,
            Origin::Vault(_, path) => path.as_path(),
        }
    }
}

impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.path().fmt(f)
    }
}

/// What a reader did.
#[derive(Debug)]
pub struct ReadReply {
    /// The request's tag.
    pub tag: u64,
    /// The outcome of its job.
    pub outcome: ReadOutcome,
}

/// The outcomes, by kind of work.
#[derive(Debug)]
pub enum ReadOutcome {
    /// Of [`ReadJob::Open`].
    Opened(Result<Arc<Source>, SourceError>),
    /// Of [`ReadJob::Tap`].
    Tapped(Result<Feed, SourceError>),
    /// Something came out of a pipe that was tapped: see [`Feed::next_fill`].
    Flowed,
    /// Of [`ReadJob::Prepare`]: the chaining value if it was asked for.
    Prepared {
        /// Index of the block.
        block: u64,
        /// Populated, hashed and found unchanged; or what went wrong.
        result: Result<Option<Cv>, SourceError>,
    },
    /// Of [`ReadJob::Rehash`].
    Rehashed {
        /// Index of the block.
        block: u64,
        /// The value of the block as it is now.
        result: Result<Cv, SourceError>,
    },
    /// Of [`ReadJob::Fetch`]: the block with its chaining value, of a file found unchanged; or what went wrong.
    Fetched {
        /// Index of the block.
        block: u64,
        /// It.
        result: Result<Slab, SourceError>,
    },
    /// Of [`ReadJob::Release`].
    Released,
    /// Of [`ReadJob::Verify`].
    Verified(Result<(), SourceError>),
}

/// The engine's end of the reader threads.
pub struct Readers {
    /// Emptied first on drop: the threads end when the queues are closed.
    ends: Option<(Sender<ReadRequest>, Receiver<ReadReply>)>,
    threads: Vec<JoinHandle<()>>,
    refused: AtomicU64,
}

impl Readers {
    /// Starts `threads` (at least one) reader threads that ring `bell` after each reply. `loading` is how files that they
    /// open come into memory.
    pub fn spawn(threads: usize, bell: &Bell, loading: Loading) -> io::Result<Self> {
        let (requests, queue) = bounded(READ_QUEUE_MAX);
        let (replies, inbox) = bounded(READ_REPLIES_MAX);
        let mut readers =
            Self { ends: Some((requests, inbox)), threads: Vec::new(), refused: AtomicU64::new(0) };
        for number in 0..threads.max(1) {
            let (queue, replies, bell) = (queue.clone(), replies.clone(), bell.clone());
            let name = format!("udpx-read-{number}");
            let thread = std::thread::Builder::new()
                .name(name)
                .spawn(move || read_loop(&queue, &replies, &bell, loading))?;
            readers.threads.push(thread);
        }
        Ok(readers)
    }

    /// Queues a request, or gives it back at once.
    pub fn try_send(&self, request: ReadRequest) -> Result<(), Refused<ReadRequest>> {
        let Some((requests, _)) = &self.ends else {
            return Err(Refused::Closed(request));
        };
        requests.try_send(request).map_err(|error| {
            self.refused.fetch_add(1, Ordering::Relaxed);
            error.into()
        })
    }

    /// The next reply, if there is one.
    pub fn try_recv(&self) -> Option<ReadReply> {
        self.ends.as_ref()?.1.try_recv().ok()
    }

    /// How often a request was given back because the queue was full.
    pub fn refused_count(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.ends = None;
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader thread had panicked");
            }
        }
    }
}

fn read_loop(queue: &Receiver<ReadRequest>, replies: &Sender<ReadReply>, bell: &Bell, loading: Loading) {
    let guard = guard_thread();
    if let Err(error) = &guard {
        // The thread's own stack has room for the handler too.
        tracing::warn!(%error, "no alternate signal stack for a reader");
    }
    for request in queue {
        let line = || Line { tag: request.tag, replies: replies.clone(), bell: bell.clone() };
        let reply = ReadReply { tag: request.tag, outcome: perform(request.job, loading, line) };
        if replies.send(reply).is_err() {
            return;
        }
        bell();
    }
}

fn perform(job: ReadJob, loading: Loading, line: impl FnOnce() -> Line) -> ReadOutcome {
    match job {
        ReadJob::Tap(inlet) => ReadOutcome::Tapped(inlet.tap(line())),
        ReadJob::Open(origin) => ReadOutcome::Opened(open(&origin, loading).map(Arc::new)),
        ReadJob::Prepare { source, block, hash } => {
            ReadOutcome::Prepared { block, result: prepare(&source, block, hash) }
        }
        ReadJob::Rehash { source, block } => ReadOutcome::Rehashed { block, result: rehash(&source, block) },
        ReadJob::Fetch { source, block, slab } => {
            ReadOutcome::Fetched { block, result: fetch(&source, block, slab) }
        }
        ReadJob::Release { source, range } => {
            source.release(range);
            ReadOutcome::Released
        }
        ReadJob::Verify { source } => ReadOutcome::Verified(source.verify_unchanged()),
    }
}

fn open(origin: &Origin, loading: Loading) -> Result<Source, SourceError> {
    match origin {
        Origin::Path(path) => Source::open_to(path, loading),
        Origin::Vault(vault, path) => vault.open_source(path, loading),
        Origin::Handed { file, path } => {
            let checked = classify(file).map_err(Into::into).and_then(|descriptor| descriptor.check_source());
            checked.map_err(|error| SourceError::Handed { path: path.clone(), error })?;
            let failed = |error| SourceError::Io { path: path.clone(), action: "opened", error };
            Source::load(file.try_clone().map_err(failed)?, path, loading)
        }
    }
}

fn prepare(source: &Source, block: u64, hash: bool) -> Result<Option<Cv>, SourceError> {
    source.populate(source.subtrees().range(block))?;
    let cv = if hash { Some(block_cv(source, block)?) } else { None };
    if block.is_multiple_of(VERIFY_EVERY_BLOCKS) {
        source.verify_unchanged()?;
    }
    Ok(cv)
}

fn fetch(source: &Source, block: u64, mut slab: Slab) -> Result<Slab, SourceError> {
    source.read_block(block, &mut slab)?;
    if block.is_multiple_of(VERIFY_EVERY_BLOCKS) {
        source.verify_unchanged()?;
    }
    Ok(slab)
}

fn rehash(source: &Source, block: u64) -> Result<Cv, SourceError> {
    source.populate(source.subtrees().range(block))?;
    let cv = block_cv(source, block)?;
    source.verify_unchanged().map(|()| cv)
}

/// The value of a block, trusted only if the source carries no mark after its bytes were read.
fn block_cv(source: &Source, block: u64) -> Result<Cv, SourceError> {
    let range = source.subtrees().range(block);
    let bytes = source.slice(range.start, (range.end - range.start) as usize);
    let cv = bytes.and_then(|bytes| source.subtrees().cv(block, bytes));
    match cv {
        Some(cv) if !source.is_changed() => Ok(cv),
        _ => Err(source.mark_changed()),
    }
}
