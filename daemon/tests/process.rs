//! `udpxd` as a process of its own: its command line, its end by signals, and what a kill leaves behind.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::fs::Permissions;
use std::io::{BufRead, BufReader, ErrorKind};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::{file, names, send, send_in_background};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use udpxd::embedded::{Event, PullFile, PullRequest, PushFile, PushRequest, pull, push};
use udpxd::identity;
use udpxd::{Code, IfExists, PublicKey, RatePolicy, StaticSecret};

struct Process {
    directory: TempDir,
    child: Child,
    address: SocketAddr,
    key: PublicKey,
    alice: StaticSecret,
}

impl Process {
    fn start() -> Self {
        Self::start_as(None)
    }

    fn start_as(user: Option<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), user, None).unwrap();
        let alice = identity::ephemeral().unwrap();
        let path = directory.path();
        let config = format!(
            "listen = [\"127.0.0.1:0\"]\ncontrol = \"off\"\nidentity = {:?}\ninbox = {:?}\n[[peer]]\nname = \"alice\"\nkey = \"{}\"\nread = true\n",
            path.join("identity"),
            path.join("inbox"),
            identity::key_text(&alice.public()),
        );
        std::fs::write(path.join("udpxd.toml"), config).unwrap();
        let (child, address) = spawn(&directory, "127.0.0.1:0", user);
        let key = identity::load(&path.join("identity")).unwrap().public();
        Self { directory, child, address, key, alice }
    }

    /// Kills it without warning.
    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on its port.
    fn restart(&mut self) {
        self.child = spawn(&self.directory, &self.address.to_string(), None).0;
    }

    fn inbox(&self) -> PathBuf {
        self.directory.path().join("inbox/alice")
    }

    fn request(&self, path: PathBuf) -> PushRequest {
        let request = PushRequest::new(self.key, vec![self.address], self.alice.clone());
        PushRequest { files: vec![PushFile::Path(path)], ..request }
    }

    fn terminate(&mut self, signal: Signal) -> Duration {
        let begin = Instant::now();
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
        assert!(self.child.wait().unwrap().success());
        begin.elapsed()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts the program and reads its log until it says where it listens.
fn spawn(directory: &TempDir, listen: &str, user: Option<u32>) -> (Child, SocketAddr) {
    let config = directory.path().join("udpxd.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let rest = text.split_once('\n').unwrap().1;
    std::fs::write(&config, format!("listen = [\"{listen}\"]\n{rest}")).unwrap();
    let mut command = Command::new(program(directory, user));
    command.args(["run", "--config"]).arg(&config).env("NO_COLOR", "1").stderr(Stdio::piped());
    if let Some(user) = user {
        command.uid(user);
    }
    let mut child = loop {
        match command.spawn() {
            // A child of another test was forked while the copy was being written, and has not begun to run yet.
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(Duration::from_millis(10));
            }
            spawned => break spawned.unwrap(),
        }
    };
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it listened");
    }
    let address =
        line.split_whitespace().find_map(|word| word.strip_prefix("address=")).unwrap().parse().unwrap();
    // Somebody has to read the rest, or it would block.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, address)
}

/// The program, where that user can run it: the build directory may be somebody's own.
fn program(directory: &TempDir, user: Option<u32>) -> PathBuf {
    let built = PathBuf::from(env!("CARGO_BIN_EXE_udpxd"));
    if user.is_none() {
        return built;
    }
    let copy = directory.path().join("udpxd");
    std::fs::copy(built, &copy).unwrap();
    copy
}

/// A user without rights, on every Linux.
const NOBODY: u32 = 65_534;

