//! Both ends of a transfer driven by hand: real storage threads, no network.

mod read;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udpx_proto::messages::{BadSubtrees, Finish, IfExists, Message, PutRequest};
use udpx_proto::{Code, RequestId, StreamId, StreamStats, Time};

use super::put::{Cause, News, Offer, Put, PutCx, PutOrigin, PutSpec};
use super::take::{Outcome, Place, Take, TakeCx, WrittenBlock};
use super::{Bytes, Mail, Streams};
use crate::engine::workers::Workers;
use crate::storage::BLOCK;
use crate::storage::blocks::Block;
use crate::storage::digest::Hashing;
use crate::storage::pipe::{Inlet, Outlet, PipeVault, Slab, Slabs};
use crate::storage::readers::Origin;
use crate::storage::source::Loading;
use crate::storage::vault::{NullVault, RootVault, Vault};
use crate::storage::writers::WriteReply;

/// Streams that arrive at once, as whole blocks.
#[derive(Default)]
struct Wire {
    streams: Vec<(StreamId, Range<u64>, u64)>,
    /// Next byte to be carried, by stream.
    cursors: HashMap<StreamId, u64>,
    reset: Vec<(StreamId, Code)>,
    /// Ends that came after their stream.
    ends: Vec<(StreamId, u64)>,
    /// Blocks of a pipe below this one were given up.
    given_up: u64,
    /// What streams are read from that have their blocks in memory.
    slabs: HashMap<StreamId, Slabs>,
}

impl Streams for Wire {
    fn open(&mut self, _: RequestId, bytes: Bytes, start: u64, end: Option<u64>) -> Option<StreamId> {
        let stream = StreamId(self.streams.len() as u32 + 1);
        if let Bytes::Pipe(slabs) = bytes {
            self.slabs.insert(stream, slabs);
        }
        self.streams.push((stream, start..end.unwrap_or(u64::MAX), start));
        self.cursors.insert(stream, start);
        Some(stream)
    }

    fn push(&mut self, stream: StreamId, slab: Arc<Slab>) {
        self.slabs.get_mut(&stream).unwrap().push(slab);
    }

    fn drop_below(&mut self, stream: StreamId, block: u64) {
        self.slabs.get_mut(&stream).unwrap().drop_below(block);
        self.given_up = self.given_up.max(block);
    }

    fn finish(&mut self, stream: StreamId, end: u64) {
        self.ends.push((stream, end));
        if let Some(known) = self.streams.iter_mut().find(|known| known.0 == stream) {
            known.1.end = end;
        }
    }

    fn settled(&self, stream: StreamId) -> Option<u64> {
        self.cursor(stream)
    }

    fn extend(&mut self, stream: StreamId, available: u64) {
        if let Some(known) = self.streams.iter_mut().find(|known| known.0 == stream) {
            known.2 = known.2.max(available);
        }
    }

    fn cursor(&self, stream: StreamId) -> Option<u64> {
        self.cursors.get(&stream).copied()
    }

    fn stats(&self, _: StreamId) -> Option<StreamStats> {
        Some(StreamStats::default())
    }

    fn reset(&mut self, stream: StreamId, code: Code) {
        self.reset.push((stream, code));
    }
}

struct Ends {
    bytes: Vec<u8>,
    wire: Wire,
    workers: Workers,
    put: Put,
    take: Option<Take>,
    to_take: Mail,
    to_put: Mail,
    place: Place,
    /// How often a block is damaged on its way.
    damage: HashMap<u64, u32>,
    /// Blocks that are carried in two halves, the first of which is flushed.
    split: bool,
    news: Vec<News>,
    outcome: Option<Outcome>,
    _directory: tempfile::TempDir,
}

const PUT: u64 = 1;
const TAKE: u64 = 2;

