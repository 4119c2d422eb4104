//! Jobs: what users have asked for, and what became of it.
//!
//! A job is a [`record::JobRecord`] from the moment it is accepted until history forgets it. The [`ledger`] keeps the
//! records on the disk, so that a job outlives the daemon that began it.

pub(crate) mod ledger;
pub(crate) mod record;
mod store;

pub use store::LedgerError;
