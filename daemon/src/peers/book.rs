//! Who is known, from both files, and what a command makes of it.
//!
//! The book decides and says why not. Each change is made in a copy, which takes the place of the book once the engine has
//! admitted what is [`merged`](PeerBook::merged) and the file is durable.

use std::io;
use std::path::{Path, PathBuf};

use udpx_control::schema::{ErrorReport, PeerAction, PeerRights};
use udpx_proto::Code;
use udpx_proto::handshake::PublicKey;

use super::file::{self, PEERS_MAX};
use super::text::edited;
use crate::config::{
    Config, ConfigError, INBOX, PEER_NAME_RULE, Peer, PeerSource, RATE_LEAST_BPS, Rights, is_name,
};

/// The peers of the configuration, and those of `peers.toml`.
#[derive(Clone, Debug)]
pub(crate) struct PeerBook {
    path: PathBuf,
    configured: Config,
    /// The file, as it is or shall be.
    text: String,
    added: Vec<Peer>,
}

impl PeerBook {
    /// The peers of `configured`, and those of the file in its state directory.
    ///
    /// # Errors
    /// [`ConfigError`] of that file.
    pub(crate) fn open(configured: Config) -> Result<Self, ConfigError> {
        let path = file::path_in(&configured.state_directory());
        let (text, added) = file::load(&path)?;
        Ok(Self { path, configured, text, added })
    }

    /// The book as the file is now, which people may have edited.
    ///
    /// # Errors
    /// What a client is to be told: the file has a mistake, and nothing is written over it.
    pub(crate) fn reread(&self) -> Result<Self, ErrorReport> {
        Self::open(self.configured.clone()).map_err(|error| {
            let text = format!("The file of peers is not understood: {error}");
            report(Code::Config, text, "Mend that line; the command can be given again then.")
        })
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The configuration with all peers.
    pub(crate) fn merged(&self) -> Config {
        self.configured.with_peers(&self.added)
    }

    /// The directory of a peer's files.
    pub(crate) fn inbox_of(&self, peer: &Peer) -> PathBuf {
        self.configured.inbox_of(peer)
    }

    /// Makes the file say what the book says.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn save(&self) -> io::Result<()> {
        file::replace(&self.path, &self.text, FILE_MODE)
    }

    /// Does what an administrator's command says, in a copy; `None` if it changes nothing. `in_force` has all roots.
    ///
    /// # Errors
    /// What the client is to be told.
    pub(crate) fn changed(
        &self,
        action: &PeerAction,
        in_force: &Config,
    ) -> Result<Option<Self>, ErrorReport> {
        let mut added = self.added.clone();
        match action {
            PeerAction::Show { peer } => {
                self.known(peer)?;
            }
            PeerAction::Rename { peer, to } => {
                let at = self.changeable(peer)?;
                self.check_new_name(peer, to)?;
                added[at].name.clone_from(to);
            }
            PeerAction::Remove { peer } => drop(added.remove(self.changeable(peer)?)),
            PeerAction::Grant(rights) => {
                let at = self.changeable(&rights.peer)?;
                self.check_grant(rights, in_force)?;
                let old = granted(&mut added[at], &rights.root);
                *old = Rights {
                    read: old.read | rights.read,
                    write: old.write | rights.write,
                    list: old.list | rights.list,
                };
            }
            PeerAction::Revoke(rights) => {
                let at = self.changeable(&rights.peer)?;
                revoke(&mut added[at], rights)?;
            }
            PeerAction::Quota { peer, bytes } => added[self.changeable(peer)?].quota = *bytes,
            PeerAction::Rate { peer, rate_bps } => {
                if rate_bps.is_some_and(|bps| bps < RATE_LEAST_BPS) {
                    let text = "That is no rate that anything would arrive at.";
                    return Err(report(Code::Usage, text, "The least rate is 8 kbit."));
                }
                added[self.changeable(peer)?].rate_bps = *rate_bps;
            }
        }
        Ok((added != self.added).then(|| self.with(added)))
    }

    /// The same with one more peer.
    ///
    /// # Errors
    /// It is known already, by its name or its key, or there are too many.
    pub(crate) fn with_peer(&self, peer: Peer) -> Result<Self, ErrorReport> {
        if self.added.len() >= PEERS_MAX {
            let text = format!("There are {PEERS_MAX} peers, as many as there may be.");
            return Err(report(Code::TryAgain, text, "Remove one: sudo udpxctl peer remove NAME"));
        }
        if let Some(known) = self.by_key(&peer.key) {
            let text = format!("That machine is known already, as {:?}.", known.name);
            return Err(report(Code::Usage, text, format!("See: udpxctl peer show {}", known.name)));
        }
        self.check_new_name("", &peer.name)?;
        let mut added = self.added.clone();
        added.push(Peer { source: PeerSource::PeersFile, ..peer });
        Ok(self.with(added))
    }

