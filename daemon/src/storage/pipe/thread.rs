//! What the threads of both ends have in common: how they wait, and how many there may be.

use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::PIPES_MAX;

/// Wakes a thread that waits for a pipe, and tells it when to end.
#[derive(Debug)]
pub(super) struct Wake {
    reader: PipeReader,
    writer: PipeWriter,
    stopped: AtomicBool,
    /// A byte is in the pipe: one is enough.
    rung: AtomicBool,
}

/// What a thread waits for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum For {
    /// Bytes, or the end.
    Reading,
    /// Room for bytes, or an error.
    Writing,
    /// Only to be woken.
    Nothing,
}

impl Wake {
    pub(super) fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, writer, stopped: AtomicBool::new(false), rung: AtomicBool::new(false) })
    }

    /// Something has changed that the thread waits for.
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // The pipe is ours, and empty: this neither blocks nor fails.
            let _ = (&self.writer).write(&[0]);
        }
    }

    /// The thread shall end.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.ring();
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Waits until `file` is ready, or somebody rings. True if the file is ready, or has failed.
    ///
    /// # Errors
    /// Those of poll(2).
    pub(super) fn wait(&self, file: &File, what: For) -> io::Result<bool> {
        let flags = match what {
            For::Reading => PollFlags::POLLIN,
            For::Writing => PollFlags::POLLOUT,
            For::Nothing => PollFlags::empty(),
        };
        let bell = PollFd::new(self.reader.as_fd(), PollFlags::POLLIN);
        let mut both = [bell, PollFd::new(file.as_fd(), flags)];
        // An end that has hung up would be reported again and again to whoever does not want to know.
        let asked = if what == For::Nothing { &mut both[..1] } else { &mut both[..] };
        match poll(asked, PollTimeout::NONE) {
            Err(Errno::EINTR) => return Ok(false),
            polled => polled?,
        };
        if both[0].any().unwrap_or(false) {
            // In this order: who rings between the two writes another byte, and nothing is missed.
            self.rung.store(false, Ordering::Release);
            let _ = (&self.reader).read(&mut [0]);
        }
        Ok(what != For::Nothing && both[1].any().unwrap_or(true))
    }
}

/// One of the few threads for pipes.
#[derive(Debug)]
pub(super) struct Slot(());

static RUNNING: AtomicUsize = AtomicUsize::new(0);

impl Slot {
    /// `None` if there are [`PIPES_MAX`].
    pub(super) fn take() -> Option<Self> {
        let taken = RUNNING.fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| {
            (running < PIPES_MAX).then_some(running + 1)
        });
        taken.is_ok().then_some(Self(()))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::AcqRel);
    }
}