#[test]
fn a_file_arrives_and_the_process_ends_on_a_signal() {
    let mut process = Process::start();
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", 9 << 20);
    send(process.request(path.clone())).0.unwrap();
    assert!(std::fs::read(process.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
    assert!(process.terminate(Signal::SIGTERM) < Duration::from_secs(2));
}

#[test]
fn a_signal_in_mid_transfer_removes_the_part_and_the_sender_hears_of_it() {
    let mut process = Process::start();
    let source = tempfile::tempdir().unwrap();
    let mut request = process.request(file(source.path(), "f", 32 << 20));
    request.call.way.policy = RatePolicy::Fixed { bps: 100e6 };
    request.call.way.give_up_after = Duration::from_secs(2);
    request.call.way.connect_timeout = Duration::from_secs(2);
    let push = send_in_background(request);
    std::thread::sleep(Duration::from_millis(800));
    assert_eq!(names(&process.inbox()).len(), 1);
    process.terminate(Signal::SIGINT);
    assert!(names(&process.inbox()).is_empty());
    let error = push.join().unwrap().0.unwrap_err();
    assert!(matches!(error.code, Code::Unreachable | Code::TryAgain), "{error}");
}

#[test]
fn a_kill_in_mid_transfer_leaves_no_torn_file_and_the_push_goes_on_when_it_is_back() {
    let mut process = Process::start();
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", 24 << 20);
    let mut request = process.request(path.clone());
    request.call.way.policy = RatePolicy::Fixed { bps: 100e6 };
    let (told, accepted) = mpsc::channel();
    let push = std::thread::spawn(move || {
        let mut events = Vec::new();
        let result = push(request, &mut |event| {
            if matches!(event, Event::Accepted { .. }) {
                let _ = told.send(Instant::now());
            }
            events.push(event);
        });
        (result, events)
    });
    accepted.recv_timeout(Duration::from_secs(20)).unwrap();
    std::thread::sleep(Duration::from_millis(700));
    process.kill();
    assert!(!process.inbox().join("f").exists());
    std::thread::sleep(Duration::from_millis(500));
    process.restart();
    let back = Instant::now();
    let goes_on = accepted.recv_timeout(Duration::from_secs(20)).unwrap().saturating_duration_since(back);
    println!("it went on {goes_on:?} after the daemon was back");
    // Two seconds, and the machine may be several times slower than it should be.
    assert!(goes_on < Duration::from_secs(6), "{goes_on:?}");
    let (result, events) = push.join().unwrap();
    let summary = result.unwrap_or_else(|error| panic!("{error} after {events:?}"));
    assert_eq!(summary.sessions, 2, "{events:?}");
    assert!(std::fs::read(process.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
    assert_eq!(names(&process.inbox()), ["f"], "what the killed daemon left was removed");
}

#[test]
fn a_peer_that_is_killed_and_never_back_is_given_up_when_asked() {
    let mut process = Process::start();
    let source = tempfile::tempdir().unwrap();
    let mut request = process.request(file(source.path(), "f", 24 << 20));
    request.call.way.policy = RatePolicy::Fixed { bps: 100e6 };
    request.call.way.give_up_after = Duration::from_secs(3);
    request.call.way.host = "bob".into();
    let push = send_in_background(request);
    std::thread::sleep(Duration::from_millis(700));
    process.kill();
    let begin = Instant::now();
    let (result, events) = push.join().unwrap();
    let error = result.unwrap_err();
    assert_eq!(error.code, Code::Unreachable, "{error} after {events:?}");
    assert!(error.text.contains("bob has not answered for 3 s") && !error.remedy.is_empty(), "{error}");
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(6), "{took:?}");
}

#[test]
fn a_destination_that_cannot_be_written_is_said_before_data_flows() {
    // Root may write anywhere: it runs the daemon as somebody else.
    let nobody = nix::unistd::geteuid().is_root().then_some(NOBODY);
    let mut process = Process::start_as(nobody);
    std::fs::create_dir_all(process.inbox()).unwrap();
    std::fs::set_permissions(process.inbox(), Permissions::from_mode(0o555)).unwrap();
    let source = tempfile::tempdir().unwrap();
    let error = send(process.request(file(source.path(), "f", 5 << 20))).0.unwrap_err();
    std::fs::set_permissions(process.inbox(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!(error.code, Code::NoSpace, "{error}");
    assert!(error.text.contains("can't be written"), "{error}");
    process.terminate(Signal::SIGTERM);
}

#[test]
fn a_source_that_the_daemon_may_not_read_is_said() {
    let nobody = nix::unistd::geteuid().is_root().then_some(NOBODY);
    let mut process = Process::start_as(nobody);
    std::fs::create_dir_all(process.inbox()).unwrap();
    let path = file(&process.inbox(), "f", 10);
    std::fs::set_permissions(path, Permissions::from_mode(0o000)).unwrap();
    let here = tempfile::tempdir().unwrap();
    let request = PullRequest {
        files: vec![PullFile {
            root: String::new(),
            path: b"f".to_vec(),
            destination: here.path().join("f").into(),
        }],
        call: process.request("".into()).call,
        streams: None,
        if_exists: IfExists::Replace,
        umask: 0o022,
    };
    let error = pull(request, &mut |_| {}).unwrap_err();
    assert_eq!(error.code, Code::NoSource, "{error}");
    assert!(error.text.contains("can't be read"), "{error}");
    assert!(names(here.path()).is_empty());
    process.terminate(Signal::SIGTERM);
}

#[test]
fn the_command_line_checks_configurations() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_udpxd"))
            .args(["check", "--config"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), said)
    };
    let (code, said) = check("");
    assert!(code == Some(0) && said.contains("0.0.0.0:48379"), "{said}");
    // Where nobody can be invited there is nobody to listen for.
    let (code, said) = check("control = \"off\"");
    assert!(code == Some(0) && said.contains("127.0.0.1:48379"), "{said}");
    let (code, said) = check("\nlisten_at = 7\n");
    assert_eq!(code, Some(i32::from(Code::Config.exit())));
    assert!(said.contains("c.toml:2: unknown key 'listen_at'; did you mean 'listen'?"), "{said}");
}
