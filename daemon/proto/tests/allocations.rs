//! Nothing on the path of a packet allocates: after a warm-up, 100,000 packets pass through a sender and
//! a receiver without one call of the allocator on either side, with losses, reports and credit going on.
#![allow(unsafe_code, reason = "a global allocator is an unsafe trait")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use udpx_proto::testing::net::{LaneSpec, SimRng};
use udpx_proto::testing::{Memory, Pair, PairConfig};
use udpx_proto::{Arrival, OpenStream, Plan, RatePolicy, RequestId, Session, SessionConfig, Time};

/// The system's allocator, which counts while it is armed.
struct Counting;

static ARMED: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);
static FIRST: Mutex<Option<Backtrace>> = Mutex::new(None);

fn note() {
    if ARMED.swap(false, Ordering::Relaxed) {
        if COUNT.fetch_add(1, Ordering::Relaxed) == 0 {
            *FIRST.lock().expect("one thread") = Some(Backtrace::force_capture());
        }
        ARMED.store(true, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note();
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System` by the methods above and below.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note();
        // SAFETY: the pointer came from `System`, and the caller keeps the contract of `realloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Calls `f` and returns how often it allocated.
fn counted(f: impl FnOnce()) -> u64 {
    let before = COUNT.load(Ordering::Relaxed);
    ARMED.store(true, Ordering::Relaxed);
    f();
    ARMED.store(false, Ordering::Relaxed);
    COUNT.load(Ordering::Relaxed) - before
}

/// One end, what it has on the wire, and how often it allocated.
struct End {
    session: Session,
    memory: Memory,
    plan: Plan,
    train: Vec<u8>,
    /// Packets on their way from this end: when they arrive, bytes.
    wire: VecDeque<(Time, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
    sent: u64,
    allocations: u64,
}

impl End {
    fn new(session: Session) -> Self {
        Self {
            session,
            memory: Memory::of(7),
            plan: Plan::new(),
            train: vec![0; 1 << 16],
            wire: VecDeque::new(),
            spare: Vec::new(),
            sent: 0,
            allocations: 0,
        }
    }

    /// Sends all that may leave; some of it is lost.
    fn transmit(&mut self, now: Time, (loss, rng): (f64, &mut SimRng)) {
        loop {
            let (mut more, mut len) = (false, 0);
            let Self { session, memory, plan, train, .. } = &mut *self;
            self.allocations += counted(|| {
                more = session.poll_transmit(now, plan);
                len = if more { session.seal(plan, memory, train).expect("it is in memory") } else { 0 };
            });
            if !more {
                return;
            }
            for packet in self.train[..len].chunks(self.plan.segment()) {
                self.sent += 1;
                if !rng.chance(loss) {
                    let mut buffer = self.spare.pop().unwrap_or_default();
                    buffer.clear();
                    buffer.extend_from_slice(packet);
                    self.wire.push_back((now + ONE_WAY, buffer));
                }
            }
        }
    }

    /// Takes what `peer` sent and what is due.
    fn receive(&mut self, now: Time, peer: &mut Self) {
        let Self { session, memory, allocations, .. } = self;
        let mut heard = false;
        while peer.wire.front().is_some_and(|&(at, _)| at <= now) {
            let (_, packet) = peer.wire.pop_front().expect("just seen");
            *allocations += counted(|| {
                session
                    .handle_datagram(now, &Arrival { ecn: 2, from: None }, &packet, memory)
                    .expect("a good packet");
            });
            peer.spare.push(packet);
            heard = true;
        }
        let written = std::mem::take(&mut memory.unwritten);
        *allocations += counted(|| {
            if heard {
                session.end_of_batch(now);
            }
            session.bytes_written(written);
            if session.next_deadline(now).is_some_and(|at| at <= now) {
                session.handle_timeout(now);
            }
            while session.poll_event().is_some() {}
        });
    }
}

const ONE_WAY: Duration = Duration::from_millis(2);
const STEP: Duration = Duration::from_micros(100);
const WARM_UP: u64 = 60_000;
const PACKETS: u64 = 100_000;

/// A sender and a receiver, a transfer between them under way.
fn ends(plain: bool) -> (End, End, Time) {
    let session = SessionConfig {
        plain,
        ip_mtu_max: 1500,
        ip_headers: 28,
        policy: RatePolicy::Fixed { bps: 2e9 },
        ..SessionConfig::default()
    };
    let lanes = vec![LaneSpec::default()];
    let config = PairConfig { lanes, seed: 1, null_cipher: false, session, write_delay: Duration::ZERO };
    let Pair { a, b, now, .. } = Pair::new(&config);
    let (mut a, b) = (End::new(a.session), End::new(b.session));
    for (file, weight) in [(1, 1), (2, 3)] {
        let open = OpenStream { request: RequestId(file), start: 0, end: Some(1 << 40), weight };
        let stream = a.session.open_stream(open).expect("few streams");
        a.session.extend_stream(stream, 1 << 40);
    }
    (a, b, now)
}

#[test]
fn packets_allocate_nothing() {
    for plain in [false, true] {
        let (mut a, mut b, mut now) = ends(plain);
        let mut rng = SimRng::new(2);
        let mut warm = None;
        while a.sent < WARM_UP + PACKETS {
            a.transmit(now, (0.01, &mut rng));
            b.receive(now, &mut a);
            b.transmit(now, (0.01, &mut rng));
            a.receive(now, &mut b);
            now = now + STEP;
            if a.sent >= WARM_UP && warm.is_none() {
                warm = Some((a.allocations, b.allocations));
                COUNT.store(0, Ordering::Relaxed);
                FIRST.lock().expect("one thread").take();
            }
        }
        let warm = warm.expect("it was reached");
        assert!(warm.0 > 0 && warm.1 > 0, "the allocator counts");
        let (sender, receiver) = (a.allocations - warm.0, b.allocations - warm.1);
        let first = FIRST.lock().expect("one thread").take();
        assert_eq!((sender, receiver), (0, 0), "plain {plain}: sender, receiver; the first:\n{first:#?}");
        let stats = a.session.stats();
        assert!(stats.retransmitted_packets > 1000 && stats.sacks_received > 1000, "{stats:?}");
    }
}
