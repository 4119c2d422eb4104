//! The list service: what a directory holds.
//!
//! LIST_REQUEST is answered by LIST_ENTRIES, page by page until the one that says it is the last, or by ABORT.

use serde::{Deserialize, Serialize};

use crate::RequestId;

/// What is in this directory?
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListRequest {
    /// Names this listing in every later message.
    pub request: RequestId,
    /// Name of a root; empty means the default.
    pub root: String,
    /// Path beneath the root, as bytes; empty means the root itself.
    pub path: Vec<u8>,
}

/// A page of a listing. All pages together are sorted by name, byte by byte.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListEntries {
    /// The request.
    pub request: RequestId,
    /// Some of the entries.
    pub entries: Vec<ListEntry>,
    /// No page follows.
    pub last: bool,
    /// The directory has more entries than one listing tells.
    pub truncated: bool,
}

/// One entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ListEntry {
    /// Its name, as bytes.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: ListKind,
    /// Bytes of a file; 0 for everything else.
    pub size: u64,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
}

/// What an entry is.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum ListKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A link, pipe, socket or device.
    Other,
}
