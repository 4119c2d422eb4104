//! Two sessions over a simulated network, in virtual time: the workload runs as fast as it computes, and
//! a seed replays it exactly.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::HashMap;

use super::SimRandom;
use super::nat::Nat;
use super::net::{LaneSpec, Network, Side, SimRng};
use super::pattern::{Pattern, PatternSource, VerifyingSink};
use crate::handshake::{
    Accept, Acceptor, AcceptorConfig, Credential, Directory, Established, Incoming, Initiator,
    InitiatorConfig, Progress, Psk, PublicKey, StaticSecret, TicketId,
};
use crate::{
    Arrival, Event, LaneId, OpenStream, Params, Plan, RequestId, Session, SessionConfig, StreamId,
    StreamStats, Time,
};

/// How to build a pair.
#[derive(Clone, Debug)]
pub struct PairConfig {
    /// The network: one entry a lane.
    pub lanes: Vec<LaneSpec>,
    /// Drives the network and the handshake.
    pub seed: u64,
    /// A cheap checksum in place of a cipher.
    pub null_cipher: bool,
    /// Both sessions' configuration.
    pub session: SessionConfig,
    /// Time from the commit of bytes to the return of their staging memory.
    pub write_delay: Duration,
}

/// One end.
#[derive(Debug)]
pub struct End {
    /// The key of its handshake.
    pub secret: StaticSecret,
    /// It leaves what concerns new secrets to the test.
    pub knows_no_rekey: bool,
    random: SimRandom,
    /// The session.
    pub session: Session,
    /// Where its incoming data goes.
    pub sink: VerifyingSink,
    /// File of each outgoing stream.
    pub files: HashMap<StreamId, u64>,
    /// Events that the harness did not consume.
    pub events: Vec<Event>,
    /// Incoming streams that are complete.
    pub received: Vec<Delivered>,
    /// Outgoing streams that are complete.
    pub sent: Vec<Delivered>,
    /// Writes under way: when they return, bytes.
    writes: std::collections::VecDeque<(Time, u64)>,
}

/// A finished stream.
#[derive(Copy, Clone, Debug)]
pub struct Delivered {
    /// The stream.
    pub stream: StreamId,
    /// Its request.
    pub request: RequestId,
    /// Its counters.
    pub stats: StreamStats,
    /// When.
    pub at: Time,
}

/// Two sessions and the network between them.
pub struct Pair {
    /// Virtual time.
    pub now: Time,
    /// The network.
    pub net: Network,
    /// The initiator.
    pub a: End,
    /// The responder.
    pub b: End,
    pattern: Pattern,
    plan: Plan,
    out: Vec<u8>,
    write_delay: Duration,
    /// Stands before A, if B is to see addresses.
    pub nat: Option<Nat>,
    /// Called with every sealed packet before it enters the network: sender, bytes.
    pub tap: Option<Box<Tap>>,
}

/// Sees a sealed packet and who sent it.
pub type Tap = dyn FnMut(Side, &[u8]);

/// Peers that share nothing.
pub(super) struct NoSecrets;

impl Directory for NoSecrets {
    fn psk(&self, _: &PublicKey) -> Option<Psk> {
        None
    }

    fn ticket(&self, _: &TicketId) -> Option<Psk> {
        None
    }
}

