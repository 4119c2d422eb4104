//! A pipe as a source.
//!
//! An [`Inlet`] is the pipe as whoever wants it sent knows it; a transfer *taps* it and gets the [`Feed`], the engine's
//! end. What was read stays in memory as long as there is room, half of the window at least: a transfer that ends
//! before anything was given up leaves its feed to the next one, which begins anew with the first byte. After that the
//! pipe is spent, and nothing can make up for it.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};
use udpx_control::descriptor::{DescriptorKind, classify};

use super::WINDOW_BYTES;
use super::slab::{Slab, Slabs};
use super::thread::{For, Slot, Wake};
use crate::storage::digest::{Cv, Subtrees};
use crate::storage::readers::{ReadOutcome, ReadReply};
use crate::storage::source::SourceError;
use crate::storage::{BLOCK, Bell};

/// Slabs of one pipe.
const SLABS_MAX: usize = (WINDOW_BYTES / BLOCK) as usize;
/// Slabs that are kept though the peer has them.
const KEPT: usize = SLABS_MAX / 2;

/// A pipe to be sent, once. Dropping it ends its thread; the pipe itself stays as it is.
pub struct Inlet {
    shared: Arc<Shared>,
}

struct Shared {
    name: PathBuf,
    file: Arc<File>,
    wake: Wake,
    state: Mutex<State>,
    /// Who is told of what comes.
    line: Mutex<Option<Line>>,
}

enum State {
    /// Not a byte was read.
    Fresh,
    /// A transfer has its feed.
    Lent,
    /// A transfer has left it whole.
    Back(Box<Ends>),
    /// So many bytes are gone for ever.
    Spent(u64),
}

/// The engine's ends of the channels to the thread, and what came through them.
struct Ends {
    filled: Receiver<io::Result<Filled>>,
    empties: Sender<Slab>,
    slabs: Slabs,
    end: Option<u64>,
}

/// What the thread has read.
struct Filled {
    slab: Option<Slab>,
    /// The size, once it is known.
    end: Option<u64>,
}

/// How a transfer is told that something came.
#[derive(Clone)]
pub struct Line {
    /// Tag of the transfer's work.
    pub tag: u64,
    /// Where replies of readers go.
    pub replies: Sender<ReadReply>,
    /// Wakes the engine.
    pub bell: Bell,
}

/// A pipe, as a transfer that sends it sees it.
pub struct Feed {
    inlet: Arc<Inlet>,
    /// Taken out when it is dropped.
    ends: Option<Box<Ends>>,
    /// Blocks below were seen.
    seen: u64,
    told_end: bool,
}

/// What came out of a pipe.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Fill {
    /// A block, the next one.
    pub block: Option<u64>,
    /// The size of it all, as soon as it is known; with the first block, if that is the only one.
    pub end: Option<u64>,
}

impl Inlet {
    /// A descriptor that is read to its end: a pipe, a terminal, or whatever else can be read but not mapped. `name`
    /// is for messages.
    ///
    /// # Errors
    /// [`SourceError`]: it cannot be read, or is a directory or a socket.
    pub fn new(file: Arc<File>, name: &Path) -> Result<Self, SourceError> {
        let path = || name.to_path_buf();
        let failed = |error| SourceError::Io { path: path(), action: "examined", error };
        let found = classify(&*file).map_err(failed)?;
        found.check_input().map_err(|error| SourceError::Handed { path: path(), error })?;
        let wake = Wake::new().map_err(failed)?;
        let (state, line) = (Mutex::new(State::Fresh), Mutex::new(None));
        Ok(Self { shared: Arc::new(Shared { name: path(), file, wake, state, line }) })
    }

    /// Its name, for messages.
    pub fn name(&self) -> &Path {
        &self.shared.name
    }

    /// Gives a transfer the feed, and begins to read if nobody has. Called by a reader.
    ///
    /// # Errors
    /// [`SourceError::Spent`] if a transfer before has used it up.
    pub fn tap(self: &Arc<Self>, line: Line) -> Result<Feed, SourceError> {
        let mut state = lock(&self.shared.state);
        let ends = match std::mem::replace(&mut *state, State::Lent) {
            State::Fresh => match self.start() {
                Ok(ends) => Box::new(ends),
                Err(error) => {
                    *state = State::Fresh;
                    return Err(error);
                }
            },
            State::Back(ends) => ends,
            State::Lent => return Err(SourceError::Busy(self.name().into())),
            State::Spent(bytes) => {
                *state = State::Spent(bytes);
                return Err(SourceError::Spent { path: self.name().into(), bytes });
            }
        };
        *lock(&self.shared.line) = Some(line);
        Ok(Feed { inlet: self.clone(), ends: Some(ends), seen: 0, told_end: false })
    }

