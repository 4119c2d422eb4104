//! Two ends that have met: for tests in which one of them is no session, but holds the keys of one.

use core::net::SocketAddr;

use super::SimRandom;
use crate::handshake::{
    Accept, Acceptor, AcceptorConfig, Credential, Directory, Established, Incoming, Initiator,
    InitiatorConfig, Progress, Psk, PublicKey, StaticSecret, TicketId,
};
use crate::{LaneId, Params, Time};

/// A handshake between two ends, with a checksum in place of a cipher: the secrets of the first, which began it and may say
/// from there on whatever it likes, and of the second.
///
/// # Panics
/// Never, but for a bug of the handshake.
#[must_use]
pub fn acquainted(rng: &mut SimRandom) -> (Established, Established) {
    let (a, b) = (StaticSecret::generate(rng), StaticSecret::generate(rng));
    let params = Params {
        version: 1,
        plain_ok: false,
        mtu_max: 1500,
        staging_credit: 1 << 20,
        lanes_max: 4,
        max_ack_delay_us: 25_000,
        has_aes: true,
    };
    let config = InitiatorConfig {
        local: &a,
        remote: b.public(),
        credential: Credential::None,
        params: params.clone(),
        lane: LaneId(1),
    };
    let mut initiator = Initiator::new(config, Time::ZERO, rng).expect("a usable key");
    let config = AcceptorConfig { local: b, params, cookie_threshold: 64 };
    let mut acceptor = Acceptor::new(config, Time::ZERO, rng).with_null_cipher();
    let from: SocketAddr = ([127, 0, 0, 1], 1).into();
    let mut reply = Vec::new();
    let incoming = Incoming { from, datagram: initiator.packet(), lane: LaneId(2) };
    let accept = acceptor.handle_hello(Time::ZERO, incoming, &Nobody, rng, &mut reply);
    let Accept::Established(honest) = accept else { panic!("the HELLO is good") };
    let Ok(Progress::Done(hostile)) = initiator.handle(Time::ZERO, &reply) else {
        panic!("the REPLY is good")
    };
    (*hostile, *honest)
}

/// Knows nobody.
struct Nobody;

impl Directory for Nobody {
    fn psk(&self, _: &PublicKey) -> Option<Psk> {
        None
    }

    fn ticket(&self, _: &TicketId) -> Option<Psk> {
        None
    }
}