/// Runs a handshake in memory.
fn handshake(
    config: &PairConfig,
    (a, b): (&StaticSecret, &StaticSecret),
    rng: &mut SimRandom,
) -> (Established, Established) {
    let params = Params {
        version: 1,
        plain_ok: config.session.plain,
        mtu_max: config.session.ip_mtu_max,
        staging_credit: config.session.staging_budget,
        lanes_max: 8,
        max_ack_delay_us: 25_000,
        has_aes: true,
    };
    let now = Time::ZERO;
    let initiate = InitiatorConfig {
        local: a,
        remote: b.public(),
        credential: Credential::None,
        params: params.clone(),
        lane: LaneId(1),
    };
    let mut initiator = Initiator::new(initiate, now, rng).expect("a generated key is usable");
    let mut acceptor =
        Acceptor::new(AcceptorConfig { local: b.clone(), params, cookie_threshold: 64 }, now, rng);
    if config.null_cipher {
        acceptor = acceptor.with_null_cipher();
    }
    let mut reply = Vec::new();
    let from: SocketAddr = ([127, 0, 0, 1], 1).into();
    let incoming = Incoming { from, datagram: initiator.packet(), lane: LaneId(2) };
    let Accept::Established(responder) = acceptor.handle_hello(now, incoming, &NoSecrets, rng, &mut reply)
    else {
        unreachable!("the HELLO is our own");
    };
    let Ok(Progress::Done(initiator)) = initiator.handle(now, &reply) else {
        unreachable!("the REPLY is our own");
    };
    (*initiator, *responder)
}

/// The two ends just after the handshake, before a lane more than the first is offered.
pub(super) fn ends(config: &PairConfig, now: Time) -> (End, End) {
    let mut rng = SimRandom(SimRng::new(config.seed));
    let secrets = (StaticSecret::generate(&mut rng), StaticSecret::generate(&mut rng));
    let (a, b) = handshake(config, (&secrets.0, &secrets.1), &mut rng);
    // The initiator's sockets are connected.
    let connected = SessionConfig { peer_address: None, ..config.session };
    let mut a = End::new(Session::new(connected, a, now), secrets.0);
    let b = End::new(Session::new(config.session, b, now), secrets.1);
    for lane in 1..config.lanes.len() {
        a.session.offer_lane(LaneId(100 + lane as u32)).expect("few lanes");
    }
    (a, b)
}

impl End {
    pub(super) fn new(session: Session, secret: StaticSecret) -> Self {
        Self {
            random: SimRandom(SimRng::new(u64::from(secret.public().0[0]))),
            secret,
            knows_no_rekey: false,
            session,
            sink: VerifyingSink::default(),
            files: HashMap::new(),
            events: Vec::new(),
            received: Vec::new(),
            sent: Vec::new(),
            writes: std::collections::VecDeque::new(),
        }
    }
}

impl Pair {
    /// Two sessions just after the handshake; further lanes are offered at once.
    ///
    /// # Panics
    /// If the configuration has no lane.
    #[must_use]
    pub fn new(config: &PairConfig) -> Self {
        // Virtual time does not begin at zero: nothing may rely on that.
        let now = Time::from_nanos(1_000_000_000);
        let (a, b) = ends(config, now);
        Self {
            now,
            net: Network::new(&config.lanes, config.seed),
            a,
            b,
            pattern: Pattern::default(),
            plan: Plan::new(),
            out: vec![0; 1 << 16],
            write_delay: config.write_delay,
            nat: None,
            tap: None,
        }
    }

    /// One end.
    pub fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    /// Opens a stream from `side` with bytes [start, end) of a file that the request's number names.
    ///
    /// # Panics
    /// If all streams are in use.
    pub fn send_file(&mut self, side: Side, request: u64, (start, end): (u64, u64), weight: u16) -> StreamId {
        let sender = self.end(side);
        let open = OpenStream { request: RequestId(request), start, end: Some(end), weight };
        let id = sender.session.open_stream(open).expect("few streams");
        sender.session.extend_stream(id, end);
        sender.files.insert(id, request);
        self.end(side.other()).sink.files.insert(id, request);
        id
    }

