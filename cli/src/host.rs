//! Who is meant by HOST: a ticket, or a peer's name, a DNS name or an address.
//!
//! A ticket may stand there itself. Others of this machine see command lines, so it may also be in a file (`@FILE`) or in
//! the environment (`@`, which reads `$UDPX_TICKET`). It is a secret: messages call its machine by its first address.

use std::ffi::OsStr;
use std::fmt;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use udpxd::Code;
use udpxd::ticket::{Ticket, TicketError};

use crate::escape;
use crate::failure::Failure;

/// Who is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Host {
    /// A name or an address, without brackets.
    Name(String),
    /// Whoever made the ticket.
    Ticket(Box<Ticket>),
}

impl Host {
    /// The host, if the text is no name: a ticket, or where one is.
    ///
    /// # Errors
    /// There is no ticket there, or what is there is none.
    pub(crate) fn by_ticket(text: &[u8]) -> Result<Option<Self>, Failure> {
        let ticket = match text {
            b"@" => from_environment(std::env::var_os(VARIABLE).as_deref())?,
            [b'@', file @ ..] => from_file(Path::new(OsStr::from_bytes(file)))?,
            _ => match std::str::from_utf8(text) {
                Ok(text) if Ticket::is_meant(text) => Ticket::parse(text).map_err(|error| bad(&error))?,
                _ => return Ok(None),
            },
        };
        Ok(Some(Self::Ticket(Box::new(ticket))))
    }
}

/// What messages call it.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ticket(ticket) => ticket.addresses.iter().take(1).try_for_each(|first| first.ip().fmt(f)),
        }
    }
}

fn from_environment(value: Option<&OsStr>) -> Result<Ticket, Failure> {
    let Some(value) = value else {
        let text = format!("@ stands for the ticket in {VARIABLE}, and that is not set");
        return Err(Failure::with_remedy(Code::Usage, text, "Set it, or write @FILE for one in a file."));
    };
    Ticket::parse(&value.to_string_lossy()).map_err(|error| bad(&error))
}

fn from_file(path: &Path) -> Result<Ticket, Failure> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| {
        let text = format!("the ticket in {} cannot be read: {error}", escape::path(path));
        Failure::with_remedy(Code::NoSource, text, "Write @FILE with the path of a file that holds a ticket.")
    })?;
    Ticket::parse(&text).map_err(|error| bad(&error))
}

/// What is wrong with a ticket, without the ticket.
fn bad(error: &TicketError) -> Failure {
    let code = if matches!(error, TicketError::Newer(_)) { Code::Protocol } else { Code::Usage };
    let text = error.to_string();
    let text = text.trim_end_matches('.');
    let (first, rest) = text.split_at(text.len().min(1));
    Failure::with_remedy(code, first.to_ascii_lowercase() + rest, error.remedy())
}

/// Where `@` looks.
const VARIABLE: &str = "UDPX_TICKET";
/// More than any ticket has; the rest of a file is not read.
const FILE_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) const TICKET: &str = include_str!("../../daemon/src/ticket/golden.txt");

    fn failure(text: &str) -> Failure {
        Host::by_ticket(text.as_bytes()).unwrap_err()
    }

    #[test]
    fn a_ticket_stands_there_or_in_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a ticket");
        std::fs::write(&file, TICKET).unwrap();
        let here = Host::by_ticket(TICKET.trim().as_bytes()).unwrap().unwrap();
        let there = Host::by_ticket(format!("@{}", file.display()).as_bytes()).unwrap().unwrap();
        assert_eq!((&here, here.to_string().as_str()), (&there, "192.0.2.7"));
        assert_eq!(from_environment(Some(OsStr::new(TICKET))).map(|t| t.addresses.len()), Ok(2));
        assert!(from_environment(None).unwrap_err().text.contains("UDPX_TICKET"));
        for name in ["bob", "udpx1", "192.0.2.7", "2001:db8::1"] {
            assert_eq!(Host::by_ticket(name.as_bytes()), Ok(None));
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        let missing = failure("@/none/such");
        assert!(missing.code == Code::NoSource && missing.text.contains("/none/such"), "{missing:?}");
        let typed = TICKET.trim().replace("cylrq", "cylrz");
        for (text, what) in [(typed.as_str(), "is mistyped"), (&TICKET[..90], "is cut off: 90 of its 175")] {
            let failure = failure(text);
            assert_eq!(failure.code, Code::Usage);
            assert!(failure.text.starts_with("the ticket ") && failure.text.contains(what), "{failure:?}");
            assert!(failure.remedy.contains("whole line") && !failure.lines().contains(&text[20..40]));
        }
    }
}
