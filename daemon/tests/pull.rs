//! Files fetched from a daemon by an embedded engine.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{Detour, Receiver, bytes, file, names};
use udpxd::daemon::DaemonEvent;
use udpxd::embedded::{Call, Event, PullFile, PullRequest, pull};
use udpxd::relay::Impairments;
use udpxd::report::{JobError, Summary};
use udpxd::{Code, IfExists};

/// A daemon with files and a directory to fetch them into.
struct Lab {
    daemon: Receiver,
    here: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self::with(Receiver::start())
    }

    fn with(daemon: Receiver) -> Self {
        fs::create_dir_all(daemon.inbox()).unwrap();
        Self { daemon, here: tempfile::tempdir().unwrap() }
    }

    /// A request for one file, to be called `destination` here.
    fn request(&self, path: impl AsRef<OsStr>, destination: impl AsRef<Path>) -> PullRequest {
        let path = path.as_ref().as_bytes().to_vec();
        let destination = self.here.path().join(destination);
        PullRequest {
            files: vec![PullFile { root: String::new(), path, destination: destination.into() }],
            call: self.call(self.daemon.address),
            streams: None,
            if_exists: IfExists::Replace,
            umask: 0o022,
        }
    }

    fn call(&self, address: std::net::SocketAddr) -> Call {
        Call::new(self.daemon.secret.public(), vec![address], self.daemon.alice.clone())
    }

    fn fetch(&self, path: impl AsRef<OsStr>, destination: impl AsRef<Path>) -> Result<Summary, JobError> {
        fetch(self.request(path, destination)).0
    }

    /// The code and text that fetching this ends with; nothing may be left here.
    fn refusal(&self, path: impl AsRef<OsStr>) -> (Code, String) {
        let error = self.fetch(&path, "x").unwrap_err();
        self.expect_here(&[]);
        (error.code, error.to_string())
    }

    /// What is here in the end; parts vanish a moment after their file has failed.
    fn expect_here(&self, expected: &[&str]) {
        for _ in 0..100 {
            if names(self.here.path()) == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{:?} is here", names(self.here.path()));
    }
}

fn fetch(request: PullRequest) -> (Result<Summary, JobError>, Vec<Event>) {
    let mut events = Vec::new();
    let result = pull(request, &mut |event| events.push(event));
    (result, events)
}

#[test]
fn files_of_all_sizes_come() {
    let lab = Lab::new();
    for (len, streams) in
        [(0, None), (1, None), (1 << 20, Some(3)), ((5 << 20) + 3, None), (30 << 20, Some(4))]
    {
        let name = format!("file-{len}");
        let path = file(&lab.daemon.inbox(), &name, len);
        let mut request = lab.request(&name, &name);
        request.streams = streams;
        let (result, events) = fetch(request);
        let summary = result.unwrap_or_else(|error| panic!("{len} bytes: {error:?}, after {events:?}"));
        let arrived = fs::read(lab.here.path().join(&name)).unwrap();
        assert!(arrived == fs::read(&path).unwrap(), "{len} bytes differ");
        let (from, to) = (fs::metadata(&path).unwrap(), fs::metadata(lab.here.path().join(&name)).unwrap());
        assert_eq!(from.modified().unwrap(), to.modified().unwrap());
        let got = &summary.files[0];
        assert_eq!((got.path.clone(), got.bytes), (lab.here.path().join(&name), len as u64));
        assert_eq!(got.digest, *blake3::hash(&arrived).as_bytes());
        let blocks = len.div_ceil(1 << 20);
        assert_eq!(summary.streams.len(), streams.map_or(blocks.min(1), |count| blocks.min(count.into())));
        let rows = summary.streams.iter().chain([&summary.control]);
        assert_eq!(summary.total.packets, rows.map(|row| row.packets).sum::<u64>());
        assert!(matches!(events.last(), Some(Event::FileDone(_))), "{events:?}");
        let told = lab.daemon.wait_for(|event| match event {
            DaemonEvent::Sent { peer, path, bytes } if *bytes == len as u64 => {
                Some((peer.clone(), path.clone()))
            }
            _ => None,
        });
        assert_eq!(told, ("alice".to_owned(), path));
    }
}

