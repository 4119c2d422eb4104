//! The bytes of version 1's handshake and keys never change: with fixed randomness every packet of the
//! handshake, and every sealed byte of either cipher, direction, lane and epoch, is what it was.

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use common::golden::compare;
use udpx_proto::handshake::{
    Accept, Acceptor, AcceptorConfig, Credential, Directory, Established, Incoming, Initiator,
    InitiatorConfig, Progress, Psk, PublicKey, StaticSecret, TicketId,
};
use udpx_proto::keys::{EpochLimits, LaneKeys, Role, SessionSecrets, Suite, TAG_LEN};
use udpx_proto::testing::SimRandom;
use udpx_proto::testing::net::SimRng;
use udpx_proto::wire::bulk::BulkPrefix;
use udpx_proto::wire::header::{Header, Kind};
use udpx_proto::{LaneId, Params, StreamId, Time};

const NOW: Time = Time::from_nanos(5_000_000_000);

/// Knows one shared key for everybody.
struct OneKey;

impl Directory for OneKey {
    fn psk(&self, _: &PublicKey) -> Option<Psk> {
        Some(Psk::from_ticket_secret(b"shared"))
    }

    fn ticket(&self, _: &TicketId) -> Option<Psk> {
        None
    }
}

fn params() -> Params {
    Params {
        version: 1,
        plain_ok: true,
        mtu_max: 9000,
        staging_credit: 64 << 20,
        lanes_max: 4,
        max_ack_delay_us: 25_000,
        has_aes: true,
    }
}

/// Both ends, and what each says: HELLO, COOKIE, the HELLO with it, REPLY.
fn handshake() -> (Established, Established, Vec<(String, Vec<u8>)>) {
    let mut rng = SimRandom(SimRng::new(1));
    let (alice, bob) = (StaticSecret::from_bytes([0x21; 32]), StaticSecret::from_bytes([0x42; 32]));
    let config = InitiatorConfig {
        local: &alice,
        remote: bob.public(),
        credential: Credential::Psk(Psk::from_ticket_secret(b"shared")),
        params: params(),
        lane: LaneId(0x1000_0001),
    };
    let mut initiator = Initiator::new(config, NOW, &mut rng).expect("a usable key");
    let config = AcceptorConfig { local: bob, params: params(), cookie_threshold: 64 };
    let mut acceptor = Acceptor::new(config, NOW, &mut rng);
    let from: SocketAddr = ([192, 0, 2, 1], 4000).into();
    let mut said = Vec::new();

    acceptor.set_under_load(true);
    said.push(("HELLO".to_owned(), initiator.packet().to_vec()));
    let mut answer = Vec::new();
    let incoming = Incoming { from, datagram: initiator.packet(), lane: LaneId(0x2000_0002) };
    let accept = acceptor.handle_hello(NOW, incoming, &OneKey, &mut rng, &mut answer);
    assert!(matches!(accept, Accept::Cookie));
    assert!(matches!(initiator.handle(NOW, &answer), Ok(Progress::CookieRetry)));
    said.push(("COOKIE".to_owned(), answer));

    said.push(("HELLO with cookie".to_owned(), initiator.packet().to_vec()));
    let mut answer = Vec::new();
    let incoming = Incoming { from, datagram: initiator.packet(), lane: LaneId(0x2000_0002) };
    let Accept::Established(b) = acceptor.handle_hello(NOW, incoming, &OneKey, &mut rng, &mut answer) else {
        panic!("the cookie is right");
    };
    let Ok(Progress::Done(a)) = initiator.handle(NOW, &answer) else { panic!("the reply is right") };
    said.push(("REPLY".to_owned(), answer));

    let mut foreign = said[0].1.clone();
    foreign[0] = 0x78;
    let mut answer = Vec::new();
    let incoming = Incoming { from, datagram: &foreign, lane: LaneId(3) };
    let accept = acceptor.handle_hello(NOW, incoming, &OneKey, &mut rng, &mut answer);
    assert!(matches!(accept, Accept::Versions));
    said.push(("VERSIONS".to_owned(), answer));
    let hint = acceptor.unknown_session(NOW, LaneId(9), (1 << 32) + 1).expect("the first");
    said.push(("UNKNOWN_SESSION".to_owned(), hint.as_bytes().to_vec()));
    (*a, *b, said)
}

