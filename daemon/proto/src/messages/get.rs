//! The transfer service, the other way: a file that the requester wants to have.
//!
//! Requester (writer):  GET_REQUEST, then everything that a writer says of a file that is sent to it, beginning with
//!                      PUT_ACCEPTED once there is room for it.
//! Sender:              GET_ACCEPTED; after PUT_ACCEPTED streams, SUBTREES and FINISH as if it had asked itself.

use serde::{Deserialize, Serialize};

use crate::RequestId;

/// May I have this file?
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GetRequest {
    /// Names this transfer in every later message.
    pub request: RequestId,
    /// Name of a root at the sender; empty means its default.
    pub root: String,
    /// Path beneath the root, as bytes.
    pub path: Vec<u8>,
    /// Streams that the requester wishes; none leaves it to the sender.
    pub streams: Option<u16>,
}

/// Yes: this is what it is. Nothing is sent of it before PUT_ACCEPTED.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct GetAccepted {
    /// The request.
    pub request: RequestId,
    /// Bytes.
    pub size: u64,
    /// Permission bits; set-id bits are dropped.
    pub mode: u32,
    /// Modification time, nanoseconds since 1970.
    pub mtime_ns: i64,
}
