//! One direction of one client's path: decides each datagram's fate, holds the survivors, and hands out in trains
//! those whose time has come.
//!
//! Survivors wait in *runs*: datagrams of one size, a shorter one last, that leave at the same time. There are two
//! queues of runs, one for those in order and one for those held back. Within each the release times never
//! decrease, so whatever is due stands at one of the two heads.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use udpx_udp::{DATAGRAM_BYTES_MAX, Received, SendBatch, packets_max};

use super::impairments::Impairments;
use super::report::Counts;
use super::rng::{Chance, Rng};

pub(super) struct Pipe {
    loss: Chance,
    corrupt: Chance,
    duplicate: Chance,
    reorder: Chance,
    link: Option<Link>,
    delay: Duration,
    jitter: Jitter,
    rng: Rng,
    in_order: Queue,
    held_back: Queue,
    /// Buffers of runs that have left, for the next ones.
    spare: Vec<Vec<u8>>,
    held_bytes: usize,
    pub(super) counts: Counts,
}

impl Pipe {
    pub(super) fn new(impairments: &Impairments, seed: u64) -> Self {
        Self {
            loss: Chance::new(impairments.loss),
            corrupt: Chance::new(impairments.corrupt),
            duplicate: Chance::new(impairments.duplicate),
            reorder: Chance::new(impairments.reorder),
            link: Link::new(impairments),
            delay: impairments.delay,
            jitter: Jitter { max: impairments.jitter, now: Duration::ZERO, until: None },
            rng: Rng::new(seed),
            in_order: Queue::default(),
            held_back: Queue::default(),
            spare: Vec::new(),
            held_bytes: 0,
            counts: Counts::default(),
        }
    }

    /// Takes in one received buffer.
    pub(super) fn accept(&mut self, now: Instant, received: &Received<'_>) {
        let overhead = ip_overhead(received.from);
        for datagram in received.datagrams() {
            self.counts.received += 1;
            self.counts.received_bytes += datagram.len() as u64;
            if self.loss.happens(&mut self.rng) {
                self.counts.lost += 1;
            } else if datagram.is_empty() || datagram.len() > DATAGRAM_BYTES_MAX {
                self.counts.empty += 1;
            } else {
                let flip =
                    self.corrupt.happens(&mut self.rng).then(|| self.rng.below(datagram.len() as u64 * 8));
                self.counts.corrupted += u64::from(flip.is_some());
                let copies = 1 + u64::from(self.duplicate.happens(&mut self.rng));
                self.counts.duplicated += copies - 1;
                for _ in 0..copies {
                    self.hold(now, datagram, received.ecn, overhead, flip);
                }
            }
        }
    }

    /// Queues one datagram until it is to leave; `flip` is the bit to damage.
    fn hold(&mut self, now: Instant, datagram: &[u8], ecn: u8, overhead: u64, flip: Option<u64>) {
        let left_link = match &mut self.link {
            Some(link) => link.pass(now, datagram.len() as u64 + overhead),
            None => Some(now),
        };
        let Some(left_link) = left_link.filter(|_| self.held_bytes + datagram.len() <= HELD_BYTES_MAX) else {
            self.counts.overflowed += 1;
            return;
        };
        let release = left_link + self.delay + self.jitter.at(now, &mut self.rng);
        let (queue, release) = if self.reorder.happens(&mut self.rng) {
            self.counts.reordered += 1;
            (&mut self.held_back, release + REORDER_BY)
        } else {
            (&mut self.in_order, release)
        };
        let copy = queue.push(release, datagram, ecn, &mut self.spare);
        if let Some(bit) = flip {
            // Below eight times a length in memory, so the byte's index fits.
            if let Some(byte) = copy.get_mut((bit / 8) as usize) {
                *byte ^= 1 << (bit % 8);
            }
        }
        self.held_bytes += datagram.len();
    }

    /// When the next run is due.
    pub(super) fn next_release(&self) -> Option<Instant> {
        match (self.in_order.head(), self.held_back.head()) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Moves runs that are due into `batch`, until it is full.
    pub(super) fn release(&mut self, now: Instant, batch: &mut SendBatch, to: Option<SocketAddr>) {
        while !batch.is_full() && self.next_release().is_some_and(|at| at <= now) {
            let queue = if self.in_order.head() == self.next_release() {
                &mut self.in_order
            } else {
                &mut self.held_back
            };
            let Some(run) = queue.runs.pop_front() else { return };
            self.held_bytes -= run.bytes.len();
            // A run is a train by construction, and the batch has room: neither call fails.
            if let Ok(mut slot) = batch.train(to, run.ecn, run.segment) {
                slot.buffer()[..run.bytes.len()].copy_from_slice(&run.bytes);
                let queued = slot.commit(run.bytes.len());
                debug_assert!(queued.is_ok(), "a run is a train");
            }
            self.spare.push(run.bytes);
        }
    }
}

/// Runs in the order in which they leave.
#[derive(Default)]
struct Queue {
    runs: VecDeque<Run>,
    last_release: Option<Instant>,
}

impl Queue {
    fn head(&self) -> Option<Instant> {
        self.runs.front().map(|run| run.release)
    }