#[test]
fn strange_names_come_and_the_umask_holds() {
    let lab = Lab::new();
    let strange: [&[u8]; 5] = [b"two words", b"line\nbreak", b"\xff\xfe", b"-rf *", "\u{1f980}".as_bytes()];
    let mut request = lab.request("", "");
    request.files.clear();
    fs::create_dir(lab.daemon.inbox().join("deep")).unwrap();
    for (index, name) in strange.into_iter().enumerate() {
        let name = OsStr::from_bytes(name);
        let path = file(&lab.daemon.inbox().join("deep"), name, 100 + index);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o4666)).unwrap();
        let path = Path::new("deep").join(name).into_os_string().into_vec();
        let destination = lab.here.path().join("new/directory").join(name);
        request.files.push(PullFile { root: "inbox".into(), path, destination: destination.into() });
    }
    let summary = fetch(request).0.unwrap();
    assert_eq!(summary.files.len(), strange.len());
    let new = lab.here.path().join("new/directory");
    assert_eq!(names(&new), names(&lab.daemon.inbox().join("deep")));
    let mode = fs::metadata(new.join("two words")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o644);
}

#[test]
fn many_files_come_together_and_one_that_is_missing_does_not_stop_them() {
    let lab = Lab::new();
    let mut request = lab.request("missing", "missing");
    for number in 0..100 {
        let name = format!("{number:03}");
        file(&lab.daemon.inbox(), &name, number * 1000);
        request.files.extend(lab.request(&name, &name).files);
    }
    let (result, events) = fetch(request);
    let error = result.unwrap_err();
    assert_eq!((error.code, error.summary.unwrap().files.len()), (Code::Partly, 100));
    assert_eq!(names(lab.here.path()), names(&lab.daemon.inbox()));
    let failed = events.iter().find_map(|event| match event {
        Event::FileFailed { file, error } => Some((*file, error.code)),
        _ => None,
    });
    assert_eq!(failed, Some((0, Code::NoSource)));
}

