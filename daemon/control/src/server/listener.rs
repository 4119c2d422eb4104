//! The socket that clients connect to.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use super::counts::Census;
use super::place::Place;
use super::{BindError, Connection, Full, Limits, PeerCredentials};
use crate::fd;
use crate::schema::Response;

/// Listens on a path, which it removes when it is dropped. The descriptor is readable while clients wait.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    place: Place,
    limits: Limits,
    census: Census,
    /// Given up for a moment where the table of descriptors is full, so that a client can be turned away instead of
    /// being announced for ever.
    spare: Option<File>,
}

/// What became of a client that had connected.
#[derive(Debug)]
pub enum Accepted {
    /// It is served.
    Connection(Box<Connection>),
    /// It was told that there is no room for it, and closed.
    Full {
        /// Who it was.
        peer: PeerCredentials,
        /// The limit.
        full: Full,
    },
    /// It was closed without a word: this process has no descriptor left, or the client was gone already.
    Dropped(io::Error),
}

impl Listener {
    /// Takes a place in the file system and listens there. Members of `group`, if one is given, may connect as far as
    /// `mode` says; there is no moment at which others may.
    ///
    /// # Errors
    /// [`BindError`]; a daemon that is there already does not notice.
    pub fn bind(path: &Path, mode: u32, group: Option<&str>, limits: Limits) -> Result<Self, BindError> {
        let (place, socket) = Place::take(path, mode, group)?;
        Ok(Self { socket, place, limits, census: Census::default(), spare: File::open("/dev/null").ok() })
    }

    /// Takes in the next client, without waiting; `None` if there is none.
    ///
    /// # Errors
    /// What accept says, if this process is short of memory or descriptors: try again later, not at once.
    pub fn accept(&mut self) -> io::Result<Option<Accepted>> {
        match self.socket.accept() {
            Ok((stream, _)) => Ok(Some(self.admit(stream).unwrap_or_else(Accepted::Dropped))),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN) => Ok(None),
                Some(libc::EINTR | libc::ECONNABORTED) => Ok(Some(Accepted::Dropped(error))),
                // Said before it is even looked whether anybody waits.
                Some(libc::EMFILE | libc::ENFILE) => match self.turn_away() {
                    Ok(()) => Ok(Some(Accepted::Dropped(error))),
                    Err(nobody) if nobody.kind() == io::ErrorKind::WouldBlock => Ok(None),
                    Err(_) => Err(error),
                },
                _ => Err(error),
            },
        }
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.census.total()
    }

    /// Where it listens.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.place.path
    }

    fn admit(&self, stream: UnixStream) -> io::Result<Accepted> {
        stream.set_nonblocking(true)?;
        let peer = PeerCredentials::of(&stream)?;
        match self.census.enter(peer.uid, self.limits) {
            Ok(slot) => Ok(Accepted::Connection(Box::new(Connection::new(stream, peer, slot)))),
            Err(full) => {
                if let Ok(frame) = Response::error(0, full.report()).encode() {
                    // The buffer of a new socket takes it; if not, closing says enough.
                    let _ = fd::send(stream.as_fd(), &frame, &[]);
                }
                Ok(Accepted::Full { peer, full })
            }
        }
    }

    /// Takes the next client out of the queue and closes it, with the descriptor that was spared for this.
    fn turn_away(&mut self) -> io::Result<()> {
        drop(self.spare.take());
        let closed = self.socket.accept().map(drop);
        self.spare = File::open("/dev/null").ok();
        closed
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
