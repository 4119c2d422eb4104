//! One lane: a path with its own packet numbers, keys, RTT, loss detection and MTU, in both directions.

use core::time::Duration;

use crate::ids::LaneId;
use crate::keys::LaneKeys;
use crate::limits::PACKETS_TRACKED_MIN;
use crate::path::Path;
use crate::recv::numbers::Numbers;
use crate::send::loss::LossDetector;
use crate::send::mtu::{Mtu, Withheld};
use crate::send::rtt::Rtt;
use crate::send::sent_ring::{Carried, SentRing};
use crate::session::LaneStats;
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
    /// Number of its first packet.
    pub(crate) first: u64,
    pub(crate) rtt: Rtt,
    pub(crate) loss: LossDetector,
    pub(crate) mtu: Mtu,
    pub(crate) withheld: Withheld,
    pub(crate) numbers: Numbers,
    /// Bytes of packets that want an answer and have none.
    pub(crate) in_flight: u64,
    /// When the last such packet was sent.
    pub(crate) last_eliciting: Time,
    /// The first packet behind the newest acknowledged one that wants an answer, and when it was sent.
    pub(crate) awaited: Option<(u64, Time)>,
    /// Its number, if the silence about it was found remarkable already.
    pub(crate) hushed: Option<u64>,
    /// Probe time-outs since something was acknowledged.
    pub(crate) pto_count: u32,
    /// A probe is to be sent now.
    pub(crate) probe_due: bool,
    /// It is the second of two, since the path loses much.
    pub(crate) probe_doubled: bool,
    /// The peer has shown that this lane reaches it (or the handshake has).
    pub(crate) usable: bool,
    /// It was usable, and fell silent.
    pub(crate) abandoned: bool,
    /// Its socket takes nothing at present.
    pub(crate) held: bool,
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
            first: 0,
            rtt: Rtt::new(initial_rtt),
            loss: LossDetector::new(),
            mtu,
            withheld: Withheld::default(),
            numbers: Numbers::new(now),
            in_flight: 0,
            last_eliciting: now,
            awaited: None,
            hushed: None,
            pto_count: 0,
            probe_due: false,
            probe_doubled: false,
            usable: false,
            abandoned: false,
            held: false,
            responses: Vec::new(),
            challenge_due: false,
            lowest: Lowest::default(),
            seen_overruns: 0,
            seen_marks: 0,
        }
    }

    pub(crate) fn stats(&self) -> LaneStats {
        LaneStats {
            sent_packets: self.sent.next() - self.first,
            received_packets: self.numbers.received(),
            works: self.usable,
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

    /// Packets that want an answer were sent at `now`, the first of them with this number.
    pub(crate) fn on_eliciting(&mut self, now: Time, first: u64) {
        self.last_eliciting = now;
        self.awaited = self.awaited.or(Some((first, now)));
    }

    /// The newest acknowledged number is `number` now, or higher.
    pub(crate) fn on_heard(&mut self, number: u64) {
        if self.awaited.is_some_and(|(awaited, _)| awaited <= number) {
            self.awaited = (number + 1..self.sent.next())
                .take(AWAITED_SCAN)
                .find_map(|n| Some((n, self.sent.get(n).filter(|p| p.carried != Carried::Silent)?)))
                .map(|(n, packet)| (n, self.sent.train(packet.train).sent));
        }
    }

    /// When the silence becomes remarkable, while data flows: the first answer that is missing is late by a quarter of a
    /// round trip, or by more than the variation explains. The probe time-out, which is timed from the *last* packet, comes much
    /// later, and not at all as long as the window allows more.
    #[inline]
    pub(crate) fn hush_at(&self) -> Option<Time> {
        let (number, sent) = self.awaited?;
        // Once: what follows is the probe time-out's.
        if self.in_flight == 0 || self.pto_count > 0 || self.hushed == Some(number) {
            return None;
        }
        if !self.usable || !self.rtt.is_sampled() {
            return None;
        }
        // Where more follows, one packet may just be lost.
        Some(self.overdue_sent(number).unwrap_or(sent).after_nanos(self.patience()))
    }

    /// When the last of the packets was sent whose silence says something of their size.
    fn overdue_sent(&self, number: u64) -> Option<Time> {
        self.sent.get(number + OVERDUE - 1).map(|packet| self.sent.train(packet.train).sent)
    }

    /// How long an answer may take before its absence is remarkable.
    fn patience(&self) -> u64 {
        self.rtt.smoothed() + (self.rtt.smoothed() / 4).max(4 * self.rtt.variation()) + HUSH_MARGIN
    }

    /// The silence is remarkable. The path MTU is in doubt if several packets are overdue.
    pub(crate) fn on_hush(&mut self) {
        let Some((number, _)) = self.awaited else { return };
        self.hushed = Some(number);
        self.probe_due = true;
        if self.overdue_sent(number).is_some() {
            self.doubt_mtu();
        }
    }

    /// Silence: the path MTU may be the cause, if full-size packets are under way.
    pub(crate) fn doubt_mtu(&mut self) {
        if self.in_flight >= OVERDUE * u64::from(self.mtu.current()) {
            self.mtu.suspect();
        }
    }

    /// The peer should hear the lowest number of interest: it moved, and some time has passed.
    pub(crate) fn lowest_due(&self, now: Time) -> bool {
        let moved = self.sent.base() > self.lowest.told;
        moved && now.nanos_since(self.lowest.at) >= (self.rtt.smoothed() / 2).max(LOWEST_GAP)
    }
}

/// Packets that are looked at for the next one that wants an answer; behind more, the probe time-out has to do.
const AWAITED_SCAN: usize = 64;
/// Packets whose silence says something of their size.
const OVERDUE: u64 = 3;
/// What the scheduling of both ends' threads may add to a round trip.
const HUSH_MARGIN: u64 = 3_000_000;
/// Back-off of probes ends here, unless the RTT itself is longer.
const PTO_CAP: u64 = 200_000_000;
/// LOWEST frames are not closer than this.
const LOWEST_GAP: u64 = 5_000_000;
