//! Being there for others: a directory that is served, one file, or a stream of data into a callback.
//!
//! A thread drives the host and puts what happens into a queue. Progress that nobody has fetched is replaced; nothing else
//! is ever left out: when the queue is full the thread waits, and with it whoever sends.

use std::collections::VecDeque;
use std::ffi::{c_char, c_int};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use udpxd::Code;
use udpxd::hosting::{Host, HostEvent};
use udpxd::report::JobError;

use crate::boundary::{self, call, wrong};
use crate::data::{Seat, Spooled};
use crate::engine::{Engine, udpx_engine};
use crate::event::{self, Told, udpx_event};
use crate::handles::{self, Object};
use crate::offer::{self, Offered, udpx_listen_options};
use crate::status::udpx_status;

/// An engine that is there for others. Any thread may use it.
pub struct udpx_listener {
    _private: [u8; 0],
}

/// The object behind a handle.
pub(crate) struct Listening {
    /// What others need: a ticket if that lets them in.
    ticket: Option<String>,
    addresses: Vec<String>,
    /// Marks its callbacks.
    seat: Seat,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Readable while something waits.
    bell: EventFd,
    stop: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The thread, also while it is being joined.
    id: OnceLock<ThreadId>,
    joining: Mutex<()>,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<HostEvent>,
    /// Why there will be no more.
    ended: Option<JobError>,
}

impl Object for Listening {
    type Opaque = udpx_listener;
    const NAME: &str = "udpx_listener";
}

impl Listening {
    fn start(host: Host, spooled: Option<Spooled>, seat: Seat) -> Result<Arc<Self>, JobError> {
        let system = |what: &str, error: &dyn std::fmt::Display| {
            JobError::with_remedy(Code::TryAgain, format!("no {what} could be had: {error}"))
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let listening = Arc::new(Self {
            ticket: host.ticket().map(|ticket| ticket.text().to_string()),
            addresses: host.listening().iter().map(ToString::to_string).collect(),
            seat,
            queue: Mutex::default(),
            changed: Condvar::new(),
            bell: EventFd::from_flags(flags).map_err(|errno| system("event descriptor", &errno))?,
            stop: AtomicBool::new(false),
            thread: Mutex::default(),
            id: OnceLock::new(),
            joining: Mutex::default(),
        });
        let this = listening.clone();
        let run = move || {
            let _ = this.id.set(std::thread::current().id());
            let ended = boundary::guarded(|| this.run(host, spooled.as_ref())).err();
            this.queue().ended = Some(ended.unwrap_or_else(|| JobError::ended(Code::Interrupted)));
            this.ring();
        };
        let thread = std::thread::Builder::new().name("udpx-listener".into()).spawn(run);
        *listening.thread() = Some(thread.map_err(|error| system("thread", &error))?);
        Ok(listening)
    }

    fn run(&self, mut host: Host, spooled: Option<&Spooled>) -> Result<(), JobError> {
        while !self.stop.load(Ordering::Acquire) {
            let Some(event) = host.next_event(TICK)? else { continue };
            let event = match spooled {
                Some(spooled) => spooled.deliver(event),
                None => event,
            };
            self.put(event);
        }
        Ok(())
    }

    fn put(&self, event: HostEvent) {
        let mut queue = self.queue();
        let last = queue.events.back();
        if let (Some(HostEvent::Arriving { path: last, .. }), HostEvent::Arriving { path, .. }) =
            (last, &event)
            && last == path
        {
            queue.events.pop_back();
        }
        while queue.events.len() >= EVENTS_MAX && !self.stop.load(Ordering::Acquire) {
            queue = self.changed.wait_timeout(queue, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.events.push_back(event);
        drop(queue);
        self.ring();
    }

    fn ring(&self) {
        self.changed.notify_all();
        // A bell that is full has rung.
        let _ = self.bell.write(1);
    }

    fn next(&self, deadline: Option<Instant>) -> Result<Option<HostEvent>, JobError> {
        let mut queue = self.queue();
        loop {
            if let Some(event) = queue.events.pop_front() {
                if queue.events.is_empty() && queue.ended.is_none() {
                    let _ = self.bell.read();
                }
                self.changed.notify_all();
                return Ok(Some(event));
            }
            if let Some(error) = &queue.ended {
                return Err(error.clone());
            }
            let _ = self.bell.read();
            queue = match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                Some(left) if left.is_zero() => return Ok(None),
                Some(left) => {
                    self.changed.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    pub(crate) fn join(&self) {
        // Whoever comes second waits too.
        let _joining = self.joining.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = self.thread().take();
        // A panic was told as its end.
        thread.map(JoinHandle::join);
    }

    pub(crate) fn is_own_thread(&self) -> bool {
        self.id.get() == Some(&std::thread::current().id()) || self.seat.is_here()
    }

    /// A panic leaves whole values, here and below.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens: for the peers that `options` name, or with a ticket for whoever is to come. Free the listener by `udpx_listener_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; `UDPX_STATUS_NO_SPACE` and others: the place cannot be used; `UDPX_STATUS_IO`: nothing can be
/// listened on.
///
/// # Safety
/// `options` is NULL or has `options->size` bytes, its texts are NULL or terminated; `listener` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_listen(
    engine: *mut udpx_engine,
    options: *const udpx_listen_options,
    listener: *mut *mut udpx_listener,
) -> udpx_status {
    call(|| {
        let engine = handles::get::<Engine>(engine)?;
        boundary::check_out(listener, "listener")?;
        // SAFETY: the caller's promise, here and below.
        let options = unsafe { boundary::load_sized(options) }?;
        let seat = Seat::default();
        // SAFETY: as above.
        let Offered { config, spooled } = unsafe { offer::read(&options, &engine, &seat) }?;
        let listening = Listening::start(Host::start(&config)?, spooled, seat)?;
        let handle = engine.admit_listener(&listening).and_then(|()| handles::insert(listening.clone()));
        let handle = handle.inspect_err(|_| {
            listening.stop();
            listening.join();
        })?;
        // SAFETY: as above.
        unsafe { boundary::store(listener, "listener", handle) }
    })
}

/// The ticket of a listener: one line that lets its holder find this machine, know that it is this one and be let in. It is
/// a secret. Free it by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: also if it was made for peers, who need none.
///
/// # Safety
/// `ticket` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_listener_ticket(
    listener: *const udpx_listener,
    ticket: *mut *mut c_char,
) -> udpx_status {
    call(|| {
        let listener = handles::get::<Listening>(listener)?;
        let text = listener.ticket.as_ref().ok_or_else(|| {
            wrong("this listener knows its peers and has no ticket", "Tell them its key and address instead.")
        })?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store_text(ticket, "ticket", text) }
    })
}

/// The addresses that it listens on, "192.0.2.7:48379", separated by spaces. Free the text by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`.
///
/// # Safety
/// `addresses` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_listener_addresses(
    listener: *const udpx_listener,
    addresses: *mut *mut c_char,
) -> udpx_status {
    call(|| {
        let listener = handles::get::<Listening>(listener)?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store_text(addresses, "addresses", &listener.addresses.join(" ")) }
    })
}

/// The listener's event descriptor, for poll(2) and epoll(7): readable while `udpx_listener_next` has something to tell. Do
/// not read, write or close it.
///
/// # Errors
/// `UDPX_STATUS_USAGE`.
///
/// # Safety
/// `fd` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_listener_fd(listener: *const udpx_listener, fd: *mut c_int) -> udpx_status {
    call(|| {
        let listener = handles::get::<Listening>(listener)?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store(fd, "fd", listener.bell.as_raw_fd()) }
    })
}

