//! What a driver tells and hears of a session.

use core::net::SocketAddr;
use core::time::Duration;

use crate::Message;
use crate::ids::{LaneId, RequestId, StreamId};
use crate::limits::LANES_MAX;
pub use crate::rate::{RateHint, RatePolicy};

/// How a session behaves.
#[derive(Copy, Clone, Debug)]
pub struct SessionConfig {
    /// Unencrypted BULK packets are sent, and accepted: both ends' configuration allow it.
    pub plain: bool,
    /// Largest IP packet to try, bytes.
    pub ip_mtu_max: u16,
    /// Bytes of IP and UDP headers: 28 (IPv4) or 48 (IPv6).
    pub ip_headers: u16,
    /// Rate policy.
    pub policy: RatePolicy,
    /// What an earlier session found of the path to this peer ([`super::Session::rate_hint`]).
    pub hint: Option<RateHint>,
    /// Staging bytes for this session, promised to the peer as `Params::staging_credit`.
    pub staging_budget: u64,
    /// Lanes that this end allows, as promised in `Params::lanes_max`.
    pub lanes_max: u8,
    /// The handshake's round trip, or a guess.
    pub initial_rtt: Duration,
    /// Where the peer is, on a socket that is not connected. Only such a session follows a peer that moves.
    pub peer_address: Option<SocketAddr>,
    /// When its secrets are replaced.
    pub rekey: RekeyLimits,
    /// Makes the challenges of new addresses unpredictable.
    pub path_secret: PathSecret,
    /// Number of the first packet sent on each lane; a test starts near 2^32.
    #[cfg(feature = "testing")]
    pub first_number: u64,
    /// Epoch limits other than the suite's own, for tests.
    #[cfg(feature = "testing")]
    pub epoch_limits: Option<crate::keys::EpochLimits>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            plain: false,
            ip_mtu_max: u16::MAX,
            ip_headers: 48,
            policy: RatePolicy::Adaptive,
            hint: None,
            staging_budget: 64 << 20,
            lanes_max: 4,
            initial_rtt: Duration::from_millis(100),
            peer_address: None,
            rekey: RekeyLimits::default(),
            path_secret: PathSecret([0; 32]),
            #[cfg(feature = "testing")]
            first_number: 0,
            #[cfg(feature = "testing")]
            epoch_limits: None,
        }
    }
}

/// When a session's secrets are replaced by those of a new key exchange.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct RekeyLimits {
    /// Age of secrets at which the initiator begins an exchange.
    pub age: Duration,
    /// Packets of both directions and all lanes at which it does.
    pub packets: u64,
    /// Least age of secrets at which a responder takes part: an exchange costs what a handshake costs.
    pub gap: Duration,
}

impl Default for RekeyLimits {
    fn default() -> Self {
        Self { age: Duration::from_secs(3600), packets: 1 << 32, gap: Duration::from_secs(10) }
    }
}

/// Random bytes that nobody else knows, not even the peer: a peer that could guess them could have packets sent to an
/// address which is not its own.
#[derive(Copy, Clone)]
pub struct PathSecret(pub [u8; 32]);

impl core::fmt::Debug for PathSecret {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("PathSecret(..)")
    }
}

/// What the driver knows of a datagram beside its bytes.
#[derive(Copy, Clone, Debug, Default)]
pub struct Arrival {
    /// The two ECN bits of the IP header.
    pub ecn: u8,
    /// Where it came from, on a socket that is not connected.
    pub from: Option<SocketAddr>,
}

/// A stream to send.
#[derive(Copy, Clone, Debug)]
pub struct OpenStream {
    /// The request of the transfer service that it belongs to.
    pub request: RequestId,
    /// First byte in the file.
    pub start: u64,
    /// One past the last byte; `None` for a pipe, until [`super::Session::finish_stream`]. No chunk of such a stream
    /// crosses a [`crate::BLOCK`] boundary, so its blocks need not lie side by side in memory.
    pub end: Option<u64>,
    /// Share of the session's rate relative to its other streams, at least 1.
    pub weight: u16,
}

/// What happened in a session.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The first packet of the peer opened: it holds the keys, and the session may have effects.
    Confirmed,
    /// A message of stream 0.
    Message(Message),
    /// The peer opened a stream to us.
    StreamOpened {
        /// The stream.
        stream: StreamId,
        /// Its request.
        request: RequestId,
        /// First byte in the file.
        start: u64,
        /// One past the last byte, if known.
        end: Option<u64>,
    },
    /// The end of a stream that was opened without one.
    StreamEnd {
        /// The stream.
        stream: StreamId,
        /// One past its last byte.
        end: u64,
    },
    /// Every byte of an incoming stream is here. The session forgets it.
    StreamReceived {
        /// The stream.
        stream: StreamId,
        /// Its request.
        request: RequestId,
        /// Its counters.
        stats: StreamStats,
    },
    /// The peer gave an incoming stream up. The session forgets it.
    StreamReset {
        /// The stream.
        stream: StreamId,
        /// Its request, if it was ever opened.
        request: Option<RequestId>,
        /// Why: a [`crate::Code`] number.
        code: u32,
    },
    /// The peer holds every byte of an outgoing stream. The session forgets it.
    StreamSent {
        /// The stream.
        stream: StreamId,
        /// Its request.
        request: RequestId,
        /// Its counters.
        stats: StreamStats,
    },
    /// The echo of a PING with a body of the application's.
    Pong {
        /// The body, byte for byte.
        body: Vec<u8>,
    },
    /// The peer offers another lane ([`super::Session::accept_lane`]).
    LaneOffered {
        /// Index of the lane.
        index: u8,
        /// The peer's id of it.
        remote: LaneId,
    },
    /// A lane that we opened can be used.
    LaneReady {
        /// Index of the lane.
        index: u8,
    },
    /// The session's secrets are old: [`super::Session::rekey`] begins to replace them.
    RekeyDue,
    /// The peer wants to replace them: [`super::Session::answer_rekey`] does its part.
    RekeyAsked,
    /// The peer was found at another address, and packets of a lane go there from now on.
    Moved {
        /// Index of the lane.
        lane: u8,
        /// The address.
        to: SocketAddr,
    },
    /// The peer closed the session.
    Closed {
        /// A [`crate::Code`] number.
        code: u32,
        /// Its text, not escaped.
        text: String,
    },
    /// Nothing was heard for the idle time-out; the session is dead.
    TimedOut,
    /// Trains are lost much more often than single packets: segmentation offload of this host, or a device on the way,
    /// damages them. They are to be sent without it. Told once.
    TrainsVanish,
    /// The peer broke the protocol; the session was closed.
    ProtocolError(&'static str),
}

