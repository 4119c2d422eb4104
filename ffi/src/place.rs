//! A place at another machine, as on the command line: `HOST[:PATH]`.
//!
//! `HOST` is a ticket, a peer's name (with a daemon), a DNS name or an address; an IPv6 address stands in brackets. Behind
//! the colon stands a path beneath the default root, or `/NAME/path` beneath root NAME. Paths are bytes.

use udpx_control::Name;
use udpx_control::schema;
use udpxd::embedded::{self, Call};
use udpxd::place::{self, Fault};
use udpxd::report::JobError;
use udpxd::ticket::{STUB_REMEDY, Ticket};
use udpxd::{Code, StaticSecret, identity};

use crate::boundary::wrong;
use crate::options::{Options, UDPX_NO_GSO, UDPX_PLAIN};

/// Such a place, taken apart.
pub(crate) struct Place {
    host: Host,
    /// The root there; empty means its default.
    pub(crate) root: String,
    /// The path beneath it.
    pub(crate) path: Vec<u8>,
}

enum Host {
    Name(String),
    Ticket(Box<Ticket>),
}

impl Place {
    /// Takes a place apart. A ticket is a secret: no error shows it.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, JobError> {
        let (host, behind) = place::split(text).map_err(faulty)?;
        let host = std::str::from_utf8(host).map_err(|_| bad("the host is not UTF-8"))?;
        let host = match Ticket::is_meant(host) {
            true => Host::Ticket(Box::new(Ticket::parse(host).map_err(|error| {
                let told = JobError::told(Code::Usage, &error.to_string());
                JobError::new(told.code, told.text, error.remedy())
            })?)),
            false => {
                place::check_host(text, host).map_err(faulty)?;
                Host::Name(host.to_owned())
            }
        };
        let (root, path) = place::rooted(behind).map_err(faulty)?;
        Ok(Self { host, root: root.to_owned(), path: path.to_vec() })
    }

    /// How an engine of this process calls it. It may ask the DNS.
    pub(crate) fn call(&self, identity: StaticSecret, options: &Options) -> Result<Call, JobError> {
        let mut call = match &self.host {
            Host::Ticket(_) if options.peer_key.is_some() => {
                return Err(wrong("a ticket has the key of its machine", "Leave out peer_key."));
            }
            Host::Ticket(ticket) => {
                let mut call = Call::new(ticket.key, ticket.addresses.clone(), identity);
                call.way.credential = ticket.credential();
                call
            }
            Host::Name(name) => {
                let key = options.peer_key.as_deref().ok_or_else(|| {
                    let text = format!("nothing says which key {name:?} has");
                    let usual =
                        "Set peer_key in the options, use a ticket as the host, or go through a daemon.";
                    wrong(text, if Ticket::is_stub(name) { STUB_REMEDY } else { usual })
                })?;
                let key = identity::parse_key(key).ok_or_else(|| {
                    wrong("peer_key is no key", "Give udpxk1 and 64 lower-case hex digits.")
                })?;
                let mut call = Call::new(key, embedded::resolve(name, options.port())?, identity);
                call.way.host.clone_from(name);
                call
            }
        };
        call.way.policy = options.policy();
        (call.way.plain, call.way.gso) = (options.has(UDPX_PLAIN), !options.has(UDPX_NO_GSO));
        call.way.mtu_max = options.mtu().unwrap_or(call.way.mtu_max);
        if options.timeout_ms() > 0 {
            let timeout = std::time::Duration::from_millis(options.timeout_ms().into());
            (call.way.connect_timeout, call.way.give_up_after) = (timeout, timeout);
        }
        Ok(call)
    }

    /// As a daemon is told of it. A ticket stays in this process.
    pub(crate) fn remote(&self, options: &Options) -> Result<schema::Remote, JobError> {
        let Host::Name(host) = &self.host else {
            let text =
                "a ticket is a secret of its holder, and a daemon's table of jobs would keep and show it";
            return Err(wrong(text, "Use it with an engine: udpx_engine_new."));
        };
        Ok(schema::Remote {
            host: host.clone(),
            port: (options.port() != udpxd::config::PORT).then(|| options.port()),
            key: options.peer_key.clone(),
            root: self.root.clone(),
            path: Name::new(self.path.clone()),
        })
    }
}

fn faulty(fault: Fault) -> JobError {
    bad(match fault {
        Fault::OpenBracket => "the host has no closing bracket",
        Fault::BareIpv6 => "an IPv6 address stands without brackets",
        Fault::NoHost => "no host is named",
        Fault::NoRoot => "no root is named behind ':/'",
    })
}

fn bad(what: &str) -> JobError {
    wrong(what, "Write HOST, HOST:path, HOST:/ROOT/path or [2001:db8::1]:path.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        for (text, host, root, path) in [
            ("bob", "bob", "", ""),
            ("bob:a/b:c", "bob", "", "a/b:c"),
            ("bob:/disk/a/", "bob", "disk", "a/"),
            ("[2001:db8::1]:/r", "2001:db8::1", "r", ""),
        ] {
            let place = Place::parse(text.as_bytes()).unwrap();
            let Host::Name(name) = &place.host else { panic!("{text}") };
            assert_eq!((name.as_str(), place.root.as_str(), &place.path[..]), (host, root, path.as_bytes()));
        }
        for text in [
            "",
            ":x",
            "a b",
            "a/b",
            "[::1",
            "[::1]x",
            "2001:db8::1",
            "bob:/",
            "bob://x",
            "udpx1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ] {
            assert_eq!(Place::parse(text.as_bytes()).err().unwrap().code, Code::Usage, "{text}");
        }
        assert_eq!(Place::parse(b"bob:\xff").unwrap().path, b"\xff");
        assert!(Place::parse(b"\xff:x").is_err());
    }

    #[test]
    fn a_ticket_is_not_told_to_a_daemon() {
        let ticket = include_str!("../../daemon/src/ticket/golden.txt").trim();
        // SAFETY: NULL means the defaults.
        let options = unsafe { Options::load(std::ptr::null()) }.unwrap();
        let place = Place::parse(format!("{ticket}:x").as_bytes()).unwrap();
        assert!(place.call(identity::ephemeral().unwrap(), &options).is_ok());
        let refused = place.remote(&options).unwrap_err();
        assert!(!refused.to_string().contains(&ticket[10..20]), "{refused}");
    }
}
