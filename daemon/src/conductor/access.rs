//! Who may ask for what.

use nix::unistd::{Group, geteuid};
use udpx_control::schema::{Command, ErrorReport, code};
use udpx_control::server::PeerCredentials;

/// Who sees everything: root, the daemon's own user, and members of a group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admins {
    uid: u32,
    /// The group, if this machine has it.
    gid: Option<u32>,
}

impl Admins {
    pub(super) fn of_this_host() -> Self {
        let group = Group::from_name(GROUP).ok().flatten();
        Self { uid: geteuid().as_raw(), gid: group.map(|group| group.gid.as_raw()) }
    }

    /// Whether `peer` may have an answer to `command`. Whose jobs it may touch is looked at with each job.
    ///
    /// # Errors
    /// What it is to be told.
    pub(super) fn check(self, peer: &PeerCredentials, command: &Command) -> Result<(), ErrorReport> {
        match command {
            Command::Peers(_)
            | Command::PeerAction(_)
            | Command::Invite(_)
            | Command::Join(_)
            | Command::Inbox(_)
            | Command::Stats(_)
            | Command::Roots(_) => self.require(peer, &format!("{:?}", command.name())),
            _ => Ok(()),
        }
    }

    /// Refuses those who do not see everything; `what` is what they asked for.
    ///
    /// # Errors
    /// What they are to be told.
    pub(super) fn require(self, peer: &PeerCredentials, what: &str) -> Result<(), ErrorReport> {
        if self.has(peer) {
            return Ok(());
        }
        let text = format!("{what} is for root and members of the group {GROUP}.");
        let remedy = match self.gid {
            Some(_) => format!("Join the group and log in again: sudo usermod -aG {GROUP} $USER."),
            None => format!(
                "Create the group, join it, and restart udpxd: sudo groupadd --system {GROUP} && sudo usermod -aG {GROUP} \
                 $USER."
            ),
        };
        Err(ErrorReport::new(code::REFUSED, text, remedy))
    }

    /// Whether `peer` sees everything.
    pub(super) fn has(self, peer: &PeerCredentials) -> bool {
        peer.uid == 0 || peer.uid == self.uid || self.gid.is_some_and(|gid| peer.is_in_group(gid))
    }
}

const GROUP: &str = "udpx-admin";

#[cfg(test)]
mod tests {
    use udpx_control::schema::{Stats, Version};

    use super::*;

    #[test]
    fn root_the_daemon_s_user_and_the_group_see_everything() {
        let admins = Admins { uid: 900, gid: Some(50) };
        let peer = |uid, gid, groups: &[u32]| PeerCredentials { uid, gid, pid: 1, groups: groups.to_vec() };
        let all = Command::from(Stats {});
        for admin in [peer(0, 0, &[]), peer(900, 900, &[]), peer(1000, 50, &[]), peer(1000, 1000, &[4, 50])] {
            assert_eq!(admins.check(&admin, &all), Ok(()));
        }
        let other = peer(1000, 1000, &[4]);
        let refused = admins.check(&other, &all).unwrap_err();
        assert_eq!(refused.code, 77);
        assert!(refused.to_string().contains("\"stats\"") && refused.remedy.contains("-aG udpx-admin"));
        assert_eq!(admins.check(&other, &Version {}.into()), Ok(()));
        let without_group = Admins { gid: None, ..admins };
        assert!(without_group.check(&other, &all).unwrap_err().remedy.contains("groupadd"));
    }
}
