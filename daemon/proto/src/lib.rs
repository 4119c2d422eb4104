//! The udpx protocol, sans-IO.
//!
//! Everything here is a pure function of (state, input, now): no socket, file, clock, randomness, log or
//! thread. The driver owns those and follows one contract for each [`Session`]:
//!
//! 1. mutate: hand in datagrams ([`Session::handle_datagram`], then once a batch
//!    [`Session::end_of_batch`]), time-outs ([`Session::handle_timeout`]) or requests
//!    ([`Session::open_stream`], [`Session::send_message`], ...);
//! 2. drain [`Session::poll_event`], and [`Session::poll_transmit`] with [`Session::seal`] until it
//!    answers `false`;
//! 3. sleep until [`Session::next_deadline`] or the next input.
//!
//! The unit of work is the train: one uniform run of packets that leaves in one GSO buffer. The plan of
//! a train names *chunks* of files and never holds payload; [`Session::seal`] reads the chunks from the
//! driver's [`PayloadSource`] and writes ciphertext straight into the driver's buffer. On the other end
//! [`PayloadSink`] lends the place where the plaintext belongs, so decryption is the copy.
//!
//! `docs/PROTOCOL.md` is the byte map; comments cite its sections.
#![forbid(unsafe_code)]

extern crate alloc;

pub mod codes;
pub mod drop_reason;
pub mod handshake;
pub mod ids;
pub mod keys;
mod lane;
pub mod limits;
pub mod messages;
mod path;
mod range_tracker;
pub mod rate;
mod recv;
pub mod replay;
mod send;
pub mod session;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;
mod trace;
pub mod wire;

pub use codes::Code;
pub use drop_reason::DropReason;
pub use handshake::{Established, Params};
pub use ids::{LaneId, RequestId, StreamId};
pub use limits::BLOCK;
pub use messages::Message;
pub use send::plan::{ChunkRef, Plan, PlanKind};
pub use session::{
    Arrival, Event, LaneStats, OpenStream, PathSecret, RateHint, RatePolicy, RekeyLimits, Sealer, SendError,
    Session, SessionConfig, SessionStats, SourceFault, StreamLimit, StreamProgress, StreamStats,
};
pub use time::Time;
pub use trace::{TraceEvent, TraceKind, TraceSink, Traced};

/// Randomness, injected so that a seed replays a whole simulation byte for byte.
pub trait Random {
    /// Fills `out` with unpredictable bytes.
    fn fill(&mut self, out: &mut [u8]);
}

/// Where a sender's payload comes from: the driver's mapped files.
pub trait PayloadSource {
    /// The bytes of `chunk`, or `None` where the source can no longer serve them.
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]>;
}

/// Where a receiver's payload goes: the driver's staging blocks.
pub trait PayloadSink {
    /// Staging memory for exactly `len` bytes at file offset `offset`, which never cross a [`BLOCK`]
    /// boundary. `None` means that there is no room: the packet is dropped, not acknowledged, and
    /// counted as a local overrun. The bytes may be overwritten with garbage by a forged packet, so
    /// nothing in them counts before [`commit`](Self::commit).
    fn stage(&mut self, stream: StreamId, offset: u64, len: usize) -> Option<&mut [u8]>;

    /// The staged bytes are authentic. `block_done` says that every byte of this block which belongs to
    /// the stream has been committed now. Where only that is news, because the stream's range became
    /// known, `len` is 0.
    fn commit(&mut self, stream: StreamId, offset: u64, len: usize, block_done: bool);
}
