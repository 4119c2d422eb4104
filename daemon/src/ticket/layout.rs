//! The bytes of a ticket (TICKETS.md 2), and how they are read without trusting any of them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, UNIX_EPOCH};

use udpx_proto::handshake::{PublicKey, TicketId};
use zeroize::Zeroizing;

use super::{ADDRESSES_MAX, Gives, PREFIX, Purpose, SECRET_BYTES, Secret, Ticket, TicketError, base32};

/// The layout that this file knows.
const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 4;
/// Version, length, purpose, flags, id, secret, key, checksum.
const BYTES_MIN: usize = 4 + 16 + SECRET_BYTES + 32 + CHECKSUM_BYTES;
/// The length is one byte.
const BYTES_MAX: usize = u8::MAX as usize;
/// The domain of the checksum.
const CHECKSUM: &str = "udpx v1 ticket checksum";

const READ: u8 = 1;
const WRITE: u8 = 2;
const LIST: u8 = 4;
const ONCE: u8 = 8;
const EXPIRES: u8 = 16;
const FLAGS: u8 = READ | WRITE | LIST | ONCE | EXPIRES;

const IPV4: u8 = 4;
const IPV6: u8 = 6;

// All addresses of a ticket fit, whatever they are.
const _: () = assert!(BYTES_MIN + 8 + 1 + ADDRESSES_MAX * 19 <= BYTES_MAX);

pub(super) fn text(ticket: &Ticket) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX));
    let flags = [
        (ticket.gives.read, READ),
        (ticket.gives.write, WRITE),
        (ticket.gives.list, LIST),
        (ticket.gives.once, ONCE),
        (ticket.expires.is_some(), EXPIRES),
    ];
    let flags = flags.into_iter().fold(0, |flags, (set, flag)| if set { flags | flag } else { flags });
    bytes.extend([VERSION, 0, purpose_byte(ticket.purpose), flags]);
    bytes.extend(ticket.id.0);
    bytes.extend(ticket.secret.0);
    bytes.extend(ticket.key.0);
    if let Some(expires) = ticket.expires {
        bytes.extend(super::unix_seconds(expires).to_le_bytes());
    }
    for address in ticket.addresses.iter().take(ADDRESSES_MAX) {
        match address.ip() {
            IpAddr::V4(ip) => {
                bytes.push(IPV4);
                bytes.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                bytes.push(IPV6);
                bytes.extend(ip.octets());
            }
        }
        bytes.extend(address.port().to_le_bytes());
    }
    bytes[1] = (bytes.len() + CHECKSUM_BYTES) as u8;
    let sum = checksum(&bytes);
    bytes.extend(sum);
    let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + base32::len(BYTES_MAX)));
    text.push_str(PREFIX);
    base32::encode(&bytes, &mut text);
    text
}

pub(super) fn parse(text: &str) -> Result<Ticket, TicketError> {
    let bytes = decode(text)?;
    let (body, sum) = bytes.split_at(bytes.len() - CHECKSUM_BYTES);
    if checksum(body) != sum {
        return Err(TicketError::Mistyped);
    }
    let mut reader = Reader(body);
    let [version, _, purpose, flags] = reader.array()?;
    // What a later version means by the rest is not known here.
    if version != VERSION || flags & !FLAGS != 0 {
        return Err(TicketError::Newer(version.max(VERSION + 1)));
    }
    let purpose = purpose_of(purpose).ok_or(TicketError::Newer(VERSION + 1))?;
    let id = TicketId(reader.array()?);
    let secret = Secret(reader.array()?);
    let key = PublicKey(reader.array()?);
    let expires = match flags & EXPIRES {
        0 => None,
        _ => {
            let seconds = Duration::from_secs(u64::from_le_bytes(reader.array()?));
            Some(
                UNIX_EPOCH
                    .checked_add(seconds)
                    .ok_or(TicketError::Nonsense("it expires after the end of time"))?,
            )
        }
    };
    let mut addresses = Vec::new();
    while !reader.0.is_empty() {
        addresses.push(address(&mut reader)?);
    }
    if id == TicketId::NONE {
        return Err(TicketError::Nonsense("it has no id"));
    }
    if addresses.is_empty() || addresses.len() > ADDRESSES_MAX {
        return Err(TicketError::Nonsense("it has no address, or too many"));
    }
    let has = |flag| flags & flag != 0;
    let gives = Gives { read: has(READ), write: has(WRITE), list: has(LIST), once: has(ONCE) };
    Ok(Ticket { id, secret, key, addresses, expires, purpose, gives })
}

/// The bytes of a text that begins as it should and has the length that it says; no more is known of them.
fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, TicketError> {
    let mut values = Zeroizing::new(Vec::with_capacity(base32::len(BYTES_MAX)));
    let mut prefix = PREFIX.chars();
    // What follows a ticket of any length is not read at all.
    let letters = text.chars().filter(|letter| !letter.is_ascii_whitespace()).take(LETTERS_MAX);
    for (at, letter) in letters.enumerate() {
        match prefix.next() {
            Some(expected) if letter.to_ascii_lowercase() == expected => {}
            Some(_) => return Err(TicketError::NoTicket),
            None => match base32::value(letter) {
                Some(value) => values.push(value),
                None => return Err(TicketError::Character { at: at + 1, found: letter }),
            },
        }
    }
    if prefix.next().is_some() {
        return Err(TicketError::NoTicket);
    }
    let (bytes, rest) = base32::decode(&values);
    let expected = bytes.get(1).map_or(BYTES_MIN, |&length| usize::from(length));
    let (found, expected) = (PREFIX.len() + values.len(), PREFIX.len() + base32::len(expected));
    match found.cmp(&expected) {
        std::cmp::Ordering::Less => Err(TicketError::CutOff { found, expected }),
        std::cmp::Ordering::Greater => Err(TicketError::TooLong { found, expected }),
        std::cmp::Ordering::Equal if rest != 0 || bytes.len() < BYTES_MIN => Err(TicketError::Mistyped),
        std::cmp::Ordering::Equal => Ok(bytes),
    }
}

/// One more than the longest ticket has.
const LETTERS_MAX: usize = PREFIX.len() + base32::len(BYTES_MAX) + 1;

fn address(reader: &mut Reader<'_>) -> Result<SocketAddr, TicketError> {
    let [family] = reader.array()?;
    let ip = match family {
        IPV4 => IpAddr::V4(Ipv4Addr::from(reader.array::<4>()?)),
        IPV6 => IpAddr::V6(Ipv6Addr::from(reader.array::<16>()?)),
        _ => return Err(TicketError::Newer(VERSION + 1)),
    };
    let port = u16::from_le_bytes(reader.array()?);
    if port == 0 || ip.is_unspecified() || ip.is_multicast() {
        return Err(TicketError::Nonsense("nobody can be at one of its addresses"));
    }
    Ok(SocketAddr::new(ip, port))
}

fn purpose_byte(purpose: Purpose) -> u8 {
    match purpose {
        Purpose::Receive => 1,
        Purpose::Serve => 2,
        Purpose::Invite => 3,
    }
}

fn purpose_of(byte: u8) -> Option<Purpose> {
    [Purpose::Receive, Purpose::Serve, Purpose::Invite]
        .into_iter()
        .find(|&purpose| purpose_byte(purpose) == byte)
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let [a, b, c, d, ..] = blake3::derive_key(CHECKSUM, body);
    [a, b, c, d]
}

/// What is left to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], TicketError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(TicketError::Nonsense("it ends too early"))?;
        self.0 = rest;
        Ok(*array)
    }
}
