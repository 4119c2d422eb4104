//! After warm-up neither sending nor receiving allocates.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]
#![allow(unsafe_code, reason = "a counting allocator is an unsafe trait implementation")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{LOOPBACKS, pair};
use udpx_udp::{GatherBatch, RecvBatch, SendBatch, SocketOptions};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on to the system allocator unchanged; the count is a thread-local Cell that needs
// neither allocation nor destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps alloc's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps dealloc's contract, and the block came from System.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps realloc's contract, and the block came from System.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn steady_state_does_not_allocate() {
    for gso in [true, false] {
        let options = SocketOptions { gso, ..SocketOptions::default() };
        let (mut sender, mut receiver) = pair(LOOPBACKS[0], &options, &SocketOptions::default());
        let mut batch = SendBatch::new(4);
        let mut gather = GatherBatch::new();
        let mut recv = RecvBatch::new(16);
        let mut datagrams = 0;
        let mut before = 0;
        for round in 0..600 {
            if round == 20 {
                before = ALLOCATIONS.get();
                datagrams = 0;
            }
            for _ in 0..4 {
                let mut slot = batch.train(None, 1, 1472).unwrap();
                slot.buffer()[..44 * 1472].fill(round as u8);
                slot.commit(44 * 1472).unwrap();
            }
            assert_eq!(sender.send(&mut batch).datagrams, 4 * 44);
            // Slices of this round only: the batch is recycled for the next one's.
            let body = [round as u8; 1000];
            let mut filled = gather.recycle();
            let mut slot = filled.train(None, 1, 1000).unwrap();
            for _ in 0..20 {
                slot.push(&body);
            }
            slot.commit().unwrap();
            assert_eq!(sender.send_gather(&mut filled).datagrams, 20);
            gather = filled.recycle();
            while receiver.recv(&mut recv).unwrap() > 0 {
                datagrams += recv.iter().map(|received| received.datagrams().count()).sum::<usize>();
            }
        }
        assert_eq!(ALLOCATIONS.get() - before, 0, "gso {gso}");
        assert!(datagrams > 100_000, "{datagrams} datagrams");
        assert_eq!(sender.counters().sent_datagrams, receiver.counters().received_datagrams);
    }
}
