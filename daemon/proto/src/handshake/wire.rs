//! Layouts of the handshake's packets (PROTOCOL.md, "Handshake").

use bytemuck::{Pod, Zeroable};

use super::HandshakeDrop;
use super::cookie::{COOKIE_LEN, NO_COOKIE, mask};
use super::identity::TicketId;
use super::mac::{MAC_LEN, MacKey};
use super::mutual::{INTRODUCTION_LEN, Introduction, MutualKey};
use super::noise::{MESSAGE_1_LEN, MESSAGE_2_LEN, Pattern, Prologue};
use crate::LaneId;
use crate::wire::header::{Kind, VERSION};
use crate::wire::le::{U32, U64};

/// Bytes of a HELLO: as much as the answers to it may have, and what every path must carry anyway.
pub const HELLO_LEN: usize = 1200;

/// Bytes of a REPLY.
pub(super) const REPLY_LEN: usize = size_of::<ReplyHead>() + MESSAGE_2_LEN + MAC_LEN;

const MAGIC: [u8; 4] = *b"udpx";

/// The first bytes of HELLO and VERSIONS, the same in every version of the protocol.
#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct Preamble {
    version_kind: u8,
    reserved: [u8; 3],
    magic: [u8; 4],
    /// The initiator's lane id.
    lane: U32,
}

/// A HELLO up to Noise message 1. Behind that stand an introduction, zeros, and the MAC over everything before it.
#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct HelloHead {
    preamble: Preamble,
    pattern: u8,
    reserved: [u8; 3],
    ticket: [u8; 16],
    cookie: [u8; COOKIE_LEN],
}

/// A REPLY up to Noise message 2. Behind that stands the MAC.
#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct ReplyHead {
    version_kind: u8,
    reserved: [u8; 3],
    lane: U32,
}

/// A COOKIE.
#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct CookiePacket {
    version_kind: u8,
    reserved: [u8; 3],
    lane: U32,
    /// MAC of the HELLO that this answers.
    echo: [u8; MAC_LEN],
    masked: [u8; COOKIE_LEN],
    mac: [u8; MAC_LEN],
}

/// A VERSIONS reply.
#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
struct VersionsPacket {
    preamble: Preamble,
    count: u8,
    versions: [u8; 15],
}

/// An UNKNOWN_SESSION hint: lane id and number of a packet whose lane nobody knows here. It proves
/// nothing; its receiver may begin a handshake, and tears nothing down before that has succeeded.
#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C)]
pub struct UnknownSession {
    version_kind: u8,
    reserved: [u8; 3],
    lane: U32,
    number: U64,
}

const _: () = {
    assert!(size_of::<Preamble>() == 12 && align_of::<Preamble>() == 1);
    assert!(size_of::<HelloHead>() == 48 && align_of::<HelloHead>() == 1);
    assert!(size_of::<ReplyHead>() == 8 && align_of::<ReplyHead>() == 1);
    assert!(size_of::<CookiePacket>() == 56 && align_of::<CookiePacket>() == 1);
    assert!(size_of::<VersionsPacket>() == 28 && align_of::<VersionsPacket>() == 1);
    assert!(size_of::<UnknownSession>() == 16 && align_of::<UnknownSession>() == 1);
    assert!(MESSAGE_1_LEN == 160 && MESSAGE_2_LEN == 112 && REPLY_LEN == 136);
    assert!(size_of::<HelloHead>() + MESSAGE_1_LEN + INTRODUCTION_LEN + MAC_LEN <= HELLO_LEN);
    // No answer amplifies, whoever really sent the HELLO.
    assert!(REPLY_LEN <= HELLO_LEN && size_of::<CookiePacket>() <= HELLO_LEN);
};

/// Whether a datagram is a HELLO of any version, for the driver to hand to its acceptor.
#[must_use]
pub fn is_hello(datagram: &[u8]) -> bool {
    datagram.first().is_some_and(|first| first & 15 == Kind::Hello as u8)
        && datagram.get(4..8) == Some(&MAGIC)
}

/// Checks first byte and reserved bytes of a packet of our version.
fn check_start(datagram: &[u8], kind: Kind) -> Result<(), HandshakeDrop> {
    match datagram {
        [first, ..] if first & 15 != kind as u8 => Err(HandshakeDrop::Kind),
        [first, ..] if *first != kind.first_byte() => Err(HandshakeDrop::Version),
        [_, 0, 0, 0, ..] => Ok(()),
        [_, _, _, _, ..] => Err(HandshakeDrop::Reserved),
        _ => Err(HandshakeDrop::Length),
    }
}

fn check_length(datagram: &[u8], length: usize) -> Result<(), HandshakeDrop> {
    if datagram.len() == length { Ok(()) } else { Err(HandshakeDrop::Length) }
}

/// The first bytes of `datagram` as a `T`.
fn head<T: Pod>(datagram: &[u8]) -> Result<&T, HandshakeDrop> {
    let bytes = datagram.get(..size_of::<T>()).ok_or(HandshakeDrop::Length)?;
    bytemuck::try_from_bytes(bytes).map_err(|_| HandshakeDrop::Length)
}

