//! Becoming a peer of a machine whose ticket we have.

use std::net::SocketAddr;
use std::time::Instant;

use udpx_proto::Code;
use udpx_proto::messages::JoinAccepted;

use super::question::{Query, Question};
use super::{Event, Way};
use crate::engine::report::{Answer, Task};
use crate::report::JobError;

/// The wish to be known there.
pub(crate) type JoinAsk = Question<Join>;

/// What we are called, and what came of it.
pub(crate) struct Join {
    name: String,
    port: u16,
    /// At which of its addresses the inviter was found.
    address: Option<SocketAddr>,
    accepted: Option<JoinAccepted>,
}

impl JoinAsk {
    /// As `name`, which can be called on `port`.
    ///
    /// # Errors
    /// There is no address.
    pub(crate) fn new(way: Way, id: u32, name: &str, port: u16, now: Instant) -> Result<Self, JobError> {
        let name = name.to_owned();
        Self::of(Join { name, port, address: None, accepted: None }, way, id, now)
    }

    /// What the inviter says, and at which of its addresses it was found; once it
    /// [`is_over`](super::Errand::is_over).
    ///
    /// # Errors
    /// No session came about, or what the inviter says against it.
    pub(crate) fn into_outcome(self) -> Result<(JoinAccepted, SocketAddr), JobError> {
        let Join { accepted, address, .. } = self.into_answered()?;
        let both = accepted.zip(address);
        both.ok_or_else(|| JobError::with_remedy(Code::Bug, "a session without an address"))
    }
}

impl Query for Join {
    fn task(&self) -> Task {
        Task::Join { name: self.name.clone(), port: self.port }
    }

    fn on_event(&mut self, event: &Event) {
        if let Event::Connected { address, .. } = event {
            self.address = Some(*address);
        }
    }

    fn on_answer(&mut self, answer: Answer) -> Option<Result<(), JobError>> {
        let Answer::Joined(accepted) = answer else { return None };
        self.accepted = Some(accepted);
        Some(Ok(()))
    }
}
