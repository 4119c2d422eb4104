//! `udpxctl agent` against a daemon of a few lines: it answers, it outlives its terminal and the daemon, it ends.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};
use support::Home;
use udpx_control::schema::{
    Command, Demand, ErrorReport, Event, IfExists, Operation, Outcome, Reply, Response, VaultReply, code,
};
use udpx_control::server::{Accepted, Connection, Incoming, Limits, Listener, Polled};

const PART: &str = ".udpx-00112233445566aa.part";

/// The daemon's end of one agent's connection.
struct Daemon {
    _listener: Listener,
    connection: Connection,
    offer: u64,
    demands: u64,
}

impl Daemon {
    /// Takes an offer for these jobs.
    fn with_offer(mut listener: Listener, jobs: &[u64]) -> Self {
        let connection = loop {
            match listener.accept().unwrap() {
                Some(Accepted::Connection(connection)) => break *connection,
                _ => wait(listener.as_fd()),
            }
        };
        let mut daemon = Self { _listener: listener, connection, offer: 0, demands: 0 };
        let Incoming { request, .. } = daemon.next();
        assert!(matches!(&request.command, Command::VaultOffer(offer) if offer.jobs == jobs), "{request:?}");
        daemon.offer = request.id;
        daemon
    }

    fn send(&mut self, response: Response) {
        self.connection.send(response, Vec::new()).unwrap();
        self.connection.flush().unwrap();
    }

    fn next(&mut self) -> Incoming {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            match self.connection.poll_request(Instant::now()).unwrap() {
                Polled::Request(incoming) => return incoming,
                Polled::Idle => wait(self.connection.as_fd()),
                refused => panic!("{refused:?}"),
            }
        }
        panic!("nothing came");
    }

    fn demand(&mut self, operation: Operation) -> (Outcome, Option<OwnedFd>) {
        self.demands += 1;
        let demand = Demand { demand: self.demands, job: 12, operation };
        self.send(Response::event(self.offer, Event::Demand(demand)));
        let Incoming { request, mut descriptors } = self.next();
        match request.command {
            Command::VaultReply(VaultReply { offer, demand, outcome })
                if offer == self.offer && demand == self.demands =>
            {
                (outcome, descriptors.pop())
            }
            other => panic!("{other:?}"),
        }
    }

    fn accept(&mut self) {
        self.send(Response::ok(self.offer, Reply::Nothing));
    }
}

fn listen(home: &Home) -> Listener {
    Listener::bind(&home.path().join("udpxd.sock"), 0o600, None, Limits::default()).unwrap()
}

fn wait(descriptor: std::os::fd::BorrowedFd<'_>) {
    nix::poll::poll(&mut [PollFd::new(descriptor, PollFlags::POLLIN)], PollTimeout::from(20u8)).unwrap();
}

struct Agent {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Agent {
    fn start(home: &Home, list: &[u8]) -> Self {
        let mut command = home.command(["agent", "12", "13", "--socket"]);
        command.arg(home.path().join("udpxd.sock")).stdin(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(list).unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        Self { child, stdout }
    }

    fn says(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn ends(&mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A home with a source and a destination, and the list that lends them.
fn lent() -> (Home, PathBuf, PathBuf, Vec<u8>) {
    let home = Home::new();
    let root = home.path().canonicalize().unwrap();
    let (source, destination) = (root.join("source"), root.join("in"));
    fs::write(&source, "bytes").unwrap();
    fs::create_dir(&destination).unwrap();
    let list = format!("s{}\0d{}\0end", source.display(), destination.display());
    (home, source, destination, list.into_bytes())
}

fn create(path: &Path) -> Operation {
    Operation::Create { path: path.into(), part: PART.into(), if_exists: IfExists::Replace }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn it_does_what_its_jobs_need_and_ends_with_them() {
    let (home, source, destination, list) = lent();
    let listener = listen(&home);
    let mut agent = Agent::start(&home, &list);
    let mut daemon = Daemon::with_offer(listener, &[12, 13]);
    daemon.accept();
    assert_eq!(agent.says(), "ready\n");
    assert_eq!(getsid(Some(agent.pid())), Ok(agent.pid()), "it leads a session without a terminal");
    kill(agent.pid(), Signal::SIGHUP).unwrap();
    let (outcome, file) = daemon.demand(Operation::Open { path: source.as_path().into() });
    let mut text = String::new();
    File::from(file.unwrap()).read_to_string(&mut text).unwrap();
    assert_eq!((outcome, text.as_str()), (Outcome::Opened, "bytes"));
    let secret = home.path().join("secret");
    let (outcome, _) = daemon.demand(Operation::Open { path: secret.as_path().into() });
    assert!(matches!(outcome, Outcome::Failed { error, .. } if error.code == 77));
    let path = destination.join("f");
    let mut part = File::from(daemon.demand(create(&path)).1.unwrap());
    part.write_all(b"arrived").unwrap();
    let (committed, _) = daemon.demand(Operation::Commit {
        path: path.as_path().into(),
        part: PART.into(),
        if_exists: IfExists::Replace,
        mode: 0o644,
        mtime_ns: None,
    });
    assert_eq!(committed, Outcome::Committed { path: path.as_path().into() });
    assert_eq!(fs::read(path).unwrap(), b"arrived");
    daemon.send(Response::done(daemon.offer, Reply::Nothing));
    assert_eq!(agent.ends(), 0);
}

#[test]
fn a_daemon_that_comes_back_finds_it_again() {
    let (home, _, destination, list) = lent();
    let listener = listen(&home);
    let mut agent = Agent::start(&home, &list);
    let mut daemon = Daemon::with_offer(listener, &[12, 13]);
    daemon.accept();
    assert_eq!(agent.says(), "ready\n");
    assert!(daemon.demand(create(&destination.join("f"))).1.is_some());
    assert_eq!(names(&destination), [PART]);
    drop(daemon);
    let mut daemon = Daemon::with_offer(listen(&home), &[12, 13]);
    assert_eq!(names(&destination), [""; 0], "what was unfinished has gone");
    daemon.accept();
    assert!(daemon.demand(create(&destination.join("f"))).1.is_some());
    kill(agent.pid(), Signal::SIGTERM).unwrap();
    assert_eq!(agent.ends(), 130);
    assert_eq!(names(&destination), [""; 0]);
}

#[test]
fn what_the_daemon_says_no_to_reaches_whoever_started_it() {
    let (home, _, _, list) = lent();
    let listener = listen(&home);
    let mut agent = Agent::start(&home, &list);
    let mut daemon = Daemon::with_offer(listener, &[12, 13]);
    let refused = ErrorReport::new(code::REFUSED, "Job 13 is of user 0.", "Ask root.");
    daemon.send(Response::error(daemon.offer, refused.clone()));
    assert_eq!(serde_json::from_str::<ErrorReport>(&agent.says()).unwrap(), refused);
    assert_eq!(agent.ends(), 77);

    let mut agent = Agent::start(&Home::new(), b"end");
    assert_eq!(serde_json::from_str::<ErrorReport>(&agent.says()).unwrap().code, 69, "no daemon");
    assert_eq!(agent.ends(), 69);
    for list in [&b""[..], b"s/etc/passwd\0", b"x\0end"] {
        assert_eq!(Agent::start(&home, list).ends(), 2);
    }
}
