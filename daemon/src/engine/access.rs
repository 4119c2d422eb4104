//! Who may do what here: the peers by their keys, and the roots of each with the rights that hold in them.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use udpx_proto::handshake::{Directory, Introduction, MutualKey, Psk, PublicKey, StaticSecret, TicketId};
use udpx_proto::{Code, Time};

use super::Engine;
use super::association::Association;
use super::driver::Peer;
use crate::config::{INBOX, NAME_MAX, Rights};
use crate::identity::key_text;
use crate::storage::vault::Vault;
use crate::transfer::Failure;
use crate::transfer::take::Place;

/// A peer that may do something here.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) key: PublicKey,
    pub(crate) name: String,
    /// Its bulk data may come unencrypted.
    pub(crate) plain: bool,
    /// What may be moved to it and from it, bits a second.
    pub(crate) rate_bps: Option<u64>,
    /// Its rights are changed by commands.
    pub(crate) by_command: bool,
    /// Its rights are those that the program gave whose engine this is, and which hears of every step.
    pub(crate) by_program: bool,
    /// Where it may do something. The first is the default: the one that is meant where a request names none.
    pub(crate) roots: Vec<Root>,
}

/// A place with a name, and what one peer may do there.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) name: String,
    pub(crate) rights: Rights,
    pub(crate) path: PathBuf,
    /// How it is reached; or why it cannot be, as a sentence for the peer: a disk that is not there.
    pub(crate) vault: Result<Arc<dyn Vault>, String>,
}

impl Access {
    /// Whether a session that was opened with these rights may go on with those.
    fn allows(&self, session: &Self) -> bool {
        let kept = |old: &Root| {
            let new = self.roots.iter().find(|new| new.name == old.name && new.path == old.path);
            Right::ALL.iter().all(|&right| !old.has(right) || new.is_some_and(|new| new.has(right)))
        };
        self.name == session.name && self.plain == session.plain && session.roots.iter().all(kept)
    }

    /// The place that a request means, if the peer may do that there.
    ///
    /// # Errors
    /// What it is to be told.
    pub(crate) fn place(&self, root: &str, right: Right) -> Result<Place, Failure> {
        let found = match root {
            "" => self.roots.first(),
            name => self.roots.iter().find(|root| root.name == name),
        };
        // What it may do nothing with is none of its business.
        let found = found.filter(|found| root.is_empty() || found.rights.any());
        let Some(found) = found else {
            return Err(Failure::new(Code::Refused, self.unknown(root)));
        };
        if !found.has(right) {
            return Err(Failure::new(Code::Refused, self.missing(found, right)));
        }
        match &found.vault {
            Ok(vault) => Ok(Place { vault: vault.clone(), root: found.path.clone() }),
            Err(problem) => Err(Failure::new(Code::Io, problem.clone())),
        }
    }

    fn unknown(&self, root: &str) -> String {
        let usable: Vec<_> =
            self.roots.iter().filter(|root| root.rights.any()).map(|root| format!("{root:?}")).collect();
        // Of a name that nothing can have, nothing is repeated.
        let called = if (1..=NAME_MAX).contains(&root.len()) { format!(" {root:?}") } else { String::new() };
        match usable.as_slice() {
            [] if self.by_program => {
                format!("The program that listens here gives {:?} no rights at all.", self.name)
            }
            [] if self.by_command => format!(
                "You may use no root of this machine. On it: sudo udpxctl peer grant {} --root {INBOX} --write",
                self.name
            ),
            [] => format!(
                "You may use no root of this machine. On it, set in its udpxd.toml, under [[peer]] name = {:?}: write = true",
                self.name
            ),
            usable => {
                let usable = usable.join(", ");
                format!("You may use no root{called} of this machine; use one of yours: {usable}.")
            }
        }
    }

    fn missing(&self, root: &Root, right: Right) -> String {
        let (name, word, peer) = (&root.name, right.word(), &self.name);
        if self.by_program {
            return format!("The program that listens here gives {peer:?} no right to {word}.");
        }
        if self.by_command {
            return format!(
                "This machine gives you no {word} on {name:?}. On it: sudo udpxctl peer grant {peer} --root {name} --{word}"
            );
        }
        let set = match name.as_str() {
            INBOX => format!("{word} = true"),
            name => format!("roots.{name} = {:?}", right.added_to(root.rights).words()),
        };
        format!(
            "This machine gives you no {word} on {name:?}. On it, set in its udpxd.toml, under [[peer]] name = {peer:?}: {set}"
        )
    }
}

