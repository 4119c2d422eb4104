//! Caps, policies and the timetable on a transfer that runs, through two real daemons: each takes effect within a second.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use udpx_control::client::{Client, ClientError, SocketChoice};
use udpx_control::schema::{
    DaemonReport, How, Limit, LimitTarget, Local, Policy, Push, Remote, Reply, SetPolicy, Show, Stats,
    TransferOptions,
};
use udpxd::identity;

/// A daemon in a directory of its own.
struct Udpxd {
    directory: PathBuf,
    /// Its configuration but for what limits it.
    text: String,
    child: Child,
    port: u16,
}

impl Udpxd {
    fn start(directory: &Path, limits: &str, rest: &str) -> Self {
        let at = |name: &str| directory.join(name);
        let text = format!(
            "listen = [\"127.0.0.1:0\"]\nidentity = {:?}\nstate = {directory:?}\ninbox = {:?}\ncontrol = {:?}\n{rest}",
            at("identity"),
            at("inbox"),
            at("d.sock"),
        );
        fs::write(at("udpxd.toml"), format!("{limits}\n{text}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_udpxd"));
        command.args(["run", "--config"]).arg(at("udpxd.toml")).env("NO_COLOR", "1");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut line, mut port) = (String::new(), 0);
        while !line.contains("control socket") {
            line.clear();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it served");
            let found = line.split_whitespace().find_map(|word| word.strip_prefix("address=127.0.0.1:"));
            port = found.map_or(port, |text| text.parse().unwrap());
        }
        // Somebody has to read the rest, or it would block.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { directory: directory.into(), text, child, port }
    }

    fn client(&self) -> Client {
        let begin = Instant::now();
        loop {
            match Client::connect(&SocketChoice::path(self.directory.join("d.sock"))) {
                Err(ClientError::NoDaemon { .. }) if begin.elapsed() < Duration::from_secs(20) => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                client => return client.unwrap(),
            }
        }
    }

    /// Another configuration, taken over by a running daemon.
    fn reload(&self, limits: &str) {
        fs::write(self.directory.join("udpxd.toml"), format!("{limits}\n{}", self.text)).unwrap();
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGHUP).unwrap();
    }

    fn stats(&self) -> DaemonReport {
        match self.client().call(Stats {}).unwrap() {
            Reply::Stats(report) => *report,
            other => panic!("{other:?}"),
        }
    }

    /// Waits a second for what was changed to take effect, then looks how much job 1 moves, in Mbit/s.
    fn rate(&self) -> f64 {
        std::thread::sleep(Duration::from_secs(1));
        let mut client = self.client();
        let mut bytes = || match client.call(Show { job: 1, samples: false }).unwrap() {
            Reply::Job { job, .. } => (job.bytes, Instant::now()),
            other => panic!("{other:?}"),
        };
        let before = bytes();
        std::thread::sleep(Duration::from_millis(1500));
        let after = bytes();
        (after.0 - before.0) as f64 * 8e-6 / after.1.duration_since(before.1).as_secs_f64()
    }
}

impl Drop for Udpxd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn caps_policies_and_the_timetable_hold_within_a_second() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    let key = |name: &str| {
        fs::create_dir(at(name)).unwrap();
        identity::key_text(&identity::load_or_create(&at(name).join("identity")).unwrap().public())
    };
    let (alice_key, bob_key) = (key("alice"), key("bob"));
    let bob = Udpxd::start(&at("bob"), "", &format!("[[peer]]\nname = \"alice\"\nkey = {alice_key:?}\n"));
    let peer = format!("[[peer]]\nname = \"bob\"\nkey = {bob_key:?}\naddress = \"127.0.0.1:{}\"\n", bob.port);
    let all_day =
        "limit = \"8mbit\"\ntimetable = [\"daily 00:00-12:00 80mbit\", \"daily 12:00-24:00 80mbit\"]";
    let alice = Udpxd::start(&at("alice"), all_day, &peer);
    let file = fs::File::create_new(at("large")).unwrap();
    file.set_len(4 << 30).unwrap();
    let file = fs::File::open(at("large")).unwrap();
    let mut client = alice.client();
    let source = Local { path: at("large").as_path().into(), how: How::Fd, bytes: None };
    let destination =
        Remote { host: "bob".into(), port: None, key: None, root: String::new(), path: "large".into() };
    // What is counted is blocks that are whole: of one stream there is one at a time that is not.
    let options = TransferOptions { streams: Some(1), ..TransferOptions::default() };
    let push = Push { sources: vec![source], destinations: vec![destination], options };
    let _responses = client.request(push, &[file.as_fd()]).unwrap();
    // Payload of a cap on wire bits, in steps of the blocks that arrive; and this machine may be busy.
    let holds = |what: &str, cap: f64| {
        let mbit = alice.rate();
        assert!(mbit < 1.15 * cap + 7.0 && mbit > 0.4 * cap - 3.0, "{what}: {mbit} Mbit/s at a cap of {cap}");
    };

    holds("the timetable", 80.0);
    let limit = alice.stats().limit;
    assert!(limit.rate_bps == Some(80_000_000) && limit.until_unix_ms.is_some(), "{limit:?}");
    assert!(limit.entry.is_some_and(|entry| entry.ends_with("80mbit")));
    let mut other = alice.client();
    other.call(Limit { target: LimitTarget::Job { job: 1 }, rate_bps: Some(20_000_000) }).unwrap();
    holds("the limit of the job", 20.0);
    other.call(Limit { target: LimitTarget::Job { job: 1 }, rate_bps: None }).unwrap();
    holds("the timetable again", 80.0);
    other.call(SetPolicy { job: 1, policy: Policy::Fixed { rate_bps: 40_000_000 } }).unwrap();
    holds("a fixed rate", 40.0);
    other.call(SetPolicy { job: 1, policy: Policy::Fair }).unwrap();
    alice.reload("limit = \"30mbit\"");
    holds("another configuration", 30.0);
    let limit = alice.stats().limit;
    assert_eq!((limit.rate_bps, limit.entry, limit.until_unix_ms), (Some(30_000_000), None, None));
    other.call(Limit { target: LimitTarget::All, rate_bps: Some(15_000_000) }).unwrap();
    holds("the limit of everything", 15.0);
    // What the sender may, the receiver need not want: a session that was opened to it counts there, too.
    bob.client().call(Limit { target: LimitTarget::All, rate_bps: Some(8_000_000) }).unwrap();
    holds("the receiver's limit", 8.0);
}
