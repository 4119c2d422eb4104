//! The envelope of a response, and the results.

use serde::{Deserialize, Serialize};

use super::{
    DaemonReport, ErrorReport, Event, InviteReport, JobReport, KeyReport, PingReport, SCHEMA, StatsReport,
    VersionReport, is_default,
};
use crate::frame::{self, FrameError};

/// A response.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Response {
    /// Version of what follows: [`SCHEMA`].
    pub schema: u32,
    /// The request's; 0 for what could not be read.
    pub id: u64,
    /// Descriptors that come with this frame.
    #[serde(default, skip_serializing_if = "is_default")]
    pub descriptors: usize,
    /// What is said.
    #[serde(flatten)]
    pub body: Body,
}

/// At most one `ok`, any number of events, and exactly one `done` or `error`, which is the last.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "body", rename_all = "kebab-case")]
pub enum Body {
    /// The request was accepted and goes on.
    Ok(Reply),
    /// Something happened, or a piece of a long answer.
    Event(Event),
    /// The result: the end.
    Done(Reply),
    /// It failed: the end.
    Error(ErrorReport),
}

/// What a request leads to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "kebab-case")]
pub enum Reply {
    /// It is done, and there is nothing to say.
    Nothing,
    /// Push, pull: the job exists.
    Accepted {
        /// Its number.
        job: u64,
    },
    /// A job as it stands: push, pull and watch at its end; show; cancel, pause, resume, policy after the change.
    Job {
        /// The job.
        job: Box<JobReport>,
        /// Its counters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stats: Option<Box<StatsReport>>,
    },
    /// A list came as events.
    Listed {
        /// Items in all of them.
        count: u64,
        /// There were more than a listing may have.
        #[serde(default, skip_serializing_if = "is_default")]
        cut: bool,
    },
    /// Ping.
    Ping(PingReport),
    /// Stats.
    Stats(Box<DaemonReport>),
    /// Version.
    Version(VersionReport),
    /// Key.
    Key(KeyReport),
    /// Invite.
    Invited(InviteReport),
    /// Join: both know each other, and an echo has come back.
    Joined {
        /// What the other machine is called here.
        peer: String,
        /// What this machine is called there.
        joiner: String,
        /// Round trip of the echo, microseconds.
        rtt_us: u64,
    },
    /// A result that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Response {
    /// A response of the version that this crate speaks.
    #[must_use]
    pub fn new(id: u64, body: Body) -> Self {
        Self { schema: SCHEMA, id, descriptors: 0, body }
    }

    /// The request was accepted and goes on.
    #[must_use]
    pub fn ok(id: u64, reply: Reply) -> Self {
        Self::new(id, Body::Ok(reply))
    }

    /// Something happened.
    #[must_use]
    pub fn event(id: u64, event: Event) -> Self {
        Self::new(id, Body::Event(event))
    }

    /// The result.
    #[must_use]
    pub fn done(id: u64, reply: Reply) -> Self {
        Self::new(id, Body::Done(reply))
    }

    /// It failed.
    #[must_use]
    pub fn error(id: u64, error: ErrorReport) -> Self {
        Self::new(id, Body::Error(error))
    }

    /// Whether no other response to that request follows.
    #[must_use]
    pub fn is_last(&self) -> bool {
        matches!(self.body, Body::Done(_) | Body::Error(_))
    }

    /// As a frame.
    ///
    /// # Errors
    /// [`FrameError::TooLarge`].
    pub fn encode(&self) -> Result<Vec<u8>, FrameError> {
        frame::encode_message(self)
    }
}