/// Where an outgoing stream stands.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct StreamProgress {
    /// Bytes that the peer holds.
    pub acked: u64,
    /// The lowest byte of the file that may have to be read again.
    pub unacked_from: u64,
    /// The lowest byte of the file that was never sent.
    pub unsent_from: u64,
}

/// Counters of one stream, at either end.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct StreamStats {
    /// Packets that carried its data.
    pub packets: u64,
    /// Frames of its data.
    pub frames: u64,
    /// Datagram bytes of those packets.
    pub wire_bytes: u64,
    /// Stream bytes in them, copies included.
    pub payload_bytes: u64,
    /// Packets that carried bytes which had been sent before.
    pub retransmitted_packets: u64,
    /// Bytes sent again.
    pub retransmitted_bytes: u64,
    /// Packets that repeated, at the end of a stream, what was still under way.
    pub copied_packets: u64,
    /// Bytes in them.
    pub copied_bytes: u64,
    /// Received packets that brought nothing new.
    pub duplicate_packets: u64,
}

/// Counters of a lane.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct LaneStats {
    /// Packets sent, all kinds.
    pub sent_packets: u64,
    /// Authentic packets received.
    pub received_packets: u64,
    /// It carries data now: it is known to reach the peer.
    pub works: bool,
}

/// Counters of a session.
#[derive(Clone, Debug, Default)]
pub struct SessionStats {
    /// Packets sent, all kinds.
    pub sent_packets: u64,
    /// Frames sent.
    pub sent_frames: u64,
    /// Datagram bytes sent.
    pub sent_bytes: u64,
    /// Trains of bulk data sent.
    pub sent_trains: u64,
    /// Authentic packets received.
    pub received_packets: u64,
    /// Datagram bytes of those.
    pub received_bytes: u64,
    /// Packets declared lost.
    pub lost_packets: u64,
    /// Of those, packets that arrived after all.
    pub spurious_losses: u64,
    /// Packets with data sent before.
    pub retransmitted_packets: u64,
    /// Stream bytes sent again.
    pub retransmitted_bytes: u64,
    /// Packets that repeated, at the end of a stream, what was still under way.
    pub copied_packets: u64,
    /// Stream bytes in them.
    pub copied_bytes: u64,
    /// Datagrams of control frames that were sent twice.
    pub doubled_packets: u64,
    /// Unique stream bytes sent.
    pub unique_bytes_sent: u64,
    /// Unique stream bytes received.
    pub unique_bytes_received: u64,
    /// SACK frames sent.
    pub sacks_sent: u64,
    /// SACK frames received.
    pub sacks_received: u64,
    /// Times that full-size packets were found to vanish while smaller ones passed.
    pub black_holes: u64,
    /// Probe time-outs.
    pub probe_timeouts: u64,
    /// Key exchanges that replaced the session's secrets.
    pub rekeys: u64,
    /// Packets without data that were sent: the control row.
    pub control: StreamStats,
    /// Bytes in flight now.
    pub in_flight: u64,
    /// The most bytes ever in flight.
    pub in_flight_max: u64,
    /// Smoothed RTT of the first lane that works, nanoseconds; 0 before the first sample.
    pub rtt_smoothed_ns: u64,
    /// Least RTT of that lane, nanoseconds.
    pub rtt_min_ns: u64,
    /// Sum of the RTT samples, nanoseconds.
    pub rtt_sum_ns: u64,
    /// Count of the RTT samples.
    pub rtt_samples: u64,
    /// Rate in force, bits a second.
    pub pacing_bps: f64,
    /// Bytes that may be in flight.
    pub window: u64,
    /// The path's own share of loss as far as it is known.
    pub path_loss: f64,
    /// Datagram bytes in use on that lane.
    pub datagram: u16,
    /// The lanes, by index; those that are not there have zeros.
    pub lanes: [LaneStats; LANES_MAX],
    /// Dropped datagrams by reason.
    pub drops: crate::drop_reason::DropCounters,
}

/// A message could not be queued.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The queue of stream 0 is full; try again when the peer has read some of it.
    #[error("the control queue is full")]
    Full,
    /// The message passes the limit of one message.
    #[error("the message is too large")]
    TooLarge,
    /// The session has ended.
    #[error("the session has ended")]
    Closed,
}

/// No more streams can be open at once.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("all {} streams of the session are in use", crate::limits::STREAMS_MAX - 1)]
pub struct StreamLimit;

/// The payload source could not serve a chunk.
#[derive(Copy, Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the source of {0:?} cannot be read any more")]
pub struct SourceFault(pub StreamId);
