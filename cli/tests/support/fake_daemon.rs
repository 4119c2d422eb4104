//! A daemon of a script: it says to each request what the test wants said, and remembers what it was asked.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use udpx_control::schema::{
    Body, Command, Direction, ErrorReport, Event, JobReport, JobState, PlaceReport, Policy, Reply, Response,
    Row, StatsReport,
};
use udpx_control::server::{Accepted, Connection, ConnectionError, Incoming, Limits, Listener, Polled};

use super::{Home, Ran};

/// What the daemon does about a request.
pub(crate) enum Act {
    Say(Body),
    /// The same after a while.
    Later(Duration, Body),
    /// It closes the connection, as one that has been killed.
    Close,
    /// It goes away, and comes back after a while.
    Restart(Duration),
}

/// What it was asked: the number of the connection, the request, and the bytes of files that came with it.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) client: usize,
    pub(crate) command: Command,
    pub(crate) bytes: Vec<Vec<u8>>,
}

pub(crate) struct FakeDaemon {
    pub(crate) home: Home,
    asked: Arc<Mutex<Vec<Asked>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FakeDaemon {
    /// `script` decides what is done about each request.
    pub(crate) fn start(script: impl FnMut(&Asked) -> Vec<Act> + Send + 'static) -> Self {
        let home = Home::new();
        let path = home.path().join("d.sock");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let daemon = Loop {
            listener: Some(bind(&path)),
            path,
            connections: Vec::new(),
            clients: 0,
            due: Vec::new(),
            asked: asked.clone(),
            script: Box::new(script),
            back: None,
        };
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || daemon.run(&stopped));
        Self { home, asked, stop, thread: Some(thread) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.path().join("d.sock")
    }

    /// A command that finds it.
    pub(crate) fn command(&self, line: &str) -> std::process::Command {
        let mut command = self.home.command(line.split_whitespace());
        command.env("UDPX_SOCKET", self.socket());
        command
    }

    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::of(&self.command(line).output().unwrap())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// The names of all requests so far, replies to demands left out.
    pub(crate) fn words(&self) -> Vec<&'static str> {
        let names = self.asked().iter().map(|asked| asked.command.name()).collect::<Vec<_>>();
        names.into_iter().filter(|name| *name != "vault-reply").collect()
    }

    /// Waits until it was asked for `word`.
    pub(crate) fn wait_for(&self, word: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.asked().iter().any(|asked| asked.command.name() == word) {
            assert!(Instant::now() < end, "nobody asked for {word}: {:?}", self.words());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for FakeDaemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the daemon's script has failed");
    }
}

type Script = Box<dyn FnMut(&Asked) -> Vec<Act> + Send>;

struct Loop {
    listener: Option<Listener>,
    path: PathBuf,
    connections: Vec<(usize, Connection)>,
    clients: usize,
    due: Vec<(Instant, usize, Response)>,
    asked: Arc<Mutex<Vec<Asked>>>,
    script: Script,
    back: Option<Instant>,
}

fn bind(path: &std::path::Path) -> Listener {
    Listener::bind(path, 0o600, None, Limits::default()).unwrap()
}

impl Loop {
    fn run(mut self, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            self.wait();
            if self.back.take_if(|back| Instant::now() >= *back).is_some() {
                self.listener = Some(bind(&self.path));
            }
            while let Some(accepted) = self.listener.as_mut().and_then(|listener| listener.accept().unwrap())
            {
                if let Accepted::Connection(connection) = accepted {
                    self.clients += 1;
                    self.connections.push((self.clients, *connection));
                }
            }
            let mut connections = std::mem::take(&mut self.connections);
            connections.retain_mut(|(client, connection)| self.drive(*client, connection).unwrap_or(false));
            if self.back.is_none() {
                self.connections.append(&mut connections);
            }
        }
    }

