//! The transfer service: what the two ends of one file do, as state machines that the engine drives.
//!
//! ```text
//! Put (sender)                                        Take (receiver)
//!  opens the source, asks PUT_REQUEST  ───────────►   creates the part
//!  readers populate and hash ahead                     ◄─── PUT_ACCEPTED, or ABORT (no room, no right, ...)
//!  streams carry the blocks            ───────────►   writers write and hash each whole block
//!  SUBTREES, then FINISH with the root ───────────►   compares; ◄─── BAD_SUBTREES: those blocks again
//!  verifies that the source is unchanged               fsync, rename, fsync of the directory
//!  done                                ◄───────────   COMPLETE
//! ```
//!
//! A file that the peer asks for goes the same way: GET_REQUEST makes a Put, whose GET_ACCEPTED stands for PUT_REQUEST
//! and makes the Take.
//!
//! Neither touches a socket, a thread or a disk: messages go into a [`Mail`], work for the storage threads into a
//! [`Queue`](crate::engine::workers::Queue), streams are opened through [`Streams`]. So each can be driven by hand in
//! a test.

pub(crate) mod block_set;
mod codes;
pub(crate) mod put;
pub(crate) mod stripe;
pub(crate) mod take;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use udpx_proto::{Code, Message, RequestId, StreamId, StreamStats};

use crate::storage::path::RelPath;
use crate::storage::pipe::{Slab, Slabs};
use crate::storage::source::Source;

pub(crate) use codes::{code_of_source, code_of_vault};

/// A name that a peer gave.
///
/// # Errors
/// What the peer is to be told.
pub(crate) fn rel_path(name: &[u8]) -> Result<RelPath, Failure> {
    RelPath::parse(OsStr::from_bytes(name)).map_err(|error| Failure::new(Code::Refused, error.to_string()))
}

/// Messages that wait for the session's control queue.
pub(crate) type Mail = VecDeque<Message>;

/// What a [`put::Put`] needs of its session's streams.
pub(crate) trait Streams {
    /// Opens a stream over `[start, end)` of `bytes`, to whose end none is known yet if there is none; `None` while
    /// all are in use.
    fn open(&mut self, request: RequestId, bytes: Bytes, start: u64, end: Option<u64>) -> Option<StreamId>;
    /// The next block of a stream from a pipe.
    fn push(&mut self, stream: StreamId, slab: Arc<Slab>);
    /// Blocks of a stream from a pipe below this one will not be read again.
    fn drop_below(&mut self, stream: StreamId, block: u64);
    /// The end of a stream that was opened without one.
    fn finish(&mut self, stream: StreamId, end: u64);
    /// Bytes below `available` can be read without waiting.
    fn extend(&mut self, stream: StreamId, available: u64);
    /// One past the highest byte that was ever sent.
    fn cursor(&self, stream: StreamId) -> Option<u64>;
    /// The peer has every byte below.
    fn settled(&self, stream: StreamId) -> Option<u64>;
    /// Counters of a stream that is alive.
    fn stats(&self, stream: StreamId) -> Option<StreamStats>;
    /// Gives a stream up.
    fn reset(&mut self, stream: StreamId, code: Code);
}

/// What a stream is read from.
#[derive(Clone, Debug)]
pub(crate) enum Bytes {
    /// A file in memory.
    File(Arc<Source>),
    /// What came out of a pipe.
    Pipe(Slabs),
}

/// Why a transfer ended without its file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// A sentence for the user at the other end, or at this one.
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    /// The peer did what no honest implementation does.
    pub(crate) fn protocol(text: &str) -> Self {
        Self::new(Code::Protocol, format!("The peer broke the transfer protocol: {text}."))
    }
}

/// Digests in one SUBTREES message.
pub(crate) const DIGESTS_MAX: usize = 1024;
/// Indices in one BAD_SUBTREES message.
pub(crate) const INDICES_MAX: usize = 1024;
