//! Sealing and opening the packets of one lane, and its way through the epochs.

use alloc::sync::Arc;
use core::time::Duration;

use super::epochs::{Fresh, OpenError, ReceiveKeys, Sealed, SendKeys};
use super::plain::PlainKey;
use super::schedule::{Role, SessionSecrets};
use super::suite::{PacketKey, Suite, TAG_LEN};
use crate::time::Time;

/// How many probe time-outs the previous epoch's key is kept for packets that come late.
const PREVIOUS_KEPT_PTO: u32 = 3;

/// When a new epoch is due, and how many forgeries one key may meet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct EpochLimits {
    /// Packets sealed in one epoch. The confidentiality limit of AES-GCM for packets up to 2^16 bytes
    /// is 2^23 (draft-irtf-cfrg-aead-limits).
    pub packets: u64,
    /// Age of an epoch.
    pub age: Duration,
    /// Packets that failed to open under one key; then the session has to end.
    pub forgeries: u64,
}

impl EpochLimits {
    /// The limits of a suite.
    #[must_use]
    pub const fn of(suite: Suite) -> Self {
        Self { packets: 1 << 23, age: Duration::from_secs(120), forgeries: suite.integrity_limit() }
    }
}

/// The keys of both directions of one lane.
pub struct LaneKeys {
    suite: Suite,
    lane_index: u16,
    limits: EpochLimits,
    send: SendKeys,
    receive: ReceiveKeys,
    plain_send: PlainKey,
    plain_receive: PlainKey,
}

impl LaneKeys {
    /// The keys of lane number `lane_index`, the same at both ends, in epoch 0 of a session in which
    /// this end has `role`. `now` begins the age of the epoch.
    #[must_use]
    pub fn new(secrets: &SessionSecrets, lane_index: u16, role: Role, suite: Suite, now: Time) -> Self {
        let send = secrets.traffic(role, lane_index);
        let receive = secrets.traffic(role.peer(), lane_index);
        Self {
            suite,
            lane_index,
            limits: EpochLimits::of(suite),
            plain_send: PlainKey::new(&send),
            plain_receive: PlainKey::new(&receive),
            send: SendKeys::new(send, suite, now),
            receive: ReceiveKeys::new(receive, suite),
        }
    }