    fn start(&self) -> Result<Ends, SourceError> {
        let slot = Slot::take().ok_or_else(|| SourceError::TooManyPipes(self.name().into()))?;
        // Never full: there are no more slabs than that, and one message without.
        let (sender, filled) = bounded(SLABS_MAX + 1);
        // Never full either.
        let (empties, empty) = bounded(SLABS_MAX);
        let pump = Pump {
            shared: self.shared.clone(),
            filled: sender,
            empty,
            allocated: 0,
            total: 0,
            first: None,
            slab: None,
        };
        let thread = std::thread::Builder::new().name("udpx-pipe-in".into());
        let spawned = thread.spawn(move || {
            pump.run();
            drop(slot);
        });
        spawned.map_err(|error| SourceError::Io { path: self.name().into(), action: "read", error })?;
        Ok(Ends { filled, empties, slabs: Slabs::from(0), end: None })
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        // It is not waited for: another reader of the same pipe may have taken what it was about to read.
        self.shared.wake.stop();
    }
}

impl std::fmt::Debug for Inlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Inlet").field(&self.shared.name).finish()
    }
}

impl Feed {
    /// The name of the pipe.
    pub fn name(&self) -> &Path {
        self.inlet.name()
    }

    /// What came next, if something did.
    ///
    /// # Errors
    /// The pipe could not be read.
    pub fn next_fill(&mut self) -> Result<Option<Fill>, SourceError> {
        let Some(ends) = &mut self.ends else { return Ok(None) };
        // What a transfer before has seen.
        if self.seen < ends.slabs.end() {
            self.seen += 1;
            let end = ends.end.filter(|_| self.seen == ends.slabs.end());
            self.told_end = end.is_some();
            return Ok(Some(Fill { block: Some(self.seen - 1), end }));
        }
        if let Some(end) = ends.end.filter(|_| !self.told_end) {
            self.told_end = true;
            return Ok(Some(Fill { block: None, end: Some(end) }));
        }
        match ends.filled.try_recv() {
            Ok(Ok(Filled { slab, end })) => {
                let block = slab.map(|slab| {
                    ends.slabs.push(Arc::new(slab));
                    self.seen += 1;
                    self.seen - 1
                });
                ends.end = end;
                self.told_end = end.is_some();
                Ok(Some(Fill { block, end }))
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::FileTooLarge => Err(SourceError::TooLarge {
                path: self.name().into(),
                size: crate::storage::digest::FILE_BYTES_MAX + 1,
            }),
            Ok(Err(error)) => Err(SourceError::Io { path: self.name().into(), action: "read", error }),
            Err(_) => Ok(None),
        }
    }

    /// A block, if it is still there.
    pub fn slab(&self, block: u64) -> Option<&Arc<Slab>> {
        self.ends.as_ref()?.slabs.get(block)
    }

    /// All blocks that are there.
    pub fn slabs(&self) -> Slabs {
        self.ends.as_ref().map(|ends| ends.slabs.clone()).unwrap_or_default()
    }

    /// Bytes that have come so far.
    pub fn bytes(&self) -> u64 {
        self.ends.as_ref().map_or(0, |ends| ends.end.unwrap_or(ends.slabs.end() * BLOCK))
    }

    /// The peer has all blocks below this one: they need not be kept. Returns below which they are gone.
    pub fn release_below(&mut self, block: u64) -> u64 {
        let Some(ends) = &mut self.ends else { return 0 };
        let mut given = false;
        while ends.end.is_none() && ends.slabs.len() > KEPT && ends.slabs.first() < block {
            let Some(slab) = ends.slabs.pop() else { break };
            // A stream that repeats this very block may hold it: then another one takes its place.
            let mut slab = Arc::try_unwrap(slab).unwrap_or_else(|_| Slab::new());
            slab.clear();
            given |= ends.empties.send(slab).is_ok();
        }
        if given {
            self.inlet.shared.wake.ring();
        }
        ends.slabs.first()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let Some(ends) = self.ends.take() else { return };
        *lock(&self.inlet.shared.line) = None;
        let mut state = lock(&self.inlet.shared.state);
        *state = match ends.slabs.first() {
            0 => State::Back(ends),
            blocks => {
                self.inlet.shared.wake.stop();
                State::Spent(blocks * BLOCK)
            }
        };
    }
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("name", &self.name())
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}

/// The thread of a pipe.
struct Pump {
    shared: Arc<Shared>,
    filled: Sender<io::Result<Filled>>,
    empty: Receiver<Slab>,
    allocated: usize,
    /// Bytes so far.
    total: u64,
    /// The first block, whole: how it is hashed depends on whether there is another one.
    first: Option<Slab>,
    /// What is being filled.
    slab: Option<Slab>,
}

impl Pump {
    fn run(mut self) {
        let mut done = Ok(false);
        while matches!(done, Ok(false)) {
            if self.shared.wake.is_stopped() {
                return;
            }
            done = self.step();
        }
        if let Err(error) = done {
            self.tell(Err(error));
        }
    }

