//! A fresh key exchange within a session (PROTOCOL.md 8.5).
//!
//! The two messages travel on stream 0 of the session whose secrets they replace, so nothing of this is ever lost,
//! doubled or seen by a stranger. The Noise pattern is KKpsk0: each end proves its static key once more, and the
//! pre-shared key comes from the secrets in force, so that only the two ends of *this* session can take part.

use snow::HandshakeState;

use super::identity::{PublicKey, StaticSecret};
use super::noise::{finish, rekey_builder};
use crate::Random;
use crate::keys::{RekeySecret, SessionSecrets};

/// Bytes of either message: ephemeral key, tag of an empty payload.
pub(crate) const REKEY_LEN: usize = 32 + 16;

/// What both ends know beforehand.
#[derive(Debug)]
pub(crate) struct Acquaintance {
    pub(crate) peer: PublicKey,
    /// Of the exchange before this one, or of the handshake.
    pub(crate) secret: RekeySecret,
    pub(crate) hash: [u8; 32],
}

impl Acquaintance {
    pub(crate) fn new(peer: PublicKey, secrets: &SessionSecrets) -> Self {
        Self { peer, secret: secrets.rekey(), hash: *secrets.handshake_hash() }
    }

    /// What both ends hash first.
    fn prologue(&self) -> [u8; 45] {
        let mut out = [0; 45];
        out[..13].copy_from_slice(b"udpx v1 rekey");
        out[13..].copy_from_slice(&self.hash);
        out
    }
}

/// An exchange that this end began.
pub(crate) struct Rekey(HandshakeState);

impl Rekey {
    /// Begins one; the message is for the peer. `None` only if a key is unusable, which no peer's is.
    pub(crate) fn ask(
        known: &Acquaintance,
        local: &StaticSecret,
        rng: &mut dyn Random,
    ) -> Option<(Self, [u8; REKEY_LEN])> {
        let mut state = rekey_builder(known, local, &known.prologue(), rng).ok()?.build_initiator().ok()?;
        let mut message = [0; REKEY_LEN];
        let written = state.write_message(&[], &mut message).ok()?;
        debug_assert_eq!(written, message.len());
        Some((Self(state), message))
    }

    /// The new secrets, if the answer is the peer's.
    pub(crate) fn finish(mut self, answer: &[u8]) -> Option<SessionSecrets> {
        self.0.read_message(answer, &mut []).ok()?;
        finish(self.0)
    }

    /// The new secrets and the answer to a message of the peer's; `None` if it is not the peer's.
    pub(crate) fn answer(
        known: &Acquaintance,
        local: &StaticSecret,
        message: &[u8],
        rng: &mut dyn Random,
    ) -> Option<(SessionSecrets, [u8; REKEY_LEN])> {
        let mut state = rekey_builder(known, local, &known.prologue(), rng).ok()?.build_responder().ok()?;
        state.read_message(message, &mut []).ok()?;
        let mut answer = [0; REKEY_LEN];
        let written = state.write_message(&[], &mut answer).ok()?;
        debug_assert_eq!(written, answer.len());
        Some((finish(state)?, answer))
    }
}

impl core::fmt::Debug for Rekey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Rekey(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Not random at all.
    struct Counting(u8);

    impl Random for Counting {
        fn fill(&mut self, out: &mut [u8]) {
            for byte in out {
                self.0 = self.0.wrapping_mul(5).wrapping_add(7);
                *byte = self.0;
            }
        }
    }

    fn secrets(seed: u8) -> SessionSecrets {
        SessionSecrets::new([seed; 32], [seed + 1; 32], [seed + 2; 32])
    }

    fn both(seed: u8) -> (StaticSecret, StaticSecret, Counting) {
        let mut rng = Counting(seed);
        (StaticSecret::generate(&mut rng), StaticSecret::generate(&mut rng), rng)
    }

    #[test]
    fn both_ends_get_the_same_new_secrets() {
        let (a, b, mut rng) = both(1);
        let (to_b, to_a) =
            (Acquaintance::new(b.public(), &secrets(9)), Acquaintance::new(a.public(), &secrets(9)));
        let (asked, message) = Rekey::ask(&to_b, &a, &mut rng).expect("usable keys");
        let (theirs, answer) = Rekey::answer(&to_a, &b, &message, &mut rng).expect("it is A's");
        let ours = asked.finish(&answer).expect("it is B's");
        assert_eq!(ours.handshake_hash(), theirs.handshake_hash());
        assert_ne!(ours.handshake_hash(), secrets(9).handshake_hash());
        assert_eq!(ours.rekey(), theirs.rekey());
        assert_ne!(ours.rekey(), secrets(9).rekey());
    }

    #[test]
    fn of_another_session_another_peer_or_damaged_it_is_refused() {
        let (a, b, mut rng) = both(1);
        let (c, _, _) = both(77);
        let to_b = Acquaintance::new(b.public(), &secrets(9));
        let (_, message) = Rekey::ask(&to_b, &a, &mut rng).expect("usable keys");
        for (peer, seed) in [(a.public(), 8), (c.public(), 9)] {
            let other = Acquaintance::new(peer, &secrets(seed));
            assert!(Rekey::answer(&other, &b, &message, &mut rng).is_none());
        }
        let to_a = Acquaintance::new(a.public(), &secrets(9));
        for at in 0..REKEY_LEN {
            let mut bad = message;
            bad[at] ^= 1;
            assert!(Rekey::answer(&to_a, &b, &bad, &mut rng).is_none(), "byte {at}");
        }
        for len in [0, 31, 47] {
            assert!(Rekey::answer(&to_a, &b, &message[..len], &mut rng).is_none());
        }
        // Nor is another's answer taken.
        let (asked, message) = Rekey::ask(&to_b, &a, &mut rng).expect("usable keys");
        let (_, mut answer) = Rekey::answer(&to_a, &b, &message, &mut rng).expect("it is A's");
        answer[40] ^= 1;
        assert!(asked.finish(&answer).is_none());
    }
}