/// The zeros behind the introduction fill most of a HELLO: they are checked and left out.
fn shorten(said: &mut [(String, Vec<u8>)]) {
    for (name, bytes) in said.iter_mut().filter(|(name, _)| name.starts_with("HELLO")) {
        assert_eq!(bytes.len(), udpx_proto::handshake::HELLO_LEN, "{name}");
        let (head, rest) = bytes.split_at(224);
        let (padding, mac) = rest.split_at(rest.len() - 16);
        assert!(padding.iter().all(|&byte| byte == 0), "{name}: padding");
        *bytes = [head, mac].concat();
    }
}

#[test]
fn the_handshake_is_as_ever() {
    let (a, b, mut said) = handshake();
    assert_eq!(a.secrets.handshake_hash(), b.secrets.handshake_hash());
    assert_eq!((a.suite, b.suite), (Suite::Aes256Gcm, Suite::Aes256Gcm));
    said.push(("handshake hash".to_owned(), a.secrets.handshake_hash().to_vec()));
    // What both ends seal then depends on the secrets of the split.
    for (name, end) in [("initiator", &a), ("responder", &b)] {
        let keys = LaneKeys::new(&end.secrets, 0, end.role, end.suite, NOW);
        let mut out = [0; 4 + TAG_LEN];
        keys.seal(0, b"aad", b"text", &mut out);
        said.push((format!("first packet of the {name}"), out.to_vec()));
    }
    shorten(&mut said);
    compare("handshake.hex", &said);
}

#[test]
fn sealed_bytes_are_as_ever() {
    let secrets = SessionSecrets::new([0x0a; 32], [0x0b; 32], [0x0c; 32]);
    let mut entries = Vec::new();
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        for role in [Role::Initiator, Role::Responder] {
            for lane in [0, 3] {
                let limits = EpochLimits { packets: 1, age: Duration::from_secs(1), forgeries: 1 };
                let mut keys = LaneKeys::new(&secrets, lane, role, suite, NOW).with_limits(limits);
                for epoch in 0..3_u8 {
                    let number = (1 << 32) + u64::from(epoch);
                    let header = Header::new(Kind::Bulk, epoch, LaneId(7), number);
                    let prefix = BulkPrefix::new(header, StreamId(1), 1 << 20, 16);
                    let aad = bytemuck::bytes_of(&prefix);
                    let mut out = [0; 16 + TAG_LEN];
                    keys.seal(number, aad, b"sixteen bytes ok", &mut out);
                    entries.push((format!("{suite:?} {role:?} lane {lane} epoch {epoch}"), out.to_vec()));
                    keys.on_acked(number);
                    keys.update_send(NOW, number + 1);
                }
                let header = Header::new(Kind::BulkPlain, 0, LaneId(7), 5);
                let prefix = BulkPrefix::new(header, StreamId(1), 1 << 20, 16);
                let tag = keys.plain_tag(5, bytemuck::bytes_of(&prefix), b"sixteen bytes ok");
                entries.push((format!("{suite:?} {role:?} lane {lane} plain"), tag.to_vec()));
            }
        }
    }
    // No two of them are equal, but for the plain checksums, which know no cipher.
    let mut sealed: Vec<_> = entries.iter().filter(|(name, _)| !name.contains("plain")).collect();
    sealed.sort_by(|a, b| a.1.cmp(&b.1));
    assert!(sealed.windows(2).all(|pair| pair[0].1 != pair[1].1));
    compare("sealed.hex", &entries);
}