    /// Runs until `done`, at most for `limit` of virtual time; whether it was reached.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.transmit(Side::A);
            self.transmit(Side::B);
            if done(self) {
                return true;
            }
            let Some(next) = self.next_event() else { return false };
            if next > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(next);
            self.deliver();
            self.writes(Side::A);
            self.writes(Side::B);
            let now = self.now;
            for end in [&mut self.a, &mut self.b] {
                if end.session.next_deadline(now).is_some_and(|at| at <= now) {
                    end.session.handle_timeout(now);
                }
                drain_events(end, now);
            }
        }
    }

    fn next_event(&self) -> Option<Time> {
        let ends = [&self.a, &self.b];
        let deadlines = ends.iter().filter_map(|end| end.session.next_deadline(self.now));
        let writes = ends.iter().filter_map(|end| end.writes.front().map(|&(at, _)| at));
        deadlines.chain(writes).chain(self.net.next_arrival()).min()
    }

    fn transmit(&mut self, side: Side) {
        let (end, lanes) = match side {
            Side::A => (&mut self.a, self.net.lane_count()),
            Side::B => (&mut self.b, self.net.lane_count()),
        };
        while end.session.poll_transmit(self.now, &mut self.plan) {
            let source = PatternSource { pattern: &self.pattern, files: &end.files };
            let sealed = end.session.seal(&self.plan, &source, &mut self.out).expect("a pattern never fails");
            assert_eq!(sealed, self.plan.wire_bytes());
            assert!(self.plan.lane() < lanes);
            for packet in self.out[..sealed].chunks(self.plan.segment()) {
                if let Some(tap) = &mut self.tap {
                    tap(side, packet);
                }
                let lane = self.plan.lane();
                if let Some(nat) = &mut self.nat {
                    nat.on_sent(side, lane, packet, self.plan.to());
                }
                self.net.send(self.now, side, lane, packet, 2);
            }
        }
    }

    fn deliver(&mut self) {
        let mut heard = [false; 2];
        while let Some(arrival) = self.net.poll(self.now) {
            let (end, index) = match arrival.to {
                Side::A => (&mut self.a, 0),
                Side::B => (&mut self.b, 1),
            };
            heard[index] = true;
            let bytes = &arrival.packet.bytes;
            if arrival.to == Side::A && self.nat.as_mut().is_some_and(|nat| !nat.lets_in(bytes)) {
                self.net.recycle(arrival);
                continue;
            }
            let from = self.nat.as_ref().filter(|_| arrival.to == Side::B);
            let from = from.and_then(|nat| nat.source_of(bytes));
            let how = Arrival { ecn: arrival.packet.ecn, from };
            // Refusals are counted by the session.
            let _ = end.session.handle_datagram(self.now, &how, &arrival.packet.bytes, &mut end.sink);
            self.net.recycle(arrival);
        }
        let now = self.now;
        for (end, heard) in [&mut self.a, &mut self.b].into_iter().zip(heard) {
            if heard {
                end.session.end_of_batch(now);
                drain_events(end, now);
            }
        }
    }

    /// Starts and finishes writes of committed bytes.
    fn writes(&mut self, side: Side) {
        let (now, delay) = (self.now, self.write_delay);
        let end = self.end(side);
        let bytes = core::mem::take(&mut end.sink.unwritten);
        if bytes > 0 {
            end.writes.push_back((now + delay, bytes));
        }
        while end.writes.front().is_some_and(|&(at, _)| at <= now) {
            let (_, bytes) = end.writes.pop_front().expect("just seen");
            end.session.bytes_written(bytes);
        }
    }
}

pub(super) fn drain_events(end: &mut End, now: Time) {
    while let Some(event) = end.session.poll_event() {
        match event {
            Event::StreamReceived { stream, request, stats } => {
                end.received.push(Delivered { stream, request, stats, at: now });
            }
            Event::StreamSent { stream, request, stats } => {
                end.sent.push(Delivered { stream, request, stats, at: now });
            }
            Event::LaneOffered { index, remote } => {
                let local = LaneId(200 + u32::from(index));
                end.session.accept_lane(now, index, local, remote).expect("the harness offers in order");
            }
            other if end.knows_no_rekey => end.events.push(other),
            Event::RekeyDue => end.session.rekey(&end.secret, &mut end.random),
            Event::RekeyAsked => end.session.answer_rekey(now, &end.secret, &mut end.random),
            other => end.events.push(other),
        }
    }
}
