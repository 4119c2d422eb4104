//! One client.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::PeerCredentials;
use super::counts::Slot;
use super::outbound::Outbound;
use crate::frame::{Frame, FrameError};
use crate::inbound::{Found, Inbound, InboundError};
use crate::limits::{
    DESCRIPTORS_MAX, FRAME_TIME_MAX, OUTPUT_BYTES_MAX, OUTPUT_SKIP_BYTES, OUTPUT_THROTTLE_BYTES, REQUESTS_MAX,
};
use crate::schema::{Body, Command, ErrorReport, Request, RequestError, RequestErrorKind, Response, code};

/// One client, without blocking. The module doc of the crate says how to drive it.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    peer: PeerCredentials,
    inbound: Inbound,
    outbound: Outbound,
    in_flight: BTreeSet<u64>,
    /// When the first byte of a frame came that is not complete yet.
    partial_since: Option<Instant>,
    /// Requests were left unread because answers wait.
    throttled: bool,
    _slot: Slot,
}

/// What [`Connection::poll_request`] found.
#[derive(Debug)]
pub enum Polled {
    /// A request to be served.
    Request(Incoming),
    /// A request that was answered with an error already. Poll again.
    Refused(RequestError),
    /// Nothing until the next readiness, or until answers have been read.
    Idle,
}

/// A request with its descriptors.
#[derive(Debug)]
pub struct Incoming {
    /// The request. [`Command::descriptors`] of it are here.
    pub request: Request,
    /// Its descriptors, in order: look at them with [`crate::descriptor::classify`] before use.
    pub descriptors: Vec<OwnedFd>,
}

