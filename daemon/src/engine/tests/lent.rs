//! Files that the engine may neither create nor rename: a thread with other rights does it, as a user's process would.

use std::fs::{self, File, OpenOptions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, bounded};
use mio::Token;
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use udpx_control::schema::{Demand, Operation, Outcome, VaultReply};

use super::*;
use crate::conductor::lending::Lending;
use crate::engine::report::GetSpec;
use crate::lend;
use crate::storage::Bell;
use crate::storage::lender::{LentCall, LentVault};
use crate::storage::readers::Origin;
use crate::transfer::Failure;

const JOB: u64 = 12;
const CONNECTION: Token = Token(3);

/// A user's process, as far as the engine can tell. `cheat` may answer in its place.
type Cheat = fn(&Demand) -> Option<(Outcome, Option<OwnedFd>)>;

struct User {
    home: tempfile::TempDir,
    vault: LentVault,
    thread: Option<JoinHandle<()>>,
    stop: crossbeam_channel::Sender<()>,
}

impl User {
    fn new(cheat: Cheat) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let base = home.path().canonicalize().unwrap();
        let lent = lend::Vault::new(&[], std::slice::from_ref(&base)).unwrap();
        let (calls, queue) = bounded(64);
        let (stop, stopped) = bounded(0);
        let bell: Bell = Arc::new(|| {});
        let vault = LentVault::new(JOB, base, calls, bell);
        let thread = std::thread::spawn(move || serve(&queue, &stopped, &lent, cheat));
        Self { home, vault, thread: Some(thread), stop }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.home.path().canonicalize().unwrap().join(name)
    }

    /// Its process ends.
    fn end(&mut self) {
        let _ = self.stop.send(());
        self.thread.take().unwrap().join().unwrap();
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.home.path()).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// The conductor's part and the user's, without a socket between them.
fn serve(queue: &Receiver<LentCall>, stopped: &Receiver<()>, lent: &lend::Vault, cheat: Cheat) {
    let mut lending = Lending::<()>::default();
    lending.on_offer(CONNECTION, 1, 0, &[(JOB, 0)], Instant::now()).unwrap();
    loop {
        crossbeam_channel::select! {
            recv(queue) -> call => match call {
                Ok(call) => lending.on_call(call, Instant::now()),
                Err(_) => return,
            },
            recv(stopped) -> _ => return,
        }
        while let Some(to_send) = lending.poll_demand() {
            let (outcome, file) = cheat(&to_send.demand).unwrap_or_else(|| lent.answer(&to_send.demand));
            let reply = VaultReply { offer: 1, demand: to_send.demand.demand, outcome };
            lending.on_reply(CONNECTION, reply, file, Instant::now()).unwrap();
        }
    }
}

fn honest(_: &Demand) -> Option<(Outcome, Option<OwnedFd>)> {
    None
}

/// Runs `work` where the file system knows it, and all threads that it starts, as an ordinary user: an engine that
/// could not do what it lets others do.
fn as_another_user<T: Send>(test: &str, work: impl FnOnce() -> T + Send) -> T {
    const NOBODY: u32 = 65534;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if Uid::effective().is_root() {
                setfsgid(Gid::from_raw(NOBODY));
                setfsuid(Uid::from_raw(NOBODY));
            } else {
                println!("SKIPPED {test} as two users: needs root");
            }
            work()
        });
        thread.join().unwrap()
    })
}

fn pair() -> Pair {
    Pair::connect(|| FaultPlan::new().injector(), false)
}

impl Pair {
    fn get(&self, user: &User, destination: &str, if_exists: IfExists) {
        let place = Place { vault: Arc::new(user.vault.clone()), root: user.at("") };
        let spec = GetSpec {
            file: 0,
            root: String::new(),
            path: b"source".to_vec(),
            streams: Some(2),
            place,
            destination: destination.as_bytes().to_vec(),
            mode_mask: 0o777,
            if_exists,
        };
        self.sender.send(Command::Do { session: self.session, task: Task::Get(Box::new(spec)) });
    }

    /// What becomes of file 0: its path and whether it was skipped.
    fn outcome(&self) -> Result<(Vec<u8>, bool), Failure> {
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            match self.sender.next(Duration::from_secs(1)).unwrap() {
                Some(Report::File { news: News::Done { path, skipped, .. }, .. }) => {
                    return Ok((path, skipped));
                }
                Some(Report::File { news: News::Failed(failure), .. }) => return Err(failure),
                Some(Report::Ended { failure, .. }) => panic!("{failure:?}"),
                _ => {}
            }
        }
        panic!("nothing became of the file");
    }

    fn offer(&self, len: usize) {
        let bytes: Vec<u8> = (0..len).map(|i| (i / 5) as u8).collect();
        fs::write(self.directory.path().join("source"), bytes).unwrap();
    }
}

#[test]
fn a_file_is_pulled_to_where_the_engine_may_not_write() {
    let user = User::new(honest);
    as_another_user("a_file_is_pulled_to_where_the_engine_may_not_write", || {
        if Uid::effective().is_root() {
            assert!(File::create(user.at("x")).is_err(), "the engine has no right here");
        }
        let pair = pair();
        pair.offer((12 << 20) + 5);
        pair.get(&user, "new/deep/file", IfExists::Replace);
        let (path, skipped) = pair.outcome().unwrap();
        assert_eq!(
            (Path::new(std::str::from_utf8(&path).unwrap()), skipped),
            (&*user.at("new/deep/file"), false)
        );
    });
    let arrived = user.at("new/deep/file");
    assert_eq!(fs::read_dir(user.at("new/deep")).unwrap().count(), 1, "no part is left");
    assert_eq!(fs::metadata(&arrived).unwrap().uid(), Uid::effective().as_raw());
    let arrived = fs::read(arrived).unwrap();
    assert!(arrived.len() == (12 << 20) + 5);
    assert!(arrived.iter().enumerate().all(|(i, byte)| *byte == (i / 5) as u8));
}

