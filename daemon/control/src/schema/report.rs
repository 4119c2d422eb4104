//! Reports about everything but jobs.

use serde::{Deserialize, Serialize};

use super::{Row, SocketReport, finite, is_default};
use crate::name::{self, Name};

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Its name there.
    #[serde(flatten, with = "name::name")]
    pub name: Name,
    /// What it is.
    pub kind: EntryKind,
    /// Bytes of a file.
    pub bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, a pipe or a socket.
    Other,
}

/// A file that has arrived.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InboxEntry {
    /// Who sent it.
    pub peer: String,
    /// Which user there, as that machine says: proof of nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// Its path.
    #[serde(flatten, with = "name::path")]
    pub path: Name,
    /// Bytes.
    pub bytes: u64,
    /// BLAKE3 of its bytes, hex; empty where it is not known any more.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub digest: String,
    /// When it became durable, milliseconds since 1970.
    pub arrived_unix_ms: u64,
    /// What was received of it, a row for each stream; their sum is that of the file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Row>,
}

/// A root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RootReport {
    /// Its name.
    pub root: String,
    /// The directory.
    #[serde(flatten, with = "name::path")]
    pub path: Name,
    /// Used where a peer names none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub default: bool,
    /// Bytes free for the daemon.
    pub free_bytes: u64,
    /// What is wrong with it; empty if it works.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub problem: String,
}

/// A peer that is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerReport {
    /// Its name here.
    pub peer: String,
    /// Its public key.
    pub key: String,
    /// Addresses that it has sessions from now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Where it is called: a name or an address, with the port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// It stands in udpxd.toml, and no command changes it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub configured: bool,
    /// Sessions with it now.
    pub sessions: u32,
    /// Names of the roots that it may read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub read: Vec<String>,
    /// Names of the roots that it may list.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub list: Vec<String>,
    /// Names of the roots that it may write.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub write: Vec<String>,
    /// Bulk data may go unencrypted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub plain: bool,
    /// Its cap, bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_bps: Option<u64>,
    /// Bytes of files that may lie in its directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_bytes: Option<u64>,
    /// Bytes that lie there, as far as they have been counted: nothing is counted before it matters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_bytes: Option<u64>,
    /// Files that it has begun to put here and not finished, up to a second ago.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unfinished: u32,
    /// Bytes that these take here, or will where their size is known.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unfinished_bytes: u64,
    /// When it was last heard of, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard_unix_ms: Option<u64>,
}

/// A session.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SessionReport {
    /// The peer's name here, or its key.
    pub peer: String,
    /// Where it is.
    pub address: String,
    /// It was opened from here.
    pub outgoing: bool,
    /// Its age, microseconds.
    pub age_us: u64,
    /// Jobs of this daemon that use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<u64>,
    /// Streams that are open.
    pub streams: u32,
    /// Wire bits a second, both ways.
    pub rate_bps: u64,
    /// Smoothed round trip, microseconds.
    pub rtt_us: u64,
    /// Share of the packets lost, 0 to 1.
    #[serde(serialize_with = "finite")]
    pub loss: f64,
    /// UDP payload of a full packet, bytes.
    pub datagram_bytes: u32,
    /// Bulk data goes unencrypted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub plain: bool,
}

/// What came of pinging.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PingReport {
    /// Echoes asked for.
    pub sent: u32,
    /// Echoes that came back as they were sent.
    pub received: u32,
    /// Least round trip, microseconds; 0 if nothing came back.
    pub rtt_min_us: u64,
    /// Mean round trip.
    pub rtt_mean_us: u64,
    /// Largest round trip.
    pub rtt_max_us: u64,
}

/// The daemon as a whole.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DaemonReport {
    /// Since its start, microseconds.
    pub uptime_us: u64,
    /// Jobs by state.
    pub jobs: JobCounts,
    /// Sessions.
    pub sessions: u32,
    /// Connections of the control socket.
    pub connections: u32,
    /// What everything together may move.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limit: LimitReport,
    /// All that was sent.
    pub sent: Row,
    /// All that was received.
    pub received: Row,
    /// The UDP sockets.
    pub sockets: SocketReport,
    /// Whatever else is counted, dropped packets by their reason above all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<Counter>,
}

/// What everything together may move.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct LimitReport {
    /// Bits a second now, the least of what is written and what was commanded; absent if there is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
    /// The entry of the timetable that holds now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// When the timetable says something else, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_unix_ms: Option<u64>,
    /// What `limit all` said, bits a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_bps: Option<u64>,
}

/// Jobs by state.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct JobCounts {
    /// Until there is room.
    pub queued: u32,
    /// On the wire.
    pub running: u32,
    /// Until something else has happened.
    pub waiting: u32,
    /// Until a user resumes them.
    pub paused: u32,
    /// Done, failed or cancelled, and still in the history.
    pub ended: u32,
}

/// A counter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Counter {
    /// What it counts.
    pub name: String,
    /// How many.
    pub value: u64,
}

/// Versions.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VersionReport {
    /// Of the daemon.
    pub version: String,
    /// Of the schema of this socket: the newest that it speaks.
    pub schema: u32,
    /// Of the protocol between daemons.
    pub protocol: u32,
    /// Of the kernel.
    pub kernel: String,
}

/// The daemon's identity.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyReport {
    /// Its public key.
    pub key: String,
}

/// A ticket by which a machine becomes a peer.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteReport {
    /// The ticket: a secret.
    pub ticket: String,
    /// Where its rights hold.
    pub root: String,
    /// The addresses in it.
    pub addresses: Vec<String>,
    /// Until when it can be used, by the daemon's clock, milliseconds since 1970.
    pub expires_unix_ms: u64,
}

/// Without the secret.
impl std::fmt::Debug for InviteReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InviteReport").field("root", &self.root).finish_non_exhaustive()
    }
}
