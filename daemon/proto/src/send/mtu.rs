//! Datagram path MTU discovery of one lane (DPLPMTUD, RFC 8899).
//!
//! Sizes are UDP payloads. Candidates are the payloads of common IP MTUs; between the last that passed
//! and the first that failed a bisection goes on to 16 bytes. A probe is sent alone, its loss never feeds
//! the rate.
//!
//! A path that shrinks under way swallows every packet of full size and says nothing. When answers fail to
//! come, or when only full-size packets are lost, the size is in *doubt*: a pair of padded packets of that
//! size is sent just ahead of a small one. If the small one passes and the pair does not, this is a black
//! hole: the size falls to the least that every path must carry, and the search begins anew. What was lost
//! in doubt is told to the rate control only if the size turns out to pass.

use crate::limits::{DATAGRAM_MAX, DATAGRAM_MIN};
use crate::time::Time;

/// Common IP MTUs: IPv6's least, WireGuard's, cloud tunnels', PPPoE's, Ethernet's, jumbo frames',
/// loopback's.
const IP_MTUS: [u16; 7] = [1280, 1420, 1460, 1492, 1500, 9000, 65_535];
/// Search ends when what is left between passed and failed is less.
const PRECISION: u16 = 16;
/// Probes of one size before it is taken to be too big.
const TRIES: u8 = 3;
/// Lost full-size packets in a row that raise doubt, if smaller ones pass.
const DOUBTFUL: u8 = 3;
/// Packets that settle a doubt: on a path that loses one in ten, one doubt in a hundred is taken for a black hole, which
/// costs a few round trips of smaller packets.
const CHECKS: usize = 2;
/// A finished search is repeated after so many nanoseconds, for the path may have grown: the first of them after the
/// size fell, the second otherwise. The first doubles until it is the second.
const REPEAT: (u64, u64) = (30_000_000_000, 600_000_000_000);

/// The search for, and the size of, the largest datagram that passes.
#[derive(Debug)]
pub(crate) struct Mtu {
    /// Largest size known to pass.
    current: u16,
    /// Least size known (or assumed) to fail.
    too_big: u16,
    /// Bytes of IP and UDP headers.
    headers: u16,
    max: u16,
    probe: Option<Probe>,
    tries: u8,
    next_search: Time,
    repeat: u64,
    full_size_losses: u8,
    full_size_acked: Time,
    doubt: Option<Doubt>,
}

#[derive(Copy, Clone, Debug)]
struct Probe {
    size: u16,
    number: u64,
}

/// Whether the size in use still passes.
#[derive(Copy, Clone, Debug, Default)]
struct Doubt {
    /// Numbers of the checks that were sent.
    numbers: [u64; CHECKS],
    sent: usize,
    lost: usize,
}

impl Mtu {
    /// `ip_mtu_max` caps the search; `headers` are IP's and UDP's: 28 or 48 bytes.
    pub(crate) fn new(ip_mtu_max: u16, headers: u16) -> Self {
        let max = ip_mtu_max.saturating_sub(headers).clamp(DATAGRAM_MIN, DATAGRAM_MAX);
        Self {
            current: DATAGRAM_MIN,
            too_big: max + 1,
            headers,
            max,
            probe: None,
            tries: 0,
            next_search: Time::ZERO,
            repeat: REPEAT.1,
            full_size_losses: 0,
            full_size_acked: Time::ZERO,
            doubt: None,
        }
    }

    /// The largest datagram that may be sent now.
    pub(crate) fn current(&self) -> u16 {
        self.current
    }

    /// The size to probe now, if a probe is due.
    pub(crate) fn poll(&mut self, now: Time) -> Option<u16> {
        if self.probe.is_some() || self.doubt.is_some() {
            return None;
        }
        if now >= self.next_search && self.next_search > Time::ZERO {
            self.too_big = self.max + 1;
            self.next_search = Time::ZERO;
        }
        if self.next_search > now {
            return None;
        }
        let candidate = self.candidate();
        if candidate.is_none() {
            self.next_search = now.after_nanos(self.repeat);
            self.repeat = (2 * self.repeat).min(REPEAT.1);
        }
        candidate
    }

    /// One step up the table at a time: each size that passes is used at once. Then the bisection.
    fn candidate(&self) -> Option<u16> {
        let table = IP_MTUS
            .iter()
            .map(|ip| ip.saturating_sub(self.headers).min(self.max))
            .filter(|&size| size > self.current && size < self.too_big);
        if let Some(size) = table.min() {
            return Some(size);
        }
        let gap = self.too_big - 1 - self.current;
        (gap >= PRECISION).then(|| self.current + gap.div_ceil(2))
    }

    pub(crate) fn on_probe_sent(&mut self, size: u16, number: u64) {
        self.probe = Some(Probe { size, number });
    }

