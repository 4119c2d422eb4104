//! The control socket of a running `udpxd`: what it answers, whom it withstands, and who may have the place.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{file, send};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use udpx_control::client::{Client, ClientError, SocketChoice, Update};
use udpx_control::limits::OUTPUT_BYTES_MAX;
use udpx_control::schema::{
    Cancel, Command as Asked, Event, Inbox, Key, Peers, Reply, Roots, Stats, Version, Watch,
};
use udpxd::embedded::{PushFile, PushRequest};
use udpxd::{StaticSecret, identity};

struct Running {
    directory: TempDir,
    child: Child,
    address: SocketAddr,
    alice: StaticSecret,
}

impl Running {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let alice = identity::ephemeral().unwrap();
        write_config(directory.path(), "identity", &directory.path().join("d.sock"), &alice);
        let (child, address) = spawn(directory.path());
        Self { directory, child, address, alice }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("d.sock")
    }

    fn client(&self) -> Client {
        Client::connect(&SocketChoice::path(self.socket())).unwrap()
    }

    fn raw(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    /// Sends a file to it as alice.
    fn push(&self, len: usize) {
        let key = identity::load(&self.directory.path().join("identity")).unwrap().public();
        let path = file(self.directory.path(), format!("source-{len}"), len);
        let request = PushRequest::new(key, vec![self.address], self.alice.clone());
        send(PushRequest { files: vec![PushFile::Path(path)], ..request }).0.unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// A second daemon with its own state and port; it is expected to end.
    fn second(&self, socket: &Path) -> Output {
        let directory = tempfile::tempdir().unwrap();
        write_config(directory.path(), "identity", socket, &self.alice);
        command(directory.path()).output().unwrap()
    }

    fn is_well(&self) {
        assert!(matches!(self.client().call(Version {}).unwrap(), Reply::Version(_)));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(directory: &Path, identity: &str, socket: &Path, alice: &StaticSecret) {
    let text = format!(
        "listen = [\"127.0.0.1:0\"]\nidentity = {:?}\ninbox = {:?}\ncontrol = {socket:?}\n[[peer]]\nname = \"alice\"\n\
         key = \"{}\"\nlist = true\n",
        directory.join(identity),
        directory.join("inbox"),
        identity::key_text(&alice.public()),
    );
    std::fs::write(directory.join("udpxd.toml"), text).unwrap();
}

fn command(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_udpxd"));
    command.args(["run", "--config"]).arg(directory.join("udpxd.toml")).env("NO_COLOR", "1");
    command
}

/// Starts the program and reads its log until it serves its control socket.
fn spawn(directory: &Path) -> (Child, SocketAddr) {
    let mut child = command(directory).stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut address) = (String::new(), None);
    while !line.contains("control socket") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it served");
        let found = line.split_whitespace().find_map(|word| word.strip_prefix("address="));
        address = found.map(|text| text.parse().unwrap()).or(address);
    }
    // Somebody has to read the rest, or it would block.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, address.unwrap())
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn it_answers_what_this_version_knows() {
    let daemon = Running::start();
    let mut client = daemon.client();
    let Reply::Version(version) = client.call(Version {}).unwrap() else { panic!() };
    assert_eq!(
        (version.version.as_str(), version.schema, version.protocol),
        (env!("CARGO_PKG_VERSION"), 1, 1)
    );
    assert!(!version.kernel.is_empty());
    let key = identity::load(&daemon.directory.path().join("identity")).unwrap().public();
    let Reply::Key(report) = client.call(Key {}).unwrap() else { panic!() };
    assert_eq!(report.key, identity::key_text(&key));
    let mut events = Vec::new();
    let reply = client.request(Peers {}, &[]).unwrap().finish(|event| events.push(event)).unwrap();
    assert_eq!(reply, Reply::Listed { count: 1, cut: false });
    let Event::Peer(peer) = &events[0] else { panic!("{events:?}") };
    assert_eq!((peer.peer.as_str(), peer.sessions, peer.heard_unix_ms), ("alice", 0, None));
    assert_eq!((peer.write.as_slice(), peer.list.as_slice()), (&["inbox".into()][..], &["inbox".into()][..]));
    assert!(peer.read.is_empty() && peer.key == identity::key_text(&daemon.alice.public()));
    events.clear();
    client.request(Roots::List, &[]).unwrap().finish(|event| events.push(event)).unwrap();
    let Event::Root(root) = &events[0] else { panic!("{events:?}") };
    assert!(root.default && root.problem.is_empty() && root.free_bytes > 0, "{root:?}");
    assert_eq!(root.path.as_path(), daemon.directory.path().join("inbox"));
    let metadata = std::fs::symlink_metadata(daemon.socket()).unwrap();
    assert!(metadata.file_type().is_socket() && metadata.permissions().mode() & 0o007 == 0);
}

#[test]
fn what_it_does_not_know_is_refused_with_a_remedy() {
    let daemon = Running::start();
    let mut client = daemon.client();
    let later: [Asked; 4] = [
        Watch { job: Some(1) }.into(),
        Cancel { job: 1 }.into(),
        Roots::Remove { root: "inbox".into() }.into(),
        Inbox { follow: false, peer: Some("mallory".into()) }.into(),
    ];
    for (asked, code) in later.into_iter().zip([2, 2, 2, 2]) {
        let name = asked.name();
        let Err(ClientError::Refused(report)) = client.call(asked) else { panic!("{name} is served") };
        assert_eq!(report.code, code, "{report}");
        assert!(!report.remedy.is_empty(), "{report}");
    }
    daemon.is_well();
}

#[test]
fn followers_see_files_arrive_and_are_told_of_the_end() {
    let mut daemon = Running::start();
    daemon.push(1000);
    let (mut client, mut idle) = (daemon.client(), daemon.raw());
    client.set_patience(None);
    let mut responses = client.request(Inbox { follow: true, peer: None }, &[]).unwrap();
    daemon.push((5 << 20) + 1);
    for bytes in [1000, (5 << 20) + 1] {
        let Some(Update::Event(Event::Inbox(entry))) = responses.wait(SOON).unwrap() else { panic!() };
        assert_eq!((entry.peer.as_str(), entry.bytes), ("alice", bytes));
        let path = daemon.directory.path().join(format!("inbox/alice/source-{bytes}"));
        assert!(entry.path.as_path() == path && entry.digest.len() == 64 && entry.arrived_unix_ms > 0);
    }
    let begin = Instant::now();
    loop {
        let Reply::Stats(stats) = daemon.client().call(Stats {}).unwrap() else { panic!() };
        let count = |name: &str| stats.counters.iter().find(|counter| counter.name == name).unwrap().value;
        assert_eq!((count("files_received"), count("files_received_bytes")), (2, 1000 + (5 << 20) + 1));
        assert_eq!((count("sessions_opened"), stats.connections), (2, 3));
        // The sockets are reported once a second.
        if stats.sessions == 0 && stats.sockets.received_datagrams > 0 {
            assert!(stats.received.payload_bytes > 5 << 20 && stats.received.packets > 50, "{stats:?}");
            assert!(stats.sent.packets > 0 && stats.uptime_us > 0);
            break;
        }
        assert!(begin.elapsed() < SOON, "{stats:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    let begin = Instant::now();
    daemon.signal(Signal::SIGTERM);
    let Err(ClientError::Refused(report)) = responses.wait(SOON) else { panic!() };
    assert!(report.code == 75 && report.text.contains("stopped"), "{report}");
    assert_eq!(idle.read(&mut [0; 16]).unwrap(), 0);
    assert!(daemon.child.wait().unwrap().success());
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(!daemon.socket().exists());
}

#[test]
fn clients_that_break_the_rules_harm_nobody() {
    let daemon = Running::start();
    let frame = |json: &str| [&u32::try_from(json.len()).unwrap().to_le_bytes(), json.as_bytes()].concat();
    // Garbage, and a length of 2 GiB: told so, and closed.
    for bytes in [frame("\u{1}no json at all"), (2u32 << 30).to_le_bytes().to_vec()] {
        let mut stream = daemon.raw();
        stream.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.contains("\"id\":0") && answer.contains("\"code\":76"), "{answer}");
    }
    // A newer schema, and a command of the future: refused, and the connection goes on.
    let mut stream = daemon.raw();
    for json in [r#"{"schema":9,"id":1,"command":"version"}"#, r#"{"schema":1,"id":2,"command":"fly"}"#] {
        stream.write_all(&frame(json)).unwrap();
        let mut prefix = [0; 4];
        stream.read_exact(&mut prefix).unwrap();
        let mut answer = vec![0; u32::from_le_bytes(prefix) as usize];
        stream.read_exact(&mut answer).unwrap();
        assert!(String::from_utf8(answer).unwrap().contains("\"code\":76"));
    }
    // Half a request, and then nothing any more.
    let mut stream = daemon.raw();
    stream.write_all(&frame(r#"{"schema":1,"id":1,"command":"stats"}"#)[..20]).unwrap();
    drop(stream);
    // Requests whose answers are never read: at some time nothing more is taken, and nobody else notices.
    let mut deaf = daemon.raw();
    deaf.set_nonblocking(true).unwrap();
    let request = frame(r#"{"schema":1,"id":1,"command":"stats"}"#);
    let (begin, mut sent) = (Instant::now(), 0);
    while begin.elapsed() < Duration::from_secs(2) && sent < OUTPUT_BYTES_MAX {
        match deaf.write(&request) {
            Ok(bytes) if bytes == request.len() => sent += bytes,
            // Full, in the middle of a request or not: that is the point.
            _ => break,
        }
    }
    assert!(sent > 0);
    for _ in 0..20 {
        daemon.is_well();
    }
    daemon.push(1000);
    // Somebody who follows and dies is forgotten.
    let mut client = daemon.client();
    client.request(Inbox { follow: true, peer: None }, &[]).unwrap();
    drop(client);
    daemon.push(1001);
    daemon.is_well();
}

#[test]
fn a_second_daemon_ends_and_the_first_does_not_notice() {
    let daemon = Running::start();
    let output = daemon.second(&daemon.socket());
    assert_eq!(output.status.code(), Some(74), "{}", said(&output));
    let pid = format!("(process {})", daemon.child.id());
    assert!(said(&output).contains("Another daemon") && said(&output).contains(&pid), "{}", said(&output));
    daemon.is_well();
    daemon.push(1000);
}

#[test]
fn a_dead_daemon_s_socket_is_replaced() {
    let mut daemon = Running::start();
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert!(daemon.socket().exists());
    let error = Client::connect(&SocketChoice::path(daemon.socket())).unwrap_err();
    assert!(matches!(error, ClientError::NoDaemon { stale: true, .. }), "{error}");
    (daemon.child, daemon.address) = spawn(daemon.directory.path());
    daemon.is_well();
}

#[test]
fn a_place_that_cannot_be_had_is_said() {
    let daemon = Running::start();
    let directory = daemon.directory.path();
    std::fs::write(directory.join("file"), "mine").unwrap();
    for (place, code, word) in [
        (directory.join("inbox"), 78, "is no socket"),
        (directory.join("file"), 78, "is no socket"),
        (directory.join("missing/d.sock"), 74, "No such file or directory"),
        (directory.join("x".repeat(120)), 78, "too long"),
    ] {
        let output = daemon.second(&place);
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(word), "{}", said(&output));
        assert!(said(&output).contains("control"), "{}", said(&output));
    }
    assert_eq!(std::fs::read_to_string(directory.join("file")).unwrap(), "mine");
    let check = |control: &str| {
        std::fs::write(directory.join("c.toml"), format!("control = {control:?}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_udpxd"));
        let output = command.args(["check", "--config"]).arg(directory.join("c.toml")).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    assert!(check("/x/y").contains("control socket /x/y"));
    assert!(check("off").contains("no control socket"));
    assert!(check("y").contains("c.toml:1: 'control' is"));
}
