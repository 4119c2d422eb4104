//! New secrets for a session that lives long: a key exchange on stream 0, while data flows (PROTOCOL.md 8.5).
//!
//! The driver lends its static key and randomness when the session asks for them ([`Event::RekeyDue`],
//! [`Event::RekeyAsked`]); the rest happens here. What goes on is everything but the secrets: lanes and their ids, packet
//! numbers, streams, credit. On each lane the new secrets begin with its next epoch, so nothing waits and nothing that is
//! under way is lost.

use super::{Event, Session};
use crate::handshake::rekey::{Acquaintance, Rekey};
use crate::handshake::{PublicKey, StaticSecret};
use crate::keys::{Role, SessionSecrets};
use crate::messages::{Message, RekeyAnswer, RekeyRequest, Unsupported};
use crate::time::Time;
use crate::{Random, session::RekeyLimits};

/// Where a session stands with its secrets.
#[derive(Debug)]
pub(super) struct Rekeying {
    known: Acquaintance,
    stage: Stage,
    /// When the present secrets came, and the packets of both directions by then.
    since: Time,
    packets: u64,
}

#[derive(Debug)]
enum Stage {
    /// Nothing is under way.
    Idle,
    /// The driver was asked to begin an exchange.
    Due,
    /// We have asked; the answer is on its way.
    Asked(Box<Rekey>),
    /// The peer has asked. `true`: the driver was told so.
    Wanted(Vec<u8>, bool),
    /// The peer does not know how.
    Never,
}

impl Rekeying {
    pub(super) fn new(peer: PublicKey, secrets: &SessionSecrets, now: Time) -> Self {
        let known = Acquaintance::new(peer, secrets);
        Self { known, stage: Stage::Idle, since: now, packets: 0 }
    }

    fn is_old(&self, now: Time, packets: u64, limits: &RekeyLimits) -> bool {
        now >= self.since + limits.age || packets.saturating_sub(self.packets) >= limits.packets
    }
}

impl Session {
    /// Tells the driver what an exchange needs of it.
    pub(super) fn look_at_secrets(&mut self, now: Time) {
        if !self.confirmed {
            return;
        }
        let packets = self.stats.sent_packets + self.stats.received_packets;
        let due = match &self.rekeying.stage {
            Stage::Idle => {
                self.role == Role::Initiator && self.rekeying.is_old(now, packets, &self.config.rekey)
            }
            Stage::Wanted(_, told) => !told,
            Stage::Due | Stage::Asked(_) | Stage::Never => false,
        };
        // Packets under the secrets before these must be known to have arrived: a receiver holds one set in waiting.
        if !due || !self.lanes.iter().all(|lane| lane.abandoned || lane.keys.is_settled()) {
            return;
        }
        match &mut self.rekeying.stage {
            Stage::Wanted(_, told) => {
                *told = true;
                self.events.push_back(Event::RekeyAsked);
            }
            stage => {
                *stage = Stage::Due;
                self.events.push_back(Event::RekeyDue);
            }
        }
    }

    /// Begins a key exchange: the answer to [`Event::RekeyDue`]. `local` is the key of this end's handshake.
    pub fn rekey(&mut self, local: &StaticSecret, rng: &mut dyn Random) {
        if !matches!(self.rekeying.stage, Stage::Due) {
            return;
        }
        self.rekeying.stage = Stage::Idle;
        let Some((asked, message)) = Rekey::ask(&self.rekeying.known, local, rng) else { return };
        let request = Message::RekeyRequest(RekeyRequest { noise: message.to_vec() });
        // Without room on stream 0 it is due again at once.
        if self.send_message(&request).is_ok() {
            self.rekeying.stage = Stage::Asked(Box::new(asked));
        }
    }

    /// Answers the peer's: the answer to [`Event::RekeyAsked`]. `local` is the key of this end's handshake.
    pub fn answer_rekey(&mut self, now: Time, local: &StaticSecret, rng: &mut dyn Random) {
        let Stage::Wanted(message, _) = &self.rekeying.stage else { return };
        let Some((secrets, answer)) = Rekey::answer(&self.rekeying.known, local, message, rng) else {
            return self.fail(now, "a key exchange that is not this session's");
        };
        let answer = Message::RekeyAnswer(RekeyAnswer { noise: answer.to_vec() });
        if self.send_message(&answer).is_err() {
            // Asked for again when there is room: the peer waits.
            self.rekeying.stage = match core::mem::replace(&mut self.rekeying.stage, Stage::Idle) {
                Stage::Wanted(message, _) => Stage::Wanted(message, false),
                stage => stage,
            };
            return;
        }
        // The peer does not have the answer yet. That it does, its first packet under the new secrets will say.
        for keys in self.lanes.iter_mut().map(|lane| &mut lane.keys).chain(&mut self.spare_keys) {
            keys.stage_receive(&secrets, Role::Responder);
            keys.stage_send_later(&secrets, Role::Responder);
        }
        self.renew(now, &secrets);
    }

    pub(super) fn on_rekey_request(&mut self, now: Time, request: RekeyRequest) {
        let early = now < self.rekeying.since + self.config.rekey.gap;
        if self.role != Role::Responder || early || !matches!(self.rekeying.stage, Stage::Idle) {
            return self.fail(now, "a key exchange out of turn");
        }
        self.rekeying.stage = Stage::Wanted(request.noise, false);
        self.look_at_secrets(now);
    }

    pub(super) fn on_rekey_answer(&mut self, now: Time, answer: &RekeyAnswer) {
        let stage = core::mem::replace(&mut self.rekeying.stage, Stage::Idle);
        let Stage::Asked(asked) = stage else {
            return self.fail(now, "the answer to a key exchange that nobody began");
        };
        let Some(secrets) = asked.finish(&answer.noise) else {
            return self.fail(now, "a key exchange that is not this session's");
        };
        for keys in self.lanes.iter_mut().map(|lane| &mut lane.keys).chain(&mut self.spare_keys) {
            keys.stage_receive(&secrets, Role::Initiator);
            keys.stage_send(&secrets, Role::Initiator);
        }
        self.renew(now, &secrets);
    }

    /// The peer did not understand a message; if that was about keys, it will not be asked again.
    pub(super) fn on_unsupported(&mut self, what: &Unsupported) {
        if what.kind == Message::REKEY_REQUEST && matches!(self.rekeying.stage, Stage::Asked(_)) {
            self.rekeying.stage = Stage::Never;
        }
    }

    fn renew(&mut self, now: Time, secrets: &SessionSecrets) {
        self.stats.rekeys += 1;
        let packets = self.stats.sent_packets + self.stats.received_packets;
        self.rekeying = Rekeying { packets, ..Rekeying::new(self.rekeying.known.peer, secrets, now) };
    }
}
