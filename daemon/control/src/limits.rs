//! Every limit of the control socket, and what it bounds.

use std::time::Duration;

/// JSON bytes of a frame. Checked on the length prefix, before anything is allocated for it.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Descriptors that travel with one frame. Below the kernel's 253, so that excess is refused by us, by name.
pub const DESCRIPTORS_MAX: usize = 64;
/// Demands that a process which lends itself as a vault has to answer at once, and with them its open descriptors.
pub const DEMANDS_MAX: usize = 64;
/// From a demand to its answer: whoever leaves it open for longer hangs, and its connection is closed.
pub const DEMAND_TIME_MAX: Duration = Duration::from_secs(60);
/// The same for what waits for a disk: a commit, or the sync of a directory.
pub const SYNC_TIME_MAX: Duration = Duration::from_secs(600);
/// Connections in total: bounds the daemon's descriptors.
pub const CONNECTIONS_MAX: usize = 1024;
/// Of those, kept free for root, so that a full house can still be looked into.
pub const CONNECTIONS_RESERVED: usize = 16;
/// Connections of one user: one user cannot lock out the others.
pub const CONNECTIONS_PER_UID_MAX: usize = 64;
/// Requests of one connection that have no result yet.
pub const REQUESTS_MAX: usize = 64;
/// From the first byte of a frame to its last.
pub const FRAME_TIME_MAX: Duration = Duration::from_secs(10);
/// Bytes that wait for a client to read them; one that lets them grow beyond is dropped.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Bytes waiting above which no further request of that connection is read, until the client has read some answers.
pub const OUTPUT_THROTTLE_BYTES: usize = 256 << 10;
/// Bytes waiting above which events that the next one supersedes are left out.
pub const OUTPUT_SKIP_BYTES: usize = 64 << 10;
/// Rows of a table in one frame: about 300 kB.
pub const ROWS_PER_FRAME_MAX: usize = 1024;
/// Directory entries in one frame. Each may carry 12 kB of replaced name and 6 kB of base64.
pub const ENTRIES_PER_FRAME_MAX: usize = 32;
/// Sources that a report of a job lists by name; the rest is a number.
pub const SOURCES_SHOWN_MAX: usize = 16;
/// Connections that the kernel holds for us until we accept them.
pub const BACKLOG: i32 = 1024;
/// How long a client waits for a daemon whose backlog is full.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);

// An answer of full size, with its prefix, always fits into an empty queue.
const _: () = assert!(FRAME_BYTES_MAX + 4 + OUTPUT_THROTTLE_BYTES <= OUTPUT_BYTES_MAX);
