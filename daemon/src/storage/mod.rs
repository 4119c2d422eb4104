//! Storage: where the bytes of a transfer come from and where they end up.
//!
//! The engine thread never waits for a file system. Around it stand two small thread pools:
//!
//! ```text
//!            readers::Readers                              writers::Writers
//!  file ──► Source (mapping, SIGBUS guard) ──► engine ──► Block (1 MiB, from BlockPool) ──► Part ──► final name
//!            populate + hash a block                       pwritev, hash, fsync, rename
//! ```
//!
//! - [`source`]: a memory-mapped file that survives being truncated under us and knows whether it
//!   changed since it was opened.
//! - [`digest`]: BLAKE3 over aligned 1 MiB subtrees, which both ends compute in any order as the bytes pass.
//! - [`blocks`]: the staging memory of one engine, bounded by a budget.
//! - [`vault`]: a place that holds files: resolves names safely, creates [`part::Part`]s, lists.
//! - [`part`]: a file on its way in: `.udpx-<16 hex>.part` → fsync → rename → fsync of the directory.
//! - [`lender`]: a vault whose names are the business of another process, which the file's owner runs.
//! - [`beneath`]: how a name below a directory is opened so that it never leads out of it.
//! - [`fileops`]: the system calls behind a part, as a seam where tests inject faults and record the order.
//! - [`pipe`]: sources that can be read only once, destinations that take bytes only in order.
//! - [`readers`], [`writers`]: the thread pools behind typed proxies over bounded channels.
//!
//! The range journal, which lets a receiver resume after a crash, will sit between [`part`] and
//! [`writers`]: a clerk thread calls `fdatasync` on the part and then commits, in one transaction, the
//! ranges and subtree hashes that the engine had seen as written before that call. A part that a journal
//! entry names is kept on drop with [`part::Part::keep`].

pub mod allowance;
pub(crate) mod beneath;
pub mod blocks;
pub mod digest;
pub mod fileops;
pub mod lender;
pub mod listing;
pub(crate) mod named;
pub mod orphans;
pub mod part;
pub mod path;
pub mod pipe;
pub mod readers;
mod reserve;
pub mod source;
pub mod vault;
pub mod writers;

use std::sync::Arc;

pub use udpx_proto::BLOCK;

/// Rings the engine after a reply was queued for it; called from worker threads, any number of times.
pub type Bell = Arc<dyn Fn() + Send + Sync>;

/// A request that a worker queue did not take, handed back whole. The engine never blocks on a queue.
#[derive(Debug, thiserror::Error)]
pub enum Refused<T> {
    /// The queue is full; try again after the next reply.
    #[error("The storage queue is full; the request can be sent again after the next reply.")]
    Full(T),
    /// The worker threads are gone.
    #[error("The storage threads have stopped; the daemon must be restarted.")]
    Closed(T),
}

impl<T> Refused<T> {
    /// The request that was not taken.
    pub fn into_inner(self) -> T {
        match self {
            Refused::Full(request) | Refused::Closed(request) => request,
        }
    }
}

impl<T> From<crossbeam_channel::TrySendError<T>> for Refused<T> {
    fn from(error: crossbeam_channel::TrySendError<T>) -> Self {
        match error {
            crossbeam_channel::TrySendError::Full(request) => Refused::Full(request),
            crossbeam_channel::TrySendError::Disconnected(request) => Refused::Closed(request),
        }
    }
}
