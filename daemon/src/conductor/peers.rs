//! Peers that commands change: the engine admits them at once, and `peers.toml` keeps them.

use std::fs;

use udpx_control::schema::{ErrorReport, Event, PeerAction, Reply};
use udpx_proto::Code;

use super::Conductor;
use super::board::Settings;
use super::clients::Address;
use super::reports::error;
use crate::config::Config;
use crate::peers::PeerBook;

impl Conductor {
    /// An administrator looks at a peer or changes it.
    pub(super) fn change_peer(&mut self, from: Address, action: &PeerAction) -> Result<(), ErrorReport> {
        // People may have edited the file.
        let book = self.peer_book.reread()?;
        if let Some(changed) = book.changed(action, &self.roots.in_force())? {
            let moved = match action {
                PeerAction::Rename { peer, to } => self.move_inbox(peer, to)?,
                _ => None,
            };
            if let Err(refused) = self.admit(changed) {
                if let Some((old, new)) = moved {
                    // It has just been moved the other way.
                    let _ = fs::rename(new, old);
                }
                return Err(refused);
            }
        }
        let name = match action {
            PeerAction::Show { peer }
            | PeerAction::Remove { peer }
            | PeerAction::Quota { peer, .. }
            | PeerAction::Rate { peer, .. } => peer,
            PeerAction::Rename { to, .. } => to,
            PeerAction::Grant(rights) | PeerAction::Revoke(rights) => &rights.peer,
        };
        let now = self.board.peers().into_iter().find(|peer| peer.peer == *name);
        if let Some(mut report) = now {
            let in_force = self.peers.iter().find(|peer| peer.name == *name);
            report.used_bytes = in_force.and_then(|peer| self.daemon.used_in(&self.peer_book.inbox_of(peer)));
            self.out.event(from, Event::Peer(report));
        }
        self.out.done(from, Reply::Nothing);
        Ok(())
    }

    /// Puts the peers of a book in force, and keeps them.
    ///
    /// # Errors
    /// Why that cannot be; then everything is as it was.
    pub(super) fn admit(&mut self, book: PeerBook) -> Result<(), ErrorReport> {
        let config = book.merged();
        let mut roots = self.roots.clone();
        roots.set_configured(config.clone());
        let in_force = roots.in_force();
        self.take_into_force(&in_force)?;
        if let Err(failed) = book.save() {
            let before = self.roots.in_force();
            self.take_into_force(&before)?;
            let text = format!("{} could not be written: {failed}.", book.path().display());
            let code = match failed.kind() {
                std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::NoSpace,
                _ => Code::Io,
            };
            return Err(error(
                code,
                text,
                "Free space there, or mend its directory, and give the command again.",
            ));
        }
        self.board.set(Settings::of(&in_force));
        self.roots = roots;
        self.peers = config.peers;
        self.peer_book = book;
        Ok(())
    }

    fn take_into_force(&mut self, config: &Config) -> Result<(), ErrorReport> {
        let done = self.daemon.reload(config);
        done.map(drop).map_err(|failed| error(failed.code(), failed.to_string(), Code::TryAgain.remedy()))
    }

    /// The directory of a peer that gets another name goes with it; returns where it was and is.
    fn move_inbox(
        &self,
        peer: &str,
        to: &str,
    ) -> Result<Option<(std::path::PathBuf, std::path::PathBuf)>, ErrorReport> {
        let config = self.peer_book.merged();
        let has_own = config.peers.iter().any(|known| known.name == peer && known.inbox.is_some());
        let (old, new) = (config.inbox.join(peer), config.inbox.join(to));
        if has_own || !old.exists() {
            return Ok(None);
        }
        // One that is empty makes way: rename(2) sees to that.
        fs::rename(&old, &new).map_err(|failed| {
            let text = format!("{} cannot become {}: {failed}.", old.display(), new.display());
            error(Code::NoSpace, text, "Move away what has that name, or choose another one.")
        })?;
        Ok(Some((old, new)))
    }
}
