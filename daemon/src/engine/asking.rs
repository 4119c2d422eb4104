//! What this end asks of the other: files to get, directories to list, echoes.

use std::time::Duration;

use udpx_proto::messages::{
    Abort, GetAccepted, GetRequest, JoinRequest, ListEntries, ListRequest, PutRequest,
};
use udpx_proto::{Code, Message, RequestId, Time};

use super::driver::{Cx, Driver};
use super::report::{Answer, GetSpec, Report, Task};
use crate::transfer::Failure;
use crate::transfer::put::News;

/// What was asked and not yet answered to the end.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// Files, until they are here.
    gets: Vec<(RequestId, GetSpec)>,
    /// Listings.
    lists: Vec<RequestId>,
    /// The wish to become a peer.
    join: Option<RequestId>,
    /// Echoes: their bytes, and when they were asked for.
    pings: Vec<(Vec<u8>, Time)>,
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.gets.is_empty() && self.lists.is_empty() && self.pings.is_empty() && self.join.is_none()
    }

    /// The file of the job that a request of ours is for.
    pub(super) fn file_of(&self, request: RequestId) -> Option<usize> {
        self.gets.iter().find(|get| get.0 == request).map(|(_, spec)| spec.file)
    }

    /// Whether this is the answer to our wish to become a peer.
    pub(super) fn takes_join(&mut self, request: RequestId) -> bool {
        self.join.take_if(|join| *join == request).is_some()
    }

    /// Nothing of it is awaited any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Driver {
    /// Begins what the outside wants of this session.
    pub(crate) fn begin(&mut self, index: u32, task: Task, cx: &mut Cx<'_>) {
        self.dirty = true;
        match task {
            Task::Put(spec) => self.put(index, *spec, cx),
            Task::Get(spec) => self.get(*spec),
            Task::List { root, path } => {
                let request = self.numbers.ours();
                self.asked.lists.push(request);
                self.mail.push_back(Message::ListRequest(ListRequest { request, root, path }));
            }
            Task::Join { name, port } => {
                let request = self.numbers.ours();
                self.asked.join = Some(request);
                self.mail.push_back(Message::JoinRequest(JoinRequest { request, name, port }));
            }
            Task::Ping { body } => self.ping(body, cx),
        }
    }

    fn get(&mut self, spec: GetSpec) {
        let request = self.numbers.ours();
        self.mail.push_back(Message::GetRequest(GetRequest {
            request,
            root: spec.root.clone(),
            path: spec.path.clone(),
            streams: spec.streams,
        }));
        self.asked.gets.push((request, spec));
    }

    /// The peer has the file; now it depends on the destination here.
    pub(super) fn on_get_accepted(&mut self, index: u32, message: &GetAccepted, cx: &mut Cx<'_>) {
        let request = message.request;
        let Some((_, spec)) = self.asked.gets.iter().find(|get| get.0 == request) else { return };
        if self.takes.iter().any(|take| take.request == request) {
            return self.session.close(cx.now, Code::Protocol, "a request was accepted twice");
        }
        let place = spec.place.clone();
        // As if the peer had offered it.
        let offered = PutRequest {
            request,
            root: String::new(),
            path: spec.destination.clone(),
            name: Vec::new(),
            size: Some(message.size),
            mode: message.mode & spec.mode_mask,
            mtime_ns: message.mtime_ns,
            if_exists: spec.if_exists,
            user: String::new(),
        };
        if let Err(failure) = self.begin_take(index, &offered, &place, cx) {
            self.refuse(request, failure.clone());
            self.end_get(request, News::Failed(failure), cx);
        }
    }

    /// A file that we asked for is here, or will not be; false if we did not ask for it.
    pub(super) fn end_get(&mut self, request: RequestId, news: News, cx: &mut Cx<'_>) -> bool {
        let Some(at) = self.asked.gets.iter().position(|get| get.0 == request) else { return false };
        let (_, spec) = self.asked.gets.swap_remove(at);
        self.tell(spec.file, news, cx);
        true
    }

    pub(super) fn on_list_entries(&mut self, message: ListEntries, cx: &mut Cx<'_>) {
        let Some(at) = self.asked.lists.iter().position(|&request| request == message.request) else {
            return;
        };
        if message.last {
            self.asked.lists.swap_remove(at);
        }
        self.answer(Answer::Entries(message), cx);
    }

    /// Something that we asked for and that is not a file under way will not be.
    pub(super) fn on_refused(&mut self, message: &Abort, cx: &mut Cx<'_>) {
        let failure = Failure::new(Code::from_number(message.code), message.text.clone());
        if let Some(at) = self.asked.lists.iter().position(|&request| request == message.request) {
            self.asked.lists.swap_remove(at);
            self.answer(Answer::Refused(failure), cx);
        } else if self.asked.takes_join(message.request) {
            self.answer(Answer::Refused(failure), cx);
        } else {
            self.end_get(message.request, News::Failed(failure), cx);
        }
    }

    fn ping(&mut self, body: Vec<u8>, cx: &mut Cx<'_>) {
        // What does not fit into the queue counts as lost, as on the path.
        if self.session.ping(&body).is_ok() {
            self.asked.pings.push((body, cx.now));
        }
        if self.asked.pings.len() > PINGS_MAX {
            self.asked.pings.remove(0);
        }
    }

    /// An echo came. Whoever asked compares it with what was asked.
    pub(super) fn on_pong(&mut self, body: Vec<u8>, cx: &mut Cx<'_>) {
        // A damaged one belongs to the oldest.
        let at = self.asked.pings.iter().position(|(sent, _)| *sent == body).unwrap_or(0);
        if at < self.asked.pings.len() {
            let (_, asked) = self.asked.pings.remove(at);
            let rtt: Duration = cx.now.saturating_since(asked);
            self.answer(Answer::Pong { body, rtt }, cx);
        }
    }

    fn answer(&self, answer: Answer, cx: &mut Cx<'_>) {
        cx.outbox.push(Report::Answer { session: self.key, answer });
    }
}

/// Echoes that are waited for; older ones count as lost.
const PINGS_MAX: usize = 1024;
