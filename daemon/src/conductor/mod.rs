//! The conductor: the thread that answers the control socket.
//!
//! ```text
//! the daemon's loop  -> Note (bounded channel) -> Board: what is known
//! programs <-> control socket <-> Server: one mio::Poll ---^ answer: a request and the board give a response
//! ```
//!
//! It is handed plain reports and touches no packet state, so nothing that a client does or leaves undone reaches an
//! engine. Each client is bounded by the limits of [`udpx_control::limits`]; what one of them may see is decided in
//! [`access`], by what the kernel says of it.

mod access;
mod answer;
mod board;
pub mod lending;
mod place;
pub(crate) mod roots;
mod sandbox;
mod server;

use std::cell::Cell;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Sender, bounded};
use mio::{Poll, Waker};
use udpx_control::server::{BindError, Listener};
use udpx_proto::handshake::PublicKey;

use crate::config::Config;
use crate::daemon::DaemonEvent;
use crate::identity;
use crate::liveness::Beat;
use access::Admins;
use board::{Board, Settings};
use server::{Server, WAKER};

/// The control socket, taken but not served yet: those who connect wait.
#[derive(Debug)]
pub struct ControlSocket(Listener);

impl ControlSocket {
    /// Takes the place that the configuration names; `None` if it names none.
    ///
    /// # Errors
    /// [`BindError`]: another daemon is there already, for example, and goes on undisturbed.
    pub fn take(config: &Config) -> Result<Option<Self>, BindError> {
        place::take(&config.control).map(|listener| listener.map(Self))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

/// What the conductor is told.
#[derive(Debug)]
enum Note {
    /// This configuration is in force.
    Settings(Settings),
    /// This happened.
    Event(Box<DaemonEvent>),
}

/// The conductor's thread. Dropping it tells the clients that the daemon stops, and removes the socket.
#[derive(Debug)]
pub struct Conductor {
    notes: Option<Sender<Note>>,
    waker: Arc<Waker>,
    thread: Option<JoinHandle<()>>,
    beat: Arc<Beat>,
    /// Notes that it had no room for.
    missed: Cell<u64>,
}

impl Conductor {
    /// Starts to serve a socket.
    ///
    /// # Errors
    /// The system has no thread or descriptor left.
    pub fn start(socket: ControlSocket, config: &Config, key: PublicKey) -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let beat = Beat::steady(THREAD_NAME);
        let (notes, inbox) = bounded(NOTES_MAX);
        let board = Board::new(identity::key_text(&key), Settings::of(config));
        let server = Server::new(poll, socket.0, inbox, board, Admins::of_this_host(), beat.clone())?;
        let thread = std::thread::Builder::new().name(THREAD_NAME.into()).spawn(move || server.run())?;
        Ok(Self { notes: Some(notes), waker, thread: Some(thread), beat, missed: Cell::new(0) })
    }

    /// Tells what has happened. It never waits; what there is no room for is counted and left out.
    pub fn tell(&self, event: &DaemonEvent) {
        self.note(Note::Event(Box::new(event.clone())));
    }

    /// Tells that a changed configuration is in force.
    pub fn tell_settings(&self, config: &Config) {
        self.note(Note::Settings(Settings::of(config)));
    }

    /// Its sign of life.
    #[must_use]
    pub fn beat(&self) -> Arc<Beat> {
        self.beat.clone()
    }

    fn note(&self, note: Note) {
        let Some(notes) = &self.notes else { return };
        if notes.try_send(note).is_err() {
            let missed = self.missed.get() + 1;
            self.missed.set(missed);
            if missed.is_power_of_two() {
                tracing::warn!(missed, "the conductor does not keep up; its reports are incomplete");
            }
        }
        // Fails only where the thread is gone.
        let _ = self.waker.wake();
    }
}

impl Drop for Conductor {
    fn drop(&mut self) {
        // The closed channel ends the thread.
        drop(self.notes.take());
        let _ = self.waker.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the conductor had panicked");
        }
    }
}

const THREAD_NAME: &str = "udpx-conductor";
/// Notes that wait for the conductor: far more than come in while it answers one round of requests.
const NOTES_MAX: usize = 4096;
