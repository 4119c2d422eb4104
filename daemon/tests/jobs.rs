//! Jobs of two real `udpxd` processes, alice's and bob's: what they move, what they survive, and who may touch them.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Detour, file};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use udpx_control::client::{Client, ClientError, Responses, SocketChoice, Update};
use udpx_control::schema::{
    Cancel, Direction, Event, How, JobReport, JobState, Jobs, Limit, LimitTarget, List, Local, Pause, Ping,
    Pull, Push, Remote, Reply, Resume, Show, Stats, StatsReport, TransferOptions, VaultOffer, Watch,
};
use udpxd::lend::{Answered, Clerks, Vault};
use udpxd::relay::Impairments;
use udpxd::{StaticSecret, identity};

/// A daemon in a directory of its own.
struct Udpxd {
    directory: PathBuf,
    child: Child,
}

/// Alice's daemon and bob's, who know each other; bob lets alice read and list.
struct Pair {
    root: TempDir,
    alice: Udpxd,
    bob: Udpxd,
}

impl Udpxd {
    fn socket(&self) -> PathBuf {
        self.directory.join("d.sock")
    }

    fn client(&self) -> Client {
        let begin = Instant::now();
        loop {
            match Client::connect(&SocketChoice::path(self.socket())) {
                Err(ClientError::NoDaemon { .. }) if begin.elapsed() < SOON => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                client => return client.unwrap(),
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    /// Ends it, and starts it again.
    fn restart(&mut self, signal: Signal) {
        self.signal(signal);
        self.child.wait().unwrap();
        self.child = spawn(&self.directory).0;
    }
}

impl Drop for Udpxd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(directory: &Path) -> (Child, u16) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_udpxd"));
    command.args(["run", "--config"]).arg(directory.join("udpxd.toml")).env("NO_COLOR", "1");
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let (mut line, mut all, mut port) = (String::new(), String::new(), 0);
    while !line.contains("control socket") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "it ended before it served: {all}");
        all.push_str(&line);
        let found = line.split_whitespace().find_map(|word| word.strip_prefix("address=127.0.0.1:"));
        port = found.map(|text| text.parse().unwrap()).unwrap_or(port);
    }
    // Somebody has to read the rest, or it would block.
    std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
    (child, port)
}

fn daemon(directory: PathBuf, port: u16, rest: &str) -> (Udpxd, u16) {
    fs::create_dir_all(&directory).unwrap();
    let at = |name: &str| directory.join(name);
    let text = format!(
        "listen = [\"127.0.0.1:{port}\"]\nidentity = {:?}\nstate = {directory:?}\ninbox = {:?}\ncontrol = {:?}\n{rest}",
        at("identity"),
        at("inbox"),
        at("d.sock"),
    );
    fs::write(at("udpxd.toml"), text).unwrap();
    let (child, port) = spawn(&directory);
    (Udpxd { directory, child }, port)
}

impl Pair {
    fn start() -> Self {
        Self::by_way_of(|port| port)
    }

    /// `way` gives the port at which alice finds bob, who listens on the one that it is given.
    fn by_way_of(way: impl FnOnce(u16) -> u16) -> Self {
        let root = tempfile::tempdir().unwrap();
        let key = |name: &str| -> StaticSecret {
            fs::create_dir(root.path().join(name)).unwrap();
            identity::load_or_create(&root.path().join(name).join("identity")).unwrap()
        };
        let (alice, bob) = (key("alice").public(), key("bob").public());
        let knows = |name, key, more: &str| {
            format!(
                "[[peer]]\nname = {name:?}\nkey = {:?}\nread = true\nlist = true\n{more}",
                identity::key_text(key)
            )
        };
        let (bob_daemon, port) = daemon(root.path().join("bob"), 0, &knows("alice", &alice, ""));
        // The same port after a restart.
        let text = fs::read_to_string(bob_daemon.directory.join("udpxd.toml")).unwrap();
        let text = text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
        fs::write(bob_daemon.directory.join("udpxd.toml"), text).unwrap();
        let address = format!("address = \"127.0.0.1:{}\"\n", way(port));
        let (alice_daemon, _) = daemon(root.path().join("alice"), 0, &knows("bob", &bob, &address));
        Self { root, alice: alice_daemon, bob: bob_daemon }
    }

