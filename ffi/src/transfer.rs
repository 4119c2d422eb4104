//! Something that is sent or fetched: its state, and the threads behind it.
//!
//! ```text
//! worker (an engine's errand, or the following of a daemon's job) ──► State ──► wait, poll
//!                                                                       │  └──► event descriptor
//!                                                                       └─────► teller: the callback, at its own pace
//! ```
//!
//! The callback has a thread of its own, so that one that takes ten seconds holds up nothing but itself; what happens
//! meanwhile is told as the last state.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Instant;

use nix::sys::eventfd::{EfdFlags, EventFd};
use serde_json::Value;
use udpxd::Code;
use udpxd::report::JobError;

use crate::boundary::{self, Sized, call, wrong};
use crate::data::Seat;
use crate::follow::Job;
use crate::handles::{self, Object};
use crate::memory::Memory;
use crate::options::{Listener, UDPX_STATE_DONE, UDPX_STATE_FAILED, UDPX_STATE_STARTING, udpx_progress};
use crate::status::udpx_status;

/// Something that is sent or fetched. Any thread may use it, and several at once.
pub struct udpx_transfer {
    _private: [u8; 0],
}

/// What a transfer that is over has done. Set `size` to `sizeof(udpx_summary)` before the call.
#[repr(C)]
#[derive(Copy, Clone, Debug, Default)]
pub struct udpx_summary {
    /// Bytes of the structure.
    pub size: usize,
    /// Files that are durable at the receiver.
    pub files: u64,
    /// Bytes of those files.
    pub bytes: u64,
    /// From the first packet until the last file was durable, microseconds.
    pub duration_us: u64,
    /// Packets that were sent (a pull: received).
    pub packets: u64,
    /// Bytes of their datagrams, UDP and IP headers left out.
    pub wire_bytes: u64,
    /// Packets with bytes that had been sent before.
    pub retransmitted: u64,
    /// Packets that the sender took for lost.
    pub lost: u64,
    /// Least round trip, microseconds.
    pub rtt_min_us: u64,
    /// Mean round trip, microseconds.
    pub rtt_mean_us: u64,
}

// SAFETY: `repr(C)`, begins with its size; integers, of which any bytes are a value.
unsafe impl Sized for udpx_summary {
    const NAME: &str = "udpx_summary";
}

/// The object behind a handle.
pub(crate) struct Transfer {
    state: Mutex<State>,
    changed: Condvar,
    /// Readable while there is news.
    bell: EventFd,
    /// The worker is to stop.
    stop: Arc<AtomicBool>,
    /// The daemon's job, if it is one.
    pub(crate) job: Option<Job>,
    extra: Extra,
    threads: Mutex<Threads>,
    joining: Mutex<()>,
}

/// What some transfers have beside.
#[derive(Default)]
pub(crate) struct Extra {
    /// What it fills.
    memory: Option<Memory>,
    /// Marks the calls of its data callback.
    pub(crate) seat: Seat,
}

impl Extra {
    pub(crate) fn of_memory(memory: Memory) -> Self {
        Self { memory: Some(memory), ..Self::default() }
    }
}

#[derive(Default)]
struct Threads {
    running: Vec<JoinHandle<()>>,
    /// Of those that are being joined too.
    ids: Vec<ThreadId>,
}

#[derive(Default)]
struct State {
    progress: udpx_progress,
    /// Grows with each change.
    version: u64,
    ended: Option<End>,
}

/// How a transfer ended.
#[derive(Clone)]
pub(crate) struct End {
    pub(crate) result: Result<(), JobError>,
    pub(crate) summary: udpx_summary,
    /// The report of the same, as JSON.
    pub(crate) report: Value,
}

impl Object for Transfer {
    type Opaque = udpx_transfer;
    const NAME: &str = "udpx_transfer";
}

