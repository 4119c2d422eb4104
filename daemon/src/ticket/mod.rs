//! Tickets: first contact in one printable line. `docs/TICKETS.md` has the layout.
//!
//! A ticket carries what another machine needs to find this one, to know that it is this one and to be let in:
//! addresses, public key, and an id with a secret. Whoever has the line has what it gives, so the secret stands in
//! no log, no error and no `Debug`, and is erased when it is dropped.
//!
//! ```text
//! udpx1 aea…   base32 of: version, length, purpose, flags, id, secret, key, expiry, addresses, checksum
//! ```
//!
//! The checksum is there for fingers and cut lines, not for attackers. Whether a ticket is still good is known only to
//! the machine that made it: a reader with a wrong clock must not refuse a good one.

mod base32;
mod layout;

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use udpx_proto::Random;
use udpx_proto::handshake::{Credential, Psk, PublicKey, TicketId};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// What every ticket begins with.
pub const PREFIX: &str = "udpx1";

/// Addresses in one ticket: what is left of a list that is longer would be tried in vain for seconds.
pub const ADDRESSES_MAX: usize = 8;

/// Bytes of a secret: 128 bits.
pub const SECRET_BYTES: usize = 16;

/// Characters of the shortest text that is taken for a ticket; shorter ones that begin like one are names of hosts.
const TICKET_LIKE: usize = 32;

/// What to do about a host that is not known and may be the beginning of a ticket ([`Ticket::is_stub`]).
pub const STUB_REMEDY: &str =
    "It looks like the beginning of a ticket: copy the whole line that the other machine printed.";

/// An invitation, as both ends have it.
#[derive(Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Its name, which is no secret: the HELLO shows it.
    pub id: TicketId,
    /// What proves that somebody holds it.
    pub secret: Secret,
    /// The key of the machine that made it.
    pub key: PublicKey,
    /// Where that machine is, in the order to try; at least one.
    pub addresses: Vec<SocketAddr>,
    /// Until when it is good, by the clock of the machine that made it; whole seconds.
    pub expires: Option<SystemTime>,
    /// What it is for.
    pub purpose: Purpose,
    /// What it gives, as its holder is told; what counts is what the machine that made it has noted.
    pub gives: Gives,
}

/// The secret of a ticket. Erased when dropped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; SECRET_BYTES]);

/// What a ticket is for.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// To push one file, or one stream of data, to whoever made it.
    Receive,
    /// To use a directory of whoever made it.
    Serve,
    /// To become a peer of whoever made it.
    Invite,
}

/// What the holder of a ticket may do.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Gives {
    /// Get files.
    pub read: bool,
    /// Put files.
    pub write: bool,
    /// See what is there.
    pub list: bool,
    /// Only the first machine that uses it may go on using it.
    pub once: bool,
}

/// Why a text is no ticket.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TicketError {
    /// It does not begin like one.
    #[error("This is no ticket: tickets begin with udpx1.")]
    NoTicket,
    /// A character that no ticket has.
    #[error(
        "The ticket has {found:?} as its character {at}: tickets have only letters and the digits 2 to 7."
    )]
    Character {
        /// Which one, counted from 1.
        at: usize,
        /// The character.
        found: char,
    },
    /// It is shorter than it says.
    #[error("The ticket is cut off: {found} of its {expected} characters are here.")]
    CutOff {
        /// Characters that are here.
        found: usize,
        /// Characters that it had.
        expected: usize,
    },
    /// It is longer than it says.
    #[error("Something follows the ticket: it has {expected} characters, and {found} are here.")]
    TooLong {
        /// Characters that are here.
        found: usize,
        /// Characters that it had.
        expected: usize,
    },
    /// Its checksum is wrong.
    #[error("The ticket is mistyped: its checksum is wrong.")]
    Mistyped,
    /// A later version wrote it.
    #[error("The ticket was made by a newer version of udpx (layout {0}).")]
    Newer(u8),
    /// The checksum is right and the content makes no sense: whoever wrote it is not udpx.
    #[error("The ticket makes no sense: {0}.")]
    Nonsense(&'static str),
}

impl TicketError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Newer(_) => "Install the same version of udpx on both machines.",
            Self::Nonsense(_) => "Make a new one on the other machine.",
            Self::NoTicket | Self::Character { .. } | Self::CutOff { .. } | Self::TooLong { .. } => COPY,
            Self::Mistyped => COPY,
        }
    }
}

const COPY: &str = "Copy the whole line that the other machine printed.";

impl Ticket {
    /// A new ticket with an id and a secret that nobody knows yet.
    ///
    /// `addresses` beyond [`ADDRESSES_MAX`] are left out; the expiry is cut to whole seconds.
    #[must_use]
    pub fn new(
        key: PublicKey,
        mut addresses: Vec<SocketAddr>,
        expires: Option<SystemTime>,
        purpose: Purpose,
        gives: Gives,
        random: &mut dyn Random,
    ) -> Self {
        addresses.truncate(ADDRESSES_MAX);
        let mut id = TicketId::NONE;
        // All zeros say that there is no ticket.
        while id == TicketId::NONE {
            random.fill(&mut id.0);
        }
        let mut secret = Secret([0; SECRET_BYTES]);
        random.fill(&mut secret.0);
        let expires = expires.map(|time| UNIX_EPOCH + Duration::from_secs(unix_seconds(time)));
        Self { id, secret, key, addresses, expires, purpose, gives }
    }

    /// Whether a text is meant as a ticket, however badly it was copied, and not as the name of a host: it begins like
    /// one, has no dot, and is longer than such a name.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        let begins = text.get(..PREFIX.len()).is_some_and(|head| head.eq_ignore_ascii_case(PREFIX));
        begins && text.len() >= TICKET_LIKE && !text.contains('.')
    }

    /// Whether a text that is no ticket may be the beginning of one, rather than the name of a host that is known nowhere.
    #[must_use]
    pub fn is_stub(text: &str) -> bool {
        let rest = text.get(..PREFIX.len()).filter(|head| head.eq_ignore_ascii_case(PREFIX));
        let letter = |byte: u8| byte.is_ascii_alphabetic() || (b'2'..=b'7').contains(&byte);
        rest.is_some()
            && text.len() > PREFIX.len()
            && !Self::is_meant(text)
            && text.bytes().skip(PREFIX.len()).all(letter)
    }

    /// Reads a ticket. Capitals are as good as small letters, and white space is skipped: lines get broken.
    ///
    /// # Errors
    /// [`TicketError`].
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        layout::parse(text)
    }

    /// The line.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        layout::text(self)
    }

    /// What a handshake by this ticket brings along.
    #[must_use]
    pub fn credential(&self) -> Credential {
        Credential::Ticket(udpx_proto::handshake::Ticket { id: self.id, secret: self.secret.psk() })
    }
}

impl Secret {
    /// The key that it stands for in a handshake.
    #[must_use]
    pub fn psk(&self) -> Psk {
        Psk::from_ticket_secret(&self.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket")
            .field("id", &self.id)
            .field("addresses", &self.addresses)
            .field("purpose", &self.purpose)
            .finish_non_exhaustive()
    }
}

/// Seconds since 1970, none before.
fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
