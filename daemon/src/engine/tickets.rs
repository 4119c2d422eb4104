//! Tickets that open sessions: what each gives, to whom it belongs, and when it is spent (TICKETS.md 4).
//!
//! A ticket that cannot be used any more is remembered for a while. Whoever shows its secret is no stranger and is told
//! why it is refused; to everybody else the engine does not say that there ever was such a ticket.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

use udpx_proto::Code;
use udpx_proto::handshake::{Directory, Introduction, Psk, PublicKey, TicketId};
use udpx_proto::messages::{IfExists, PutRequest};

use super::Engine;
use super::access::{Access, Peers, Right, Root};
use super::association::Association;
use super::report::SessionKey;
use crate::config::Rights;
use crate::identity::key_text;
use crate::transfer::Failure;
use crate::transfer::take::Place;

/// What a ticket gives, as the machine that made it has noted.
#[derive(Debug)]
pub(crate) struct Grant {
    pub(crate) id: TicketId,
    pub(crate) secret: Psk,
    /// Nobody can begin to use it later, by the clock of this machine.
    pub(crate) expires: Option<SystemTime>,
    /// It belongs to the first who uses it.
    pub(crate) once: bool,
    pub(crate) rights: Rights,
    pub(crate) place: Place,
    /// All that may be put is one file, and it goes here.
    pub(crate) only: Option<OnlyFile>,
    /// It makes its holder a peer, and gives nothing by itself.
    pub(crate) invitation: bool,
    /// Whose it is, once it was used and belongs to one.
    pub(crate) holder: Option<PublicKey>,
    /// Permission bits that files may get.
    pub(crate) mode_mask: u32,
    /// What it was made for is done.
    done: AtomicBool,
    /// The session that puts the one file: the latest that asked, as one before it may be lost and not know it.
    putting: AtomicU64,
}

/// Where the one file goes, whatever its sender calls it.
#[derive(Clone, Debug)]
pub(crate) struct OnlyFile {
    /// Its path beneath the root; what its sender calls it if empty.
    pub(crate) path: Vec<u8>,
    pub(crate) if_exists: IfExists,
}

impl Grant {
    /// Of everybody who has the secret, for any number of files, until it is changed by the caller.
    pub(crate) fn new(id: TicketId, secret: Psk, rights: Rights, place: Place) -> Self {
        Self {
            id,
            secret,
            expires: None,
            once: false,
            rights,
            place,
            only: None,
            invitation: false,
            holder: None,
            mode_mask: 0o777,
            done: AtomicBool::new(false),
            putting: AtomicU64::new(0),
        }
    }

    /// The rights as those of a peer, who is called by the beginning of its key.
    fn access(&self, key: PublicKey) -> Access {
        let name = key_text(&key).chars().take(NAME_LETTERS).collect();
        Access {
            key,
            name,
            plain: false,
            rate_bps: None,
            by_command: false,
            by_program: false,
            roots: vec![Root::inbox(self.rights, self.place.clone())],
        }
    }

    /// What it was made for is done.
    pub(crate) fn spend(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }
}

/// A session that a ticket has opened, as its driver has it.
#[derive(Debug)]
pub(crate) struct Guest {
    grant: Arc<Grant>,
    /// A file came or went.
    moved: bool,
}

impl Guest {
    /// The place that a request means, if the ticket gives that there.
    ///
    /// # Errors
    /// What its holder is to be told.
    pub(crate) fn place(&self, access: &Access, root: &str, right: Right) -> Result<Place, Failure> {
        if self.grant.invitation {
            let text = "This ticket makes a machine a peer and gives nothing by itself. On the machine that is to become one: sudo udpxctl join TICKET";
            return Err(Failure::new(Code::Refused, text));
        }
        let Rights { write, read, list } = self.grant.rights;
        let (given, text) = match (right, &self.grant.only) {
            (Right::Write, _) => (write, "This ticket gives files and takes none."),
            (_, Some(_)) => (false, "This ticket is for one file to be pushed, and for nothing else."),
            (Right::Read, None) => (read, "This ticket takes files and gives none."),
            (Right::List, None) => (list, "This ticket takes files and gives none."),
        };
        if !given {
            return Err(Failure::new(Code::Refused, format!("{text} On it, {MAKE_ANOTHER}")));
        }
        // The one file goes to its place whatever its sender calls that.
        access.place(if self.grant.only.is_some() { "" } else { root }, right)
    }

