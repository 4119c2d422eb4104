//! A pipe as a destination.
//!
//! Blocks come in the order of the file and are written by a thread of the pipe's own, at most `PIPE_BUF` bytes after
//! each POLLOUT: so much always fits then, and a reader that stands still is waited for where the thread can be
//! stopped. What was written cannot be taken back, so an outlet serves one part that came so far; another one is
//! refused once a byte was written.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use nix::sys::signal::{SigSet, Signal};
use udpx_control::descriptor::{DescriptorKind, classify};

use super::thread::{For, Slot, Wake};
use crate::storage::blocks::Block;
use crate::storage::digest::Subtrees;
use crate::storage::listing::Listing;
use crate::storage::part::{Finish, Part};
use crate::storage::path::RelPath;
use crate::storage::source::{Source, SourceError};
use crate::storage::vault::{PartSpec, Vault, VaultError};
use crate::storage::writers::{WriteJob, WriteReply, Written};
use crate::storage::{BLOCK, Bell, Refused};

/// A descriptor that takes bytes in their order.
pub struct Outlet {
    name: PathBuf,
    file: Arc<File>,
    /// A regular file always takes everything.
    is_file: bool,
    written: AtomicU64,
    /// A part has it.
    busy: AtomicBool,
}

/// A part whose bytes go to an outlet.
pub struct PipePart {
    outlet: Arc<Outlet>,
    wake: Arc<Wake>,
    /// To its thread, once that runs.
    jobs: OnceLock<Sender<PipeJob>>,
}

/// A block for the thread. It does not keep the part alive: dropping the part is what stops the thread.
struct PipeJob {
    tag: u64,
    block_index: u64,
    block: Block,
    completes: Option<Subtrees>,
}

impl Outlet {
    /// A pipe, a terminal or a file that is open for writing; `name` is for messages.
    ///
    /// # Errors
    /// [`VaultError`]: nothing can be written to it in order.
    pub fn new(file: Arc<File>, name: &Path) -> Result<Self, VaultError> {
        let found = classify(&*file).map_err(|error| VaultError::at(name, "examined", error))?;
        found.check_output().map_err(|error| VaultError::Handed { path: name.into(), error })?;
        Ok(Self {
            name: name.into(),
            file,
            is_file: found.kind == DescriptorKind::File,
            written: AtomicU64::new(0),
            busy: AtomicBool::new(false),
        })
    }

