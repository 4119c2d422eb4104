//! The transfer service: how one file is asked for, verified and finished.
//!
//! Requester:  PUT_REQUEST, STREAM_OPEN and data, SUBTREES as they are hashed, FINISH.
//! Writer:     PUT_ACCEPTED, PROGRESS, BAD_SUBTREES (answered by new streams over those blocks and their
//!             SUBTREES), COMPLETE. Either may ABORT.

use serde::{Deserialize, Serialize};

use crate::RequestId;

/// What to do when the destination exists.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum IfExists {
    /// Replace it atomically.
    #[default]
    Replace,
    /// Leave it and report success.
    Skip,
    /// Fail.
    Fail,
    /// Choose another name.
    Rename,
}

/// May I write this file?
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PutRequest {
    /// Names this transfer in every later message.
    pub request: RequestId,
    /// Name of a root at the receiver; empty means its default.
    pub root: String,
    /// Path beneath the root, as bytes: file names need not be UTF-8.
    pub path: Vec<u8>,
    /// The base name of the source, used when `path` is a directory or empty.
    pub name: Vec<u8>,
    /// Bytes, if known.
    pub size: Option<u64>,
    /// Permission bits; set-id bits are dropped.
    pub mode: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
    /// What to do when the destination exists.
    pub if_exists: IfExists,
    /// Name of the local user who asks: advisory.
    pub user: String,
}

/// Yes: this is what the file will be called.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PutAccepted {
    /// The request.
    pub request: RequestId,
    /// The destination as the receiver resolved it.
    pub path: Vec<u8>,
    /// The file is there already and was left ([`IfExists::Skip`]): nothing will be taken.
    pub skipped: bool,
}

/// The bytes go where they cannot be put in order afterwards: send the file as one stream. Said before
/// [`PutAccepted`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InOrder {
    /// The request.
    pub request: RequestId,
}

/// Digests of consecutive subtrees.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Subtrees {
    /// The request.
    pub request: RequestId,
    /// Index of the first subtree.
    pub first: u64,
    /// BLAKE3 chaining values of 1 MiB subtrees; of a file of one subtree its root hash.
    pub digests: Vec<[u8; 32]>,
}

/// Everything was sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finish {
    /// The request.
    pub request: RequestId,
    /// Bytes of the file.
    pub size: u64,
    /// BLAKE3 of the file.
    pub digest: [u8; 32],
}

/// These subtrees differ from their digests.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BadSubtrees {
    /// The request.
    pub request: RequestId,
    /// Their indices.
    pub indices: Vec<u64>,
}

/// The file is durable under its final name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Complete {
    /// The request.
    pub request: RequestId,
    /// The name that it has.
    pub path: Vec<u8>,
    /// Bytes.
    pub size: u64,
    /// BLAKE3 of what was written.
    pub digest: [u8; 32],
    /// Bytes that were read back from the disk to verify them.
    pub reread: u64,
}

/// The request is over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Abort {
    /// The request.
    pub request: RequestId,
    /// A [`crate::Code`] number.
    pub code: u32,
    /// Text for the user at the other end; escaped before it is shown.
    pub text: String,
}

/// Bytes written so far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Progress {
    /// The request.
    pub request: RequestId,
    /// Bytes handed to the file system, by the writer's account.
    pub written: u64,
}