    fn file(&self, name: &str, len: usize) -> PathBuf {
        file(self.root.path(), name, len)
    }

    fn arrived(&self, name: &str) -> PathBuf {
        self.bob.directory.join("inbox/alice").join(name)
    }

    /// No part is left where files arrive.
    fn no_parts(&self) {
        let names = fs::read_dir(self.bob.directory.join("inbox/alice")).unwrap();
        let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".part")), "{names:?}");
    }
}

fn remote(path: &str) -> Remote {
    Remote { host: "bob".into(), port: None, root: String::new(), path: path.into(), key: None }
}

fn push_of(sources: &[&PathBuf], options: TransferOptions) -> Push {
    let sources =
        sources.iter().map(|path| Local { path: path.as_path().into(), how: How::Vault, bytes: None });
    Push { sources: sources.collect(), destinations: vec![remote("")], options }
}

/// Drives a request as a process that lends its files: answers demands until `until` says that it has seen enough.
fn drive(
    responses: &mut Responses<'_>,
    vault: &Arc<Vault>,
    mut until: impl FnMut(&Update) -> bool,
) -> Vec<Update> {
    let clerks = Clerks::start(vault).unwrap();
    let begin = Instant::now();
    let mut seen = Vec::new();
    loop {
        match responses.wait(Duration::from_millis(5)).unwrap() {
            Some(Update::Event(Event::Demand(demand))) => clerks.give(demand).unwrap(),
            Some(update) => {
                let enough = until(&update) || matches!(update, Update::Done(..));
                seen.push(update);
                if enough {
                    return seen;
                }
            }
            None => {}
        }
        while let Some(Answered { demand, outcome, descriptor }) = clerks.next() {
            use std::os::fd::AsFd;
            responses.answer(&demand, outcome, descriptor.as_ref().map(AsFd::as_fd)).unwrap();
        }
        assert!(begin.elapsed() < SOON * 3, "{seen:?}");
    }
}

fn to_the_end(
    client: &mut Client,
    push: impl Into<udpx_control::schema::Command>,
    vault: &Arc<Vault>,
) -> (JobReport, Option<StatsReport>) {
    let mut responses = client.request(push, &[]).unwrap();
    match drive(&mut responses, vault, |_| false).pop() {
        Some(Update::Done(Reply::Job { job, stats }, _)) => (*job, stats.map(|stats| *stats)),
        other => panic!("{other:?}"),
    }
}

fn state_of(client: &mut Client, id: u64) -> JobReport {
    match client.call(Show { job: id, samples: false }).unwrap() {
        Reply::Job { job, .. } => *job,
        other => panic!("{other:?}"),
    }
}

