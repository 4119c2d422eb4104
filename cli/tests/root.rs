//! `udpxctl root` and what it prints, against a daemon of a few lines: what a real one makes of the requests is tested
//! beside it.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use std::os::fd::AsFd;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use support::{Home, Ran};
use udpx_control::schema::{Body, Command, ErrorReport, Event, Reply, Response, RootReport, Roots};
use udpx_control::server::{Accepted, Limits, Listener, Polled};

/// Answers one request of one client, and returns it.
struct Daemon {
    home: Home,
    thread: JoinHandle<Command>,
}

impl Daemon {
    fn answering(bodies: Vec<Body>) -> Self {
        let home = Home::new();
        let mut listener =
            Listener::bind(&home.path().join("d.sock"), 0o600, None, Limits::default()).unwrap();
        let thread = std::thread::spawn(move || {
            let until = Instant::now() + Duration::from_secs(20);
            let wait = |fd: std::os::fd::BorrowedFd<'_>| {
                assert!(Instant::now() < until, "nobody asked");
                let tick = PollTimeout::try_from(Duration::from_millis(100)).unwrap();
                nix::poll::poll(&mut [PollFd::new(fd, PollFlags::POLLIN)], tick).unwrap();
            };
            let mut connection = loop {
                wait(listener.as_fd());
                if let Some(Accepted::Connection(connection)) = listener.accept().unwrap() {
                    break connection;
                }
            };
            loop {
                wait(connection.as_fd());
                if let Polled::Request(incoming) = connection.poll_request(Instant::now()).unwrap() {
                    for body in bodies {
                        connection.send(Response::new(incoming.request.id, body), Vec::new()).unwrap();
                    }
                    return incoming.request.command;
                }
            }
        });
        Self { home, thread }
    }

    /// What a command makes of the answer, and what it has asked for.
    fn ask(self, arguments: &[&str]) -> (Ran, Roots) {
        let socket = self.home.path().join("d.sock");
        let mut command = self.home.command(arguments);
        let ran = Ran::of(&command.arg("--socket").arg(socket).output().unwrap());
        match self.thread.join().unwrap() {
            Command::Roots(request) => (ran, request),
            other => panic!("{other:?}"),
        }
    }
}

fn root(name: &str, path: &str) -> RootReport {
    let default = name == "inbox";
    RootReport { root: name.into(), path: path.into(), default, free_bytes: 5 << 30, problem: String::new() }
}

fn listed() -> Vec<Body> {
    let problem = "The sandbox of udpxd.service makes /srv/b read-only.\nReadWritePaths=/srv/b\x1b".into();
    let roots = [root("inbox", "/var/lib/udpx/inbox"), RootReport { problem, ..root("b", "/srv/b") }];
    let events = roots.map(Event::Root).map(Body::Event);
    events.into_iter().chain([Body::Done(Reply::Listed { count: 2, cut: false })]).collect()
}

#[test]
fn a_list_is_a_table_with_what_is_wrong_below() {
    let (ran, request) = Daemon::answering(listed()).ask(&["root", "list"]);
    assert_eq!((ran.code, request), (0, Roots::List));
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(lines[0].split_whitespace().collect::<Vec<_>>(), ["root", "free", "path"]);
    assert!(
        lines[1].starts_with("inbox (default)  5.0 GiB") && lines[1].ends_with("/var/lib/udpx/inbox"),
        "{ran:?}"
    );
    assert_eq!(lines[4], "b cannot be used: The sandbox of udpxd.service makes /srv/b read-only.");
    assert_eq!(lines[5], "  ReadWritePaths=/srv/b\\x1b");
    let (ran, _) = Daemon::answering(listed()).ask(&["root", "list", "--json"]);
    let events = ran.events();
    assert_eq!((events.len(), &events[2]["roots"]), (3, &2.into()));
    assert!(events[0]["default"] == true && events[1]["problem"].as_str().unwrap().contains('\n'), "{ran:?}");
}

#[test]
fn a_root_is_added_with_its_absolute_path_and_what_to_do_next() {
    let answer = || vec![Body::Event(Event::Root(root("disk", "/srv/disk"))), Body::Done(Reply::Nothing)];
    let daemon = Daemon::answering(answer());
    let here: PathBuf = daemon.home.path().canonicalize().unwrap();
    let (ran, request) = daemon.ask(&["root", "add", "disk", "some/where"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(request, Roots::Add { root: "disk".into(), path: here.join("some/where").into() });
    assert!(ran.stdout.starts_with("root disk is /srv/disk\n"), "{ran:?}");
    assert!(ran.stdout.contains("sudo udpxctl peer grant PEER --root disk --read --list"), "{ran:?}");
    let (ran, _) = Daemon::answering(answer()).ask(&["root", "add", "disk", "/x", "--json"]);
    assert_eq!(ran.events()[0]["path"], "/srv/disk");
}

#[test]
fn one_is_removed_and_its_files_stay() {
    let (ran, request) = Daemon::answering(vec![Body::Done(Reply::Nothing)]).ask(&["root", "remove", "disk"]);
    assert_eq!((ran.code, request), (0, Roots::Remove { root: "disk".into() }));
    assert!(ran.stdout.contains("its files stay"), "{ran:?}");
}

#[test]
fn a_refusal_is_shown_with_the_lines_to_add_to_the_unit() {
    let remedy =
        "Run: sudo systemctl edit udpxd\nand write into what opens:\n    [Service]\n    ReadWritePaths=/x";
    let report =
        ErrorReport::new((77, "refused"), "The sandbox of udpxd.service makes /x read-only.", remedy);
    let (ran, _) = Daemon::answering(vec![Body::Error(report)]).ask(&["root", "add", "x", "/x"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (77, ""));
    let shown = "udpxctl: The sandbox of udpxd.service makes /x read-only.\n  Run: sudo systemctl edit udpxd\n  and write into \
                 what opens:\n      [Service]\n      ReadWritePaths=/x\n";
    assert_eq!(ran.stderr, shown);
}

#[test]
fn mistakes_are_told_without_a_daemon() {
    let home = Home::new();
    for (line, code, told) in [
        ("root", 2, "Usage: udpxctl root"),
        ("root add disk", 2, "<PATH>"),
        ("root fetch", 2, "unrecognized subcommand"),
        ("root list", 69, "no.sock"),
    ] {
        let ran = home.line(line);
        assert!(ran.code == code && ran.stderr.contains(told), "{line}: {ran:?}");
    }
}
