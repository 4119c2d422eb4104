//! Tickets survive their text, and no text that is not one of ours becomes one.

use std::net::Ipv6Addr;

use proptest::prelude::*;

use super::*;

/// Counts up: the golden ticket needs bytes that are known.
struct Counting(u8);

impl Random for Counting {
    fn fill(&mut self, out: &mut [u8]) {
        out.iter_mut().for_each(|byte| {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        });
    }
}

fn ticket() -> Ticket {
    let gives = Gives { write: true, once: true, ..Gives::default() };
    let addresses = vec!["192.0.2.7:48379".parse().unwrap(), "[2001:db8::1]:4000".parse().unwrap()];
    let expires = Some(UNIX_EPOCH + Duration::from_secs(1_767_225_600));
    Ticket::new(PublicKey([7; 32]), addresses, expires, Purpose::Receive, gives, &mut Counting(0))
}

/// The same as in `docs/TICKETS.md`: what was printed once must be read for ever.
const GOLDEN: &str = include_str!("golden.txt");

#[test]
fn the_line_of_version_1_stays_as_it_is() {
    assert_eq!(ticket().text().as_str(), GOLDEN.trim());
    assert_eq!(Ticket::parse(GOLDEN), Ok(ticket()));
    let document = include_str!("../../../docs/TICKETS.md");
    assert!(document.contains(GOLDEN.trim()), "docs/TICKETS.md shows another one");
}

#[test]
fn a_line_may_be_broken_and_shouted() {
    let (head, tail) = GOLDEN.split_at(40);
    assert_eq!(Ticket::parse(&format!("  {head}\r\n\t{tail} \n").to_uppercase()), Ok(ticket()));
}

#[test]
fn what_is_wrong_is_named() {
    let good = GOLDEN.trim();
    let swapped = good.replace("cylrqgi", "cylrqgj");
    assert_ne!(swapped, good);
    let expected = good.len();
    let table = [
        ("", TicketError::NoTicket),
        ("udpx", TicketError::NoTicket),
        ("udpxk1", TicketError::NoTicket),
        (&good[..good.len() - 1], TicketError::CutOff { found: expected - 1, expected }),
        (&good[..20], TicketError::CutOff { found: 20, expected }),
        ("udpx1", TicketError::CutOff { found: 5, expected: PREFIX.len() + base32::len(72) }),
        (&format!("{good}a"), TicketError::TooLong { found: expected + 1, expected }),
        (&good.replacen('a', "1", 1), TicketError::Character { at: 6, found: '1' }),
        (&format!("{good}:x"), TicketError::Character { at: expected + 1, found: ':' }),
        (&swapped, TicketError::Mistyped),
    ];
    for (text, error) in table {
        assert_eq!(Ticket::parse(text), Err(error), "{text}");
    }
    for error in [TicketError::Mistyped, TicketError::Newer(2), TicketError::Nonsense("x")] {
        assert!(error.remedy().ends_with('.') && error.to_string().ends_with('.'));
    }
}

/// The text of `bytes` with a checksum that is right: what only another program would write.
fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Result<Ticket, TicketError> {
    let values: Vec<u8> = GOLDEN.trim()[5..].chars().map(|letter| base32::value(letter).unwrap()).collect();
    let mut bytes = base32::decode(&values).0.to_vec();
    bytes.truncate(bytes.len() - 4);
    change(&mut bytes);
    bytes[1] = (bytes.len() + 4) as u8;
    let sum: [u8; 32] = blake3::derive_key("udpx v1 ticket checksum", &bytes);
    bytes.extend(&sum[..4]);
    let mut text = PREFIX.to_owned();
    base32::encode(&bytes, &mut text);
    Ticket::parse(&text)
}

#[test]
fn later_versions_and_nonsense_are_told_apart() {
    assert_eq!(forged(|_| {}), Ok(ticket()));
    assert_eq!(forged(|bytes| bytes[0] = 9), Err(TicketError::Newer(9)));
    assert_eq!(forged(|bytes| bytes[2] = 200), Err(TicketError::Newer(2)));
    assert_eq!(forged(|bytes| bytes[3] |= 128), Err(TicketError::Newer(2)));
    assert_eq!(forged(|bytes| bytes[76] = 5), Err(TicketError::Newer(2)), "an address of another family");
    for change in [
        (|bytes| bytes[4..20].fill(0)) as fn(&mut Vec<u8>),
        |bytes| bytes.truncate(76),
        |bytes| bytes.truncate(80),
        |bytes| bytes[77..81].fill(0),
        |bytes| bytes[81..83].fill(0),
        |bytes| bytes[68..76].fill(255),
        |bytes| (0..8).for_each(|_| bytes.extend([4, 192, 0, 2, 1, 1, 1])),
    ] {
        assert!(matches!(forged(change), Err(TicketError::Nonsense(_))), "{:?}", forged(change));
    }
}

