//! A place on another machine: `HOST[:PATH]`.
//!
//! `HOST` is a ticket, a peer's name, a DNS name or an address; an IPv6 address stands in brackets. Behind the colon stands a
//! path beneath the default root, or `/NAME/path` beneath root NAME. Paths are bytes: names need not be UTF-8.

use std::ffi::OsStr;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use udpxd::Code;
use udpxd::place::{self, Fault};

use crate::args::Output;
use crate::escape;
use crate::failure::Failure;
use crate::host::Host;

/// Such a place, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Who is meant.
    pub(crate) host: Host,
    /// The root there; empty means its default.
    pub(crate) root: String,
    /// The path beneath it; empty means the root itself.
    pub(crate) path: Vec<u8>,
    /// The path looks like a port: worth a warning.
    pub(crate) path_is_number: bool,
}

impl Remote {
    pub(crate) fn parse(text: &OsStr) -> Result<Self, Failure> {
        let bytes = text.as_bytes();
        let shown = escape::bytes(bytes);
        let (host, dest) = place::split(bytes).map_err(|fault| faulty(&shown, fault))?;
        let by_ticket = Host::by_ticket(host)?;
        // What is wrong about the rest is said without the ticket.
        let shown = match &by_ticket {
            Some(host) => format!("{host}:{}", escape::bytes(dest)),
            None => shown,
        };
        let host = match by_ticket {
            Some(host) => host,
            None => Host::Name(name(text, host, &shown)?),
        };
        let (root, path) = place::rooted(dest).map_err(|fault| faulty(&shown, fault))?;
        let number = std::str::from_utf8(path).ok().and_then(|path| path.parse::<u16>().ok());
        Ok(Self {
            host,
            root: root.to_owned(),
            path: path.to_vec(),
            path_is_number: number.is_some_and(|port| port > 0),
        })
    }
}

impl Remote {
    /// Says that what looks like a port was taken as a path, to whoever may have meant it otherwise.
    pub(crate) fn warn_of_port(&self, output: Output) {
        let Host::Name(host) = &self.host else { return };
        if !self.path_is_number || output.json {
            return;
        }
        let (host, path) = (escape::text(host), escape::bytes(&self.path));
        // Only a hint: if it cannot be written the command goes on.
        let _ = writeln!(
            std::io::stderr(),
            "udpxctl: {path} in {host}:{path} is taken as a file name; a port is given by --port {path}"
        );
    }
}

/// A host that is no ticket.
fn name(text: &OsStr, host: &[u8], shown: &str) -> Result<String, Failure> {
    let host = std::str::from_utf8(host).map_err(|_| faulty(shown, Fault::NoHost))?;
    place::check_host(text.as_bytes(), host).map_err(|fault| faulty(shown, fault))?;
    Ok(host.to_owned())
}

fn faulty(shown: &str, fault: Fault) -> Failure {
    match fault {
        Fault::OpenBracket => bad(shown, "has no closing bracket", EXAMPLES),
        Fault::BareIpv6 => bad(shown, "is an IPv6 address without brackets", &format!("Write [{shown}]")),
        Fault::NoHost => bad(shown, "names no host", EXAMPLES),
        Fault::NoRoot => bad(shown, "names no root behind ':/'", EXAMPLES),
    }
}

fn bad(shown: &str, what: &str, remedy: &str) -> Failure {
    Failure::with_remedy(Code::Usage, format!("{shown} {what}"), remedy)
}

const EXAMPLES: &str = "Write HOST, HOST:path, HOST:/ROOT/path or [2001:db8::1]:path";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, String, String), String> {
        match Remote::parse(OsStr::new(text)) {
            Ok(to) => Ok((to.host.to_string(), to.root, String::from_utf8(to.path).unwrap())),
            Err(failure) => Err(failure.text),
        }
    }

    #[test]
    fn every_form() {
        let table = [
            ("bob", "bob", "", ""),
            ("bob:", "bob", "", ""),
            ("bob:a/b.iso", "bob", "", "a/b.iso"),
            ("bob:a/", "bob", "", "a/"),
            ("bob:a:b", "bob", "", "a:b"),
            ("bob:/disk", "bob", "disk", ""),
            ("bob:/disk/", "bob", "disk", ""),
            ("bob:/disk/a/b", "bob", "disk", "a/b"),
            ("192.0.2.1:x", "192.0.2.1", "", "x"),
            ("[2001:db8::1]", "2001:db8::1", "", ""),
            ("[2001:db8::1]:x", "2001:db8::1", "", "x"),
            ("[fe80::1%eth0]:/r/x", "fe80::1%eth0", "r", "x"),
        ];
        for (text, host, root, path) in table {
            assert_eq!(parse(text), Ok((host.into(), root.into(), path.into())), "{text}");
        }
    }

    #[test]
    fn a_ticket_is_a_host_too() {
        let ticket = include_str!("../../daemon/src/ticket/golden.txt").trim();
        for (tail, root, path) in
            [("", "", ""), (":a/b", "", "a/b"), (":/inbox/x:y", "inbox", "x:y"), (":4433", "", "4433")]
        {
            let parsed = parse(&format!("{ticket}{tail}"));
            assert_eq!(parsed, Ok(("192.0.2.7".into(), root.into(), path.into())), "{tail}");
        }
        assert_eq!(parse(&format!("{ticket}:/")), Err("192.0.2.7:/ names no root behind ':/'".into()));
        assert!(parse(&ticket[..100]).is_err_and(|error| error.contains("is cut off")));
    }

    #[test]
    fn what_is_no_destination() {
        for (text, what) in [
            ("", "names no host"),
            (":x", "names no host"),
            ("a b:x", "names no host"),
            ("dir/file", "names no host"),
            ("[::1", "no closing bracket"),
            ("[::1]x", "no closing bracket"),
            ("2001:db8::1", "without brackets"),
            ("bob:/", "names no root"),
            ("bob://x", "names no root"),
        ] {
            assert!(parse(text).is_err_and(|error| error.contains(what)), "{text}");
        }
    }

    #[test]
    fn a_path_that_looks_like_a_port_is_noticed() {
        let number = |text: &str| Remote::parse(OsStr::new(text)).unwrap().path_is_number;
        assert!(number("bob:4433"));
        assert!(!number("bob:70000") && !number("bob:44a") && !number("bob") && !number("bob:4433/"));
    }

    #[test]
    fn paths_are_bytes() {
        let to = Remote::parse(OsStr::from_bytes(b"bob:\xff\n")).unwrap();
        assert_eq!(to.path, b"\xff\n");
        assert!(Remote::parse(OsStr::from_bytes(b"\xff:x")).is_err());
    }
}
