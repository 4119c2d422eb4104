//! Two engines in this process, with something between their sockets and the kernel.

mod lent;
mod pipes;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use udpx_proto::handshake::Credential;
use udpx_proto::messages::IfExists;
use udpx_proto::{Code, DropReason, RatePolicy, RekeyLimits};
use udpx_udp::Errno;
use udpx_udp::testing::{Fault, FaultPlan, Recording, SendInjector};

use super::access::{Access, Peers, Root};
use super::bounds::Bounds;
use super::paths::Paths;
use super::report::{Command, Connect, Report, Task};
use super::{EngineConfig, EngineHandle};
use crate::config::Rights;
use crate::identity;
use crate::storage::digest::Hashing;
use crate::storage::source::{Loading, Source};
use crate::storage::vault::RootVault;
use crate::transfer::put::{Cause, News, Offer, PutOrigin, PutSpec};
use crate::transfer::take::Place;

struct Pair {
    directory: tempfile::TempDir,
    sender: EngineHandle,
    receiver: EngineHandle,
    connect: Connect,
    session: u64,
}

impl Pair {
    fn connect(inject: fn() -> SendInjector, plain: bool) -> Self {
        Self::connect_over(inject, plain, 32 << 20, |address| address)
    }

    /// With other memory for what comes in, and by another way than the direct one.
    fn connect_over(
        inject: fn() -> SendInjector,
        plain: bool,
        staging: u64,
        way: impl FnOnce(SocketAddr) -> SocketAddr,
    ) -> Self {
        Self::connect_with(inject, (plain, staging, 1), way)
    }

    /// With so many lanes a session.
    fn connect_with(
        inject: fn() -> SendInjector,
        (plain, staging, lanes): (bool, u64, u8),
        way: impl FnOnce(SocketAddr) -> SocketAddr,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (server, client) = (identity::ephemeral().unwrap(), identity::ephemeral().unwrap());
        let vault = Arc::new(RootVault::open(directory.path()).unwrap());
        let place = Place { vault, root: directory.path().into() };
        let rights = Rights { read: true, ..Rights::default() };
        let roots = vec![Root::inbox(rights, place)];
        let access = Access {
            key: client.public(),
            name: "client".into(),
            plain,
            rate_bps: None,
            by_command: false,
            by_program: false,
            roots,
        };
        let config = |identity, listen, peers| EngineConfig {
            bounds: Bounds::NONE,
            rekey: RekeyLimits { packets: 3000, gap: Duration::ZERO, ..RekeyLimits::default() },
            identity,
            listen,
            peers,
            staging,
            receive_buffer: 8 << 20,
            loading: Loading::Mapped,
            // Both ways of it run, whatever the cores of this machine suggest.
            hashing: if plain { Hashing::Beside } else { Hashing::Inline },
            gso: true,
            mtu_max: 1500,
            lanes,
            paths: Paths::default(),
            bell: None,
            inject: None,
        };
        let peer = server.public();
        let listen = vec!["127.0.0.1:0".parse().unwrap()];
        let peers = Peers::new(vec![access], "config".into(), false);
        let receiver = EngineHandle::start(config(server, listen, peers)).unwrap();
        let address = way(receiver.listening()[0]);
        let sender = config(client, Vec::new(), Peers::default());
        let sender = EngineHandle::start(EngineConfig { inject: Some(inject), ..sender }).unwrap();
        let policy = RatePolicy::Adaptive;
        let timeout = Duration::from_secs(10);
        let connect = Connect {
            tag: 1,
            address,
            peer,
            credential: Credential::None,
            policy,
            plain,
            gso: true,
            mtu_max: 9000,
            timeout,
            trace: None,
        };
        sender.send(Command::Connect(Box::new(connect.clone())));
        let session = match sender.next(timeout).unwrap() {
            Some(Report::Connected { session, .. }) => session,
            other => panic!("{other:?}"),
        };
        Self { directory, sender, receiver, session, connect }
    }

