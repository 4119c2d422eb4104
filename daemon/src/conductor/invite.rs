//! First contact: tickets that make a machine a peer, given away here and used elsewhere, or the other way round.
//!
//! ```text
//! inviter                                        joiner
//! invite: a ticket, kept in its file
//!                       ◄── session by ticket ── join TICKET
//! holder, then peer durable ◄── JoinRequest ───
//!                       ─── JoinAccepted ──────► peer durable
//!                       ◄── session by key ──────  one echo, and it is told
//! ```
//!
//! Whatever dies in between, the same command with the same ticket goes on: the ticket belongs to the joiner's key by then.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use udpx_control::schema::{ErrorReport, Invite, InviteReport, Join, Reply};
use udpx_proto::Code;
use udpx_proto::handshake::PublicKey;

use super::Conductor;
use super::asks::{Joined, Wish};
use super::clients::Address;
use super::reports::{error, error_of};
use crate::calls::Way;
use crate::config::{INBOX, Peer, PeerAddress, Rights, is_name};
use crate::engine::report::{Command, Joining};
use crate::engine::tickets::{Grant, INVITE_AGAIN};
use crate::hosting::addresses;
use crate::identity::{OsRandom, key_text};
use crate::peers::Invitation;
use crate::storage::vault::NullVault;
use crate::ticket::{Gives, Purpose, Ticket};
use crate::transfer::Failure;
use crate::transfer::take::Place;

impl Conductor {
    /// An administrator wants a ticket.
    pub(super) fn invite(&mut self, from: Address, wanted: &Invite) -> Result<(), ErrorReport> {
        let root = wanted.root.clone().unwrap_or_else(|| INBOX.into());
        if root != INBOX && !self.roots.in_force().roots.contains_key(&root) {
            let text = format!("No root is called {root:?}.");
            return Err(error(Code::Usage, text, "udpxctl root list shows them."));
        }
        if let Some(name) = &wanted.name {
            if !is_name(name) {
                return Err(error(
                    Code::Usage,
                    format!("{name:?} is no name of a peer."),
                    "Choose another name.",
                ));
            }
            if self.peer_book.by_name(name).is_some() {
                let text = format!("A peer is called {name:?} already.");
                let remedy =
                    format!("Choose another name, or forget that one: sudo udpxctl peer remove {name}");
                return Err(error(Code::Usage, text, remedy));
            }
        }
        let lifetime = Duration::from_micros(wanted.expires_us);
        if !(LIFETIME_MIN..=LIFETIME_MAX).contains(&lifetime) {
            let text = "A ticket is good for one second to thirty days.";
            return Err(error(Code::Usage, text, "Give a time such as --expires 10m."));
        }
        let found = self.found_at(&wanted.addresses)?;
        let mut random = OsRandom::open().map_err(|failed| {
            error(Code::Io, format!("There is no randomness: {failed}."), Code::Io.remedy())
        })?;
        let gives = Gives { read: wanted.read, write: wanted.write, list: wanted.list, once: true };
        let expires = SystemTime::now().checked_add(lifetime);
        let ticket = Ticket::new(self.daemon.key(), found, expires, Purpose::Invite, gives, &mut random);
        let invitation =
            Invitation { ticket, root: root.clone(), name: wanted.name.clone(), holder: None, spent: false };
        let grown = self.invitations.with(invitation.clone(), SystemTime::now()).map_err(|open| {
            let text = format!("{open} invitations are open, as many as there may be.");
            error(Code::TryAgain, text, "Wait until one has been used or has expired.")
        })?;
        grown.save().map_err(|failed| not_kept(&failed))?;
        self.invitations = grown;
        if !self.daemon.engine().send(Command::Invite(Box::new(grant(&invitation)))) {
            return Err(error(Code::TryAgain, "The engine is too busy to take a ticket.", "Invite again."));
        }
        tracing::info!(id = ?invitation.ticket.id, root, "a ticket was given away");
        let ticket = &invitation.ticket;
        self.out.done(
            from,
            Reply::Invited(InviteReport {
                ticket: ticket.text().to_string(),
                root,
                addresses: ticket.addresses.iter().map(ToString::to_string).collect(),
                expires_unix_ms: ticket.expires.map_or(0, unix_ms),
            }),
        );
        Ok(())
    }

    /// Where others find this daemon.
    fn found_at(&self, given: &[String]) -> Result<Vec<SocketAddr>, ErrorReport> {
        let listening = self.daemon.listening();
        let port = listening.first().map_or(0, SocketAddr::port);
        let mut found = Vec::new();
        for text in given {
            let address = addresses::Address::parse(text).ok_or_else(|| {
                let what = format!("{text:?} is no address.");
                error(Code::Usage, what, "Write one such as 192.0.2.7, 192.0.2.7:4000 or [2001:db8::1]:4000.")
            })?;
            found.push(SocketAddr::new(address.ip, address.port.unwrap_or(port)));
        }
        if found.is_empty() {
            let own = addresses::own().map_err(|failed| {
                let text = format!("The addresses of this machine cannot be listed: {failed}.");
                error(Code::Io, text, "Give them: --address A")
            })?;
            let serves = |ip: std::net::IpAddr| {
                let same = |socket: &&SocketAddr| socket.is_ipv4() == ip.is_ipv4();
                let any = listening.iter().filter(same).find(|socket| socket.ip().is_unspecified());
                any.map(|socket| SocketAddr::new(ip, socket.port()))
            };
            found.extend(own.into_iter().filter_map(|address| serves(address.ip)));
            found.extend(listening.iter().filter(|socket| !socket.ip().is_unspecified()));
        }
        Ok(found)
    }

