//! Pipes: sources that can be read only once, destinations that take bytes only in order.
//!
//! A pipe may be silent for ever, or never be read. So each has a thread of its own, which waits in poll(2) for the pipe
//! and for whoever wakes it. O_NONBLOCK is never set: the description is shared with the user's shell.

mod inlet;
mod outlet;
mod slab;
mod thread;

pub use self::inlet::{Feed, Fill, Inlet, Line, is_stream};
pub use self::outlet::{Outlet, PipePart, PipeVault, Sink, SinkRef};
pub use self::slab::{Slab, SlabPool, Slabs};

/// Pipes of this process that are read or written at once: each has a thread.
pub const PIPES_MAX: usize = 64;
/// Bytes of one pipe that are in memory: read ahead, or sent and perhaps to be sent again.
pub const WINDOW_BYTES: u64 = 64 << 20;