impl Root {
    /// The root where a peer's files arrive.
    pub(crate) fn inbox(rights: Rights, place: Place) -> Self {
        Self { name: INBOX.into(), rights, path: place.root, vault: Ok(place.vault) }
    }

    fn has(&self, right: Right) -> bool {
        match right {
            Right::Write => self.rights.write,
            Right::Read => self.rights.read,
            Right::List => self.rights.list,
        }
    }
}

/// As its peer is told of it: `"disk" (read, list)`.
impl fmt::Debug for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({})", self.name, self.rights.words().join(", "))
    }
}

/// What a peer may do in a root.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Right {
    Write,
    Read,
    List,
}

impl Right {
    const ALL: [Self; 3] = [Self::Write, Self::Read, Self::List];

    fn added_to(self, rights: Rights) -> Rights {
        match self {
            Self::Write => Rights { write: true, ..rights },
            Self::Read => Rights { read: true, ..rights },
            Self::List => Rights { list: true, ..rights },
        }
    }

    /// Its name in the configuration.
    fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::List => "list",
        }
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("name", &self.name).field("roots", &self.roots).finish_non_exhaustive()
    }
}

/// All peers. Few, and looked up once a handshake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    list: Vec<Arc<Access>>,
    /// What this machine shares with each of them.
    mutual: Vec<MutualKey>,
    /// How the configuration is called in messages.
    config_name: String,
    /// Commands can let others in.
    invites: bool,
    /// They were named by the program whose engine this is.
    by_program: bool,
}

impl Peers {
    pub(crate) fn new(list: Vec<Access>, config_name: String, invites: bool) -> Self {
        let list = list.into_iter().map(Arc::new).collect();
        Self { list, mutual: Vec::new(), config_name, invites, by_program: false }
    }

    /// Those that the program has named whose engine this is.
    pub(crate) fn of_program(list: Vec<Access>) -> Self {
        Self { by_program: true, ..Self::new(list, String::new(), false) }
    }

    /// Computes what this machine shares with each, once: by that they are told from strangers when many knock.
    pub(crate) fn acquaint(&mut self, identity: &StaticSecret) {
        self.mutual = self.list.iter().filter_map(|access| MutualKey::new(identity, &access.key)).collect();
    }

    /// What somebody is told whom nobody here knows.
    pub(crate) fn stranger(&self, key: &PublicKey) -> String {
        let key = key_text(key);
        let Self { config_name, invites, .. } = self;
        match config_name.is_empty() {
            _ if self.by_program => {
                format!(
                    "The program that listens here does not know your key, {key}. Name it to that program."
                )
            }
            true => "This machine lets in only those who have a ticket.".to_owned(),
            false if *invites => format!(
                "This machine does not know your key, {key}. On it: sudo udpxctl invite; and here, with the ticket that \
                 it prints: sudo udpxctl join TICKET"
            ),
            false => format!(
                "This machine does not know your key. On it, add to {config_name}: [[peer]] name = \"...\" key = \"{key}\""
            ),
        }
    }

    /// The cap of a peer.
    pub(super) fn rate_bps(&self, key: &PublicKey) -> Option<u64> {
        self.find(key).and_then(|access| access.rate_bps)
    }

    pub(crate) fn find(&self, key: &PublicKey) -> Option<&Arc<Access>> {
        self.list.iter().find(|access| access.key == *key)
    }
}

impl Engine {
    /// Replaces the peers. Sessions of those who lost something are closed; the others go on, with what they won, and
    /// those that a ticket opened.
    pub(super) fn admit(&mut self, mut peers: Peers, now: Time) {
        peers.acquaint(&self.config.identity);
        for driver in self.associations.iter_mut().flatten().filter_map(Association::driver) {
            if let (Peer::Known(access), None) = (&driver.peer, &driver.guest) {
                match peers.find(&access.key) {
                    Some(new) if new.allows(access) => driver.peer = Peer::Known(new.clone()),
                    Some(_) => driver.close(Code::TryAgain, "What you may do here has changed.", now),
                    None => driver.close(Code::Refused, "You may not write here any more.", now),
                }
            }
        }
        self.config.peers = peers;
        self.rates_stirred = true;
    }
}

impl Directory for Peers {
    fn psk(&self, _: &PublicKey) -> Option<Psk> {
        None
    }

    fn ticket(&self, _: &TicketId) -> Option<Psk> {
        None
    }

    fn knows(&self, introduction: &Introduction) -> bool {
        self.mutual.iter().any(|key| introduction.is_by(key))
    }

