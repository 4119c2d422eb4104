//! Several flows through one bottleneck: sessions, and models of the TCP that they have to live with.
//!
//! ```text
//! flow 0 ─┐                   ┌─ out 0 ─> receiver 0 ─ back 0 ─> flow 0
//! flow 1 ─┼─ bottleneck link ─┼─ out 1 ─> ...
//! ```

mod bbr;
mod cubic;
mod tcp;

pub use bbr::Bbr;
pub use cubic::Cubic;
pub use tcp::{Congestion, Tcp, TcpAck};

use core::time::Duration;

use super::net::{IPV4_UDP_BYTES, LaneSpec, Link, LinkSpec, SimRng};
use super::pair::{End, ends};
use super::pattern::{Pattern, PatternSource};
use super::{PairConfig, drain_events};
use crate::{Arrival, OpenStream, Plan, RequestId, SessionConfig, Time};

/// Bytes that tell flow and lane of a packet in the bottleneck; they are taken off its overhead.
const LABEL: usize = 2;
/// UDP payload that makes an IP packet of 1500 bytes.
const TCP_PACKET: usize = 1472;

/// What sends.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are few, and never many at once")]
pub enum Kind {
    /// A session with so many lanes, sending one endless file.
    Session(SessionConfig, usize),
    /// TCP CUBIC (RFC 9438).
    Cubic,
    /// TCP BBR, version 1.
    Bbr,
}

/// A flow, and its way beyond the bottleneck.
#[derive(Clone, Debug)]
pub struct FlowSpec {
    /// What sends.
    pub kind: Kind,
    /// From the bottleneck to the receiver.
    pub out: LinkSpec,
    /// Back to the sender.
    pub back: LinkSpec,
    /// When it begins.
    pub start: Duration,
    /// Bytes of each of a session's files.
    pub file: u64,
    /// Files that a session sends at a time.
    pub streams: u64,
}

/// A file that no simulation gets through.
pub const ENDLESS: u64 = 1 << 50;

impl FlowSpec {
    /// A flow whose round trip is `rtt` when no queue is in its way.
    #[must_use]
    pub fn new(kind: Kind, rtt: Duration) -> Self {
        let half = LinkSpec { delay: rtt / 2, ..LinkSpec::default() };
        Self { kind, out: half.clone(), back: half, start: Duration::ZERO, file: ENDLESS, streams: 1 }
    }
}

/// A flow under way.
pub struct Flow {
    /// Its ends.
    pub ends: Ends,
    out: Vec<Link>,
    back: Vec<Link>,
    start: Time,
    lanes: usize,
}

/// The two ends of a flow.
pub enum Ends {
    /// A session: sender, receiver.
    Session(Box<(End, End)>),
    /// A model of TCP.
    Tcp(Box<Tcp>),
}

/// Flows through one bottleneck, in virtual time.
pub struct Crowd {
    /// Virtual time.
    pub now: Time,
    /// The link that they share.
    pub bottleneck: Link,
    /// The flows.
    pub flows: Vec<Flow>,
    pattern: Pattern,
    plan: Plan,
    bytes: Vec<u8>,
}