    /// Whom a key belongs to.
    pub(crate) fn by_key(&self, key: &PublicKey) -> Option<&Peer> {
        self.all().find(|peer| peer.key == *key)
    }

    /// Whom a name belongs to.
    pub(crate) fn by_name(&self, name: &str) -> Option<&Peer> {
        self.all().find(|peer| peer.name == name)
    }

    fn with(&self, added: Vec<Peer>) -> Self {
        let text = edited(&self.text, &self.added, &added);
        Self { path: self.path.clone(), configured: self.configured.clone(), text, added }
    }

    fn all(&self) -> impl Iterator<Item = &Peer> {
        self.configured.peers.iter().chain(&self.added)
    }

    fn known(&self, name: &str) -> Result<&Peer, ErrorReport> {
        self.by_name(name).ok_or_else(|| {
            report(Code::Usage, format!("No peer is called {name:?}."), "udpxctl peers lists them.")
        })
    }

    /// Where a peer of the file is.
    fn changeable(&self, name: &str) -> Result<usize, ErrorReport> {
        if self.known(name)?.source == PeerSource::Configuration {
            let text = format!("The peer {name:?} is set in udpxd.toml, and no command changes it.");
            let remedy =
                format!("Change it there, under [[peer]] name = {name:?}, then: sudo systemctl reload udpxd");
            return Err(report(Code::Usage, text, remedy));
        }
        let at = self.added.iter().position(|peer| peer.name == name);
        at.ok_or_else(|| report(Code::Bug, "A peer is in neither file.", Code::Bug.remedy()))
    }

    fn check_new_name(&self, old: &str, name: &str) -> Result<(), ErrorReport> {
        if !is_name(name) {
            let text = format!("{name:?} is no name of a peer: {PEER_NAME_RULE}.");
            return Err(report(Code::Usage, text, "Choose another name."));
        }
        if name != old && self.by_name(name).is_some() {
            let text = format!("Another peer is called {name:?}.");
            return Err(report(Code::Usage, text, "Choose another name, or see: udpxctl peers"));
        }
        Ok(())
    }

    fn check_grant(&self, rights: &PeerRights, in_force: &Config) -> Result<(), ErrorReport> {
        let PeerRights { peer, root, read, write, list } = rights;
        if !(*read || *write || *list) {
            let text = "There is no right to be granted.";
            let remedy = format!("Name some: sudo udpxctl peer grant {peer} --root {root} --read --list");
            return Err(report(Code::Usage, text, remedy));
        }
        if root != INBOX && !in_force.roots.contains_key(root) {
            let text = format!("No root is called {root:?}.");
            let remedy =
                "udpxctl root list shows them; another one is added by: sudo udpxctl root add NAME DIR";
            return Err(report(Code::Usage, text, remedy));
        }
        Ok(())
    }
}

/// The rights of a peer in a root.
fn granted<'a>(peer: &'a mut Peer, root: &str) -> &'a mut Rights {
    match root {
        INBOX => &mut peer.rights,
        root => peer.roots.entry(root.into()).or_insert(Rights::NONE),
    }
}

fn revoke(peer: &mut Peer, rights: &PeerRights) -> Result<(), ErrorReport> {
    let PeerRights { root, read, write, list, .. } = rights;
    if root != INBOX && !peer.roots.contains_key(root) {
        let text = format!("{:?} has no rights on a root {root:?}.", peer.name);
        return Err(report(Code::Usage, text, format!("See: udpxctl peer show {}", peer.name)));
    }
    let all = !(*read || *write || *list);
    let old = granted(peer, root);
    *old = Rights {
        read: old.read && !(all || *read),
        write: old.write && !(all || *write),
        list: old.list && !(all || *list),
    };
    if root != INBOX && !old.any() {
        peer.roots.remove(root);
    }
    Ok(())
}

fn report(code: Code, text: impl Into<String>, remedy: impl Into<String>) -> ErrorReport {
    ErrorReport::new((code.number(), code.kind()), text, remedy)
}