    /// Whether the connection goes on.
    fn drive(&mut self, client: usize, connection: &mut Connection) -> Result<bool, ConnectionError> {
        let now = Instant::now();
        let due = self.due.extract_if(.., |(at, to, _)| *to == client && *at <= now).collect::<Vec<_>>();
        for (_, _, response) in due {
            connection.send(response, Vec::new())?;
        }
        connection.flush()?;
        loop {
            match connection.poll_request(now)? {
                Polled::Idle => return Ok(true),
                Polled::Refused(error) => panic!("{error}"),
                Polled::Request(Incoming { request, descriptors }) => {
                    let read = |descriptor| {
                        let mut bytes = Vec::new();
                        File::from(descriptor).read_to_end(&mut bytes).unwrap();
                        bytes
                    };
                    let bytes = descriptors.into_iter().map(read).collect();
                    let asked = Asked { client, command: request.command, bytes };
                    self.asked.lock().unwrap().push(asked.clone());
                    for act in (self.script)(&asked) {
                        match act {
                            Act::Say(body) => connection.send(Response::new(request.id, body), Vec::new())?,
                            Act::Later(wait, body) => {
                                self.due.push((now + wait, client, Response::new(request.id, body)));
                            }
                            Act::Close => return Ok(false),
                            Act::Restart(away) => {
                                self.listener = None;
                                self.back = Some(now + away);
                                return Ok(false);
                            }
                        }
                    }
                }
            }
        }
    }

    fn wait(&self) {
        let listener = self.listener.iter().map(AsFd::as_fd);
        let connections = self.connections.iter().map(|(_, connection)| connection.as_fd());
        let mut polled: Vec<_> =
            listener.chain(connections).map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        nix::poll::poll(&mut polled, PollTimeout::from(10u8)).unwrap();
    }
}

/// A push of one file by this user.
pub(crate) fn report(job: u64, state: JobState) -> JobReport {
    let place = |path: &str| PlaceReport { root: String::new(), path: path.into() };
    let is_ended = state.is_ended();
    JobReport {
        job,
        uid: nix::unistd::geteuid().as_raw(),
        user: "alice".into(),
        direction: Direction::Push,
        peer: "bob".into(),
        sources: vec![place("/home/alice/file.iso")],
        sources_total: 1,
        destination: place(""),
        state,
        bytes: if is_ended { 1000 } else { 500 },
        total: Some(1000),
        files: is_ended.into(),
        rate_bps: if is_ended { 0 } else { 800 },
        rtt_us: 41_000,
        loss: 0.012,
        policy: Policy::Fair,
        limit_bps: None,
        created_unix_ms: 1_767_225_600_000,
        started_unix_ms: None,
        ended_unix_ms: None,
        retries: 0,
        error: None,
    }
}

pub(crate) fn stats() -> StatsReport {
    let row = |stream, packets| Row {
        stream,
        packets,
        frames: packets,
        wire_bytes: packets * 100,
        payload_bytes: packets * 90,
        seconds: 2.0,
        ..Row::default()
    };
    StatsReport {
        rtt_min_us: 40_000,
        rtt_mean_us: 41_000,
        datagram_bytes: 1472,
        sessions: 1,
        ..StatsReport::of_rows(vec![row(Some(1), 10), row(Some(2), 20)], row(None, 3), 2.0)
    }
}

pub(crate) fn event(event: Event) -> Act {
    Act::Say(Body::Event(event))
}

pub(crate) fn accepted(job: u64) -> Act {
    Act::Say(Body::Ok(Reply::Accepted { job }))
}

/// The end of a job, with its table.
pub(crate) fn ended(report: JobReport) -> Body {
    Body::Done(Reply::Job { job: Box::new(report), stats: Some(Box::new(stats())) })
}

/// A job as an answer.
pub(crate) fn job(report: JobReport) -> Act {
    Act::Say(Body::Done(Reply::Job { job: Box::new(report), stats: None }))
}

pub(crate) fn failing(code: u32, kind: &str, text: &str) -> ErrorReport {
    ErrorReport { code, kind: kind.into(), text: text.into(), remedy: "Do something about it.".into() }
}
