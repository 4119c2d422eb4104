//! A listener in a directory of its own, a client's bare end, and a daemon of a few lines.
#![allow(dead_code, reason = "not every test needs all of it")]

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use tempfile::TempDir;
use udpx_control::frame::Decoder;
use udpx_control::schema::{Body, ErrorReport, Response};
use udpx_control::server::{Accepted, Connection, ConnectionError, Incoming, Limits, Listener, Polled};

/// A listener, driven by hand.
pub(crate) struct Place {
    pub(crate) listener: Listener,
    pub(crate) path: PathBuf,
    pub(crate) dir: TempDir,
}

impl Place {
    pub(crate) fn new(limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("udpxd.sock");
        Self { listener: Listener::bind(&path, 0o600, None, limits).unwrap(), path, dir }
    }

    /// A client's bare end, and the connection that it leads to.
    pub(crate) fn connect(&mut self) -> (UnixStream, Connection) {
        let stream = UnixStream::connect(&self.path).unwrap();
        match self.listener.accept().unwrap() {
            Some(Accepted::Connection(connection)) => (stream, *connection),
            other => panic!("{other:?}"),
        }
    }
}

/// The next request; panics if there is none.
pub(crate) fn request(connection: &mut Connection) -> Incoming {
    match connection.poll_request(Instant::now()).unwrap() {
        Polled::Request(incoming) => incoming,
        other => panic!("{other:?}"),
    }
}

/// The error that ends the connection; panics if none does.
pub(crate) fn fatal(connection: &mut Connection) -> ConnectionError {
    match connection.poll_request(Instant::now()) {
        Err(error) => error,
        Ok(polled) => panic!("{polled:?}"),
    }
}

/// All responses that are there, and whether that was the end.
pub(crate) fn responses(stream: &mut UnixStream) -> (Vec<Response>, bool) {
    stream.set_nonblocking(true).unwrap();
    let (mut decoder, mut responses, mut buffer) = (Decoder::default(), Vec::new(), [0; 4096]);
    let ended = loop {
        match stream.read(&mut buffer) {
            Ok(0) => break true,
            Ok(count) => decoder.push(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break true,
            Err(_) => break false,
        }
        while let Some(frame) = decoder.next_frame().unwrap() {
            responses.push(serde_json::from_slice(frame.json()).unwrap());
        }
    };
    stream.set_nonblocking(false).unwrap();
    assert!(!decoder.is_partial());
    (responses, ended)
}

/// The one response that is there, which is an error.
pub(crate) fn error(stream: &mut UnixStream) -> (u64, ErrorReport) {
    let (mut responses, _) = responses(stream);
    match (responses.pop(), responses.is_empty()) {
        (Some(Response { id, body: Body::Error(report), .. }), true) => (id, report),
        other => panic!("{other:?}"),
    }
}

/// Writes all of it, or as much as the other end takes before it closes.
pub(crate) fn write(stream: &mut UnixStream, bytes: &[u8]) {
    let _ = stream.write_all(bytes);
}

/// A thread that drives a listener the way a daemon does.
pub(crate) struct Daemon {
    pub(crate) path: PathBuf,
    _dir: TempDir,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Daemon {
    pub(crate) fn start(mut serve: impl FnMut(&mut Connection, Incoming) + Send + 'static) -> Self {
        let Place { listener, path, dir } = Place::new(Limits::default());
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut connections, mut ends) = (Vec::new(), Vec::new());
            let mut listener = listener;
            loop {
                // What happened before it was stopped is still seen.
                let last = stopped.load(Ordering::Acquire);
                wait(&listener, &connections);
                while let Some(accepted) = listener.accept().unwrap() {
                    if let Accepted::Connection(connection) = accepted {
                        connections.push(*connection);
                    }
                }
                connections.retain_mut(|connection| match drive(connection, &mut serve) {
                    Ok(()) => true,
                    Err(error) => {
                        ends.push(error.to_string());
                        false
                    }
                });
                if last {
                    return ends;
                }
            }
        });
        Self { path, _dir: dir, stop, thread: Some(thread) }
    }

    /// Why its connections ended.
    pub(crate) fn stop(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Release);
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn wait(listener: &Listener, connections: &[Connection]) {
    let mut polled = vec![PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    for connection in connections {
        let mut readiness = PollFlags::POLLIN;
        if connection.waiting_bytes() > 0 {
            readiness |= PollFlags::POLLOUT;
        }
        polled.push(PollFd::new(connection.as_fd(), readiness));
    }
    let tick = Duration::from_millis(5);
    nix::poll::poll(&mut polled, PollTimeout::try_from(tick).unwrap()).unwrap();
}

fn drive(
    connection: &mut Connection,
    serve: &mut impl FnMut(&mut Connection, Incoming),
) -> Result<(), ConnectionError> {
    connection.flush()?;
    loop {
        match connection.poll_request(Instant::now())? {
            Polled::Request(incoming) => serve(connection, incoming),
            Polled::Refused(_) => {}
            Polled::Idle => return connection.check_deadline(Instant::now()),
        }
    }
}
