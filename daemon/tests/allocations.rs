//! Memory is asked for by blocks and messages, never by packets.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]
#![allow(unsafe_code, reason = "a counting allocator is one")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use common::Receiver;
use udpxd::config::Sink;
use udpxd::embedded::{Event, PushFile, push};

/// Counts what it hands on to the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: each call goes to the system's allocator unchanged, whose contract is the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System` by one of the other methods.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as for `dealloc`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_transfer_allocates_by_messages_and_not_by_packets() {
    let receiver = Receiver::with("127.0.0.1:0", |config| {
        config.sink = Sink::Null;
        config.mtu_max = 1500;
    });
    let len = 700 << 20;
    let request = receiver.request(vec![PushFile::Generated { name: b"g".to_vec(), len, seed: 1 }]);
    let mut marks: Vec<(u64, u64)> = Vec::with_capacity(1000);
    push(request, &mut |event| {
        if let Event::Progress { bytes, .. } = event
            && bytes > len / 4
            && bytes < len
        {
            marks.push((bytes, ALLOCATIONS.load(Ordering::Relaxed)));
        }
    })
    .unwrap();
    let (first, last) = (marks[0], marks[marks.len() - 1]);
    let (packets, allocations) = ((last.0 - first.0) / 1424, last.1 - first.1);
    println!("{allocations} allocations in {packets} packets at both ends");
    assert!(packets >= 100_000, "{marks:?}");
    // Digests and progress: a few messages for every 32 MiB or tenth of a second, by threads that never see a packet.
    assert!(allocations < packets / 500, "{allocations} allocations in {packets} packets");
}
