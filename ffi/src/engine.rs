//! An engine of this process: it sends and receives without a daemon.

use std::ffi::{OsStr, c_char, c_int, c_void};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use udpx_control::Name;
use udpxd::conductor::reports;
use udpxd::embedded::{self, Descriptor, Event, Loading, PushFile, PushRequest};
use udpxd::report::{JobError, Summary};
use udpxd::{Code, StaticSecret, identity};

use crate::boundary::{self, call, wrong};
use crate::handles::{self, Object};
use crate::listener::Listening;
use crate::options::{
    Options, UDPX_DETACH, UDPX_RECONNECT, UDPX_STATE_RUNNING, UDPX_STATE_STARTING, UDPX_STATE_SYNCING,
    udpx_options,
};
use crate::place::Place;
use crate::source;
use crate::status::udpx_status;
use crate::transfer::{End, Extra, Transfer, own_callback, udpx_summary, udpx_transfer};

/// An engine in this process. Any thread may use it, and several at once. There may be several engines.
///
/// Do not use one on both sides of a fork(2) without exec: its threads are in the parent only.
pub struct udpx_engine {
    _private: [u8; 0],
}

/// `flags` of `udpx_engine_new`: files are sent from a mapping, which costs less. The first such transfer installs a
/// SIGBUS handler in this process, which passes on every signal that is not about such a mapping. Without it a file is
/// read block by block, 64 MiB of it being in memory at most, and no handler is ever installed.
pub const UDPX_MAP_FILES: u32 = 1;

/// The object behind a handle.
pub(crate) struct Engine {
    pub(crate) identity: StaticSecret,
    pub(crate) loading: Loading,
    /// What is under way, and has to end with it; `None` when it has ended.
    guests: Mutex<Option<Guests>>,
}

#[derive(Default)]
struct Guests {
    transfers: Vec<Weak<Transfer>>,
    listeners: Vec<Weak<Listening>>,
    /// Set to stop a question that somebody waits for.
    questions: Vec<Weak<AtomicBool>>,
}

impl Object for Engine {
    type Opaque = udpx_engine;
    const NAME: &str = "udpx_engine";
}

impl Engine {
    fn admit(&self, add: impl FnOnce(&mut Guests)) -> Result<(), JobError> {
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(guests) = guests.as_mut() else {
            return Err(wrong("the engine is being freed", "Begin nothing on it any more."));
        };
        guests.transfers.retain(|transfer| transfer.strong_count() > 0);
        guests.listeners.retain(|listener| listener.strong_count() > 0);
        guests.questions.retain(|question| question.strong_count() > 0);
        add(guests);
        Ok(())
    }

    pub(crate) fn admit_listener(&self, listener: &Arc<Listening>) -> Result<(), JobError> {
        self.admit(|guests| guests.listeners.push(Arc::downgrade(listener)))
    }

    /// A question that ends with the engine, which waits until the flag is dropped.
    pub(crate) fn admit_question(&self) -> Result<Arc<AtomicBool>, JobError> {
        let stop = Arc::new(AtomicBool::new(false));
        self.admit(|guests| guests.questions.push(Arc::downgrade(&stop)))?;
        Ok(stop)
    }

    pub(crate) fn begin(
        &self,
        options: &Options,
        extra: Extra,
        work: impl FnOnce(&Transfer) -> Result<Summary, JobError> + Send + 'static,
    ) -> Result<*mut udpx_transfer, JobError> {
        if options.has(UDPX_DETACH) || options.has(UDPX_RECONNECT) {
            return Err(wrong(
                "UDPX_DETACH and UDPX_RECONNECT are for daemons",
                "Leave it out: the transfer lives with its engine.",
            ));
        }
        let transfer = Transfer::new(None, extra)?;
        self.admit(|guests| guests.transfers.push(Arc::downgrade(&transfer)))?;
        let handle = handles::insert(transfer.clone())?;
        let started = transfer.start(options.listener(), |transfer| end_of(work(transfer)));
        started.inspect_err(|_| drop(handles::remove::<Transfer>(handle)))?;
        Ok(handle)
    }

