//! The event loop: the listener, its clients, and the bell of the notes.

use std::collections::HashMap;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use udpx_control::schema::{Body, ErrorReport, Event, InboxEntry, Response, code};
use udpx_control::server::{Accepted, Connection, ConnectionError, Incoming, Listener, Polled};

use super::Note;
use super::access::Admins;
use super::answer::{Answer, answer};
use super::board::Board;
use crate::liveness::Beat;

/// The thread's state.
pub(super) struct Server {
    poll: Poll,
    listener: Listener,
    notes: Receiver<Note>,
    board: Board,
    admins: Admins,
    clients: HashMap<Token, Client>,
    /// Tokens are not used twice: an event that is still in the batch finds nobody, not somebody else.
    next_token: usize,
    /// When to look for clients again though nothing has rung.
    accept_again: Option<Instant>,
    beat: Arc<Beat>,
}

struct Client {
    connection: Connection,
    /// Requests that go on: their ids, and the peer whose files are wanted.
    following: Vec<(u64, Option<String>)>,
    /// Requests were left for the next round.
    busy: bool,
}

impl Server {
    pub(super) fn new(
        poll: Poll,
        listener: Listener,
        notes: Receiver<Note>,
        board: Board,
        admins: Admins,
        beat: Arc<Beat>,
    ) -> io::Result<Self> {
        poll.registry().register(&mut SourceFd(&listener.as_raw_fd()), LISTENER, Interest::READABLE)?;
        Ok(Self {
            poll,
            listener,
            notes,
            board,
            admins,
            clients: HashMap::new(),
            next_token: FIRST_CLIENT,
            // Who connected before it was watched.
            accept_again: Some(Instant::now()),
            beat,
        })
    }

