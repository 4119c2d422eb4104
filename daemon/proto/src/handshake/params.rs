//! What the two ends tell each other inside the Noise messages.
//!
//! Each payload is padded to one size, so lengths say nothing and never change. Later versions append
//! fields; a reader takes those that it knows and ignores the rest.

use serde::{Deserialize, Serialize};

use super::HandshakeDrop;
use crate::LaneId;
use crate::keys::Suite;

/// Bytes of the payload of either Noise message.
pub(super) const PAYLOAD_LEN: usize = 64;

/// The version of [`Params`] that this code writes.
pub const PARAMS_VERSION: u16 = 1;

/// The smallest IP MTU that IPv6 allows, and so that a peer may announce.
const MTU_MIN: u16 = 1280;

/// An end's offer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Params {
    /// [`PARAMS_VERSION`] of the writer.
    pub version: u16,
    /// This end's configuration allows unencrypted BULK packets with this peer.
    pub plain_ok: bool,
    /// The largest IP packet, in bytes, that this end takes.
    pub mtu_max: u16,
    /// Bytes that the peer may send before the first CREDIT.
    pub staging_credit: u64,
    /// Lanes that this end can serve in one session, at least 1.
    pub lanes_max: u8,
    /// The longest that this end delays a SACK, in microseconds.
    pub max_ack_delay_us: u32,
    /// This end's CPU has AES instructions.
    pub has_aes: bool,
}

/// What the responder says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct ReplyPayload {
    /// The lane id that the initiator is to put into its packets.
    lane: u32,
    suite: u8,
    params: Params,
}

impl Params {
    /// As the payload of message 1.
    pub(super) fn encode(&self) -> [u8; PAYLOAD_LEN] {
        encode(self)
    }

    /// From the payload of message 1.
    pub(super) fn decode(payload: &[u8; PAYLOAD_LEN]) -> Result<Self, HandshakeDrop> {
        decode::<Self>(payload)?.checked()
    }

    /// The suite for a session between these two ends.
    pub(super) fn choose_suite(&self, peer: &Self) -> Suite {
        if self.has_aes && peer.has_aes { Suite::Aes256Gcm } else { Suite::ChaCha20Poly1305 }
    }

    fn checked(self) -> Result<Self, HandshakeDrop> {
        let sane = self.version > 0 && self.mtu_max >= MTU_MIN && self.lanes_max > 0;
        sane.then_some(self).ok_or(HandshakeDrop::Params)
    }
}

impl ReplyPayload {
    /// As the payload of message 2.
    pub(super) fn encode(lane: LaneId, suite: Suite, params: &Params) -> [u8; PAYLOAD_LEN] {
        encode(&Self { lane: lane.0, suite: suite.id(), params: params.clone() })
    }

    /// From the payload of message 2: lane, suite and the responder's parameters. `ours` is what the
    /// responder had to choose from.
    pub(super) fn decode(
        payload: &[u8; PAYLOAD_LEN],
        ours: &Params,
    ) -> Result<(LaneId, Suite, Params), HandshakeDrop> {
        let Self { lane, suite, params } = decode(payload)?;
        let suite = Suite::from_id(suite).ok_or(HandshakeDrop::Params)?;
        // AES without instructions for it is slow, and its tables leak: nobody may force it upon us.
        if suite == Suite::Aes256Gcm && !ours.has_aes {
            return Err(HandshakeDrop::Params);
        }
        Ok((LaneId(lane), suite, params.checked()?))
    }
}

fn encode<T: Serialize>(value: &T) -> [u8; PAYLOAD_LEN] {
    let mut out = [0; PAYLOAD_LEN];
    postcard::to_slice(value, &mut out).expect("the longest encoding has 30 bytes");
    out
}

fn decode<'a, T: Deserialize<'a>>(payload: &'a [u8; PAYLOAD_LEN]) -> Result<T, HandshakeDrop> {
    postcard::take_from_bytes(payload).map(|(value, _)| value).map_err(|_| HandshakeDrop::Params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_values_fit_and_come_back() {
        let params = Params {
            version: u16::MAX,
            plain_ok: true,
            mtu_max: u16::MAX,
            staging_credit: u64::MAX,
            lanes_max: u8::MAX,
            max_ack_delay_us: u32::MAX,
            has_aes: true,
        };
        assert_eq!(Params::decode(&params.encode()), Ok(params.clone()));
        let lane = LaneId(u32::MAX);
        let reply = ReplyPayload::encode(lane, Suite::ChaCha20Poly1305, &params);
        assert_eq!(ReplyPayload::decode(&reply, &params), Ok((lane, Suite::ChaCha20Poly1305, params)));
    }

    #[test]
    fn nonsense_is_refused() {
        let good = Params {
            version: 1,
            plain_ok: false,
            mtu_max: 1500,
            staging_credit: 0,
            lanes_max: 1,
            max_ack_delay_us: 0,
            has_aes: false,
        };
        for bad in [
            Params { version: 0, ..good.clone() },
            Params { mtu_max: 1279, ..good.clone() },
            Params { lanes_max: 0, ..good.clone() },
        ] {
            assert_eq!(Params::decode(&bad.encode()), Err(HandshakeDrop::Params));
        }
        assert_eq!(Params::decode(&[0xff; PAYLOAD_LEN]), Err(HandshakeDrop::Params));
        let reply = ReplyPayload::encode(LaneId(1), Suite::Aes256Gcm, &good);
        assert_eq!(ReplyPayload::decode(&reply, &good), Err(HandshakeDrop::Params));
    }
}