/// Why a connection is over: drop it, and stop what [`Connection::in_flight`] says.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The client has closed.
    #[error("The client has closed the connection.")]
    Closed,
    /// It has closed in the middle of a frame.
    #[error("The client has closed the connection in the middle of a request.")]
    Died,
    /// What it sent breaks the rules; it was told so if it still reads.
    #[error(transparent)]
    Inbound(#[from] InboundError),
    /// What it sent is no request; it was told so if it still reads.
    #[error(transparent)]
    Unreadable(RequestError),
    /// It began a frame and does not end it.
    #[error("A request did not come to its end within {} s.", FRAME_TIME_MAX.as_secs())]
    SlowFrame,
    /// It does not read.
    #[error("The client left {bytes} bytes unread, and {OUTPUT_BYTES_MAX} are allowed.")]
    NeverReads {
        /// Bytes that wait.
        bytes: usize,
    },
    /// The system refused.
    #[error("The control socket could not be written: {0}.")]
    Io(#[from] io::Error),
}

impl Connection {
    pub(super) fn new(stream: UnixStream, peer: PeerCredentials, slot: Slot) -> Self {
        Self {
            stream,
            peer,
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            in_flight: BTreeSet::new(),
            partial_since: None,
            throttled: false,
            _slot: slot,
        }
    }

    /// Who the client is.
    #[must_use]
    pub fn peer(&self) -> &PeerCredentials {
        &self.peer
    }

    /// Receives what is there and takes the next request out of it. Call it until it is [`Polled::Idle`]; a budget on
    /// the number of calls is the caller's.
    ///
    /// While more than [`OUTPUT_THROTTLE_BYTES`] wait to be read by the client it is idle: call again after a
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`ConnectionError`]: the connection is over.
    pub fn poll_request(&mut self, now: Instant) -> Result<Polled, ConnectionError> {
        if self.outbound.bytes() > OUTPUT_THROTTLE_BYTES {
            self.throttled = true;
            return Ok(Polled::Idle);
        }
        if std::mem::take(&mut self.throttled) {
            // The delay was of our making.
            self.partial_since = self.partial_since.map(|_| now);
        }
        match self.receive(now) {
            Ok(Some(frame)) => self.handle_frame(&frame),
            Ok(None) => Ok(Polled::Idle),
            Err(error) => Err(self.tell(error)),
        }
    }

    /// Queues a response, with descriptors to go with it, and sends what the socket takes.
    ///
    /// Events that the next one supersedes are left out while the client is behind. A response too large for a frame
    /// becomes an error, which ends its request.
    ///
    /// # Errors
    /// [`ConnectionError`]: the connection is over, because the client does not read, for example.
    pub fn send(&mut self, mut response: Response, descriptors: Vec<OwnedFd>) -> Result<(), ConnectionError> {
        if let Body::Event(event) = &response.body
            && event.is_superseded()
            && self.outbound.bytes() > OUTPUT_SKIP_BYTES
        {
            return Ok(());
        }
        debug_assert!(descriptors.len() <= DESCRIPTORS_MAX, "nobody would take them");
        response.descriptors = descriptors.len();
        let (frame, descriptors) = match response.encode() {
            Ok(frame) => (frame, descriptors),
            Err(error) => {
                response = Response::error(response.id, too_large(error));
                (response.encode().map_err(InboundError::Frame)?, Vec::new())
            }
        };
        if response.is_last() {
            self.in_flight.remove(&response.id);
        }
        self.outbound.push(frame, descriptors);
        self.flush()?;
        match self.outbound.bytes() {
            bytes if bytes > OUTPUT_BYTES_MAX => Err(ConnectionError::NeverReads { bytes }),
            _ => Ok(()),
        }
    }

    /// Sends what the socket takes of what waits.
    ///
    /// # Errors
    /// [`ConnectionError`]: the client is gone.
    pub fn flush(&mut self) -> Result<(), ConnectionError> {
        match self.outbound.flush(self.stream.as_fd()) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Err(ConnectionError::Closed)
            }
            flushed => Ok(flushed?),
        }
    }

    /// Bytes that wait for the client to read; poll for writability while there are any.
    #[must_use]
    pub fn waiting_bytes(&self) -> usize {
        self.outbound.bytes()
    }

    /// The ids of requests that have no result yet.
    pub fn in_flight(&self) -> impl Iterator<Item = u64> + '_ {
        self.in_flight.iter().copied()
    }

    /// When [`Connection::check_deadline`] has to be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.partial_since.filter(|_| !self.throttled).map(|since| since + FRAME_TIME_MAX)
    }

    /// Whether the client is still in time.
    ///
    /// # Errors
    /// [`ConnectionError::SlowFrame`].
    pub fn check_deadline(&mut self, now: Instant) -> Result<(), ConnectionError> {
        match self.deadline() {
            Some(deadline) if now >= deadline => Err(self.tell(ConnectionError::SlowFrame)),
            _ => Ok(()),
        }
    }

    fn receive(&mut self, now: Instant) -> Result<Option<Frame>, ConnectionError> {
        loop {
            if let Some(frame) = self.inbound.next_frame()? {
                self.partial_since = self.inbound.is_partial().then_some(now);
                return Ok(Some(frame));
            }
            match self.inbound.read(self.stream.as_fd())? {
                Found::Bytes => {
                    if self.inbound.is_partial() {
                        self.partial_since.get_or_insert(now);
                    }
                }
                Found::Nothing => return Ok(None),
                Found::End(false) => return Err(ConnectionError::Closed),
                Found::End(true) => return Err(ConnectionError::Died),
            }
        }
    }

    fn handle_frame(&mut self, frame: &Frame) -> Result<Polled, ConnectionError> {
        match Request::parse(frame.json()).and_then(|request| self.admit(request)) {
            Ok(request) => {
                let descriptors = self.take_descriptors(request.descriptors)?;
                if is_answered(&request.command) {
                    self.in_flight.insert(request.id);
                }
                Ok(Polled::Request(Incoming { request, descriptors }))
            }
            // The client could not tell what an answer belongs to.
            Err(error) if error.id == 0 => Err(self.tell(ConnectionError::Unreadable(error))),
            Err(error) => {
                drop(self.take_descriptors(error.descriptors)?);
                self.send(error.response(), Vec::new())?;
                Ok(Polled::Refused(error))
            }
        }
    }

    fn admit(&self, request: Request) -> Result<Request, RequestError> {
        let refused = |id, kind| Err(RequestError { id, descriptors: request.descriptors, kind });
        let count = self.in_flight.len();
        match is_answered(&request.command) {
            true if self.in_flight.contains(&request.id) => {
                refused(0, RequestErrorKind::Duplicate(request.id))
            }
            true if count >= REQUESTS_MAX => refused(request.id, RequestErrorKind::TooMany(count)),
            _ => Ok(request),
        }
    }

    fn take_descriptors(&mut self, announced: usize) -> Result<Vec<OwnedFd>, ConnectionError> {
        self.inbound.take_descriptors(announced).map_err(|error| self.tell(error.into()))
    }

    /// Tells the client why it is dropped, if it is there and what waits for it leaves room.
    fn tell(&mut self, error: ConnectionError) -> ConnectionError {
        let report = match &error {
            ConnectionError::Inbound(InboundError::Io(_))
            | ConnectionError::Closed
            | ConnectionError::Died
            | ConnectionError::NeverReads { .. }
            | ConnectionError::Io(_) => return error,
            ConnectionError::Unreadable(error) => error.report(),
            ConnectionError::SlowFrame => ErrorReport::new(
                code::TRY_AGAIN,
                error.to_string(),
                "Connect again and send the whole request.",
            ),
            ConnectionError::Inbound(_) => ErrorReport::new(code::PROTOCOL, error.to_string(), ""),
        };
        // It may be gone or deaf; it is dropped all the same.
        let _ = self.send(Response::error(0, report), Vec::new());
        error
    }
}

/// A reply to a demand is an answer itself.
fn is_answered(command: &Command) -> bool {
    !matches!(command, Command::VaultReply(_))
}

fn too_large(error: FrameError) -> ErrorReport {
    ErrorReport::new(code::OTHER, format!("The answer does not fit: {error}"), "")
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl AsRawFd for Connection {
    fn as_raw_fd(&self) -> RawFd {
        self.stream.as_raw_fd()
    }
}