    /// Appends a datagram, to the last run if it fits there, and returns the copy that was made of it. It leaves at
    /// `release`, or together with the one before it if that leaves later.
    fn push(&mut self, release: Instant, datagram: &[u8], ecn: u8, spare: &mut Vec<Vec<u8>>) -> &mut [u8] {
        let release = self.last_release.map_or(release, |last| last.max(release));
        self.last_release = Some(release);
        if !self.runs.back().is_some_and(|run| run.takes(datagram.len(), ecn, release)) {
            let mut bytes = spare.pop().unwrap_or_default();
            bytes.clear();
            // No longer than DATAGRAM_BYTES_MAX, which is below 2^16.
            let segment = datagram.len() as u16;
            self.runs.push_back(Run { release, segment, ecn, bytes });
        }
        let Some(run) = self.runs.back_mut() else { return &mut [] };
        let start = run.bytes.len();
        run.bytes.extend_from_slice(datagram);
        &mut run.bytes[start..]
    }
}

/// Datagrams that leave as one train.
struct Run {
    release: Instant,
    segment: u16,
    ecn: u8,
    bytes: Vec<u8>,
}

impl Run {
    fn takes(&self, len: usize, ecn: u8, release: Instant) -> bool {
        let segment = usize::from(self.segment);
        self.ecn == ecn
            && len <= segment
            && self.bytes.len().is_multiple_of(segment)
            && self.bytes.len() / segment < packets_max(self.segment)
            && release.saturating_duration_since(self.release) <= TOGETHER
    }
}

/// The bottleneck: a rate and a drop-tail queue.
struct Link {
    rate_bps: u64,
    /// The longest that a packet may wait before its first bit leaves.
    wait_max: Duration,
    /// When the last bit of all that was taken has left.
    free_at: Option<Instant>,
}

impl Link {
    fn new(impairments: &Impairments) -> Option<Self> {
        let rate_bps = impairments.rate_bps?.max(1);
        let wait_max = transmission_time(impairments.queue_limit_bytes(), rate_bps);
        Some(Self { rate_bps, wait_max, free_at: None })
    }

    /// When the last bit of a packet of `bytes` bytes has left, or `None` if the queue is full.
    fn pass(&mut self, now: Instant, bytes: u64) -> Option<Instant> {
        let starts = self.free_at.map_or(now, |free_at| free_at.max(now));
        if starts - now > self.wait_max {
            return None;
        }
        let leaves = starts + transmission_time(bytes, self.rate_bps);
        self.free_at = Some(leaves);
        Some(leaves)
    }
}

fn transmission_time(bytes: u64, rate_bps: u64) -> Duration {
    let nanos = u128::from(bytes) * 8 * 1_000_000_000 / u128::from(rate_bps);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// An extra delay that changes now and then. Were it drawn for each datagram, then on a fast path
/// keeping the order would leave nothing of it but the maximum.
struct Jitter {
    max: Duration,
    now: Duration,
    until: Option<Instant>,
}

impl Jitter {
    fn at(&mut self, now: Instant, rng: &mut Rng) -> Duration {
        if !self.max.is_zero() && self.until.is_none_or(|until| now >= until) {
            let nanos = u64::try_from(self.max.as_nanos()).unwrap_or(u64::MAX);
            self.now = Duration::from_nanos(rng.below(nanos.saturating_add(1)));
            self.until = Some(now + self.max);
        }
        self.now
    }
}

/// IP and UDP headers of a packet, which the link carries too.
fn ip_overhead(from: SocketAddr) -> u64 {
    if from.is_ipv6() { 48 } else { 28 }
}

/// How much later a datagram leaves that is to be overtaken.
const REORDER_BY: Duration = Duration::from_millis(1);

/// Datagrams that would leave within so short a time leave together, at the time of the first. It bounds what a
/// train distorts, and lets a link of 1 Gbit/s still leave in trains of ten full packets.
const TOGETHER: Duration = Duration::from_micros(120);

/// Payload bytes that one direction may hold: 10 Gbit/s for 400 ms.
const HELD_BYTES_MAX: usize = 512 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn received(bytes: &[u8], segment_size: usize) -> Received<'_> {
        let from = SocketAddr::from(([127, 0, 0, 1], 9));
        Received { from, ecn: 2, segment_size, bytes, arrival: None }
    }

