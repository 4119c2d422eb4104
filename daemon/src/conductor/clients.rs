//! The clients of the control socket: taken in, read and written, without anything that blocks.
//!
//! What they ask for is handed out as [`Asked`]; what they are told goes through an [`Out`], which whoever answers fills
//! and [`Clients::deliver`] empties. A client that is over is told as its token: its requests end with it.

use std::collections::HashMap;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use udpx_control::schema::{Body, ErrorReport, Event, Reply, Response, code};
use udpx_control::server::{
    Accepted, Connection, ConnectionError, Incoming, Listener, PeerCredentials, Polled,
};

/// A request of a client: its connection, and its id there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Address {
    pub(super) client: Token,
    pub(super) request: u64,
}

/// A request, and whose it is.
pub(super) struct Asked {
    pub(super) from: Address,
    pub(super) peer: PeerCredentials,
    pub(super) incoming: Incoming,
}

/// What clients are to be told.
#[derive(Default)]
pub(super) struct Out(Vec<(Address, Body)>);

impl Out {
    pub(super) fn event(&mut self, to: Address, event: Event) {
        self.0.push((to, Body::Event(event)));
    }

    /// There is nothing to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Accepted, and goes on.
    pub(super) fn ok(&mut self, to: Address, reply: Reply) {
        self.0.push((to, Body::Ok(reply)));
    }

    /// The last word on a request.
    pub(super) fn done(&mut self, to: Address, reply: Reply) {
        self.0.push((to, Body::Done(reply)));
    }

    /// The last word on a request, too.
    pub(super) fn refuse(&mut self, to: Address, error: ErrorReport) {
        self.0.push((to, Body::Error(error)));
    }
}

/// All clients.
pub(super) struct Clients {
    listener: Option<Listener>,
    clients: HashMap<Token, Client>,
    /// Tokens are not used twice: an event that is still in the batch finds nobody, not somebody else.
    next_token: usize,
    /// When to look for clients again though nothing has rung.
    accept_again: Option<Instant>,
    gone: Vec<Token>,
}

struct Client {
    connection: Connection,
    /// Requests were left for the next round.
    busy: bool,
}

impl Clients {
    /// Those of a socket; none without one. `first_token` and all above are for them.
    ///
    /// # Errors
    /// The socket cannot be watched.
    pub(super) fn new(
        listener: Option<Listener>,
        registry: &Registry,
        token: Token,
        first_client: usize,
    ) -> std::io::Result<Self> {
        if let Some(listener) = &listener {
            registry.register(&mut SourceFd(&listener.as_raw_fd()), token, Interest::READABLE)?;
        }
        Ok(Self {
            listener,
            clients: HashMap::new(),
            next_token: first_client,
            // Who connected before it was watched.
            accept_again: Some(Instant::now()),
            gone: Vec::new(),
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.clients.len()
    }

    /// Who is to be looked at though nothing was heard of it.
    pub(super) fn busy(&self) -> Vec<Token> {
        self.clients.iter().filter(|(_, client)| client.busy).map(|(token, _)| *token).collect()
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let deadlines = self.clients.values().filter_map(|client| client.connection.deadline());
        deadlines.chain(self.accept_again).min()
    }

    /// Takes in those who knock, and returns their tokens.
    pub(super) fn accept(&mut self, registry: &Registry, rung: bool, now: Instant) -> Vec<Token> {
        let mut new = Vec::new();
        if !rung && self.accept_again.is_none_or(|at| now < at) {
            return new;
        }
        self.accept_again = None;
        for _ in 0..ACCEPTS_A_ROUND {
            let Some(listener) = &mut self.listener else { return new };
            match listener.accept() {
                Ok(None) => return new,
                Ok(Some(Accepted::Connection(connection))) => new.extend(self.admit(*connection, registry)),
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

    fn admit(&mut self, connection: Connection, registry: &Registry) -> Option<Token> {
        let token = Token(self.next_token);
        self.next_token += 1;
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = registry.register(&mut SourceFd(&connection.as_raw_fd()), token, both) {
            tracing::warn!(%error, "a client cannot be watched");
            return None;
        }
        self.clients.insert(token, Client { connection, busy: false });
        Some(token)
    }

    /// What a client asks for now, of which the rest waits for the next round.
    pub(super) fn requests(&mut self, token: Token, now: Instant) -> Vec<Asked> {
        let mut requests = Vec::new();
        let _ = self.with(token, |client| {
            client.busy = false;
            client.connection.flush()?;
            for _ in 0..REQUESTS_A_ROUND {
                match client.connection.poll_request(now)? {
                    Polled::Request(incoming) => {
                        let peer = client.connection.peer().clone();
                        let from = Address { client: token, request: incoming.request.id };
                        requests.push(Asked { from, peer, incoming });
                    }
                    Polled::Refused(error) => tracing::debug!(%error, "refused a request"),
                    Polled::Idle => return Ok(()),
                }
            }
            client.busy = true;
            Ok(())
        });
        requests
    }

    /// Drops those who do not come to an end with a request.
    pub(super) fn check_deadlines(&mut self, now: Instant) {
        let late = |client: &Client| client.connection.deadline().is_some_and(|at| now >= at);
        let late: Vec<_> = self.clients.iter().filter(|(_, client)| late(client)).map(|(t, _)| *t).collect();
        for token in late {
            let _ = self.with(token, |client| client.connection.check_deadline(now));
        }
    }

    /// Sends what is to be told.
    pub(super) fn deliver(&mut self, out: &mut Out) {
        for (to, body) in std::mem::take(&mut out.0) {
            // Whoever has gone needs to know nothing any more.
            let _ = self.with(to.client, |client| {
                client.connection.send(Response::new(to.request, body), Vec::new())
            });
        }
    }

    /// Closes a connection that does not keep the rules, and tells it why.
    pub(super) fn close(&mut self, token: Token, why: ErrorReport) {
        if let Some(mut client) = self.clients.remove(&token) {
            let _ = client.connection.send(Response::error(0, why), Vec::new());
            self.gone.push(token);
        }
    }

    /// Clients that are over since this was last asked.
    pub(super) fn take_gone(&mut self) -> Vec<Token> {
        std::mem::take(&mut self.gone)
    }

    /// Lets a client do something; one that is over is dropped. Closing its descriptor takes it out of the poll.
    fn with(
        &mut self,
        token: Token,
        act: impl FnOnce(&mut Client) -> Result<(), ConnectionError>,
    ) -> Option<()> {
        let client = self.clients.get_mut(&token)?;
        if let Err(error) = act(client) {
            let peer = client.connection.peer();
            match error {
                ConnectionError::Closed => {}
                error => tracing::debug!(uid = peer.uid, pid = peer.pid, %error, "dropped a client"),
            }
            self.clients.remove(&token);
            self.gone.push(token);
            return None;
        }
        Some(())
    }

    /// The daemon stops: whoever waits for something is told that it will not come.
    pub(super) fn say_farewell(mut self) {
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

/// Clients taken in before those who are here have their turn.
const ACCEPTS_A_ROUND: usize = 64;
/// How long to leave clients waiting when this process is short of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Requests of one client before the others have their turn.
const REQUESTS_A_ROUND: usize = 16;