    fn push(&self, file: PushFile, to: Place, options: &Options) -> Result<*mut udpx_transfer, JobError> {
        let (identity, asked, loading) = (self.identity.clone(), options.clone(), self.loading);
        self.begin(options, Extra::default(), move |transfer| {
            let mut call = to.call(identity, &asked)?;
            (call.cancel, call.loading) = (transfer.stop_flag(), loading);
            let mut request = PushRequest::new(call.way.peer, Vec::new(), call.identity.clone());
            (request.files, request.call) = (vec![file], call);
            (request.root, request.path) = (to.root, to.path);
            (request.streams, request.if_exists) = (asked.streams(), asked.if_exists());
            embedded::push(request, &mut |event| on_event(transfer, &event))
        })
    }

    /// Everything under way has ended when it returns.
    fn end(&self) -> Result<(), JobError> {
        let guests = {
            let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
            let transfers = guests.iter().flat_map(|guests| &guests.transfers);
            let listeners = guests.iter().flat_map(|guests| &guests.listeners);
            if transfers.filter_map(Weak::upgrade).any(|transfer| transfer.is_own_thread())
                || listeners.filter_map(Weak::upgrade).any(|listener| listener.is_own_thread())
            {
                return Err(own_callback("freeing its engine"));
            }
            guests.take().unwrap_or_default()
        };
        let transfers: Vec<_> = guests.transfers.iter().filter_map(Weak::upgrade).collect();
        let listeners: Vec<_> = guests.listeners.iter().filter_map(Weak::upgrade).collect();
        transfers.iter().for_each(|transfer| transfer.stop());
        listeners.iter().for_each(|listener| listener.stop());
        for question in guests.questions.iter().filter_map(Weak::upgrade) {
            question.store(true, Ordering::Release);
        }
        while guests.questions.iter().any(|question| question.strong_count() > 0) {
            std::thread::sleep(TURN);
        }
        transfers.iter().for_each(|transfer| transfer.join());
        listeners.iter().for_each(|listener| listener.join());
        Ok(())
    }
}

pub(crate) fn on_event(transfer: &Transfer, event: &Event) {
    match *event {
        Event::Connected { rtt_us, .. } => transfer.update(|progress| {
            (progress.state, progress.rtt_us, progress.quiet_us) = (UDPX_STATE_RUNNING, rtt_us, 0);
        }),
        Event::Progress { bytes, total, rate_bps, rtt_us, loss, syncing, .. } => {
            transfer.update(|progress| {
                (progress.bytes, progress.total, progress.rate_bps) = (bytes, total, rate_bps);
                (progress.rtt_us, progress.loss) = (rtt_us, loss);
                if progress.state != UDPX_STATE_STARTING {
                    progress.state = if syncing { UDPX_STATE_SYNCING } else { UDPX_STATE_RUNNING };
                }
            });
        }
        Event::Quiet { silent_for } => transfer.update(|progress| {
            progress.quiet_us = u64::try_from(silent_for.as_micros()).unwrap_or(u64::MAX);
        }),
        Event::Retry { .. } => transfer.update(|progress| progress.state = UDPX_STATE_STARTING),
        _ => {}
    }
}

