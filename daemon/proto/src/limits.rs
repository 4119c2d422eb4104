//! Every limit of the protocol in one place, with what it bounds.

use core::time::Duration;

/// Bytes of a block: the unit of digest subtrees, staging and stripes, aligned to the start of the file.
pub const BLOCK: u64 = 1 << 20;

/// Streams of one direction of a session that are alive at once; slot 0 is the control stream.
pub const STREAMS_MAX: usize = 1 << crate::ids::StreamId::SLOT_BITS;

/// File offsets end here, long before a sum of one with a length could overflow.
pub const OFFSET_MAX: u64 = 1 << 62;

/// Runs of one block of a stream, and of stream 0: packets cut from an honest sender's file leave far fewer.
pub const RUNS_MAX: usize = 1024;

/// Blocks between the lowest hole and the highest byte, summed over the streams of a session.
pub const BLOCKS_TRACKED_MAX: usize = 1 << 16;

/// SACK frames in one packet.
pub const SACKS_MAX: u32 = 4;

/// How far above a stream's lowest missing block its sender may go; bounds the receiver's bookkeeping.
pub const STREAM_SPREAD_MAX: u64 = 4 << 30;

/// Lanes of one session.
pub const LANES_MAX: usize = 8;

/// Bytes of stream 0 that may be in the air or waiting for its reader, each way.
pub const CONTROL_WINDOW: u64 = 1 << 20;

/// Bytes queued by the application on stream 0 and not yet acknowledged.
pub const CONTROL_QUEUE_MAX: usize = 4 << 20;

/// Bytes of the body of one message on stream 0.
pub const MESSAGE_MAX: usize = 256 << 10;

/// Bytes of data held for streams that were not opened yet, a session.
pub const UNOPENED_MAX: u64 = 4 << 20;

/// Packets of one train: the kernel's UDP_MAX_SEGMENTS, in kernels before 6.9.
pub const TRAIN_PACKETS_MAX: usize = 64;

/// Bytes of a train of several packets: what fits into one UDP send over IPv4 (65,507) and IPv6, with
/// room for what kernels add to it on the way.
pub const TRAIN_BYTES_MAX: usize = 65_000;

/// The smallest datagram (UDP payload) that every path must carry: IPv6's 1280 less 48.
pub const DATAGRAM_MIN: u16 = 1232;

/// The largest datagram (UDP payload): what a train may hold.
pub const DATAGRAM_MAX: u16 = 65_487;

/// Packet numbers that one lane tracks, at the start.
pub const PACKETS_TRACKED_MIN: usize = 1 << 9;

/// Packet numbers that one lane tracks at most: 10 Gbit/s for 1.2 s at 1472 bytes.
pub const PACKETS_TRACKED_MAX: usize = 1 << 20;

/// A session's time of silence after which it is dead.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// A session's time of silence after which it sends a PING.
pub const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Text of a CLOSE.
pub const CLOSE_TEXT_MAX: usize = 512;

/// Body of an echo PING.
pub const PING_MAX: usize = 1024;
