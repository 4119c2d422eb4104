//! What the configuration grants, as the engine wants it: for each peer its roots, opened.
//!
//! A peer's own directory is made where it is missing, and a daemon that cannot have one does not start. The other
//! roots are the administrator's: one that is not there, a disk that is not mounted, is told to those who ask for it,
//! and keeps nothing else from working.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::DaemonError;
use crate::config::{self, Config, Peer, PeerSource, Sink};
use crate::engine::access::{Access, Root};
use crate::storage::allowance::{Allowance, Terms};
use crate::storage::orphans::remove_orphans;
use crate::storage::vault::{NullVault, RootVault, Vault, VaultError};
use crate::transfer::take::Place;

/// What each place may hold, by its path: an account goes on when its place is opened anew.
#[derive(Debug, Default)]
pub(super) struct Allowances(Mutex<BTreeMap<PathBuf, Arc<Allowance>>>);

impl Allowances {
    fn of(&self, path: &Path, terms: Terms) -> Arc<Allowance> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let allowance = all.entry(path.into()).or_default().clone();
        allowance.set(terms);
        allowance
    }

    /// Bytes that lie in a place, as far as they have been counted.
    pub(super) fn used(&self, path: &Path) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path)?.used()
    }
}

/// A root other than the inbox: one vault, whoever may use it.
type Shared<'c> = BTreeMap<&'c str, Root>;

/// What the peers may do, and where.
///
/// # Errors
/// A peer's own directory cannot be used.
pub(super) fn accesses(config: &Config, allowances: &Allowances) -> Result<Vec<Access>, DaemonError> {
    let open = |name, root: &config::Root| open(config, name, &root.path, allowances);
    let shared: Shared<'_> =
        config.roots.iter().map(|(name, root)| (name.as_str(), open(name, root))).collect();
    config.peers.iter().map(|peer| access(config, &shared, peer, allowances)).collect()
}

/// Removes what a killed daemon has not finished in any of these places.
pub(super) fn sweep(peers: &[Access]) {
    let places: BTreeSet<&PathBuf> =
        peers.iter().flat_map(|peer| &peer.roots).map(|root| &root.path).collect();
    for place in places {
        for orphan in remove_orphans(place).unwrap_or_default() {
            tracing::info!(?orphan, "removed what a killed daemon had not finished");
        }
    }
}

fn access(
    config: &Config,
    shared: &Shared<'_>,
    peer: &Peer,
    allowances: &Allowances,
) -> Result<Access, DaemonError> {
    let inbox = match config.sink {
        Sink::Null => Place { vault: Arc::new(NullVault), root: PathBuf::from("/dev/null") },
        Sink::Files => {
            let root = config.inbox_of(peer);
            let opened = open_inbox(&root);
            let opened = opened.map_err(|error| DaemonError::Inbox { peer: peer.name.clone(), error })?;
            let allowance = allowances.of(&root, own_terms(config, peer));
            Place { vault: Arc::new(opened.with_file_mode(FILE_MODE).with_allowance(allowance)), root }
        }
    };
    let mut roots = vec![Root::inbox(peer.rights, inbox)];
    for (name, &rights) in &peer.roots {
        match shared.get(name.as_str()) {
            Some(root) => roots.push(Root { rights, ..root.clone() }),
            None => tracing::warn!(
                peer = peer.name,
                root = name,
                "a peer has rights on a root that there is not: add it to [roots], or by udpxctl root add"
            ),
        }
    }
    let by_command = peer.source == PeerSource::PeersFile;
    Ok(Access {
        key: peer.key,
        name: peer.name.clone(),
        plain: peer.plain,
        rate_bps: peer.rate_bps,
        by_command,
        by_program: false,
        roots,
    })
}

/// What a peer's own directory may hold.
fn own_terms(config: &Config, peer: &Peer) -> Terms {
    let name = &peer.name;
    let remedy = match peer.source {
        PeerSource::PeersFile => format!("sudo udpxctl peer quota {name} SIZE"),
        PeerSource::Configuration => {
            format!("in its udpxd.toml, under [[peer]] name = {name:?}: quota = \"SIZE\"")
        }
    };
    Terms { quota: config.quota_of(peer), keep_free: config.keep_free, remedy }
}

fn open(config: &Config, name: &str, path: &Path, allowances: &Allowances) -> Root {
    let vault: Result<Arc<dyn Vault>, String> = match (config.sink, RootVault::open(path)) {
        (Sink::Null, _) => Ok(Arc::new(NullVault)),
        (Sink::Files, Ok(vault)) => {
            let remedy = format!("in its udpxd.toml, under [quotas]: {name} = \"SIZE\"");
            let terms =
                Terms { quota: config.quotas.get(name).copied(), keep_free: config.keep_free, remedy };
            Ok(Arc::new(vault.with_file_mode(FILE_MODE).with_allowance(allowances.of(path, terms))))
        }
        (Sink::Files, Err(error)) => {
            tracing::error!(root = name, %error, "a root cannot be used until this is mended and udpxd is reloaded");
            Err(format!(
                "The root {name:?} of this machine cannot be used now. On it, see why: udpxctl root list"
            ))
        }
    };
    Root { name: name.into(), rights: Default::default(), path: path.into(), vault }
}

fn open_inbox(root: &Path) -> Result<RootVault, VaultError> {
    let made = DirBuilder::new().recursive(true).mode(INBOX_MODE).create(root);
    match RootVault::open(root) {
        // Then the reason why it could not be made says more.
        Err(VaultError::NotFound(path)) => match made {
            Err(error) => Err(VaultError::Io { path, action: "created", error }),
            Ok(()) => Err(VaultError::NotFound(path)),
        },
        opened => opened,
    }
}

/// The set-gid bit comes from the directory above, where that has it: mkdir(2) itself doesn't give it.
const INBOX_MODE: u32 = 0o770;
/// For the group of the directory.
const FILE_MODE: u32 = 0o660;
