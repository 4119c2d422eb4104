//! Names that a peer chooses, and where they lead: whatever it asks for, nothing outside of its roots is read, listed or
//! written, and the daemon goes on.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use common::{Receiver, file, names, send};
use udpxd::config::{Rights, Root, RootSource};
use udpxd::daemon::DaemonEvent;
use udpxd::embedded::{Call, PullFile, PullRequest, PushFile, list, pull};
use udpxd::report::JobError;
use udpxd::{Code, IfExists};

/// A daemon whose peer may do everything in its inbox, and in a root that others use as well.
struct Lab {
    receiver: Receiver,
    source: PathBuf,
}

impl Lab {
    fn start() -> Self {
        let mut outside = PathBuf::new();
        let receiver = Receiver::with("127.0.0.1:0", |config| {
            let top = config.inbox.parent().unwrap().to_path_buf();
            for name in ["shared", "outside"] {
                std::fs::create_dir(top.join(name)).unwrap();
            }
            let root = Root { path: top.join("shared"), source: RootSource::File };
            config.roots.insert("shared".into(), root);
            config.peers[0].roots.insert("shared".into(), Rights { write: true, read: true, list: true });
            outside = top.join("outside");
        });
        std::fs::write(outside.join("secret"), "outside of every root").unwrap();
        let source = file(receiver.directory.path(), "source", 1000);
        Self { receiver, source }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.receiver.directory.path().join(name)
    }

    fn call(&self) -> Call {
        Call::new(self.receiver.secret.public(), vec![self.receiver.address], self.receiver.alice.clone())
    }

    fn push(&self, root: &str, path: &[u8]) -> Result<PathBuf, JobError> {
        let mut request = self.receiver.request(vec![PushFile::Path(self.source.clone())]);
        (request.root, request.path) = (root.into(), path.to_vec());
        send(request).0.map(|summary| summary.files[0].path.clone())
    }

    fn pull(&self, root: &str, path: &[u8]) -> Result<Vec<u8>, JobError> {
        let destination = self.at("pulled");
        let file =
            PullFile { root: root.into(), path: path.to_vec(), destination: destination.clone().into() };
        let request = PullRequest {
            files: vec![file],
            call: self.call(),
            streams: None,
            if_exists: IfExists::Replace,
            umask: 0,
        };
        pull(request, &mut |_| {}).map(|_| std::fs::read(&destination).unwrap())
    }

    fn list(&self, root: &str, path: &[u8]) -> Result<usize, JobError> {
        list(self.call(), root, path, &mut |_| {}).map(|listing| listing.entries.len())
    }

    /// Everything is as it was outside, and the daemon serves.
    fn check(&self) {
        assert_eq!(names(&self.at("outside")), ["secret"]);
        assert_eq!(std::fs::read(self.at("outside/secret")).unwrap(), b"outside of every root");
        assert_eq!(self.push("", b"good").unwrap(), self.receiver.inbox().join("good"));
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, JobError>, what: &[u8]) -> Code {
    let error = result.expect_err(&String::from_utf8_lossy(what));
    assert!(!error.text.is_empty() && !error.remedy.is_empty(), "{error:?}");
    error.code
}

#[test]
fn names_that_lead_out_or_are_none_are_refused_whatever_is_asked() {
    let lab = Lab::start();
    let (long, longer) = (vec![b'a'; 256], [b"a/".repeat(2048), b"x".to_vec()].concat());
    for name in [
        &b"../outside/x"[..],
        b"a/../../outside/x",
        b"..",
        b"a/..",
        b"./a",
        b"/etc/hostname",
        b"//x",
        b"a//b",
        b"nul\0nul",
        b".udpx-0123456789abcdef.part",
        b"a/.udpx-0123456789abcdef.part",
        &long,
        &longer,
    ] {
        for root in ["", "shared"] {
            let code = refused(lab.push(root, name), name);
            assert!(matches!(code, Code::NoSpace | Code::Refused), "{code:?}");
            refused(lab.pull(root, name), name);
            refused(lab.list(root, name), name);
        }
    }
    assert!(!lab.at("a").exists() && names(&lab.at("shared")).is_empty());
    // The longest that can be: a path of 4095 bytes.
    let longest = [b"a".repeat(250).as_slice(); 16].join(&b'/');
    assert!(longest.len() < 4096 && lab.list("", &longest).is_err());
    lab.check();
}

#[test]
fn links_that_somebody_else_planted_lead_nowhere() {
    let lab = Lab::start();
    let shared = lab.at("shared");
    symlink(lab.at("outside"), shared.join("out")).unwrap();
    symlink(lab.at("outside/secret"), shared.join("file")).unwrap();
    symlink("../outside/secret", shared.join("relative")).unwrap();
    symlink("/proc/self/root", shared.join("magic")).unwrap();
    std::fs::write(shared.join("real"), "inside").unwrap();
    symlink("real", shared.join("inside")).unwrap();
    std::fs::create_dir(shared.join("directory")).unwrap();
    symlink("directory", shared.join("within")).unwrap();
    // To be written through, a link must not even lead to another place of its root.
    for name in [&b"out/new"[..], b"out/secret", b"magic/tmp/new", b"within/new"] {
        refused(lab.push("shared", name), name);
    }
    assert!(names(&shared.join("directory")).is_empty());
    for name in [&b"file"[..], b"relative", b"out/secret", b"magic/etc/hostname"] {
        assert_eq!(refused(lab.pull("shared", name), name), Code::Refused);
    }
    for name in [&b"out"[..], b"magic", b"magic/etc"] {
        assert_eq!(refused(lab.list("shared", name), name), Code::Refused);
    }
    // What is to be called like a link takes its place, and leaves alone where it led.
    lab.push("shared", b"file").unwrap();
    assert!(!shared.join("file").is_symlink());
    // Within its root a link may be read through.
    assert_eq!(lab.pull("shared", b"inside").unwrap(), b"inside");
    lab.check();
}

#[test]
fn a_directory_that_becomes_a_link_while_a_file_arrives_moves_nothing_out() {
    let lab = Lab::start();
    let shared = lab.at("shared");
    std::fs::create_dir(shared.join("in")).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // As fast as it can, somebody makes a link of the directory and a directory of the link.
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = std::fs::rename(shared.join("in"), shared.join("aside"));
                let _ = symlink(lab.at("outside"), shared.join("in"));
                std::thread::yield_now();
                let _ = std::fs::remove_file(shared.join("in"));
                let _ = std::fs::rename(shared.join("aside"), shared.join("in"));
            }
        });
        for _ in 0..50 {
            // Either is fine: it is refused, or lands in the directory wherever that is.
            let _ = lab.push("shared", b"in/file");
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    lab.check();
}