    /// What the holder wants to put in this session, as this machine wants it. `busy`: another file is under way in it.
    ///
    /// # Errors
    /// What the holder is to be told instead.
    pub(crate) fn put(
        &self,
        session: SessionKey,
        request: &PutRequest,
        busy: bool,
    ) -> Result<PutRequest, Failure> {
        let request = PutRequest { mode: request.mode & self.grant.mode_mask, ..request.clone() };
        let Some(only) = &self.grant.only else { return Ok(request) };
        if busy || self.grant.is_done() {
            return Err(Failure::new(
                Code::Refused,
                format!("This ticket is for one file. On it, {MAKE_ANOTHER}"),
            ));
        }
        self.grant.putting.store(session, Ordering::Relaxed);
        Ok(PutRequest {
            root: String::new(),
            path: if only.path.is_empty() { called(&request) } else { only.path.clone() },
            name: Vec::new(),
            if_exists: only.if_exists,
            ..request
        })
    }

    /// Whether another session of the holder's puts the one file instead of this one.
    pub(crate) fn is_superseded(&self, session: SessionKey) -> bool {
        self.grant.only.is_some() && self.grant.putting.load(Ordering::Relaxed) != session
    }

    /// The ticket, if its holder is to become a peer.
    pub(super) fn invitation(&self) -> Option<TicketId> {
        self.grant.invitation.then_some(self.grant.id)
    }

    /// Its holder is a peer now.
    pub(super) fn on_joined(&self) {
        self.grant.spend();
    }

    /// A file came or went.
    pub(crate) fn on_moved(&mut self) {
        self.moved = true;
        if self.grant.only.is_some() {
            self.grant.done.store(true, Ordering::Relaxed);
        }
    }

    /// The session has ended, and its caller wanted no more.
    pub(crate) fn on_finished(&self) {
        if self.moved && self.grant.once {
            self.grant.done.store(true, Ordering::Relaxed);
        }
    }
}

/// All tickets of an engine, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    list: VecDeque<Known>,
}

#[derive(Debug)]
struct Known {
    grant: Arc<Grant>,
    /// Whose it is, once it was used and belongs to one.
    holder: Option<PublicKey>,
}

impl Known {
    fn is_expired(&self, wall: SystemTime) -> bool {
        self.grant.expires.is_some_and(|expires| wall >= expires)
    }

    fn is_useless(&self, wall: SystemTime) -> bool {
        self.grant.is_done() || (self.holder.is_none() && self.is_expired(wall))
    }
}

impl Tickets {
    /// Takes a ticket in. False if there are too many that can still be used.
    pub(crate) fn add(&mut self, grant: Grant, wall: SystemTime) -> bool {
        if self.list.len() >= TICKETS_MAX {
            match self.list.iter().position(|known| known.is_useless(wall)) {
                Some(oldest) => drop(self.list.remove(oldest)),
                None => return false,
            }
        }
        self.list.push_back(Known { holder: grant.holder, grant: Arc::new(grant) });
        true
    }

    /// The secret of a ticket, also of one that is refused later.
    fn psk(&self, id: &TicketId) -> Option<Psk> {
        self.list.iter().find(|known| known.grant.id == *id).map(|known| known.grant.secret.clone())
    }

    /// Somebody has proven that they hold the secret: from now on it may be theirs.
    ///
    /// # Errors
    /// Why it is not, for them to hear.
    pub(crate) fn enter(
        &mut self,
        id: &TicketId,
        key: PublicKey,
        wall: SystemTime,
    ) -> Result<(Arc<Access>, Guest), String> {
        // Only if it was forgotten since the handshake began.
        let found = self.list.iter_mut().find(|known| known.grant.id == *id);
        let known = found.ok_or_else(|| format!("This ticket was used already. On it, {MAKE_ANOTHER}"))?;
        let why = match known.holder {
            Some(holder) if holder != key => Some("was used by another machine already"),
            // It may not have heard that it is a peer already; if it is none any more then that is told later.
            Some(_) if known.grant.invitation => None,
            _ if known.grant.is_done() => Some("was used already"),
            None if known.is_expired(wall) => Some("has expired"),
            _ => None,
        };
        if let Some(why) = why {
            return Err(match known.grant.invitation {
                true => format!("This ticket {why}. {INVITE_AGAIN}"),
                false => format!("This ticket {why}. On it, {MAKE_ANOTHER}"),
            });
        }
        if known.grant.once {
            known.holder = Some(key);
        }
        let access = Arc::new(known.grant.access(key));
        Ok((access, Guest { grant: known.grant.clone(), moved: false }))
    }
}

/// What handshakes look up: peers by their keys, tickets by their ids.
pub(super) struct Door<'a> {
    pub(super) peers: &'a Peers,
    pub(super) tickets: &'a Tickets,
}

impl Directory for Door<'_> {
    fn psk(&self, peer: &PublicKey) -> Option<Psk> {
        self.peers.psk(peer)
    }

    fn ticket(&self, id: &TicketId) -> Option<Psk> {
        self.tickets.psk(id)
    }

    fn knows(&self, introduction: &Introduction) -> bool {
        self.peers.knows(introduction)
    }

    fn plain_ok(&self, peer: &PublicKey) -> bool {
        self.peers.plain_ok(peer)
    }
}

