//! The proof that whoever sent a HELLO is there: a packet that opens under the keys of the handshake.
//!
//! A HELLO may be a recording, and everybody on the path sees the lane id that its answer hands out. So a packet for
//! that lane is no reason yet to build a session; only that it opens is.

use super::Established;
use crate::Time;
use crate::keys::LaneKeys;
use crate::wire::TAG;
use crate::wire::bulk::Bulk;
use crate::wire::header::{Header, Kind};

/// Waits for the first packet of a half-open session, at a fraction of a session's memory.
#[derive(Debug)]
pub struct FirstPacket {
    keys: LaneKeys,
}

impl FirstPacket {
    /// For the first lane of a handshake.
    #[must_use]
    pub fn new(established: &Established, now: Time) -> Self {
        let Established { secrets, role, suite, .. } = established;
        Self { keys: LaneKeys::new(secrets, 0, *role, *suite, now) }
    }

    /// Whether the peer has sealed this datagram. It is not taken: the session will open it once more.
    /// Packets whose payload is in clear prove nothing here; the initiator's first ones are sealed.
    pub fn proves(&mut self, now: Time, datagram: &[u8]) -> bool {
        let Ok((header, kind)) = Header::parse(datagram) else { return false };
        let (aad, sealed) = match kind {
            Kind::Mixed => datagram.split_at(Header::SIZE),
            Kind::Bulk => match Bulk::parse(datagram) {
                Ok(bulk) => (bulk.aad, bulk.sealed),
                Err(_) => return false,
            },
            _ => return false,
        };
        let Some(len) = sealed.len().checked_sub(TAG) else { return false };
        self.keys.open(now, header.epoch, header.number(), aad, sealed, &mut vec![0; len]).is_ok()
    }
}
