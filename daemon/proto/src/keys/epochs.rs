//! One direction's keys of successive epochs.

use alloc::sync::Arc;

use super::schedule::TrafficSecret;
use super::suite::{PacketKey, Suite};
use crate::time::Time;

/// Why a packet could not be opened.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Shorter than a tag, or the output has not the plaintext's length.
    #[error("The packet is shorter than its tag, or its plaintext does not fit the given place.")]
    Length,
    /// The epoch is neither the current one nor a neighbour, or the previous key has been erased.
    #[error("The packet's key epoch is not the current one or a neighbour of it.")]
    UnknownEpoch,
    /// The tag does not verify.
    #[error("The packet's tag does not verify: it is forged or damaged.")]
    Authentication,
    /// This key has met too many forgeries to be trusted with another.
    #[error("Too many forged packets have been tried on this key; the session has to be opened anew.")]
    IntegrityLimit,
}

/// The sending direction.
pub(super) struct SendKeys {
    pub(super) epoch: u32,
    /// Shared with whoever seals packets of this epoch elsewhere; nothing of it changes.
    pub(super) key: Arc<PacketKey>,
    /// Secret of the next epoch: that of the current one is gone.
    pub(super) next: TrafficSecret,
    /// Secret of a new handshake, which the next epoch begins from instead.
    pub(super) staged: Option<TrafficSecret>,
    /// One that waits until the peer is known to have it.
    pub(super) held: Option<TrafficSecret>,
    /// The present epoch began with such a secret, and nothing shows yet that the peer has followed.
    pub(super) unsettled: bool,
    /// First packet number of the epoch, and when it began.
    pub(super) first: u64,
    pub(super) since: Time,
    /// A packet of this epoch was acknowledged.
    pub(super) acked: bool,
}

impl SendKeys {
    pub(super) fn new(mut secret: TrafficSecret, suite: Suite, now: Time) -> Self {
        let key = Arc::new(PacketKey::new(&secret, suite));
        secret.ratchet();
        Self {
            epoch: 0,
            key,
            next: secret,
            staged: None,
            held: None,
            unsettled: false,
            first: 0,
            since: now,
            acked: false,
        }
    }

    pub(super) fn update(&mut self, now: Time, next_number: u64, suite: Suite) {
        if let Some(staged) = self.staged.take() {
            self.next = staged;
            self.unsettled = true;
        }
        self.key = Arc::new(PacketKey::new(&self.next, suite));
        self.next.ratchet();
        self.epoch = self.epoch.wrapping_add(1);
        self.first = next_number;
        self.since = now;
        self.acked = false;
    }
}

/// The receiving direction. The next epoch's key exists before it is needed, so that neither a forged
/// nor the first true packet of it takes longer than any other.
pub(super) struct ReceiveKeys {
    pub(super) epoch: u32,
    pub(super) current: OpeningKey,
    pub(super) next: Fresh,
    pub(super) staged: Option<Fresh>,
    /// Key of the previous epoch, and when it ceased to be the current one.
    pub(super) previous: Option<(OpeningKey, Time)>,
}

impl ReceiveKeys {
    pub(super) fn new(mut secret: TrafficSecret, suite: Suite) -> Self {
        let current = OpeningKey::new(&secret, suite);
        secret.ratchet();
        Self { epoch: 0, current, next: Fresh::new(secret, suite), staged: None, previous: None }
    }

    /// Opens a packet of the next epoch, and goes there; whether that began from a new handshake's secret.
    pub(super) fn open_next(
        &mut self,
        now: Time,
        packet: &Sealed<'_>,
        out: &mut [u8],
        limit: u64,
        suite: Suite,
    ) -> Result<bool, OpenError> {
        let mut renewed = false;
        if let Err(error) = self.next.opening.open(packet, out, limit) {
            self.staged.as_mut().ok_or(error)?.opening.open(packet, out, limit)?;
            if let Some(staged) = self.staged.take() {
                self.next = staged;
                renewed = true;
            }
        }
        let next = self.next.take_next(suite);
        self.previous = Some((core::mem::replace(&mut self.current, next), now));
        self.epoch = self.epoch.wrapping_add(1);
        Ok(renewed)
    }
}

/// A key that has opened nothing yet, and the secret that follows it.
pub(super) struct Fresh {
    pub(super) opening: OpeningKey,
    pub(super) after: TrafficSecret,
}

impl Fresh {
    pub(super) fn new(mut secret: TrafficSecret, suite: Suite) -> Self {
        let opening = OpeningKey::new(&secret, suite);
        secret.ratchet();
        Self { opening, after: secret }
    }

    /// This key, and in its place the one of the epoch after it.
    pub(super) fn take_next(&mut self, suite: Suite) -> OpeningKey {
        let following = OpeningKey::new(&self.after, suite);
        self.after.ratchet();
        core::mem::replace(&mut self.opening, following)
    }
}

/// A packet as it came.
pub(super) struct Sealed<'a> {
    pub(super) number: u64,
    pub(super) aad: &'a [u8],
    pub(super) ciphertext: &'a [u8],
    pub(super) tag: &'a [u8],
}

/// A key and how often it failed.
pub(super) struct OpeningKey {
    pub(super) key: PacketKey,
    pub(super) failures: u64,
}

impl OpeningKey {
    pub(super) fn new(secret: &TrafficSecret, suite: Suite) -> Self {
        Self { key: PacketKey::new(secret, suite), failures: 0 }
    }

    pub(super) fn open(&mut self, packet: &Sealed<'_>, out: &mut [u8], limit: u64) -> Result<(), OpenError> {
        if self.failures >= limit {
            return Err(OpenError::IntegrityLimit);
        }
        if self.key.open(packet.number, packet.aad, packet.ciphertext, packet.tag, out) {
            return Ok(());
        }
        self.failures += 1;
        Err(OpenError::Authentication)
    }
}
