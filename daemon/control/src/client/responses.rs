//! The responses to one request, as they come.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use super::{Client, ClientError};
use crate::schema::{Body, Demand, Event, Outcome, Reply, Response, VaultReply};

/// The responses to one request. As an iterator it ends behind [`Update::Done`] or an error.
///
/// Dropped before, it leaves the request running at the daemon until the client is dropped too.
#[derive(Debug)]
pub struct Responses<'a> {
    client: &'a mut Client,
    id: u64,
    ended: bool,
}

/// One response.
#[derive(Debug)]
pub enum Update {
    /// The request was accepted and goes on.
    Accepted(Reply),
    /// Something happened.
    Event(Event),
    /// The result, with the descriptors that came with it: nothing follows.
    Done(Reply, Vec<OwnedFd>),
}

impl<'a> Responses<'a> {
    pub(super) fn new(client: &'a mut Client, id: u64) -> Self {
        Self { client, id, ended: false }
    }

    /// The request's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the next response, at most this long; `None` if there is none by then, and behind the last.
    ///
    /// # Errors
    /// [`ClientError`]: the request is over.
    pub fn wait(&mut self, timeout: Duration) -> Result<Option<Update>, ClientError> {
        self.wait_until(Some(Instant::now() + timeout))
    }

    /// Waits for the result, and shows the events until then.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn finish(mut self, mut on_event: impl FnMut(Event)) -> Result<Reply, ClientError> {
        for update in &mut self {
            match update? {
                Update::Accepted(_) => {}
                Update::Event(event) => on_event(event),
                Update::Done(reply, _) => return Ok(reply),
            }
        }
        Err(ClientError::Gone { path: self.client.path.clone() })
    }

    /// Answers a demand; a descriptor is needed for [`Outcome::Opened`] and only there. Nothing is waited for: if the
    /// answer is wrong, the next response says so.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn answer(
        &mut self,
        demand: &Demand,
        outcome: Outcome,
        descriptor: Option<BorrowedFd<'_>>,
    ) -> Result<(), ClientError> {
        let reply = VaultReply { offer: self.id, demand: demand.demand, outcome };
        self.client.send(reply.into(), descriptor.as_slice())?;
        Ok(())
    }

    fn wait_until(&mut self, deadline: Option<Instant>) -> Result<Option<Update>, ClientError> {
        while !self.ended {
            let received = self.client.receive(deadline).inspect_err(|_| self.ended = true)?;
            let Some((response, descriptors)) = received else {
                return Ok(None);
            };
            if let Some(update) = self.sort(response, descriptors)? {
                return Ok(Some(update));
            }
        }
        Ok(None)
    }

    fn sort(&mut self, response: Response, descriptors: Vec<OwnedFd>) -> Result<Option<Update>, ClientError> {
        // Later ids are those of answers to demands, and 0 is for what could not be read.
        let ours = response.id >= self.id || response.id == 0;
        match response.body {
            Body::Error(report) if ours => {
                self.ended = true;
                Err(ClientError::Refused(report))
            }
            _ if response.id != self.id => Ok(None),
            Body::Error(_) => Ok(None),
            Body::Ok(reply) => Ok(Some(Update::Accepted(reply))),
            Body::Event(event) => Ok(Some(Update::Event(event))),
            Body::Done(reply) => {
                self.ended = true;
                Ok(Some(Update::Done(reply, descriptors)))
            }
        }
    }
}

/// Readable when there may be another response. What was read along with an earlier one is not there any more: ask
/// [`Responses::wait`] until it has nothing before waiting for it.
impl AsFd for Responses<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.client.as_fd()
    }
}

impl Iterator for Responses<'_> {
    type Item = Result<Update, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let deadline = self.client.patience.map(|patience| Instant::now() + patience);
        match self.wait_until(deadline) {
            Ok(Some(update)) => Some(Ok(update)),
            Ok(None) if self.ended => None,
            Ok(None) => {
                self.ended = true;
                Some(Err(self.client.timed_out()))
            }
            Err(error) => Some(Err(error)),
        }
    }
}
