//! The receiving end of one file.
//!
//! A take owns the file's part, the digests that the sender announced and those of what was written. A block is
//! *claimed* by the one stream that covers it, from STREAM_OPEN until it turned out bad: so what was verified cannot
//! be overwritten. The file gets its name when every block equals its announced digest and the root of all equals
//! FINISH; until then there is only a part that vanishes with the take.

mod order;
mod unsized_file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use udpx_proto::messages::{
    Abort, BadSubtrees, Complete, Finish, IfExists, Progress, PutAccepted, PutRequest, Subtrees,
};
use udpx_proto::{Code, Message, RequestId, Time};

use self::order::Order;
use self::unsized_file::Endless;
use super::block_set::BlockSet;
use super::put::AT_ONCE_MAX;
use super::{Failure, INDICES_MAX, Mail, code_of_vault, rel_path};
use crate::engine::workers::Queue;
use crate::report::Row;
use crate::storage::BLOCK;
use crate::storage::blocks::Block;
use crate::storage::digest::{self, Cv, DigestTree};
use crate::storage::part::{self, Part};
use crate::storage::path::RelPath;
use crate::storage::vault::{PartSpec, Vault, VaultError};
use crate::storage::writers::{ClerkJob, WriteJob, Written};

/// Where a peer's files go.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) vault: Arc<dyn Vault>,
    /// The path of its root, for the names that are shown.
    pub(crate) root: PathBuf,
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.root.fmt(f)
    }
}

/// What a take needs of the engine while it handles something.
pub(crate) struct TakeCx<'a> {
    pub(crate) mail: &'a mut Mail,
    pub(crate) queue: &'a mut Queue,
    pub(crate) now: Time,
}

/// One file being received.
pub(crate) struct Take {
    /// Tag of its work in the storage threads.
    pub(crate) tag: u64,
    pub(crate) request: RequestId,
    /// Who asked, as the peer says: proof of nothing.
    pub(crate) user: String,
    place: Place,
    path: RelPath,
    /// The base name of the source, used if `path` turns out to be a directory.
    inside: Option<RelPath>,
    spec: PartSpec,
    finish: part::Finish,
    /// [`digest::Subtrees::UNKNOWN`] until the size is known.
    subtrees: digest::Subtrees,
    /// The stream whose end is not known yet, and what is special about its blocks.
    endless: Endless,
    phase: Phase,
    part: Option<Arc<Part>>,
    /// Of what was written.
    ours: DigestTree,
    /// As announced.
    theirs: DigestTree,
    /// Blocks whose two digests are equal.
    verified: BlockSet,
    verified_count: u64,
    /// Blocks that belong to a stream, or are done.
    claimed: BlockSet,
    claimed_count: u64,
    /// Streams that were opened and have not been received whole.
    streams: u64,
    /// Blocks that were whole before the part existed.
    held: Vec<(u64, Block)>,
    /// Blocks for a pipe that are whole, and must wait for those before them.
    order: Option<Order>,
    /// Writes without an answer.
    writing: u32,
    written: u64,
    root: Option<[u8; 32]>,
    bad: Vec<u64>,
    told: (u64, Time),
    /// Bytes that had come or been written when it was last looked at, and since when it has been as many.
    seen: (u64, Time),
    /// Its finished streams.
    pub(crate) rows: Vec<Row>,
    pub(crate) started: Time,
}

/// How far a take is.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
enum Phase {
    /// A clerk creates the part.
    Creating,
    /// Blocks come.
    Receiving,
    /// A clerk makes the file durable.
    Committing,
    /// Complete, skipped, failed or given up.
    Over,
}

/// What became of a file.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is durable.
    Done { path: PathBuf, bytes: u64, digest: [u8; 32], reread: u64 },
    /// It was there already and the sender wanted it left.
    Skipped { path: PathBuf },
    /// It will never be; the peer was told, unless it was the peer who said so.
    Failed { path: PathBuf, failure: Failure },
}

