//! A lane's received packet numbers: replay protection, and when and of what to send a SACK.
//!
//! Cadence (PROTOCOL.md 5.4): at once for the first hole after a clean interval, a congestion mark or the
//! end of a stream; else after 32 packets, a late one, or min(RTT/8, 25 ms), never closer than the gap that still
//! gives at least four an RTT.

use crate::limits::PACKETS_TRACKED_MAX;
use crate::replay::{PacketNumberRing, Verdict};
use crate::time::Time;
use crate::wire::sack::SackInfo;

/// Packets that make a SACK due.
const PACKETS: u32 = 32;
/// The longest that a packet waits for its SACK.
const DELAY_MAX: u64 = 25_000_000;
/// SACKs are never closer than RTT/8, within these bounds.
const GAP: (u64, u64) = (250_000, 1_000_000);
/// The window grows when so many round trips would not fit.
const RTTS_KEPT: u64 = 2;

/// Received numbers of one lane.
#[derive(Debug)]
pub(crate) struct Numbers {
    ring: PacketNumberRing,
    /// Packets that were taken.
    received: u64,
    /// The peer no longer wants to know about numbers below this.
    floor: u64,
    /// The peer's smoothed RTT, once it told.
    peer_srtt: Option<u64>,
    newest_at: Time,
    ecn: [u32; 3],
    overruns: u32,
    pending: u32,
    first_pending: Time,
    last_sack: Time,
    immediate: bool,
    /// A packet came late, into a hole: its sender is about to take it for lost.
    late: bool,
    /// A hole was reported in the last SACK: the next ones can wait.
    holes: bool,
    /// Where the rotation through older windows stands.
    rotation: u64,
    /// Marked numbers since `rate_since`, to size the ring.
    rate: (u64, Time),
}

impl Numbers {
    pub(crate) fn new(now: Time) -> Self {
        Self {
            ring: PacketNumberRing::new(),
            received: 0,
            floor: 0,
            peer_srtt: None,
            newest_at: now,
            ecn: [0; 3],
            overruns: 0,
            pending: 0,
            first_pending: now,
            last_sack: Time::ZERO,
            immediate: false,
            late: false,
            holes: false,
            rotation: 0,
            rate: (0, now),
        }
    }

    /// Packets that were taken.
    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    pub(crate) fn check(&self, number: u64) -> Verdict {
        self.ring.check(number)
    }

    /// Whether a number is above all that were received.
    pub(crate) fn is_newest(&self, number: u64) -> bool {
        self.ring.highest().is_none_or(|highest| number > highest)
    }

    /// An authentic packet whose content was taken.
    pub(crate) fn on_received(&mut self, now: Time, number: u64, ecn: u8, eliciting: bool) {
        let expected = self.ring.highest().map_or(0, |h| h + 1);
        self.ring.mark(number);
        self.received += 1;
        if number >= expected {
            self.newest_at = now;
            if number > expected && eliciting && !self.holes && expected > 0 {
                self.holes = true;
                self.immediate = true;
            }
        } else {
            self.late |= eliciting;
        }
        match ecn & 3 {
            2 => self.ecn[0] = self.ecn[0].wrapping_add(1),
            1 => self.ecn[1] = self.ecn[1].wrapping_add(1),
            3 => {
                self.ecn[2] = self.ecn[2].wrapping_add(1);
                self.immediate = true;
            }
            _ => {}
        }
        if eliciting {
            if self.pending == 0 {
                self.first_pending = now;
            }
            self.pending += 1;
        }
    }

    /// Something waits for its SACK at the other end.
    pub(crate) fn hurry(&mut self) {
        self.immediate = true;
        self.pending = self.pending.max(1);
    }

    /// Packets of this lane were dropped for want of buffers here.
    pub(crate) fn on_overrun(&mut self, packets: u32) {
        self.overruns = self.overruns.wrapping_add(packets);
    }

