//! Roots over real sockets: what a peer may do in which, and what a change does to those who are at it.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Detour, file, send};
use udpx_proto::handshake::StaticSecret;
use udpxd::config::{Config, Peer, Rights, Root, RootSource};
use udpxd::daemon::Daemon;
use udpxd::embedded::{Call, PullFile, PullRequest, PushFile, PushRequest, list, pull};
use udpxd::identity;
use udpxd::relay::Impairments;
use udpxd::report::JobError;
use udpxd::{Code, IfExists};

const LIST: Rights = Rights { list: true, ..Rights::NONE };
const READ: Rights = Rights { read: true, ..LIST };
const WRITE: Rights = Rights { write: true, ..Rights::NONE };

/// A daemon whose configuration is changed while it runs.
struct Lab {
    here: tempfile::TempDir,
    daemon: (StaticSecret, std::net::SocketAddr),
    alice: StaticSecret,
    config: Config,
    /// Without a new configuration it ends.
    changes: Option<Sender<Config>>,
    thread: Option<JoinHandle<()>>,
}

impl Lab {
    fn start(change: impl FnOnce(&mut Config, &Path)) -> Self {
        let here = tempfile::tempdir().unwrap();
        let (secret, alice) = (identity::ephemeral().unwrap(), identity::ephemeral().unwrap());
        let mut config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            inbox: here.path().join("inbox"),
            peers: vec![Peer::new("alice", alice.public())],
            ..Config::default()
        };
        for name in ["disk", "films"] {
            std::fs::create_dir(here.path().join(name)).unwrap();
            let root = Root { path: here.path().join(name), source: RootSource::File };
            config.roots.insert(name.into(), root);
        }
        change(&mut config, here.path());
        let mut daemon = Daemon::start_as(&config, secret.clone(), "udpxd.toml").unwrap();
        let address = daemon.listening()[0];
        config.listen = vec![address];
        let (changes, incoming) = channel();
        let thread = std::thread::spawn(move || {
            loop {
                match incoming.try_recv() {
                    Ok(config) => drop(daemon.reload(&config).unwrap()),
                    Err(std::sync::mpsc::TryRecvError::Disconnected) => return,
                    Err(std::sync::mpsc::TryRecvError::Empty) => {}
                }
                daemon.next_event(Duration::from_millis(5)).unwrap();
            }
        });
        let (changes, thread) = (Some(changes), Some(thread));
        Self { here, daemon: (secret, address), alice, config, changes, thread }
    }

    /// What alice may do in `disk`.
    fn grant(&mut self, rights: Rights) {
        self.config.peers[0].roots = [("disk".to_owned(), rights)].into();
        self.reload(self.config.clone());
    }

    fn reload(&self, config: Config) {
        self.changes.as_ref().unwrap().send(config).unwrap();
        // Its loop takes it within a few milliseconds, and the engine at its next turn.
        std::thread::sleep(Duration::from_millis(100));
    }

    fn call(&self) -> Call {
        Call::new(self.daemon.0.public(), vec![self.daemon.1], self.alice.clone())
    }

    fn push(&self, root: &str, len: usize) -> Result<PathBuf, JobError> {
        let source = file(self.here.path(), format!("of-{len}"), len);
        let mut request = PushRequest::new(self.daemon.0.public(), vec![self.daemon.1], self.alice.clone());
        request.files = vec![PushFile::Path(source)];
        request.root = root.into();
        send(request).0.map(|summary| summary.files[0].path.clone())
    }

    fn pull(&self, root: &str, path: &str) -> Result<Vec<u8>, JobError> {
        let destination = self.here.path().join("pulled");
        let file = PullFile {
            root: root.into(),
            path: path.as_bytes().to_vec(),
            destination: destination.clone().into(),
        };
        let (call, if_exists) = (self.call(), IfExists::Replace);
        let request = PullRequest { files: vec![file], call, streams: None, if_exists, umask: 0 };
        pull(request, &mut |_| {}).map(|_| std::fs::read(&destination).unwrap())
    }

    fn list(&self, root: &str) -> Result<usize, JobError> {
        list(self.call(), root, b"", &mut |_| {}).map(|listing| listing.entries.len())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.changes = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, JobError>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.code, Code::Refused, "{error}");
    error.to_string()
}