    /// Sends a source and returns the path of what arrived.
    fn put(&self, source: &Arc<Source>) -> PathBuf {
        let offer = Offer {
            file: 0,
            name: b"name".to_vec(),
            root: String::new(),
            path: Vec::new(),
            if_exists: IfExists::Replace,
            user: String::new(),
        };
        let origin = PutOrigin::Open(source.clone());
        let spec = PutSpec { origin, streams: Some(2), cause: Cause::Offered(offer) };
        self.sender.send(Command::Do { session: self.session, task: Task::Put(Box::new(spec)) });
        let end = Instant::now() + Duration::from_secs(30);
        while Instant::now() < end {
            match self.sender.next(Duration::from_secs(1)).unwrap() {
                Some(Report::File { news: News::Done { .. }, .. }) => {
                    return self.directory.path().join("name");
                }
                Some(Report::File { news: News::Failed(failure), .. }) => panic!("{failure:?}"),
                Some(Report::Ended { failure, .. }) => panic!("{failure:?}"),
                _ => {}
            }
        }
        panic!("the file did not arrive");
    }

    fn check(&self, len: u64) {
        let source = Arc::new(Source::generated(len, 9).unwrap());
        let arrived = std::fs::read(self.put(&source)).unwrap();
        assert_eq!(arrived.len() as u64, len);
        for (at, chunk) in arrived.chunks(1 << 16).enumerate() {
            assert!(source.slice((at as u64) << 16, chunk.len()) == Some(chunk));
        }
    }
}

/// Every errno of the policy, again and again.
fn faults() -> SendInjector {
    let errnos =
        [Errno::EIO, Errno::EINVAL, Errno::EMSGSIZE, Errno::ENOBUFS, Errno::EAGAIN, Errno::ECONNREFUSED];
    let mut plan = FaultPlan::new();
    for (step, errno) in errnos.into_iter().cycle().take(30).enumerate() {
        plan = plan.at(20 + 9 * step as u64, Fault::Error(errno));
        plan = plan.at(24 + 9 * step as u64, Fault::Short(1));
    }
    plan.injector()
}

#[test]
fn refusals_of_the_kernel_lose_nothing() {
    Pair::connect(faults, false).check((24 << 20) + 5);
    Pair::connect(faults, true).check((24 << 20) + 5);
}

static RECORDING: LazyLock<Recording> = LazyLock::new(Recording::new);

fn recorded() -> SendInjector {
    RECORDING.injector(Box::new(|_| None))
}

#[test]
fn plain_payload_goes_from_the_mapping_to_the_kernel() {
    let pair = Pair::connect(recorded, true);
    let len = 12 << 20;
    let file = pair.directory.path().join("source");
    std::fs::write(&file, (0..len).map(|i: usize| (i / 5) as u8).collect::<Vec<u8>>()).unwrap();
    let source = Arc::new(Source::open(&file).unwrap());
    let mapping = source.slice(0, len).unwrap().as_ptr_range();
    let arrived = pair.put(&source);
    assert!(std::fs::read(arrived).unwrap() == std::fs::read(&file).unwrap());
    let (mut inside, mut trains) = (0, 0);
    for message in RECORDING.take() {
        let payload = message
            .slices
            .iter()
            .filter(|slice| mapping.start.addr() <= slice.start && slice.end <= mapping.end.addr());
        inside += payload.map(ExactSizeIterator::len).sum::<usize>();
        trains += usize::from(message.packets() >= 40);
    }
    // The last few packets may travel as frames of control datagrams, or twice.
    assert!(inside >= len - (1 << 20), "only {inside} of {len} bytes");
    assert!(trains >= len / 65_000 / 2, "{trains} full trains");
}

static BY_ENGINE: LazyLock<Recording> = LazyLock::new(Recording::new);

fn counted() -> SendInjector {
    BY_ENGINE.injector(Box::new(|_| None))
}