#[test]
fn only_what_looks_like_one_is_meant_as_one() {
    assert!(Ticket::is_meant(GOLDEN.trim()) && Ticket::is_meant(&GOLDEN.to_uppercase()));
    assert!(Ticket::is_meant(&GOLDEN[..32]));
    for host in
        ["udpx1", "udpx1-backup", "udpx1.storage.a-long-name-of-a-domain.example", "bob", "\u{e4}udpx1"]
    {
        assert!(!Ticket::is_meant(host), "{host}");
    }
}

#[test]
fn the_secret_is_shown_nowhere() {
    let shown = format!("{:?} {:?}", ticket(), ticket().credential());
    assert!(!shown.contains("17") && !shown.contains("18, 19"), "{shown}");
    let newest = Ticket::new(
        PublicKey([1; 32]),
        vec![SocketAddr::from((Ipv6Addr::LOCALHOST, 1)); 20],
        None,
        Purpose::Serve,
        Gives::default(),
        &mut crate::identity::OsRandom::open().unwrap(),
    );
    assert_eq!(newest.addresses.len(), ADDRESSES_MAX);
    assert_eq!(Ticket::parse(&newest.text()).as_ref(), Ok(&newest));
}

fn any_ticket() -> impl Strategy<Value = Ticket> {
    let address = (any::<std::net::IpAddr>(), 1..=u16::MAX)
        .prop_filter("somebody's", |(ip, _)| !ip.is_unspecified() && !ip.is_multicast())
        .prop_map(SocketAddr::from);
    let gives = any::<[bool; 4]>().prop_map(|[read, write, list, once]| Gives { read, write, list, once });
    let purpose = prop_oneof![Just(Purpose::Receive), Just(Purpose::Serve), Just(Purpose::Invite)];
    let addresses = prop::collection::vec(address, 1..=ADDRESSES_MAX);
    let expires = prop::option::of(0..i64::MAX as u64);
    (any::<[u8; 32]>(), any::<u8>(), addresses, expires, purpose, gives).prop_map(
        |(key, seed, addresses, expires, purpose, gives)| {
            let expires = expires.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
            Ticket::new(PublicKey(key), addresses, expires, purpose, gives, &mut Counting(seed))
        },
    )
}

proptest! {
    #[test]
    fn every_ticket_survives_its_text(ticket in any_ticket()) {
        let text = ticket.text();
        prop_assert!((132..=377).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric()));
        prop_assert_eq!(Ticket::parse(&text), Ok(ticket));
    }

    #[test]
    fn one_wrong_letter_is_noticed(ticket in any_ticket(), at in any::<prop::sample::Index>(), step in 1..32u8) {
        let mut letters: Vec<char> = ticket.text().chars().collect();
        let at = PREFIX.len() + at.index(letters.len() - PREFIX.len());
        let value = (base32::value(letters[at]).unwrap() + step) % 32;
        letters[at] = char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(value)]);
        prop_assert!(Ticket::parse(&letters.iter().collect::<String>()).is_err());
    }

    #[test]
    fn no_text_is_too_strange_to_be_refused(text in "\\PC{0,500}", tail in "[a-z2-7]{0,500}") {
        prop_assert!(Ticket::parse(&text).is_err());
        let close = format!("udpx1{tail}");
        prop_assert!(Ticket::parse(&close).is_err());
    }
}

#[test]
fn a_stub_of_a_ticket_is_told_from_a_host() {
    for stub in ["udpx1afvacgq", "UDPX1A", "udpx1afvacgqbaibqibiga4easc"] {
        assert!(Ticket::is_stub(stub) && !Ticket::is_meant(stub), "{stub}");
    }
    for host in ["udpx1", "udpx", "udpx10", "udpx1-lab", "udpx1a.example", "host", "", &"udpx1a".repeat(9)] {
        assert!(!Ticket::is_stub(host), "{host}");
    }
}