/// Waits for what happens next, `timeout_ms` milliseconds at most (`UDPX_FOREVER`; 0 does not wait); that nothing did is
/// `UDPX_EVENT_NONE`. The texts are good until this thread's next call of this function.
///
/// # Errors
/// `UDPX_STATUS_INTERRUPTED`: the engine was freed, and nothing is left to be told; `UDPX_STATUS_USAGE`.
///
/// # Safety
/// `event` is NULL or points to a structure of `event->size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_listener_next(
    listener: *mut udpx_listener,
    timeout_ms: u32,
    event: *mut udpx_event,
) -> udpx_status {
    call(|| {
        let listener = handles::get::<Listening>(listener)?;
        // SAFETY: the caller's promise, here and below.
        unsafe { boundary::check_sized(event) }?;
        if listener.is_own_thread() && timeout_ms > 0 {
            return Err(wrong(
                "waiting from inside the listener's own callback would never end",
                "Do it on another thread.",
            ));
        }
        let next = listener.next(boundary::deadline(timeout_ms))?;
        // SAFETY: as above.
        unsafe { event::tell(event, next.map_or_else(Told::default, Told::of)) }
    })
}

/// Ends a listener and frees it; sessions are closed, unfinished files are removed. NULL is nothing to free.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: it was freed before, or this is its own callback; then it is not freed.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_listener_free(listener: *mut udpx_listener) -> udpx_status {
    call(|| {
        if listener.is_null() {
            return Ok(());
        }
        let (handle, listener) = (listener, handles::get::<Listening>(listener)?);
        if listener.is_own_thread() {
            return Err(wrong(
                "freeing the listener from inside its own callback would wait for itself",
                "Do it on another thread, or after the callback has returned.",
            ));
        }
        listener.stop();
        // Until its callback has returned the handle is good.
        listener.join();
        handles::remove::<Listening>(handle).map(drop)
    })
}

/// How soon its end is noticed.
const TICK: Duration = Duration::from_millis(50);
/// Events that wait to be fetched.
const EVENTS_MAX: usize = 1024;