    /// Tickets that were given away before the daemon was started.
    pub(super) fn invite_again(&self) {
        for invitation in self.invitations.iter() {
            self.daemon.engine().send(Command::Invite(Box::new(grant(invitation))));
        }
    }

    /// Somebody uses a ticket of ours.
    pub(super) fn on_joining(&mut self, joining: &Joining) {
        let (session, request, from) = (joining.session, joining.request, joining.from);
        let answer = self.admit_joining(joining);
        match &answer {
            Ok((_, joiner)) => tracing::info!(peer = joiner, key = key_text(&joining.key), %from, "joined"),
            Err(failure) => {
                tracing::warn!(key = key_text(&joining.key), %from, text = ?failure.text, "did not join");
            }
        }
        // Whoever does not hear the answer asks again.
        self.daemon.engine().send(Command::Welcome { session, request, answer });
    }

    fn admit_joining(&mut self, joining: &Joining) -> Result<(String, String), Failure> {
        let refused = |text: String| Failure::new(Code::Refused, text);
        let Some(invitation) = self.invitations.get(&joining.ticket) else {
            return Err(refused(format!("This ticket was used already. {INVITE_AGAIN}")));
        };
        let invitation = invitation.clone();
        let book =
            self.peer_book.reread().map_err(|report| Failure::new(Code::Config, report.to_string()))?;
        if let Some(known) = book.by_key(&joining.key) {
            // It has not heard of it, or was known before.
            let name = known.name.clone();
            self.keep_holder(joining, true)?;
            return Ok((host_name(&self.daemon.key()), name));
        }
        if invitation.spent {
            return Err(refused(format!("This ticket was used already. {INVITE_AGAIN}")));
        }
        let name = invitation.name.unwrap_or_else(|| joining.name.clone());
        if !is_name(&name) {
            return Err(refused(format!(
                "You call yourself {name:?}, which is no name of a peer. Join again with the same ticket and another \
                 name: --as NAME"
            )));
        }
        if let Some(known) = book.by_name(&name) {
            return Err(refused(format!(
                "{name:?} is known here with the key {}, and yours is {}. Join again with the same ticket and another \
                 name: --as NAME. On it, if {name:?} was set up anew: sudo udpxctl peer remove {name}",
                key_text(&known.key),
                key_text(&joining.key)
            )));
        }
        self.keep_holder(joining, false)?;
        let address = (joining.port > 0).then(|| PeerAddress {
            host: joining.from.ip().to_canonical().to_string(),
            port: Some(joining.port),
        });
        let gives = invitation.ticket.gives;
        let rights = Rights { read: gives.read, write: gives.write, list: gives.list };
        let mut peer = Peer { address, rights: Rights::NONE, ..Peer::new(name.clone(), joining.key) };
        match invitation.root.as_str() {
            INBOX => peer.rights = rights,
            root => drop(peer.roots.insert(root.into(), rights)),
        }
        let admitted = book.with_peer(peer).and_then(|book| self.admit(book));
        admitted.map_err(|report| Failure::new(Code::from_number(report.code), report.to_string()))?;
        self.keep_holder(joining, true)?;
        Ok((host_name(&self.daemon.key()), name))
    }

    /// Makes durable whose a ticket is, and whether it is spent: over a restart nobody else can use it.
    fn keep_holder(&mut self, joining: &Joining, spent: bool) -> Result<(), Failure> {
        let mut changed = self.invitations.clone();
        if let Some(invitation) = changed.get_mut(&joining.ticket) {
            (invitation.holder, invitation.spent) = (Some(joining.key), spent);
        }
        changed.save().map_err(|failed| Failure::new(Code::Io, not_kept(&failed).text))?;
        self.invitations = changed;
        Ok(())
    }

