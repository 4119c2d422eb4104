//! Peers that misbehave through the real protocol, strangers and known ones: the daemon and the other peers go on.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod common;

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use common::{Receiver, file, send, send_in_background};
use udpx_proto::handshake::{
    Credential, Initiator, InitiatorConfig, PARAMS_VERSION, Params, Progress, StaticSecret,
};
use udpx_proto::messages::{IfExists, PutRequest, Subtrees};
use udpx_proto::session::{OpenStream, SessionConfig};
use udpx_proto::wire::header::{Header, Kind};
use udpx_proto::{
    Arrival, ChunkRef, Event, LaneId, Message, PayloadSink, PayloadSource, Plan, RequestId, Session,
    StreamId, Time,
};
use udpxd::daemon::DaemonEvent;
use udpxd::embedded::PushFile;
use udpxd::{Code, RatePolicy, identity};

struct Zeros(Vec<u8>);

impl PayloadSource for Zeros {
    fn chunk(&self, chunk: ChunkRef) -> Option<&[u8]> {
        self.0.get(..chunk.len as usize)
    }
}

struct Nowhere;

impl PayloadSink for Nowhere {
    fn stage(&mut self, _: StreamId, _: u64, _: usize) -> Option<&mut [u8]> {
        None
    }

    fn commit(&mut self, _: StreamId, _: u64, _: usize, _: bool) {}
}

/// A session driven by hand.
struct Attacker {
    socket: UdpSocket,
    session: Session,
    began: Instant,
    closed: Option<Code>,
    messages: Vec<Message>,
}

impl Attacker {
    fn connect(receiver: &Receiver, identity: &StaticSecret) -> Option<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(receiver.address).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let params = Params {
            version: PARAMS_VERSION,
            plain_ok: false,
            mtu_max: 1500,
            staging_credit: 1 << 20,
            lanes_max: 1,
            max_ack_delay_us: 25_000,
            has_aes: true,
        };
        let config = InitiatorConfig {
            local: identity,
            remote: receiver.secret.public(),
            credential: Credential::None,
            params,
            lane: LaneId(7),
        };
        let mut random = identity::OsRandom::open().unwrap();
        let mut initiator = Initiator::new(config, Time::ZERO, &mut random).unwrap();
        let mut buffer = vec![0; 65_536];
        for _ in 0..4 {
            socket.send(initiator.packet()).unwrap();
            let Ok(len) = socket.recv(&mut buffer) else { continue };
            if let Ok(Progress::Done(established)) = initiator.handle(Time::ZERO, &buffer[..len]) {
                let config = SessionConfig {
                    ip_mtu_max: 1500,
                    policy: RatePolicy::Fixed { bps: 1e9 },
                    initial_rtt: Duration::from_millis(1),
                    ..SessionConfig::default()
                };
                let session = Session::new(config, *established, Time::ZERO);
                let began = Instant::now();
                return Some(Self { socket, session, began, closed: None, messages: Vec::new() });
            }
        }
        None
    }

    fn now(&self) -> Time {
        Time::from_nanos(self.began.elapsed().as_nanos() as u64)
    }

    /// The datagrams that it would send now.
    fn planned(&mut self) -> Vec<Vec<u8>> {
        let (mut plan, mut out, zeros) = (Plan::new(), vec![0; 1 << 17], Zeros(vec![0; 1 << 16]));
        let (now, mut datagrams) = (self.now(), Vec::new());
        while self.session.poll_transmit(now, &mut plan) {
            let len = self.session.seal(&plan, &zeros, &mut out).unwrap();
            datagrams.extend(out[..len].chunks(plan.segment()).map(<[u8]>::to_vec));
        }
        datagrams
    }

    fn turn(&mut self) {
        for datagram in self.planned() {
            let _ = self.socket.send(&datagram);
        }
        self.socket.set_read_timeout(Some(Duration::from_millis(2))).unwrap();
        let mut buffer = vec![0; 65_536];
        if let Ok(len) = self.socket.recv(&mut buffer) {
            let now = self.now();
            let _ = self.session.handle_datagram(now, &Arrival::default(), &buffer[..len], &mut Nowhere);
            self.session.end_of_batch(now);
        }
        let now = self.now();
        if self.session.next_deadline(now).is_some_and(|at| at <= now) {
            self.session.handle_timeout(now);
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                Event::Closed { code, .. } => self.closed = Some(Code::from_number(code)),
                Event::Message(message) => self.messages.push(message),
                _ => {}
            }
        }
    }

    /// Goes on until the daemon closes the session, and returns why.
    fn until_closed(&mut self, mut act: impl FnMut(&mut Self)) -> Code {
        let end = Instant::now() + Duration::from_secs(15);
        while self.closed.is_none() {
            assert!(
                Instant::now() < end,
                "the daemon bears it: {:?} {:?}",
                self.closed,
                self.session.stats().drops
            );
            act(self);
            self.turn();
        }
        self.closed.unwrap()
    }

    /// Goes on until the daemon gives a file up, and returns why.
    fn until_aborted(&mut self) -> Code {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            assert!(
                Instant::now() < end,
                "the daemon bears it: {:?} {:?}",
                self.closed,
                self.session.stats().drops
            );
            self.turn();
            let aborted = self.messages.iter().find_map(|message| match message {
                Message::Abort(abort) => Some(Code::from_number(abort.code)),
                _ => None,
            });
            if let Some(code) = aborted {
                return code;
            }
        }
    }

    fn ask(&mut self, request: u64, path: &[u8], size: u64) -> bool {
        let message = Message::PutRequest(PutRequest {
            request: RequestId(request),
            root: String::new(),
            path: path.to_vec(),
            name: b"x".to_vec(),
            size: Some(size),
            mode: 0o600,
            mtime_ns: 0,
            if_exists: IfExists::Replace,
            user: String::new(),
        });
        self.session.send_message(&message).is_ok()
    }

    fn stream(&mut self, request: u64, end: u64, available: u64) {
        let open = OpenStream { request: RequestId(request), start: 0, end: Some(end), weight: 1 };
        if let Ok(stream) = self.session.open_stream(open) {
            self.session.extend_stream(stream, available);
        }
    }
}

