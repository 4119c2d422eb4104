//! Becoming a peer of a machine whose ticket we have.

use std::net::SocketAddr;
use std::time::Instant;

use udpx_proto::Code;
use udpx_proto::messages::JoinAccepted;

use super::errand::{Cx, Errand};
use super::link::{Happened, Link};
use super::{Event, Way};
use crate::engine::report::{Answer, Report, Task};
use crate::report::JobError;

/// The wish to be known there.
pub(crate) struct JoinAsk {
    link: Link,
    name: String,
    port: u16,
    asked: bool,
    address: Option<SocketAddr>,
    result: Option<Result<JoinAccepted, JobError>>,
    over: bool,
}

impl JoinAsk {
    /// As `name`, which can be called on `port`.
    ///
    /// # Errors
    /// There is no address.
    pub(crate) fn new(way: Way, id: u32, name: &str, port: u16, now: Instant) -> Result<Self, JobError> {
        let link = Link::new(way, id, now)?;
        let name = name.to_owned();
        Ok(Self { link, name, port, asked: false, address: None, result: None, over: false })
    }

    /// What the inviter says, and at which of its addresses it was found; once it [`is_over`](Errand::is_over).
    ///
    /// # Errors
    /// No session came about, or what the inviter says against it.
    pub(crate) fn into_outcome(self) -> Result<(JoinAccepted, SocketAddr), JobError> {
        let lost = || JobError::with_remedy(Code::Bug, "a session without an address");
        let accepted = self.result.unwrap_or_else(|| Err(lost()))?;
        Ok((accepted, self.address.ok_or_else(lost)?))
    }

    fn settle(&mut self, result: Option<Result<JoinAccepted, JobError>>, cx: &mut Cx<'_>) {
        if self.result.is_none()
            && let Some(result) = result
        {
            self.link.close(result.as_ref().map_or_else(|error| error.code, |_| Code::Done), cx);
            self.result = Some(result);
        }
        if self.result.is_none() && !self.asked {
            let task = Task::Join { name: self.name.clone(), port: self.port };
            self.asked = self.link.begin(task, cx);
        }
        self.over |= self.link.is_closed(cx.now);
    }
}

impl Errand for JoinAsk {
    fn link(&self) -> &Link {
        &self.link
    }

    fn on_report(&mut self, report: Report, cx: &mut Cx<'_>) {
        let mut connected = None;
        let mut events = |event: Event| {
            if let Event::Connected { address, .. } = &event {
                connected = Some(*address);
            }
        };
        let mut inner = Cx { engine: cx.engine, now: cx.now, events: &mut events };
        let result = match self.link.on_report(report, &mut inner) {
            Ok(Happened::Changed) => {
                self.asked = false;
                None
            }
            Ok(Happened::Report(Report::Answer { answer: Answer::Joined(accepted), .. })) => {
                Some(Ok(accepted))
            }
            Ok(Happened::Report(Report::Answer { answer: Answer::Refused(failure), .. })) => {
                Some(Err(self.link.host().told(&failure)))
            }
            Ok(Happened::Report(_) | Happened::Nothing) => None,
            Err(error) => Some(Err(error)),
        };
        self.address = connected.or(self.address);
        self.settle(result, cx);
    }

    fn due(&mut self, cx: &mut Cx<'_>) {
        let result = self.link.due(cx).err().map(Err);
        self.settle(result, cx);
    }

    fn deadline(&self) -> Instant {
        self.link.deadline()
    }

    fn stop(&mut self, code: Code, cx: &mut Cx<'_>) {
        self.settle(Some(Err(JobError::ended(code))), cx);
    }

    fn is_over(&self) -> bool {
        self.over
    }
}
