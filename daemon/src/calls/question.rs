//! One question to a peer, asked again where the session was lost before its answer came.

use std::time::Instant;

use udpx_proto::Code;

use super::errand::{Cx, Errand};
use super::link::{Happened, Link};
use super::{Event, Way};
use crate::engine::report::{Answer, Report, Task};
use crate::report::JobError;

/// What is asked, and what is done with what comes back.
pub(crate) trait Query {
    /// What the engine is to do.
    fn task(&self) -> Task;

    /// The session was lost: what has come of the answer so far is worth nothing.
    fn begin_anew(&mut self) {}

    /// Something happened on the way there.
    fn on_event(&mut self, _event: &Event) {}

    /// An answer, or a part of it: the outcome, once it is known. Refusals do not come here.
    fn on_answer(&mut self, answer: Answer) -> Option<Result<(), JobError>>;
}

/// The errand of a query.
pub(crate) struct Question<Q> {
    link: Link,
    query: Q,
    asked: bool,
    result: Option<Result<(), JobError>>,
    over: bool,
}

impl<Q: Query> Question<Q> {
    /// Begins to look for the peer.
    ///
    /// # Errors
    /// There is no address.
    pub(super) fn of(query: Q, way: Way, id: u32, now: Instant) -> Result<Self, JobError> {
        Ok(Self { link: Link::new(way, id, now)?, query, asked: false, result: None, over: false })
    }

    /// The query with its answer, once it [`is_over`](Errand::is_over).
    ///
    /// # Errors
    /// No session came about, or what the peer says against it.
    pub(super) fn into_answered(self) -> Result<Q, JobError> {
        self.result.unwrap_or(Ok(())).map(|()| self.query)
    }

    fn settle(&mut self, result: Option<Result<(), JobError>>, cx: &mut Cx<'_>) {
        if self.result.is_none()
            && let Some(result) = result
        {
            self.link.close(result.as_ref().map_or_else(|error| error.code, |()| Code::Done), cx);
            self.result = Some(result);
        }
        if self.result.is_none() && !self.asked {
            self.asked = self.link.begin(self.query.task(), cx);
        }
        self.over |= self.link.is_closed(cx.now);
    }
}

impl<Q: Query> Errand for Question<Q> {
    fn link(&self) -> &Link {
        &self.link
    }

    fn on_report(&mut self, report: Report, cx: &mut Cx<'_>) {
        let Cx { engine, now, events } = cx;
        let mut overheard = |event: Event| {
            self.query.on_event(&event);
            events(event);
        };
        let mut inner = Cx { engine, now: *now, events: &mut overheard };
        let result = match self.link.on_report(report, &mut inner) {
            Ok(Happened::Changed) => {
                self.query.begin_anew();
                self.asked = false;
                None
            }
            Ok(Happened::Report(Report::Answer { answer: Answer::Refused(failure), .. })) => {
                Some(Err(self.link.host().told(&failure)))
            }
            Ok(Happened::Report(Report::Answer { answer, .. })) => self.query.on_answer(answer),
            Ok(Happened::Report(_) | Happened::Nothing) => None,
            Err(error) => Some(Err(error)),
        };
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
