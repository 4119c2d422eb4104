//! Two hosts that find each other: handshakes, restarts and hints over a simulated network, by a driver that does as
//! little as the protocol asks of one (PROTOCOL.md 7).

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use super::SimRandom;
use super::net::{LaneSpec, Network, Side, SimRng};
use super::pair::{End, NoSecrets, drain_events};
use super::pattern::{Pattern, PatternSource};
use crate::handshake::{
    Accept, Acceptor, AcceptorConfig, Credential, Established, Incoming, Initiator, InitiatorConfig,
    Progress, PublicKey, StaticSecret, UnknownSession, is_hello,
};
use crate::keys::Role;
use crate::wire::header::{Header, Kind};
use crate::{Arrival, LaneId, OpenStream, Params, Plan, RequestId, Session, SessionConfig, StreamId, Time};

/// A session that was heard of more recently is not doubted when somebody says that its peer does not know it.
pub const DOUBT: Duration = Duration::from_millis(500);

/// One host.
#[derive(Debug)]
pub struct Host {
    secret: StaticSecret,
    acceptor: Acceptor,
    rng: SimRandom,
    opening: Option<Initiator>,
    /// Sessions, the newest last; also half-open and ended ones.
    pub ends: Vec<End>,
    /// A file that is to be sent in each session that this host opens: its number and length.
    pub job: Option<(u64, u64)>,
    /// One that it sends in each session that is opened to it, as if it had been asked for.
    pub serves: Option<(u64, u64)>,
    /// Handshakes that it has finished as their initiator.
    pub opened: u64,
    out: VecDeque<Vec<u8>>,
}

/// Two hosts and the path between them.
pub struct Hosts {
    /// Virtual time.
    pub now: Time,
    /// The network.
    pub net: Network,
    /// The hosts, by [`Side`].
    pub hosts: [Host; 2],
    /// All that was ever sent, if somebody listens.
    pub heard: Option<Vec<(Side, Vec<u8>)>>,
    config: SessionConfig,
    pattern: Pattern,
    plan: Plan,
    buffer: Vec<u8>,
}

fn params(config: &SessionConfig) -> Params {
    Params {
        version: 1,
        plain_ok: false,
        mtu_max: config.ip_mtu_max,
        staging_credit: config.staging_budget,
        lanes_max: 1,
        max_ack_delay_us: 25_000,
        has_aes: true,
    }
}

impl Host {
    fn new(secret: StaticSecret, config: &SessionConfig, now: Time, mut rng: SimRandom) -> Self {
        let accept = AcceptorConfig { local: secret.clone(), params: params(config), cookie_threshold: 64 };
        let acceptor = Acceptor::new(accept, now, &mut rng).with_null_cipher();
        let (ends, out) = (Vec::new(), VecDeque::new());
        Self { secret, acceptor, rng, opening: None, ends, job: None, serves: None, opened: 0, out }
    }

    fn lane(&mut self) -> LaneId {
        LaneId(self.rng.0.next_u64() as u32)
    }

    /// Whether a packet of `end` has opened here: whether that session has effects.
    #[must_use]
    pub fn confirmed(&self) -> usize {
        self.ends.iter().filter(|end| end.session.is_confirmed()).count()
    }

    /// Unique bytes received in all sessions.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.ends.iter().map(|end| end.session.stats().unique_bytes_received).sum()
    }
}

impl Hosts {
    /// Two hosts that have not met.
    #[must_use]
    pub fn new(lane: &LaneSpec, config: SessionConfig, seed: u64) -> Self {
        let now = Time::from_nanos(1_000_000_000);
        let host = |n| {
            let mut rng = SimRandom(SimRng::stream(seed, n));
            Host::new(StaticSecret::generate(&mut rng), &config, now, rng)
        };
        Self {
            now,
            net: Network::new(core::slice::from_ref(lane), seed),
            hosts: [host(1), host(2)],
            heard: None,
            config,
            pattern: Pattern::default(),
            plan: Plan::new(),
            buffer: vec![0; 1 << 16],
        }
    }

