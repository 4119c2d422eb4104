//! Threads that answer demands: a slow disk holds up one of them, not the connection.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use udpx_control::limits::DEMANDS_MAX;
use udpx_control::schema::{Demand, Outcome};

use super::Vault;

/// A demand and what came of it.
#[derive(Debug)]
pub struct Answered {
    /// What was wanted.
    pub demand: Demand,
    /// What became of it.
    pub outcome: Outcome,
    /// The file, with [`Outcome::Opened`].
    pub descriptor: Option<OwnedFd>,
}

/// A few threads over one vault. Dropped, they finish what they are at.
#[derive(Debug)]
pub struct Clerks {
    demands: Option<Sender<Demand>>,
    answered: Receiver<Answered>,
    /// Readable while an answer waits.
    bell: UnixStream,
    threads: Vec<JoinHandle<()>>,
}

impl Clerks {
    /// Starts them.
    ///
    /// # Errors
    /// The system has no thread or descriptor left.
    pub fn start(vault: &Arc<Vault>) -> io::Result<Self> {
        let (demands, queue) = bounded::<Demand>(DEMANDS_MAX);
        let (answers, answered) = bounded(DEMANDS_MAX);
        let (bell, ringer) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        ringer.set_nonblocking(true)?;
        let mut clerks = Self { demands: Some(demands), answered, bell, threads: Vec::new() };
        for number in 0..THREADS {
            let (vault, queue, answers) = (vault.clone(), queue.clone(), answers.clone());
            let mut ringer = ringer.try_clone()?;
            let work = move || {
                for demand in queue {
                    let (outcome, descriptor) = vault.answer(&demand);
                    if answers.send(Answered { demand, outcome, descriptor }).is_err() {
                        return;
                    }
                    // A full bell has rung.
                    let _ = ringer.write(&[1]);
                }
            };
            let name = format!("udpx-lend-{number}");
            clerks.threads.push(std::thread::Builder::new().name(name).spawn(work)?);
        }
        Ok(clerks)
    }

    /// Hands on a demand.
    ///
    /// # Errors
    /// It comes back where the daemon demands more at once than it may.
    pub fn give(&self, demand: Demand) -> Result<(), Demand> {
        match &self.demands {
            Some(demands) => demands.try_send(demand).map_err(crossbeam_channel::TrySendError::into_inner),
            None => Err(demand),
        }
    }

    /// An answer that is ready.
    pub fn next(&self) -> Option<Answered> {
        self.answered.try_recv().ok().or_else(|| {
            // In this order: whoever rings again has put its answer in before.
            while matches!((&self.bell).read(&mut [0; 64]), Ok(1..)) {}
            self.answered.try_recv().ok()
        })
    }
}

impl AsFd for Clerks {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Clerks {
    fn drop(&mut self) {
        self.demands = None;
        // Whoever has an answer that nobody fetches must not wait for room.
        self.answered = crossbeam_channel::never();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that answers demands had panicked");
            }
        }
    }
}

/// Several files are synced at once, which costs the disk little more than one.
const THREADS: usize = 4;
