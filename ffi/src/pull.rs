//! What an engine of this process fetches: into a file, a descriptor, memory, or a callback.

use std::ffi::{c_char, c_int, c_void};
use std::path::Path;
use std::sync::Arc;

use udpxd::embedded::{self, Descriptor, PullFile, PullRequest, PullTo, SinkRef};
use udpxd::report::JobError;

use crate::boundary::{self, call, wrong};
use crate::data::{Taker, udpx_data_fn};
use crate::engine::{Engine, on_event, receive, udpx_engine};
use crate::memory::Memory;
use crate::options::{Options, udpx_options};
use crate::place::Place;
use crate::source;
use crate::status::udpx_status;
use crate::transfer::{Extra, udpx_transfer};

impl Engine {
    fn pull(
        &self,
        from: Place,
        to: PullTo,
        options: &Options,
        extra: Extra,
    ) -> Result<*mut udpx_transfer, JobError> {
        let (identity, asked) = (self.identity.clone(), options.clone());
        self.begin(options, extra, move |transfer| {
            let mut call = from.call(identity, &asked)?;
            call.cancel = transfer.stop_flag();
            let request = PullRequest {
                files: vec![PullFile { root: from.root, path: from.path, destination: to }],
                call,
                streams: asked.streams(),
                if_exists: asked.if_exists(),
                umask: udpxd::lend::umask(),
            };
            embedded::pull(request, &mut |event| on_event(transfer, &event))
        })
    }
}

/// Fetches the file `from`, "HOST:PATH", and stores it as `path`, whose missing directories are made. The file has its
/// name only when it is whole, verified and durable. Otherwise as `udpx_engine_push_file`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; what goes wrong later is the transfer's result.
///
/// # Safety
/// As `udpx_engine_push_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_pull_file(
    engine: *mut udpx_engine,
    from: *const c_char,
    path: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (engine, from, options) = unsafe { receive(engine, from, options, transfer) }?;
        // SAFETY: as above.
        let destination = unsafe { boundary::path(path, "path") }?.to_owned();
        let handle = engine.pull(from, PullTo::Path(destination), &options, Extra::default())?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Fetches a file into a descriptor that is open for writing: a pipe, or a file at its position. It stays the caller's,
/// who may close it at once. What was written is not taken back if the transfer fails: that the whole is what was sent is
/// known by its result. Otherwise as `udpx_engine_push_file`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: also if nothing can be written to it; what goes wrong later is the transfer's result.
///
/// # Safety
/// As `udpx_engine_push_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_pull_fd(
    engine: *mut udpx_engine,
    from: *const c_char,
    fd: c_int,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (engine, from, options) = unsafe { receive(engine, from, options, transfer) }?;
        let file = Arc::new(source::output(fd)?);
        let to = PullTo::Open(Descriptor { file, shown: format!("descriptor {fd}").into() });
        let handle = engine.pull(from, to, &options, Extra::default())?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Fetches a file into memory, which `udpx_transfer_memory` tells when the transfer is over. Otherwise as
/// `udpx_engine_push_file`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; what goes wrong later is the transfer's result.
///
/// # Safety
/// As `udpx_engine_push_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_pull_memory(
    engine: *mut udpx_engine,
    from: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (engine, from, options) = unsafe { receive(engine, from, options, transfer) }?;
        let (memory, file) = Memory::new()?;
        let to = PullTo::Open(Descriptor { file: Arc::new(file), shown: Path::new("memory").into() });
        let handle = engine.pull(from, to, &options, Extra::of_memory(memory))?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Fetches a file and hands its bytes to `on_data` as they come. That the whole is what was sent is known by the
/// transfer's result. Otherwise as `udpx_engine_push_file`; `userdata` has to live until the transfer is freed.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; what goes wrong later is the transfer's result.
///
/// # Safety
/// As `udpx_engine_push_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_engine_pull_data(
    engine: *mut udpx_engine,
    from: *const c_char,
    on_data: udpx_data_fn,
    userdata: *mut c_void,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (engine, from, options) = unsafe { receive(engine, from, options, transfer) }?;
        let take = on_data.ok_or_else(|| wrong("on_data is NULL", "Pass a function that takes the data."))?;
        let extra = Extra::default();
        let taker = Taker::new(take, None, userdata, &extra.seat);
        let handle = engine.pull(from, PullTo::Sink(SinkRef(Arc::new(taker))), &options, extra)?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}
