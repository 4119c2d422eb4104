//! Invitations that are used: whoever shows one is to become a peer, which is decided and kept outside of the engine.

use udpx_proto::messages::{JoinAccepted, JoinRequest};
use udpx_proto::{Code, Message, RequestId};

use super::driver::{Cx, Driver};
use super::report::{Answer, Joining, Report};
use super::tickets::Guest;
use crate::transfer::Failure;

impl Driver {
    /// The holder of an invitation wants to be known.
    pub(super) fn on_join_request(&mut self, message: JoinRequest, cx: &mut Cx<'_>) {
        let request = message.request;
        let Some(ticket) = self.guest.as_ref().and_then(Guest::invitation) else {
            let text = "Nothing in this session invites you. On it: sudo udpxctl invite";
            return self.refuse(request, Failure::new(Code::Refused, text));
        };
        if std::mem::replace(&mut self.joining, true) {
            return self.session.close(cx.now, Code::Protocol, "somebody wants to join twice");
        }
        let JoinRequest { name, port, .. } = message;
        let (session, key, from) = (self.key, self.peer_key, self.address);
        cx.outbox.push(Report::Joining(Box::new(Joining {
            session,
            request,
            ticket,
            key,
            name,
            port,
            from,
        })));
    }

    /// It has been decided.
    pub(crate) fn welcome(&mut self, request: RequestId, answer: Result<(String, String), Failure>) {
        self.dirty = true;
        match answer {
            Err(failure) => self.refuse(request, failure),
            Ok((name, joiner)) => {
                self.guest.iter().for_each(Guest::on_joined);
                self.mail.push_back(Message::JoinAccepted(JoinAccepted { request, name, joiner }));
            }
        }
    }

    /// We are known there.
    pub(super) fn on_join_accepted(&mut self, message: JoinAccepted, cx: &mut Cx<'_>) {
        if self.asked.takes_join(message.request) {
            cx.outbox.push(Report::Answer { session: self.key, answer: Answer::Joined(message) });
        }
    }
}