impl Take {
    /// Begins to receive what `request` asks for.
    ///
    /// # Errors
    /// What the peer is to be told instead.
    pub(crate) fn new(
        tag: u64,
        request: &PutRequest,
        place: &Place,
        nonce: u64,
        cx: &mut TakeCx<'_>,
    ) -> Result<Self, Failure> {
        let size = request.size;
        let subtrees = size
            .map_or(Some(digest::Subtrees::UNKNOWN), digest::Subtrees::of)
            .ok_or_else(|| Failure::new(Code::NoSpace, "A file can have at most 64 TiB; split it."))?;
        let (path, inside) = destination(&request.path, &request.name)?;
        let modified = u64::try_from(request.mtime_ns).ok().map(|ns| UNIX_EPOCH + Duration::from_nanos(ns));
        let take = Self {
            tag,
            request: request.request,
            place: place.clone(),
            user: request.user.chars().take(USER_CHARS_MAX).collect(),
            path,
            inside,
            spec: PartSpec { size, if_exists: if_exists(request.if_exists), nonce },
            finish: part::Finish { mode: request.mode, modified },
            subtrees,
            endless: Endless::new(size.is_none()),
            phase: Phase::Creating,
            part: None,
            ours: DigestTree::new(subtrees),
            theirs: DigestTree::new(subtrees),
            verified: BlockSet::new(subtrees.count()),
            verified_count: 0,
            claimed: BlockSet::new(subtrees.count()),
            claimed_count: 0,
            streams: 0,
            held: Vec::new(),
            order: None,
            writing: 0,
            written: 0,
            root: None,
            bad: Vec::new(),
            told: (0, cx.now),
            seen: (0, cx.now),
            rows: Vec::new(),
            started: cx.now,
        };
        take.create(cx);
        Ok(take)
    }

    fn create(&self, cx: &mut TakeCx<'_>) {
        cx.queue.clerk(ClerkJob::Create {
            tag: self.tag,
            vault: self.place.vault.clone(),
            path: self.path.clone(),
            spec: self.spec,
        });
    }

    /// The name that the file will have, as far as it is known.
    pub(crate) fn shown(&self) -> PathBuf {
        self.place.root.join(self.path.as_path())
    }

    /// Bytes of the file, once they are known.
    pub(crate) fn size(&self) -> Option<u64> {
        self.is_sized().then(|| self.subtrees.size())
    }

    /// Bytes that it takes of the disk, or will.
    pub(crate) fn occupied(&self) -> u64 {
        self.size().unwrap_or(self.written)
    }

    /// Whether its peer has sent nothing for `stalled`. `came` is what has come on its streams that are open.
    pub(crate) fn is_stalled(&mut self, came: u64, stalled: Duration, now: Time) -> bool {
        let sum = came.wrapping_add(self.written);
        if sum != self.seen.0 {
            self.seen = (sum, now);
        }
        // What waits for our own disk is not the peer's fault.
        self.phase == Phase::Receiving && self.writing == 0 && now.saturating_since(self.seen.1) >= stalled
    }

    /// How far it is in steps that are worth telling: whether its part exists, and bytes written by the last account.
    pub(crate) fn milestone(&self) -> (bool, u64) {
        (self.phase != Phase::Creating, self.told.0)
    }

    /// Whether incomplete blocks may be written early: the rest can be read back to be hashed.
    pub(crate) fn may_flush(&self) -> bool {
        self.phase == Phase::Receiving && self.part.as_ref().is_some_and(|part| part.is_readable())
    }

