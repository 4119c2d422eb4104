//! `[[peer]]`: a machine that may do something here.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use udpx_proto::handshake::PublicKey;

use super::table::{Fields, Value};
use super::text::is_name;
use super::{Config, ConfigError, INBOX, Mistake, PORT};
use crate::identity;

/// A machine that may do something here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its name here: a directory name.
    pub name: String,
    /// Its key.
    pub key: PublicKey,
    /// Where it is reached; `None` if only it calls us.
    pub address: Option<PeerAddress>,
    /// Bulk data of this peer may come, and go there, unencrypted.
    pub plain: bool,
    /// What it may do with its directory.
    pub rights: Rights,
    /// What it may do in other places, by the names of the roots. Some may be roots that were added by command, so
    /// that nothing is known of them here.
    pub roots: BTreeMap<String, Rights>,
    /// The directory of its files, instead of `inbox/NAME`.
    pub inbox: Option<PathBuf>,
    /// Bytes of files that may lie in its directory; `None`: what the configuration says of all, if anything.
    pub quota: Option<u64>,
    /// What may be moved to it and from it, bits a second; `None` for any rate.
    pub rate_bps: Option<u64>,
    /// Where this is said.
    pub source: PeerSource,
}

/// Where a peer comes from.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub enum PeerSource {
    /// The configuration, which is changed by hand.
    #[default]
    Configuration,
    /// `peers.toml`, which `udpxctl peer`, `invite` and `join` change.
    PeersFile,
}

/// What a peer may do in a place.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Put files there; granted in its own directory unless it is refused.
    pub write: bool,
    /// Get files from there.
    pub read: bool,
    /// See what is there.
    pub list: bool,
}

impl Default for Rights {
    fn default() -> Self {
        Self { write: true, ..Self::NONE }
    }
}

impl Rights {
    /// Nothing.
    pub const NONE: Self = Self { write: false, read: false, list: false };

    /// Whether there is any.
    #[must_use]
    pub fn any(self) -> bool {
        self != Self::NONE
    }

    /// As the configuration says them.
    #[must_use]
    pub fn words(self) -> Vec<&'static str> {
        let words = [(self.write, "write"), (self.read, "read"), (self.list, "list")];
        words.into_iter().filter(|(granted, _)| *granted).map(|(_, word)| word).collect()
    }

    /// A list such as `["read", "list"]`.
    fn parse(value: &Value<'_>) -> Result<Self, Mistake> {
        let mut rights = Self::NONE;
        for word in value.list()? {
            let right = match word.text()? {
                "write" => &mut rights.write,
                "read" => &mut rights.read,
                "list" => &mut rights.list,
                _ => return Err(word.mistake("a right is \"write\", \"read\" or \"list\"")),
            };
            *right = true;
        }
        Ok(rights)
    }
}

/// Where a peer is reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerAddress {
    /// A DNS name or an IP address, without brackets.
    pub host: String,
    /// UDP port, if it is not [`PORT`].
    pub port: Option<u16>,
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = self.port.unwrap_or(PORT);
        match self.host.contains(':') {
            true => write!(f, "[{}]:{port}", self.host),
            false => write!(f, "{}:{port}", self.host),
        }
    }
}

impl PeerAddress {
    fn parse(value: &Value<'_>) -> Result<Self, Mistake> {
        Self::read(value.text()?).ok_or_else(|| {
            value.mistake(
                "an address is a name or an IP address, with or without a port: \"bob.example\", \"192.0.2.1:48379\" or \
                 \"[2001:db8::1]:48379\"",
            )
        })
    }

    fn read(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self { host: address.ip().to_string(), port: Some(address.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Some(Self { host: address.to_string(), port: None });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok().filter(|&port| port > 0)?)),
            None => (text, None),
        };
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_host =
            (1..=HOST_MAX).contains(&host.len()) && host.bytes().all(good) && !host.starts_with('.');
        is_host.then(|| Self { host: host.into(), port })
    }
}

impl Config {
    /// Reads a file that has nothing but peers, as `path` is called in messages.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`].
    pub(crate) fn peers_in(text: &str, path: &Path) -> Result<Vec<Peer>, ConfigError> {
        let parse = || {
            let mut fields = Fields::parse(text)?;
            let mut alone = Self::default();
            if let Some(list) = fields.take("peer") {
                alone.take_peers(&list)?;
            }
            fields.finish()?;
            Ok(alone.peers)
        };
        let peers: Vec<Peer> = parse().map_err(|mistake: Mistake| mistake.of(path, text))?;
        Ok(peers.into_iter().map(|peer| Peer { source: PeerSource::PeersFile, ..peer }).collect())
    }

    pub(super) fn take_peers(&mut self, list: &Value<'_>) -> Result<(), Mistake> {
        for value in list.list()? {
            let peer = Peer::parse(&value)?;
            self.check_peer(&peer, &value)?;
            self.peers.push(peer);
        }
        Ok(())
    }

    /// This configuration with the peers of `peers.toml`. What the configuration says itself counts: one of the same
    /// name or key is left out.
    #[must_use]
    pub fn with_peers(&self, added: &[Peer]) -> Self {
        let mut config = self.clone();
        for peer in added {
            match config.peers.iter().find(|known| known.name == peer.name || known.key == peer.key) {
                Some(known) => tracing::warn!(
                    peer = peer.name,
                    configured = known.name,
                    "a peer of peers.toml is not used: udpxd.toml has one of that name or key"
                ),
                None => config.peers.push(peer.clone()),
            }
        }
        config
    }
}

