//! Jobs of a daemon, as a command follows them.
//!
//! ```text
//! push, pull ──► order: what is asked, what is lent ─┐
//! resume, watch ─────────────────────────────────────┴─► follow ──► told ──► Watcher (progress, JSON)
//!                                                          │ └────► end ──► summary or failure
//!                                                          ├─ demands ──► lent: this user's files, for the daemon
//!                                                          └─ the daemon is gone: again, by watch and vault-offer
//! ```
//!
//! The job is the daemon's from the moment that it has a number: whatever happens to this process afterwards ends the
//! following, and not the job.

pub(crate) mod change;
pub(crate) mod end;
pub(crate) mod follow;
pub(crate) mod lent;
pub(crate) mod order;
pub(crate) mod report;
pub(crate) mod told;
