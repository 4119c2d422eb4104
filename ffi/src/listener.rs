//! Being there for others: a directory that is served, one file, or one stream of data into a callback.
//!
//! A thread drives the host and puts what happens into a queue. Progress that nobody has fetched is replaced; nothing else
//! is ever left out: when the queue is full the thread waits, and with it whoever sends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::{CString, c_char, c_int, c_void};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::{Duration, Instant};

use nix::sys::eventfd::{EfdFlags, EventFd};
use udpxd::Code;
use udpxd::config::Rights;
use udpxd::hosting::addresses::Address;
use udpxd::hosting::{Host, HostConfig, HostEvent, Offer};
use udpxd::report::JobError;

use crate::boundary::{self, Sized, call, wrong};
use crate::engine::{Engine, udpx_engine};
use crate::handles::{self, Object};
use crate::source;
use crate::status::udpx_status;

/// An engine that is there for others. Any thread may use it.
pub struct udpx_listener {
    _private: [u8; 0],
}

/// `flags`: others may put files into the directory.
pub const UDPX_LISTEN_WRITE: u32 = 1;
/// `flags`: others may get files from the directory; the engine needs `UDPX_MAP_FILES`.
pub const UDPX_LISTEN_READ: u32 = 2;
/// `flags`: others may list the directory.
pub const UDPX_LISTEN_LIST: u32 = 4;
/// `flags`: the ticket is for one machine, and is spent when that has moved something and gone.
pub const UDPX_LISTEN_ONCE: u32 = 8;
const LISTEN_FLAGS_ALL: u32 = UDPX_LISTEN_WRITE | UDPX_LISTEN_READ | UDPX_LISTEN_LIST | UDPX_LISTEN_ONCE;

/// Takes what has come, piece by piece and in order; returns 0 to go on, anything else to leave the rest.
///
/// It is called on a thread of the library and may take its time. `data` is good until it returns.
pub type udpx_data_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, data: *const c_void, bytes: usize) -> c_int>;

/// What to be there for. Fill it by `udpx_listen_options_init`. Exactly one of `directory`, `file` and `on_data` is set.
#[repr(C)]
#[derive(Copy, Clone, Debug)]
pub struct udpx_listen_options {
    /// Bytes of the structure: `sizeof(udpx_listen_options)`.
    pub size: usize,
    /// A directory that exists, used as `flags` say; or NULL.
    pub directory: *const c_char,
    /// One file is taken and gets this path, whatever it is called there; or NULL.
    pub file: *const c_char,
    /// One file is taken and its bytes are handed to this, once all of them are here and verified; or NULL. They are kept
    /// in a file without a name in `spool` until then.
    pub on_data: udpx_data_fn,
    /// The first argument of `on_data`.
    pub userdata: *mut c_void,
    /// A directory with room for what comes; NULL means that for temporary files. Only with `on_data`.
    pub spool: *const c_char,
    /// The address at which others find this machine; NULL means its own addresses.
    pub address: *const c_char,
    /// For how long the ticket can be used, seconds; 0 means as long as the listener lives.
    pub lifetime_s: u32,
    /// With `directory`: `UDPX_LISTEN_WRITE` and the others, at least one right; otherwise 0.
    pub flags: u32,
    /// The UDP port; 0 means any that is free.
    pub port: u16,
    /// 0.
    pub reserved: [u16; 3],
}

// SAFETY: `repr(C)`, begins with its size; integers, pointers and a nullable function pointer, which the caller vouches for.
unsafe impl Sized for udpx_listen_options {
    const NAME: &str = "udpx_listen_options";
}

/// `kind`: nothing happened in time.
pub const UDPX_EVENT_NONE: u32 = 0;
/// `kind`: the holder of the ticket has connected.
pub const UDPX_EVENT_CONNECTED: u32 = 1;
/// `kind`: a session is over; `status` and `text` say why.
pub const UDPX_EVENT_DISCONNECTED: u32 = 2;
/// `kind`: somebody was refused; `text` says why.
pub const UDPX_EVENT_REFUSED: u32 = 3;
/// `kind`: bytes of a file have come.
pub const UDPX_EVENT_ARRIVING: u32 = 4;
/// `kind`: a file is here, verified and durable, under its name; with `on_data`, all of it was handed over.
pub const UDPX_EVENT_CAME: u32 = 5;
/// `kind`: a file will not come; `status` and `text` say why. Its sender may try again.
pub const UDPX_EVENT_NOT_COME: u32 = 6;
/// `kind`: a file was fetched, and is durable at the other end.
pub const UDPX_EVENT_WENT: u32 = 7;
/// `kind`: it will not be; `status` and `text` say why.
pub const UDPX_EVENT_NOT_WENT: u32 = 8;