impl Transfer {
    pub(crate) fn new(job: Option<Job>, extra: Extra) -> Result<Arc<Self>, JobError> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let bell = EventFd::from_flags(flags).map_err(|errno| {
            JobError::with_remedy(Code::Other, format!("no event descriptor could be made: {errno}"))
        })?;
        Ok(Arc::new(Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            bell,
            stop: Arc::default(),
            job,
            extra,
            threads: Mutex::default(),
            joining: Mutex::default(),
        }))
    }

    /// Begins: `work` on a thread of its own, and the callback on another.
    pub(crate) fn start(
        self: &Arc<Self>,
        listener: Option<Listener>,
        work: impl FnOnce(&Self) -> End + Send + 'static,
    ) -> Result<(), JobError> {
        if let Some(listener) = listener {
            let transfer = self.clone();
            self.spawn("udpx-teller", move || transfer.tell(listener))?;
        }
        let transfer = self.clone();
        let worked = self.spawn("udpx-transfer", move || {
            let end = boundary::guarded(|| Ok(work(&transfer)));
            transfer.end(end.unwrap_or_else(End::failed));
        });
        worked.inspect_err(|error| {
            // The teller is not left waiting.
            self.end(End::failed(error.clone()));
            self.join();
        })
    }

    fn spawn(&self, name: &str, body: impl FnOnce() + Send + 'static) -> Result<(), JobError> {
        let thread = std::thread::Builder::new().name(name.into()).spawn(body).map_err(|error| {
            JobError::with_remedy(Code::TryAgain, format!("no thread could be started: {error}"))
        })?;
        let mut threads = self.threads();
        threads.ids.push(thread.thread().id());
        threads.running.push(thread);
        Ok(())
    }

    fn threads(&self) -> MutexGuard<'_, Threads> {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic leaves whole values.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody wants it to stop.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// What the worker looks at.
    pub(crate) fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// It has come on.
    pub(crate) fn update(&self, change: impl FnOnce(&mut udpx_progress)) {
        let mut state = self.state();
        change(&mut state.progress);
        self.news(state);
    }

    fn news(&self, mut state: MutexGuard<'_, State>) {
        state.version += 1;
        drop(state);
        self.changed.notify_all();
        // A bell that is full has rung.
        let _ = self.bell.write(1);
    }

    fn end(&self, end: End) {
        let mut state = self.state();
        state.progress.state = if end.result.is_ok() { UDPX_STATE_DONE } else { UDPX_STATE_FAILED };
        state.ended = Some(end);
        self.news(state);
    }

    fn tell(&self, listener: Listener) {
        let mut told = 0;
        loop {
            let mut state = self.state();
            while state.version == told {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            told = state.version;
            let (progress, is_over) = (state.progress, state.ended.is_some());
            drop(state);
            listener.tell(&progress);
            if is_over {
                return;
            }
        }
    }

    /// Waits until it is over or the deadline has passed; what it is like then.
    fn wait(&self, deadline: Option<Instant>) -> udpx_progress {
        let mut state = self.state();
        while state.ended.is_none() {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state = match left {
                Some(left) if left.is_zero() => break,
                Some(left) => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
        // Under the lock: no news comes between.
        let _ = self.bell.read();
        state.progress
    }

    /// How it ended.
    fn ended(&self) -> Result<End, JobError> {
        let not_over = || wrong("the transfer is not over", "Wait for it first: udpx_transfer_wait.");
        self.state().ended.clone().ok_or_else(not_over)
    }

    /// Whether the calling thread is one of its own: it calls from inside the callback.
    pub(crate) fn is_own_thread(&self) -> bool {
        self.extra.seat.is_here() || self.threads().ids.contains(&std::thread::current().id())
    }

    /// Waits for its threads.
    pub(crate) fn join(&self) {
        // Whoever comes second waits too.
        let _joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let threads = std::mem::take(&mut self.threads().running);
        for thread in threads {
            // A panic was told as the transfer's result.
            let _ = thread.join();
        }
    }
}

impl End {
    pub(crate) fn failed(error: JobError) -> Self {
        Self { report: error_json(&error), result: Err(error), summary: udpx_summary::default() }
    }
}

/// `{"error":{...}}`
pub(crate) fn error_json(error: &JobError) -> Value {
    serde_json::json!({ "error": udpxd::conductor::reports::error_of(error) })
}

/// What may not be done from inside a transfer's own callback.
pub(crate) fn own_callback(what: &str) -> JobError {
    wrong(
        format!("{what} from inside the transfer's own callback would wait for itself"),
        "Do it on another thread, or after the callback has returned.",
    )
}

/// Waits until the transfer is over, `timeout_ms` milliseconds at most (`UDPX_FOREVER`; 0 does not wait), and tells how far
/// it is. `progress` may be NULL. That it is not over in time is no error: `progress->state` says so, and so does
/// `udpx_transfer_result`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: the handle or the size is wrong, or it is called from inside the transfer's own callback.
///
/// # Safety
/// `progress` is NULL or points to a structure of `progress->size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_transfer_wait(
    transfer: *const udpx_transfer,
    timeout_ms: u32,
    progress: *mut udpx_progress,
) -> udpx_status {
    call(|| {
        let transfer = handles::get::<Transfer>(transfer)?;
        if !progress.is_null() {
            // SAFETY: the caller's promise, here and below.
            unsafe { boundary::check_sized(progress) }?;
        }
        if timeout_ms > 0 && transfer.is_own_thread() {
            return Err(own_callback("waiting"));
        }
        let now = transfer.wait(boundary::deadline(timeout_ms));
        match progress.is_null() {
            true => Ok(()),
            // SAFETY: as above.
            false => unsafe { boundary::store_sized(progress, now) },
        }
    })
}

/// Tells how far the transfer is, without waiting, and resets the event descriptor.
///
/// # Errors
/// `UDPX_STATUS_USAGE`.
///
/// # Safety
/// As `udpx_transfer_wait`; `progress` may not be NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_transfer_poll(
    transfer: *const udpx_transfer,
    progress: *mut udpx_progress,
) -> udpx_status {
    call(|| {
        let transfer = handles::get::<Transfer>(transfer)?;
        // SAFETY: the caller's promise, here and below.
        unsafe { boundary::check_sized(progress) }?;
        let now = transfer.wait(Some(Instant::now()));
        // SAFETY: as above.
        unsafe { boundary::store_sized(progress, now) }
    })
}

