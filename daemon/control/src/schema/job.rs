//! The report of a job.

use serde::{Deserialize, Serialize};

use super::{ErrorReport, Policy, finite, is_default};
use crate::name::{self, Name};

/// A job as it stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct JobReport {
    /// Its number.
    pub job: u64,
    /// User id of its owner.
    pub uid: u32,
    /// The owner's name, or the number if there is none.
    pub user: String,
    /// Which way it goes.
    pub direction: Direction,
    /// The peer, as the user named it.
    pub peer: String,
    /// The first of its sources, at most [`crate::limits::SOURCES_SHOWN_MAX`].
    pub sources: Vec<PlaceReport>,
    /// Sources in all.
    pub sources_total: u64,
    /// Where they go.
    pub destination: PlaceReport,
    /// Where it stands.
    #[serde(flatten)]
    pub state: JobState,
    /// Bytes that are staged to disk, or durable, at the receiver.
    pub bytes: u64,
    /// Bytes in all, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Files that are durable at the receiver.
    pub files: u64,
    /// Its current rate, file bits a second.
    pub rate_bps: u64,
    /// Smoothed round trip, microseconds.
    pub rtt_us: u64,
    /// Share of the packets lost, 0 to 1.
    #[serde(serialize_with = "finite")]
    pub loss: f64,
    /// How it shares the path.
    pub policy: Policy,
    /// Its cap, bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bps: Option<u64>,
    /// When it was asked for, milliseconds since 1970.
    pub created_unix_ms: u64,
    /// When it first ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_unix_ms: Option<u64>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_unix_ms: Option<u64>,
    /// Times that it was tried again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub retries: u32,
    /// Why it failed, or what went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// Which way a job goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// To the peer.
    Push,
    /// From the peer.
    Pull,
}

/// A place of a job, here or at the peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlaceReport {
    /// Name of the root, at a peer; empty means its default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// The path.
    #[serde(flatten, with = "name::path")]
    pub path: Name,
}

/// Where a job stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum JobState {
    /// Until there is room for it.
    Queued,
    /// On the wire.
    Running,
    /// Until something else has happened.
    Waiting {
        /// What.
        why: String,
        /// When it is tried again, milliseconds since 1970; absent if it is not a matter of time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next_try_unix_ms: Option<u64>,
    },
    /// Until a user resumes it.
    Paused,
    /// All is durable.
    Done,
    /// Given up.
    Failed,
    /// Ended by a user.
    Cancelled,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

impl JobState {
    /// Whether it will change no more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }
}
