//! Whole handshakes in memory, honest and not.

use core::net::SocketAddr;
use core::time::Duration;

use proptest::prelude::*;

use super::mac::MacKey;
use super::noise::{MESSAGE_1_LEN, MESSAGE_2_LEN, Noise, Pattern, Prologue};
use super::params::PAYLOAD_LEN;
use super::wire::REPLY_LEN;
use super::*;
use crate::keys::LaneKeys;
use crate::{Random, Time};

/// Not random at all, but different for each seed.
struct Seeded(u64);

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            *byte = (self.0 >> 56) as u8;
        }
    }
}

/// What the acceptor of a test knows.
#[derive(Default)]
struct Book {
    psk: Option<(PublicKey, [u8; 32])>,
    ticket: Option<(TicketId, [u8; 32])>,
    friends: Vec<MutualKey>,
}

impl Directory for Book {
    fn psk(&self, peer: &PublicKey) -> Option<Psk> {
        self.psk.filter(|(known, _)| known == peer).map(|(_, psk)| Psk::new(psk))
    }

    fn ticket(&self, id: &TicketId) -> Option<Psk> {
        self.ticket.filter(|(known, _)| known == id).map(|(_, secret)| Psk::new(secret))
    }

    fn knows(&self, introduction: &Introduction) -> bool {
        self.friends.iter().any(|key| introduction.is_by(key))
    }
}

