//! What waits for a client to read it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::fd;

/// Frames in the order in which they go out.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    frames: VecDeque<Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    frame: Vec<u8>,
    sent: usize,
    /// They go with the first byte, and are closed here once they are gone.
    descriptors: Vec<OwnedFd>,
}

impl Outbound {
    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, frame: Vec<u8>, descriptors: Vec<OwnedFd>) {
        self.bytes += frame.len();
        self.frames.push_back(Waiting { frame, sent: 0, descriptors });
    }

    /// Sends what the socket takes.
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while let Some(first) = self.frames.front_mut() {
            let descriptors: Vec<_> = first.descriptors.iter().map(AsFd::as_fd).collect();
            match fd::send(socket, &first.frame[first.sent..], &descriptors) {
                Ok(sent) => {
                    first.descriptors.clear();
                    first.sent += sent;
                    self.bytes -= sent;
                    if first.sent == first.frame.len() {
                        self.frames.pop_front();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