#[test]
fn each_root_has_the_rights_that_the_peer_has_there() {
    let lab = Lab::start(|config, _| {
        config.peers[0].roots = [("disk".into(), READ), ("films".into(), WRITE)].into();
    });
    std::fs::write(lab.here.path().join("disk/iso"), "of the disk").unwrap();
    assert_eq!(lab.push("films", 3).unwrap(), lab.here.path().join("films/of-3"));
    assert_eq!(lab.push("", 4).unwrap(), lab.here.path().join("inbox/alice/of-4"));
    assert_eq!(lab.pull("disk", "iso").unwrap(), b"of the disk");
    assert_eq!(lab.list("disk").unwrap(), 1);
    for (text, right, set) in [
        (refused(lab.push("disk", 5)), "write on \"disk\"", "roots.disk = [\"write\", \"read\", \"list\"]"),
        (refused(lab.pull("films", "of-3")), "read on \"films\"", "roots.films = [\"write\", \"read\"]"),
        (refused(lab.list("films")), "list on \"films\"", "roots.films = [\"write\", \"list\"]"),
        (refused(lab.list("")), "list on \"inbox\"", "list = true"),
    ] {
        assert!(text.contains(&format!(": this machine gives you no {right}. On 127.0.0.1:")), "{text}");
        assert!(text.contains("[[peer]] name = \"alice\"") && text.contains(set), "{text}");
    }
    let yours = "Use one of yours: \"inbox\" (write), \"disk\" (read, list), \"films\" (write).";
    for text in [refused(lab.push("dsik", 5)), refused(lab.pull("dsik", "iso")), refused(lab.list("dsik"))] {
        assert!(text.contains(&format!(": you may use no root \"dsik\" of this machine. {yours}")), "{text}");
    }
    assert!(!lab.here.path().join("disk/of-5").exists());
}

#[test]
fn a_root_that_is_not_there_keeps_nothing_else_from_working() {
    let lab = Lab::start(|config, here| {
        config.peers[0].roots = [("disk".into(), WRITE)].into();
        std::fs::remove_dir(here.join("disk")).unwrap();
    });
    let error = lab.push("disk", 3).unwrap_err();
    assert!(error.code == Code::Io && error.to_string().contains("see why: udpxctl root list"), "{error}");
    assert!(!error.to_string().contains("/disk"), "paths are nobody's business: {error}");
    assert!(lab.push("", 3).is_ok());
    std::fs::create_dir(lab.here.path().join("disk")).unwrap();
    lab.reload(lab.config.clone());
    assert!(lab.push("disk", 3).is_ok());
}

#[test]
fn what_is_added_and_taken_away_counts_at_once() {
    let mut lab = Lab::start(|_, _| {});
    assert!(refused(lab.push("disk", 3)).contains("Use one of yours: \"inbox\" (write)."));
    lab.grant(WRITE);
    assert!(lab.push("disk", 3).is_ok());
    lab.grant(Rights::NONE);
    assert!(refused(lab.push("disk", 4)).contains("no root \"disk\""));
    // Added by command, under a name that is granted already.
    let added = lab.here.path().join("added");
    std::fs::create_dir(&added).unwrap();
    lab.config.peers[0].roots = [("more".to_owned(), WRITE)].into();
    lab.reload(lab.config.with_roots(&BTreeMap::from([("more".to_owned(), added.clone())])));
    assert_eq!(lab.push("more", 3).unwrap(), added.join("of-3"));
    lab.reload(lab.config.clone());
    assert!(refused(lab.push("more", 4)).contains("no root \"more\""));
}

/// A session goes on with what its peer has won, and ends when the peer has lost what it began with.
#[test]
fn those_who_are_at_it_are_cut_off_from_what_they_lost() {
    let mut lab = Lab::start(|config, _| {
        config.peers[0].roots = [("disk".into(), WRITE)].into();
    });
    let slow = Impairments {
        delay: Duration::from_millis(20),
        rate_bps: Some(40_000_000),
        ..Impairments::default()
    };
    let detour = Detour::to(lab.daemon.1, slow);
    let source = file(lab.here.path(), "large", 30 << 20);
    let mut request = PushRequest::new(lab.daemon.0.public(), vec![detour.address], lab.alice.clone());
    request.files = vec![PushFile::Path(source)];
    request.root = "disk".into();
    let sending = common::send_in_background(request);
    let disk = lab.here.path().join("disk");
    let parts = || std::fs::read_dir(&disk).unwrap().count();
    let until = Instant::now() + Duration::from_secs(20);
    while parts() == 0 {
        assert!(Instant::now() < until, "nothing began");
        std::thread::sleep(Duration::from_millis(10));
    }
    lab.grant(Rights { read: true, ..WRITE });
    std::thread::sleep(Duration::from_millis(200));
    assert!(parts() == 1 && !sending.is_finished(), "what was won ends nothing");
    lab.grant(LIST);
    let (result, _) = sending.join().unwrap();
    assert!(refused(result).contains("no write on \"disk\""), "and it was not let in again");
    while parts() > 0 {
        assert!(Instant::now() < until, "the part is left");
        std::thread::sleep(Duration::from_millis(10));
    }
}