/// Runs an attack in the background until it is dropped.
struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Background {
    fn run(mut attackers: Vec<Attacker>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                attackers.iter_mut().for_each(Attacker::turn);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// An honest push succeeds within the time.
fn honest(receiver: &Receiver, len: usize, within: Duration) {
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "honest", len);
    let begin = Instant::now();
    send(receiver.request(vec![PushFile::Path(path.clone())])).0.unwrap();
    assert!(begin.elapsed() < within, "{:?}", begin.elapsed());
    assert!(std::fs::read(receiver.inbox().join("honest")).unwrap() == std::fs::read(path).unwrap());
}

#[test]
fn memory_held_for_a_request_that_never_comes_stops_nobody() {
    let _beside = MEASURED.read();
    let receiver = Receiver::start();
    let mut attackers: Vec<Attacker> =
        (0..2).map(|_| Attacker::connect(&receiver, &receiver.alice).unwrap()).collect();
    for attacker in &mut attackers {
        attacker.turn();
        (0..90).for_each(|_| attacker.stream(100, 2 << 20, 1));
        (0..20).for_each(|_| attacker.turn());
    }
    let background = Background::run(attackers);
    honest(&receiver, 24 << 20, Duration::from_secs(20));
    drop(background);
    // Whoever waits for too long is sent away.
    let mut late = Attacker::connect(&receiver, &receiver.alice).unwrap();
    late.turn();
    late.stream(100, 2 << 20, 1);
    assert_eq!(late.until_closed(|_| {}), Code::TryAgain);
}

/// Who measures the memory of this process does not want it filled by others meanwhile.
static MEASURED: RwLock<()> = RwLock::new(());

#[test]
fn packets_that_do_not_open_make_no_session() {
    let _alone = MEASURED.write();
    let receiver = Receiver::start();
    let stranger = identity::ephemeral().unwrap();
    let before = resident();
    let mut answered = 0;
    for _ in 0..1300 {
        let Some(mut attacker) = Attacker::connect(&receiver, &stranger) else { continue };
        answered += 1;
        for mut datagram in attacker.planned() {
            *datagram.last_mut().unwrap() ^= 1;
            let _ = attacker.socket.send(&datagram);
        }
    }
    assert!(answered > 1200, "{answered}");
    let grown = resident().saturating_sub(before);
    assert!(grown < 40 << 20, "{} MiB more", grown >> 20);
    assert!(!receiver.events().iter().any(|event| matches!(event, DaemonEvent::Refused { .. })));
    honest(&receiver, 3 << 20, Duration::from_secs(10));
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn claims_of_64_tib_cost_nothing() {
    let _beside = MEASURED.read();
    let receiver = Receiver::start();
    let mut attacker = Attacker::connect(&receiver, &receiver.alice).unwrap();
    attacker.turn();
    attacker.stream(2, 1 << 46, 1);
    attacker.turn();
    assert!(attacker.ask(2, b"x", 1 << 46));
    assert!(matches!(attacker.until_aborted(), Code::Protocol | Code::NoSpace));
    honest(&receiver, 3 << 20, Duration::from_secs(10));
}

#[test]
fn half_finished_files_that_are_held_for_ever_are_few_and_stop_nobody() {
    let _alone = MEASURED.write();
    let receiver = Receiver::start();
    let mut attacker = Attacker::connect(&receiver, &receiver.alice).unwrap();
    attacker.turn();
    // A session takes 256 files at once; the requests of an initiator are even.
    let mut asked = 0;
    let end = Instant::now() + Duration::from_secs(20);
    while asked < 300 && Instant::now() < end {
        asked += u64::from(attacker.ask(2 * (asked + 1), format!("f{asked}").as_bytes(), 8 << 20));
        attacker.turn();
    }
    assert_eq!(attacker.until_aborted(), Code::TryAgain);
    let holding = Background::run(vec![attacker]);
    honest(&receiver, 8 << 20, Duration::from_secs(20));
    drop(holding);
    let parts = receiver.names().len() - 1;
    assert!(parts <= 256, "{parts} parts");
}

#[test]
fn half_finished_files_of_a_peer_are_bounded_over_all_its_sessions_and_shown() {
    let _beside = MEASURED.read();
    const MOST: u32 = 40;
    let mut receiver = Receiver::with("127.0.0.1:0", |config| config.limits.unfinished_per_peer = MOST);
    let mut attackers: Vec<Attacker> =
        (0..2).map(|_| Attacker::connect(&receiver, &receiver.alice).unwrap()).collect();
    for (n, attacker) in attackers.iter_mut().enumerate() {
        attacker.turn();
        for asked in 0..30 {
            assert!(attacker.ask(2 * (asked + 1), format!("f{n}-{asked}").as_bytes(), 1 << 20));
            attacker.turn();
        }
    }
    assert_eq!(attackers[1].until_aborted(), Code::TryAgain);
    let refused = receiver.wait_for(|event| match event {
        DaemonEvent::Failed { code: Code::TryAgain, text, .. } => Some(text.clone()),
        _ => None,
    });
    assert!(refused.contains("as it allows, 40. On it, raise unfinished_per_peer in [limits]"), "{refused}");
    let holding = Background::run(attackers);
    let shown = |event: &DaemonEvent| match event {
        DaemonEvent::Tally(tally) => {
            let sum = tally.sessions.iter().fold((0, 0), |(files, bytes), session| {
                (files + session.unfinished, bytes + session.unfinished_bytes)
            });
            (sum == (MOST, u64::from(MOST) << 20)).then_some(())
        }
        _ => None,
    };
    receiver.wait_for(shown);
    assert_eq!(receiver.names().len(), MOST as usize);
    drop(holding);
    // They end with the daemon.
    receiver.restart();
    assert!(receiver.names().is_empty(), "{:?}", receiver.names());
    honest(&receiver, 1 << 20, Duration::from_secs(10));
}

#[test]
fn a_digest_is_announced_once() {
    let _beside = MEASURED.read();
    let receiver = Receiver::start();
    let mut attacker = Attacker::connect(&receiver, &receiver.alice).unwrap();
    attacker.turn();
    assert!(attacker.ask(2, b"x", 64 << 20));
    for _ in 0..2 {
        let message = Subtrees { request: RequestId(2), first: 0, digests: vec![[7; 32]; 64] };
        attacker.session.send_message(&Message::Subtrees(message)).unwrap();
    }
    assert_eq!(attacker.until_aborted(), Code::Protocol);
}

#[test]
fn refused_requests_leave_a_trace_and_are_not_answered_without_end() {
    let _beside = MEASURED.read();
    let receiver = Receiver::start();
    let mut attacker = Attacker::connect(&receiver, &receiver.alice).unwrap();
    attacker.turn();
    let mut request = 2;
    let mut flood = |attacker: &mut Attacker| {
        for _ in 0..500 {
            if attacker.ask(request, b"../x", 1) {
                // The initiator's requests are even.
                request += 2;
            }
        }
    };
    flood(&mut attacker);
    attacker.turn();
    receiver.wait_for(|event| matches!(event, DaemonEvent::Failed { code: Code::Refused, .. }).then_some(()));
    // It sends and never listens, so that nothing of what the daemon answers is acknowledged.
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end && attacker.session.is_open() {
        flood(&mut attacker);
        attacker.turn();
    }
    let failed = receiver.events().iter().filter(|e| matches!(e, DaemonEvent::Failed { .. })).count();
    assert!(failed < 64, "{failed} reports");
    honest(&receiver, 3 << 20, Duration::from_secs(10));
}

/// Forwards datagrams to the daemon, control packets late.
fn relay_with_late_control(receiver: &Receiver, late: Duration) -> (std::net::SocketAddr, Arc<AtomicBool>) {
    let front = UdpSocket::bind("127.0.0.1:0").unwrap();
    let back = UdpSocket::bind("127.0.0.1:0").unwrap();
    back.connect(receiver.address).unwrap();
    let address = front.local_addr().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    std::thread::spawn(move || {
        for socket in [&front, &back] {
            socket.set_nonblocking(true).unwrap();
        }
        let mut client = None;
        let mut waiting = std::collections::VecDeque::new();
        let mut buffer = vec![0; 65_536];
        while !stopped.load(Ordering::Relaxed) {
            let mut idle = true;
            while let Ok((len, from)) = front.recv_from(&mut buffer) {
                (client, idle) = (Some(from), false);
                let datagram = &buffer[..len];
                if matches!(Header::parse(datagram), Ok((_, Kind::Mixed))) {
                    waiting.push_back((Instant::now() + late, datagram.to_vec()));
                } else {
                    let _ = back.send(datagram);
                }
            }
            while let (Ok(len), Some(client)) = (back.recv(&mut buffer), client) {
                idle = false;
                let _ = front.send_to(&buffer[..len], client);
            }
            while waiting.front().is_some_and(|(at, _)| *at <= Instant::now()) {
                let _ = waiting.pop_front().map(|(_, datagram)| back.send(&datagram));
            }
            if idle {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
    (address, stop)
}

#[test]
fn whole_blocks_that_come_before_their_stream_is_opened_are_kept() {
    let _beside = MEASURED.read();
    let receiver = Receiver::start();
    let source = tempfile::tempdir().unwrap();
    let path = file(source.path(), "f", 24 << 20);
    let (address, stop) = relay_with_late_control(&receiver, Duration::from_millis(120));
    let mut request = receiver.request(vec![PushFile::Path(path.clone())]);
    request.call.way.addresses = vec![address];
    request.call.way.policy = RatePolicy::Fixed { bps: 200e6 };
    let push = send_in_background(request);
    let end = Instant::now() + Duration::from_secs(60);
    while !push.is_finished() {
        assert!(Instant::now() < end, "it hangs");
        std::thread::sleep(Duration::from_millis(20));
    }
    push.join().unwrap().0.unwrap();
    stop.store(true, Ordering::Relaxed);
    assert!(std::fs::read(receiver.inbox().join("f")).unwrap() == std::fs::read(path).unwrap());
}

#[test]
fn a_session_is_not_charged_for_what_the_one_before_it_left_to_write() {
    let _beside = MEASURED.read();
    let receiver = Receiver::start();
    for _ in 0..3 {
        let generated = PushFile::Generated { name: b"g".to_vec(), len: 1 << 30, seed: 1 };
        let mut request = receiver.request(vec![generated]);
        request.call.way.policy = RatePolicy::Fixed { bps: 4e9 };
        let cancel = request.call.cancel.clone();
        let push = send_in_background(request);
        std::thread::sleep(Duration::from_millis(500));
        cancel.store(true, Ordering::Relaxed);
        let _ = push.join().unwrap();
        honest(&receiver, 3 << 20, Duration::from_secs(10));
    }
}