    /// The thread's life: until nobody can tell it anything any more.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(256);
        loop {
            self.beat.advance();
            match self.poll.poll(&mut events, Some(self.timeout())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    tracing::error!(%error, "the control socket cannot be served any more");
                    return;
                }
                _ => {}
            }
            let mut ready: Vec<Token> = events.iter().map(mio::event::Event::token).collect();
            let now = Instant::now();
            if ready.contains(&LISTENER) || self.accept_again.is_some_and(|at| now >= at) {
                ready.extend(self.accept(now));
            }
            ready.extend(self.clients.iter().filter(|(_, client)| client.busy).map(|(token, _)| *token));
            if !self.take_notes() {
                return self.say_farewell();
            }
            for token in ready {
                self.with(token, |client, house| client.serve(house, now));
            }
            let late = |client: &Client| client.connection.deadline().is_some_and(|at| now >= at);
            let late: Vec<_> =
                self.clients.iter().filter(|(_, client)| late(client)).map(|(t, _)| *t).collect();
            for token in late {
                self.with(token, |client, _| client.connection.check_deadline(now));
            }
        }
    }

    fn timeout(&self) -> Duration {
        if self.clients.values().any(|client| client.busy) {
            return Duration::ZERO;
        }
        let deadlines = self.clients.values().filter_map(|client| client.connection.deadline());
        let next = deadlines.chain(self.accept_again).min();
        let next = next.map_or(BEAT_EVERY, |at| at.saturating_duration_since(Instant::now()));
        // Rounded up, or the last millisecond would be spent in a busy loop.
        (next + Duration::from_millis(1)).min(BEAT_EVERY)
    }

    /// Takes in those who knock, and returns their tokens.
    fn accept(&mut self, now: Instant) -> Vec<Token> {
        self.accept_again = None;
        let mut new = Vec::new();
        for _ in 0..ACCEPTS_A_ROUND {
            match self.listener.accept() {
                Ok(None) => return new,
                Ok(Some(Accepted::Connection(connection))) => new.extend(self.admit(*connection)),
                Ok(Some(Accepted::Full { peer, full })) => {
                    tracing::warn!(uid = peer.uid, pid = peer.pid, %full, "turned a client away");
                }
                Ok(Some(Accepted::Dropped(error))) => tracing::debug!(%error, "a client was lost"),
                Err(error) => {
                    tracing::warn!(%error, "no client can be taken in");
                    self.accept_again = Some(now + ACCEPT_PAUSE);
                    return new;
                }
            }
        }
        self.accept_again = Some(now);
        new
    }

    fn admit(&mut self, connection: Connection) -> Option<Token> {
        let token = Token(self.next_token);
        self.next_token += 1;
        let both = Interest::READABLE | Interest::WRITABLE;
        let registered = self.poll.registry().register(&mut SourceFd(&connection.as_raw_fd()), token, both);
        if let Err(error) = registered {
            tracing::warn!(%error, "a client cannot be watched");
            return None;
        }
        self.clients.insert(token, Client { connection, following: Vec::new(), busy: false });
        Some(token)
    }

    /// Lets a client do something; one that is over is dropped. Closing its descriptor takes it out of the poll.
    fn with(
        &mut self,
        token: Token,
        act: impl FnOnce(&mut Client, &House<'_>) -> Result<(), ConnectionError>,
    ) {
        let Some(client) = self.clients.get_mut(&token) else { return };
        let connections = self.listener.connections();
        let house = House { board: &self.board, admins: self.admins, connections };
        if let Err(error) = act(client, &house) {
            let peer = client.connection.peer();
            match error {
                ConnectionError::Closed => {}
                error => tracing::debug!(uid = peer.uid, pid = peer.pid, %error, "dropped a client"),
            }
            self.clients.remove(&token);
        }
    }

    /// Takes note of what happened; false once nothing can happen any more.
    fn take_notes(&mut self) -> bool {
        loop {
            match self.notes.try_recv() {
                Ok(Note::Settings(settings)) => self.board.set(settings),
                Ok(Note::Event(event)) => {
                    if let Some(entry) = self.board.note(*event) {
                        self.publish(&entry);
                    }
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn publish(&mut self, entry: &InboxEntry) {
        let tokens: Vec<_> =
            self.clients.iter().filter(|(_, client)| !client.following.is_empty()).map(|(t, _)| *t).collect();
        for token in tokens {
            self.with(token, |client, _| client.publish(entry));
        }
    }

    fn say_farewell(mut self) {
        let report = ErrorReport::new(
            code::TRY_AGAIN,
            "The daemon is being stopped.",
            "Once it runs again, the same request can be made.",
        );
        for client in self.clients.values_mut() {
            let ids: Vec<_> = client.connection.in_flight().collect();
            for id in ids {
                // Whoever does not read hears of it by the end of the connection.
                let _ = client.connection.send(Response::error(id, report.clone()), Vec::new());
            }
        }
    }
}

/// What clients are answered from.
struct House<'a> {
    board: &'a Board,
    admins: Admins,
    connections: usize,
}

impl Client {
    fn serve(&mut self, house: &House<'_>, now: Instant) -> Result<(), ConnectionError> {
        self.busy = false;
        self.connection.flush()?;
        for _ in 0..REQUESTS_A_ROUND {
            match self.connection.poll_request(now)? {
                Polled::Request(incoming) => self.answer(house, &incoming)?,
                Polled::Refused(error) => tracing::debug!(%error, "refused a request"),
                Polled::Idle => return Ok(()),
            }
        }
        self.busy = true;
        Ok(())
    }

    fn answer(&mut self, house: &House<'_>, incoming: &Incoming) -> Result<(), ConnectionError> {
        let (id, command) = (incoming.request.id, &incoming.request.command);
        let answer = match house.admins.check(self.connection.peer(), command) {
            Ok(()) => answer(house.board, house.connections, command),
            Err(report) => Answer::Refused(report),
        };
        let (events, end) = match answer {
            Answer::Whole(events, reply) => (events, Some(Body::Done(reply))),
            Answer::Follow(events, peer) => {
                self.following.push((id, peer));
                (events, None)
            }
            Answer::Refused(report) => (Vec::new(), Some(Body::Error(report))),
        };
        let bodies = events.into_iter().map(Body::Event).chain(end);
        bodies.into_iter().try_for_each(|body| self.connection.send(Response::new(id, body), Vec::new()))
    }

    fn publish(&mut self, entry: &InboxEntry) -> Result<(), ConnectionError> {
        let wanted =
            self.following.iter().filter(|(_, peer)| peer.as_ref().is_none_or(|peer| *peer == entry.peer));
        for (id, _) in wanted {
            self.connection.send(Response::event(*id, Event::Inbox(entry.clone())), Vec::new())?;
        }
        Ok(())
    }
}

const LISTENER: Token = Token(0);
pub(super) const WAKER: Token = Token(1);
const FIRST_CLIENT: usize = 2;
/// Clients taken in before those who are here have their turn.
const ACCEPTS_A_ROUND: usize = 64;
/// How long to leave clients waiting when this process is short of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests of one client before the others have their turn.
const REQUESTS_A_ROUND: usize = 16;
/// The watchdog wants to see it advance.
const BEAT_EVERY: Duration = Duration::from_millis(500);