    /// An administrator has a ticket of another machine's.
    pub(super) fn join(&mut self, from: Address, wanted: &Join, now: Instant) -> Result<(), ErrorReport> {
        let ticket = Ticket::parse(&wanted.ticket)
            .map_err(|wrong| error(Code::Usage, wrong.to_string(), wrong.remedy()))?;
        if ticket.purpose != Purpose::Invite {
            let remedy = "Use it where HOST stands, as in: udpxctl push FILE TICKET. One for joining is made by: sudo \
                          udpxctl invite";
            return Err(error(Code::Usage, "This ticket is for files, and not for joining.", remedy));
        }
        if ticket.key == self.daemon.key() {
            let remedy = "Use it on the machine that is to become a peer.";
            return Err(error(Code::Usage, "This ticket was made by this very machine.", remedy));
        }
        for name in [&wanted.name, &wanted.call_me].into_iter().flatten() {
            if !is_name(name) {
                return Err(error(
                    Code::Usage,
                    format!("{name:?} is no name of a peer."),
                    "Choose another name.",
                ));
            }
        }
        if let Some(name) = &wanted.name {
            self.check_key(name, &ticket.key)?;
        }
        let me = wanted.call_me.clone().unwrap_or_else(|| host_name(&self.daemon.key()));
        let port = self.daemon.listening().first().map_or(0, SocketAddr::port);
        let usual = Way::new(ticket.key, ticket.addresses.clone());
        let host = ticket.addresses.first().map(|first| first.ip().to_string()).unwrap_or_default();
        let way = Way { host, credential: ticket.credential(), ..usual };
        let mutual = wanted.mutual.then_some(ticket.gives);
        let wish = Wish { key: ticket.key, name: wanted.name.clone(), mutual };
        let Self { asks, daemon, out, ids, .. } = self;
        asks.join(from, wish, way, (&me, port), daemon.engine(), out, ids, now)
    }

    /// A name that is known belongs to one key.
    fn check_key(&self, name: &str, key: &PublicKey) -> Result<(), ErrorReport> {
        match self.peer_book.by_name(name) {
            Some(known) if known.key != *key => {
                let (known, new) = (key_text(&known.key), key_text(key));
                let text = format!(
                    "{name:?} is known here with the key {known}, and this ticket is of the key {new}."
                );
                let remedy = format!(
                    "If it is another machine, call it something else: --name NAME. If {name} was set up anew: sudo \
                     udpxctl peer remove {name}"
                );
                Err(error(Code::Refused, text, remedy))
            }
            _ => Ok(()),
        }
    }

    /// The other machine knows us; now we shall know it.
    pub(super) fn on_joined(&mut self, joined: Joined, now: Instant) {
        let from = joined.to;
        if let Err(refused) = self.take_in(joined, now) {
            self.out.refuse(from, refused);
        }
    }

    fn take_in(&mut self, joined: Joined, now: Instant) -> Result<(), ErrorReport> {
        let Joined { to, wish, outcome } = joined;
        let (accepted, address) = outcome.map_err(|failed| error_of(&failed))?;
        let book = self.peer_book.reread()?;
        let name = match book.by_key(&wish.key) {
            Some(known) => known.name.clone(),
            None => {
                let name = wish.name.unwrap_or(accepted.name);
                if !is_name(&name) {
                    let text =
                        format!("The other machine calls itself {name:?}, which is no name of a peer.");
                    return Err(error(
                        Code::Usage,
                        text,
                        "Join again with the same ticket and a name: --name NAME",
                    ));
                }
                self.check_key(&name, &wish.key)?;
                let rights = wish.mutual.map_or(Rights::NONE, |gives| Rights {
                    read: gives.read,
                    write: gives.write,
                    list: gives.list,
                });
                let place =
                    PeerAddress { host: address.ip().to_canonical().to_string(), port: Some(address.port()) };
                let peer = Peer { address: Some(place), rights, ..Peer::new(name.clone(), wish.key) };
                self.admit(book.with_peer(peer)?)?;
                name
            }
        };
        let way = Way { host: name.clone(), ..Way::new(wish.key, vec![address]) };
        let Self { asks, daemon, out, ids, .. } = self;
        asks.prove(to, name, accepted.joiner, way, daemon.engine(), out, ids, now)
    }
}

/// An invitation as the engine wants it.
fn grant(invitation: &Invitation) -> Grant {
    let Ticket { id, secret, expires, .. } = &invitation.ticket;
    let place = Place { vault: Arc::new(NullVault), root: "/dev/null".into() };
    let mut grant = Grant::new(*id, secret.psk(), Rights::NONE, place);
    (grant.expires, grant.once, grant.invitation) = (*expires, true, true);
    grant.holder = invitation.holder;
    if invitation.spent {
        grant.spend();
    }
    grant
}

/// What this machine calls itself: its host name, as far as that can be a peer's name.
fn host_name(key: &PublicKey) -> String {
    let node = nix::sys::utsname::uname().map(|name| name.nodename().to_string_lossy().into_owned());
    let node = node.unwrap_or_default();
    let first = node.split('.').next().unwrap_or_default();
    match is_name(first) && first != "localhost" {
        true => first.to_owned(),
        false => key_text(key).chars().take(NAME_LETTERS).collect(),
    }
}

fn not_kept(failed: &std::io::Error) -> ErrorReport {
    let text = format!("The file of invitations could not be written: {failed}.");
    error(
        Code::Io,
        text,
        "Free space in the state directory of udpxd, or mend its permissions, and try again.",
    )
}

fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

const LIFETIME_MIN: Duration = Duration::from_secs(1);
const LIFETIME_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// Letters of a key by which a machine without a name is called.
const NAME_LETTERS: usize = 14;
