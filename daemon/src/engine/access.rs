//! Who may do what here: the peers of the configuration by their keys.

use std::sync::Arc;

use udpx_proto::handshake::{Directory, Psk, PublicKey, TicketId};
use udpx_proto::{Code, Time};

use super::Engine;
use super::association::Association;
use super::driver::Peer;
use crate::config::Rights;
use crate::transfer::Failure;
use crate::transfer::take::Place;

/// A peer of the configuration.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) key: PublicKey,
    pub(crate) name: String,
    /// Its bulk data may come unencrypted.
    pub(crate) plain: bool,
    pub(crate) rights: Rights,
    pub(crate) place: Place,
}

impl Access {
    /// Whether a session that was opened with these rights may go on with those.
    fn allows(&self, session: &Self) -> bool {
        self.name == session.name
            && self.plain == session.plain
            && self.place.root == session.place.root
            && Right::ALL.iter().all(|&right| self.has(right) || !session.has(right))
    }

    fn has(&self, right: Right) -> bool {
        match right {
            Right::Write => self.rights.write,
            Right::Read => self.rights.read,
            Right::List => self.rights.list,
        }
    }

    /// Whether the peer may do it.
    ///
    /// # Errors
    /// What it is to be told.
    pub(crate) fn check(&self, right: Right) -> Result<(), Failure> {
        if self.has(right) {
            return Ok(());
        }
        let (name, word) = (&self.name, right.word());
        let text = format!(
            "This machine gives you no {word}. In its udpxd.toml, add under [[peer]] name = \"{name}\": {word} = true"
        );
        Err(Failure::new(Code::Refused, text))
    }
}

/// What a peer may do with its directory.
#[derive(Copy, Clone, Debug)]
pub(crate) enum Right {
    Write,
    Read,
    List,
}

impl Right {
    const ALL: [Self; 3] = [Self::Write, Self::Read, Self::List];

    /// Its name in the configuration.
    fn word(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::List => "list",
        }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access")
            .field("name", &self.name)
            .field("root", &self.place.root)
            .finish_non_exhaustive()
    }
}

/// All peers. Few, and looked up once a handshake.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peers {
    list: Vec<Arc<Access>>,
    /// How the configuration is called in messages.
    pub(crate) config_name: String,
}

impl Peers {
    pub(crate) fn new(list: Vec<Access>, config_name: String) -> Self {
        Self { list: list.into_iter().map(Arc::new).collect(), config_name }
    }

    pub(crate) fn find(&self, key: &PublicKey) -> Option<&Arc<Access>> {
        self.list.iter().find(|access| access.key == *key)
    }
}

impl Engine {
    /// Replaces the peers. Sessions of those who lost something are closed; the others go on, and those that a ticket
    /// opened.
    pub(super) fn admit(&mut self, peers: Peers, now: Time) {
        for driver in self.associations.iter_mut().flatten().filter_map(Association::driver) {
            if let (Peer::Known(access), None) = (&driver.peer, &driver.guest) {
                match peers.find(&access.key) {
                    Some(new) if new.allows(access) => {}
                    Some(_) => driver.close(Code::TryAgain, "What you may do here has changed.", now),
                    None => driver.close(Code::Refused, "You may not write here any more.", now),
                }
            }
        }
        self.config.peers = peers;
    }
}

impl Directory for Peers {
    fn psk(&self, _: &PublicKey) -> Option<Psk> {
        None
    }

    fn ticket(&self, _: &TicketId) -> Option<Psk> {
        None
    }

    fn plain_ok(&self, peer: &PublicKey) -> bool {
        self.find(peer).is_some_and(|access| access.plain)
    }
}