    fn plain_ok(&self, peer: &PublicKey) -> bool {
        self.find(peer).is_some_and(|access| access.plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::vault::NullVault;

    fn root(name: &str, rights: Rights) -> Root {
        let path = PathBuf::from("/srv").join(name);
        Root { name: name.into(), rights, path, vault: Ok(Arc::new(NullVault)) }
    }

    fn access(roots: Vec<Root>) -> Access {
        Access {
            key: PublicKey([1; 32]),
            name: "alice".into(),
            plain: false,
            rate_bps: None,
            by_command: false,
            by_program: false,
            roots,
        }
    }

    const WRITE: Rights = Rights { write: true, read: false, list: false };
    const LIST: Rights = Rights { write: false, read: false, list: true };

    fn told(access: &Access, root: &str, right: Right) -> String {
        access.place(root, right).err().unwrap().text
    }

    #[test]
    fn a_request_gets_its_root_and_nothing_else() {
        let peer = access(vec![root(INBOX, WRITE), root("disk", LIST), root("none", Rights::NONE)]);
        assert_eq!(peer.place("", Right::Write).unwrap().root, PathBuf::from("/srv/inbox"));
        assert_eq!(peer.place(INBOX, Right::Write).unwrap().root, PathBuf::from("/srv/inbox"));
        assert_eq!(peer.place("disk", Right::List).unwrap().root, PathBuf::from("/srv/disk"));
        let yours = "use one of yours: \"inbox\" (write), \"disk\" (list).";
        for unknown in ["none", "nothing"] {
            let text = format!("You may use no root {unknown:?} of this machine; {yours}");
            assert_eq!(told(&peer, unknown, Right::Read), text);
        }
        assert!(
            told(&access(Vec::new()), "", Right::List).starts_with("You may use no root of this machine")
        );
    }

    #[test]
    fn a_missing_right_is_told_with_the_line_that_grants_it() {
        let peer = access(vec![root(INBOX, WRITE), root("disk", LIST)]);
        let set = "On it, set in its udpxd.toml, under [[peer]] name = \"alice\"";
        for asked in ["", INBOX] {
            let text = format!("This machine gives you no read on \"inbox\". {set}: read = true");
            assert_eq!(told(&peer, asked, Right::Read), text);
        }
        let text =
            format!("This machine gives you no write on \"disk\". {set}: roots.disk = [\"write\", \"list\"]");
        assert_eq!(told(&peer, "disk", Right::Write), text);
    }

    #[test]
    fn a_missing_right_of_a_peer_of_commands_is_told_with_the_command() {
        let by_command = |roots| Access { by_command: true, ..access(roots) };
        let peer = by_command(vec![root(INBOX, WRITE), root("disk", LIST)]);
        let command = "On it: sudo udpxctl peer grant alice --root";
        let text = format!("This machine gives you no write on \"disk\". {command} disk --write");
        assert_eq!(told(&peer, "disk", Right::Write), text);
        assert!(told(&peer, "", Right::List).ends_with(&format!("{command} inbox --list")));
        assert!(
            told(&by_command(Vec::new()), "", Right::List).ends_with(&format!("{command} inbox --write"))
        );
    }

    #[test]
    fn a_root_that_cannot_be_reached_says_why() {
        let lost = Root { vault: Err("\"disk\" is not there.".into()), ..root("disk", LIST) };
        let failure = access(vec![lost]).place("disk", Right::List).err().unwrap();
        assert_eq!((failure.code, failure.text.as_str()), (Code::Io, "\"disk\" is not there."));
    }

    #[test]
    fn a_session_ends_when_its_peer_loses_something_and_not_when_it_wins() {
        let before = access(vec![root(INBOX, WRITE), root("disk", LIST)]);
        assert!(before.allows(&before));
        let more =
            access(vec![root(INBOX, WRITE), root("disk", Right::Read.added_to(LIST)), root("new", WRITE)]);
        assert!(more.allows(&before) && !before.allows(&more));
        assert!(!access(vec![root(INBOX, WRITE)]).allows(&before));
        let moved = Root { path: "/elsewhere".into(), ..root("disk", LIST) };
        assert!(!access(vec![root(INBOX, WRITE), moved]).allows(&before));
        // Where it could do nothing it has lost nothing.
        let useless = access(vec![root(INBOX, WRITE), root("disk", LIST), root("none", Rights::NONE)]);
        assert!(before.allows(&useless));
    }
}