fn end_of(result: Result<Summary, JobError>) -> End {
    let (done, result) = match result {
        Ok(summary) => (Some(summary), Ok(())),
        Err(mut error) => (error.summary.take().map(|summary| *summary), Err(error)),
    };
    let done = done.unwrap_or_default();
    let files: Vec<_> = done
        .files
        .iter()
        .map(|file| {
            let name = file.path.file_name().unwrap_or_default();
            reports::file(0, &Name::new(name.as_bytes()), file)
        })
        .collect();
    let mut report = serde_json::json!({ "files": files, "stats": reports::add_stats(None, &done) });
    if let Err(error) = &result {
        report["error"] = serde_json::json!(reports::error_of(error));
    }
    let summary = udpx_summary {
        size: 0,
        files: done.files.len() as u64,
        bytes: done.bytes,
        duration_us: (done.seconds * 1e6) as u64,
        packets: done.total.packets,
        wire_bytes: done.total.wire_bytes,
        retransmitted: done.total.retransmitted,
        lost: done.lost,
        rtt_min_us: done.rtt_min_us,
        rtt_mean_us: done.rtt_mean_us,
    };
    End { result, summary, report }
}

/// Makes an engine.
///
/// `identity` is the path of the file with this end's secret key, which is made if it is not there; NULL means a key for
/// this time only, which is right with tickets. `flags` is 0 or `UDPX_MAP_FILES`. Free it by `udpx_engine_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; `UDPX_STATUS_CONFIG`: the key cannot be read or made.
///
/// # Safety
/// `identity` is NULL or terminated, `engine` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_new(
    identity: *const c_char,
    flags: u32,
    engine: *mut *mut udpx_engine,
) -> udpx_status {
    call(|| {
        boundary::check_out(engine, "engine")?;
        if flags & !UDPX_MAP_FILES != 0 {
            return Err(wrong(format!("flags is {flags:#x}"), "Use 0 or UDPX_MAP_FILES."));
        }
        let identity = match identity.is_null() {
            true => {
                identity::ephemeral().map_err(|error| JobError::with_remedy(Code::Io, error.to_string()))?
            }
            false => {
                // SAFETY: the caller's promise.
                let path = unsafe { boundary::path(identity, "identity") }?;
                identity::load_or_create(path)
                    .map_err(|error| JobError::told(Code::Config, &error.to_string()))?
            }
        };
        let guests = Mutex::new(Some(Guests::default()));
        let loading = if flags & UDPX_MAP_FILES != 0 { Loading::Mapped } else { Loading::Read };
        let handle = handles::insert(Arc::new(Engine { identity, loading, guests }))?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store(engine, "engine", handle) }
    })
}

/// The public key of the engine, "udpxk1...": what others put into their configuration. Free it by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`.
///
/// # Safety
/// `key` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_key(engine: *const udpx_engine, key: *mut *mut c_char) -> udpx_status {
    call(|| {
        let engine = handles::get::<Engine>(engine)?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store_text(key, "key", &identity::key_text(&engine.identity.public())) }
    })
}

/// Frees an engine: what is under way on it is cancelled, its threads are joined. Transfers and listeners of it stay to be
/// asked, and have to be freed as well. NULL is nothing to free.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: it was freed before, or this is a callback of one of its transfers; then it is not freed.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_engine_free(engine: *mut udpx_engine) -> udpx_status {
    call(|| {
        if engine.is_null() {
            return Ok(());
        }
        handles::get::<Engine>(engine)?.end()?;
        handles::remove::<Engine>(engine).map(drop)
    })
}

/// Sends the file `path` to the place `to`, "HOST" or "HOST:PATH": HOST is a ticket, or a DNS name or address with
/// `options->peer_key`; PATH names the file there, or a directory if it ends in a slash, or is "/ROOT/path".
///
/// Returns at once; `*transfer` is to be waited for and freed. The file may have any size; one that is changed while it is
/// sent fails with `UDPX_STATUS_SOURCE_CHANGED`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`, `UDPX_STATUS_NO_SOURCE`; what goes wrong later is the transfer's result.
///
/// # Safety
/// Texts are NULL or terminated, `options` is NULL or has `options->size` bytes, `transfer` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_push_file(
    engine: *mut udpx_engine,
    path: *const c_char,
    to: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (engine, to, options) = unsafe { receive(engine, to, options, transfer) }?;
        // SAFETY: as above.
        let path = unsafe { boundary::path(path, "path") }?;
        let file = source::open(path)?;
        let Some(name) = path.file_name() else {
            return Err(wrong(format!("{path:?} names no file"), "Give the path of a file."));
        };
        let handle = engine.push(open_file(file, name.as_bytes(), path), to, &options)?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Sends an open file; otherwise as `udpx_engine_push_file`. `fd` is open for reading and stays the caller's, who may
