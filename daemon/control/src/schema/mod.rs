//! What is said: requests, responses and reports, as plain structures. `docs/CONTROL.md` shows each of them as JSON.
//!
//! # Versions
//!
//! A field that is added, a command, an event or a state is no new version: whoever does not know it ignores it (an
//! unknown command is answered with an error that names it). [`SCHEMA`] grows only when something known changes its
//! meaning, and a message of a newer version is refused, since guessing at a changed meaning would be worse.

mod command;
mod error;
mod event;
mod job;
mod report;
mod request;
mod response;
mod stats;
mod transfer;
mod vault;

pub use command::{
    Cancel, Command, Inbox, Invite, Jobs, Join, Key, Limit, LimitTarget, List, Pause, PeerAction, PeerRights,
    Peers, Ping, Resume, Roots, SetPolicy, Show, Stats, Version, Watch,
};
pub use error::{ErrorReport, code};
pub use event::{Event, FileReport, Phase, Pong, Progress, Sample};
pub use job::{Direction, JobReport, JobState, PlaceReport};
pub use report::{
    Counter, DaemonReport, Entry, EntryKind, InboxEntry, InviteReport, JobCounts, KeyReport, LimitReport,
    PeerReport, PingReport, RootReport, SessionReport, VersionReport,
};
pub use request::{Request, RequestError, RequestErrorKind};
pub use response::{Body, Reply, Response};
pub use stats::{Row, SocketReport, StatsReport};
pub use transfer::{How, IfExists, Local, Policy, Pull, Push, Remote, TransferOptions};
pub use vault::{Demand, Obstacle, Operation, Outcome, VaultOffer, VaultReply};

use serde::{Serialize, Serializer};

/// The version that this crate speaks.
pub const SCHEMA: u32 = 1;

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// JSON has no infinities; a number that is none is said as 0.
fn finite<S: Serializer>(value: &f64, to: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { value.serialize(to) } else { 0.0.serialize(to) }
}