    /// Its name, for messages.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// A part that has it alone.
    fn part(self: &Arc<Self>) -> Result<PipePart, VaultError> {
        let end = Instant::now() + HANDOVER;
        while self.busy.swap(true, Ordering::AcqRel) {
            if Instant::now() >= end {
                return Err(VaultError::Busy(self.name.clone()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let wake = Wake::new().map_err(|error| VaultError::at(&self.name, "prepared", error));
        let written = self.written.load(Ordering::Acquire);
        let wake = if written > 0 {
            Err(VaultError::Begun { path: self.name.clone(), bytes: written })
        } else {
            wake
        };
        match wake {
            Ok(wake) => Ok(PipePart { outlet: self.clone(), wake: Arc::new(wake), jobs: OnceLock::new() }),
            Err(error) => {
                self.busy.store(false, Ordering::Release);
                Err(error)
            }
        }
    }

    fn failed(&self, error: io::Error) -> VaultError {
        match error.kind() {
            io::ErrorKind::BrokenPipe => VaultError::ReaderGone(self.name.clone()),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                VaultError::NoSpace { path: self.name.clone(), needed: 1, free: 0 }
            }
            _ => VaultError::Io { path: self.name.clone(), action: "written", error },
        }
    }
}

impl PipePart {
    /// Starts its thread, which answers each job and rings. Called by a clerk.
    ///
    /// # Errors
    /// There are too many pipes, or the system has no more threads.
    pub(crate) fn start(&self, replies: &Sender<WriteReply>, bell: &Bell) -> Result<(), VaultError> {
        let slot = Slot::take().ok_or_else(|| VaultError::Busy(self.outlet.name.clone()))?;
        let (sender, jobs) = bounded(JOBS_MAX);
        let writer = Writer { outlet: self.outlet.clone(), wake: self.wake.clone(), failed: false };
        let (replies, bell) = (replies.clone(), bell.clone());
        let thread = std::thread::Builder::new().name("udpx-pipe-out".into());
        let spawned = thread.spawn(move || {
            writer.run(&jobs, &replies, &bell);
            drop(slot);
        });
        spawned.map_err(|error| VaultError::at(&self.outlet.name, "prepared", error))?;
        // It is started once; another sender would end the thread that it belongs to.
        let _ = self.jobs.set(sender);
        Ok(())
    }

    /// Queues a block, or gives it back at once.
    pub(crate) fn try_write(&self, job: WriteJob) -> Result<(), Refused<WriteJob>> {
        let Some(jobs) = self.jobs.get() else { return Err(Refused::Closed(job)) };
        let WriteJob { tag, part, block_index, block, completes } = job;
        let back = |PipeJob { tag, block_index, block, completes }| WriteJob {
            tag,
            part,
            block_index,
            block,
            completes,
        };
        match jobs.try_send(PipeJob { tag, block_index, block, completes }) {
            Ok(()) => Ok(()),
            // Then what other files want written waits behind it.
            Err(TrySendError::Full(job)) => Err(Refused::Full(back(job))),
            Err(TrySendError::Disconnected(job)) => Err(Refused::Closed(back(job))),
        }
    }

    /// Everything is written: what can be synced is.
    pub(crate) fn commit(&self) -> Result<PathBuf, VaultError> {
        if self.outlet.is_file {
            self.outlet
                .file
                .sync_all()
                .map_err(|error| VaultError::at(&self.outlet.name, "synced", error))?;
        }
        Ok(self.outlet.name.clone())
    }

    /// Its name, for messages.
    pub(crate) fn name(&self) -> &Path {
        &self.outlet.name
    }
}

impl Drop for PipePart {
    fn drop(&mut self) {
        self.wake.stop();
        if self.jobs.get().is_none() {
            self.outlet.busy.store(false, Ordering::Release);
        }
    }
}

/// The thread of a part.
struct Writer {
    outlet: Arc<Outlet>,
    wake: Arc<Wake>,
    /// What follows a failure would leave a hole.
    failed: bool,
}

impl Writer {
    fn run(mut self, jobs: &Receiver<PipeJob>, replies: &Sender<WriteReply>, bell: &Bell) {
        // A reader that has gone is an error of this pipe, not the end of whatever process this is.
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGPIPE);
        let _ = signals.thread_block();
        for job in jobs {
            let PipeJob { tag, block_index, mut block, completes } = job;
            let bytes = block.valid_bytes();
            let whole = &block.bytes()[..bytes as usize];
            let result = self
                .write(block_index, whole)
                .map(|()| completes.and_then(|subtrees| subtrees.cv(block_index, whole)));
            self.failed |= result.is_err();
            block.clear();
            let written = Written { tag, block_index, block, bytes, reread_bytes: 0, result };
            if replies.send(WriteReply::Written(written)).is_err() {
                break;
            }
            bell();
        }
        self.outlet.busy.store(false, Ordering::Release);
    }

    fn write(&self, block_index: u64, mut bytes: &[u8]) -> Result<(), VaultError> {
        let at = self.outlet.written.load(Ordering::Acquire);
        if self.failed || at != block_index.saturating_mul(BLOCK) {
            return Err(VaultError::Poisoned(self.outlet.name.clone()));
        }
        let piece_max = if self.outlet.is_file { bytes.len() } else { libc::PIPE_BUF };
        while !bytes.is_empty() {
            let ready = self.wake.wait(&self.outlet.file, For::Writing);
            if self.wake.is_stopped() {
                return Err(VaultError::Poisoned(self.outlet.name.clone()));
            }
            if !ready.map_err(|error| self.outlet.failed(error))? {
                continue;
            }
            match (&*self.outlet.file).write(&bytes[..bytes.len().min(piece_max)]) {
                Ok(0) => return Err(self.outlet.failed(io::ErrorKind::WriteZero.into())),
                Ok(written) => {
                    bytes = &bytes[written..];
                    self.outlet.written.fetch_add(written as u64, Ordering::AcqRel);
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(self.outlet.failed(error)),
            }
        }
        Ok(())
    }
}

/// A place that consists of one pipe, whatever the file is called.
pub struct PipeVault {
    outlet: Arc<Outlet>,
}

impl PipeVault {
    /// Files go there: one.
    pub fn new(outlet: Arc<Outlet>) -> Self {
        Self { outlet }
    }
}

impl Vault for PipeVault {
    fn open_source(&self, path: &RelPath) -> Result<Source, SourceError> {
        Err(SourceError::NotFound(path.as_path().into()))
    }

    fn create_part(&self, _: &RelPath, spec: PartSpec) -> Result<Part, VaultError> {
        Ok(Part::pipe(self.outlet.part()?, spec.size))
    }

    fn commit(&self, part: &Part, finish: Finish) -> Result<PathBuf, VaultError> {
        part.commit(finish)
    }

    fn list(&self, _: Option<&RelPath>) -> Result<Listing, SourceError> {
        Ok(Listing { entries: Vec::new(), is_cut: false })
    }
}

/// Blocks that wait for a pipe: more than the staging memory of a session holds, unless that is beyond 4 GiB.
const JOBS_MAX: usize = 4096;
/// How long a new part waits for the one before to end.
const HANDOVER: Duration = Duration::from_secs(1);
