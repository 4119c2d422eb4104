//! One lane: a path with its own packet numbers, keys, RTT, loss detection and MTU, in both directions.

use core::time::Duration;

use crate::ids::LaneId;
use crate::keys::LaneKeys;
use crate::limits::PACKETS_TRACKED_MIN;
use crate::path::Path;
use crate::recv::numbers::Numbers;
use crate::send::loss::LossDetector;
use crate::send::mtu::Mtu;
use crate::send::rtt::Rtt;
use crate::send::sent_ring::SentRing;
use crate::time::Time;

/// A lane of a session.
#[derive(Debug)]
pub(crate) struct Lane {
    /// The id by which the peer addresses us.
    pub(crate) local: LaneId,
    /// The id by which we address the peer.
    pub(crate) remote: LaneId,
    /// Where packets go.
    pub(crate) path: Path,
    pub(crate) keys: LaneKeys,
    pub(crate) sent: SentRing,
    pub(crate) rtt: Rtt,
    pub(crate) loss: LossDetector,
    pub(crate) mtu: Mtu,
    pub(crate) numbers: Numbers,
    /// Bytes of packets that want an answer and have none.
    pub(crate) in_flight: u64,
    /// When the last such packet was sent.
    pub(crate) last_eliciting: Time,
    /// Probe time-outs since something was acknowledged.
    pub(crate) pto_count: u32,
    /// A probe is to be sent now.
    pub(crate) probe_due: bool,
    /// The peer has shown that this lane reaches it (or the handshake has).
    pub(crate) usable: bool,
    /// It was usable, and fell silent.
    pub(crate) abandoned: bool,
    /// PATH_CHALLENGEs to answer on this lane.
    pub(crate) responses: Vec<u64>,
    /// A PATH_CHALLENGE is due.
    pub(crate) challenge_due: bool,
    pub(crate) lowest: Lowest,
    /// Counters of the last SACK, to take differences.
    pub(crate) seen_overruns: u32,
    pub(crate) seen_marks: u32,
}

/// When the peer was last told the lowest number of interest.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Lowest {
    pub(crate) told: u64,
    pub(crate) at: Time,
}

impl Lane {
    pub(crate) fn new(
        (local, remote): (LaneId, LaneId),
        path: Path,
        keys: LaneKeys,
        mtu: Mtu,
        initial_rtt: Duration,
        now: Time,
    ) -> Self {
        Self {
            local,
            remote,
            path,
            keys,
            sent: SentRing::new(PACKETS_TRACKED_MIN),
            rtt: Rtt::new(initial_rtt),
            loss: LossDetector::new(),
            mtu,
            numbers: Numbers::new(now),
            in_flight: 0,
            last_eliciting: now,
            pto_count: 0,
            probe_due: false,
            usable: false,
            abandoned: false,
            responses: Vec::new(),
            challenge_due: false,
            lowest: Lowest::default(),
            seen_overruns: 0,
            seen_marks: 0,
        }
    }

    /// Bytes of a datagram's frames: what remains of the path MTU.
    pub(crate) fn frame_room(&self) -> usize {
        usize::from(self.mtu.current()) - crate::wire::header::Header::SIZE - crate::wire::TAG
    }

    /// When silence calls for a probe.
    pub(crate) fn pto_at(&self) -> Time {
        let pto = self.rtt.pto();
        let cap = pto.max(PTO_CAP);
        let wait = pto.saturating_mul(1 << self.pto_count.min(16)).min(cap);
        self.last_eliciting.after_nanos(wait)
    }

    /// The peer should hear the lowest number of interest: it moved, and some time has passed.
    pub(crate) fn lowest_due(&self, now: Time) -> bool {
        let moved = self.sent.base() > self.lowest.told;
        moved && now.nanos_since(self.lowest.at) >= (self.rtt.smoothed() / 2).max(LOWEST_GAP)
    }
}

/// Back-off of probes ends here, unless the RTT itself is longer.
const PTO_CAP: u64 = 200_000_000;
/// LOWEST frames are not closer than this.
const LOWEST_GAP: u64 = 5_000_000;