/// What happened at a listener. Set `size` to `sizeof(udpx_event)` before the call.
#[repr(C)]
#[derive(Copy, Clone, Debug)]
pub struct udpx_event {
    /// Bytes of the structure.
    pub size: usize,
    /// One of `UDPX_EVENT_...`.
    pub kind: u32,
    /// Why, where something failed.
    pub status: udpx_status,
    /// Bytes so far, or of the file.
    pub bytes: u64,
    /// Bytes of the file, while it comes.
    pub total: u64,
    /// Bits a second, while it comes.
    pub rate_bps: u64,
    /// The file's path here; "" where it is about none. Bytes of a file name: it may hold anything but NUL.
    pub path: *const c_char,
    /// Why, in words, with control characters escaped; "" where nothing failed.
    pub text: *const c_char,
    /// BLAKE3 of the content of a file that came.
    pub digest: [u8; 32],
}

// SAFETY: `repr(C)`, begins with its size, and is only stored.
unsafe impl Sized for udpx_event {
    const NAME: &str = "udpx_event";
}

/// The object behind a handle.
pub(crate) struct Listening {
    ticket: String,
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
    fn start(host: Host, delivery: Option<Delivery>) -> Result<Arc<Self>, JobError> {
        let system = |what: &str, error: &dyn std::fmt::Display| {
            JobError::with_remedy(Code::TryAgain, format!("no {what} could be had: {error}"))
        };
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let listening = Arc::new(Self {
            ticket: host.ticket().text().to_string(),
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
            let ended = boundary::guarded(|| this.run(host, delivery.as_ref())).err();
            this.queue().ended = Some(ended.unwrap_or_else(|| JobError::ended(Code::Interrupted)));
            this.ring();
        };
        let thread = std::thread::Builder::new().name("udpx-listener".into()).spawn(run);
        *listening.thread() = Some(thread.map_err(|error| system("thread", &error))?);
        Ok(listening)
    }

    fn run(&self, mut host: Host, delivery: Option<&Delivery>) -> Result<(), JobError> {
        while !self.stop.load(Ordering::Acquire) {
            let Some(event) = host.next_event(TICK)? else { continue };
            let event = match delivery {
                Some(delivery) => delivery.deliver(event),
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
        self.id.get() == Some(&std::thread::current().id())
    }

    /// A panic leaves whole values, here and below.
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn thread(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.thread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that comes and is handed to C.
struct Delivery {
    take: unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int,
    userdata: *mut c_void,
    /// A directory of our own in which it is kept.
    spool: PathBuf,
}

// SAFETY: the userdata is handed to the callback and not touched; that both may be used on another thread is what the
// documentation of `udpx_data_fn` asks of them.
unsafe impl Send for Delivery {}

impl Delivery {
    fn new(
        take: unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int,
        userdata: *mut c_void,
        place: &Path,
    ) -> Result<Self, JobError> {
        let failed = |error: std::io::Error| {
            JobError::with_remedy(Code::NoSpace, format!("no directory could be made in {place:?}: {error}"))
        };
        for number in 0..SPOOL_NAMES {
            let spool = place.join(format!("udpx-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&spool) {
                Ok(()) => return Ok(Self { take, userdata, spool }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(std::io::ErrorKind::AlreadyExists.into()))
    }

    fn file(&self) -> PathBuf {
        self.spool.join("data")
    }

    /// Hands over what came.
    fn deliver(&self, event: HostEvent) -> HostEvent {
        let HostEvent::Came { from, file } = event else { return event };
        let each = |data: &[u8]| {
            // SAFETY: whoever passed it vouches for it until the listener is freed, which waits for this thread.
            unsafe { (self.take)(self.userdata, data.as_ptr().cast(), data.len()) == 0 }
        };
        let path = self.file();
        let poured = File::open(&path).and_then(|data| {
            std::fs::remove_file(&path)?;
            source::pour(data, each)
        });
        let not_come = |code, text: String| HostEvent::NotCome { from, path: file.path.clone(), code, text };
        match poured {
            Ok(true) => HostEvent::Came { from, file },
            Ok(false) => not_come(Code::Interrupted, "The callback did not take all of it.".into()),
            Err(error) => not_come(Code::Io, format!("What came could not be read again: {error}.")),
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        // What is left is in a directory of this user's only; there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.spool);
    }
}

/// Fills in the defaults. `size` is `sizeof(udpx_listen_options)`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: NULL, or a size that this library does not know.
///
/// # Safety
/// `options` is NULL or points to `size` bytes that may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_listen_options_init(
    options: *mut udpx_listen_options,
    size: usize,
) -> udpx_status {
    call(|| {
        boundary::check_out(options, "options")?;
        if size != size_of::<udpx_listen_options>() {
            let text = format!(
                "udpx_listen_options has {} bytes here, not {size}",
                size_of::<udpx_listen_options>()
            );
            return Err(wrong(text, "Pass sizeof(udpx_listen_options), and use the header of this library."));
        }
        let defaults = udpx_listen_options {
            size,
            directory: std::ptr::null(),
            file: std::ptr::null(),
            on_data: None,
            userdata: std::ptr::null_mut(),
            spool: std::ptr::null(),
            address: std::ptr::null(),
            lifetime_s: 0,
            flags: 0,
            port: 0,
            reserved: [0; 3],
        };
        // SAFETY: the caller's promise.
        unsafe { boundary::store(options, "options", defaults) }
    })
}

/// Listens, and makes a ticket for whoever is to come. Free the listener by `udpx_listener_free`.
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
        // SAFETY: as above.
        let (offer, delivery) = unsafe { offer(&options) }?;
        if matches!(&offer, Offer::Directory { rights, .. } if rights.read) && !engine.maps_files {
            let text =
                "UDPX_LISTEN_READ sends files from mappings, which takes a SIGBUS handler in this process";
            return Err(wrong(
                text,
                "Give UDPX_MAP_FILES to udpx_engine_new, or leave out UDPX_LISTEN_READ.",
            ));
        }
        let mut config = HostConfig::new(offer, engine.identity.clone());
        config.umask = udpxd::lend::umask();
        config.port = options.port;
        config.lifetime = (options.lifetime_s > 0).then(|| Duration::from_secs(options.lifetime_s.into()));
        if !options.address.is_null() {
            // SAFETY: as above.
            let text = unsafe { boundary::text(options.address, "address") }?;
            let no_address = || {
                wrong(format!("{text:?} is no address"), "Write 192.0.2.7, 2001:db8::1 or 192.0.2.7:4000.")
            };
            config.addresses = vec![Address::parse(text).ok_or_else(no_address)?];
        }
        let listening = Listening::start(Host::start(&config)?, delivery)?;
        let handle = engine.admit_listener(&listening).and_then(|()| handles::insert(listening.clone()));
        let handle = handle.inspect_err(|_| {
            listening.stop();
            listening.join();
        })?;
        // SAFETY: as above.
        unsafe { boundary::store(listener, "listener", handle) }
    })
}

/// What is offered, with what becomes of it where it goes to a callback.
unsafe fn offer(options: &udpx_listen_options) -> Result<(Offer, Option<Delivery>), JobError> {
    let udpx_listen_options { directory, file, on_data, userdata, spool, flags, .. } = *options;
    if flags & !LISTEN_FLAGS_ALL != 0 || options.reserved != [0; 3] {
        return Err(wrong(
            format!("flags is {flags:#x}"),
            "Begin with udpx_listen_options_init, and use the flags of udpx.h.",
        ));
    }
    if !spool.is_null() && on_data.is_none() {
        return Err(wrong("spool is for on_data", "Leave it NULL."));
    }
    let rights = Rights {
        write: flags & UDPX_LISTEN_WRITE != 0,
        read: flags & UDPX_LISTEN_READ != 0,
        list: flags & UDPX_LISTEN_LIST != 0,
    };
    match (directory.is_null(), file.is_null(), on_data) {
        (false, true, None) if rights == Rights::NONE => {
            Err(wrong("flags give no right to the directory", "Set UDPX_LISTEN_WRITE, for example."))
        }
        (false, true, None) => {
            // SAFETY: the caller's promise, here and below.
            let path = unsafe { boundary::path(directory, "directory") }?.to_owned();
            Ok((Offer::Directory { path, rights, once: flags & UDPX_LISTEN_ONCE != 0 }, None))
        }
        (true, false, None) if flags == 0 => {
            // SAFETY: as above.
            let path = unsafe { boundary::path(file, "file") }?.to_owned();
            Ok((Offer::File { path }, None))
        }
        (true, true, Some(take)) if flags == 0 => {
            let place = match spool.is_null() {
                true => std::env::temp_dir(),
                // SAFETY: as above.
                false => unsafe { boundary::path(spool, "spool") }?.to_owned(),
            };
            let delivery = Delivery::new(take, userdata, &place)?;
            Ok((Offer::File { path: delivery.file() }, Some(delivery)))
        }
        _ => Err(wrong(
            "it is not clear what to listen for",
            "Set exactly one of directory (with flags), file and on_data (without).",
        )),
    }
}

/// The ticket of a listener: one line that lets its holder find this machine, know that it is this one and be let in. It is
/// a secret. Free it by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`.
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
        // SAFETY: the caller's promise.
        unsafe { boundary::store_text(ticket, "ticket", &listener.ticket) }
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
/// `UDPX_EVENT_NONE`. `path` and `text` are good until this thread's next call of this function.
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
        let told = next.map_or(Told::default(), Told::of);
        TOLD.with_borrow_mut(|last| {
            let Told { mut event_told, path, text } = told;
            (event_told.path, event_told.text) = (path.as_ptr(), text.as_ptr());
            *last = Some((path, text));
            // SAFETY: as above.
            unsafe { boundary::store_sized(event, event_told) }
        })
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

thread_local! {
    /// Path and text of the last event that this thread was told.
    static TOLD: RefCell<Option<(CString, CString)>> = const { RefCell::new(None) };
}

/// An event as C gets it.
struct Told {
    event_told: udpx_event,
    path: CString,
    text: CString,
}

impl Default for Told {
    fn default() -> Self {
        let event_told = udpx_event {
            size: 0,
            kind: UDPX_EVENT_NONE,
            status: udpx_status::Ok,
            bytes: 0,
            total: 0,
            rate_bps: 0,
            path: std::ptr::null(),
            text: std::ptr::null(),
            digest: [0; 32],
        };
        Self { event_told, path: CString::default(), text: CString::default() }
    }
}

impl Told {
    fn of(event: HostEvent) -> Self {
        let mut told = Self::default();
        let this = &mut told.event_told;
        let mut name = |path: &Path| {
            // No path has a NUL in it.
            told.path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        };
        let mut why = |code: Code, text: &str| {
            told.text = boundary::c_text(text);
            udpx_status::of(code)
        };
        match event {
            HostEvent::Connected { .. } => this.kind = UDPX_EVENT_CONNECTED,
            HostEvent::Disconnected { code, text, .. } => {
                (this.kind, this.status) = (UDPX_EVENT_DISCONNECTED, why(code, &text));
            }
            HostEvent::Refused { text, .. } => {
                (this.kind, this.status) = (UDPX_EVENT_REFUSED, why(Code::Refused, &text));
            }
            HostEvent::Arriving { path, bytes, total, rate_bps, .. } => {
                (this.kind, this.bytes, this.total, this.rate_bps) =
                    (UDPX_EVENT_ARRIVING, bytes, total, rate_bps);
                name(&path);
            }
            HostEvent::Came { file, .. } => {
                (this.kind, this.bytes, this.total) = (UDPX_EVENT_CAME, file.bytes, file.bytes);
                this.digest = file.digest;
                name(&file.path);
            }
            HostEvent::NotCome { path, code, text, .. } => {
                (this.kind, this.status) = (UDPX_EVENT_NOT_COME, why(code, &text));
                name(&path);
            }
            HostEvent::Went { path, bytes, .. } => {
                (this.kind, this.bytes, this.total) = (UDPX_EVENT_WENT, bytes, bytes);
                name(&path);
            }
            HostEvent::NotWent { path, code, text, .. } => {
                (this.kind, this.status) = (UDPX_EVENT_NOT_WENT, why(code, &text));
                name(&path);
            }
            _ => {}
        }
        told
    }
}

/// How soon its end is noticed.
const TICK: Duration = Duration::from_millis(50);
/// Events that wait to be fetched.
const EVENTS_MAX: usize = 1024;
/// Spools of one process at once.
const SPOOL_NAMES: u32 = 4096;