impl Ends {
    fn new(len: usize, streams: u16, null: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        let bytes = bytes(len);
        fs::write(&source, &bytes).unwrap();
        let root = directory.path().join("root");
        fs::create_dir(&root).unwrap();
        let vault: Arc<dyn Vault> =
            if null { Arc::new(NullVault) } else { Arc::new(RootVault::open(&root).unwrap()) };
        Self::between(bytes, PutOrigin::At(Origin::Path(source)), streams, Place { vault, root }, directory)
    }

    /// The bytes come out of a pipe.
    fn out_of_a_pipe(len: usize) -> Self {
        let mut ends = Self::new(0, 1, false);
        ends.bytes = bytes(len);
        let place = ends.place.clone();
        Self::between(ends.bytes, poured(len), 1, place, ends._directory)
    }

    /// The bytes go into a pipe; its reader.
    fn into_a_pipe(len: usize, streams: u16, piped: bool) -> (Self, std::thread::JoinHandle<Vec<u8>>) {
        let ends = Self::new(len, streams, false);
        let (mut reader, writer) = std::io::pipe().unwrap();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        });
        let outlet = Outlet::new(Arc::new(File::from(OwnedFd::from(writer))), Path::new("a pipe")).unwrap();
        let vault = Arc::new(PipeVault::new(Arc::new(outlet)));
        let place = Place { vault, root: std::path::PathBuf::new() };
        let origin = match piped {
            true => poured(len),
            false => PutOrigin::At(Origin::Path(ends._directory.path().join("source"))),
        };
        (Self::between(ends.bytes, origin, streams, place, ends._directory), reading)
    }

    fn between(
        bytes: Vec<u8>,
        origin: PutOrigin,
        streams: u16,
        place: Place,
        directory: tempfile::TempDir,
    ) -> Self {
        Self::between_loading(bytes, origin, streams, place, directory, Loading::Mapped)
    }

    fn between_loading(
        bytes: Vec<u8>,
        origin: PutOrigin,
        streams: u16,
        place: Place,
        directory: tempfile::TempDir,
        loading: Loading,
    ) -> Self {
        let bell: crate::storage::Bell = Arc::new(|| {});
        let mut workers = Workers::start(&bell, loading, Hashing::Beside).unwrap();
        let (mut wire, mut to_take) = (Wire::default(), Mail::new());
        let spec = PutSpec {
            origin,
            streams: Some(streams),
            cause: Cause::Offered(Offer {
                file: 0,
                name: b"source".to_vec(),
                root: String::new(),
                path: b"name".to_vec(),
                if_exists: IfExists::Replace,
                user: String::new(),
            }),
        };
        let mut cx =
            PutCx { streams: &mut wire, mail: &mut to_take, queue: workers.queue(), now: Time::ZERO };
        let put = Put::new(PUT, RequestId(1), spec, &mut cx);
        Self {
            bytes,
            wire,
            workers,
            put,
            take: None,
            to_take,
            to_put: Mail::new(),
            place,
            damage: HashMap::new(),
            split: false,
            news: Vec::new(),
            outcome: None,
            _directory: directory,
        }
    }

    fn with_put(&mut self, act: impl FnOnce(&mut Put, &mut PutCx<'_>) -> Option<News>) {
        let queue = self.workers.queue();
        let mut cx = PutCx { streams: &mut self.wire, mail: &mut self.to_take, queue, now: Time::ZERO };
        self.news.extend(act(&mut self.put, &mut cx));
    }

    fn with_take(&mut self, act: impl FnOnce(&mut Take, &mut TakeCx<'_>) -> Option<Outcome>) {
        let mut cx = TakeCx { mail: &mut self.to_put, queue: self.workers.queue(), now: Time::ZERO };
        let Some(take) = &mut self.take else { return };
        if let Some(outcome) = act(take, &mut cx) {
            self.outcome = Some(outcome);
            self.take.take().map(|take| take.end(self.workers.queue()));
        }
    }

    /// Runs until both ends are done.
    fn run(&mut self) {
        let begin = Instant::now();
        while self.outcome.is_none() || !self.put.is_over() {
            assert!(
                begin.elapsed() < Duration::from_secs(20),
                "{:?} {:?} {:?}",
                self.put,
                self.take,
                self.news
            );
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.workers.pump();
        while let Some(reply) = self.workers.next_read() {
            self.with_put(|put, cx| put.on_read(reply.outcome, cx));
        }
        while let Some(reply) = self.workers.next_write() {
            self.on_write_reply(reply);
        }
        self.deliver();
        self.carry();
        self.with_take(|take, cx| {
            take.flush_bad(cx);
            None
        });
        self.with_put(|put, cx| {
            put.pump(cx);
            None
        });
        std::thread::sleep(Duration::from_micros(200));
    }

    fn on_write_reply(&mut self, reply: WriteReply) {
        match reply {
            WriteReply::Written(written) => {
                let (reply, _) = WrittenBlock::of(written);
                self.with_take(|take, cx| take.on_written(&reply, cx));
            }
            WriteReply::Created { result, .. } => self.with_take(|take, cx| take.on_created(result, cx)),
            WriteReply::Committed { result, .. } => self.with_take(|take, cx| take.on_committed(result, cx)),
            WriteReply::Listed { .. } | WriteReply::Discarded { .. } => {}
        }
    }

    fn deliver(&mut self) {
        for message in std::mem::take(&mut self.to_take) {
            match message {
                Message::PutRequest(request) => self.request(&request),
                Message::Subtrees(message) => self.with_take(|take, cx| take.on_subtrees(&message, cx)),
                Message::Finish(message) => self.with_take(|take, cx| take.on_finish(&message, cx)),
                Message::Abort(message) => {
                    let failure = super::Failure::new(Code::from_number(message.code), message.text);
                    let path = self.place.root.clone();
                    self.outcome.get_or_insert(Outcome::Failed { path, failure });
                }
                other => panic!("{other:?}"),
            }
        }
        for message in std::mem::take(&mut self.to_put) {
            match message {
                Message::PutAccepted(message) => self.with_put(|put, cx| put.on_accepted(message, cx)),
                Message::InOrder(_) => self.put.on_in_order(),
                Message::BadSubtrees(message) => self.with_put(|put, cx| put.on_bad(&message, cx)),
                Message::Complete(message) => self.with_put(|put, cx| put.on_complete(message, cx)),
                Message::Progress(message) => self.with_put(|put, _| put.on_progress(&message)),
                Message::Abort(message) => self.with_put(|put, cx| put.on_abort(message, cx)),
                other => panic!("{other:?}"),
            }
        }
    }

    fn request(&mut self, request: &PutRequest) {
        let mut cx = TakeCx { mail: &mut self.to_put, queue: self.workers.queue(), now: Time::ZERO };
        self.take = Some(Take::new(TAKE, request, &self.place, 7, &mut cx).unwrap());
    }

    /// Carries what is available as whole blocks.
    fn carry(&mut self) {
        let streams = self.wire.streams.clone();
        for (stream, range, available) in streams {
            if self.take.is_none() {
                return;
            }
            let mut at = self.wire.cursors[&stream];
            // A stream is announced once, with its first bytes.
            let end = self.wire.ends.iter().position(|&(of, _)| of == stream);
            if at == range.start && available > at {
                let known = (range.end < u64::MAX && end.is_none()).then_some(range.end);
                self.with_take(|take, cx| take.on_stream(range.start, known, cx));
            }
            if let Some(end) = end
                && available == range.end
            {
                let (_, end) = self.wire.ends.remove(end);
                self.with_take(|take, cx| take.on_stream_end(end, cx));
            }
            while at < available {
                let end = (at + BLOCK).min(range.end);
                self.carry_block(stream, at, end);
                at = end;
            }
            self.wire.cursors.insert(stream, at);
        }
    }

    fn carry_block(&mut self, stream: StreamId, at: u64, end: u64) {
        let index = at / BLOCK;
        let mut payload = match self.wire.slabs.get(&stream) {
            Some(slabs) => slabs.slice(at, (end - at) as usize).unwrap().to_vec(),
            None => self.bytes[at as usize..end as usize].to_vec(),
        };
        if let Some(times) = self.damage.get_mut(&index)
            && *times > 0
        {
            *times -= 1;
            payload[0] ^= 1;
        }
        let len = payload.len() as u32;
        let half = if self.split { len / 2 } else { 0 };
        if half > 0 && self.take.as_ref().is_some_and(Take::may_flush) {
            let block = block_of(&payload[..half as usize], 0);
            self.with_take(|take, cx| {
                assert!(take.on_flush(index, block, cx).is_none());
                None
            });
            let block = block_of(&payload[half as usize..], half);
            self.with_take(|take, cx| {
                take.on_block(index, block, cx);
                None
            });
        } else {
            let block = block_of(&payload, 0);
            self.with_take(|take, cx| {
                take.on_block(index, block, cx);
                None
            });
        }
    }

    fn arrived(&self) -> Vec<u8> {
        fs::read(self.place.root.join("name")).unwrap()
    }
}

fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * i / 7 + i / 1000) as u8).collect()
}

