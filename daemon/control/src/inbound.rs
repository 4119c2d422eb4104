//! The receiving half of either end: bytes and descriptors in, frames with their descriptors out.
//!
//! The descriptors of a frame arrive with one of its bytes, so all are here when the frame is complete. A frame says how
//! many are its own.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::fd::{self, Received};
use crate::frame::{Decoder, Frame, FrameError};
use crate::limits::DESCRIPTORS_MAX;

/// What went wrong while receiving. The connection is of no further use.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboundError {
    /// What came is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// More descriptors than a frame may carry.
    #[error(
        "More than {DESCRIPTORS_MAX} descriptors came with one frame. Let a vault open the files instead."
    )]
    TooManyDescriptors,
    /// A frame says that more descriptors came with it than did.
    #[error(
        "A frame announced {announced} descriptors, and {came} came. Pass them with the frame's first byte."
    )]
    MissingDescriptors {
        /// What the frame said.
        announced: usize,
        /// What was there.
        came: usize,
    },
    /// Descriptors came that no frame announced.
    #[error("{0} descriptors came that no frame announced. Write their number into the frame.")]
    UnexpectedDescriptors(usize),
    /// Descriptors were lost on their way.
    #[error("This process has no room for the descriptors that came. Raise its limit of open files.")]
    NoRoom,
    /// The system refused.
    #[error("The control socket could not be read: {0}.")]
    Io(#[from] io::Error),
}

/// What a call of [`Inbound::read`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// Bytes.
    Bytes,
    /// Nothing yet.
    Nothing,
    /// The other end has closed; `true` if it did so in the middle of a frame.
    End(bool),
}

#[derive(Debug, Default)]
pub(crate) struct Inbound {
    decoder: Decoder,
    descriptors: Vec<OwnedFd>,
}

impl Inbound {
    /// Receives once, without waiting. All complete frames have been taken out before.
    pub(crate) fn read(&mut self, socket: BorrowedFd<'_>) -> Result<Found, InboundError> {
        let mut buffer = [0; CHUNK_BYTES];
        match fd::receive(socket, &mut buffer, &mut self.descriptors) {
            Ok(Received { truncated: true, .. }) => Err(InboundError::NoRoom),
            Ok(_) if self.descriptors.len() > DESCRIPTORS_MAX => {
                self.descriptors.clear();
                Err(InboundError::TooManyDescriptors)
            }
            Ok(Received { bytes: 0, .. }) => Ok(Found::End(self.decoder.is_partial())),
            Ok(Received { bytes, .. }) => {
                self.decoder.push(&buffer[..bytes]);
                Ok(Found::Bytes)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Found::Nothing),
            // Nothing waits here, yet a signal may come in between all the same: the next call will tell.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Found::Bytes),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Ok(Found::End(self.decoder.is_partial()))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The next complete frame.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Frame>, InboundError> {
        Ok(self.decoder.next_frame()?)
    }

    /// The descriptors of the frame that was taken out last.
    pub(crate) fn take_descriptors(&mut self, announced: usize) -> Result<Vec<OwnedFd>, InboundError> {
        let came = self.descriptors.len();
        if announced > came {
            return Err(InboundError::MissingDescriptors { announced, came });
        }
        let rest = self.descriptors.split_off(announced);
        // Behind the last byte there is no frame that the rest could belong to.
        if !rest.is_empty() && !self.decoder.is_partial() {
            return Err(InboundError::UnexpectedDescriptors(rest.len()));
        }
        Ok(std::mem::replace(&mut self.descriptors, rest))
    }

    /// Whether a frame has begun to arrive.
    pub(crate) fn is_partial(&self) -> bool {
        self.decoder.is_partial()
    }
}

/// Bytes that one call receives at most.
const CHUNK_BYTES: usize = 64 << 10;
