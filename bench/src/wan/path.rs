//! A path of the tables, and one session's transfer over it, watched.

use std::time::Duration;

use udpx_proto::SessionConfig;
use udpx_proto::testing::crowd::{Crowd, FlowSpec, Kind};
use udpx_proto::testing::net::{BurstSpec, LinkSpec, PolicerSpec, QueueSpec, ReorderSpec};

/// Payload of a bulk packet over its IP bytes, at an IP MTU of 1500 over IPv4.
pub(super) const SHARE: f64 = 1424.0 / 1500.0;
/// Bytes of the IP packets that are meant by "packet".
const PACKET: f64 = 1500.0;
/// A drop-tail queue is never shorter than this many packets, whatever its share of a BDP (as netlab's).
const QUEUE_PACKETS_MIN: f64 = 64.0;

/// A path. What is silent has the default of the tables: 100 Mbit/s, 50 ms, a queue of one BDP.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    pub(super) bps: f64,
    pub(super) rtt: Duration,
    pub(super) loss: f64,
    /// Drop-tail queue in BDP.
    pub(super) queue: f64,
    /// Mean length of loss bursts, packets.
    pub(super) burst: Option<f64>,
    pub(super) policer: Option<PolicerSpec>,
    /// Delay that drifts by up to this, order kept.
    pub(super) wander: Duration,
    /// Delay of each packet by itself.
    pub(super) jitter: Duration,
    pub(super) reorder: Option<ReorderSpec>,
    /// SACKs come together at multiples of this.
    pub(super) aggregate: Duration,
    /// Loss of SACKs.
    pub(super) ack_loss: f64,
    /// Rate of the way back, bits a second.
    pub(super) back_bps: Option<f64>,
    /// The queue is exactly so many BDP even where that is a few packets.
    pub(super) exact_queue: bool,
}

impl Default for Path {
    fn default() -> Self {
        Self {
            bps: 100e6,
            rtt: Duration::from_millis(50),
            loss: 0.0,
            queue: 1.0,
            burst: None,
            policer: None,
            wander: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: None,
            aggregate: Duration::ZERO,
            ack_loss: 0.0,
            back_bps: None,
            exact_queue: false,
        }
    }
}

impl Path {
    pub(super) fn bdp(&self) -> f64 {
        self.bps / 8.0 * self.rtt.as_secs_f64()
    }

    /// What the path lets through: the policer's rate where there is one.
    pub(super) fn capacity(&self) -> f64 {
        self.policer.map_or(self.bps, |policer| self.bps.min(policer.rate_bps as f64))
    }

    /// Stream bits a second of a perfect sender.
    pub(super) fn ideal(&self) -> f64 {
        self.capacity() * (1.0 - self.loss) * SHARE
    }

    /// Round trips in which start-up must reach 90 %.
    pub(super) fn start_up_rtts(&self) -> f64 {
        (self.bdp() / PACKET / 64.0).log2().max(0.0) + 4.0
    }

    pub(super) fn bottleneck(&self) -> LinkSpec {
        LinkSpec { queue: Some(self.queue_spec()), policer: self.policer, ..LinkSpec::default() }
    }

    pub(super) fn queue_spec(&self) -> QueueSpec {
        let least = if self.exact_queue { 2.0 } else { QUEUE_PACKETS_MIN };
        let bytes = (self.queue * self.bdp()).max(least * PACKET);
        QueueSpec { rate_bps: self.bps as u64, limit_bytes: bytes as u64, mark_bytes: None }
    }

    pub(super) fn flow(&self, kind: Kind) -> FlowSpec {
        let kind = match kind {
            // What the handshake has measured.
            Kind::Session(config, lanes) => {
                Kind::Session(SessionConfig { initial_rtt: self.rtt, ..config }, lanes)
            }
            other => other,
        };
        let mut flow = FlowSpec::new(kind, self.rtt);
        match self.burst {
            Some(burst_packets) => {
                flow.out.burst_loss = Some(BurstSpec { loss: self.loss, burst_packets });
            }
            None => flow.out.loss = self.loss,
        }
        flow.out.wander = self.wander;
        flow.out.jitter = self.jitter;
        flow.out.reorder = self.reorder;
        flow.back.aggregate = self.aggregate;
        flow.back.loss = self.ack_loss;
        flow.back.queue = self.back_bps.map(|bps| QueueSpec {
            rate_bps: bps as u64,
            limit_bytes: 64 * 1500,
            mark_bytes: None,
        });
        flow
    }

    pub(super) fn crowd(&self, kind: Kind, seed: u64) -> Crowd {
        Crowd::new(&self.bottleneck(), &[self.flow(kind)], seed)
    }
}

/// A session over IPv4 and Ethernet, staging as a fast receiver grants it.
pub(super) fn session() -> SessionConfig {
    SessionConfig { ip_mtu_max: 1500, ip_headers: 28, ..SessionConfig::default() }
}

pub(super) fn adaptive() -> Kind {
    Kind::Session(session(), 1)
}

/// What was seen of one flow at one moment, everything since its start.
#[derive(Copy, Clone, Debug, Default)]
pub(super) struct Seen {
    /// Seconds.
    pub(super) at: f64,
    /// Stream bytes that arrived, each once.
    pub(super) bytes: f64,
    /// Wire bytes and packets that left.
    pub(super) sent: f64,
    pub(super) sent_packets: f64,
    /// Stream bytes that left, copies included.
    pub(super) payload_sent: f64,
    pub(super) pacing: f64,
    pub(super) in_flight: f64,
    pub(super) window: f64,
    pub(super) srtt: f64,
    pub(super) path_loss: f64,
    /// Packets offered to the bottleneck and dropped there; time waited there by so many.
    pub(super) offered: f64,
    pub(super) dropped: f64,
    pub(super) queued: f64,
    pub(super) queued_ns: f64,
}

pub(super) fn look(crowd: &mut Crowd, flow: usize) -> Seen {
    let bytes = crowd.delivered(flow) as f64;
    let at = crowd.now.as_nanos() as f64 / 1e9 - 1.0;
    let link = crowd.bottleneck.stats();
    let mut seen = Seen {
        at,
        bytes,
        offered: link.offered as f64,
        dropped: link.lost_total() as f64,
        queued: link.queued as f64,
        queued_ns: link.queued_ns as f64,
        ..Seen::default()
    };
    if let Some(end) = crowd.sender(flow) {
        let stats = end.session.stats();
        seen.sent = stats.sent_bytes as f64;
        seen.sent_packets = stats.sent_packets as f64;
        let again = stats.retransmitted_bytes + stats.copied_bytes;
        seen.payload_sent = (stats.unique_bytes_sent + again) as f64;
        seen.pacing = stats.pacing_bps;
        seen.in_flight = stats.in_flight as f64;
        seen.window = stats.window as f64;
        seen.srtt = stats.rtt_smoothed_ns as f64 / 1e9;
        seen.path_loss = stats.path_loss;
    }
    seen
}

/// Runs for `span` and looks at the flow every `step`.
pub(super) fn watch(crowd: &mut Crowd, flow: usize, span: Duration, step: Duration) -> Vec<Seen> {
    let steps = (span.as_secs_f64() / step.as_secs_f64()).ceil() as usize;
    let mut all = vec![look(crowd, flow)];
    for _ in 0..steps {
        crowd.run_for(step);
        all.push(look(crowd, flow));
    }
    all
}

/// Stream bits a second between two looks.
pub(super) fn rate(from: &Seen, to: &Seen) -> f64 {
    (to.bytes - from.bytes) * 8.0 / (to.at - from.at).max(1e-9)
}