#[test]
fn what_is_there_is_seen_before_anything_flows() {
    let user = User::new(honest);
    fs::write(user.at("there"), "old").unwrap();
    fs::create_dir(user.at("dir")).unwrap();
    let pair = pair();
    pair.offer(3 << 20);
    pair.get(&user, "there", IfExists::Skip);
    assert!(matches!(pair.outcome(), Ok((_, true))));
    pair.get(&user, "there", IfExists::Fail);
    let failure = pair.outcome().unwrap_err();
    assert!(failure.code == Code::NoSpace && failure.text.contains("exists already"), "{failure:?}");
    pair.get(&user, "dir", IfExists::Replace);
    let failure = pair.outcome().unwrap_err();
    assert!(failure.text.contains("is a directory"), "{failure:?}");
    pair.get(&user, "there", IfExists::Rename);
    assert_eq!(pair.outcome().unwrap().0, user.at("there (1)").as_os_str().as_encoded_bytes());
    assert_eq!(user.names(), ["dir", "there", "there (1)"]);
    assert_eq!(fs::read(user.at("there")).unwrap(), b"old");
}

#[test]
fn a_process_that_is_gone_fails_its_files_and_no_others() {
    let mut user = User::new(honest);
    let pair = pair();
    pair.offer(1 << 20);
    user.end();
    pair.get(&user, "f", IfExists::Replace);
    let failure = pair.outcome().unwrap_err();
    assert!(failure.code == Code::TryAgain && failure.text.contains("/f\" is out of reach: "), "{failure:?}");
    pair.check(1 << 20);
}

#[test]
fn a_part_is_removed_when_its_session_ends() {
    let user = User::new(honest);
    let pair = pair();
    pair.offer(64 << 20);
    pair.get(&user, "f", IfExists::Replace);
    let end = Instant::now() + Duration::from_secs(30);
    while user.names().is_empty() && Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(user.names().len(), 1);
    pair.sender.send(Command::Close { session: pair.session, code: Code::Done, text: String::new() });
    while !user.names().is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(user.names(), [""; 0], "and the process still runs");
}

#[test]
fn what_does_not_serve_as_a_part_is_refused_by_name() {
    fn passing(demand: &Demand, file: File) -> Option<(Outcome, Option<OwnedFd>)> {
        let is_create = matches!(demand.operation, Operation::Create { .. });
        is_create.then(|| (Outcome::Opened, Some(file.into())))
    }
    let cheats: [(Cheat, &str); 4] = [
        (|demand| passing(demand, File::open("/").unwrap()), "is a directory"),
        (|demand| passing(demand, File::open("/dev/null").unwrap()), "a terminal or device"),
        (|demand| passing(demand, File::open("/proc/self/exe").unwrap()), "not open for writing"),
        (
            |demand| {
                let path = std::env::temp_dir().join(format!("udpx-appends-{}", std::process::id()));
                let file = OpenOptions::new().create(true).read(true).append(true).open(&path).unwrap();
                fs::remove_file(path).unwrap();
                passing(demand, file)
            },
            "only appends",
        ),
    ];
    for (cheat, what) in cheats {
        let user = User::new(cheat);
        let pair = pair();
        pair.offer(1 << 20);
        pair.get(&user, "f", IfExists::Replace);
        let failure = pair.outcome().unwrap_err();
        assert!(failure.code == Code::Protocol && failure.text.contains(what), "{failure:?}");
    }
}

#[test]
fn a_handed_file_is_sent_by_an_engine_that_could_not_open_it() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("secret");
    let bytes: Vec<u8> = (0..(5 << 20) + 7).map(|i: u32| (i / 3) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let readable = Arc::new(File::open(&path).unwrap());
    let writable = Arc::new(OpenOptions::new().write(true).open(&path).unwrap());
    let directory = Arc::new(File::open(home.path()).unwrap());
    as_another_user("a_handed_file_is_sent_by_an_engine_that_could_not_open_it", || {
        let pair = pair();
        let put = |file: &Arc<File>| {
            let offer = Offer {
                file: 0,
                name: b"secret".to_vec(),
                root: String::new(),
                path: Vec::new(),
                if_exists: IfExists::Replace,
                user: String::new(),
            };
            let origin = PutOrigin::At(Origin::Handed { file: file.clone(), path: path.clone() });
            let spec = PutSpec { origin, streams: Some(1), cause: Cause::Offered(offer) };
            pair.sender.send(Command::Do { session: pair.session, task: Task::Put(Box::new(spec)) });
            pair.outcome()
        };
        // Twice: a job may be tried again.
        for _ in 0..2 {
            let (arrived, _) = put(&readable).unwrap();
            assert!(fs::read(std::str::from_utf8(&arrived).unwrap()).unwrap() == bytes);
        }
        for (file, what) in [(&writable, "not open for reading"), (&directory, "is a directory")] {
            let failure = put(file).unwrap_err();
            assert!(failure.code == Code::NoSource && failure.text.contains(what), "{failure:?}");
        }
    });
}
