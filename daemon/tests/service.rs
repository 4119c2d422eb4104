//! `udpxd` as a service: what it tells its manager, what SIGHUP changes, and how its log looks.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::io::{BufRead, BufReader, PipeReader, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use common::{file, send, send_in_background};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use udpxd::embedded::{PushFile, PushRequest};
use udpxd::identity;
use udpxd::{Code, RatePolicy, StaticSecret};

struct Service {
    directory: TempDir,
    child: Child,
    manager: UnixDatagram,
    address: SocketAddr,
    log: BufReader<PipeReader>,
    first_line: String,
}

impl Service {
    fn start(peers: &[(&str, &StaticSecret)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        write_config(&directory, "", peers);
        let (log, stderr) = std::io::pipe().unwrap();
        let stat = nix::sys::stat::fstat(&stderr).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_udpxd"))
            .args(["run", "--config"])
            .arg(directory.path().join("udpxd.toml"))
            .env("NOTIFY_SOCKET", directory.path().join("notify"))
            .env("WATCHDOG_USEC", "1000000")
            .env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino))
            .env_remove("NO_COLOR")
            .env_remove("RUST_LOG")
            .stderr(stderr)
            .spawn()
            .unwrap();
        let mut log = BufReader::new(log);
        let mut first_line = String::new();
        log.read_line(&mut first_line).unwrap();
        let address = first_line.split_whitespace().find_map(|word| word.strip_prefix("address="));
        let address = address.unwrap().parse().unwrap();
        Self { directory, child, manager, address, log, first_line }
    }

    /// The next message of that beginning, within `timeout`.
    fn hears(&self, wanted: &str, timeout: Duration) -> Option<String> {
        let until = Instant::now() + timeout;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            self.manager.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
            let mut bytes = [0; 4096];
            let Ok(len) = self.manager.recv(&mut bytes) else { continue };
            let said = String::from_utf8(bytes[..len].to_vec()).unwrap();
            if said.starts_with(wanted) {
                return Some(said);
            }
        }
        None
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Has it read a changed configuration, and returns its new status.
    fn reload(&self, settings: &str, peers: &[(&str, &StaticSecret)]) -> String {
        write_config(&self.directory, settings, peers);
        self.signal(Signal::SIGHUP);
        assert!(self.hears("RELOADING=1\nMONOTONIC_USEC=", SOON).is_some());
        self.hears("READY=1\nSTATUS=", SOON).unwrap()["READY=1\nSTATUS=".len()..].to_owned()
    }

    fn request(&self, from: &StaticSecret, len: usize) -> PushRequest {
        let key = identity::load(&self.directory.path().join("identity")).unwrap().public();
        let path = file(self.directory.path(), format!("source-{len}"), len);
        let mut request = PushRequest::new(key, vec![self.address], from.clone());
        request.files = vec![PushFile::Path(path)];
        request.call.way.give_up_after = Duration::ZERO;
        request
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn write_config(directory: &TempDir, settings: &str, peers: &[(&str, &StaticSecret)]) {
    let path = directory.path();
    let mut text = format!(
        "listen = [\"127.0.0.1:0\"]\ncontrol = \"off\"\nidentity = {:?}\ninbox = {:?}\n{settings}\n",
        path.join("identity"),
        path.join("inbox")
    );
    for (name, secret) in peers {
        let key = identity::key_text(&secret.public());
        text.push_str(&format!("[[peer]]\nname = \"{name}\"\nkey = \"{key}\"\n"));
    }
    std::fs::write(path.join("udpxd.toml"), text).unwrap();
}

const SOON: Duration = Duration::from_secs(10);

#[test]
fn the_manager_hears_of_readiness_life_and_the_end() {
    let alice = identity::ephemeral().unwrap();
    let mut service = Service::start(&[("alice", &alice)]);
    let ready = service.hears("READY=1\nSTATUS=", SOON).unwrap();
    assert!(
        ready.contains(&service.address.to_string()) && ready.ends_with("peers configured: 1."),
        "{ready}"
    );
    for _ in 0..4 {
        // An idle engine lives too.
        assert!(service.hears("WATCHDOG=1", SOON).is_some());
    }
    service.signal(Signal::SIGSTOP);
    while service.hears("WATCHDOG=1", Duration::from_millis(1)).is_some() {}
    assert_eq!(service.hears("WATCHDOG=1", Duration::from_millis(1500)), None);
    service.signal(Signal::SIGCONT);
    assert!(service.hears("WATCHDOG=1", SOON).is_some());
    service.signal(Signal::SIGTERM);
    assert!(service.hears("STOPPING=1\n", SOON).is_some());
    assert!(service.child.wait().unwrap().success());
}

#[test]
fn the_journal_gets_neither_colours_nor_times() {
    let service = Service::start(&[]);
    assert!(service.first_line.trim_start().starts_with("INFO listening address="), "{}", service.first_line);
    let mut log = Command::new(env!("CARGO_BIN_EXE_udpxd"))
        .args(["run", "--config"])
        .arg(service.directory.path().join("udpxd.toml"))
        .env("JOURNAL_STREAM", "1:1")
        .env_remove("NO_COLOR")
        .env_remove("RUST_LOG")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(log.stderr.take().unwrap()).read_line(&mut line).unwrap();
    log.kill().unwrap();
    log.wait().unwrap();
    assert!(line.starts_with("20") && !line.contains('\x1b'), "another stream's log has the time: {line:?}");
}

#[test]
fn a_hangup_changes_who_may_write() {
    let (alice, bob) = (identity::ephemeral().unwrap(), identity::ephemeral().unwrap());
    let service = Service::start(&[("alice", &alice)]);
    assert_eq!(send(service.request(&bob, 1000)).0.unwrap_err().code, Code::Refused);
    assert!(service.reload("", &[("alice", &alice), ("bob", &bob)]).ends_with("peers configured: 2."));
    send(service.request(&bob, 1000)).0.unwrap();
    assert!(service.directory.path().join("inbox/bob/source-1000").exists());
    // In mid-transfer a change of others' rights is nothing to alice; one of her own ends it.
    let mut request = service.request(&alice, 32 << 20);
    request.call.way.policy = RatePolicy::Fixed { bps: 50e6 };
    let push = send_in_background(request);
    std::thread::sleep(Duration::from_millis(700));
    service.reload("", &[("alice", &alice)]);
    std::thread::sleep(Duration::from_millis(300));
    assert!(!push.is_finished());
    service.reload("", &[("bob", &bob)]);
    let begin = Instant::now();
    assert_eq!(push.join().unwrap().0.unwrap_err().code, Code::Refused);
    assert!(begin.elapsed() < Duration::from_secs(3));
    let inbox = service.directory.path().join("inbox/alice");
    while !common::names(&inbox).is_empty() {
        assert!(begin.elapsed() < SOON, "the part stays");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn what_a_hangup_cannot_change_is_said() {
    let alice = identity::ephemeral().unwrap();
    let mut service = Service::start(&[("alice", &alice)]);
    let status = service.reload("mtu_max = 1500\nlisten_at = 7", &[]);
    assert!(status.starts_with("Running on the former configuration: ") && status.contains("'listen_at'"));
    send(service.request(&alice, 1000)).0.unwrap();
    let status = service.reload("mtu_max = 1500", &[("alice", &alice)]);
    assert!(status.ends_with("A restart is needed for: mtu_max."), "{status}");
    service.signal(Signal::SIGTERM);
    let log: Vec<_> = service.log.by_ref().lines().map(Result::unwrap).collect();
    assert!(log.iter().any(|line| line.contains("needs a restart") && line.contains("mtu_max")), "{log:?}");
}
