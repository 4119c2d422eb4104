//! The handshake's packets at both ends, raw and with a MAC that is right.
//!
//! The first byte says which packet the rest is laid over, and whether its MAC is made anew: without that chance would
//! never get past it, and it takes only a public key.

use std::net::SocketAddr;
use std::sync::LazyLock;

use udpx_proto::handshake::{
    Accept, Acceptor, AcceptorConfig, Credential, Directory, HELLO_LEN, Incoming, Initiator, InitiatorConfig,
    Psk, PublicKey, StaticSecret, Ticket, TicketId,
};
use udpx_proto::testing::SimRandom;
use udpx_proto::testing::net::SimRng;
use udpx_proto::{LaneId, Params, Time};

/// A packet of the handshake, to whom it is for.
pub fn handshake(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else { return };
    let pristine = &*PRISTINE;
    let mut rng = SimRandom(SimRng::new(1));
    let packet = match mode % 4 {
        0 => rest.to_vec(),
        1 => laid_over(&pristine.hello, rest, "udpx v1 HELLO mac", pristine.responder.public()),
        2 => laid_over(&pristine.reply, rest, "udpx v1 REPLY mac", pristine.initiator.public()),
        _ => laid_over(&pristine.cookie, rest, "udpx v1 COOKIE", pristine.responder.public()),
    };
    let mut acceptor = pristine.acceptor(&mut rng);
    acceptor.set_under_load(mode & 0x10 != 0);
    let (accept, answer) = answered(&mut acceptor, &packet, &mut rng);
    assert!(answer.len() <= packet.len(), "an answer is no longer than its cause");
    assert!(!matches!(accept, Accept::Drop(_)) || answer.is_empty());
    // An initiator who waits for this very REPLY: the same randomness makes the same HELLO.
    let mut initiator = pristine.initiator(mode & 0x20 != 0);
    let _ = initiator.handle(Time::ZERO, &packet);
    assert_eq!(initiator.packet().len(), HELLO_LEN);
}

struct Pristine {
    initiator: StaticSecret,
    responder: StaticSecret,
    hello: Vec<u8>,
    reply: Vec<u8>,
    cookie: Vec<u8>,
}

/// Made once: each costs curve arithmetic.
static PRISTINE: LazyLock<Pristine> = LazyLock::new(|| {
    let mut rng = SimRandom(SimRng::new(7));
    let (initiator, responder) = (StaticSecret::generate(&mut rng), StaticSecret::generate(&mut rng));
    let mut made = Pristine { initiator, responder, hello: vec![], reply: vec![], cookie: vec![] };
    made.hello = made.initiator(false).packet().to_vec();
    let mut acceptor = made.acceptor(&mut rng);
    made.reply = answered(&mut acceptor, &made.hello, &mut rng).1;
    let mut acceptor = made.acceptor(&mut rng);
    acceptor.set_under_load(true);
    made.cookie = answered(&mut acceptor, &made.hello, &mut rng).1;
    assert!(!made.reply.is_empty() && !made.cookie.is_empty());
    made
});

impl Pristine {
    fn acceptor(&self, rng: &mut SimRandom) -> Acceptor {
        let config = AcceptorConfig { local: self.responder.clone(), params: params(), cookie_threshold: 64 };
        Acceptor::new(config, Time::ZERO, rng)
    }

    fn initiator(&self, with_ticket: bool) -> Initiator {
        let ticket = Ticket { id: TicketId([5; 16]), secret: Psk::new([6; 32]) };
        let config = InitiatorConfig {
            local: &self.initiator,
            remote: self.responder.public(),
            credential: if with_ticket { Credential::Ticket(ticket) } else { Credential::None },
            params: params(),
            lane: LaneId(1),
        };
        let mut rng = SimRandom(SimRng::new(9));
        Initiator::new(config, Time::ZERO, &mut rng).expect("a usable key")
    }
}

fn answered(acceptor: &mut Acceptor, packet: &[u8], rng: &mut SimRandom) -> (Accept, Vec<u8>) {
    let from: SocketAddr = ([127, 0, 0, 1], 1).into();
    let mut out = Vec::new();
    let incoming = Incoming { from, datagram: packet, lane: LaneId(2) };
    let accept = acceptor.handle_hello(Time::ZERO, incoming, &Known, rng, &mut out);
    (accept, out)
}

/// `changes` are triples of place (2 bytes) and what is to be XORed there.
fn laid_over(packet: &[u8], changes: &[u8], context: &str, key: PublicKey) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for change in changes.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % packet.len();
        packet[at] ^= change[2];
    }
    let key = blake3::derive_key(context, &key.0);
    if let Some((body, mac)) = packet.split_last_chunk_mut::<16>() {
        mac.copy_from_slice(&blake3::keyed_hash(&key, body).as_bytes()[..16]);
    }
    packet
}

/// A directory with one ticket.
struct Known;

impl Directory for Known {
    fn psk(&self, _: &PublicKey) -> Option<Psk> {
        None
    }

    fn ticket(&self, id: &TicketId) -> Option<Psk> {
        (id.0 == [5; 16]).then(|| Psk::new([6; 32]))
    }
}

fn params() -> Params {
    Params {
        version: 1,
        plain_ok: true,
        mtu_max: 1500,
        staging_credit: 1 << 20,
        lanes_max: 4,
        max_ack_delay_us: 25_000,
        has_aes: true,
    }
}
