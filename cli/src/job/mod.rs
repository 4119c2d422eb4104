//! Jobs of a daemon, as a command follows them.
//!
//! ```text
//! push, pull ──► order: what is asked, what is lent ─┐
//! resume, watch ─────────────────────────────────────┴─► follow ──► told ──► Watcher (progress, JSON)
//!                                                          │ └────► end ──► summary or failure
//!                                                          ├─ demands ──► crate::lend: files, opened for the daemon
//!                                                          └─ the daemon is gone: again, by watch and vault-offer
//! ```
//!
//! The job is the daemon's from the moment that it has a number: whatever happens to this process afterwards ends the
//! following, and not the job.

pub(crate) mod detach;
pub(crate) mod end;
pub(crate) mod follow;
pub(crate) mod offer;
pub(crate) mod order;
pub(crate) mod report;
pub(crate) mod told;
pub(crate) mod transfer;
