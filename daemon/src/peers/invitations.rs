//! Invitations: who may become a peer, and until when.
//!
//! They are kept in a file of the state directory, so that a ticket survives a restart of the daemon, and so does the
//! knowledge that it was used: the holder's key is durable before anything comes of it. The file holds secrets and is for
//! the daemon alone. One that cannot be understood is worth nothing, and never kept from being replaced: all that is lost
//! with it is that somebody has to be invited again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use udpx_proto::handshake::{PublicKey, TicketId};
use zeroize::Zeroizing;

use super::file;
use crate::identity::{key_text, parse_key};
use crate::ticket::Ticket;

/// An invitation.
#[derive(Clone, Debug)]
pub(crate) struct Invitation {
    pub(crate) ticket: Ticket,
    /// Where the ticket's rights hold.
    pub(crate) root: String,
    /// What the peer will be called; as it calls itself if `None`.
    pub(crate) name: Option<String>,
    /// Who has used it.
    pub(crate) holder: Option<PublicKey>,
    /// The holder has become a peer.
    pub(crate) spent: bool,
}

/// As the file has it, one a line.
#[derive(Serialize, Deserialize)]
struct Line {
    ticket: String,
    root: String,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    holder: Option<String>,
    #[serde(default)]
    spent: bool,
}

/// All invitations, oldest first.
#[derive(Clone, Debug)]
pub(crate) struct Invitations {
    path: PathBuf,
    list: Vec<Invitation>,
}

impl Invitations {
    /// Reads the file of a daemon with that state directory.
    pub(crate) fn open(state: &Path) -> Self {
        let path = state.join(FILE_NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(?path, %error, "invitations cannot be read, and are void");
                }
                Zeroizing::new(String::new())
            }
        };
        let list: Vec<_> = text.lines().filter_map(parse).collect();
        if list.len() < text.lines().count() {
            tracing::warn!(?path, "some invitations are not understood, and are void");
        }
        Self { path, list }
    }

    /// The same with one more, without those that have been of no use for long.
    ///
    /// # Errors
    /// How many are open, if that is as many as there may be.
    pub(crate) fn with(&self, new: Invitation, wall: SystemTime) -> Result<Self, usize> {
        let mut list = self.list.clone();
        let is_old = |old: &Invitation| old.ticket.expires.is_none_or(|expires| wall >= expires + REMEMBERED);
        list.retain(|old| !is_old(old));
        if list.len() >= INVITATIONS_MAX {
            let is_over = |old: &Invitation| old.spent || old.ticket.expires.is_none_or(|end| wall >= end);
            match list.iter().position(is_over) {
                Some(oldest) => drop(list.remove(oldest)),
                None => return Err(list.len()),
            }
        }
        list.push(new);
        Ok(Self { path: self.path.clone(), list })
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Invitation> {
        self.list.iter()
    }

    /// The invitation of a ticket.
    pub(crate) fn get(&self, id: &TicketId) -> Option<&Invitation> {
        self.list.iter().find(|invitation| invitation.ticket.id == *id)
    }

    /// The same, to be changed.
    pub(crate) fn get_mut(&mut self, id: &TicketId) -> Option<&mut Invitation> {
        self.list.iter_mut().find(|invitation| invitation.ticket.id == *id)
    }

    /// Makes the file say what is known here.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn save(&self) -> io::Result<()> {
        let mut text = Zeroizing::new(String::new());
        for invitation in &self.list {
            text.push_str(&line(invitation)?);
            text.push('\n');
        }
        file::replace(&self.path, &text, FILE_MODE)
    }
}

fn line(invitation: &Invitation) -> io::Result<Zeroizing<String>> {
    let line = Line {
        ticket: invitation.ticket.text().to_string(),
        root: invitation.root.clone(),
        name: invitation.name.clone(),
        holder: invitation.holder.as_ref().map(key_text),
        spent: invitation.spent,
    };
    Ok(Zeroizing::new(serde_json::to_string(&line)?))
}

fn parse(line: &str) -> Option<Invitation> {
    let Line { ticket, root, name, holder, spent } = serde_json::from_str(line).ok()?;
    let ticket = Zeroizing::new(ticket);
    // A holder that is none would leave the ticket to anybody.
    let holder = holder.map(|key| parse_key(&key).ok_or(())).transpose().ok()?;
    Some(Invitation { ticket: Ticket::parse(&ticket).ok()?, root, name, holder, spent })
}

/// Whether what is read of a file is what is read of it when it was written again: for fuzzing.
///
/// # Panics
/// It is not.
pub(crate) fn check_reading(text: &str) {
    for invitation in text.lines().filter_map(parse) {
        let written = line(&invitation).expect("nothing in it cannot be written");
        assert!(parse(&written).is_some_and(|again| again.ticket == invitation.ticket));
        let again = parse(&written).expect("it was, just now");
        assert_eq!(
            (again.holder, again.spent, again.name),
            (invitation.holder, invitation.spent, invitation.name)
        );
    }
}

const FILE_NAME: &str = "invitations";
/// It holds secrets.
const FILE_MODE: u32 = 0o600;
/// Invitations at once.
pub(crate) const INVITATIONS_MAX: usize = 64;
/// How long whoever comes late is still told that they are late.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::identity::OsRandom;
    use crate::ticket::{Gives, Purpose};

    fn invitation(expires: SystemTime) -> Invitation {
        let gives = Gives { write: true, list: true, once: true, ..Gives::default() };
        let addresses = vec!["192.0.2.1:48379".parse().unwrap()];
        let mut random = OsRandom::open().unwrap();
        let key = PublicKey([3; 32]);
        let ticket = Ticket::new(key, addresses, Some(expires), Purpose::Invite, gives, &mut random);
        Invitation { ticket, root: "inbox".into(), name: Some("alice".into()), holder: None, spent: false }
    }

    #[test]
    fn they_and_their_holders_survive_in_a_file_that_nobody_else_reads() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let one = invitation(now + Duration::from_secs(60));
        let id = one.ticket.id;
        let mut all = Invitations::open(directory.path()).with(one.clone(), now).unwrap();
        let holder = all.get_mut(&id).unwrap();
        (holder.holder, holder.spent) = (Some(PublicKey([7; 32])), true);
        all.save().unwrap();
        let path = directory.path().join(FILE_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let read = Invitations::open(directory.path());
        let found = read.get(&id).unwrap();
        assert!(found.ticket == one.ticket && found.spent && found.holder == Some(PublicKey([7; 32])));
        assert!(!format!("{found:?}").contains(&*one.ticket.text()));
        // What cannot be read is void, and not open to all.
        let text = std::fs::read_to_string(&path).unwrap().replace("udpxk1", "udpxk2");
        std::fs::write(&path, text + "nonsense\n").unwrap();
        assert_eq!(Invitations::open(directory.path()).iter().count(), 0);
    }

    #[test]
    fn they_are_bounded() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut all = Invitations::open(directory.path());
        for _ in 0..INVITATIONS_MAX {
            all = all.with(invitation(now + Duration::from_secs(60)), now).unwrap();
        }
        assert_eq!(all.with(invitation(now), now).unwrap_err(), INVITATIONS_MAX);
        let id = all.iter().next().unwrap().ticket.id;
        all.get_mut(&id).unwrap().spent = true;
        all = all.with(invitation(now + Duration::from_secs(60)), now).unwrap();
        assert!(all.get(&id).is_none());
        let late = now + REMEMBERED + Duration::from_secs(61);
        assert_eq!(all.with(invitation(late), late).unwrap().iter().count(), 1);
    }
}