impl Engine {
    /// Sessions that are to make way notice it though nothing comes on them.
    pub(super) fn rouse_superseded(&mut self) {
        let drivers = self.associations.iter_mut().flatten().filter_map(Association::driver);
        drivers.for_each(|driver| driver.dirty |= driver.is_superseded());
    }

    /// From now on this ticket opens sessions.
    pub(super) fn invite(&mut self, grant: Grant) {
        if !self.tickets.add(grant, SystemTime::now()) {
            tracing::warn!(TICKETS_MAX, "a ticket was not taken: there are too many that can still be used");
        }
    }
}

/// What a sender calls its file, without any directory.
fn called(request: &PutRequest) -> Vec<u8> {
    let last = request.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    [last, &request.name].into_iter().find(|name| !name.is_empty()).unwrap_or(b"stream").to_vec()
}

/// What to do about a ticket that is of no use: behind "On it, " the host's name is put.
const MAKE_ANOTHER: &str = "make another one.";
/// The same of one by which a machine becomes a peer.
pub(crate) const INVITE_AGAIN: &str =
    "On it: sudo udpxctl invite; and here, with the ticket that it prints: sudo udpxctl join TICKET";
/// Tickets that an engine remembers, spent ones included.
pub(crate) const TICKETS_MAX: usize = 256;
/// Letters of a key by which its holder is called: `udpxk1` and eight digits.
const NAME_LETTERS: usize = 14;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::storage::vault::NullVault;

    fn grant(number: u8) -> Grant {
        let place = Place { vault: Arc::new(NullVault), root: "/".into() };
        Grant::new(TicketId([number; 16]), Psk::new([number; 32]), Rights::default(), place)
    }

    fn once(number: u8) -> Grant {
        Grant { once: true, ..grant(number) }
    }

    const ALICE: PublicKey = PublicKey([1; 32]);
    const EVE: PublicKey = PublicKey([2; 32]);

    #[test]
    fn a_ticket_for_one_belongs_to_the_first_until_it_is_done() {
        let (mut tickets, now) = (Tickets::default(), SystemTime::now());
        let id = TicketId([7; 16]);
        assert!(tickets.add(Grant { expires: Some(now + Duration::from_secs(9)), ..once(7) }, now));
        let (access, mut guest) = tickets.enter(&id, ALICE, now).unwrap();
        assert_eq!((access.key, access.name.as_str()), (ALICE, "udpxk101010101"));
        assert!(tickets.enter(&id, EVE, now).unwrap_err().contains("by another machine"));
        let late = now + Duration::from_secs(9);
        assert!(tickets.enter(&id, ALICE, late).is_ok(), "a transfer that has begun goes on");
        guest.on_finished();
        assert!(tickets.enter(&id, ALICE, now).is_ok(), "nothing came of that session");
        guest.on_moved();
        guest.on_finished();
        assert!(tickets.enter(&id, ALICE, now).unwrap_err().contains("used already"));
        assert!(tickets.psk(&id).is_some(), "its holder is told so");
    }

    #[test]
    fn a_ticket_expires_by_our_clock_and_others_are_shared() {
        let (mut tickets, now) = (Tickets::default(), SystemTime::now());
        tickets.add(Grant { expires: Some(now), ..grant(1) }, now);
        tickets.add(grant(2), now);
        assert!(tickets.enter(&TicketId([1; 16]), ALICE, now).unwrap_err().contains("has expired"));
        let before = now - Duration::from_secs(1);
        assert!(tickets.enter(&TicketId([1; 16]), ALICE, before).is_ok());
        for key in [ALICE, EVE] {
            assert!(tickets.enter(&TicketId([2; 16]), key, now).is_ok());
        }
        assert!(
            tickets.enter(&TicketId([3; 16]), EVE, now).is_err() && tickets.psk(&TicketId([3; 16])).is_none()
        );
    }

    #[test]
    fn tickets_are_bounded_and_useless_ones_go_first() {
        let (mut tickets, now) = (Tickets::default(), SystemTime::now());
        let number = |number: u16| {
            let mut id = [1; 16];
            id[..2].copy_from_slice(&number.to_le_bytes());
            TicketId(id)
        };
        let some = |at: u16| Grant { id: number(at), ..once(1) };
        for at in 0..TICKETS_MAX as u16 {
            assert!(tickets.add(some(at), now));
        }
        assert!(!tickets.add(some(999), now));
        let (_, mut guest) = tickets.enter(&number(5), ALICE, now).unwrap();
        guest.on_moved();
        guest.on_finished();
        assert!(tickets.add(some(999), now) && !tickets.add(some(1000), now));
        assert!(tickets.psk(&number(5)).is_none() && tickets.psk(&number(999)).is_some());
    }
}