impl Crowd {
    /// These flows through `bottleneck`, which counts IP packets whatever its overhead was.
    ///
    /// # Panics
    /// If a session has more lanes than one can.
    #[must_use]
    pub fn new(bottleneck: &LinkSpec, specs: &[FlowSpec], seed: u64) -> Self {
        let mut rng = SimRng::new(seed);
        let shared = LinkSpec { overhead_bytes: IPV4_UDP_BYTES - LABEL as u64, ..bottleneck.clone() };
        let bottleneck = shared.build(rng.next_u64());
        let begin = Time::from_nanos(1_000_000_000);
        let mut flow = |spec: &FlowSpec| {
            let start = begin + spec.start;
            let (ends, lanes) = match &spec.kind {
                Kind::Cubic => (Ends::Tcp(Box::new(Tcp::new(Congestion::Cubic(Cubic::default()), start))), 1),
                Kind::Bbr => (Ends::Tcp(Box::new(Tcp::new(Congestion::Bbr(Bbr::default()), start))), 1),
                &Kind::Session(session, lanes) => {
                    let mut ends = session_ends(session, lanes, start, rng.next_u64());
                    for request in 1..=spec.streams {
                        send_file(&mut ends, request, spec.file);
                    }
                    (Ends::Session(Box::new(ends)), lanes)
                }
            };
            let mut links = |spec: &LinkSpec| (0..lanes).map(|_| spec.build(rng.next_u64())).collect();
            Flow { ends, out: links(&spec.out), back: links(&spec.back), start, lanes }
        };
        let flows = specs.iter().map(&mut flow).collect();
        let (pattern, plan) = (Pattern::default(), Plan::new());
        Self { now: begin, bottleneck, flows, pattern, plan, bytes: vec![0; 1 << 16] }
    }

    /// Stream bytes of a flow that have arrived, each counted once.
    #[must_use]
    pub fn delivered(&self, flow: usize) -> u64 {
        match &self.flows[flow].ends {
            Ends::Session(ends) => ends.1.session.stats().unique_bytes_received,
            Ends::Tcp(tcp) => tcp.delivered_packets() * (TCP_PACKET as u64 - 12),
        }
    }

    /// The sender of a session; `None` for TCP.
    pub fn sender(&mut self, flow: usize) -> Option<&mut End> {
        match &mut self.flows[flow].ends {
            Ends::Session(ends) => Some(&mut ends.0),
            Ends::Tcp(_) => None,
        }
    }

    /// A session has one more file of `bytes` bytes to send; nothing happens to TCP, whose file never ends.
    ///
    /// # Panics
    /// If the session sends more files than one can already.
    pub fn send_file(&mut self, flow: usize, request: u64, bytes: u64) {
        if let Ends::Session(ends) = &mut self.flows[flow].ends {
            send_file(ends, request, bytes);
        }
    }

