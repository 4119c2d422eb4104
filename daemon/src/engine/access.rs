//! Who may do what here: the peers of the configuration by their keys.

use std::sync::Arc;

use udpx_proto::handshake::{Directory, Psk, PublicKey, TicketId};

use crate::transfer::take::Place;

/// A peer that may write here.
#[derive(Clone)]
pub(crate) struct Access {
    pub(crate) key: PublicKey,
    pub(crate) name: String,
    /// Its bulk data may come unencrypted.
    pub(crate) plain: bool,
    pub(crate) place: Place,
}

/// All peers. Few, and looked up once a handshake.
#[derive(Clone, Default)]
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