    /// The part was created, or not.
    pub(crate) fn on_created(
        &mut self,
        result: Result<Arc<Part>, VaultError>,
        cx: &mut TakeCx<'_>,
    ) -> Option<Outcome> {
        if self.phase != Phase::Creating {
            self.part = result.ok();
            return None;
        }
        match result {
            Ok(part) => {
                self.part = Some(part);
                self.phase = Phase::Receiving;
                self.put_in_order(cx);
                cx.mail.push_back(self.accepted(false));
                for (index, block) in std::mem::take(&mut self.held) {
                    self.on_whole(index, block, cx);
                }
                self.try_commit(cx)
            }
            // As with cp: into the directory, under the name of the source.
            Err(VaultError::IsDirectory(_)) if self.inside.is_some() => {
                self.path = self.inside.take()?;
                self.create(cx);
                None
            }
            Err(VaultError::Exists(path)) if self.spec.if_exists == part::IfExists::Skip => {
                self.phase = Phase::Over;
                cx.mail.push_back(self.accepted(true));
                Some(Outcome::Skipped { path })
            }
            Err(error) => Some(self.fail(Failure::new(code_of_vault(&error), error.to_string()), cx)),
        }
    }

    fn accepted(&self, skipped: bool) -> Message {
        use std::os::unix::ffi::OsStringExt;
        let path = self.shown().into_os_string().into_vec();
        Message::PutAccepted(PutAccepted { request: self.request, path, skipped })
    }

    /// A stream over `[start, end)` was opened for this file.
    pub(crate) fn on_stream(&mut self, start: u64, end: Option<u64>, cx: &mut TakeCx<'_>) -> Option<Outcome> {
        let Some(end) = end.filter(|_| self.is_sized()) else {
            return self.on_stream_of_unsized(start, end, cx);
        };
        let aligned =
            start.is_multiple_of(BLOCK) && (end.is_multiple_of(BLOCK) || end == self.subtrees.size());
        if !aligned || start >= end || end > self.subtrees.size() {
            return Some(
                self.fail(Failure::protocol("a stream does not consist of whole blocks of its file"), cx),
            );
        }
        let blocks = start / BLOCK..end.div_ceil(BLOCK);
        let count = blocks.end - blocks.start;
        // Before it knows whether there is room, no honest sender sends more.
        if self.phase == Phase::Creating && (self.claimed_count + count) * BLOCK > AT_ONCE_MAX {
            return Some(self.fail(Failure::protocol("data was sent before there was room for it"), cx));
        }
        if self.is_out_of_order() {
            let text = "This file goes into a pipe here: it has to come as one stream.";
            return Some(self.fail(Failure::new(Code::Refused, text), cx));
        }
        if self.claimed.insert_range(blocks) {
            self.claimed_count += count;
            self.streams += 1;
            return None;
        }
        Some(self.fail(Failure::protocol("two streams carry the same block"), cx))
    }

    /// A stream of this file has been received whole.
    pub(crate) fn on_stream_received(&mut self) {
        self.streams = self.streams.saturating_sub(1);
    }

    /// Everything was sent and has come, and nothing is under way, but blocks are missing.
    pub(crate) fn is_stuck(&self) -> bool {
        let came = self.root.is_some() && self.streams == 0 && self.claimed_count == self.subtrees.count();
        let idle = self.writing == 0 && self.held.is_empty() && self.bad.is_empty();
        self.phase == Phase::Receiving && came && idle && self.verified_count < self.subtrees.count()
    }

    /// A block is whole. What cannot be used comes back.
    pub(crate) fn on_block(&mut self, index: u64, block: Block, cx: &mut TakeCx<'_>) -> Option<Block> {
        match self.phase {
            Phase::Creating => self.held.push((index, block)),
            Phase::Receiving => self.on_whole(index, block, cx),
            Phase::Committing | Phase::Over => return Some(block),
        }
        None
    }

    /// A block with holes has to make room.
    pub(crate) fn on_flush(&mut self, index: u64, block: Block, cx: &mut TakeCx<'_>) -> Option<Block> {
        if !self.may_flush() {
            return Some(block);
        }
        self.write(index, block, false, cx);
        None
    }

    fn write(&mut self, block_index: u64, block: Block, whole: bool, cx: &mut TakeCx<'_>) {
        if let Some(part) = &self.part {
            let completes = whole.then_some(self.subtrees);
            cx.queue.write(WriteJob { tag: self.tag, part: part.clone(), block_index, block, completes });
            self.writing += 1;
        }
    }

