//! The ledger: what is known of jobs, kept on the disk by a thread of its own.
//!
//! ```text
//! conductor: save, remove, set_root, set_limit -> Changes (gathered here) -> one batch under way -> "udpx-ledger" -> one commit
//!            poll <- Durable(up to) or Failing <----------------------------------------------'  rings the bell
//! ```
//!
//! Nothing that the conductor calls waits for a disk. While one batch is being made durable the next one gathers, and
//! a job that changes ten times meanwhile is written once: what waits is bounded by what the job table holds. Each
//! change has a [`Sequence`]; a client is told that its job is accepted once the ledger has said that it is durable.
//!
//! A disk that refuses is told as [`LedgerReport::Failing`], each time; the batch is tried again until it is written,
//! so nothing is lost by a disk that was full for an hour. Only when the daemon ends there is one last try.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};

use super::record::{History, JobRecord};
use super::store::{Changes, Store};
pub(crate) use super::store::{Kept, LedgerError};
use crate::storage::Bell;

/// A place in the order of changes: whatever has a lower or equal one was changed before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Sequence(u64);

/// What became of changes.
#[derive(Debug)]
pub(crate) enum LedgerReport {
    /// All changes up to this one are on the disk.
    Durable(Sequence),
    /// They are not, and are tried again: the jobs are in memory only.
    Failing(LedgerError),
}

/// The conductor's end of the ledger. Dropping it writes what is left.
pub(crate) struct Ledger {
    changes: Changes,
    /// Of the last change.
    last: Sequence,
    /// Of the last change that was handed to the thread.
    handed: Sequence,
    durable: Sequence,
    last_job: u64,
    batches: Option<Sender<Batch>>,
    reports: Option<Receiver<LedgerReport>>,
    /// Its end ends the thread's waiting.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Batch {
    changes: Changes,
    up_to: Sequence,
}

impl Ledger {
    /// Opens the job table in `directory`, makes one if there is none, forgets what `history` does not keep, and
    /// returns what is left: jobs as they were when they were last saved, running ones too. `bell` rings after each
    /// report.
    ///
    /// # Errors
    /// [`LedgerError`]; then nothing was changed.
    pub(crate) fn open(directory: &Path, history: History, bell: Bell) -> Result<(Self, Kept), LedgerError> {
        let store = Store::open(directory)?;
        let mut kept = store.load()?;
        let (batches, work) = bounded(BATCHES_MAX);
        let (out, reports) = bounded(REPORTS_MAX);
        let (stop, stopped) = bounded(0);
        let writer = Writer { store: Some(store), directory: directory.into(), work, out, stopped, bell };
        let thread = std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || writer.run());
        let thread = thread.map_err(|error| LedgerError::Io {
            path: directory.into(),
            action: "given a thread of its own",
            error,
        })?;
        let mut ledger = Self {
            changes: Changes::default(),
            last: Sequence::default(),
            handed: Sequence::default(),
            durable: Sequence::default(),
            last_job: kept.last_job,
            batches: Some(batches),
            reports: Some(reports),
            stop: Some(stop),
            thread: Some(thread),
        };
        let expired = history.expired_of(kept.jobs.iter(), unix_ms());
        let gone: HashSet<u64> = expired.iter().copied().collect();
        kept.jobs.retain(|job| !gone.contains(&job.id));
        for id in expired {
            ledger.remove(id);
        }
        Ok((ledger, kept))
    }

    /// A number that no job had before.
    pub(crate) fn next_id(&mut self) -> u64 {
        self.last_job += 1;
        self.last_job
    }

    /// Has a job written as it is now, with the outcomes of files that are new.
    pub(crate) fn save(&mut self, record: &mut JobRecord) -> Sequence {
        self.last_job = self.last_job.max(record.id);
        for source in record.files.take_unsaved() {
            if let Some(file) = record.files.of(source) {
                self.changes.files.insert((record.id, source), json(file));
            }
        }
        self.changes.jobs.insert(record.id, Some(json(record)));
        self.changed()
    }

    /// Has a job forgotten.
    pub(crate) fn remove(&mut self, id: u64) -> Sequence {
        self.changes.jobs.insert(id, None);
        self.changes.files.retain(|&(job, _), _| job != id);
        self.changed()
    }

    /// Has a root kept, or another path of it.
    pub(crate) fn set_root(&mut self, name: &str, path: &Path) -> Sequence {
        self.changes.roots.insert(name.into(), Some(path.into()));
        self.changed()
    }

    /// Has a root forgotten.
    pub(crate) fn remove_root(&mut self, name: &str) -> Sequence {
        self.changes.roots.insert(name.into(), None);
        self.changed()
    }

    /// Has the cap of everything together kept, or that there is none.
    pub(crate) fn set_limit(&mut self, bps: Option<u64>) -> Sequence {
        self.changes.limit_bps = Some(bps);
        self.changed()
    }

    /// What became of changes since it was last asked; `None` if nothing is new. To be asked whenever the bell rang.
    pub(crate) fn poll(&mut self) -> Option<LedgerReport> {
        let report = self.reports.as_ref()?.try_recv().ok()?;
        if let LedgerReport::Durable(up_to) = report {
            self.durable = up_to;
            self.hand_on();
        }
        Some(report)
    }

    /// Whether a change is on the disk.
    pub(crate) fn is_durable(&self, change: Sequence) -> bool {
        change <= self.durable
    }

    /// Waits until everything is on the disk, for `at_most` so long: for the end of the daemon.
    ///
    /// # Errors
    /// Why it is not; `None` if nobody knows yet.
    pub(crate) fn flush(&mut self, at_most: Duration) -> Result<(), Option<LedgerError>> {
        let until = Instant::now() + at_most;
        let mut failing = None;
        self.hand_on();
        while self.durable < self.last {
            let Some(Ok(report)) = self.reports.as_ref().map(|reports| reports.recv_deadline(until)) else {
                return Err(failing);
            };
            match report {
                LedgerReport::Durable(up_to) => {
                    self.durable = up_to;
                    self.hand_on();
                }
                LedgerReport::Failing(error) => failing = Some(error),
            }
        }
        Ok(())
    }

    fn changed(&mut self) -> Sequence {
        self.last.0 += 1;
        self.hand_on();
        self.last
    }

    /// Hands what has gathered to the thread, if that has nothing to do.
    fn hand_on(&mut self) {
        // One batch under way: the others gather here, where they replace each other.
        if self.handed > self.durable || self.last == self.handed {
            return;
        }
        let Some(batches) = &self.batches else { return };
        let mut changes = std::mem::take(&mut self.changes);
        changes.last_job = self.last_job;
        match batches.try_send(Batch { changes, up_to: self.last }) {
            Ok(()) => self.handed = self.last,
            Err(TrySendError::Full(batch) | TrySendError::Disconnected(batch)) => {
                self.changes = batch.changes;
            }
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        // Without anybody who listens the thread neither waits nor tries twice.
        drop((self.reports.take(), self.stop.take()));
        if let Some(batches) = self.batches.take()
            && self.last > self.handed
        {
            let mut changes = std::mem::take(&mut self.changes);
            changes.last_job = self.last_job;
            // Fails only where the thread is gone, of which the join tells.
            let _ = batches.send(Batch { changes, up_to: self.last });
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the ledger had panicked");
        }
    }
}

