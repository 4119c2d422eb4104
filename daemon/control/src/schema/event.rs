//! Events: what happens while a request goes on, and the pieces of long answers.

use serde::{Deserialize, Serialize};

use super::is_default;
use super::{
    Demand, Entry, ErrorReport, InboxEntry, JobReport, PeerReport, PlaceReport, RootReport, Row,
    SessionReport, finite,
};
use crate::name::{self, Name};

/// One event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The peer takes a file.
    Queued {
        /// The job.
        job: u64,
        /// Base name of the source.
        #[serde(flatten, with = "name::name")]
        name: Name,
        /// Where it will be.
        #[serde(flatten, with = "name::path")]
        path: Name,
    },
    /// The peer has answered and is who it should be.
    Connected {
        /// The job.
        job: u64,
        /// Address and port of the peer.
        address: String,
        /// Round trip of the handshake, microseconds.
        rtt_us: u64,
    },
    /// How far a job has come. The next one supersedes it: a client that reads slowly does not get all.
    Progress(Progress),
    /// Something failed and is tried again.
    Retry {
        /// The job.
        job: u64,
        /// What, and why.
        text: String,
    },
    /// A file is durable at the receiver, or has failed for good.
    File(Box<FileReport>),
    /// A job: one of a list, or its state has changed.
    Job(Box<JobReport>),
    /// Rows of the table of a job, one for each stream.
    Rows {
        /// The job.
        job: u64,
        /// At most [`crate::limits::ROWS_PER_FRAME_MAX`] at once.
        rows: Vec<Row>,
    },
    /// Sources of a job, behind those that its report lists.
    Sources {
        /// The job.
        job: u64,
        /// At most [`crate::limits::SOURCES_SHOWN_MAX`] at once.
        sources: Vec<PlaceReport>,
    },
    /// Rate, RTT and loss of a job over time.
    Samples {
        /// The job.
        job: u64,
        /// At most [`crate::limits::ROWS_PER_FRAME_MAX`] at once, oldest first.
        samples: Vec<Sample>,
    },
    /// An echo came back, or did not.
    Pong(Pong),
    /// Entries of a directory.
    Entries {
        /// At most [`crate::limits::ENTRIES_PER_FRAME_MAX`] at once.
        entries: Vec<Entry>,
    },
    /// Something that has arrived.
    Inbox(InboxEntry),
    /// A root.
    Root(RootReport),
    /// A peer.
    Peer(PeerReport),
    /// A session.
    Session(SessionReport),
    /// Something to be done with the user's rights.
    Demand(Demand),
    /// An event that this version does not know: ignore it.
    #[serde(other)]
    Unknown,
}

impl Event {
    /// Whether the next one of its kind says all that this one says.
    #[must_use]
    pub fn is_superseded(&self) -> bool {
        matches!(self, Self::Progress(_))
    }
}

/// How far a job has come.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The job.
    pub job: u64,
    /// Bytes that are staged to disk, or durable, at the receiver.
    pub bytes: u64,
    /// Bytes in all, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// File bits a second over the last two seconds.
    pub rate_bps: u64,
    /// Smoothed round trip, microseconds.
    pub rtt_us: u64,
    /// Share of the packets lost, 0 to 1.
    #[serde(serialize_with = "finite")]
    pub loss: f64,
    /// What is going on.
    pub phase: Phase,
    /// Time left at this rate, microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_us: Option<u64>,
    /// Nothing was heard of the peer for so long, microseconds; 0 while it answers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub quiet_us: u64,
}

/// What is going on in a job.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Until the peer has answered.
    Connecting,
    /// Bytes move, out or in.
    Sending,
    /// All of them are there, and are made durable.
    Syncing,
}

/// One file of a job that has come to its end.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct FileReport {
    /// The job.
    pub job: u64,
    /// Base name of the source.
    #[serde(flatten, with = "name::name")]
    pub name: Name,
    /// Its path as the receiver resolved it, if it came so far.
    #[serde(flatten, with = "name::path::option")]
    pub path: Option<Name>,
    /// Bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes, hex; empty if it failed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// It was there already and was left.
    #[serde(default, skip_serializing_if = "is_default")]
    pub skipped: bool,
    /// From the request until it was durable.
    #[serde(serialize_with = "finite")]
    pub seconds: f64,
    /// Bytes that the receiver read back to verify them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reread_bytes: u64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
}

/// A job at one moment.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Sample {
    /// From the job's start, microseconds.
    pub at_us: u64,
    /// Wire bits a second since the sample before.
    pub rate_bps: u64,
    /// Smoothed round trip, microseconds.
    pub rtt_us: u64,
    /// Share of the packets lost, 0 to 1.
    #[serde(serialize_with = "finite")]
    pub loss: f64,
    /// Packets with bytes that had been sent before, since the sample before.
    pub retransmitted: u64,
}

/// One echo.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Pong {
    /// Its number, from 1.
    pub sequence: u32,
    /// Bytes that came back as they were sent.
    pub bytes: u32,
    /// Round trip, microseconds; absent if none came in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtt_us: Option<u64>,
}