    /// One host.
    pub fn host(&mut self, side: Side) -> &mut Host {
        &mut self.hosts[side as usize]
    }

    fn public(&self, side: Side) -> PublicKey {
        self.hosts[side as usize].secret.public()
    }

    /// A host dies and is there again at once, with its key and its job and nothing else.
    pub fn restart(&mut self, side: Side) {
        let (now, config) = (self.now, self.config);
        let host = self.host(side);
        let rng = SimRandom(SimRng::new(host.rng.0.next_u64()));
        let (job, serves) = (host.job, host.serves);
        *host = Host { job, serves, ..Host::new(host.secret.clone(), &config, now, rng) };
    }

    /// A host begins to open a session.
    ///
    /// # Panics
    /// Never: the keys are usable.
    pub fn open(&mut self, side: Side) {
        let (now, remote, config) = (self.now, self.public(side.other()), self.config);
        let host = self.host(side);
        let lane = host.lane();
        let config = InitiatorConfig {
            local: &host.secret,
            remote,
            credential: Credential::None,
            params: params(&config),
            lane,
        };
        let initiator = Initiator::new(config, now, &mut host.rng).expect("a generated key is usable");
        host.out.push_back(initiator.packet().to_vec());
        host.opening = Some(initiator);
    }

    /// Runs until `done`, at most for `limit` of virtual time; whether it was reached.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            for side in [Side::A, Side::B] {
                self.transmit(side);
            }
            if done(self) {
                return true;
            }
            let Some(next) = self.next_event().filter(|&next| next <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(next);
            while let Some(arrival) = self.net.poll(self.now) {
                self.receive(arrival.to, &arrival.packet.bytes);
                self.net.recycle(arrival);
            }
            for side in [Side::A, Side::B] {
                self.timers(side);
            }
        }
    }

    fn next_event(&self) -> Option<Time> {
        let hosts = || self.hosts.iter();
        let sessions = hosts().flat_map(|host| &host.ends);
        let sessions = sessions.filter_map(|end| end.session.next_deadline(self.now));
        let openings = hosts().filter_map(|host| host.opening.as_ref()?.next_deadline());
        sessions.chain(openings).chain(self.net.next_arrival()).min()
    }

    fn timers(&mut self, side: Side) {
        let now = self.now;
        let host = self.host(side);
        if let Some(opening) = &mut host.opening
            && opening.on_timeout(now)
        {
            host.out.push_back(opening.packet().to_vec());
        }
        for end in &mut host.ends {
            if end.session.next_deadline(now).is_some_and(|at| at <= now) {
                end.session.handle_timeout(now);
            }
            end.session.end_of_batch(now);
            let unwritten = core::mem::take(&mut end.sink.unwritten);
            end.session.bytes_written(unwritten);
            drain_events(end, now);
        }
        self.serve(side);
    }

    /// Begins to send what is wanted in sessions that were opened to a host.
    fn serve(&mut self, side: Side) {
        let host = self.host(side);
        let Some((file, len)) = host.serves else { return };
        let mut begun = None;
        for end in &mut host.ends {
            let session = &end.session;
            let ours = session.role() == Role::Responder && session.is_confirmed() && session.is_open();
            if ours && end.files.is_empty() {
                begun = Some(begin(end, file, len));
            }
        }
        if let Some(stream) = begun {
            for theirs in &mut self.host(side.other()).ends {
                theirs.sink.files.insert(stream, file);
            }
        }
    }

    fn transmit(&mut self, side: Side) {
        let now = self.now;
        let Self { hosts, plan, pattern, buffer, .. } = self;
        let host = &mut hosts[side as usize];
        for end in &mut host.ends {
            while end.session.poll_transmit(now, plan) {
                let source = PatternSource { pattern, files: &end.files };
                let len = end.session.seal(plan, &source, buffer).expect("a pattern never fails");
                host.out.extend(buffer[..len].chunks(plan.segment()).map(<[u8]>::to_vec));
            }
        }
        while let Some(packet) = self.hosts[side as usize].out.pop_front() {
            if let Some(heard) = &mut self.heard {
                heard.push((side, packet.clone()));
            }
            self.net.send(now, side, 0, &packet, 2);
        }
    }

    /// A datagram reaches a host, from the network or from whoever has kept it.
    pub fn receive(&mut self, to: Side, bytes: &[u8]) {
        let now = self.now;
        if let Ok((header, _)) = Header::parse(bytes) {
            let host = self.host(to);
            let lane = header.lane();
            let owner = host
                .ends
                .iter_mut()
                .find(|end| end.session.local_lanes().any(|local| local == lane) && !end.session.is_ended());
            match owner {
                // Refusals are counted by the session.
                Some(end) => {
                    let _ = end.session.handle_datagram(now, &Arrival::default(), bytes, &mut end.sink);
                }
                None => {
                    let hint = host.acceptor.unknown_session(now, lane, header.number());
                    host.out.extend(hint.map(|hint| hint.as_bytes().to_vec()));
                }
            }
        } else if is_hello(bytes) {
            self.on_hello(to, bytes);
        } else if let Ok(Kind::UnknownSession) = Kind::of(bytes) {
            self.on_hint(to, bytes);
        } else if let Some(opening) = &mut self.host(to).opening
            && let Ok(Progress::Done(established)) = opening.handle(now, bytes)
        {
            self.on_opened(to, *established);
        }
    }

    fn on_hello(&mut self, to: Side, bytes: &[u8]) {
        let (now, config) = (self.now, self.config);
        let host = self.host(to);
        let from: SocketAddr = ([10, 0, 0, 1], 1).into();
        let incoming = Incoming { from, datagram: bytes, lane: host.lane() };
        let mut answer = Vec::new();
        let accept = host.acceptor.handle_hello(now, incoming, &NoSecrets, &mut host.rng, &mut answer);
        if !answer.is_empty() {
            host.out.push_back(answer);
        }
        if let Accept::Established(established) = accept {
            let secret = host.secret.clone();
            host.ends.push(End::new(Session::new(config, *established, now), secret));
        }
    }

    fn on_hint(&mut self, to: Side, bytes: &[u8]) {
        let now = self.now;
        let Ok(hint) = UnknownSession::parse(bytes) else { return };
        let host = self.host(to);
        let doubted = host.ends.iter().any(|end| {
            end.session.has_sent(hint.lane(), hint.number())
                && now.saturating_since(end.session.last_heard()) >= DOUBT
        });
        if doubted && host.opening.is_none() {
            self.open(to);
        }
    }

    /// The new session takes the place of those before it, and the job begins anew in it.
    fn on_opened(&mut self, side: Side, established: Established) {
        let (now, config) = (self.now, self.config);
        let host = self.host(side);
        host.opening = None;
        host.opened += 1;
        host.ends.retain(|end| end.session.role() != Role::Initiator);
        let mut end = End::new(Session::new(config, established, now), host.secret.clone());
        if let Some((file, len)) = host.job {
            let stream = begin(&mut end, file, len);
            host.ends.push(end);
            for theirs in &mut self.host(side.other()).ends {
                theirs.sink.files.insert(stream, file);
            }
            return;
        }
        host.ends.push(end);
    }
}

/// Sends a file in a session.
fn begin(end: &mut End, file: u64, len: u64) -> StreamId {
    let open = OpenStream { request: RequestId(file), start: 0, end: Some(len), weight: 1 };
    let stream = end.session.open_stream(open).expect("the first stream");
    end.session.extend_stream(stream, len);
    end.files.insert(stream, file);
    stream
}