    fn lengths(queue: &Queue) -> Vec<(usize, u16)> {
        queue.runs.iter().map(|run| (run.bytes.len(), run.segment)).collect()
    }

    #[test]
    fn survivors_of_one_size_share_a_run_and_a_shorter_one_closes_it() {
        let mut pipe = Pipe::new(&Impairments::default(), 1);
        let now = Instant::now();
        let bytes = [7; 3500];
        pipe.accept(now, &received(&bytes, 1000));
        pipe.accept(now, &received(&bytes[..2000], 1000));
        assert_eq!(lengths(&pipe.in_order), [(3500, 1000), (2000, 1000)]);
        let mut batch = SendBatch::new(4);
        pipe.release(now, &mut batch, None);
        assert_eq!((batch.len(), pipe.held_bytes, pipe.spare.len()), (2, 0, 2));
        assert_eq!(pipe.next_release(), None);
    }

    #[test]
    fn runs_never_outgrow_a_train() {
        let mut pipe = Pipe::new(&Impairments::default(), 1);
        let now = Instant::now();
        let bytes = [7; 60_000];
        for _ in 0..100 {
            pipe.accept(now, &received(&bytes, 1200));
            pipe.accept(now, &received(&bytes[..1], 1));
        }
        let mut batch = SendBatch::new(16);
        while pipe.next_release().is_some() {
            pipe.release(now, &mut batch, None);
            batch.clear();
        }
        assert_eq!(pipe.counts.received, 100 * 51);
    }

    #[test]
    fn the_order_is_kept_but_for_those_held_back() {
        let spec = Impairments {
            delay: Duration::from_millis(5),
            jitter: Duration::from_millis(3),
            reorder: 0.2,
            ..Impairments::default()
        };
        let mut pipe = Pipe::new(&spec, 3);
        let start = Instant::now();
        for step in 0..1000u64 {
            pipe.accept(
                start + Duration::from_micros(step * 50),
                &received(format!("{step:08}").as_bytes(), 8),
            );
        }
        for queue in [&pipe.in_order, &pipe.held_back] {
            let releases: Vec<Instant> = queue.runs.iter().map(|run| run.release).collect();
            assert!(releases.is_sorted());
            let numbers: Vec<u8> = queue.runs.iter().flat_map(|run| run.bytes.clone()).collect();
            assert!(numbers.chunks(8).is_sorted());
        }
        assert!((120..280).contains(&pipe.counts.reordered), "{}", pipe.counts.reordered);
        let first = pipe.in_order.head().unwrap() - start;
        assert!(first >= Duration::from_millis(5) && first <= Duration::from_millis(9), "{first:?}");
    }

    #[test]
    fn a_link_spaces_packets_and_drops_at_the_tail() {
        let spec =
            Impairments { rate_bps: Some(8_000_000), queue_bytes: Some(10_000), ..Impairments::default() };
        let mut pipe = Pipe::new(&spec, 1);
        let now = Instant::now();
        // 1 ms each on this link; ten wait behind the one that is leaving.
        let bytes = [0; 20 * 972];
        pipe.accept(now, &received(&bytes, 972));
        assert_eq!(pipe.counts.overflowed, 9);
        assert_eq!(pipe.in_order.last_release.unwrap() - now, Duration::from_millis(11));
    }

    #[test]
    fn each_fault_is_as_frequent_as_asked_and_flips_one_bit() {
        let spec = Impairments { loss: 0.1, corrupt: 0.05, duplicate: 0.02, ..Impairments::default() };
        let mut pipe = Pipe::new(&spec, 5);
        let bytes = vec![0; 60_000];
        let mut flipped = 0;
        for _ in 0..400 {
            pipe.accept(Instant::now(), &received(&bytes, 1000));
            let held = pipe.in_order.runs.drain(..);
            flipped += held.flat_map(|run| run.bytes).map(u8::count_ones).sum::<u32>();
        }
        let Counts { received, lost, corrupted, duplicated, .. } = pipe.counts;
        assert_eq!(received, 24_000);
        assert!((2200..2600).contains(&lost), "{lost}");
        assert!((950..1210).contains(&corrupted), "{corrupted}");
        assert!((350..520).contains(&duplicated), "{duplicated}");
        // The copy of a damaged datagram is damaged too.
        assert!(
            u64::from(flipped) >= corrupted && u64::from(flipped) < corrupted + 60,
            "{flipped} {corrupted}"
        );
    }
}