#[test]
fn what_is_no_file_is_not_read_and_holds_nothing_up() {
    let lab = Lab::start();
    let shared = lab.at("shared");
    nix::unistd::mkfifo(&shared.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(shared.join("socket")).unwrap();
    std::fs::create_dir(shared.join("directory")).unwrap();
    let device = || {
        let (kind, mode) = (nix::sys::stat::SFlag::S_IFCHR, nix::sys::stat::Mode::S_IRWXU);
        nix::sys::stat::mknod(&shared.join("zero"), kind, mode, nix::sys::stat::makedev(1, 5))
    };
    let mut others = vec!["fifo", "socket", "directory"];
    match device() {
        Ok(()) => others.push("zero"),
        Err(_) => println!("SKIPPED a device: needs root"),
    }
    for name in &others {
        assert_eq!(refused(lab.pull("shared", name.as_bytes()), name.as_bytes()), Code::NoSource, "{name}");
    }
    assert_eq!(lab.list("shared", b"").unwrap(), others.len());
    // A file takes the name of a pipe, and nobody has written into that.
    lab.push("shared", b"fifo").unwrap();
    assert!(shared.join("fifo").is_file());
    lab.check();
}

/// More than a listing may have.
const MANY: usize = 100_500;

#[test]
fn a_directory_of_very_many_entries_is_listed_up_to_a_bound() {
    let lab = Lab::start();
    let many = lab.at("shared/many");
    std::fs::create_dir(&many).unwrap();
    let first = many.join("0");
    std::fs::write(&first, "").unwrap();
    // Links are made faster than files, until one has too many.
    let mut made = 1;
    let mut of = first;
    while made < MANY {
        let name = many.join(made.to_string());
        match std::fs::hard_link(&of, &name) {
            Ok(()) => {}
            Err(_) => {
                std::fs::write(&name, "").unwrap();
                of = name;
            }
        }
        made += 1;
    }
    let listing = list(lab.call(), "shared", b"many", &mut |_| {}).unwrap();
    assert!(listing.is_cut);
    assert_eq!(listing.entries.len(), 100_000);
    assert!(listing.entries.is_sorted_by(|a, b| a.name < b.name));
    lab.check();
}

#[test]
fn the_name_of_a_user_is_told_as_what_it_is() {
    let lab = Lab::start();
    let mut request = lab.receiver.request(vec![PushFile::Path(lab.source.clone())]);
    request.user = "root\n\u{1b}[2J; rm -rf /".into();
    send(request).0.unwrap();
    assert!(lab.receiver.inbox().join("source").exists(), "it changes nothing");
    let told = lab.receiver.wait_for(|event| match event {
        DaemonEvent::Received { peer, user, .. } => Some((peer.clone(), user.clone())),
        _ => None,
    });
    assert_eq!(told, ("alice".into(), "root\n\u{1b}[2J; rm -rf /".into()));
    lab.check();
}

#[test]
fn modes_of_a_sender_mean_nothing_here() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::start();
    std::fs::set_permissions(&lab.source, std::fs::Permissions::from_mode(0o6777)).unwrap();
    let path = lab.push("", b"tool").unwrap();
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o660, "no set-id bit, and nothing that can be run");
    lab.check();
}