    /// Something suggests that the size in use does not pass any more. Checks that are under way count no longer: they
    /// left at another time than the small packet that the caller sends now.
    pub(crate) fn suspect(&mut self) {
        if self.current > DATAGRAM_MIN {
            self.doubt = Some(Doubt::default());
        }
    }

    /// The silence lasts: it says nothing of sizes.
    pub(crate) fn trust(&mut self) {
        self.doubt = None;
    }

    /// It is in doubt whether full-size packets pass.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// The size to check now, if a check is due.
    pub(crate) fn poll_check(&self) -> Option<u16> {
        self.doubt.filter(|doubt| doubt.sent < CHECKS).map(|_| self.current)
    }

    pub(crate) fn on_check_sent(&mut self, number: u64) {
        if let Some(doubt) = &mut self.doubt
            && let Some(slot) = doubt.numbers.get_mut(doubt.sent)
        {
            *slot = number;
            doubt.sent += 1;
        }
    }

    /// A packet of `size` bytes was acknowledged; true if the size in use grew.
    pub(crate) fn on_acked(&mut self, now: Time, number: u64, size: u16) -> bool {
        if size >= self.current {
            self.full_size_losses = 0;
            self.full_size_acked = now;
            self.doubt = None;
        }
        match self.probe {
            Some(probe) if probe.number == number => {
                self.probe = None;
                self.tries = 0;
                let grew = probe.size > self.current;
                self.current = self.current.max(probe.size);
                grew
            }
            _ => false,
        }
    }

    /// A probe or a check did not arrive; true if this was the last of the checks and the size fell.
    pub(crate) fn on_probe_lost(&mut self, number: u64) -> bool {
        if self.probe.is_some_and(|p| p.number == number) {
            let size = self.probe.take().map_or(self.too_big, |p| p.size);
            self.tries += 1;
            if self.tries >= TRIES {
                self.tries = 0;
                self.too_big = size;
            }
            return false;
        }
        let Some(doubt) = &mut self.doubt else { return false };
        doubt.lost += usize::from(doubt.numbers[..doubt.sent].contains(&number));
        let black_hole = doubt.lost == CHECKS;
        if black_hole {
            self.fall(self.current);
        }
        black_hole
    }

    /// A packet of `size` bytes was lost; true if this makes the size doubtful: several in a row, and for `patience`
    /// nanoseconds none has arrived.
    pub(crate) fn on_lost(&mut self, now: Time, size: u16, patience: u64) -> bool {
        if size < self.current || self.current == DATAGRAM_MIN || self.doubt.is_some() {
            return false;
        }
        self.full_size_losses = self.full_size_losses.saturating_add(1);
        let doubtful = self.full_size_losses >= DOUBTFUL && now.nanos_since(self.full_size_acked) >= patience;
        if doubtful {
            self.full_size_losses = 0;
            self.suspect();
        }
        doubtful
    }

    /// The kernel refused a datagram of `size` bytes (EMSGSIZE): the path shrank, at its first link.
    pub(crate) fn on_too_big(&mut self, size: u16) {
        if size <= self.current {
            self.fall(size);
        } else if self.probe.is_some_and(|p| p.size == size) {
            self.probe = None;
            self.tries = 0;
            self.too_big = self.too_big.min(size);
        }
    }

    /// Datagrams of `size` bytes do not pass, though smaller ones do.
    fn fall(&mut self, size: u16) {
        self.current = DATAGRAM_MIN;
        self.too_big = size.max(DATAGRAM_MIN + 1);
        self.probe = None;
        self.tries = 0;
        self.next_search = Time::ZERO;
        self.repeat = REPEAT.0;
        self.full_size_losses = 0;
        self.doubt = None;
    }
}

/// Losses that the rate control has not been told of, for the path MTU may be their cause: runs of packet numbers, with
/// the rate control's phase in which they were sent.
#[derive(Debug, Default)]
pub(crate) struct Withheld {
    runs: [(u32, u64, u64); 16],
    used: usize,
}

impl Withheld {
    /// Keeps the loss of packet `number`, sent in `phase`; false if there is no room for another run.
    pub(crate) fn keep(&mut self, phase: u32, number: u64) -> bool {
        if let Some((last, _, end)) = self.runs[..self.used].last_mut()
            && (*last, *end) == (phase, number)
        {
            *end += 1;
            return true;
        }
        let room = self.used < self.runs.len();
        if room {
            self.runs[self.used] = (phase, number, number + 1);
            self.used += 1;
        }
        room
    }

