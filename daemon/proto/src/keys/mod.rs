//! Keys of a session's packets: from the two secrets of the handshake down to one nonce.
//!
//! ```text
//! handshake -> SessionSecrets -> traffic secret of (direction, lane), epoch 0
//!                                   |-- key, IV          -> nonce = IV xor packet number
//!                                   |-- plain secret     (checksums of unencrypted BULK packets)
//!                                   '-- "udpx epoch"     -> traffic secret of epoch 1 -> ...
//! ```
//!
//! Every arrow is HKDF-Expand, one way: a secret is erased as soon as its successor exists, so that a
//! machine taken over later gives away no earlier epoch. Each lane numbers its own packets and has its
//! own keys, so no two threads ever share a nonce.
//!
//! [`LaneKeys`] seals and opens one lane's packets and walks through the epochs (PROTOCOL.md,
//! "Key epochs"): the sender begins epoch n+1 only after a packet of epoch n was acknowledged, so that
//! the receiver is never more than one epoch away; the receiver follows on the first packet that
//! *opens* under the next key, and keeps the previous one for stragglers. Nothing here allocates for a
//! packet.

mod epochs;
mod lane;
mod plain;
mod schedule;
mod suite;
#[cfg(test)]
mod tests;

pub use epochs::OpenError;
pub use lane::{EpochLimits, LaneKeys};
pub use plain::PLAIN_HEADER;
pub(crate) use schedule::RekeySecret;
pub use schedule::{Role, SessionSecrets};
pub(crate) use suite::PacketKey;
pub use suite::{Suite, TAG_LEN};