/// A pipe that somebody writes that many bytes into.
fn poured(len: usize) -> PutOrigin {
    let (reader, mut writer) = std::io::pipe().unwrap();
    std::thread::spawn(move || drop(writer.write_all(&bytes(len))));
    let inlet = Inlet::new(Arc::new(File::from(OwnedFd::from(reader))), Path::new("a pipe")).unwrap();
    PutOrigin::Pipe(Arc::new(inlet))
}

fn block_of(bytes: &[u8], start: u32) -> Block {
    let mut block = Block::allocate().unwrap();
    let end = start + bytes.len() as u32;
    block.bytes_mut()[start as usize..end as usize].copy_from_slice(bytes);
    assert!(block.mark(start, end));
    block
}

fn is_empty(directory: &Path) -> bool {
    // The part is removed by a clerk, a little later.
    (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(5));
        fs::read_dir(directory).unwrap().next().is_none()
    })
}

#[test]
fn files_of_every_shape_arrive() {
    for (len, streams) in [(0, 1), (1, 4), (BLOCK as usize, 1), (5 * BLOCK as usize + 1, 3)] {
        let mut ends = Ends::new(len, streams, false);
        ends.run();
        assert!(matches!(&ends.outcome, Some(Outcome::Done { bytes, .. }) if *bytes == len as u64));
        assert!(ends.arrived() == ends.bytes, "{len} bytes in {streams} streams");
    }
}