fn params() -> Params {
    Params {
        version: PARAMS_VERSION,
        plain_ok: false,
        mtu_max: 1500,
        staging_credit: 1 << 24,
        lanes_max: 2,
        max_ack_delay_us: 25_000,
        has_aes: true,
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn at(millis: u64) -> Time {
    Time::from_nanos(millis * 1_000_000)
}

struct Pair {
    alice: StaticSecret,
    rng: Seeded,
    acceptor: Acceptor,
    book: Book,
    out: Vec<u8>,
}

impl Pair {
    fn new(seed: u64) -> Self {
        let mut rng = Seeded(seed);
        let alice = StaticSecret::generate(&mut rng);
        let local = StaticSecret::generate(&mut rng);
        let config = AcceptorConfig { local, params: params(), cookie_threshold: 100 };
        let acceptor = Acceptor::new(config, at(0), &mut rng);
        Self { alice, rng, acceptor, book: Book::default(), out: Vec::new() }
    }

    fn bob(&self) -> PublicKey {
        self.acceptor.local()
    }

    fn open(&mut self, credential: Credential) -> Initiator {
        let remote = self.bob();
        self.open_to(remote, credential)
    }

    fn open_to(&mut self, remote: PublicKey, credential: Credential) -> Initiator {
        let config =
            InitiatorConfig { local: &self.alice, remote, credential, params: params(), lane: LaneId(77) };
        Initiator::new(config, at(0), &mut self.rng).unwrap()
    }

    fn hello(&mut self, millis: u64, datagram: &[u8]) -> Accept {
        self.hello_from(millis, datagram, address(4000))
    }

    fn hello_from(&mut self, millis: u64, datagram: &[u8], from: SocketAddr) -> Accept {
        let incoming = Incoming { from, datagram, lane: LaneId(99) };
        self.acceptor.handle_hello(at(millis), incoming, &self.book, &mut self.rng, &mut self.out)
    }
}

fn established(accept: Accept) -> Established {
    match accept {
        Accept::Established(established) => *established,
        other => panic!("{other:?}"),
    }
}

fn done(progress: Result<Progress, HandshakeDrop>) -> Established {
    match progress {
        Ok(Progress::Done(established)) => *established,
        other => panic!("{other:?}"),
    }
}

fn dropped(accept: &Accept) -> HandshakeDrop {
    match accept {
        Accept::Drop(reason) => *reason,
        other => panic!("{other:?}"),
    }
}

/// Both ends agree about everything, and packets pass both ways.
fn assert_matching(a: &Established, b: &Established) {
    assert_eq!((a.role, b.role), (Role::Initiator, Role::Responder));
    assert_eq!((a.local_lane, a.remote_lane), (b.remote_lane, b.local_lane));
    assert_eq!(a.suite, b.suite);
    assert_eq!(a.ticket, b.ticket);
    assert_eq!(a.secrets.handshake_hash(), b.secrets.handshake_hash());
    let mut left = LaneKeys::new(&a.secrets, 0, a.role, a.suite, at(0));
    let mut right = LaneKeys::new(&b.secrets, 0, b.role, b.suite, at(0));
    for (from, to) in [(0, 1), (1, 0)] {
        let [sender, receiver] = if from < to { [&mut left, &mut right] } else { [&mut right, &mut left] };
        let (mut sealed, mut opened) = ([0; 21], [0; 5]);
        sender.seal(7, b"header", b"hello", &mut sealed);
        receiver.open(at(0), 0, 7, b"header", &sealed, &mut opened).unwrap();
        assert_eq!(&opened, b"hello");
    }
}

/// Runs a handshake with what the initiator has and what the acceptor's book says.
fn run(book: impl FnOnce(PublicKey) -> Book, credential: Credential) -> (Established, Established) {
    let mut pair = Pair::new(1);
    pair.book = book(pair.alice.public());
    let mut initiator = pair.open(credential);
    let b = established(pair.hello(1, initiator.packet()));
    assert_eq!(b.peer, pair.alice.public());
    let a = done(initiator.handle(at(2), &pair.out));
    assert_eq!(a.peer, pair.bob());
    assert_eq!(initiator.next_deadline(), None);
    assert_eq!(initiator.handle(at(3), &pair.out).unwrap_err(), HandshakeDrop::Finished);
    (a, b)
}

#[test]
fn with_and_without_a_shared_key() {
    let (a, b) = run(|_| Book::default(), Credential::None);
    assert_matching(&a, &b);
    assert_eq!(a.suite, Suite::Aes256Gcm);
    assert_eq!((a.peer_params, b.peer_params), (params(), params()));
    let psk = [5; 32];
    let (a, b) =
        run(|alice| Book { psk: Some((alice, psk)), ..Book::default() }, Credential::Psk(Psk::new(psk)));
    assert_matching(&a, &b);
}

#[test]
fn by_ticket() {
    let (id, secret) = (TicketId([3; 16]), [9; 32]);
    let ticket = Ticket { id, secret: Psk::new(secret) };
    let (a, b) = run(|_| Book { ticket: Some((id, secret)), ..Book::default() }, Credential::Ticket(ticket));
    assert_matching(&a, &b);
    assert_eq!(b.ticket, Some(id));
}

#[test]
fn the_suite_is_one_that_both_cpus_are_good_at() {
    for (ours, theirs) in [(true, false), (false, true), (false, false)] {
        let mut pair = Pair::new(8);
        pair.acceptor.set_params(Params { has_aes: theirs, ..params() });
        let config = InitiatorConfig {
            local: &pair.alice,
            remote: pair.bob(),
            credential: Credential::None,
            params: Params { has_aes: ours, ..params() },
            lane: LaneId(77),
        };
        let mut initiator = Initiator::new(config, at(0), &mut pair.rng).unwrap();
        let b = established(pair.hello(1, initiator.packet()));
        let a = done(initiator.handle(at(2), &pair.out));
        assert_eq!(a.suite, Suite::ChaCha20Poly1305);
        assert_matching(&a, &b);
    }
}

#[cfg(feature = "testing")]
#[test]
fn the_null_suite_is_for_simulations() {
    let mut pair = Pair::new(8);
    pair.acceptor = pair.acceptor.with_null_cipher();
    let mut initiator = pair.open(Credential::None);
    let b = established(pair.hello(1, initiator.packet()));
    let a = done(initiator.handle(at(2), &pair.out));
    assert_eq!(a.suite, Suite::Null);
    assert_matching(&a, &b);
}

#[test]
fn with_a_wrong_shared_key_the_initiator_never_gets_there() {
    let mut pair = Pair::new(2);
    pair.book.psk = Some((pair.alice.public(), [1; 32]));
    for credential in [Credential::None, Credential::Psk(Psk::new([2; 32]))] {
        let mut initiator = pair.open(credential);
        // Half-open only: the two ends' secrets differ.
        assert!(matches!(pair.hello(1, initiator.packet()), Accept::Established(_)));
        assert_eq!(initiator.handle(at(2), &pair.out).unwrap_err(), HandshakeDrop::Noise);
        assert!(initiator.next_deadline().is_some());
    }
}

#[test]
fn wrong_tickets_get_no_answer() {
    let mut pair = Pair::new(3);
    let id = TicketId([1; 16]);
    let ticket = |id, secret| Credential::Ticket(Ticket { id, secret: Psk::new(secret) });
    pair.book.ticket = Some((id, [1; 32]));
    for (credential, reason) in [
        (ticket(id, [2; 32]), HandshakeDrop::Noise),
        (ticket(TicketId([2; 16]), [1; 32]), HandshakeDrop::Ticket),
        // A ticket of this name cannot be told from none.
        (ticket(TicketId::NONE, [1; 32]), HandshakeDrop::Ticket),
    ] {
        let initiator = pair.open(credential);
        assert_eq!(dropped(&pair.hello(1, initiator.packet())), reason);
        assert!(pair.out.is_empty());
    }
    assert_eq!(pair.acceptor.recent(), 0);
}

#[test]
fn a_wrong_responder_key_gets_no_answer() {
    let mut pair = Pair::new(4);
    let stranger = StaticSecret::generate(&mut pair.rng).public();
    let initiator = pair.open_to(stranger, Credential::None);
    assert_eq!(dropped(&pair.hello(1, initiator.packet())), HandshakeDrop::Mac);
    // Nor does a MAC made with the true key help.
    let mut datagram = initiator.packet().to_vec();
    MacKey::hello(&pair.bob()).sign(&mut datagram);
    assert_eq!(dropped(&pair.hello(1, &datagram)), HandshakeDrop::Noise);
}

#[test]
fn keys_of_low_order_are_refused() {
    let mut pair = Pair::new(5);
    let mut one = [0; 32];
    one[0] = 1;
    for low in [[0; 32], one] {
        let config = InitiatorConfig {
            local: &pair.alice,
            remote: PublicKey(low),
            credential: Credential::None,
            params: params(),
            lane: LaneId(1),
        };
        assert_eq!(Initiator::new(config, at(0), &mut pair.rng).err(), Some(InitiateError::RemoteKey));
        // As an ephemeral key, by someone who goes to the trouble of a right MAC.
        let mut datagram = pair.open(Credential::None).packet().to_vec();
        datagram[48..80].copy_from_slice(&low);
        MacKey::hello(&pair.bob()).sign(&mut datagram);
        assert_eq!(dropped(&pair.hello(1, &datagram)), HandshakeDrop::Noise);
    }
}

#[test]
fn no_damaged_hello_opens_a_session() {
    let mut pair = Pair::new(6);
    let good = pair.open(Credential::None).packet().to_vec();
    let key = MacKey::hello(&pair.bob());
    for position in 0..good.len() {
        // No faster than handshakes may fail.
        let millis = 20 * position as u64;
        for bit in [0x01, 0x80] {
            let mut bad = good.clone();
            bad[position] ^= bit;
            assert!(matches!(pair.hello(millis, &bad), Accept::Drop(_) | Accept::Versions), "{position}");
            // And by someone who knows the public key. Only cookie and introduction may differ.
            key.sign(&mut bad);
            let accept = pair.hello(millis, &bad);
            let harmless = [32..48, 208..224].iter().any(|part| part.contains(&position));
            let harmless = harmless || position >= good.len() - 16;
            match accept {
                Accept::Drop(_) | Accept::Versions => {}
                Accept::Established(_) | Accept::Repeated if harmless => {}
                other => panic!("{position}: {other:?}"),
            }
        }
    }
    for length in [0, 1, 3, 4, 15, 16, 47, 48, 208, good.len() - 1] {
        assert!(matches!(pair.hello(30_000, &good[..length]), Accept::Drop(_)));
    }
    assert_eq!(dropped(&pair.hello(30_000, &[&good[..], &[0]].concat())), HandshakeDrop::Length);
}

#[test]
fn no_damaged_reply_opens_a_session_or_spoils_it() {
    let mut pair = Pair::new(7);
    let mut initiator = pair.open(Credential::None);
    let b = established(pair.hello(1, initiator.packet()));
    let good = pair.out.clone();
    let key = MacKey::reply(&pair.alice.public());
    for position in 0..good.len() {
        let mut bad = good.clone();
        bad[position] ^= 0x10;
        assert!(initiator.handle(at(2), &bad).is_err(), "{position}");
        key.sign(&mut bad);
        if position < good.len() - 16 {
            assert!(initiator.handle(at(2), &bad).is_err(), "{position}");
        }
        assert!(initiator.handle(at(2), &good[..position]).is_err(), "{position}");
    }
    assert_matching(&done(initiator.handle(at(3), &good)), &b);
}

#[test]
fn a_repeated_hello_gets_the_same_reply_for_a_while() {
    let mut pair = Pair::new(9);
    let mut initiator = pair.open(Credential::None);
    let first = initiator.packet().to_vec();
    let b = established(pair.hello(0, &first));
    let reply = pair.out.clone();
    assert!(!initiator.on_timeout(at(249)));
    assert!(initiator.on_timeout(at(250)));
    assert_eq!(initiator.packet(), &first[..]);
    // Even from elsewhere: the answer is as good or bad as the first.
    assert!(matches!(pair.hello_from(250, &first, address(9)), Accept::Repeated));
    assert_eq!(pair.out, reply);
    assert_eq!(pair.acceptor.recent(), 1);
    assert_matching(&done(initiator.handle(at(251), &reply)), &b);
    // Later it is answered anew, with other secrets: a new half-open session and no more.
    let again = established(pair.hello(10_001, &first));
    assert_ne!(again.secrets.handshake_hash(), b.secrets.handshake_hash());
    assert_eq!(pair.acceptor.recent(), 1);
}

#[test]
fn time_outs_double_up_to_three_seconds() {
    let mut pair = Pair::new(10);
    let mut initiator = pair.open(Credential::None);
    let mut now = at(0);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let deadline = initiator.next_deadline().unwrap();
        waits.push((deadline.as_nanos() - now.as_nanos()) / 1_000_000);
        now = deadline;
        assert!(initiator.on_timeout(now));
        assert!(!initiator.on_timeout(now));
    }
    assert_eq!(waits, [250, 500, 1000, 2000, 3000, 3000, 3000]);
}

fn cookie_retry(initiator: &mut Initiator, millis: u64, packet: &[u8]) {
    assert!(matches!(initiator.handle(at(millis), packet), Ok(Progress::CookieRetry)));
}

#[test]
fn under_load_a_cookie_is_demanded() {
    let mut pair = Pair::new(11);
    pair.acceptor.set_under_load(true);
    let mut initiator = pair.open(Credential::None);
    let bare = initiator.packet().to_vec();
    assert!(matches!(pair.hello(0, &bare), Accept::Cookie));
    assert_eq!(pair.acceptor.recent(), 0);
    let cookie = pair.out.clone();
    for position in 0..cookie.len() {
        let mut bad = cookie.clone();
        bad[position] ^= 4;
        assert!(initiator.handle(at(1), &bad).is_err(), "{position}");
    }
    // Another initiator cannot use it.
    assert_eq!(pair.open(Credential::None).handle(at(1), &cookie).unwrap_err(), HandshakeDrop::Echo);
    cookie_retry(&mut initiator, 1, &cookie);
    assert_eq!(initiator.handle(at(1), &cookie).unwrap_err(), HandshakeDrop::Echo);
    let with_cookie = initiator.packet().to_vec();
    assert_eq!(&with_cookie[48..48 + MESSAGE_1_LEN], &bare[48..48 + MESSAGE_1_LEN]);

    // From another address it is no good; from its own it is, up to four minutes later.
    assert!(matches!(pair.hello_from(2, &with_cookie, address(4001)), Accept::Cookie));
    assert!(matches!(
        pair.hello_from(2, &with_cookie, "[2001:db8::1]:4000".parse().unwrap()),
        Accept::Cookie
    ));
    let mapped = "[::ffff:192.0.2.1]:4000".parse().unwrap();
    let b = established(pair.hello_from(119_000, &with_cookie, mapped));
    assert_matching(&done(initiator.handle(at(119_001), &pair.out)), &b);
    assert!(matches!(pair.hello(140_000, &with_cookie), Accept::Established(_)));
    assert!(matches!(pair.hello(261_000, &with_cookie), Accept::Cookie));
}

#[test]
fn many_new_sessions_are_load() {
    let mut pair = Pair::new(12);
    for _ in 0..100 {
        let initiator = pair.open(Credential::None);
        assert!(matches!(pair.hello(0, initiator.packet()), Accept::Established(_)));
    }
    let mut initiator = pair.open(Credential::None);
    assert!(matches!(pair.hello(1, initiator.packet()), Accept::Cookie));
    cookie_retry(&mut initiator, 2, &pair.out.clone());
    assert!(matches!(pair.hello(3, initiator.packet()), Accept::Established(_)));
    assert_eq!(pair.acceptor.recent(), 101);
    // Ten seconds later all is quiet.
    let initiator = pair.open(Credential::None);
    assert!(matches!(pair.hello(10_003, initiator.packet()), Accept::Established(_)));
    assert_eq!(pair.acceptor.recent(), 1);
}

/// A HELLO that passes the MAC, with garbage behind its ephemeral key.
fn garbage(pair: &mut Pair, number: u32) -> Vec<u8> {
    let mut packet = pair.open(Credential::None).packet().to_vec();
    packet[48 + 60..][..4].copy_from_slice(&number.to_le_bytes());
    MacKey::hello(&pair.bob()).sign(&mut packet);
    packet
}

#[test]
fn handshakes_that_fail_are_load_as_well() {
    let mut pair = Pair::new(17);
    pair.book.friends = MutualKey::new(&pair.alice, &pair.bob()).into_iter().collect();
    // Those of a friend's introduction would be let in: these are a stranger's.
    let friend = std::mem::replace(&mut pair.alice, StaticSecret::generate(&mut Seeded(18)));
    let (mut failed, mut cookies) = (0, 0);
    for number in 0..2000 {
        let packet = garbage(&mut pair, number);
        match pair.hello(u64::from(number) / 2, &packet) {
            Accept::Drop(HandshakeDrop::Noise) => failed += 1,
            Accept::Cookie => cookies += 1,
            other => panic!("{other:?}"),
        }
    }
    // What was saved up, and what a second gives.
    assert!((190..=201).contains(&failed) && failed + cookies == 2000, "{failed} {cookies}");
    // Real addresses do not help: with cookies as many again. (What was saved up since is used first.)
    let packet = garbage(&mut pair, 0);
    while !matches!(pair.hello(1000, &packet), Accept::Cookie) {}
    let mut initiator = pair.open(Credential::None);
    assert!(matches!(pair.hello(1000, initiator.packet()), Accept::Cookie));
    cookie_retry(&mut initiator, 1000, &pair.out.clone());
    let cookie = initiator.packet()[32..48].to_vec();
    let with_cookies = (0..2000).filter(|&number| {
        let mut packet = garbage(&mut pair, number);
        packet[32..48].copy_from_slice(&cookie);
        MacKey::hello(&pair.bob()).sign(&mut packet);
        matches!(pair.hello(1000, &packet), Accept::Drop(HandshakeDrop::Noise))
    });
    let with_cookies = with_cookies.count();
    assert!((50..=101).contains(&with_cookies), "{with_cookies}");
    // Nor do guesses at the secret of a ticket.
    let id = TicketId([7; 16]);
    pair.book.ticket = Some((id, [8; 32]));
    let guesses = (0..=255).filter(|&guess| {
        let secret = Psk::new([guess; 32]);
        let initiator = pair.open(Credential::Ticket(Ticket { id, secret }));
        match pair.hello(1001, initiator.packet()) {
            Accept::Established(_) => guess != 8,
            Accept::Cookie => false,
            _ => true,
        }
    });
    assert!(guesses.count() <= 1);
    // Meanwhile a friend is let in, and a stranger as before once it is quiet.
    pair.alice = friend;
    let initiator = pair.open(Credential::None);
    assert!(matches!(pair.hello(1001, initiator.packet()), Accept::Established(_)));
    pair.alice = StaticSecret::generate(&mut Seeded(19));
    let initiator = pair.open(Credential::None);
    assert!(matches!(pair.hello(2001, initiator.packet()), Accept::Established(_)));
}

#[test]
fn who_is_known_is_let_in_whatever_the_load() {
    let mut pair = Pair::new(14);
    pair.acceptor.set_under_load(true);
    // What the two share is the same from either side.
    let keys = [PublicKey([9; 32]), pair.bob()];
    pair.book.friends = keys.iter().filter_map(|key| MutualKey::new(&pair.alice, key)).collect();
    for millis in 0..200 {
        let mut initiator = pair.open(Credential::None);
        let b = established(pair.hello(millis, initiator.packet()));
        assert_matching(&done(initiator.handle(at(millis), &pair.out)), &b);
    }
    // Damaged or missing, an introduction is none, and its sender a stranger.
    for (offset, byte) in [(0, 1), (15, 128)] {
        let initiator = pair.open(Credential::None);
        let mut packet = initiator.packet().to_vec();
        packet[48 + MESSAGE_1_LEN + offset] ^= byte;
        MacKey::hello(&pair.bob()).sign(&mut packet);
        assert!(matches!(pair.hello(201, &packet), Accept::Cookie));
        packet[48 + MESSAGE_1_LEN..][..16].fill(0);
        MacKey::hello(&pair.bob()).sign(&mut packet);
        assert!(matches!(pair.hello(201, &packet), Accept::Cookie));
    }
    // Even friends have their limit: then they are asked for cookies.
    let accepts: Vec<Accept> = (0..2000)
        .map(|_| {
            let initiator = pair.open(Credential::None);
            pair.hello(202, initiator.packet())
        })
        .collect();
    let let_in = accepts.iter().filter(|accept| matches!(accept, Accept::Established(_))).count();
    assert!((800..=1000).contains(&let_in), "{let_in}");
}

#[test]
fn the_holder_of_a_ticket_is_let_in_whatever_the_load() {
    let mut pair = Pair::new(15);
    pair.acceptor.set_under_load(true);
    let (id, secret) = (TicketId([7; 16]), [8; 32]);
    pair.book.ticket = Some((id, secret));
    let ticket = Ticket { id, secret: Psk::new(secret) };
    let initiator = pair.open(Credential::Ticket(ticket.clone()));
    assert!(matches!(pair.hello(0, initiator.packet()), Accept::Established(_)));
    // Who has only seen its id on the way is not.
    let initiator = pair.open(Credential::Ticket(Ticket { secret: Psk::new([1; 32]), ..ticket }));
    assert!(matches!(pair.hello(1, initiator.packet()), Accept::Cookie));
}

#[test]
fn strangers_with_cookies_get_a_hundred_handshakes_a_second_and_ten_thousand_cookies() {
    let mut pair = Pair::new(16);
    pair.acceptor.set_under_load(true);
    let mut let_in = 0;
    for port in 0..300 {
        let mut initiator = pair.open(Credential::None);
        assert!(matches!(pair.hello_from(0, initiator.packet(), address(port)), Accept::Cookie));
        cookie_retry(&mut initiator, 0, &pair.out.clone());
        match pair.hello_from(0, initiator.packet(), address(port)) {
            Accept::Established(_) => let_in += 1,
            accept => assert_eq!(dropped(&accept), HandshakeDrop::Busy),
        }
    }
    assert_eq!(let_in, 100);
    let initiator = pair.open(Credential::None);
    let cookies = (0..12_000).filter(|_| matches!(pair.hello(1, initiator.packet()), Accept::Cookie)).count();
    assert!((9_500..=10_000).contains(&cookies), "{cookies}");
}

#[test]
fn endless_cookies_do_not_make_a_storm() {
    let mut pair = Pair::new(13);
    pair.acceptor.set_under_load(true);
    let mut initiator = pair.open(Credential::None);
    let mut retries = 0;
    for port in 0..20 {
        // An initiator whose address changes with each packet.
        assert!(matches!(pair.hello_from(0, initiator.packet(), address(port)), Accept::Cookie));
        retries += u32::from(initiator.handle(at(0), &pair.out).is_ok());
    }
    assert_eq!(retries, 4);
    assert!(initiator.on_timeout(at(250)));
    cookie_retry(&mut initiator, 251, &pair.out.clone());
}

#[test]
fn other_versions_are_told_ours_within_reason() {
    let mut pair = Pair::new(14);
    let mut initiator = pair.open(Credential::None);
    let mut foreign = initiator.packet().to_vec();
    foreign[0] = 2 << 4 | 8;
    assert!(is_hello(&foreign));
    assert!(matches!(pair.hello(0, &foreign), Accept::Versions));
    assert!(pair.out.len() <= foreign.len());
    // An initiator of our own version is not impressed by the name of that very version.
    assert_eq!(initiator.handle(at(1), &pair.out).unwrap_err(), HandshakeDrop::SameVersion);
    let mut theirs = pair.out.clone();
    theirs[13] = 2;
    match initiator.handle(at(1), &theirs) {
        Ok(Progress::VersionsMismatch(list)) => assert_eq!(list, [2]),
        other => panic!("{other:?}"),
    }
    theirs[12] = 16;
    assert_eq!(initiator.handle(at(1), &theirs).unwrap_err(), HandshakeDrop::Length);
    // Short packets and floods get nothing.
    assert_eq!(dropped(&pair.hello(0, &foreign[..1199])), HandshakeDrop::Version);
    let answered = (0..1000).filter(|_| matches!(pair.hello(0, &foreign), Accept::Versions)).count();
    assert_eq!(answered, 99);
    assert!(pair.acceptor.unknown_session(at(0), LaneId(5), 6).is_none());
    let hint = pair.acceptor.unknown_session(at(1000), LaneId(5), 6).unwrap();
    let hint = UnknownSession::parse(hint.as_bytes()).unwrap();
    assert_eq!((hint.lane(), hint.number()), (LaneId(5), 6));
}

#[test]
fn an_authentic_but_useless_reply_ends_the_handshake() {
    let mut pair = Pair::new(15);
    pair.acceptor.set_params(Params { lanes_max: 0, ..params() });
    let mut initiator = pair.open(Credential::None);
    let _ = established(pair.hello(0, initiator.packet()));
    assert!(matches!(initiator.handle(at(1), &pair.out), Ok(Progress::Incompatible)));
    assert_eq!(initiator.next_deadline(), None);
    assert!(!initiator.on_timeout(at(1000)));
}

#[test]
fn one_seed_gives_one_sequence_of_bytes() {
    let transcript = |seed| {
        let mut pair = Pair::new(seed);
        let initiator = pair.open(Credential::None);
        let _ = pair.hello(0, initiator.packet());
        (initiator.packet().to_vec(), pair.out)
    };
    assert_eq!(transcript(1), transcript(1));
    let (a, b) = (transcript(1), transcript(2));
    assert_ne!(a.0[48..80], b.0[48..80]);
    assert_ne!(a.1[8..40], b.1[8..40]);
}

#[test]
fn our_curve_and_randomness_make_standard_noise() {
    let mut rng = Seeded(16);
    let (alice, bob) = (StaticSecret::generate(&mut rng), StaticSecret::generate(&mut rng));
    let prologue = Prologue { pattern: Pattern::Ikpsk2, lane: LaneId(4), ticket: TicketId::NONE };
    // The other end is snow with everything its own.
    let bytes = prologue.encode();
    let mut theirs = snow::Builder::new("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s".parse().unwrap())
        .local_private_key(bob.as_bytes())
        .unwrap()
        .prologue(&bytes)
        .unwrap()
        .psk(2, &[8; 32])
        .unwrap()
        .build_responder()
        .unwrap();
    let mut ours = Noise::initiator(&prologue, &alice, &bob.public(), &Psk::new([8; 32]), &mut rng).unwrap();
    let (mut one, mut two, mut payload) = ([0; MESSAGE_1_LEN], [0; MESSAGE_2_LEN], [0; PAYLOAD_LEN]);
    ours.write(&[1; PAYLOAD_LEN], &mut one).unwrap();
    assert_eq!(theirs.read_message(&one, &mut payload), Ok(PAYLOAD_LEN));
    assert_eq!(theirs.get_remote_static(), Some(&alice.public().0[..]));
    assert_eq!(theirs.write_message(&[2; PAYLOAD_LEN], &mut two), Ok(MESSAGE_2_LEN));
    assert_eq!(ours.read(&two), Ok([2; PAYLOAD_LEN]));
    let secrets = ours.finish().unwrap();
    assert_eq!(&secrets.handshake_hash()[..], theirs.get_handshake_hash());
    let (left, right) = theirs.dangerously_get_raw_split();
    let theirs = SessionSecrets::new(left, right, *secrets.handshake_hash());
    let suite = Suite::ChaCha20Poly1305;
    let mut opened = [0; 1];
    let mut sealed = [0; 17];
    LaneKeys::new(&theirs, 1, Role::Responder, suite, at(0)).seal(0, &[], &[7], &mut sealed);
    LaneKeys::new(&secrets, 1, Role::Initiator, suite, at(0))
        .open(at(0), 0, 0, &[], &sealed, &mut opened)
        .unwrap();
    assert_eq!(opened, [7]);
}

#[test]
fn an_unfinished_handshake_has_no_secrets() {
    let mut pair = Pair::new(17);
    let prologue = Prologue { pattern: Pattern::Ikpsk2, lane: LaneId(4), ticket: TicketId::NONE };
    let remote = pair.bob();
    let mut noise = Noise::initiator(&prologue, &pair.alice, &remote, &Psk::NONE, &mut pair.rng).unwrap();
    noise.write(&[0; PAYLOAD_LEN], &mut [0; MESSAGE_1_LEN]).unwrap();
    assert!(noise.finish().is_none());
}

#[test]
fn secrets_do_not_show_in_debug_output() {
    let (a, _) = run(|_| Book::default(), Credential::Psk(Psk::NONE));
    let shown =
        format!("{:?} {:?} {:?}", a.secrets, Psk::new([0xab; 32]), StaticSecret::from_bytes([0xcd; 32]));
    assert!(!shown.contains("171") && !shown.contains("205"), "{shown}");
}

proptest! {
    #[test]
    fn no_bytes_make_a_panic(
        mut bytes in prop::collection::vec(any::<u8>(), 0..1300),
        kind in 7_u8..14,
        length in prop::sample::select(vec![0, 16, 28, 56, REPLY_LEN, HELLO_LEN, 5000]),
        sign in any::<bool>(),
    ) {
        let mut pair = Pair::new(18);
        if length < 5000 {
            bytes.resize(length, 0);
        }
        if let Some(first) = bytes.first_mut() {
            *first = 1 << 4 | kind;
        }
        if sign && bytes.len() > 16 {
            bytes[1..8].copy_from_slice(b"\0\0\0udpx");
            MacKey::hello(&pair.bob()).sign(&mut bytes);
        }
        let mut initiator = pair.open(Credential::None);
        let accept = pair.hello(0, &bytes);
        prop_assert!(matches!(accept, Accept::Drop(_)));
        let progress = initiator.handle(at(0), &bytes);
        prop_assert!(progress.is_err() || matches!(progress, Ok(Progress::VersionsMismatch(_))));
        let _ = UnknownSession::parse(&bytes);
    }
}

#[test]
fn a_long_silence_leaves_no_old_cookie() {
    let mut pair = Pair::new(19);
    pair.acceptor.set_under_load(true);
    let mut initiator = pair.open(Credential::None);
    assert!(matches!(pair.hello(0, initiator.packet()), Accept::Cookie));
    cookie_retry(&mut initiator, 1, &pair.out.clone());
    let day = u64::try_from(Duration::from_secs(86_400).as_millis()).unwrap();
    assert!(matches!(pair.hello(day, initiator.packet()), Accept::Cookie));
}
