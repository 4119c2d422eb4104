//! The sending side of a session: files that we offer, and files that the peer asked for.

use std::sync::Arc;

use udpx_proto::messages::GetRequest;
use udpx_proto::session::OpenStream;
use udpx_proto::{Code, RequestId, Session, StreamId, StreamStats};

use super::access::Right;
use super::driver::{Cx, Driver, Peer};
use super::report::{Pulse, Report};
use super::sources::Sources;
use crate::storage::pipe::Slab;
use crate::storage::readers::{Origin, ReadReply};
use crate::transfer::put::{Cause, News, Offer, Put, PutCx, PutOrigin, PutSpec};
use crate::transfer::{Bytes, Failure, Streams, rel_path};

impl Driver {
    /// Begins to send a file.
    pub(super) fn put(&mut self, index: u32, spec: PutSpec, cx: &mut Cx<'_>) {
        let request = self.numbers.ours();
        self.begin_put(index, request, spec, cx);
    }

    fn begin_put(&mut self, index: u32, request: RequestId, spec: PutSpec, cx: &mut Cx<'_>) {
        self.dirty = true;
        let tag = cx.tags.next(index);
        let mut streams = SessionStreams { session: &mut self.session, sources: &mut self.sources };
        let mut put_cx = PutCx { streams: &mut streams, mail: &mut self.mail, queue: cx.queue, now: cx.now };
        let put = Put::new(tag, request, spec, &mut put_cx);
        self.puts.push(put);
    }

    /// The peer wants a file.
    pub(super) fn on_get_request(&mut self, index: u32, message: &GetRequest, cx: &mut Cx<'_>) {
        if !self.is_new_request(message.request, cx) {
            return;
        }
        match self.source_for(message) {
            Ok(origin) => {
                let spec =
                    PutSpec { origin: PutOrigin::At(origin), streams: message.streams, cause: Cause::Asked };
                self.begin_put(index, message.request, spec, cx);
            }
            Err(failure) => self.refuse(message.request, failure),
        }
    }

    fn source_for(&self, message: &GetRequest) -> Result<Origin, Failure> {
        let place = self.place(&message.root, Right::Read)?;
        if self.puts.len() >= PUTS_MAX {
            return Err(Failure::new(Code::TryAgain, "Too many files at once in one session."));
        }
        Ok(Origin::Vault(place.vault, rel_path(&message.path)?))
    }

    /// Work of a reader for one of our files.
    pub(crate) fn on_read(&mut self, reply: ReadReply, cx: &mut Cx<'_>) {
        if let Some(at) = self.puts.iter().position(|put| put.tag == reply.tag) {
            self.dirty = true;
            self.put_news(at, cx, |put, cx| put.on_read(reply.outcome, cx));
        }
    }

    /// The source of a stream cannot be read any more.
    pub(crate) fn on_source_fault(&mut self, stream: StreamId, cx: &mut Cx<'_>) {
        self.dirty = true;
        match self.puts.iter().position(|put| put.owns(stream)) {
            Some(at) => self.put_news(at, cx, Put::on_source_fault),
            None => self.session.reset_stream(stream, Code::SourceChanged),
        }
    }

    /// A message about a file that we send; false if there is none of that number.
    pub(super) fn with_put_of(
        &mut self,
        request: RequestId,
        cx: &mut Cx<'_>,
        act: impl FnOnce(&mut Put, &mut PutCx<'_>) -> Option<News>,
    ) -> bool {
        let at = self.puts.iter().position(|put| put.request == request);
        if let Some(at) = at {
            self.put_news(at, cx, act);
        }
        at.is_some()
    }

    fn put_news(
        &mut self,
        at: usize,
        cx: &mut Cx<'_>,
        act: impl FnOnce(&mut Put, &mut PutCx<'_>) -> Option<News>,
    ) {
        let Some(news) = self.with_put(at, cx, act) else { return };
        if let (News::Done { .. }, Some(guest)) = (&news, &mut self.guest) {
            guest.on_moved();
        }
        // What failed here the peer hears of before the session ends, or it could only guess.
        self.owes_word |= matches!(news, News::Failed(_));
        match &self.puts[at].spec.cause {
            Cause::Offered(Offer { file, .. }) => self.tell(*file, news, cx),
            Cause::Asked => self.tell_sent(&self.puts[at], news, cx),
        }
    }

    /// News of a file of ours, for whoever wanted it sent or fetched.
    pub(super) fn tell(&self, file: usize, news: News, cx: &mut Cx<'_>) {
        let pulse = Pulse::of(&self.session.stats());
        cx.outbox.push(Report::File { session: self.key, file, news, pulse });
    }

    /// What became of a file that the peer asked for.
    pub(super) fn tell_sent(&self, put: &Put, news: News, cx: &mut Cx<'_>) {
        let Peer::Known(access) = &self.peer else { return };
        let (peer, path) = (access.name.clone(), put.shown());
        match news {
            News::Done { skipped: false, bytes, .. } => cx.outbox.push(Report::Sent { peer, path, bytes }),
            News::Failed(failure) => cx.outbox.push(Report::NotSent { peer, path, failure }),
            News::Done { .. } | News::Accepted { .. } | News::Progress { .. } => {}
        }
    }

    pub(super) fn with_put<T>(
        &mut self,
        at: usize,
        cx: &mut Cx<'_>,
        act: impl FnOnce(&mut Put, &mut PutCx<'_>) -> T,
    ) -> T {
        let mut streams = SessionStreams { session: &mut self.session, sources: &mut self.sources };
        let mut put_cx = PutCx { streams: &mut streams, mail: &mut self.mail, queue: cx.queue, now: cx.now };
        act(&mut self.puts[at], &mut put_cx)
    }
}

/// The session's streams as a put sees them.
struct SessionStreams<'a> {
    session: &'a mut Session,
    sources: &'a mut Sources,
}

impl Streams for SessionStreams<'_> {
    fn open(&mut self, request: RequestId, bytes: Bytes, start: u64, end: Option<u64>) -> Option<StreamId> {
        let open = OpenStream { request, start, end, weight: 1 };
        let stream = self.session.open_stream(open).ok()?;
        if let Bytes::Pipe(_) = bytes {
            self.session.keep_blocks_apart(stream);
        }
        self.sources.insert(stream, bytes);
        Some(stream)
    }

    fn push(&mut self, stream: StreamId, slab: Arc<Slab>) {
        self.sources.push(stream, slab);
    }

    fn drop_below(&mut self, stream: StreamId, block: u64) {
        self.sources.drop_below(stream, block);
    }

    fn finish(&mut self, stream: StreamId, end: u64) {
        self.session.finish_stream(stream, end);
    }

    fn extend(&mut self, stream: StreamId, available: u64) {
        self.session.extend_stream(stream, available);
    }

    fn cursor(&self, stream: StreamId) -> Option<u64> {
        self.session.stream_progress(stream).map(|progress| progress.unsent_from)
    }

    fn settled(&self, stream: StreamId) -> Option<u64> {
        self.session.stream_progress(stream).map(|progress| progress.unacked_from)
    }

    fn stats(&self, stream: StreamId) -> Option<StreamStats> {
        self.session.stream_stats(stream, true)
    }

    fn reset(&mut self, stream: StreamId, code: Code) {
        self.session.reset_stream(stream, code);
        self.sources.remove(stream);
    }
}

/// Files that one session may ask for at once.
const PUTS_MAX: usize = 256;
