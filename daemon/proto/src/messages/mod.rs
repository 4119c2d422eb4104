//! The messages of stream 0 (PROTOCOL.md 6): an envelope, and one postcard struct per type and version.
//!
//! Unknown types are skipped by their length and answered with [`Message::Unsupported`], so a newer peer
//! can be talked to. The bytes of version 1 never change: golden files in `tests/golden` hold them.

mod get;
mod join;
mod list;
mod transfer;

use bytemuck::{Pod, Zeroable};
use serde::{Deserialize, Serialize};

pub use get::{GetAccepted, GetRequest};
pub use join::{JoinAccepted, JoinRequest};
pub use list::{ListEntries, ListEntry, ListKind, ListRequest};
pub use transfer::{
    Abort, BadSubtrees, Complete, Finish, IfExists, InOrder, Progress, PutAccepted, PutRequest, Subtrees,
};

use crate::limits::MESSAGE_MAX;
use crate::wire::le::{U16, U32};

/// What stands before each message.
#[derive(Copy, Clone, Pod, Zeroable, Debug)]
#[repr(C)]
pub struct Envelope {
    kind: U16,
    version: U16,
    length: U32,
}

/// Bytes of an envelope.
pub const ENVELOPE: usize = size_of::<Envelope>();
const _: () = assert!(ENVELOPE == 8 && align_of::<Envelope>() == 1);

impl Envelope {
    /// For a body of `length` bytes.
    #[must_use]
    pub fn new(kind: u16, version: u16, length: usize) -> Self {
        Self { kind: U16::new(kind), version: U16::new(version), length: U32::new(length as u32) }
    }

    /// Bytes of the body.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length.get() as usize
    }
}

/// "I do not know this type or version."
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unsupported {
    /// The type that was not understood.
    pub kind: u16,
    /// Its version.
    pub version: u16,
}

/// "Here is another lane of mine": the initiator offers, the responder answers with its own.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LaneOffer {
    /// Index of the lane in the session.
    pub index: u8,
    /// The id by which the sender of this message wants to be addressed.
    pub lane: u32,
}

/// "Send no faster than this": whoever receives may say so at any time, and again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RateLimit {
    /// Wire bits a second of the whole session, UDP payload; `None` takes a former limit away.
    pub bps: Option<u64>,
}

/// "Let us exchange keys anew": Noise message 1 of PROTOCOL.md 8.5.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RekeyRequest {
    /// The message.
    pub noise: Vec<u8>,
}

/// The answer to [`RekeyRequest`]: Noise message 2.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RekeyAnswer {
    /// The message.
    pub noise: Vec<u8>,
}

impl Message {
    /// Type of [`RekeyRequest`].
    pub(crate) const REKEY_REQUEST: u16 = 4;
}

macro_rules! messages {
    ($($kind:literal $name:ident($body:ty) $doc:literal;)*) => {
        /// A message of stream 0.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub enum Message { $(#[doc = $doc] $name($body),)* }

        impl Message {
            /// The type and version numbers, for every message.
            pub const TYPES: &'static [(u16, u16, &'static str)] = &[$(($kind, 1, stringify!($name)),)*];

            /// The message's bytes on stream 0, envelope and body.
            ///
            /// # Errors
            /// [`TooLarge`] when the body passes [`MESSAGE_MAX`].
            pub fn encode(&self) -> Result<Vec<u8>, TooLarge> {
                let (kind, body) = match self {
                    $(Self::$name(body) => ($kind, postcard::to_allocvec(body)),)*
                };
                let body = body.map_err(|_| TooLarge)?;
                if body.len() > MESSAGE_MAX {
                    return Err(TooLarge);
                }
                let mut bytes = bytemuck::bytes_of(&Envelope::new(kind, 1, body.len())).to_vec();
                bytes.extend_from_slice(&body);
                Ok(bytes)
            }

            /// Parses a body.
            ///
            /// # Errors
            /// What is wrong with it.
            pub fn decode(envelope: &Envelope, body: &[u8]) -> Result<Self, DecodeError> {
                let (kind, version) = (envelope.kind.get(), envelope.version.get());
                match (kind, version) {
                    $(($kind, 1) => exact(body).map(Self::$name),)*
                    _ => Err(DecodeError::Unsupported(Unsupported { kind, version })),
                }
            }
        }
    };
}

messages! {
    1 Unsupported(Unsupported) "The peer did not know a message of ours.";
    2 LaneOffer(LaneOffer) "Another lane.";
    3 RateLimit(RateLimit) "Send no faster than this.";
    4 RekeyRequest(RekeyRequest) "Keys: let us exchange them anew.";
    5 RekeyAnswer(RekeyAnswer) "Keys: here is my part.";
    16 PutRequest(PutRequest) "Transfer: may I write this file?";
    17 PutAccepted(PutAccepted) "Transfer: yes; it will be called so.";
    18 Subtrees(Subtrees) "Transfer: digests of subtrees that were sent.";
    19 Finish(Finish) "Transfer: everything was sent; this is the digest of the whole.";
    20 BadSubtrees(BadSubtrees) "Transfer: these subtrees differ from their digests; send them again.";
    21 Complete(Complete) "Transfer: the file is durable under its name.";
    22 Abort(Abort) "Transfer: this request is over, and why.";
    23 Progress(Progress) "Transfer: bytes written so far.";
    24 GetRequest(GetRequest) "Transfer: may I have this file?";
    25 GetAccepted(GetAccepted) "Transfer: yes; this is what it is.";
    26 InOrder(InOrder) "Transfer: send the file as one stream.";
    32 ListRequest(ListRequest) "List: what is in this directory?";
    33 ListEntries(ListEntries) "List: some of its entries.";
    48 JoinRequest(JoinRequest) "Join: know me from now on.";
    49 JoinAccepted(JoinAccepted) "Join: I do.";
}

/// The message is longer than a message may be.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the message is longer than {MESSAGE_MAX} bytes")]
pub struct TooLarge;

/// Why a body is no message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Of a type or version that this end does not know: answer, and go on.
    Unsupported(Unsupported),
    /// Of a known type, but garbled: the session cannot be trusted to be in step.
    Malformed,
}

/// Decodes exactly all of `body`.
fn exact<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        _ => Err(DecodeError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_types_are_named_and_trailing_bytes_refused() {
        let envelope = Envelope::new(999, 1, 0);
        let unknown = Unsupported { kind: 999, version: 1 };
        assert_eq!(Message::decode(&envelope, &[]), Err(DecodeError::Unsupported(unknown.clone())));
        let bytes = Message::Unsupported(unknown).encode().expect("small");
        let envelope: Envelope = bytemuck::pod_read_unaligned(&bytes[..ENVELOPE]);
        assert!(Message::decode(&envelope, &bytes[ENVELOPE..]).is_ok());
        let mut longer = bytes[ENVELOPE..].to_vec();
        longer.push(0);
        assert_eq!(Message::decode(&envelope, &longer), Err(DecodeError::Malformed));
    }
}