/// The transfer's event descriptor, for poll(2) and epoll(7): readable when there is something that
/// `udpx_transfer_poll` has not told yet. Do not read, write or close it; it is closed by `udpx_transfer_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`.
///
/// # Safety
/// `fd` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_transfer_fd(transfer: *const udpx_transfer, fd: *mut c_int) -> udpx_status {
    call(|| {
        let transfer = handles::get::<Transfer>(transfer)?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store(fd, "fd", transfer.bell.as_raw_fd()) }
    })
}

/// What a transfer that is over came to: `UDPX_STATUS_OK`, or why it failed, which `udpx_last_error` then tells in words.
///
/// # Errors
/// That of the transfer; `UDPX_STATUS_USAGE` also if it is not over.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_transfer_result(transfer: *const udpx_transfer) -> udpx_status {
    call(|| handles::get::<Transfer>(transfer)?.ended()?.result)
}

/// The numbers of a transfer that is over. One that failed has those of what was done all the same.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: it is not over, or an argument is wrong.
///
/// # Safety
/// `summary` is NULL or points to a structure of `summary->size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_transfer_summary(
    transfer: *const udpx_transfer,
    summary: *mut udpx_summary,
) -> udpx_status {
    call(|| {
        let end = handles::get::<Transfer>(transfer)?.ended()?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store_sized(summary, end.summary) }
    })
}

/// The report of a transfer that is over, as JSON: `files`, each with its path at the receiver and its digest, and
/// `stats` with a row for each stream (`docs/CONTROL.md`); `error` if it failed; `job` with a daemon. Free the text by
/// `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: it is not over, or an argument is wrong.
///
/// # Safety
/// `json` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_transfer_report(
    transfer: *const udpx_transfer,
    json: *mut *mut c_char,
) -> udpx_status {
    call(|| {
        let end = handles::get::<Transfer>(transfer)?.ended()?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store_text(json, "json", &end.report.to_string()) }
    })
}

