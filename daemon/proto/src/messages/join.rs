//! The join service: the holder of an invitation becomes a peer.
//!
//! Joiner:   JOIN_REQUEST, in the session that its ticket opened.
//! Inviter:  JOIN_ACCEPTED once it knows the joiner's key durably, or ABORT.

use serde::{Deserialize, Serialize};

use crate::RequestId;

/// Know me from now on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The request.
    pub request: RequestId,
    /// What the joiner calls itself: a proposal.
    pub name: String,
    /// The UDP port that it can be called on; 0 if on none.
    pub port: u16,
}

/// I do.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct JoinAccepted {
    /// The request.
    pub request: RequestId,
    /// What the inviter calls itself: a proposal.
    pub name: String,
    /// What it calls the joiner.
    pub joiner: String,
}