#[test]
fn damaged_blocks_are_sent_again_by_themselves() {
    let mut ends = Ends::new(6 * BLOCK as usize + 5, 2, false);
    ends.damage.extend([(1, 1), (4, 2), (6, 3)]);
    ends.run();
    assert!(ends.arrived() == ends.bytes);
    let repairs: Vec<Range<u64>> = ends.wire.streams[2..].iter().map(|(_, range, _)| range.clone()).collect();
    assert_eq!(repairs.len(), 6);
    assert!(repairs.iter().all(|range| range.end - range.start <= BLOCK));
}

#[test]
fn a_block_that_is_damaged_each_time_ends_as_corrupt() {
    for null in [false, true] {
        let mut ends = Ends::new(3 * BLOCK as usize, 1, null);
        ends.damage.insert(2, 100);
        ends.run();
        assert!(matches!(ends.news.last(), Some(News::Failed(failure)) if failure.code == Code::Corrupt));
        assert!(
            matches!(&ends.outcome, Some(Outcome::Failed { failure, .. }) if failure.code == Code::Corrupt)
        );
        if let Some(take) = ends.take.take() {
            take.end(ends.workers.queue());
            ends.workers.pump();
        }
        assert!(is_empty(&ends.place.root));
    }
}

#[test]
fn blocks_that_were_flushed_in_pieces_are_read_back_to_be_hashed() {
    let mut ends = Ends::new(4 * BLOCK as usize + 77, 1, false);
    ends.split = true;
    ends.run();
    assert!(ends.arrived() == ends.bytes);
    match &ends.outcome {
        // The first block may have come before there was a part.
        Some(Outcome::Done { reread, .. }) => assert!(*reread > 0 && *reread <= 4 * BLOCK),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_no_honest_sender_does_ends_the_transfer() {
    let begin = |len: usize| {
        let mut ends = Ends::new(len, 1, false);
        while ends.take.is_none() {
            ends.workers.pump();
            while let Some(reply) = ends.workers.next_read() {
                ends.with_put(|put, cx| put.on_read(reply.outcome, cx));
            }
            ends.deliver();
        }
        ends
    };
    let refused = |ends: &Ends| match &ends.outcome {
        Some(Outcome::Failed { failure, .. }) => failure.code == Code::Protocol,
        _ => false,
    };
    let len = 3 * BLOCK;
    for (start, end) in [(1, len), (0, BLOCK + 1), (0, len + BLOCK), (BLOCK, BLOCK), (2 * BLOCK, BLOCK)] {
        let mut ends = begin(len as usize);
        ends.with_take(|take, cx| take.on_stream(start, Some(end), cx));
        assert!(refused(&ends), "a stream over {start}..{end}");
    }
    let mut ends = begin(len as usize);
    ends.with_take(|take, cx| take.on_stream(0, Some(2 * BLOCK), cx));
    assert!(ends.outcome.is_none());
    ends.with_take(|take, cx| take.on_stream(BLOCK, Some(len), cx));
    assert!(refused(&ends), "the same block twice");
    let mut ends = begin(len as usize);
    let finish = Finish { request: RequestId(1), size: len, digest: [0; 32] };
    ends.with_take(|take, cx| take.on_finish(&finish, cx));
    assert!(refused(&ends), "an end before the digests");
}

const MIB: usize = BLOCK as usize;

#[test]
fn pipes_of_every_length_arrive() {
    for len in [0, 1, MIB - 1, MIB, MIB + 1, 2 * MIB, 5 * MIB + 1, 90 * MIB + 3] {
        let mut ends = Ends::out_of_a_pipe(len);
        ends.run();
        let done = matches!(&ends.outcome, Some(Outcome::Done { bytes, .. }) if *bytes == len as u64);
        assert!(done, "{len}: {:?}", ends.outcome);
        assert!(ends.arrived() == ends.bytes, "{len} bytes");
        assert_eq!(ends.wire.given_up > 0, len > 64 * MIB, "what has room is kept");
    }
}

#[test]
fn a_damaged_block_of_a_pipe_is_sent_again_while_it_is_there() {
    let mut ends = Ends::out_of_a_pipe(6 * MIB + 5);
    ends.damage.extend([(1, 1), (4, 2), (6, 3)]);
    ends.run();
    assert!(ends.arrived() == ends.bytes, "{:?}", ends.outcome);
    assert_eq!(ends.wire.streams.len(), 7);
}

#[test]
fn a_damaged_block_that_was_given_up_ends_as_corrupt() {
    let mut ends = Ends::out_of_a_pipe(90 * MIB);
    let begin = Instant::now();
    while ends.wire.given_up == 0 {
        assert!(begin.elapsed() < Duration::from_secs(20));
        ends.turn();
    }
    let bad = BadSubtrees { request: RequestId(1), indices: vec![0] };
    ends.with_put(|put, cx| put.on_bad(&bad, cx));
    match ends.news.last() {
        Some(News::Failed(failure)) => {
            assert!(
                failure.code == Code::Corrupt && failure.text.contains("can't be read again"),
                "{failure:?}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_pipe_gets_its_bytes_in_order_and_as_one_stream() {
    for (len, streams, piped) in [
        (0, 1, false),
        (3 * MIB + 5, 3, false),
        (9 * MIB + 5, 3, false),
        (9 * MIB + 5, 1, true),
        (MIB, 1, true),
    ] {
        let (mut ends, reading) = Ends::into_a_pipe(len, streams, piped);
        ends.run();
        assert!(matches!(&ends.outcome, Some(Outcome::Done { .. })), "{len}: {:?}", ends.outcome);
        if len > 4 * MIB {
            assert_eq!(ends.wire.streams.len(), 1, "a large file waits to be told");
        }
        let bytes = std::mem::take(&mut ends.bytes);
        drop(ends);
        assert!(reading.join().unwrap() == bytes, "{len} bytes");
    }
}

#[test]
fn what_went_into_a_pipe_cannot_be_mended() {
    let (mut ends, reading) = Ends::into_a_pipe(3 * MIB, 1, false);
    ends.damage.insert(1, 1);
    ends.run();
    match &ends.outcome {
        Some(Outcome::Failed { failure, .. }) => {
            assert!(
                failure.code == Code::Corrupt && failure.text.contains("can't be taken back"),
                "{failure:?}"
            );
        }
        other => panic!("{other:?}"),
    }
    drop(ends);
    reading.join().unwrap();
}

/// What a peer has the receiver do.
type Act<'a> = &'a dyn Fn(&mut Take, &mut TakeCx<'_>) -> Option<Outcome>;

#[test]
fn a_file_without_a_size_is_one_stream_and_agrees_with_itself() {
    let begin = || {
        let mut ends = Ends::out_of_a_pipe(3 * MIB);
        let begin = Instant::now();
        while ends.to_put.is_empty() && begin.elapsed() < Duration::from_secs(20) {
            ends.workers.pump();
            while let Some(reply) = ends.workers.next_read() {
                ends.with_put(|put, cx| put.on_read(reply.outcome, cx));
            }
            while let Some(reply) = ends.workers.next_write() {
                ends.on_write_reply(reply);
            }
            let waiting = std::mem::take(&mut ends.to_put);
            ends.deliver();
            ends.to_put.extend(waiting);
        }
        ends
    };
    let check = |what: &str, acts: &[Act<'_>]| {
        let mut ends = begin();
        for (at, act) in acts.iter().enumerate() {
            assert!(ends.outcome.is_none(), "{what}: too early, before {at}");
            ends.with_take(act);
        }
        match &ends.outcome {
            Some(Outcome::Failed { failure, .. }) => assert_eq!(failure.code, Code::Protocol, "{what}"),
            other => panic!("{what}: {other:?}"),
        }
    };
    let open = |take: &mut Take, cx: &mut TakeCx<'_>| take.on_stream(0, None, cx);
    let finish = |size: u64| {
        move |take: &mut Take, cx: &mut TakeCx<'_>| {
            take.on_finish(&Finish { request: RequestId(1), size, digest: [0; 32] }, cx)
        }
    };
    check("twice", &[&open, &open]);
    check("not from its beginning", &[&|take, cx| take.on_stream(BLOCK, None, cx)]);
    check("another stream", &[&open, &|take, cx| take.on_stream(BLOCK, Some(2 * BLOCK), cx)]);
    check("one block", &[&open, &|take, cx| take.on_stream_end(BLOCK, cx)]);
    check(
        "two ends",
        &[&open, &|take, cx| take.on_stream_end(2 * BLOCK, cx), &|take, cx| {
            take.on_stream_end(2 * BLOCK + 1, cx)
        }],
    );
    check("another end", &[&open, &|take, cx| take.on_stream_end(2 * BLOCK, cx), &finish(3 * BLOCK)]);
    check("too large", &[&open, &finish(u64::MAX)]);
    check("without digests", &[&open, &finish(2 * BLOCK)]);
    let mut ends = Ends::new(3 * MIB, 1, false);
    while ends.take.is_none() {
        ends.workers.pump();
        while let Some(reply) = ends.workers.next_read() {
            ends.with_put(|put, cx| put.on_read(reply.outcome, cx));
        }
        ends.deliver();
    }
    ends.with_take(open);
    assert!(matches!(&ends.outcome, Some(Outcome::Failed { failure, .. }) if failure.code == Code::Protocol));
}