    /// Lets `span` of virtual time pass.
    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            for flow in 0..self.flows.len() {
                if self.flows[flow].start <= self.now {
                    self.transmit(flow);
                }
            }
            let next = self.next_event();
            if next > end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            self.deliver();
        }
    }

    fn next_event(&self) -> Time {
        let now = self.now;
        let mut next = self.bottleneck.next_arrival().unwrap_or(Time::FAR);
        for flow in &self.flows {
            if flow.start > now {
                next = next.min(flow.start);
                continue;
            }
            let ends = match &flow.ends {
                Ends::Session(ends) => [ends.0.session.next_deadline(now), ends.1.session.next_deadline(now)],
                Ends::Tcp(tcp) => [tcp.next_deadline(), None],
            };
            let links = flow.out.iter().chain(&flow.back).filter_map(Link::next_arrival);
            next = links.chain(ends.into_iter().flatten()).fold(next, Time::min);
        }
        next
    }

    fn transmit(&mut self, index: usize) {
        let Self { now, bottleneck, flows, pattern, plan, bytes } = self;
        let (now, flow) = (*now, &mut flows[index]);
        match &mut flow.ends {
            Ends::Tcp(tcp) => {
                while let Some(number) = tcp.poll_transmit(now) {
                    let mut packet = bottleneck.buffer();
                    packet.bytes.extend_from_slice(&number.to_le_bytes());
                    packet.bytes.resize(TCP_PACKET, 0);
                    packet.bytes.extend_from_slice(&[index as u8, 0]);
                    bottleneck.push(now, packet);
                }
                while let Some(ack) = tcp.poll_ack(now) {
                    flow.back[0].send(now, &ack.encode(), 0);
                }
            }
            Ends::Session(ends) => {
                let (a, b) = &mut **ends;
                while a.session.poll_transmit(now, plan) {
                    let source = PatternSource { pattern, files: &a.files };
                    let len = a.session.seal(plan, &source, bytes).expect("a pattern never fails");
                    for piece in bytes[..len].chunks(plan.segment()) {
                        let mut packet = bottleneck.buffer();
                        packet.bytes.extend_from_slice(piece);
                        packet.bytes.extend_from_slice(&[index as u8, plan.lane() as u8]);
                        packet.ecn = 2;
                        bottleneck.push(now, packet);
                    }
                }
                while b.session.poll_transmit(now, plan) {
                    let source = PatternSource { pattern, files: &b.files };
                    let len = b.session.seal(plan, &source, bytes).expect("a pattern never fails");
                    for piece in bytes[..len].chunks(plan.segment()) {
                        flow.back[plan.lane()].send(now, piece, 2);
                    }
                }
            }
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        while let Some(mut packet) = self.bottleneck.pop(now) {
            let at = packet.bytes.len() - LABEL;
            let (flow, lane) = (usize::from(packet.bytes[at]), usize::from(packet.bytes[at + 1]));
            packet.bytes.truncate(at);
            self.flows[flow].out[lane].push(now, packet);
        }
        for flow in self.flows.iter_mut().filter(|flow| flow.start <= now) {
            match &mut flow.ends {
                Ends::Tcp(tcp) => {
                    while let Some(packet) = flow.out[0].pop(now) {
                        let number = packet.bytes.first_chunk().expect("it was put there");
                        tcp.on_packet(now, u64::from_le_bytes(*number));
                        self.bottleneck.recycle(packet);
                    }
                    while let Some(packet) = flow.back[0].pop(now) {
                        tcp.on_ack(now, &TcpAck::decode(&packet.bytes));
                        flow.back[0].recycle(packet);
                    }
                    tcp.handle_timeout(now);
                }
                Ends::Session(ends) => {
                    let (a, b) = &mut **ends;
                    let mut heard = [false; 2];
                    for lane in 0..flow.lanes {
                        while let Some(packet) = flow.out[lane].pop(now) {
                            let how = Arrival { ecn: packet.ecn, from: None };
                            let _ = b.session.handle_datagram(now, &how, &packet.bytes, &mut b.sink);
                            self.bottleneck.recycle(packet);
                            heard[1] = true;
                        }
                        while let Some(packet) = flow.back[lane].pop(now) {
                            let how = Arrival { ecn: packet.ecn, from: None };
                            let _ = a.session.handle_datagram(now, &how, &packet.bytes, &mut a.sink);
                            flow.back[lane].recycle(packet);
                            heard[0] = true;
                        }
                    }
                    for (end, heard) in [a, b].into_iter().zip(heard) {
                        if heard {
                            end.session.end_of_batch(now);
                        }
                        let written = core::mem::take(&mut end.sink.unwritten);
                        end.session.bytes_written(written);
                        if end.session.next_deadline(now).is_some_and(|at| at <= now) {
                            end.session.handle_timeout(now);
                        }
                        drain_events(end, now);
                    }
                }
            }
        }
    }
}

/// Two ends with `lanes` lanes.
fn session_ends(session: SessionConfig, lanes: usize, start: Time, seed: u64) -> (End, End) {
    let config = PairConfig {
        lanes: vec![LaneSpec::default(); lanes],
        seed,
        null_cipher: true,
        session,
        write_delay: Duration::ZERO,
    };
    ends(&config, start)
}

/// One more file of `end` bytes for the receiver.
fn send_file((a, b): &mut (End, End), request: u64, end: u64) {
    let open = OpenStream { request: RequestId(request), start: 0, end: Some(end), weight: 1 };
    let stream = a.session.open_stream(open).expect("few streams");
    a.session.extend_stream(stream, end);
    a.files.insert(stream, 1);
    b.sink.files.insert(stream, 1);
}