/// What was fetched into memory, by a transfer that is over and went well (`udpx_engine_pull_memory`,
/// `udpx_client_pull_memory`). The memory belongs to the transfer and is good until that is freed; it is read-only. Of an
/// empty file `*data` is not NULL and `*bytes` is 0.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: the transfer is not over, or is of another kind; that of the transfer if it failed.
///
/// # Safety
/// `data` and `bytes` are NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_transfer_memory(
    transfer: *const udpx_transfer,
    data: *mut *const c_void,
    bytes: *mut usize,
) -> udpx_status {
    call(|| {
        let transfer = handles::get::<Transfer>(transfer)?;
        boundary::check_out(data, "data")?;
        boundary::check_out(bytes, "bytes")?;
        transfer.ended()?.result?;
        let memory = transfer.extra.memory.as_ref().ok_or_else(|| {
            wrong(
                "the transfer fills no memory",
                "Begin it by udpx_engine_pull_memory or udpx_client_pull_memory.",
            )
        })?;
        let found = memory.bytes()?;
        // SAFETY: the caller's promise.
        unsafe {
            boundary::store(data, "data", found.as_ptr().cast())?;
            boundary::store(bytes, "bytes", found.len())
        }
    })
}

/// Stops a transfer: it soon ends with `UDPX_STATUS_INTERRUPTED`, unless it has ended before. A daemon's job is cancelled.
/// Nothing is waited for.
///
/// # Errors
/// `UDPX_STATUS_USAGE`.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_transfer_cancel(transfer: *mut udpx_transfer) -> udpx_status {
    call(|| {
        handles::get::<Transfer>(transfer)?.stop();
        Ok(())
    })
}

/// Pauses a daemon's job: the connection to the peer is closed until `udpx_transfer_resume`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: it is a transfer of an engine, which cannot be paused, or has no job yet; what the daemon says.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_transfer_pause(transfer: *mut udpx_transfer) -> udpx_status {
    call(|| of_daemon(transfer)?.job.as_ref().map_or_else(|| Err(no_daemon()), Job::pause))
}

/// Goes on with a paused job.
///
/// # Errors
/// As `udpx_transfer_pause`.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_transfer_resume(transfer: *mut udpx_transfer) -> udpx_status {
    call(|| of_daemon(transfer)?.job.as_ref().map_or_else(|| Err(no_daemon()), Job::resume))
}

/// The number of the daemon's job; 0 while the daemon has not accepted it.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: it is a transfer of an engine.
///
/// # Safety
/// `job` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_transfer_job(transfer: *const udpx_transfer, job: *mut u64) -> udpx_status {
    call(|| {
        let number = of_daemon(transfer)?.job.as_ref().map_or(0, Job::number);
        // SAFETY: the caller's promise.
        unsafe { boundary::store(job, "job", number) }
    })
}

fn of_daemon(transfer: *const udpx_transfer) -> Result<Arc<Transfer>, JobError> {
    let transfer = handles::get::<Transfer>(transfer)?;
    if transfer.job.is_none() { Err(no_daemon()) } else { Ok(transfer) }
}

fn no_daemon() -> JobError {
    wrong(
        "this transfer is an engine's, and has no job at a daemon",
        "Begin it by udpx_client_push or _pull.",
    )
}

/// Frees a transfer, and returns when no callback of it runs any more. An engine's transfer that is not over is
/// cancelled. A daemon's job goes on, unless it needs this process, as a pull does: that one waits for its owner; cancel
/// it first if it is not wanted. NULL is nothing to free.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: it was freed before, or this is its own callback; then it is not freed.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_transfer_free(transfer: *mut udpx_transfer) -> udpx_status {
    call(|| {
        if transfer.is_null() {
            return Ok(());
        }
        let (handle, transfer) = (transfer, handles::get::<Transfer>(transfer)?);
        if transfer.is_own_thread() {
            return Err(own_callback("freeing it"));
        }
        match &transfer.job {
            Some(job) => job.leave(),
            None => transfer.stop(),
        }
        // Until its callback has returned the handle is good.
        transfer.join();
        handles::remove::<Transfer>(handle).map(drop)
    })
}

const _: () = assert!(UDPX_STATE_STARTING == 0, "a transfer begins with zeros");