#[test]
fn what_is_no_readable_file_is_said_by_the_peer() {
    let lab = Lab::new();
    fs::create_dir(lab.daemon.inbox().join("directory")).unwrap();
    nix::unistd::mkfifo(&lab.daemon.inbox().join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    for (name, what) in
        [("missing", "does not exist"), ("directory", "is a directory"), ("pipe", "is not a regular file")]
    {
        let (code, text) = lab.refusal(name);
        assert!(code == Code::NoSource && text.contains(what), "{name}: {code:?} {text}");
    }
    lab.daemon.wait_for(|event| match event {
        DaemonEvent::NotSent { code: Code::NoSource, path, .. } if path == Path::new("missing") => Some(()),
        _ => None,
    });
}

#[test]
fn no_name_leads_out_of_the_root() {
    let lab = Lab::new();
    let secret = file(lab.daemon.directory.path(), "secret", 10);
    symlink(&secret, lab.daemon.inbox().join("absolute")).unwrap();
    symlink("../../secret", lab.daemon.inbox().join("relative")).unwrap();
    symlink("loop", lab.daemon.inbox().join("loop")).unwrap();
    file(&lab.daemon.inbox(), "inside", 10);
    symlink("inside", lab.daemon.inbox().join("harmless")).unwrap();
    let absolute = secret.to_str().unwrap();
    for path in ["../../secret", "a/../../../secret", absolute, "absolute", "relative", "loop", "a//b", ""] {
        let (code, text) = lab.refusal(path);
        assert_eq!(code, Code::Refused, "{path}: {text}");
    }
    let mut request = lab.request("passwd", "x");
    request.files[0].root = "etc".into();
    assert_eq!(fetch(request).0.unwrap_err().code, Code::Refused);
    lab.fetch("harmless", "x").unwrap();
    lab.expect_here(&["x"]);
}

#[test]
fn without_the_right_the_line_to_add_is_named() {
    let lab = Lab::with(Receiver::with("127.0.0.1:0", |config| config.peers[0].rights.read = false));
    file(&lab.daemon.inbox(), "f", 10);
    let (code, text) = lab.refusal("f");
    assert_eq!(code, Code::Refused);
    assert!(text.contains("[[peer]] name = \"alice\": read = true"), "{text}");
}

#[test]
fn a_source_that_changes_leaves_nothing_here() {
    let lab = Lab::new();
    let path = file(&lab.daemon.inbox(), "f", 30 << 20);
    let slow = Impairments { rate_bps: Some(100_000_000), ..Impairments::default() };
    let detour = Detour::to(lab.daemon.address, slow);
    let mut request = lab.request("f", "f");
    request.call = lab.call(detour.address);
    request.call.way.mtu_max = 1500;
    let mut changed = false;
    let error = pull(request, &mut |event| {
        if matches!(event, Event::Progress { bytes, .. } if bytes > 2 << 20) && !changed {
            changed = true;
            OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
        }
    });
    let error = error.unwrap_err();
    assert_eq!(error.code, Code::SourceChanged, "{error}");
    assert!(changed && error.text.contains("grew"), "{error}");
    lab.expect_here(&[]);
}

#[test]
fn a_destination_that_cannot_be_written_is_said() {
    let lab = Lab::new();
    file(&lab.daemon.inbox(), "f", 10);
    file(lab.here.path(), "file", 3);
    let error = lab.fetch("f", "file/below").unwrap_err();
    assert_eq!(error.code, Code::NoSpace, "{error}");
    fs::create_dir(lab.here.path().join("directory")).unwrap();
    let error = lab.fetch("f", "directory").unwrap_err();
    assert!(error.code == Code::NoSpace && error.text.contains("is a directory"), "{error}");
    // Larger than the disk, but sparse.
    File::create(lab.daemon.inbox().join("huge")).unwrap().set_len(1 << 43).unwrap();
    let error = lab.fetch("huge", "huge").unwrap_err();
    assert!(error.code == Code::NoSpace && error.text.contains("free"), "{error}");
    lab.expect_here(&["directory", "file"]);
}

#[test]
fn what_happens_to_an_existing_file_is_chosen() {
    let lab = Lab::new();
    file(&lab.daemon.inbox(), "f.txt", 5 << 20);
    let existing = lab.here.path().join("f.txt");
    let with = |if_exists| {
        fs::write(&existing, "old").unwrap();
        let mut request = lab.request("f.txt", "f.txt");
        request.if_exists = if_exists;
        fetch(request).0
    };
    assert!(with(IfExists::Skip).unwrap().files[0].skipped && fs::read(&existing).unwrap() == b"old");
    let error = with(IfExists::Fail).unwrap_err();
    assert!(error.code == Code::NoSpace && error.text.contains("exists already"), "{error}");
    assert_eq!(with(IfExists::Rename).unwrap().files[0].path, lab.here.path().join("f (1).txt"));
    assert_eq!(fs::read(&existing).unwrap(), b"old");
    with(IfExists::Replace).unwrap();
    assert!(fs::read(&existing).unwrap() == bytes(5 << 20, (5 << 20) + 7));
}

#[test]
fn a_bad_path_and_a_restarted_daemon_are_survived() {
    let mut lab = Lab::new();
    let path: PathBuf = file(&lab.daemon.inbox(), "f", 16 << 20);
    let bad = Impairments {
        loss: 0.02,
        corrupt: 0.01,
        delay: Duration::from_millis(5),
        rate_bps: Some(200_000_000),
        ..Impairments::default()
    };
    let detour = Detour::to(lab.daemon.address, bad);
    let mut request = lab.request("f", "f");
    request.streams = Some(3);
    request.call = lab.call(detour.address);
    request.call.way.mtu_max = 1500;
    let here = std::thread::spawn(move || fetch(request));
    std::thread::sleep(Duration::from_millis(400));
    lab.daemon.restart();
    let (result, events) = here.join().unwrap();
    let summary = result.unwrap_or_else(|error| panic!("{error}, after {events:?}"));
    assert!(summary.sessions >= 2, "{events:?}");
    assert!(fs::read(lab.here.path().join("f")).unwrap() == fs::read(path).unwrap());
    lab.expect_here(&["f"]);
}