impl Peer {
    /// A peer that may put files into its directory, and is not called.
    #[must_use]
    pub fn new(name: impl Into<String>, key: PublicKey) -> Self {
        Self {
            name: name.into(),
            key,
            address: None,
            plain: false,
            rights: Rights::default(),
            roots: BTreeMap::new(),
            inbox: None,
            quota: None,
            rate_bps: None,
            source: PeerSource::Configuration,
        }
    }

    pub(super) fn parse(value: &Value<'_>) -> Result<Self, Mistake> {
        let mut fields = value.fields("peer")?;
        let name_value = fields.need("name")?;
        let name = name_value.text()?;
        if !is_name(name) {
            return Err(name_value.mistake(PEER_NAME_RULE));
        }
        let key_value = fields.need("key")?;
        let key = identity::parse_key(key_value.text()?).ok_or_else(|| {
            key_value.mistake("this is no key; the other machine shows its own with: udpxctl key")
        })?;
        let mut peer = Self::new(name, key);
        if let Some(value) = fields.take("address") {
            peer.address = Some(PeerAddress::parse(&value)?);
        }
        let mut flag = |key, default| fields.take(key).map_or(Ok(default), |value| value.boolean());
        peer.plain = flag("plain", peer.plain)?;
        let Rights { write, read, list } = peer.rights;
        peer.rights =
            Rights { write: flag("write", write)?, read: flag("read", read)?, list: flag("list", list)? };
        if let Some(value) = fields.take("roots") {
            for (name, rights) in
                value.entries("rights on a root are a list: roots.disk = [\"read\", \"list\"]")?
            {
                if name == INBOX {
                    let what =
                        "what a peer may do in its inbox is said by: write, read and list = true or false";
                    return Err(rights.mistake(what));
                }
                peer.roots.insert(name, Rights::parse(&rights)?);
            }
        }
        if let Some(value) = fields.take("inbox") {
            peer.inbox = Some(value.text()?.into());
        }
        if let Some(value) = fields.take("quota") {
            peer.quota = Some(value.size(0..=u64::MAX)?);
        }
        if let Some(value) = fields.take("rate") {
            peer.rate_bps = Some(value.rate(RATE_LEAST_BPS)?);
        }
        fields.finish()?;
        Ok(peer)
    }
}

/// Less is no rate that anything would arrive at, bits a second.
pub(crate) const RATE_LEAST_BPS: u64 = 8_000;
/// What a peer may be called.
pub(crate) const PEER_NAME_RULE: &str =
    "a name has 1 to 64 letters, digits, '-', '_' or '.', and begins with no '.'";
/// RFC 1035, 2.3.4.
const HOST_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::super::tests::{KEY, mistake};
    use super::*;

    fn of_peer(lines: &str) -> String {
        format!("[[peer]]\nname = \"alice\"\nkey = \"{KEY}\"\n{lines}\n")
    }

    #[test]
    fn rights_on_roots_are_lists_in_either_form() {
        let list = Rights { list: true, ..Rights::NONE };
        for lines in [
            "roots.disk = [\"read\", \"list\"]\nroots.films = [\"write\"]\nroots.old = []",
            "roots = { disk = [\"list\", \"read\"], films = [\"write\"], old = [] }",
            "[peer.roots]\ndisk = [\"read\", \"list\"]\nfilms = [\"write\"]\nold = []",
        ] {
            let config = Config::parse(&of_peer(lines)).unwrap();
            let roots = &config.peers[0].roots;
            assert_eq!(roots["disk"], Rights { read: true, ..list }, "{lines}");
            assert_eq!((roots["films"], roots["old"]), (Rights::default(), Rights::NONE));
        }
        assert_eq!(Rights { read: true, ..list }.words(), ["read", "list"]);
    }

    #[test]
    fn mistakes_in_grants_and_addresses_name_their_line() {
        let refused = |lines: &str, told: &str| {
            let text = mistake(&of_peer(lines));
            assert!(text.starts_with(&format!("4: {told}")), "{text}");
        };
        refused("roots.disk = [\"raed\"]", "a right is");
        refused("roots.disk = true", "'disk' is a list");
        refused("roots.inbox = [\"read\"]", "what a peer may do in its inbox");
        refused("roots = [\"read\"]", "rights on a root are a list");
        refused("address = \"a b\"", "an address is");
        refused("address = \"bob:99999\"", "an address is");
        refused("adress = \"bob\"", "unknown key 'adress'; did you mean 'address'?");
    }

    #[test]
    fn addresses_are_names_or_numbers_with_or_without_a_port() {
        let read = |text: &str| PeerAddress::read(text).map(|address| (address.host, address.port));
        let is = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(read("bob.example"), is("bob.example", None));
        assert_eq!(read("bob:7"), is("bob", Some(7)));
        assert_eq!(read("192.0.2.1:7"), is("192.0.2.1", Some(7)));
        assert_eq!(read("2001:db8::1"), is("2001:db8::1", None));
        assert_eq!(read("[2001:db8::1]"), is("2001:db8::1", None));
        assert_eq!(read("[2001:db8::1]:7"), is("2001:db8::1", Some(7)));
        assert_eq!(PeerAddress::read("2001:db8::1").unwrap().to_string(), "[2001:db8::1]:48379");
        for bad in ["", ":7", "bob:", "bob:0", "bob:7:8", "a/b", "bob bob", &"b".repeat(254), ".b"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }
}