/// A HELLO under construction, complete but for Noise message 1 and [`sign`](Self::sign).
#[derive(Clone)]
pub(super) struct HelloPacket(Box<[u8; HELLO_LEN]>);

impl HelloPacket {
    pub(super) fn new(prologue: &Prologue) -> Self {
        let mut bytes = Box::new([0; HELLO_LEN]);
        let head = HelloHead {
            preamble: Preamble {
                version_kind: Kind::Hello.first_byte(),
                reserved: [0; 3],
                magic: MAGIC,
                lane: U32::new(prologue.lane.0),
            },
            pattern: prologue.pattern.id(),
            reserved: [0; 3],
            ticket: prologue.ticket.0,
            cookie: NO_COOKIE,
        };
        bytes[..size_of::<HelloHead>()].copy_from_slice(bytemuck::bytes_of(&head));
        Self(bytes)
    }

    /// The place of Noise message 1.
    pub(super) fn noise_mut(&mut self) -> &mut [u8] {
        &mut self.0[size_of::<HelloHead>()..][..MESSAGE_1_LEN]
    }

    /// Says who sends it, once Noise message 1 stands.
    pub(super) fn introduce(&mut self, prologue: &Prologue, key: &MutualKey) {
        let (head, rest) = self.0.split_at_mut(size_of::<HelloHead>() + MESSAGE_1_LEN);
        let introduction = key.introduce(prologue, &head[size_of::<HelloHead>()..]);
        rest[..INTRODUCTION_LEN].copy_from_slice(&introduction);
    }

    pub(super) fn set_cookie(&mut self, cookie: &[u8; COOKIE_LEN]) {
        self.0[size_of::<HelloHead>() - COOKIE_LEN..][..COOKIE_LEN].copy_from_slice(cookie);
    }

    /// Writes the MAC, after any change.
    pub(super) fn sign(&mut self, key: &MacKey) {
        key.sign(&mut self.0[..]);
    }

    pub(super) fn mac(&self) -> &[u8; MAC_LEN] {
        self.0.last_chunk().expect("a HELLO is longer than its MAC")
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0[..]
    }
}

/// A HELLO whose MAC is right.
pub(super) struct Hello<'a> {
    pub(super) prologue: Prologue,
    pub(super) cookie: &'a [u8; COOKIE_LEN],
    pub(super) noise: &'a [u8],
    pub(super) introduction: Option<Introduction>,
    pub(super) mac: &'a [u8; MAC_LEN],
}

impl<'a> Hello<'a> {
    /// Takes a HELLO of our version apart; `key` is that of the receiver's own public key.
    pub(super) fn parse(datagram: &'a [u8], key: &MacKey) -> Result<Self, HandshakeDrop> {
        check_start(datagram, Kind::Hello)?;
        check_length(datagram, HELLO_LEN)?;
        let head: &HelloHead = head(datagram)?;
        if head.preamble.magic != MAGIC {
            return Err(HandshakeDrop::Magic);
        }
        if !key.verify(datagram) {
            return Err(HandshakeDrop::Mac);
        }
        let (noise, rest) = datagram[size_of::<HelloHead>()..].split_at(MESSAGE_1_LEN);
        let (introduction, rest) = rest.split_first_chunk().ok_or(HandshakeDrop::Length)?;
        let (padding, mac) = rest.split_last_chunk().ok_or(HandshakeDrop::Length)?;
        if head.reserved != [0; 3] || padding.iter().any(|&byte| byte != 0) {
            return Err(HandshakeDrop::Reserved);
        }
        let pattern = Pattern::from_id(head.pattern).ok_or(HandshakeDrop::Pattern)?;
        // IKpsk2 has no ticket, IKpsk1 has one.
        let ticket = TicketId(head.ticket);
        if (ticket == TicketId::NONE) != (pattern == Pattern::Ikpsk2) {
            return Err(HandshakeDrop::Ticket);
        }
        let prologue = Prologue { pattern, lane: LaneId(head.preamble.lane.get()), ticket };
        let introduction = Introduction::of(&prologue, noise, introduction);
        Ok(Self { prologue, cookie: &head.cookie, noise, introduction, mac })
    }
}

/// The lane id of a HELLO of another version that is long enough to be answered by VERSIONS.
pub(super) fn foreign_hello(datagram: &[u8]) -> Option<LaneId> {
    let head: &Preamble = head(datagram).ok()?;
    let foreign = head.version_kind >> 4 != VERSION;
    (foreign && is_hello(datagram) && datagram.len() >= HELLO_LEN).then(|| LaneId(head.lane.get()))
}

