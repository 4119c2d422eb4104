//! Batched UDP for Linux: `sendmmsg` of GSO trains and `recvmmsg` into GRO buffers. Knows no protocol.
//!
//! # The unit of work is the train
//!
//! A *train* is what one GSO message carries: packets of one size, the last one possibly shorter, to one
//! destination with one ECN mark. [`SendBatch`] holds trains written back to back into memory that it owns;
//! [`GatherBatch`] holds trains that are lists of borrowed slices, for payload that must not be copied in user
//! space. Neither type can express any other train: the caller supplies bytes and a segment size, and the cuts
//! follow from those two.
//!
//! ```text
//! SendBatch / GatherBatch -> Socket::send / send_gather -> transmit (rounds, errno policy) -> sys (sendmmsg)
//! RecvBatch <- Socket::recv <- receive (cmsgs, truncation, counting) <- sys (recvmmsg)
//! ```
//!
//! # Driving contract
//!
//! - Sending never blocks. When [`SendOutcome::blocked`] is set the rest stays queued in the batch; call again
//!   once mio reports the socket writable.
//! - Every other error is decided by the table in `policy.rs`: what is sent again, what is dropped and counted,
//!   what the caller is told through [`Hints`]. No error of a single destination is an error of the call.
//! - mio registers edge-triggered: call [`Socket::recv`] until it returns 0, or remember that the socket is
//!   still readable when the tick's budget ends first.
//! - After construction neither direction allocates.
//!
//! Linux 4.18 gives GSO, 5.0 GRO (used from 5.12, where it can be read back); below that, or where a device
//! refuses, the same calls send each packet as its own message of the same `sendmmsg`.

mod address;
mod buffers;
mod cmsg;
mod counters;
mod gather;
mod group;
mod hints;
mod options;
mod policy;
mod receive;
mod seam;
mod send_batch;
mod socket;
mod sys;
#[cfg(feature = "testing")]
pub mod testing;
mod train;
mod transmit;

pub use buffers::{BufferReport, Buffers};
pub use counters::{ErrnoKind, SyscallCounters};
pub use gather::{GatherBatch, GatherSlot};
pub use group::{ENGINES_MAX, bind_exclusive, bind_group};
pub use hints::{Hint, HintKind, Hints, SendOutcome};
pub use nix::errno::Errno;
pub use options::{Caps, SocketOptions};
pub use receive::{Datagrams, Received, RecvBatch};
pub use send_batch::{SendBatch, TrainSlot};
pub use socket::Socket;
pub use train::{
    DATAGRAM_BYTES_MAX, SEGMENTS_MAX, TRAIN_BYTES_MAX, TRAINS_MAX, TrainError, packets_max, train_bytes_max,
};
