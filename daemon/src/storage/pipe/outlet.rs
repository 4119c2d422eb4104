//! A pipe as a destination.
//!
//! Blocks come in the order of the file and are written by a thread of the pipe's own, at most `PIPE_BUF` bytes after
//! each POLLOUT: so much always fits then, and a reader that stands still is waited for where the thread can be
//! stopped. What was written cannot be taken back, so an outlet serves one part that came so far; another one is
//! refused once a byte was written.
//!
//! Instead of a pipe it may be a [`Sink`]: code of this process that is handed the blocks as they lie in staging memory.
//! It may take its time too, and what it does not take pushes back on the sender in the same way.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
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
use crate::storage::source::{Loading, Source, SourceError};
use crate::storage::vault::{PartSpec, Vault, VaultError};
use crate::storage::writers::{WriteJob, WriteReply, Written};
use crate::storage::{BLOCK, Bell, Refused};

/// Code that takes bytes in their order, on a thread that is not the engine's.
pub trait Sink: Send + Sync {
    /// A file begins, of so many bytes if that is known. False declines it. What was taken of a file that did not come
    /// to its end is void.
    fn begin(&self, path: &Path, size: Option<u64>) -> bool;
    /// Whether a file may begin after another, or the same once more. If not there is one, once.
    fn begins_again(&self) -> bool;
    /// The next bytes; false leaves the rest.
    fn take(&self, bytes: &[u8]) -> bool;
}

/// A sink that is shared; two are equal if they are the same.
#[derive(Clone)]
pub struct SinkRef(pub Arc<dyn Sink>);

impl PartialEq for SinkRef {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for SinkRef {}

impl std::fmt::Debug for SinkRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SinkRef")
    }
}

/// What takes bytes in their order.
pub struct Outlet {
    name: PathBuf,
    mouth: Mouth,
    written: AtomicU64,
    /// A part has it.
    busy: AtomicBool,
}

enum Mouth {
    /// A descriptor. A regular file always takes everything.
    File {
        file: Arc<File>,
        is_file: bool,
    },
    Sink(Arc<dyn Sink>),
}

/// A part whose bytes go to an outlet.
pub struct PipePart {
    outlet: Arc<Outlet>,
    wake: Arc<Wake>,
    /// To its thread, once that runs.
    jobs: OnceLock<Sender<PipeJob>>,
    thread: OnceLock<JoinHandle<()>>,
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
        let is_file = found.kind == DescriptorKind::File;
        Ok(Self::of(name, Mouth::File { file, is_file }))
    }

    /// Code of this process; `name` is for messages.
    pub fn sink(SinkRef(sink): SinkRef, name: &Path) -> Self {
        Self::of(name, Mouth::Sink(sink))
    }

    fn of(name: &Path, mouth: Mouth) -> Self {
        let (written, busy) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { name: name.into(), mouth, written, busy }
    }

    /// Its name, for messages.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// A part that has it alone, for a file that is called so.
    fn part(self: &Arc<Self>, path: &Path, size: Option<u64>) -> Result<PipePart, VaultError> {
        let end = Instant::now() + HANDOVER;
        while self.busy.swap(true, Ordering::AcqRel) {
            if Instant::now() >= end {
                return Err(VaultError::Busy(self.name.clone()));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        let wake = self
            .begin(path, size)
            .and_then(|()| Wake::new().map_err(|error| VaultError::at(&self.name, "prepared", error)));
        let wake = wake.inspect_err(|_| self.busy.store(false, Ordering::Release))?;
        let (jobs, thread) = (OnceLock::new(), OnceLock::new());
        Ok(PipePart { outlet: self.clone(), wake: Arc::new(wake), jobs, thread })
    }

    fn begin(&self, path: &Path, size: Option<u64>) -> Result<(), VaultError> {
        let written = self.written.load(Ordering::Acquire);
        match &self.mouth {
            Mouth::Sink(sink) if written == 0 || sink.begins_again() => {
                self.written.store(0, Ordering::Release);
                match sink.begin(path, size) {
                    true => Ok(()),
                    false => Err(VaultError::Declined(self.name.clone())),
                }
            }
            _ if written > 0 => Err(VaultError::Begun { path: self.name.clone(), bytes: written }),
            _ => Ok(()),
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
        let thread = spawned.map_err(|error| VaultError::at(&self.outlet.name, "prepared", error))?;
        let _ = self.thread.set(thread);
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
        if let Mouth::File { file, is_file: true } = &self.outlet.mouth {
            file.sync_all().map_err(|error| VaultError::at(&self.outlet.name, "synced", error))?;
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
        if self.jobs.take().is_none() {
            self.outlet.busy.store(false, Ordering::Release);
        }
        // Whoever gave a sink may want to be sure that nothing calls it any more. A pipe is not waited for: what it
        // leads to may hang.
        if let (Mouth::Sink(_), Some(thread)) = (&self.outlet.mouth, self.thread.take())
            && thread.join().is_err()
        {
            tracing::error!("the thread of a sink had panicked");
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
        let (file, is_file) = match &self.outlet.mouth {
            Mouth::File { file, is_file } => (file, *is_file),
            Mouth::Sink(sink) => return self.hand_over(&**sink, bytes),
        };
        let piece_max = if is_file { bytes.len() } else { libc::PIPE_BUF };
        while !bytes.is_empty() {
            let ready = self.wake.wait(file, For::Writing);
            if self.wake.is_stopped() {
                return Err(VaultError::Poisoned(self.outlet.name.clone()));
            }
            if !ready.map_err(|error| self.outlet.failed(error))? {
                continue;
            }
            match (&**file).write(&bytes[..bytes.len().min(piece_max)]) {
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

impl Writer {
    fn hand_over(&self, sink: &dyn Sink, bytes: &[u8]) -> Result<(), VaultError> {
        if self.wake.is_stopped() {
            return Err(VaultError::Poisoned(self.outlet.name.clone()));
        }
        // Even if it is declined: there may be no telling what was done with it.
        self.outlet.written.fetch_add(bytes.len() as u64, Ordering::AcqRel);
        match sink.take(bytes) {
            true => Ok(()),
            false => Err(VaultError::Declined(self.outlet.name.clone())),
        }
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
    fn open_source(&self, path: &RelPath, _: Loading) -> Result<Source, SourceError> {
        Err(SourceError::NotFound(path.as_path().into()))
    }

    fn create_part(&self, path: &RelPath, spec: PartSpec) -> Result<Part, VaultError> {
        Ok(Part::pipe(self.outlet.part(path.as_path(), spec.size)?, spec.size))
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