/// A REPLY to the initiator that calls its lane `lane`; `write` fills in Noise message 2.
pub(super) fn reply<E>(
    lane: LaneId,
    key: &MacKey,
    write: impl FnOnce(&mut [u8]) -> Result<(), E>,
) -> Result<[u8; REPLY_LEN], E> {
    let mut bytes = [0; REPLY_LEN];
    let head = ReplyHead { version_kind: Kind::Reply.first_byte(), reserved: [0; 3], lane: U32::new(lane.0) };
    bytes[..size_of::<ReplyHead>()].copy_from_slice(bytemuck::bytes_of(&head));
    write(&mut bytes[size_of::<ReplyHead>()..][..MESSAGE_2_LEN])?;
    key.sign(&mut bytes);
    Ok(bytes)
}

/// Noise message 2 out of a REPLY to `lane`.
pub(super) fn parse_reply<'a>(
    datagram: &'a [u8],
    lane: LaneId,
    key: &MacKey,
) -> Result<&'a [u8], HandshakeDrop> {
    check_start(datagram, Kind::Reply)?;
    check_length(datagram, REPLY_LEN)?;
    if head::<ReplyHead>(datagram)?.lane.get() != lane.0 {
        return Err(HandshakeDrop::Lane);
    }
    if !key.verify(datagram) {
        return Err(HandshakeDrop::Mac);
    }
    Ok(&datagram[size_of::<ReplyHead>()..][..MESSAGE_2_LEN])
}

/// Appends a COOKIE in answer to `hello`.
pub(super) fn write_cookie(out: &mut Vec<u8>, hello: &Hello<'_>, key: &MacKey, cookie: &[u8; COOKIE_LEN]) {
    let mut packet = CookiePacket {
        version_kind: Kind::Cookie.first_byte(),
        reserved: [0; 3],
        lane: U32::new(hello.prologue.lane.0),
        echo: *hello.mac,
        masked: mask(key, hello.mac, cookie),
        mac: [0; MAC_LEN],
    };
    key.sign(bytemuck::bytes_of_mut(&mut packet));
    out.extend_from_slice(bytemuck::bytes_of(&packet));
}

/// The cookie for the HELLO with MAC `sent`, out of a COOKIE.
pub(super) fn parse_cookie(
    datagram: &[u8],
    lane: LaneId,
    sent: &[u8; MAC_LEN],
    key: &MacKey,
) -> Result<[u8; COOKIE_LEN], HandshakeDrop> {
    check_start(datagram, Kind::Cookie)?;
    check_length(datagram, size_of::<CookiePacket>())?;
    let packet: &CookiePacket = head(datagram)?;
    if packet.lane.get() != lane.0 {
        return Err(HandshakeDrop::Lane);
    }
    if packet.echo != *sent {
        return Err(HandshakeDrop::Echo);
    }
    if !key.verify(datagram) {
        return Err(HandshakeDrop::Mac);
    }
    Ok(mask(key, sent, &packet.masked))
}

/// Appends the VERSIONS that this code speaks.
pub(super) fn write_versions(out: &mut Vec<u8>, lane: LaneId) {
    let mut versions = [0; 15];
    versions[0] = VERSION;
    let packet = VersionsPacket {
        preamble: Preamble {
            version_kind: Kind::Versions.first_byte(),
            reserved: [0; 3],
            magic: MAGIC,
            lane: U32::new(lane.0),
        },
        count: 1,
        versions,
    };
    out.extend_from_slice(bytemuck::bytes_of(&packet));
}

/// The peer's versions out of a VERSIONS reply to `lane`, whatever version wrote it.
pub(super) fn parse_versions(datagram: &[u8], lane: LaneId) -> Result<&[u8], HandshakeDrop> {
    check_length(datagram, size_of::<VersionsPacket>())?;
    let packet: &VersionsPacket = head(datagram)?;
    if packet.preamble.magic != MAGIC {
        return Err(HandshakeDrop::Magic);
    }
    if packet.preamble.lane.get() != lane.0 {
        return Err(HandshakeDrop::Lane);
    }
    let versions = packet.versions.get(..usize::from(packet.count)).ok_or(HandshakeDrop::Length)?;
    if versions.contains(&VERSION) { Err(HandshakeDrop::SameVersion) } else { Ok(versions) }
}

impl UnknownSession {
    pub(super) fn new(lane: LaneId, number: u64) -> Self {
        Self {
            version_kind: Kind::UnknownSession.first_byte(),
            reserved: [0; 3],
            lane: U32::new(lane.0),
            number: U64::new(number),
        }
    }

    /// Takes a hint apart.
    ///
    /// # Errors
    /// Why it is none.
    pub fn parse(datagram: &[u8]) -> Result<&Self, HandshakeDrop> {
        check_start(datagram, Kind::UnknownSession)?;
        check_length(datagram, size_of::<Self>())?;
        head(datagram)
    }

    /// The bytes to send.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        bytemuck::bytes_of(self)
    }

    /// The lane id that is unknown: the one that *we* put into packets.
    #[must_use]
    pub fn lane(&self) -> LaneId {
        LaneId(self.lane.get())
    }

    /// The number of the packet that caused the hint. Who has not sent it lately ignores the hint.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number.get()
    }
}