fn wait_for_state(client: &mut Client, id: u64, wanted: impl Fn(&JobState) -> bool) -> JobReport {
    let begin = Instant::now();
    loop {
        let job = state_of(client, id);
        if wanted(&job.state) {
            return job;
        }
        assert!(begin.elapsed() < SOON, "{job:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn lends(paths: &[&PathBuf], destinations: &[&PathBuf]) -> Arc<Vault> {
    let owned = |paths: &[&PathBuf]| paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>();
    Arc::new(Vault::new(&owned(paths), &owned(destinations)).unwrap())
}

#[test]
fn files_go_there_and_come_back_and_the_sums_are_right() {
    let pair = Pair::start();
    let (small, large) = (pair.file("small", 10), pair.file("large", (40 << 20) + 3));
    let vault = lends(&[&small, &large], &[]);
    let mut client = pair.alice.client();
    let mut responses = client.request(push_of(&[&small, &large], TransferOptions::default()), &[]).unwrap();
    let seen = drive(&mut responses, &vault, |_| false);
    assert!(matches!(seen[0], Update::Accepted(Reply::Accepted { job: 1 })), "{:?}", seen[0]);
    let has = |what: fn(&Event) -> bool| {
        seen.iter().any(|update| matches!(update, Update::Event(event) if what(event)))
    };
    assert!(has(|event| matches!(event, Event::Connected { job: 1, .. })), "{seen:?}");
    assert!(has(
        |event| matches!(event, Event::Queued { path, .. } if path.to_lossy().ends_with("alice/large"))
    ));
    assert!(has(|event| matches!(event, Event::Progress(progress) if progress.bytes > 0)));
    let files = seen.iter().filter(|update| matches!(update, Update::Event(Event::File(_)))).count();
    let Some(Update::Done(Reply::Job { job, stats: Some(stats) }, _)) = seen.last() else {
        panic!("{seen:?}")
    };
    let bytes = (40 << 20) + 13;
    assert_eq!(
        (&job.state, job.files, files, job.bytes, job.total),
        (&JobState::Done, 2, 2, bytes, Some(bytes))
    );
    assert_eq!(job.direction, Direction::Push);
    let sum: u64 = stats.streams.iter().map(|row| row.packets).sum::<u64>() + stats.control.packets;
    assert!(stats.total.packets == sum && stats.sessions == 1 && stats.rtt_min_us > 0, "{stats:?}");
    for path in [&small, &large] {
        let there = pair.arrived(path.file_name().unwrap().to_str().unwrap());
        assert_eq!(fs::read(path).unwrap(), fs::read(there).unwrap());
    }
    // And back, into a directory that is made.
    let back = pair.root.path().join("home/back/");
    fs::create_dir(pair.root.path().join("home")).unwrap();
    let pull = Pull {
        sources: vec![remote("small"), remote("large")],
        destination: Local { path: back.join("").as_path().into(), how: How::Vault, bytes: None },
        options: TransferOptions::default(),
    };
    let (job, _) = to_the_end(&mut client, pull, &lends(&[], &[&back]));
    assert_eq!((&job.state, job.files, job.bytes), (&JobState::Done, 2, bytes), "{job:?}");
    assert_eq!(fs::read(back.join("large")).unwrap(), fs::read(&large).unwrap());
    let listed = client.call(Jobs { ended: true, everyone: false }).unwrap();
    assert_eq!(listed, Reply::Listed { count: 2, cut: false });
    assert_eq!(client.call(Jobs::default()).unwrap(), Reply::Listed { count: 0, cut: false });
    let Reply::Stats(daemon) = client.call(Stats {}).unwrap() else { panic!() };
    assert_eq!((daemon.jobs.ended, daemon.jobs.running), (2, 0));
}

#[test]
fn a_peer_is_listed_and_pinged_through_the_daemon() {
    let pair = Pair::start();
    for name in ["a", "b"] {
        fs::write(pair.arrived(name), "x").unwrap();
    }
    let mut client = pair.alice.client();
    let mut entries = Vec::new();
    let list = client.request(List { place: remote("") }, &[]).unwrap();
    let reply = list.finish(|event| match event {
        Event::Entries { entries: more } => entries.extend(more),
        other => panic!("{other:?}"),
    });
    assert_eq!(reply.unwrap(), Reply::Listed { count: 2, cut: false });
    assert_eq!(
        entries.iter().map(|entry| entry.name.to_lossy().into_owned()).collect::<Vec<_>>(),
        ["a", "b"]
    );
    let refused = client.call(List { place: remote("none") }).unwrap_err();
    assert!(refused.report().code == 66 && refused.report().text.starts_with("bob: "), "{refused}");
    let ping = Ping { host: "bob".into(), port: None, key: None, count: 3, interval_us: 1000, bytes: 100 };
    let mut pongs = 0;
    let reply = client.request(ping.clone(), &[]).unwrap().finish(|_| pongs += 1).unwrap();
    let Reply::Ping(report) = reply else { panic!("{reply:?}") };
    assert!(report.received == 3 && pongs == 3 && report.rtt_min_us > 0, "{report:?}");
    let nobody = client.call(Ping { host: "mallory".into(), ..ping.clone() }).unwrap_err().report();
    assert!(nobody.code == 78 && nobody.remedy.contains("--peer-key"), "{nobody}");
    assert_eq!(client.call(Ping { bytes: 5000, ..ping }).unwrap_err().report().code, 2);
}

#[test]
fn a_job_survives_both_daemons_and_its_own_client() {
    let mut pair = Pair::start();
    let large = pair.file("large", 64 << 20);
    let vault = lends(&[&large], &[]);
    let options = TransferOptions { limit_bps: Some(200_000_000), ..TransferOptions::default() };
    let mut client = pair.alice.client();
    {
        let mut responses = client.request(push_of(&[&large], options), &[]).unwrap();
        drive(
            &mut responses,
            &vault,
            |update| matches!(update, Update::Event(Event::Progress(p)) if p.bytes > 0),
        );
    }
    // Bob dies without a word and comes back; then alice ends in good order; then alice dies.
    pair.bob.restart(Signal::SIGKILL);
    pair.alice.restart(Signal::SIGTERM);
    drop(client);
    let mut client = pair.alice.client();
    let job = wait_for_state(&mut client, 1, |state| matches!(state, JobState::Waiting { .. }));
    let JobState::Waiting { why, next_try_unix_ms: None } = &job.state else { panic!("{job:?}") };
    assert!(why.contains("udpxctl resume 1"), "{why}");
    pair.alice.restart(Signal::SIGKILL);
    let mut client = pair.alice.client();
    client.call(Limit { target: LimitTarget::Job { job: 1 }, rate_bps: None }).unwrap();
    let mut responses = client.request(VaultOffer { jobs: vec![1] }, &[]).unwrap();
    let seen = drive(&mut responses, &vault, |_| false);
    assert!(matches!(seen.last(), Some(Update::Done(Reply::Nothing, _))), "{seen:?}");
    let job = state_of(&mut pair.alice.client(), 1);
    assert!(job.state == JobState::Done && job.files == 1, "{job:?}");
    assert_eq!(fs::read(&large).unwrap(), fs::read(pair.arrived("large")).unwrap());
    pair.no_parts();
}

#[test]
fn a_job_is_paused_resumed_limited_watched_and_cancelled() {
    let pair = Pair::start();
    let large = pair.file("large", 32 << 20);
    let vault = lends(&[&large], &[]);
    let options = TransferOptions { limit_bps: Some(8_000_000), ..TransferOptions::default() };
    let mut client = pair.alice.client();
    let mut responses = client.request(push_of(&[&large], options), &[]).unwrap();
    drive(
        &mut responses,
        &vault,
        |update| matches!(update, Update::Event(Event::Progress(p)) if p.bytes > 0),
    );
    let mut other = pair.alice.client();
    let Reply::Job { job, .. } = other.call(Pause { job: 1 }).unwrap() else { panic!() };
    assert_eq!(job.job, 1);
    wait_for_state(&mut other, 1, |state| *state == JobState::Paused);
    let begin = Instant::now();
    while fs::read_dir(pair.bob.directory.join("inbox/alice")).unwrap().count() > 0 {
        assert!(begin.elapsed() < SOON, "the part of a paused job stays for ever");
        std::thread::sleep(Duration::from_millis(20));
    }
    other.call(Resume { job: 1 }).unwrap();
    drive(&mut responses, &vault, |update| matches!(update, Update::Event(Event::Connected { .. })));
    // Within a second of this the file is there, at a megabyte a second it would take half a minute.
    other.call(Limit { target: LimitTarget::All, rate_bps: Some(4_000_000_000) }).unwrap();
    other.call(Limit { target: LimitTarget::Job { job: 1 }, rate_bps: None }).unwrap();
    let begin = Instant::now();
    let mut watcher = pair.alice.client();
    let mut watching = watcher.request(Watch { job: Some(1) }, &[]).unwrap();
    drive(&mut responses, &vault, |_| false);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    let last = watching.by_ref().last().unwrap().unwrap();
    assert!(
        matches!(last, Update::Done(Reply::Job { ref job, .. }, _) if job.state == JobState::Done),
        "{last:?}"
    );
    for refused in [
        other.call(Pause { job: 1 }).unwrap_err(),
        other.call(Cancel { job: 1 }).unwrap_err(),
        other.call(Resume { job: 1 }).unwrap_err(),
        other.call(Show { job: 99, samples: false }).unwrap_err(),
    ] {
        assert!(refused.report().code == 2 && !refused.report().remedy.is_empty(), "{refused}");
    }
    // Another one, ended half-way.
    let slow = TransferOptions { limit_bps: Some(8_000_000), ..TransferOptions::default() };
    let mut responses = client.request(push_of(&[&large], slow), &[]).unwrap();
    drive(
        &mut responses,
        &vault,
        |update| matches!(update, Update::Event(Event::Progress(p)) if p.bytes > 0),
    );
    other.call(Cancel { job: 2 }).unwrap();
    let seen = drive(&mut responses, &vault, |_| false);
    let Some(Update::Done(Reply::Job { job, .. }, _)) = seen.last() else { panic!("{seen:?}") };
    assert_eq!((&job.state, job.error.as_ref().unwrap().code), (&JobState::Cancelled, 130));
}

#[test]
fn a_silent_peer_is_tried_again_until_the_deadline() {
    let pair = Pair::start();
    let small = pair.file("small", 10);
    let vault = lends(&[&small], &[]);
    pair.bob.signal(Signal::SIGSTOP);
    let options = TransferOptions { deadline_us: Some(3_000_000), ..TransferOptions::default() };
    let mut client = pair.alice.client();
    let begin = Instant::now();
    let mut responses = client.request(push_of(&[&small], options), &[]).unwrap();
    let seen = drive(&mut responses, &vault, |_| false);
    assert!((2..6).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert!(
        seen.iter()
            .any(|update| matches!(update, Update::Event(Event::Progress(p)) if p.quiet_us > 1_900_000))
    );
    let Some(Update::Done(Reply::Job { job, .. }, _)) = seen.last() else { panic!("{seen:?}") };
    assert!(
        job.state == JobState::Failed && job.error.as_ref().unwrap().text.contains("deadline"),
        "{job:?}"
    );
    // Without one it goes on as soon as the peer does.
    let mut responses = client.request(push_of(&[&small], TransferOptions::default()), &[]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    pair.bob.signal(Signal::SIGCONT);
    let seen = drive(&mut responses, &vault, |_| false);
    let Some(Update::Done(Reply::Job { job, .. }, _)) = seen.last() else { panic!("{seen:?}") };
    assert_eq!(job.state, JobState::Done, "{job:?}");
}

#[test]
fn what_cannot_be_is_refused_before_it_is_a_job() {
    let pair = Pair::start();
    let small = pair.file("small", 10);
    let mut client = pair.alice.client();
    let good = push_of(&[&small], TransferOptions::default());
    let two = || vec![remote(""), remote("x/")];
    let at = |path: &str| Local { path: path.into(), how: How::Vault, bytes: None };
    let options = |streams| TransferOptions { streams: Some(streams), ..TransferOptions::default() };
    for (push, code, what) in [
        (Push { destinations: two(), ..good.clone() }, 2, "one destination"),
        (Push { sources: vec![], ..good.clone() }, 2, "nothing"),
        (Push { sources: vec![at("relative")], ..good.clone() }, 2, "absolute"),
        (Push { sources: vec![at("/x/..")], ..good.clone() }, 2, "no name"),
        (Push { sources: vec![at("/x/a"), at("/y/a")], ..good.clone() }, 2, "called \"a\""),
        (Push { options: options(65), ..good.clone() }, 2, "limits.streams"),
        (
            Push { destinations: vec![Remote { host: "carol".into(), ..remote("") }], ..good.clone() },
            78,
            "no peer",
        ),
    ] {
        let refused = client.call(push).unwrap_err().report();
        assert!(
            refused.code == code && refused.text.contains(what) && !refused.remedy.is_empty(),
            "{refused}"
        );
    }
    // A descriptor of the wrong kind.
    let push =
        Push { sources: vec![Local { path: "/x/d".into(), how: How::Fd, bytes: None }], ..good.clone() };
    let directory = fs::File::open(pair.root.path()).unwrap();
    let write_only = fs::OpenOptions::new().write(true).open(&small).unwrap();
    for (descriptor, what) in [(&directory, "directory"), (&write_only, "not open for reading")] {
        use std::os::fd::AsFd;
        let mut responses = client.request(push.clone(), &[descriptor.as_fd()]).unwrap();
        let refused = responses.next().unwrap().unwrap_err().report();
        assert!(refused.text.contains(what), "{refused}");
    }
    // One that is right needs no vault at all.
    use std::os::fd::AsFd;
    let opened = fs::File::open(&small).unwrap();
    let reply = client.request(push, &[opened.as_fd()]).unwrap().finish(|_| {}).unwrap();
    assert!(matches!(reply, Reply::Job { ref job, .. } if job.state == JobState::Done), "{reply:?}");
    assert_eq!(fs::metadata(pair.arrived("d")).unwrap().size(), 10);
    // A source that is not there is a failure of the job, with the words of whoever lends.
    let gone = pair.file("gone", 1);
    let vault = lends(&[&gone], &[]);
    fs::remove_file(&gone).unwrap();
    let (job, _) = to_the_end(&mut client, push_of(&[&gone], TransferOptions::default()), &vault);
    assert!(job.state == JobState::Failed && job.error.as_ref().unwrap().code == 66, "{job:?}");
}

#[test]
fn twenty_clients_push_at_once() {
    let pair = Pair::start();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let pair = &pair;
            scope.spawn(move || {
                let path = pair.file(&format!("f{number}"), (1 << 20) + number);
                let (job, _) = to_the_end(
                    &mut pair.alice.client(),
                    push_of(&[&path], TransferOptions::default()),
                    &lends(&[&path], &[]),
                );
                assert_eq!(job.state, JobState::Done, "{job:?}");
                let there = pair.arrived(&format!("f{number}"));
                assert_eq!(fs::read(&path).unwrap(), fs::read(there).unwrap());
            });
        }
    });
    pair.no_parts();
}

/// Long enough for a loaded machine.
const SOON: Duration = Duration::from_secs(20);

#[test]
fn the_rate_of_a_path_is_remembered_by_the_next_run() {
    const LINK_BPS: u64 = 16_000_000;
    let mut detour = None;
    let mut pair = Pair::by_way_of(|port| {
        let path = Impairments {
            rate_bps: Some(LINK_BPS),
            delay: Duration::from_millis(20),
            ..Impairments::default()
        };
        let made = Detour::to(SocketAddr::from(([127, 0, 0, 1], port)), path);
        let port = made.address.port();
        detour = Some(made);
        port
    });
    let remembered = pair.alice.directory.join("paths.json");
    for run in 0..2 {
        let name = format!("f{run}");
        let source = pair.file(&name, 4 << 20);
        let vault = lends(&[&source], &[]);
        let push = push_of(&[&source], TransferOptions::default());
        let (job, _) = to_the_end(&mut pair.alice.client(), push, &vault);
        assert_eq!(job.state, JobState::Done, "{job:?}");
        pair.alice.restart(Signal::SIGTERM);
        let text = fs::read_to_string(&remembered).unwrap_or_else(|error| panic!("{error}: {job:?}"));
        let paths: serde_json::Value = serde_json::from_str(&text).unwrap();
        let rate = paths[0]["rate_bps"].as_u64().unwrap();
        // The machine may have been slower than the path, never faster.
        assert!((LINK_BPS / 20..LINK_BPS * 5 / 4).contains(&rate), "{text}");
        assert!(paths[0]["rtt_us"].as_u64().unwrap() >= 40_000, "{text}");
    }
}