/// close it at once; its offset is not used. `name` is what the file is called, without slashes.
///
/// # Errors
/// As `udpx_engine_push_file`.
///
/// # Safety
/// As `udpx_engine_push_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_push_fd(
    engine: *mut udpx_engine,
    fd: c_int,
    name: *const c_char,
    to: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (engine, to, options) = unsafe { receive(engine, to, options, transfer) }?;
        // SAFETY: as above.
        let name = unsafe { base_name(name) }?;
        let file = source::duplicate(fd)?;
        let handle = engine.push(named_file(file, name), to, &options)?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Sends `bytes` bytes of memory as a file called `name`; otherwise as `udpx_engine_push_file`. The memory is copied
/// before the call returns.
///
/// # Errors
/// As `udpx_engine_push_file`; `UDPX_STATUS_IO`: there is not so much memory.
///
/// # Safety
/// As `udpx_engine_push_file`; `data` is NULL or points to `bytes` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_push_memory(
    engine: *mut udpx_engine,
    data: *const c_void,
    bytes: usize,
    name: *const c_char,
    to: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (engine, to, options) = unsafe { receive(engine, to, options, transfer) }?;
        // SAFETY: as above.
        let (name, data) = unsafe { (base_name(name)?, memory(data, bytes)?) };
        let handle = engine.push(named_file(source::memory(data)?, name), to, &options)?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// What every transfer of an engine is given.
pub(crate) unsafe fn receive<T>(
    engine: *const udpx_engine,
    to: *const c_char,
    options: *const udpx_options,
    out: *mut T,
) -> Result<(Arc<Engine>, Place, Options), JobError> {
    let engine = handles::get::<Engine>(engine)?;
    boundary::check_out(out, "the pointer for the result")?;
    // SAFETY: the caller's promise.
    unsafe { Ok((engine, Place::parse(boundary::bytes(to, "the place")?)?, Options::load(options)?)) }
}

/// The name of a file that has none here.
pub(crate) unsafe fn base_name<'a>(name: *const c_char) -> Result<&'a [u8], JobError> {
    // SAFETY: the caller's promise.
    let name = unsafe { boundary::bytes(name, "name") }?;
    if name.is_empty() || name.contains(&b'/') || matches!(name, b"." | b"..") {
        return Err(wrong(
            "name is no name of a file",
            "Give what the file is to be called, without slashes.",
        ));
    }
    Ok(name)
}

/// Memory of the caller's.
pub(crate) unsafe fn memory<'a>(data: *const c_void, bytes: usize) -> Result<&'a [u8], JobError> {
    match (data.is_null(), bytes) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(wrong("data is NULL", "Pass the memory, or 0 bytes.")),
        // A slice may not be larger, whatever the caller says.
        (false, bytes) if isize::try_from(bytes).is_err() => {
            Err(wrong(format!("there are no {bytes} bytes"), "Pass the size of the memory."))
        }
        // SAFETY: the caller's promise.
        (false, bytes) => Ok(unsafe { std::slice::from_raw_parts(data.cast(), bytes) }),
    }
}

fn named_file(file: File, name: &[u8]) -> PushFile {
    open_file(file, name, Path::new(OsStr::from_bytes(name)))
}

/// `shown` is for messages.
fn open_file(file: File, name: &[u8], shown: &Path) -> PushFile {
    let descriptor = Descriptor { file: Arc::new(file), shown: shown.to_owned() };
    PushFile::Open { name: name.to_vec(), descriptor }
}

/// How often it is looked whether a question has ended.
const TURN: Duration = Duration::from_millis(2);
