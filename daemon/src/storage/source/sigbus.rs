//! The SIGBUS guard: a mapped file that shrinks must cost a transfer, never the process.
//!
//! Touching a mapped page that lies beyond the end of its file, or that the disk can't deliver, raises
//! SIGBUS in the touching thread. The handler looks the address up in a fixed table of registered mappings.
//! In one of ours it maps a page of zeros over the faulting page, sets the mapping's mark and returns: the
//! interrupted instruction runs again and reads zeros, and whoever used the bytes asks the mark before it
//! trusts them. Any other SIGBUS goes to the handler that was there before ours, or to the default action.
//!
//! The handler takes no lock and allocates nothing: the table is static, each slot a sequence lock whose
//! mark lives in the slot itself, so that no pointer can dangle. While a thread faults in a mapping it
//! borrows it, so the slot of that mapping can't change under the handler; a slot that does change belongs
//! to another mapping and is skipped.
#![allow(
    unsafe_code,
    reason = "signal handlers, alternate stacks and fixed mappings exist only as unsafe calls"
)]

use std::io;
use std::marker::PhantomData;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicUsize, Ordering, fence};

use libc::{c_int, c_void, siginfo_t};
use memmap2::MmapMut;

/// Mappings that can be registered at once in a process.
pub(super) const MAPPINGS_MAX: usize = 4096;

/// Bytes of a thread's alternate stack: ample for the handler plus the largest x86 signal frame (AMX: 11 KiB).
const ALTERNATE_STACK_BYTES: usize = 64 << 10;

static TABLE: [Slot; MAPPINGS_MAX] = [const { Slot::free() }; MAPPINGS_MAX];
/// Where the search for a free slot begins; only a hint.
static NEXT: AtomicUsize = AtomicUsize::new(0);
/// Set before the handler is installed, never changed after.
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(4096);
static PREVIOUS_HANDLER: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static PREVIOUS_FLAGS: AtomicI32 = AtomicI32::new(0);

/// One entry of the table. `sequence` is odd while the slot changes; `start` 0 means free.
struct Slot {
    sequence: AtomicU32,
    start: AtomicUsize,
    len: AtomicUsize,
    faulted: AtomicBool,
}

impl Slot {
    const fn free() -> Self {
        Self {
            sequence: AtomicU32::new(0),
            start: AtomicUsize::new(0),
            len: AtomicUsize::new(0),
            faulted: AtomicBool::new(false),
        }
    }

    /// Claims a free slot and fills it. `false` if it is taken or somebody else was faster.
    fn claim(&self, start: usize, len: usize) -> bool {
        let sequence = self.sequence.load(Ordering::Acquire);
        if !sequence.is_multiple_of(2) || self.start.load(Ordering::Relaxed) != 0 {
            return false;
        }
        let odd = sequence.wrapping_add(1);
        if self.sequence.compare_exchange(sequence, odd, Ordering::Acquire, Ordering::Relaxed).is_err() {
            return false;
        }
        fence(Ordering::Release);
        self.faulted.store(false, Ordering::Relaxed);
        self.start.store(start, Ordering::Relaxed);
        self.len.store(len, Ordering::Relaxed);
        self.sequence.store(odd.wrapping_add(1), Ordering::Release);
        true
    }

    /// Frees a slot; called by its only owner.
    fn release(&self) {
        let odd = self.sequence.load(Ordering::Relaxed).wrapping_add(1);
        self.sequence.store(odd, Ordering::Relaxed);
        fence(Ordering::Release);
        self.start.store(0, Ordering::Relaxed);
        self.len.store(0, Ordering::Relaxed);
        self.sequence.store(odd.wrapping_add(1), Ordering::Release);
    }

    /// Whether the slot is stable and its mapping holds `address`.
    fn holds(&self, address: usize) -> bool {
        let before = self.sequence.load(Ordering::Acquire);
        let start = self.start.load(Ordering::Relaxed);
        let len = self.len.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let stable = before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before;
        stable && start != 0 && address.wrapping_sub(start) < len
    }
}

/// A mapping known to the handler until this is dropped, which must happen before the memory is unmapped.
#[derive(Debug)]
pub(super) struct Registration {
    slot: usize,
}

impl Registration {
    /// Tells the handler, which is installed on the first call, about `memory`, a whole page-aligned file
    /// mapping. Errors: `EMFILE` when [`MAPPINGS_MAX`] mappings are registered, or what `sigaction` said.
    pub(super) fn new(memory: &[u8]) -> io::Result<Self> {
        install()?;
        let begin = NEXT.fetch_add(1, Ordering::Relaxed);
        (0..MAPPINGS_MAX)
            .map(|step| begin.wrapping_add(step) % MAPPINGS_MAX)
            .find(|&slot| TABLE[slot].claim(memory.as_ptr() as usize, memory.len()))
            .map(|slot| Self { slot })
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EMFILE))
    }

    /// Whether a page of the mapping could not be read and was replaced by zeros.
    pub(super) fn is_faulted(&self) -> bool {
        TABLE[self.slot].faulted.load(Ordering::Acquire)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        TABLE[self.slot].release();
    }
}

/// Whether a registered mapping holds `address`.
#[cfg(test)]
pub(super) fn is_registered(address: usize) -> bool {
    TABLE.iter().any(|slot| slot.holds(address))
}

/// Keeps an alternate signal stack on the thread that called [`guard_thread`].
#[derive(Debug)]
pub struct ThreadGuard {
    /// Our stack and what was there before; `None` if the thread already had a large enough one.
    installed: Option<(MmapMut, libc::stack_t)>,
    /// An alternate stack belongs to the thread that set it.
    not_send: PhantomData<*const ()>,
}