    /// LOWEST: numbers below `floor` are of no interest any more.
    pub(crate) fn on_lowest(&mut self, now: Time, floor: u64, srtt_us: u32) {
        let highest = self.ring.highest().map_or(0, |h| h + 1);
        self.floor = self.floor.max(floor.min(highest));
        let srtt = u64::from(srtt_us) * 1000;
        self.peer_srtt = Some(srtt);
        self.keep_round_trips(now, srtt);
    }

    /// Grows the ring so that it always spans two round trips at the present rate.
    fn keep_round_trips(&mut self, now: Time, srtt: u64) {
        let highest = self.ring.highest().unwrap_or(0);
        let span = now.nanos_since(self.rate.1);
        if span < srtt.max(10_000_000) {
            return;
        }
        let packets = highest.saturating_sub(self.rate.0);
        let wanted = u128::from(packets) * u128::from(RTTS_KEPT * srtt) / u128::from(span.max(1));
        let wanted = wanted.min(PACKETS_TRACKED_MAX as u128) as usize;
        if wanted > self.ring.capacity() {
            self.ring.grow(wanted.next_power_of_two());
        }
        self.rate = (highest, now);
    }

    /// The peer's smoothed RTT in nanoseconds, if it told.
    pub(crate) fn peer_rtt(&self) -> Option<u64> {
        self.peer_srtt
    }

    fn gap(&self, rtt: u64) -> u64 {
        (self.peer_srtt.unwrap_or(rtt) / 8).clamp(GAP.0, GAP.1)
    }

    fn delay(&self, rtt: u64) -> u64 {
        (self.peer_srtt.unwrap_or(rtt) / 8).clamp(GAP.0, DELAY_MAX)
    }

    /// When a SACK is due; `rtt` is this end's own idea of the RTT.
    pub(crate) fn sack_at(&self, rtt: u64) -> Option<Time> {
        if self.pending == 0 {
            return None;
        }
        let soonest = self.last_sack.after_nanos(self.gap(rtt));
        if self.immediate {
            return Some(self.last_sack.after_nanos(GAP.0));
        }
        let delayed = self.first_pending.after_nanos(self.delay(rtt));
        Some(if self.pending >= PACKETS || self.late { soonest.min(delayed) } else { delayed.max(soonest) })
    }

    /// The windows of the next SACK, each of at most `words` words: the newest, and in turn an older one
    /// when not all fits.
    pub(crate) fn windows(&mut self, words: usize) -> [Option<(u64, u64)>; 2] {
        let Some(highest) = self.ring.highest() else { return [None; 2] };
        let hi = highest + 1;
        let lo = self.floor.max(self.ring.lowest()).min(highest) & !63;
        let most = words as u64 * 64;
        let newest_lo = if hi - lo <= most { lo } else { (hi - most + 63) & !63 };
        if newest_lo == lo {
            return [Some((lo, hi)), None];
        }
        if self.rotation < lo || self.rotation >= newest_lo {
            self.rotation = lo;
        }
        let from = self.rotation;
        let to = (from + most).min(newest_lo);
        self.rotation = to;
        [Some((newest_lo, hi)), Some((from, to))]
    }

    /// The words of received bits in a window.
    pub(crate) fn copy_words(&self, (lo, hi): (u64, u64), out: &mut Vec<u64>) {
        out.clear();
        out.extend(self.ring.words(lo, hi));
    }

    /// What a SACK over `window` says beside its map.
    pub(crate) fn info(&self, now: Time, (lo, hi): (u64, u64), lane: crate::LaneId) -> SackInfo {
        let delay = now.nanos_since(self.newest_at) / 1000;
        SackInfo {
            lane,
            delay_us: u32::try_from(delay).unwrap_or(u32::MAX),
            newest: self.ring.highest().unwrap_or(0),
            lo,
            hi,
            overruns: self.overruns,
            ecn: self.ecn,
        }
    }

    /// A SACK went out.
    pub(crate) fn on_sack_sent(&mut self, now: Time, holes: bool) {
        self.pending = 0;
        self.immediate = false;
        self.late = false;
        self.last_sack = now;
        self.holes = holes;
    }
}