    /// A write returned; its block has gone back to the pool.
    pub(crate) fn on_written(&mut self, reply: &WrittenBlock, cx: &mut TakeCx<'_>) -> Option<Outcome> {
        self.writing -= 1;
        if self.phase != Phase::Receiving {
            return None;
        }
        self.written += u64::from(reply.bytes);
        match &reply.result {
            Err(failure) => return Some(self.fail(failure.clone(), cx)),
            // A block with holes, written early.
            Ok(None) => {}
            Ok(Some(cv)) => {
                self.ours.set(reply.index, *cv);
                self.compare(reply.index);
            }
        }
        self.report_progress(cx);
        self.try_commit(cx)
    }

    /// Digests were announced.
    pub(crate) fn on_subtrees(&mut self, message: &Subtrees, cx: &mut TakeCx<'_>) -> Option<Outcome> {
        for (index, cv) in (message.first..).zip(&message.digests) {
            if index >= self.subtrees.count() {
                return Some(self.fail(Failure::protocol("a digest beyond the end of the file"), cx));
            }
            if self.theirs.get(index).is_some() {
                return Some(self.fail(Failure::protocol("a digest was announced twice"), cx));
            }
            self.theirs.set(index, Cv(*cv));
            self.compare(index);
        }
        self.try_commit(cx)
    }

    /// Compares the two digests of a block, if both are there.
    fn compare(&mut self, index: u64) {
        let (Some(ours), Some(theirs)) = (self.ours.get(index), self.theirs.get(index)) else {
            return;
        };
        if ours == theirs {
            self.verified_count += u64::from(self.verified.insert(index));
        } else if !self.verified.contains(index) {
            self.ours.forget(index);
            self.claimed_count -= u64::from(self.claimed.remove(index));
            self.endless.give_up(index);
            let range = self.subtrees.range(index);
            self.written = self.written.saturating_sub(range.end - range.start);
            self.bad.push(index);
        }
    }

    /// Everything was sent, and this is its digest.
    pub(crate) fn on_finish(&mut self, message: &Finish, cx: &mut TakeCx<'_>) -> Option<Outcome> {
        if !self.is_sized()
            && let Err(failure) = self.set_size(message.size)
        {
            return Some(self.fail(failure, cx));
        }
        if message.size != self.subtrees.size() || self.theirs.missing_count() > 0 {
            return Some(self.fail(Failure::protocol("FINISH came before all digests"), cx));
        }
        self.root = Some(message.digest);
        self.try_commit(cx)
    }

    /// Says which blocks are to be sent again.
    pub(crate) fn flush_bad(&mut self, cx: &mut TakeCx<'_>) {
        for indices in self.bad.chunks(INDICES_MAX) {
            let message = BadSubtrees { request: self.request, indices: indices.to_vec() };
            cx.mail.push_back(Message::BadSubtrees(message));
        }
        self.bad.clear();
    }

    fn report_progress(&mut self, cx: &mut TakeCx<'_>) {
        let (told, at) = self.told;
        let all = self.size() == Some(self.written) && told < self.written;
        if all || cx.now.saturating_since(at) >= PROGRESS_EVERY {
            self.told = (self.written, cx.now);
            cx.mail.push_back(Message::Progress(Progress { request: self.request, written: self.written }));
        }
    }

    fn try_commit(&mut self, cx: &mut TakeCx<'_>) -> Option<Outcome> {
        if let Some(failure) = self.bad_in_order() {
            return Some(self.fail(failure, cx));
        }
        let whole = self.verified_count == self.subtrees.count() && self.writing == 0;
        let (Some(announced), true) = (self.root, whole && self.phase == Phase::Receiving) else {
            return None;
        };
        if self.ours.root() != Some(announced) {
            let text = "The digest of the whole file differs though that of every part is right.";
            return Some(self.fail(Failure::new(Code::Corrupt, text), cx));
        }
        let part = self.part.clone()?;
        self.phase = Phase::Committing;
        let vault = self.place.vault.clone();
        cx.queue.clerk(ClerkJob::Commit { tag: self.tag, vault, part, finish: self.finish });
        None
    }