/// It holds no secret, but says whom this machine trusts.
const FILE_MODE: u32 = 0o640;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Root, RootSource};

    fn book(directory: &Path) -> PeerBook {
        let mut configured = Config { state: Some(directory.into()), ..Config::default() };
        configured.peers.push(Peer::new("conf", PublicKey([9; 32])));
        let root = Root { path: "/srv/disk".into(), source: RootSource::File };
        configured.roots.insert("disk".into(), root);
        let book = PeerBook::open(configured).unwrap();
        book.with_peer(Peer::new("alice", PublicKey([1; 32]))).unwrap()
    }

    fn rights(peer: &str, root: &str, words: &str) -> PeerRights {
        let has = |word| words.split(' ').any(|other| other == word);
        let (peer, root) = (peer.into(), root.into());
        PeerRights { peer, root, read: has("read"), write: has("write"), list: has("list") }
    }

    #[test]
    fn rights_come_and_go_and_are_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();
        let mut book = book(directory.path());
        for (action, own, disk) in [
            (PeerAction::Grant(rights("alice", INBOX, "read")), "write read", ""),
            (PeerAction::Grant(rights("alice", "disk", "read list")), "write read", "read list"),
            (PeerAction::Revoke(rights("alice", INBOX, "write")), "read", "read list"),
            (PeerAction::Revoke(rights("alice", "disk", "list")), "read", "read"),
            (PeerAction::Revoke(rights("alice", "disk", "")), "read", ""),
            (PeerAction::Revoke(rights("alice", INBOX, "")), "", ""),
            (PeerAction::Quota { peer: "alice".into(), bytes: Some(5 << 30) }, "", ""),
            (PeerAction::Rate { peer: "alice".into(), rate_bps: Some(100_000_000) }, "", ""),
        ] {
            book = book.changed(&action, &book.merged()).unwrap().unwrap();
            assert!(
                book.changed(&action, &book.merged()).map_or(true, |again| again.is_none()),
                "{action:?}"
            );
            book.save().unwrap();
            let read = book.reread().unwrap();
            let alice = read.by_name("alice").unwrap();
            assert_eq!(alice.rights.words().join(" "), own, "{action:?}");
            let on_disk = alice.roots.get("disk").map_or(String::new(), |rights| rights.words().join(" "));
            assert_eq!(on_disk, disk, "{action:?}");
        }
        let alice = book.reread().unwrap().by_name("alice").unwrap().clone();
        assert_eq!((alice.quota, alice.rate_bps), (Some(5 << 30), Some(100_000_000)));
        let renamed = PeerAction::Rename { peer: "alice".into(), to: "carol".into() };
        book = book.changed(&renamed, &book.merged()).unwrap().unwrap();
        assert!(book.by_name("alice").is_none() && book.by_name("carol").is_some());
        book = book.changed(&PeerAction::Remove { peer: "carol".into() }, &book.merged()).unwrap().unwrap();
        book.save().unwrap();
        assert_eq!(book.reread().unwrap().merged().peers.len(), 1);
    }

    #[test]
    fn what_cannot_be_done_says_what_to_do() {
        let directory = tempfile::tempdir().unwrap();
        let book = book(directory.path());
        let refused = |action: PeerAction| book.changed(&action, &book.merged()).unwrap_err().to_string();
        let rename = |peer: &str, to: &str| PeerAction::Rename { peer: peer.into(), to: to.into() };
        for (action, told) in [
            (PeerAction::Show { peer: "eve".into() }, "udpxctl peers lists them"),
            (
                PeerAction::Remove { peer: "conf".into() },
                "under [[peer]] name = \"conf\", then: sudo systemctl",
            ),
            (PeerAction::Grant(rights("conf", INBOX, "read")), "is set in udpxd.toml"),
            (
                PeerAction::Grant(rights("alice", INBOX, "")),
                "Name some: sudo udpxctl peer grant alice --root inbox",
            ),
            (PeerAction::Grant(rights("alice", "films", "read")), "sudo udpxctl root add"),
            (PeerAction::Revoke(rights("alice", "films", "")), "udpxctl peer show alice"),
            (PeerAction::Quota { peer: "conf".into(), bytes: Some(1) }, "is set in udpxd.toml"),
            (PeerAction::Rate { peer: "alice".into(), rate_bps: Some(1) }, "The least rate is 8 kbit"),
            (rename("alice", "conf"), "Another peer is called \"conf\""),
            (rename("alice", "../x"), "is no name of a peer"),
        ] {
            let text = refused(action);
            assert!(text.contains(told), "{text}");
        }
        for (name, key) in [("bob", 9), ("bob", 1), ("alice", 5), ("conf", 5), (".x", 5)] {
            assert!(book.with_peer(Peer::new(name, PublicKey([key; 32]))).is_err(), "{name} {key}");
        }
    }

    #[test]
    fn a_mistake_made_by_hand_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        let book = book(directory.path());
        book.save().unwrap();
        std::fs::write(book.path(), "[[peer]]\nnane = \"alice\"\n").unwrap();
        let error = book.reread().unwrap_err();
        assert!(error.code == 78 && error.text.contains("peers.toml:"), "{error}");
    }
}
