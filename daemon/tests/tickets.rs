//! First contact by a ticket, on real sockets: who gets in, what they get, and what the others are told.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Detour, bytes, file, names};
use udpx_proto::handshake::StaticSecret;
use udpxd::config::Rights;
use udpxd::embedded::{self, Call, PullFile, PullRequest, PushFile, PushRequest, Way};
use udpxd::hosting::addresses::Address;
use udpxd::hosting::{Host, HostConfig, HostEvent, Offer};
use udpxd::identity;
use udpxd::relay::Impairments;
use udpxd::report::{JobError, Summary};
use udpxd::ticket::Ticket;
use udpxd::{Code, IfExists};

/// A host in a thread of its own.
struct Hosted {
    ticket: Ticket,
    events: Arc<Mutex<Vec<HostEvent>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Hosted {
    fn start(offer: Offer, change: impl FnOnce(&mut HostConfig)) -> Self {
        let mut config = HostConfig::new(offer, identity::ephemeral().unwrap());
        config.addresses = vec![Address::parse("127.0.0.1").unwrap()];
        change(&mut config);
        let mut host = Host::start(&config).unwrap();
        let ticket = Ticket::parse(&host.ticket().unwrap().text()).unwrap();
        let (events, stop): (Arc<Mutex<Vec<HostEvent>>>, Arc<AtomicBool>) = Default::default();
        let (told, stopped) = (events.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let event = host.next_event(Duration::from_millis(20)).unwrap();
                told.lock().unwrap().extend(event);
            }
        });
        Self { ticket, events, stop, thread: Some(thread) }
    }

    fn file(path: &Path) -> Self {
        Self::start(Offer::File { path: path.into() }, |_| {})
    }

    fn directory(path: &Path, once: bool) -> Self {
        Self::start(Offer::Directory { path: path.into(), rights: ALL, once }, |_| {})
    }

    fn wait_for<T>(&self, wanted: impl Fn(&HostEvent) -> Option<T>) -> T {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(found) = self.events.lock().unwrap().iter().find_map(&wanted) {
                return found;
            }
            assert!(Instant::now() < end, "it did not happen; only {:?}", self.events.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn call(&self, who: &StaticSecret) -> Call {
        call(&self.ticket, who)
    }

    fn push(&self, who: &StaticSecret, files: &[&Path]) -> Result<Summary, JobError> {
        push(self.call(who), files)
    }
}

impl Drop for Hosted {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn call(ticket: &Ticket, who: &StaticSecret) -> Call {
    let mut call = Call::new(ticket.key, ticket.addresses.clone(), who.clone());
    call.way.credential = ticket.credential();
    call.way.host = "bob".into();
    call.way.connect_timeout = Duration::from_secs(3);
    call
}

fn push_request(call: Call, files: &[&Path]) -> PushRequest {
    let addresses = call.way.addresses.clone();
    let mut request = PushRequest::new(call.way.peer, addresses, call.identity.clone());
    request.files = files.iter().map(|path| PushFile::Path(path.to_path_buf())).collect();
    request.call = call;
    request
}

fn push(call: Call, files: &[&Path]) -> Result<Summary, JobError> {
    embedded::push(push_request(call, files), &mut |_| {})
}

fn pull(call: Call, path: &str, destination: PathBuf) -> Result<Summary, JobError> {
    let file =
        PullFile { root: String::new(), path: path.as_bytes().to_vec(), destination: destination.into() };
    let request =
        PullRequest { files: vec![file], call, streams: None, if_exists: IfExists::Replace, umask: 0o022 };
    embedded::pull(request, &mut |_| {})
}

const ALL: Rights = Rights { write: true, read: true, list: true };

fn someone() -> StaticSecret {
    identity::ephemeral().unwrap()
}

struct Lab {
    here: tempfile::TempDir,
    there: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        Self { here: tempfile::tempdir().unwrap(), there: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, len: usize) -> PathBuf {
        file(self.here.path(), name, len)
    }

    /// Parts are removed by threads of their own.
    fn wait_for_names(&self, expected: &[&str]) {
        let end = Instant::now() + Duration::from_secs(5);
        while names(self.there.path()) != expected {
            assert!(Instant::now() < end, "{:?}", names(self.there.path()));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.there.path().join(name)
    }
}

fn refusal(result: Result<Summary, JobError>, words: &str) -> JobError {
    let error = result.unwrap_err();
    assert_eq!(error.code, Code::Refused, "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
    error
}

#[test]
fn one_file_gets_the_name_that_its_receiver_wants() {
    let lab = Lab::new();
    let (a, b) = (lab.file("a", 3_000_001), lab.file("b", 10));
    std::fs::write(lab.at("got"), "old").unwrap();
    let host = Hosted::file(&lab.at("got"));
    let alice = someone();
    let mut request = push_request(host.call(&alice), &[&a]);
    request.path = b"../../etc/x".to_vec();
    request.root = "elsewhere".into();
    embedded::push(request, &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(lab.at("got")).unwrap(), std::fs::read(&a).unwrap());
    let (from, bytes) = host.wait_for(|event| match event {
        HostEvent::Came { from, file, .. } => Some((*from, file.bytes)),
        _ => None,
    });
    assert_eq!((from.map(|from| from.ip().to_string()), bytes), (Some("127.0.0.1".into()), 3_000_001));
    let whole = |event: &HostEvent| {
        matches!(event, HostEvent::Arriving { bytes, total, .. } if bytes <= total).then_some(())
    };
    host.wait_for(whole);

    let error = refusal(host.push(&alice, &[&b]), "this ticket was used already");
    assert_eq!(error.remedy, "On bob, make another one.");
    refusal(host.push(&someone(), &[&b]), "used by another machine");
    assert_eq!(names(lab.there.path()), ["got"]);
}

#[test]
fn of_two_files_for_one_the_first_is_taken() {
    let lab = Lab::new();
    let (a, b) = (lab.file("a", 5_000_000), lab.file("b", 5_000_000));
    let host = Hosted::file(&lab.at("got"));
    let error = host.push(&someone(), &[&a, &b]).unwrap_err();
    assert_eq!(error.code, Code::Partly, "{error:?}");
    assert!(error.text.contains("this ticket is for one file"), "{error}");
    assert_eq!(std::fs::read(lab.at("got")).unwrap(), std::fs::read(&a).unwrap());
}

#[test]
fn of_two_who_come_at_once_exactly_one_gets_in() {
    let lab = Lab::new();
    let a = lab.file("a", 2_000_000);
    for _ in 0..5 {
        let host = Hosted::file(&lab.at("got"));
        let results: Vec<_> = std::thread::scope(|scope| {
            let push = || host.push(&someone(), &[&a]);
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(push)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 3));
        for result in lost {
            refusal(result, "bob: this ticket was used by another machine already");
        }
        host.wait_for(|event| matches!(event, HostEvent::Refused { .. }).then_some(()));
        assert_eq!(names(lab.there.path()), ["got"]);
    }
}

#[test]
fn a_directory_is_used_with_the_rights_that_were_given() {
    let lab = Lab::new();
    let a = lab.file("a", 100_000);
    std::fs::write(lab.at("there"), bytes(70_000, 1)).unwrap();
    let host = Hosted::directory(lab.there.path(), false);
    for who in [someone(), someone()] {
        let listing = embedded::list(host.call(&who), "", b"", &mut |_| {}).unwrap();
        assert!(listing.entries.iter().any(|entry| entry.name == "there"), "{listing:?}");
        host.push(&who, &[&a]).unwrap();
        pull(host.call(&who), "there", lab.here.path().join("back")).unwrap();
        assert_eq!(std::fs::read(lab.here.path().join("back")).unwrap(), bytes(70_000, 1));
    }
    assert_eq!(std::fs::read(lab.at("a")).unwrap(), std::fs::read(&a).unwrap());
    host.wait_for(|event| matches!(event, HostEvent::Went { bytes: 70_000, to: Some(_), .. }).then_some(()));

    let limited = |rights| {
        let offer = Offer::Directory { path: lab.there.path().into(), rights, once: false };
        Hosted::start(offer, |_| {})
    };
    let reading = limited(Rights { write: false, ..ALL });
    refusal(reading.push(&someone(), &[&a]), "this ticket gives files and takes none");
    pull(reading.call(&someone()), "there", lab.here.path().join("x")).unwrap();
    let writing = limited(Rights { write: true, read: false, list: false });
    refusal(
        pull(writing.call(&someone()), "there", lab.here.path().join("y")),
        "this ticket takes files and gives none",
    );
    writing.push(&someone(), &[&a]).unwrap();
    let one = Hosted::file(&lab.at("got"));
    refusal(pull(one.call(&someone()), "there", lab.here.path().join("z")), "for one file to be pushed");
}

#[test]
fn a_ticket_for_one_machine_serves_it_until_something_has_moved() {
    let lab = Lab::new();
    let (a, b) = (lab.file("a", 10), lab.file("b", 10));
    let host = Hosted::directory(lab.there.path(), true);
    let alice = someone();
    embedded::list(host.call(&alice), "", b"", &mut |_| {}).unwrap();
    refusal(host.push(&someone(), &[&a]), "used by another machine");
    host.push(&alice, &[&a, &b]).unwrap();
    let finished = |event: &HostEvent| matches!(event, HostEvent::Disconnected { code: Code::Done, .. });
    while host.events.lock().unwrap().iter().filter(|event| finished(event)).count() < 2 {
        std::thread::sleep(Duration::from_millis(10));
    }
    refusal(host.push(&alice, &[&a]), "was used already");
}

#[test]
fn an_expired_ticket_is_refused_by_the_clock_of_its_maker() {
    let lab = Lab::new();
    let a = lab.file("a", 10);
    let host = Hosted::start(Offer::File { path: lab.at("got") }, |config| {
        config.lifetime = Some(Duration::ZERO);
    });
    refusal(host.push(&someone(), &[&a]), "this ticket has expired");
    assert!(names(lab.there.path()).is_empty());
}

#[test]
fn strangers_hear_nothing_of_tickets() {
    let lab = Lab::new();
    let a = lab.file("a", 10);
    let host = Hosted::file(&lab.at("got"));
    let without =
        Call { way: Way::new(host.ticket.key, host.ticket.addresses.clone()), ..host.call(&someone()) };
    refusal(push(without, &[&a]), "lets in only those who have a ticket");
    // An id that is not known, and one whose secret is not: no answer, and the causes are named.
    let other = Hosted::file(&lab.at("other"));
    let mut id = other.ticket.clone();
    (id.key, id.addresses) = (host.ticket.key, host.ticket.addresses.clone());
    let mut secret = host.ticket.clone();
    secret.secret = other.ticket.secret.clone();
    for ticket in [id, secret] {
        let error = push(call(&ticket, &someone()), &[&a]).unwrap_err();
        assert_eq!((error.code, error.text.as_str()), (Code::Unreachable, "bob does not answer"), "{error}");
        assert!(error.remedy.contains("whole and neither used nor expired"), "{error}");
    }
    assert!(names(lab.there.path()).is_empty());
    host.push(&someone(), &[&a]).unwrap();
}

#[test]
fn a_sender_that_was_lost_begins_again_by_the_same_ticket() {
    let lab = Lab::new();
    let a = lab.file("a", 6_000_000);
    let host = Hosted::file(&lab.at("got"));
    let alice = someone();
    let request = |call: Call| {
        let mut request = push_request(call, &[&a]);
        request.call.way.policy = udpxd::RatePolicy::Fixed { bps: 20e6 };
        request
    };
    // As if it had been killed: its packets end, and nobody says good-bye.
    let detour = Detour::to(host.ticket.addresses[0], Impairments::default());
    let mut away = host.call(&alice);
    away.way.addresses = vec![detour.address];
    away.way.give_up_after = Duration::from_secs(1);
    let lost = request(away);
    let begun = std::thread::spawn(move || embedded::push(lost, &mut |_| {}));
    host.wait_for(|event| matches!(event, HostEvent::Arriving { bytes: 1.., .. }).then_some(()));
    drop(detour);
    assert!(begun.join().unwrap().is_err());
    refusal(host.push(&someone(), &[&a]), "used by another machine");
    embedded::push(request(host.call(&alice)), &mut |_| {}).unwrap();
    assert_eq!(std::fs::read(lab.at("got")).unwrap(), std::fs::read(&a).unwrap());
    // Of the session that was lost nothing stays, though it has not noticed yet.
    lab.wait_for_names(&["got"]);
}

#[test]
fn of_two_pushes_of_its_holder_the_later_one_counts() {
    let lab = Lab::new();
    let (a, b) = (lab.file("a", 6_000_000), lab.file("b", 1_000_000));
    let host = Hosted::file(&lab.at("got"));
    let alice = someone();
    let mut slow = push_request(host.call(&alice), &[&a]);
    slow.call.way.policy = udpxd::RatePolicy::Fixed { bps: 20e6 };
    let first = std::thread::spawn(move || embedded::push(slow, &mut |_| {}));
    host.wait_for(|event| matches!(event, HostEvent::Arriving { bytes: 1.., .. }).then_some(()));
    host.push(&alice, &[&b]).unwrap();
    refusal(first.join().unwrap(), "you put the file in another session");
    assert_eq!(std::fs::read(lab.at("got")).unwrap(), std::fs::read(&b).unwrap());
    lab.wait_for_names(&["got"]);
}

#[test]
fn a_bad_path_and_two_good_ways_change_nothing() {
    let lab = Lab::new();
    let a = lab.file("a", 2_000_000);
    // Both addresses answer, the first one when the second has been tried too: two sessions of one machine.
    let host = Hosted::file(&lab.at("got"));
    let slow = Impairments { loss: 0.05, delay: Duration::from_millis(200), ..Impairments::default() };
    let detour = Detour::to(host.ticket.addresses[0], slow);
    let mut call = host.call(&someone());
    call.way.addresses = vec![detour.address, host.ticket.addresses[0]];
    push(call, &[&a]).unwrap();
    assert_eq!(std::fs::read(lab.at("got")).unwrap(), std::fs::read(&a).unwrap());
    let host = Hosted::directory(lab.there.path(), true);
    let lossy = Impairments { loss: 0.3, delay: Duration::from_millis(5), ..Impairments::default() };
    let detour = Detour::to(host.ticket.addresses[0], lossy);
    let mut call = host.call(&someone());
    call.way.addresses = vec![detour.address];
    call.way.connect_timeout = Duration::from_secs(20);
    push(call, &[&lab.file("b", 100_000)]).unwrap();
    host.wait_for(|event| matches!(event, HostEvent::Came { .. }).then_some(()));
}

#[test]
fn modes_are_masked_and_links_lead_nowhere() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new();
    let a = lab.file("a", 10);
    std::fs::set_permissions(&a, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", lab.at("link")).unwrap();
    let host = Hosted::directory(lab.there.path(), false);
    host.push(&someone(), &[&a]).unwrap();
    assert_eq!(std::fs::metadata(lab.at("a")).unwrap().permissions().mode() & 0o7777, 0o755);
    for path in ["link", "/etc/passwd", "../x"] {
        assert!(pull(host.call(&someone()), path, lab.here.path().join("out")).is_err(), "{path}");
    }
    assert!(!lab.here.path().join("out").exists());
}

#[test]
fn a_host_that_cannot_be_is_told_with_its_remedy() {
    let lab = Lab::new();
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = taken.local_addr().unwrap();
    let start = |offer: Offer, port| {
        let mut config = HostConfig::new(offer, someone());
        config.addresses = vec![Address::parse("127.0.0.1").unwrap()];
        config.port = port;
        Host::start(&config).err().unwrap()
    };
    let good = Offer::File { path: lab.at("got") };
    let error = start(good, address.port());
    assert!(error.code == Code::Io && error.remedy.contains("--port"), "{error:?}");
    let error = start(Offer::File { path: lab.there.path().into() }, 0);
    assert!(error.code == Code::NoSpace && error.text.contains("is a directory"), "{error:?}");
    let error = start(Offer::File { path: lab.at("none/got") }, 0);
    assert!(error.code == Code::NoSpace && error.text.contains("does not exist"), "{error:?}");
    let error = start(Offer::Directory { path: lab.file("f", 1), rights: ALL, once: false }, 0);
    assert!(error.code == Code::NoSpace, "{error:?}");
}