/// The thread's state.
struct Writer {
    /// `None` after a failure, until it is open again.
    store: Option<Store>,
    directory: PathBuf,
    work: Receiver<Batch>,
    out: Sender<LedgerReport>,
    /// Ends when the daemon does.
    stopped: Receiver<()>,
    bell: Bell,
}

impl Writer {
    fn run(mut self) {
        while let Ok(batch) = self.work.recv() {
            let mut pause = RETRY_FIRST;
            while let Err(error) = self.commit(&batch.changes) {
                tracing::error!(%error, "jobs are not kept");
                // Somebody who has not read eight of them knows.
                let _ = self.out.try_send(LedgerReport::Failing(error));
                (self.bell)();
                if self.stopped.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                    // One last try, for what may have been mended since.
                    if let Err(error) = self.commit(&batch.changes) {
                        tracing::error!(%error, "the last changes of jobs are lost");
                    }
                    break;
                }
                pause = (pause * 2).min(RETRY_MAX);
            }
            // Fails where nobody wants to know any more.
            let _ = self.out.send(LedgerReport::Durable(batch.up_to));
            (self.bell)();
        }
    }

    fn commit(&mut self, changes: &Changes) -> Result<(), LedgerError> {
        let store = match self.store.take() {
            Some(store) => store,
            None => Store::open(&self.directory)?,
        };
        // After an error the file is opened anew: redb refuses to go on, and rightly.
        store.commit(changes)?;
        self.store = Some(store);
        Ok(())
    }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON refuses maps with keys that are no text, and a record has none")
}

/// Now, as records say it.
pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

const THREAD_NAME: &str = "udpx-ledger";
/// Batches under way; the next one gathers.
const BATCHES_MAX: usize = 1;
/// Reports that wait for the conductor; failures beyond are only logged.
const REPORTS_MAX: usize = 8;
/// From a failed try to the next, doubled each time.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
