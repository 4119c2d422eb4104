//! The user's peers: names, addresses and keys in `peers.toml`.
//!
//! ```toml
//! [[peer]]
//! name = "bob"
//! address = "192.0.2.7"        # or a DNS name; default: the peer's name
//! key = "udpxk1..."            # `udpxctl key` prints it on bob's machine
//! ```

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use serde::Deserialize;
use udpxd::ticket::{STUB_REMEDY, Ticket};
use udpxd::{Code, Credential, PublicKey, embedded, identity};

use crate::escape;
use crate::failure::Failure;
use crate::host::Host;

/// A machine to speak to.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// What messages call it.
    pub(crate) name: String,
    /// All of its addresses, in the order to try.
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) key: PublicKey,
    /// What is needed beside the key.
    pub(crate) credential: Credential,
}

/// Finds address and key of a host.
///
/// `given` is the key of the command line, which wins over the file's.
pub(crate) fn resolve(
    file: &Path,
    host: &Host,
    port: u16,
    given: Option<PublicKey>,
) -> Result<Target, Failure> {
    let name = match host {
        Host::Name(name) => name,
        Host::Ticket(_) if given.is_some() => {
            let text = "a ticket has the key of its machine, so --peer-key has no use beside it";
            return Err(Failure::with_remedy(Code::Usage, text, "Leave it out."));
        }
        Host::Ticket(ticket) => {
            return Ok(Target {
                name: host.to_string(),
                addresses: ticket.addresses.clone(),
                key: ticket.key,
                credential: ticket.credential(),
            });
        }
    };
    by_name(file, name, port, given)
}

fn by_name(file: &Path, host: &str, port: u16, given: Option<PublicKey>) -> Result<Target, Failure> {
    let peers = load(file)?;
    let peer = peers.iter().find(|peer| peer.name == host).or_else(|| {
        // An address finds its peer too.
        peers.iter().find(|peer| peer.address.as_deref() == Some(host))
    });
    let key = match (given, peer) {
        (Some(key), _) => key,
        (None, Some(peer)) => peer.key,
        (None, None) => return Err(unknown(file, host)),
    };
    let place = peer.and_then(|peer| peer.address.as_deref()).unwrap_or(host);
    let addresses = embedded::resolve(place, port)?;
    Ok(Target { name: host.to_owned(), addresses, key, credential: Credential::None })
}

/// Reads a key as the command line gives it.
pub(crate) fn key(text: &str) -> Result<PublicKey, String> {
    identity::parse_key(text)
        .ok_or_else(|| format!("a key is {} and 64 lower-case hex digits", identity::KEY_PREFIX))
}

struct Peer {
    name: String,
    address: Option<String>,
    key: PublicKey,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    peer: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    address: Option<String>,
    key: String,
}

fn load(file: &Path) -> Result<Vec<Peer>, Failure> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(invalid(file, &error.to_string())),
    };
    let parsed: File = toml::from_str(&text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..at].iter().filter(|&&byte| byte == b'\n').count();
        invalid(file, &format!("line {line}: {}", error.message()))
    })?;
    let mut peers: Vec<Peer> = Vec::with_capacity(parsed.peer.len());
    for Entry { name, address, key: text } in parsed.peer {
        let key = key(&text)
            .map_err(|help| invalid(file, &format!("{name:?} has something that is not a key: {help}")))?;
        if peers.iter().any(|peer| peer.name == name) {
            return Err(invalid(file, &format!("there are two peers called {name:?}")));
        }
        peers.push(Peer { name, address, key });
    }
    Ok(peers)
}

fn invalid(file: &Path, what: &str) -> Failure {
    let remedy = "Each peer is [[peer]] with name, key and, if it differs from the name, address.";
    Failure::with_remedy(Code::Config, format!("{}: {what}", escape::path(file)), remedy)
}

fn unknown(file: &Path, host: &str) -> Failure {
    if Ticket::is_stub(host) {
        return Failure::with_remedy(Code::Config, format!("no key is known for {host}"), STUB_REMEDY);
    }
    Failure::with_remedy(
        Code::Config,
        format!("no key is known for {host}"),
        format!(
            "Run `udpxctl key` on {host} (its udpxd prints the key too), then use --peer-key KEY, or write it \
             into {}.",
            escape::path(file)
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "udpxk1000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

    fn resolve_with(text: &str, host: &str, given: Option<&str>) -> Result<Target, Failure> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("peers.toml");
        std::fs::write(&file, text).unwrap();
        resolve(&file, &Host::Name(host.into()), 48379, given.map(|text| key(text).unwrap()))
    }

    #[test]
    fn the_file_gives_address_and_key() {
        let text = format!("[[peer]]\nname = \"bob\"\naddress = \"127.0.0.9\"\nkey = \"{KEY}\"\n");
        for host in ["bob", "127.0.0.9"] {
            let target = resolve_with(&text, host, None).unwrap();
            assert_eq!(target.addresses, ["127.0.0.9:48379".parse().unwrap()]);
            assert_eq!(identity::key_text(&target.key), KEY);
        }
        let other = KEY.replace("1e1f", "0000");
        let target = resolve_with(&text, "bob", Some(&other)).unwrap();
        assert_eq!(identity::key_text(&target.key), other);
        assert_eq!(resolve_with("", "127.0.0.1", Some(KEY)).unwrap().name, "127.0.0.1");
    }

    #[test]
    fn an_unknown_host_tells_how_to_get_its_key() {
        let failure = resolve_with("", "127.0.0.1", None).unwrap_err();
        assert_eq!(failure.code, Code::Config);
        assert!(failure.remedy.contains("udpxctl key") && failure.remedy.contains("--peer-key"));
    }

    #[test]
    fn mistakes_in_the_file_name_it() {
        for (text, what) in [
            ("[[peer]]\nname = \"b\"\n", "missing field `key`"),
            ("[[peer]]\nname = \"b\"\nkey = \"k\"\n", "64 lower-case hex digits"),
            ("\n\nx = 1\n", "line 3"),
            ("[[", "line 1"),
        ] {
            let failure = resolve_with(text, "b", None).unwrap_err();
            assert!(failure.text.contains(what) && failure.text.contains("peers.toml"), "{}", failure.text);
        }
        let twice = format!("[[peer]]\nname=\"b\"\nkey=\"{KEY}\"\n").repeat(2);
        assert!(resolve_with(&twice, "b", None).unwrap_err().text.contains("two peers"));
    }
}