#[test]
fn trains_of_several_lanes_are_sealed_and_sent_by_carriers_also_across_new_secrets() {
    for lanes in [2, 4] {
        let pair = Pair::connect_with(counted, (false, 32 << 20, lanes), |address| address);
        pair.check(64 << 20);
        let text = String::new();
        pair.sender.send(Command::Close { session: pair.session, code: Code::Done, text });
        let (stats, socket) = loop {
            if let Some(Report::Ended { stats, socket, .. }) =
                pair.sender.next(Duration::from_secs(10)).unwrap()
            {
                break (stats, socket);
            }
        };
        assert!(stats.rekeys >= 2, "{}", stats.rekeys);
        assert!(
            stats.lanes.iter().take(lanes.into()).all(|lane| lane.sent_packets > 200),
            "{:?}",
            stats.lanes
        );
        // The engine itself has sent a handshake, and what came before there were lanes.
        let own: usize = BY_ENGINE.take().iter().map(udpx_udp::testing::RecordedMessage::packets).sum();
        let all = stats.sent_packets as usize;
        assert!(own < all / 4, "{lanes} lanes: {own} of {all}");
        assert!(socket.sent_datagrams as usize > all / 2, "{socket:?}");
    }
}

static FAULTS_LEFT: AtomicU64 = AtomicU64::new(0);

fn vanishing() -> SendInjector {
    Box::new(|attempt| {
        let left = FAULTS_LEFT.load(Ordering::Relaxed);
        (left > 0 && attempt.call % 3 == 0).then(|| {
            FAULTS_LEFT.store(left - 1, Ordering::Relaxed);
            Fault::Vanish
        })
    })
}

#[test]
fn a_bound_of_sessions_is_in_force_at_once_and_ends_none() {
    let pair = Pair::connect(recorded, false);
    pair.receiver.send(Command::Bound(Bounds { sessions: 1, ..Bounds::NONE }));
    pair.sender.send(Command::Connect(Box::new(Connect { tag: 2, ..pair.connect.clone() })));
    let second = loop {
        match pair.sender.next(Duration::from_secs(10)).unwrap().unwrap() {
            Report::Ended { session, failure, .. } => break (session != pair.session, failure.code),
            Report::Connected { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(second, (true, Code::TryAgain));
    pair.check(3 << 20);
}

#[test]
fn secrets_are_replaced_while_data_flows() {
    let pair = Pair::connect(recorded, false);
    pair.check(64 << 20);
    let text = String::new();
    pair.sender.send(Command::Close { session: pair.session, code: Code::Done, text });
    let stats = loop {
        if let Some(Report::Ended { stats, .. }) = pair.sender.next(Duration::from_secs(10)).unwrap() {
            break stats;
        }
    };
    assert!(stats.rekeys >= 2, "{}", stats.rekeys);
    assert!(stats.drops.iter().all(|(reason, _)| reason == DropReason::Duplicate), "{:?}", stats.drops);
}

#[test]
fn trains_that_vanish_are_sent_again() {
    FAULTS_LEFT.store(15, Ordering::Relaxed);
    Pair::connect(vanishing, false).check(30 << 20);
    assert_eq!(FAULTS_LEFT.load(Ordering::Relaxed), 0);
}

#[test]
fn a_device_that_damages_trains_costs_speed_and_no_file() {
    for plain in [false, true] {
        Pair::connect(udpx_udp::testing::damaging, plain).check(12 << 20);
    }
}

#[test]
fn a_session_that_is_closed_reports_once() {
    let pair = Pair::connect(|| FaultPlan::new().injector(), false);
    for _ in 0..2 {
        let text = String::new();
        pair.sender.send(Command::Close { session: pair.session, code: Code::Done, text });
    }
    let mut ended = 0;
    while let Some(report) = pair.sender.next(Duration::from_millis(400)).unwrap() {
        ended += u32::from(matches!(report, Report::Ended { .. }));
    }
    assert_eq!(ended, 1);
}