/// Gives the calling thread an alternate signal stack, so that the SIGBUS handler runs even where the
/// thread's own stack has no room for it. Each thread that touches mapped sources holds one of these.
pub fn guard_thread() -> io::Result<ThreadGuard> {
    let mut previous = libc::stack_t { ss_sp: ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: sigaltstack(2): with a null new stack it only stores the current one into `previous`.
    if unsafe { libc::sigaltstack(ptr::null(), &raw mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if previous.ss_flags & libc::SS_DISABLE == 0 && previous.ss_size >= ALTERNATE_STACK_BYTES {
        return Ok(ThreadGuard { installed: None, not_send: PhantomData });
    }
    let mut memory = MmapMut::map_anon(ALTERNATE_STACK_BYTES)?;
    let stack = libc::stack_t { ss_sp: memory.as_mut_ptr().cast(), ss_flags: 0, ss_size: memory.len() };
    // SAFETY: `stack` describes `ss_size` writable bytes that outlive their use: the guard owns them, can't
    // leave this thread, and puts the previous stack back before it frees them.
    if unsafe { libc::sigaltstack(&raw const stack, ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(ThreadGuard { installed: Some((memory, previous)), not_send: PhantomData })
}

impl Drop for ThreadGuard {
    fn drop(&mut self) {
        if let Some((memory, previous)) = self.installed.take() {
            // SAFETY: `previous` was the thread's stack, valid since before the guard and, by sigaltstack(2),
            // untouched by us; we are not running on our own stack, since handlers drop no guard.
            if unsafe { libc::sigaltstack(&raw const previous, ptr::null_mut()) } != 0 {
                // Still in use by the kernel: leaking 64 KiB is better than handing out a freed stack.
                std::mem::forget(memory);
            }
        }
    }
}

/// Installs the handler once for the process.
fn install() -> io::Result<()> {
    static INSTALLED: OnceLock<Result<(), i32>> = OnceLock::new();
    INSTALLED
        .get_or_init(|| try_install().map_err(|error| error.raw_os_error().unwrap_or(libc::EINVAL)))
        .map_err(io::Error::from_raw_os_error)
}

fn try_install() -> io::Result<()> {
    // SAFETY: sysconf(3) reads a constant of the system.
    let page_bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    if let Ok(page_bytes @ 1..) = usize::try_from(page_bytes) {
        PAGE_BYTES.store(page_bytes, Ordering::Relaxed);
    }
    // SAFETY: sigaction is plain old data, for which all zeros is a value (no handler, no flags, no mask).
    let mut previous: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: sigaction(2): with a null new action it only stores the current one into `previous`.
    if unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // Stored before ours is installed: the handler may run at once.
    PREVIOUS_HANDLER.store(previous.sa_sigaction, Ordering::Relaxed);
    PREVIOUS_FLAGS.store(previous.sa_flags, Ordering::Relaxed);
    fence(Ordering::SeqCst);

    // SAFETY: as above, all zeros is a value.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = on_sigbus;
    action.sa_sigaction = handler as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: `action` is complete, its handler has the signature that SA_SIGINFO asks for and calls only
    // what may be called from a signal handler.
    match unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The handler. Only atomics and bare system calls from here on; errno is the interrupted code's.
extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: sigaction(2): with SA_SIGINFO the kernel passes a valid siginfo_t, whose si_addr is the
    // faulting address for the codes that it raises itself (> 0).
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let raised_by_access = code > 0 && code != libc::BUS_MCEERR_AO;
    if raised_by_access
        && let Some(slot) = TABLE.iter().find(|slot| slot.holds(address))
        && replace_page(address)
    {
        slot.faulted.store(true, Ordering::Release);
        return;
    }
    pass_on(signal, info, context, raised_by_access);
}

/// Maps zeros over the page that holds `address`, an address inside a registered mapping.
fn replace_page(address: usize) -> bool {
    let page_bytes = PAGE_BYTES.load(Ordering::Relaxed);
    // SAFETY: errno is thread-local; this thread's is saved and put back around the call.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        // MAP_FIXED replaces exactly the page (mmap(2)), which lies in a read-only file mapping that the
        // interrupted thread borrows: nobody unmaps it meanwhile, nobody wrote to it, and a reader may find
        // any bytes in a file that others can write. glibc's and musl's mmap are the bare system call.
        let page = libc::mmap(
            (address - address % page_bytes) as *mut c_void,
            page_bytes,
            libc::PROT_READ,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        );
        *errno = saved;
        page != libc::MAP_FAILED
    }
}

/// Hands a signal that isn't ours to the action that was in force before the guard.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, raised_by_access: bool) {
    let previous = PREVIOUS_HANDLER.load(Ordering::Relaxed);
    if previous == libc::SIG_IGN && !raised_by_access {
        return;
    }
    // The kernel kills for a faulting access even where SIGBUS is ignored, and so does the default action.
    if previous == libc::SIG_DFL || previous == libc::SIG_IGN {
        // SAFETY: both calls are async-signal-safe (signal-safety(7)). After the return a faulting
        // instruction runs again and meets the default action; a signal that somebody sent is sent again
        // and stays pending until this handler has returned.
        unsafe {
            libc::signal(signal, libc::SIG_DFL);
            if !raised_by_access {
                libc::raise(signal);
            }
        }
        return;
    }
    // SAFETY: the value came from sigaction(2) as the action of this signal: a function whose signature its
    // SA_SIGINFO flag tells; it gets what the kernel gave us.
    unsafe {
        if PREVIOUS_FLAGS.load(Ordering::Relaxed) & libc::SA_SIGINFO != 0 {
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) = std::mem::transmute(previous);
            handler(signal, info, context);
        } else {
            let handler: extern "C" fn(c_int) = std::mem::transmute(previous);
            handler(signal);
        }
    }
}