    /// Waits, and reads once. True at the end.
    fn step(&mut self) -> io::Result<bool> {
        if self.slab.is_none() {
            self.slab = self.next_slab();
        }
        let what = if self.slab.is_some() { For::Reading } else { For::Nothing };
        if !self.shared.wake.wait(&self.shared.file, what)? || self.shared.wake.is_stopped() {
            return Ok(false);
        }
        let Some(slab) = &mut self.slab else { return Ok(false) };
        match (&*self.shared.file).read(slab.room()) {
            Ok(0) => {
                self.finish();
                Ok(true)
            }
            Ok(read) => {
                slab.grow(read);
                self.total += read as u64;
                self.on_more()?;
                Ok(false)
            }
            // Another process has set O_NONBLOCK, and another reader was faster.
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn next_slab(&mut self) -> Option<Slab> {
        if self.allocated < SLABS_MAX {
            self.allocated += 1;
            return Some(Slab::new());
        }
        self.empty.try_recv().ok()
    }

    fn on_more(&mut self) -> io::Result<()> {
        if let Some(first) = self.first.take() {
            self.publish(first, 0, None);
        }
        let Some(slab) = self.slab.take_if(|slab| slab.is_full()) else { return Ok(()) };
        let block = (self.total - 1) / BLOCK;
        if self.total > crate::storage::digest::FILE_BYTES_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match block {
            0 => self.first = Some(slab),
            _ => self.publish(slab, block, None),
        }
        Ok(())
    }

    fn finish(&mut self) {
        let end = Some(self.total);
        let rest = self.slab.take().filter(|slab| !slab.bytes().is_empty());
        match self.first.take().or(rest) {
            Some(slab) => self.publish(slab, (self.total - 1) / BLOCK, end),
            None => self.tell(Ok(Filled { slab: None, end })),
        }
    }

    /// Hashes a block and hands it on. It is whole unless it is the last.
    fn publish(&mut self, mut slab: Slab, block: u64, end: Option<u64>) {
        let subtrees = end.map_or(Some(Subtrees::UNKNOWN), Subtrees::of);
        slab.cv = subtrees.and_then(|subtrees| subtrees.cv(block, slab.bytes())).unwrap_or(Cv([0; 32]));
        self.tell(Ok(Filled { slab: Some(slab), end }));
    }

    fn tell(&mut self, filled: io::Result<Filled>) {
        // Who is gone needs nothing; who comes next finds it in the channel.
        let _ = self.filled.send(filled);
        let line = lock(&self.shared.line).clone();
        if let Some(Line { tag, replies, bell }) = line
            && replies.send(ReadReply { tag, outcome: ReadOutcome::Flowed }).is_ok()
        {
            bell();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a descriptor has to be read as a pipe is: it is no regular file, or one that stands somewhere within, or one
/// of those of the kernel that have no size.
///
/// # Errors
/// It cannot be examined.
pub fn is_stream(file: &File) -> io::Result<bool> {
    let found = classify(file)?;
    Ok(found.kind != DescriptorKind::File || found.bytes == 0 || (&mut &*file).stream_position()? > 0)
}
