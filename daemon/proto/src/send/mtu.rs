//! Datagram path MTU discovery of one lane (DPLPMTUD, RFC 8899).
//!
//! Sizes are UDP payloads. Candidates are the payloads of common IP MTUs; between the last that passed
//! and the first that failed a bisection goes on to 16 bytes. A probe is sent alone, its loss never feeds
//! the rate. Three losses of full-size packets while smaller ones pass mean a black hole: the size falls
//! back and the search begins anew.

use crate::limits::{DATAGRAM_MAX, DATAGRAM_MIN};
use crate::time::Time;

/// Common IP MTUs: IPv6's least, WireGuard's, cloud tunnels', PPPoE's, Ethernet's, jumbo frames',
/// loopback's.
const IP_MTUS: [u16; 7] = [1280, 1420, 1460, 1492, 1500, 9000, 65_535];
/// Search ends when what is left between passed and failed is less.
const PRECISION: u16 = 16;
/// Probes of one size before it is taken to be too big.
const TRIES: u8 = 3;
/// Lost full-size packets in a row that mean a black hole.
const BLACK_HOLE: u8 = 3;
/// A finished search is repeated after this, for the path may have grown.
const REPEAT: u64 = 600_000_000_000;

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
    full_size_losses: u8,
    full_size_acked: Time,
}

#[derive(Copy, Clone, Debug)]
struct Probe {
    size: u16,
    number: u64,
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
            full_size_losses: 0,
            full_size_acked: Time::ZERO,
        }
    }

    /// The largest datagram that may be sent now.
    pub(crate) fn current(&self) -> u16 {
        self.current
    }

    /// The size to probe now, if a probe is due.
    pub(crate) fn poll(&mut self, now: Time) -> Option<u16> {
        if self.probe.is_some() {
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
            self.next_search = now.after_nanos(REPEAT);
        }
        candidate
    }

    /// The biggest candidate first where the table still has one: on a LAN or loopback one probe settles
    /// it, elsewhere a lost probe costs nothing but itself.
    fn candidate(&self) -> Option<u16> {
        let table = IP_MTUS
            .iter()
            .map(|ip| ip.saturating_sub(self.headers).min(self.max))
            .filter(|&size| size > self.current && size < self.too_big);
        // One step up at a time while the small ones are in doubt; then the bisection.
        if let Some(size) = table.clone().min() {
            return Some(size);
        }
        let gap = self.too_big - 1 - self.current;
        (gap >= PRECISION).then(|| self.current + gap.div_ceil(2))
    }

    pub(crate) fn on_probe_sent(&mut self, size: u16, number: u64) {
        self.probe = Some(Probe { size, number });
    }

    /// A packet of `size` bytes was acknowledged; true if the size in use grew.
    pub(crate) fn on_acked(&mut self, now: Time, number: u64, size: u16) -> bool {
        if size >= self.current {
            self.full_size_losses = 0;
            self.full_size_acked = now;
        }
        match self.probe {
            Some(probe) if probe.number == number => {
                self.probe = None;
                self.tries = 0;
                self.full_size_losses = 0;
                let grew = probe.size > self.current;
                self.current = self.current.max(probe.size);
                grew
            }
            _ => false,
        }
    }

    /// The outstanding probe did not arrive.
    pub(crate) fn on_probe_lost(&mut self, number: u64) {
        if self.probe.is_some_and(|p| p.number == number) {
            let size = self.probe.take().map_or(self.too_big, |p| p.size);
            self.tries += 1;
            if self.tries >= TRIES {
                self.tries = 0;
                self.too_big = size;
            }
        }
    }

    /// A packet of `size` bytes was lost; true if this was taken for a black hole and the size fell.
    /// No full-size packet may have arrived for `patience` nanoseconds: random loss is no black hole.
    pub(crate) fn on_lost(&mut self, now: Time, size: u16, patience: u64) -> bool {
        if size < self.current || self.current == DATAGRAM_MIN {
            return false;
        }
        self.full_size_losses = self.full_size_losses.saturating_add(1);
        if self.full_size_losses < BLACK_HOLE || now.nanos_since(self.full_size_acked) < patience {
            return false;
        }
        self.on_too_big(size);
        true
    }

    /// The kernel refused a datagram of `size` bytes (EMSGSIZE): the path shrank.
    pub(crate) fn on_too_big(&mut self, size: u16) {
        if self.probe.is_some_and(|p| p.size == size) {
            self.probe = None;
            self.tries = 0;
        } else if size <= self.current {
            self.current = DATAGRAM_MIN;
            self.probe = None;
        }
        self.too_big = self.too_big.min(size.max(DATAGRAM_MIN + 1));
        self.full_size_losses = 0;
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

    #[test]
    fn a_black_hole_is_three_full_losses_and_no_full_size_packet_for_a_while() {
        let at = Time::from_nanos;
        let mut mtu = Mtu::new(1500, 28);
        mtu.on_probe_sent(1472, 0);
        assert!(mtu.on_acked(at(10), 0, 1472));
        assert!(!mtu.on_lost(at(20), 1472, 100));
        assert!(!mtu.on_lost(at(20), 1472, 100));
        assert!(!mtu.on_lost(at(20), 1472, 100), "too early");
        mtu.on_acked(at(50), 9, 1472);
        assert!(!mtu.on_lost(at(200), 1472, 100));
        assert!(!mtu.on_lost(at(200), 1472, 100));
        assert!(mtu.on_lost(at(200), 1472, 100));
        assert_eq!(mtu.current(), DATAGRAM_MIN);
    }
}
