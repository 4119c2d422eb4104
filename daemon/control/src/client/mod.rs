//! The client's end of the control socket, which waits. Shared by `udpxctl` and libudpx.

mod choice;
mod connect;
mod error;
mod responses;

pub use choice::SocketChoice;
pub use error::ClientError;
pub use responses::{Responses, Update};

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use crate::fd;
use crate::inbound::{Found, Inbound};
use crate::schema::{Body, Command, Reply, Request, Response, SCHEMA};
use crate::server::PeerCredentials;

/// A connection to a daemon. It serves one request after the other; another thread takes another client.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    inbound: Inbound,
    /// Of the request before.
    last_id: u64,
    patience: Option<Duration>,
}

impl Client {
    /// Connects to the daemon that the choice leads to.
    ///
    /// # Errors
    /// [`ClientError::NoDaemon`] if none runs, and nothing else means that.
    pub fn connect(choice: &SocketChoice) -> Result<Self, ClientError> {
        let (stream, path) = connect::first(choice)?;
        Ok(Self { stream, path, inbound: Inbound::default(), last_id: 0, patience: Some(PATIENCE) })
    }

    /// The socket that it is connected to.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who the daemon runs as.
    ///
    /// # Errors
    /// What getsockopt says.
    pub fn daemon(&self) -> io::Result<PeerCredentials> {
        PeerCredentials::of(&self.stream)
    }

    /// How long to wait for the daemon to take a request, and then for each response; `None` means for ever. A request
    /// that may be silent for longer (watch, inbox, vault-offer) needs `None`, or [`Responses::wait`].
    pub fn set_patience(&mut self, patience: Option<Duration>) {
        self.patience = patience;
    }

    /// Sends a request with the descriptors that it needs. Responses to requests before it are left out from now on.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn request(
        &mut self,
        command: impl Into<Command>,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Responses<'_>, ClientError> {
        let id = self.send(command.into(), descriptors)?;
        Ok(Responses::new(self, id))
    }

    /// Sends a request and waits for its result; events are left out.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn call(&mut self, command: impl Into<Command>) -> Result<Reply, ClientError> {
        self.request(command, &[])?.finish(|_| {})
    }

    fn send(&mut self, command: Command, descriptors: &[BorrowedFd<'_>]) -> Result<u64, ClientError> {
        self.last_id += 1;
        let request = Request::new(self.last_id, command);
        if request.descriptors != descriptors.len() {
            return Err(ClientError::Descriptors { expected: request.descriptors, given: descriptors.len() });
        }
        let frame = request.encode().map_err(ClientError::TooLarge)?;
        let deadline = self.patience.map(|patience| Instant::now() + patience);
        let (mut rest, mut descriptors) = (&frame[..], descriptors);
        while !rest.is_empty() {
            match fd::send(self.stream.as_fd(), rest, descriptors) {
                Ok(sent) => {
                    rest = &rest[sent..];
                    // They have gone with the first byte.
                    descriptors = &[];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.wait(PollFlags::POLLOUT, deadline)? {
                        return Err(self.timed_out());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_gone(&error) => return Err(self.farewell()),
                Err(error) => return Err(ClientError::Io { path: self.path.clone(), error }),
            }
        }
        Ok(self.last_id)
    }

    /// The next response with its descriptors; `None` if the deadline passes before.
    fn receive(
        &mut self,
        deadline: Option<Instant>,
    ) -> Result<Option<(Response, Vec<OwnedFd>)>, ClientError> {
        loop {
            if let Some(frame) = self.inbound.next_frame()? {
                let response = parse(frame.json())?;
                let descriptors = self.inbound.take_descriptors(response.descriptors)?;
                return Ok(Some((response, descriptors)));
            }
            match self.inbound.read(self.stream.as_fd())? {
                Found::Bytes => {}
                Found::Nothing => {
                    if !self.wait(PollFlags::POLLIN, deadline)? {
                        return Ok(None);
                    }
                }
                Found::End(_) => return Err(ClientError::Gone { path: self.path.clone() }),
            }
        }
    }

    /// The daemon has closed; what it said before that is the better error.
    fn farewell(&mut self) -> ClientError {
        let gone = ClientError::Gone { path: self.path.clone() };
        loop {
            match self.receive(Some(Instant::now())) {
                Ok(Some((Response { id: 0, body: Body::Error(report), .. }, _))) => {
                    return ClientError::Refused(report);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return gone,
            }
        }
    }

    /// Waits until the socket is ready; `false` if the deadline passes before.
    fn wait(&self, readiness: PollFlags, deadline: Option<Instant>) -> Result<bool, ClientError> {
        loop {
            let timeout = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => PollTimeout::NONE,
                // Rounded up, or the last millisecond would be spent in a busy loop.
                Some(left) => {
                    PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX)
                }
            };
            let mut polled = [PollFd::new(self.stream.as_fd(), readiness)];
            match nix::poll::poll(&mut polled, timeout) {
                Ok(0) if deadline.is_some_and(|deadline| Instant::now() >= deadline) => return Ok(false),
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(errno) => {
                    return Err(ClientError::Io { path: self.path.clone(), error: errno.into() });
                }
            }
        }
    }

    fn timed_out(&self) -> ClientError {
        ClientError::TimedOut { path: self.path.clone(), waited: self.patience.unwrap_or_default() }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

fn parse(json: &[u8]) -> Result<Response, ClientError> {
    #[derive(serde::Deserialize)]
    struct Version {
        schema: u32,
    }
    // The version comes first: of a newer response nothing else is certain.
    match serde_json::from_slice::<Version>(json) {
        Ok(Version { schema }) if schema > SCHEMA => Err(ClientError::Newer(schema)),
        _ => serde_json::from_slice(json).map_err(ClientError::Unreadable),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}

/// What a daemon that works needs for any answer, twice over.
const PATIENCE: Duration = Duration::from_secs(60);
