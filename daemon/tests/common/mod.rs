//! A receiving daemon in this process and a way to send to it.
#![allow(dead_code, reason = "each test file uses some of it")]
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use udpx_proto::handshake::StaticSecret;
use udpxd::config::{Config, Peer, Rights};
use udpxd::daemon::{Daemon, DaemonEvent};
use udpxd::embedded::{Event, PushFile, PushRequest, push};
use udpxd::identity;
use udpxd::relay::{Impairments, Relay, RelayConfig, Stop};
use udpxd::report::{JobError, Summary};

/// A daemon on loopback that knows one peer, "alice".
pub(crate) struct Receiver {
    pub(crate) directory: TempDir,
    pub(crate) address: SocketAddr,
    pub(crate) secret: StaticSecret,
    pub(crate) alice: StaticSecret,
    pub(crate) config: Config,
    events: Arc<Mutex<Vec<DaemonEvent>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        Self::with("127.0.0.1:0", |_| {})
    }

    pub(crate) fn with(listen: &str, change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (secret, alice) = (identity::ephemeral().unwrap(), identity::ephemeral().unwrap());
        let mut config = Config {
            listen: vec![listen.parse().unwrap()],
            inbox: directory.path().join("inbox"),
            ..Config::default()
        };
        config.peers.push(Peer {
            rights: Rights { write: true, read: true, list: true },
            ..Peer::new("alice", alice.public())
        });
        change(&mut config);
        let mut receiver = Self {
            directory,
            address: config.listen[0],
            secret,
            alice,
            config,
            events: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        receiver.restart();
        receiver
    }

    /// Starts it, again on the same address if it ran before.
    pub(crate) fn restart(&mut self) {
        self.halt();
        let daemon = Daemon::start_as(&self.config, self.secret.clone(), "udpxd.toml").unwrap();
        self.address = daemon.listening()[0];
        self.config.listen = vec![self.address];
        self.stop = Arc::default();
        let (stop, events) = (self.stop.clone(), self.events.clone());
        self.thread = Some(std::thread::spawn(move || {
            udpxd::daemon::run(&daemon, &stop, &mut |event| events.lock().unwrap().push(event.clone()))
                .unwrap();
        }));
    }

    pub(crate) fn halt(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    pub(crate) fn inbox(&self) -> PathBuf {
        self.config.inbox_of(&self.config.peers[0])
    }

    pub(crate) fn events(&self) -> Vec<DaemonEvent> {
        self.events.lock().unwrap().clone()
    }

    /// Waits until an event is there that `wanted` picks.
    pub(crate) fn wait_for<T>(&self, wanted: impl Fn(&DaemonEvent) -> Option<T>) -> T {
        for _ in 0..500 {
            if let Some(found) = self.events.lock().unwrap().iter().find_map(&wanted) {
                return found;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("it did not happen; only {:?}", self.events());
    }

    pub(crate) fn request(&self, files: Vec<PushFile>) -> PushRequest {
        PushRequest {
            files,
            ..PushRequest::new(self.secret.public(), vec![self.address], self.alice.clone())
        }
    }

    /// The same, by another way.
    pub(crate) fn request_to(&self, addresses: Vec<SocketAddr>, files: Vec<PushFile>) -> PushRequest {
        let mut request = self.request(files);
        request.call.way.addresses = addresses;
        request
    }

    /// Names in the inbox, parts included.
    pub(crate) fn names(&self) -> Vec<std::ffi::OsString> {
        names(&self.inbox())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.halt();
    }
}

/// A bad path to a receiver; it ends with the handle.
pub(crate) struct Detour {
    pub(crate) address: SocketAddr,
    stopper: Stop,
    thread: Option<JoinHandle<udpxd::relay::Report>>,
}

impl Detour {
    /// The same faults in both directions.
    pub(crate) fn to(target: SocketAddr, up: Impairments) -> Self {
        let down = up.clone();
        let listen = "127.0.0.1:0".parse().unwrap();
        let relay = Relay::bind(RelayConfig { listen, target, up, down, seed: 5 }).unwrap();
        let (address, stopper) = (relay.local_addr(), relay.stopper());
        let thread = Some(std::thread::spawn(move || relay.run().unwrap()));
        Self { address, stopper, thread }
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.stopper.stop().unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) fn names(directory: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> =
        std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

/// Bytes that differ from block to block.
pub(crate) fn bytes(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.extend_from_slice(&(state ^ state >> 29).to_le_bytes());
    }
    out.truncate(len);
    out
}

/// A file of such bytes.
pub(crate) fn file(directory: &Path, name: impl AsRef<Path>, len: usize) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, bytes(len, len as u64 + 7)).unwrap();
    path
}

/// Sends and returns what was said on the way.
pub(crate) fn send(request: PushRequest) -> (Result<Summary, JobError>, Vec<Event>) {
    let mut events = Vec::new();
    let result = push(request, &mut |event| events.push(event));
    (result, events)
}

/// Sends in another thread.
pub(crate) fn send_in_background(
    request: PushRequest,
) -> JoinHandle<(Result<Summary, JobError>, Vec<Event>)> {
    std::thread::spawn(move || send(request))
}
