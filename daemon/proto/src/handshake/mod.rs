//! The handshake: from a peer's public key to the secrets of a session, in one round trip.
//!
//! ```text
//! Initiator                                        Acceptor
//!     |  HELLO: Noise message 1, 1200 bytes, MAC      |   nothing is computed before the MAC is right
//!     | --------------------------------------------> |
//!     |  (COOKIE, if the acceptor is under load)      |   and no state is kept for this answer
//!     | <-------------------------------------------- |
//!     |  REPLY: Noise message 2                       |   the acceptor has its secrets here,
//!     | <-------------------------------------------- |   the initiator too
//!     |  first data packet                            |   only this proves that the initiator is live
//!     | --------------------------------------------> |
//! ```
//!
//! The Noise pattern is IK with a pre-shared key (`Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s`), or for first
//! contact by an invitation `IKpsk1`, whose key belongs to the ticket named in clear in the HELLO.
//! A HELLO can be recorded and sent again, and with a wrong pre-shared key of IKpsk2 only the initiator
//! notices. So what [`Acceptor::handle_hello`] returns is a *half-open* session: it may have no visible
//! effect, and displace nothing, before a packet has opened under its keys.
//!
//! Everything random comes from the injected [`Random`](crate::Random): one seed, one sequence of bytes.

mod acceptor;
mod cookie;
mod drop;
mod first_packet;
mod half_open;
mod identity;
mod initiator;
mod limit;
mod mac;
mod mutual;
mod noise;
mod params;
pub(crate) mod rekey;
#[cfg(test)]
mod tests;
mod wire;

pub use acceptor::{Accept, Acceptor, AcceptorConfig, Directory, Incoming};
pub use drop::HandshakeDrop;
pub use first_packet::FirstPacket;
pub use identity::{Psk, PublicKey, StaticSecret, Ticket, TicketId};
pub use initiator::{Credential, InitiateError, Initiator, InitiatorConfig, Progress};
pub use mutual::{Introduction, MutualKey};
pub use params::{PARAMS_VERSION, Params};
pub use wire::{HELLO_LEN, UnknownSession, is_hello};

use crate::LaneId;
pub use crate::keys::{Role, SessionSecrets, Suite};

/// What both ends have when the handshake is done.
#[derive(Clone, Debug)]
pub struct Established {
    /// The secrets that all keys come from.
    pub secrets: SessionSecrets,
    /// This end's part in the handshake.
    pub role: Role,
    /// The peer's proven identity.
    pub peer: PublicKey,
    /// The lane id that the peer puts into packets to us.
    pub local_lane: LaneId,
    /// The lane id that we put into packets to the peer.
    pub remote_lane: LaneId,
    /// What the peer offered.
    pub peer_params: Params,
    /// The cipher suite, chosen by the responder.
    pub suite: Suite,
    /// The ticket that this handshake was made with; it is spent when the first packet has opened.
    pub ticket: Option<TicketId>,
}