    /// Phases and numbers of the losses; nothing is withheld afterwards.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (u32, core::ops::Range<u64>)> + use<> {
        let Self { runs, used } = core::mem::take(self);
        runs.into_iter().take(used).map(|(phase, first, end)| (phase, first..end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the search on a path that passes datagrams up to `path` bytes.
    fn search(max: u16, path: u16) -> u16 {
        let mut mtu = Mtu::new(max, 28);
        let now = Time::from_nanos(1);
        for number in 0..100 {
            let Some(size) = mtu.poll(now) else { break };
            mtu.on_probe_sent(size, number);
            if size <= path {
                mtu.on_acked(now, number, size);
            } else {
                mtu.on_probe_lost(number);
            }
        }
        mtu.current()
    }

    #[test]
    fn finds_common_and_odd_sizes() {
        assert_eq!(search(65_535, 1472), 1472);
        assert_eq!(search(65_535, 8972), 8972);
        assert_eq!(search(65_535, 65_507), DATAGRAM_MAX);
        assert_eq!(search(1500, 60_000), 1472);
        let odd = search(65_535, 3333);
        assert!((3333 - PRECISION..=3333).contains(&odd), "{odd}");
        assert_eq!(search(65_535, 1232), DATAGRAM_MIN);
    }

    fn grown() -> Mtu {
        let mut mtu = Mtu::new(1500, 28);
        mtu.on_probe_sent(1472, 0);
        assert!(mtu.on_acked(Time::from_nanos(10), 0, 1472));
        mtu
    }

    #[test]
    fn a_black_hole_is_two_lost_checks() {
        let mut mtu = grown();
        mtu.suspect();
        for number in 1..=2 {
            assert_eq!(mtu.poll_check(), Some(1472));
            mtu.on_check_sent(number);
        }
        assert_eq!(mtu.poll_check(), None);
        assert_eq!(mtu.poll(Time::from_nanos(20)), None, "no search while the size is in doubt");
        assert!(!mtu.on_probe_lost(1));
        assert!(!mtu.on_probe_lost(7), "none of ours");
        assert!(mtu.on_probe_lost(2));
        assert_eq!(mtu.current(), DATAGRAM_MIN);
        // The search goes on below.
        assert_eq!(mtu.poll(Time::from_nanos(30)), Some(1252));
        assert!(mtu.candidate().is_some_and(|size| size < 1472));
    }

    #[test]
    fn whatever_arrives_at_full_size_ends_a_doubt() {
        let at = Time::from_nanos;
        let mut mtu = grown();
        mtu.suspect();
        mtu.on_check_sent(1);
        mtu.on_check_sent(2);
        assert!(!mtu.on_probe_lost(1));
        mtu.on_acked(at(50), 2, 1472);
        assert!(!mtu.is_in_doubt() && !mtu.on_probe_lost(2));
        assert_eq!(mtu.current(), 1472);
        // Checks of an earlier doubt settle no later one.
        mtu.suspect();
        mtu.on_check_sent(3);
        mtu.on_check_sent(4);
        mtu.suspect();
        assert!(!mtu.on_probe_lost(3) && !mtu.on_probe_lost(4));
        assert_eq!(mtu.current(), 1472);
    }

    #[test]
    fn doubt_is_three_full_losses_and_no_full_size_packet_for_a_while() {
        let at = Time::from_nanos;
        let mut mtu = grown();
        assert!(!mtu.on_lost(at(200), 1400, 100), "smaller");
        assert!(!mtu.on_lost(at(20), 1472, 100));
        assert!(!mtu.on_lost(at(20), 1472, 100));
        assert!(!mtu.on_lost(at(20), 1472, 100), "too early");
        mtu.on_acked(at(50), 9, 1472);
        assert!(!mtu.on_lost(at(200), 1472, 100));
        assert!(!mtu.on_lost(at(200), 1472, 100));
        assert!(mtu.on_lost(at(200), 1472, 100));
        assert!(mtu.is_in_doubt());
        assert_eq!(mtu.current(), 1472, "not yet");
    }

    #[test]
    fn a_size_that_fell_is_tried_again_soon_and_then_rarely() {
        let mut mtu = grown();
        mtu.on_too_big(1472);
        let mut now = Time::from_nanos(1);
        let mut searches: Vec<u64> = Vec::new();
        let mut number = 10;
        while now.as_nanos() < 3_000_000_000_000 {
            // Nothing above the least passes.
            while let Some(size) = mtu.poll(now) {
                searches.push(now.as_nanos() / 1_000_000_000);
                mtu.on_probe_sent(size, number);
                mtu.on_probe_lost(number);
                number += 1;
            }
            now = now.after_nanos(1_000_000_000);
        }
        searches.dedup();
        assert_eq!(searches, [0, 30, 90, 210, 450, 930, 1530, 2130, 2730]);
    }

    #[test]
    fn what_is_withheld_is_told_by_phase_or_forgotten() {
        let mut withheld = Withheld::default();
        for (phase, number) in [(1, 5), (1, 6), (2, 7), (2, 9)] {
            assert!(withheld.keep(phase, number));
        }
        assert_eq!(withheld.take().collect::<Vec<_>>(), [(1, 5..7), (2, 7..8), (2, 9..10)]);
        assert!((0..16).all(|n| withheld.keep(1, 2 * n)) && !withheld.keep(1, 99), "no room");
        assert_eq!(withheld.take().count(), 16);
        assert_eq!(withheld.take().count(), 0);
    }
}