    /// The same keys with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: EpochLimits) -> Self {
        self.limits = limits;
        self
    }

    /// What the epoch byte of a packet says that is sealed now.
    #[must_use]
    pub fn send_epoch(&self) -> u8 {
        self.send.epoch as u8
    }

    /// The epoch of the newest packet that was opened.
    #[must_use]
    pub fn receive_epoch(&self) -> u32 {
        self.receive.epoch
    }

    /// Seals `plaintext` as packet `number` into `out`: ciphertext, then tag, with no other copy.
    /// A number is used once, ever, and the epoch byte in `aad` is [`send_epoch`](Self::send_epoch).
    ///
    /// # Panics
    /// If `out` is not exactly [`TAG_LEN`] bytes longer than `plaintext`.
    pub fn seal(&self, number: u64, aad: &[u8], plaintext: &[u8], out: &mut [u8]) {
        debug_assert!(number >= self.send.first, "a packet number of an earlier epoch");
        let (ciphertext, tag) = out.split_at_mut(plaintext.len());
        self.send.key.seal(number, aad, plaintext, ciphertext, tag);
    }

    /// Seals the plaintext that stands in `buf` in front of [`TAG_LEN`] bytes of room for the tag, as
    /// [`seal`](Self::seal) does.
    ///
    /// # Panics
    /// If `buf` is shorter than a tag.
    pub fn seal_in_place(&self, number: u64, aad: &[u8], buf: &mut [u8]) {
        debug_assert!(number >= self.send.first, "a packet number of an earlier epoch");
        let (text, tag) = buf.split_at_mut(buf.len() - TAG_LEN);
        self.send.key.seal_in_place(number, aad, text, tag);
    }

    /// The key that packets are sealed with now, for sealing elsewhere what is planned now.
    #[must_use]
    pub(crate) fn sealing_key(&self) -> &Arc<PacketKey> {
        &self.send.key
    }

    /// Opens `sealed`, ciphertext and tag of packet `number`, into `out`, which has exactly the
    /// plaintext's length. `epoch` is the header's epoch byte. The receiving epoch advances if this is
    /// the first packet of the next one that opens.
    ///
    /// # Errors
    /// [`OpenError`]; `out` may then hold garbage, and nothing but a count of failures has changed.
    pub fn open(
        &mut self,
        now: Time,
        epoch: u8,
        number: u64,
        aad: &[u8],
        sealed: &[u8],
        out: &mut [u8],
    ) -> Result<(), OpenError> {
        let length = sealed.len().checked_sub(TAG_LEN).ok_or(OpenError::Length)?;
        if out.len() != length {
            return Err(OpenError::Length);
        }
        let (ciphertext, tag) = sealed.split_at(length);
        let packet = Sealed { number, aad, ciphertext, tag };
        let limit = self.limits.forgeries;
        let receive = &mut self.receive;
        match epoch.wrapping_sub(receive.epoch as u8) {
            0 => receive.current.open(&packet, out, limit),
            1 => {
                if receive.open_next(now, &packet, out, limit, self.suite)?
                    && let Some(held) = self.send.held.take()
                {
                    // The peer has the new secrets: it can be sent to under them.
                    self.send.staged = Some(held);
                }
                Ok(())
            }
            u8::MAX => match &mut receive.previous {
                Some((key, _)) => key.open(&packet, out, limit),
                None => Err(OpenError::UnknownEpoch),
            },
            _ => Err(OpenError::UnknownEpoch),
        }
    }

    /// The checksum in place of a tag for BULK_PLAIN packet `number`, whose clear header `header` has
    /// [`PLAIN_HEADER`](super::PLAIN_HEADER) bytes.
    ///
    /// # Panics
    /// If the header has another length.
    #[must_use]
    pub fn plain_tag(&self, number: u64, header: &[u8], payload: &[u8]) -> [u8; TAG_LEN] {
        self.plain_send.tag(number, header, payload)
    }

    /// Whether `tag` is the peer's checksum of this BULK_PLAIN packet.
    #[must_use]
    pub fn check_plain(&self, number: u64, header: &[u8], payload: &[u8], tag: &[u8]) -> bool {
        self.plain_receive.check(number, header, payload, tag)
    }

    /// Whether a new sending epoch is due, before packet `next_number` is sealed: the current one is
    /// full or old, and the peer is known to have reached it.
    #[must_use]
    pub fn should_update(&self, now: Time, next_number: u64) -> bool {
        self.send.acked && self.is_due(now, next_number)
    }

    /// Whether something has to be acknowledged before the keys can go on: whoever only receives has to ask for it.
    #[must_use]
    pub fn wants_ack(&self, now: Time, next_number: u64) -> bool {
        !self.send.acked && (self.send.unsettled || self.is_due(now, next_number))
    }

    fn is_due(&self, now: Time, next_number: u64) -> bool {
        let send = &self.send;
        next_number.saturating_sub(send.first) >= self.limits.packets
            || now >= send.since + self.limits.age
            || send.staged.is_some()
    }

    /// Begins the next sending epoch with packet `next_number`. To be called between trains, when
    /// [`should_update`](Self::should_update) says so.
    pub fn update_send(&mut self, now: Time, next_number: u64) {
        debug_assert!(self.send.acked, "the peer may not have reached the current epoch");
        self.send.update(now, next_number, self.suite);
    }

    /// The peer acknowledged packet `number`, which was *sealed*: an acknowledged BULK_PLAIN packet
    /// does not show that the peer has the epoch's key.
    pub fn on_acked(&mut self, number: u64) {
        self.send.acked |= number >= self.send.first;
        self.send.unsettled &= !self.send.acked;
    }

    /// Secrets of a new handshake of the same session, for receiving: the peer's next epoch may begin
    /// from them or, as always, from the current one's successor. `role` is this end's in that
    /// handshake. Both ends do this as soon as they have the secrets.
    pub fn stage_receive(&mut self, secrets: &SessionSecrets, role: Role) {
        let secret = secrets.traffic(role.peer(), self.lane_index);
        self.receive.staged = Some(Fresh::new(secret, self.suite));
    }

    /// Secrets of a new handshake, for sending: the next epoch begins from them and is due at once. For the
    /// initiator, which has the answer.
    pub fn stage_send(&mut self, secrets: &SessionSecrets, role: Role) {
        self.send.staged = Some(secrets.traffic(role, self.lane_index));
    }

    /// The same for the responder: the next epoch begins from them as soon as a packet of the initiator's has opened
    /// under them, and so has shown that it has the answer.
    pub fn stage_send_later(&mut self, secrets: &SessionSecrets, role: Role) {
        self.send.held = Some(secrets.traffic(role, self.lane_index));
    }

    /// Whether the peer is known to have followed the last new secrets that something was sealed under.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.send.unsettled
    }

    /// Whether secrets given to [`stage_receive`](Self::stage_receive) still wait for the peer's first
    /// packet under them.
    #[must_use]
    pub fn staged_receive(&self) -> bool {
        self.receive.staged.is_some()
    }

    /// When [`expire_old`](Self::expire_old) has something to do; `pto` is the path's probe time-out.
    #[must_use]
    pub fn next_deadline(&self, pto: Duration) -> Option<Time> {
        self.receive.previous.as_ref().map(|&(_, retired)| retired + pto * PREVIOUS_KEPT_PTO)
    }

    /// Erases the previous epoch's key once it has been kept long enough.
    pub fn expire_old(&mut self, now: Time, pto: Duration) {
        if self.next_deadline(pto).is_some_and(|deadline| now >= deadline) {
            self.receive.previous = None;
        }
    }

    /// Whether a key has met so many forgeries that the session has to end.
    #[must_use]
    pub fn close_needed(&self) -> bool {
        let receive = &self.receive;
        let previous = receive.previous.as_ref().map(|(key, _)| key.failures);
        [Some(receive.current.failures), Some(receive.next.opening.failures), previous]
            .into_iter()
            .flatten()
            .chain(receive.staged.as_ref().map(|fresh| fresh.opening.failures))
            .any(|failures| failures >= self.limits.forgeries)
    }
}

impl core::fmt::Debug for LaneKeys {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("LaneKeys")
            .field("suite", &self.suite)
            .field("lane_index", &self.lane_index)
            .field("send_epoch", &self.send.epoch)
            .field("receive_epoch", &self.receive.epoch)
            .finish_non_exhaustive()
    }
}