    /// The file is durable, or could not be made so.
    pub(crate) fn on_committed(
        &mut self,
        result: Result<PathBuf, VaultError>,
        cx: &mut TakeCx<'_>,
    ) -> Option<Outcome> {
        use std::os::unix::ffi::OsStrExt;
        if self.phase != Phase::Committing {
            return None;
        }
        let (path, digest) = match (result, self.root) {
            (Ok(path), Some(digest)) => (path, digest),
            (Err(error), _) => {
                return Some(self.fail(Failure::new(code_of_vault(&error), error.to_string()), cx));
            }
            (Ok(_), None) => return None,
        };
        self.phase = Phase::Over;
        let reread = self.part.as_ref().map_or(0, |part| part.reread_bytes());
        let bytes = self.subtrees.size();
        cx.mail.push_back(Message::Complete(Complete {
            request: self.request,
            path: path.as_os_str().as_bytes().to_vec(),
            size: bytes,
            digest,
            reread,
        }));
        Some(Outcome::Done { path, bytes, digest, reread })
    }

    /// Ends the take and tells the peer why.
    pub(crate) fn fail(&mut self, failure: Failure, cx: &mut TakeCx<'_>) -> Outcome {
        cx.mail.push_back(Message::Abort(Abort {
            request: self.request,
            code: failure.code.number(),
            text: failure.text.clone(),
        }));
        self.phase = Phase::Over;
        Outcome::Failed { path: self.shown(), failure }
    }

    /// The take will not be finished. Its part vanishes on a clerk's thread, unless it was committed; what was
    /// staged for it comes back.
    pub(crate) fn end(mut self, queue: &mut Queue) -> Vec<(u64, Block)> {
        if let Some(part) = self.part.take() {
            queue.clerk(ClerkJob::Discard { tag: self.tag, part });
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend(self.order.take().into_iter().flat_map(Order::into_blocks));
        held
    }
}

/// A [`Written`] whose block has been taken out of it.
#[derive(Debug)]
pub(crate) struct WrittenBlock {
    pub(crate) index: u64,
    pub(crate) bytes: u32,
    pub(crate) result: Result<Option<Cv>, Failure>,
}

impl WrittenBlock {
    /// Takes a reply apart.
    pub(crate) fn of(written: Written) -> (Self, Block) {
        let Written { block_index, block, bytes, result, .. } = written;
        let result = result.map_err(|error| Failure::new(code_of_vault(&error), error.to_string()));
        (Self { index: block_index, bytes, result }, block)
    }
}

/// The destination of a request, and the one to use if that is a directory.
fn destination(path: &[u8], name: &[u8]) -> Result<(RelPath, Option<RelPath>), Failure> {
    if name.contains(&b'/') {
        return Err(Failure::protocol("the name of the source is a path"));
    }
    let directory = path.strip_suffix(b"/").unwrap_or(path);
    let within = || match directory {
        b"" => rel_path(name),
        _ => rel_path(&[directory, b"/", name].concat()),
    };
    if directory.len() < path.len() || path.is_empty() {
        return Ok((within()?, None));
    }
    // Known only when it is opened; a name that cannot be a file in there is no reason to refuse it as a file.
    Ok((rel_path(path)?, within().ok()))
}

fn if_exists(wire: IfExists) -> part::IfExists {
    match wire {
        IfExists::Replace => part::IfExists::Replace,
        IfExists::Skip => part::IfExists::Skip,
        IfExists::Fail => part::IfExists::Fail,
        IfExists::Rename => part::IfExists::Rename,
    }
}

/// Of the name of a user that is told: more than any system has.
const USER_CHARS_MAX: usize = 64;
/// A peer hears of progress this often at most.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

impl std::fmt::Debug for Take {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path: &Path = self.path.as_path();
        f.debug_struct("Take").field("path", &path).field("phase", &self.phase).finish_non_exhaustive()
    }
}
