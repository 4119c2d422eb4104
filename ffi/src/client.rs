//! A client of this machine's daemon.

use std::ffi::{c_char, c_int, c_void};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use udpx_control::Name;
use udpx_control::client::{self, ClientError, SocketChoice};
use udpx_control::schema::{
    Cancel, Command, Event, How, Jobs, List, Local, Pause, Ping, Pull, Push, Reply, Resume, Show, Stats,
    Version,
};
use udpxd::Code;
use udpxd::report::JobError;

use crate::boundary::{self, call, wrong};
use crate::engine::{base_name, memory};
use crate::follow::{self, Job, Order, failed};
use crate::handles::{self, Object};
use crate::memory::Memory;
use crate::options::{Options, UDPX_DETACH, UDPX_RECONNECT, udpx_options};
use crate::place::Place;
use crate::source;
use crate::status::udpx_status;
use crate::transfer::{Extra, Transfer, udpx_transfer};

/// A client of a daemon. Any thread may use it, and several at once: each call and each transfer has a connection of its
/// own, of which a user may have 64.
pub struct udpx_client {
    _private: [u8; 0],
}

/// The object behind a handle.
pub(crate) struct Client {
    choice: SocketChoice,
}

impl Object for Client {
    type Opaque = udpx_client;
    const NAME: &str = "udpx_client";
}

impl Client {
    fn connect(&self) -> Result<client::Client, JobError> {
        client::Client::connect(&self.choice).map_err(|error| failed(&error))
    }

    /// The answer to a request: its result as JSON, and what came before it in `items`.
    fn ask(&self, command: impl Into<Command>) -> Result<Value, JobError> {
        let mut client = self.connect()?;
        let mut items = Vec::new();
        let mut add = |event: Event| match event {
            // One event has many of them.
            Event::Entries { entries } => items.extend(entries.into_iter().map(|entry| json!(entry))),
            Event::Unknown => {}
            event => items.push(json!(event)),
        };
        let reply = client.request(command, &[]).and_then(|responses| responses.finish(&mut add));
        let mut answer = json!(reply.map_err(|error| failed(&error))?);
        answer["items"] = json!(items);
        Ok(answer)
    }

    fn control(&self, job: u64, command: impl Into<Command>) -> Result<(), JobError> {
        if job == 0 {
            return Err(wrong(
                "no job has the number 0",
                "Ask udpx_transfer_job or udpx_client_jobs for it.",
            ));
        }
        self.connect()?.call(command).map(drop).map_err(|error| failed(&error))
    }

    fn begin(&self, options: &Options, order: Order, extra: Extra) -> Result<*mut udpx_transfer, JobError> {
        order.check()?;
        let transfer = Transfer::new(Some(Job::new(self.choice.clone())), extra)?;
        let handle = handles::insert(transfer.clone())?;
        let started = transfer.start(options.listener(), move |transfer| match &transfer.job {
            Some(job) => follow::run(transfer, job, order),
            None => {
                crate::transfer::End::failed(JobError::with_remedy(Code::Bug, "a transfer has lost its job"))
            }
        });
        started.inspect_err(|_| drop(handles::remove::<Transfer>(handle)))?;
        Ok(handle)
    }

    fn push(
        &self,
        file: File,
        name: &[u8],
        to: &Place,
        options: &Options,
    ) -> Result<*mut udpx_transfer, JobError> {
        let bytes = file.metadata().ok().map(|about| about.len());
        let path = Name::new([b"/", name].concat());
        let again = file.try_clone().map_err(|error| {
            JobError::with_remedy(Code::Io, format!("the descriptor could not be duplicated: {error}"))
        })?;
        let open = vec![(path.as_path().to_owned(), again)];
        let push = Push {
            sources: vec![Local { path, how: How::Fd, bytes }],
            destinations: vec![to.remote(options)?],
            options: options.for_daemon()?,
        };
        let order = Order {
            command: push.into(),
            files: vec![file],
            open,
            destination: None,
            reconnects: options.has(UDPX_RECONNECT),
        };
        self.begin(options, order, Extra::default())
    }

    fn pull(&self, from: &Place, path: &Path, options: &Options) -> Result<*mut udpx_transfer, JobError> {
        let wanted = options.for_daemon()?;
        if options.has(UDPX_DETACH) {
            let text = "a pull needs this process, which creates the file, until it is over";
            return Err(wrong(text, "Leave out UDPX_DETACH."));
        }
        let destination = absolute(path)?;
        let pull = Pull {
            sources: vec![from.remote(options)?],
            destination: Local { path: destination.clone().into(), how: How::Vault, bytes: None },
            options: wanted,
        };
        let order = Order {
            command: pull.into(),
            files: Vec::new(),
            open: Vec::new(),
            destination: Some(destination),
            reconnects: options.has(UDPX_RECONNECT),
        };
        self.begin(options, order, Extra::default())
    }

    /// Into what is open already.
    fn pull_open(
        &self,
        from: &Place,
        file: File,
        options: &Options,
        extra: Extra,
    ) -> Result<*mut udpx_transfer, JobError> {
        if options.has(UDPX_DETACH) || options.has(UDPX_RECONNECT) {
            let text = "a descriptor is the daemon's for as long as it runs, and ends with this process";
            return Err(wrong(text, "Leave out UDPX_DETACH and UDPX_RECONNECT, or pull into a file."));
        }
        let pull = Pull {
            sources: vec![from.remote(options)?],
            destination: Local { path: Name::new(*b"/descriptor"), how: How::Fd, bytes: None },
            options: options.for_daemon()?,
        };
        let (open, destination) = (Vec::new(), None);
        let order = Order { command: pull.into(), files: vec![file], open, destination, reconnects: false };
        self.begin(options, order, extra)
    }
}

/// An absolute path whose directory, as far as it is there, has no links: what the daemon asks for later is compared with it.
fn absolute(path: &Path) -> Result<PathBuf, JobError> {
    let failed = |error: std::io::Error| JobError::with_remedy(Code::NoSpace, format!("{path:?}: {error}"));
    let whole = std::path::absolute(path).map_err(failed)?;
    if path.as_os_str().as_bytes().ends_with(b"/") || whole.is_dir() {
        return Err(wrong(
            format!("{path:?} is a directory"),
            "Give the name that the file shall have in it.",
        ));
    }
    let (Some(mut there), Some(name)) = (whole.parent(), whole.file_name()) else {
        return Err(wrong(format!("{path:?} names no file"), "Give the path of a file."));
    };
    let mut missing = vec![name];
    let resolved = loop {
        match there.canonicalize() {
            Ok(resolved) => break resolved,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let (Some(parent), Some(name)) = (there.parent(), there.file_name()) else {
                    return Err(failed(error));
                };
                missing.push(name);
                there = parent;
            }
            Err(error) => return Err(failed(error)),
        }
    };
    Ok(missing.into_iter().rev().fold(resolved, |path, name| path.join(name)))
}

/// Makes a client of a daemon, and asks it for its version.
///
/// `socket` is the path of its control socket; NULL looks where `udpxctl` does: `$UDPX_SOCKET`, the user's own daemon, the
/// system's. Free it by `udpx_client_free`.
///
/// # Errors
/// `UDPX_STATUS_NO_DAEMON`; `UDPX_STATUS_REFUSED`: this user may not use it; `UDPX_STATUS_PROTOCOL`: it is of a version
/// that this library does not speak; `UDPX_STATUS_TRY_AGAIN`: it hangs.
///
/// # Safety
/// `socket` is NULL or terminated, `client` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_new(
    socket: *const c_char,
    client: *mut *mut udpx_client,
) -> udpx_status {
    call(|| {
        boundary::check_out(client, "client")?;
        let given = match socket.is_null() {
            true => None,
            // SAFETY: the caller's promise.
            false => Some(unsafe { boundary::path(socket, "socket") }?.to_owned()),
        };
        let found = Client { choice: SocketChoice::from_env(given) };
        let mut connection = found.connect()?;
        // From now on it is this daemon and no other.
        let choice = SocketChoice::path(connection.path());
        match connection.call(Version {}) {
            Ok(Reply::Version(_)) => {}
            Ok(_) => {
                return Err(JobError::with_remedy(Code::Protocol, "the daemon does not tell its version"));
            }
            Err(ClientError::Refused(report)) => return Err(follow::of_report(&report)),
            Err(error) => return Err(failed(&error)),
        }
        let handle = handles::insert(Arc::new(Client { choice }))?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store(client, "client", handle) }
    })
}

/// Frees a client. Its transfers go on. NULL is nothing to free.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: it was freed before.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_client_free(client: *mut udpx_client) -> udpx_status {
    call(|| if client.is_null() { Ok(()) } else { handles::remove::<Client>(client).map(drop) })
}

/// Sends the file `path` to the place `to`, "HOST" or "HOST:PATH", as `udpxctl push` does: HOST is a peer of the daemon, a
/// DNS name or an address; a ticket is refused, as it is for engines. The file is opened here, with the rights of this
/// process.
///
/// Returns at once; `*transfer` is to be waited for and freed.
///
/// # Errors
/// `UDPX_STATUS_USAGE`, `UDPX_STATUS_NO_SOURCE`; what goes wrong later, at the daemon too, is the transfer's result.
///
/// # Safety
/// Texts are NULL or terminated, `options` is NULL or has `options->size` bytes, `transfer` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_push_file(
    client: *mut udpx_client,
    path: *const c_char,
    to: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (client, to, options) = unsafe { receive(client, to, options, transfer) }?;
        // SAFETY: as above.
        let path = unsafe { boundary::path(path, "path") }?;
        let file = source::open(path)?;
        let Some(name) = path.file_name() else {
            return Err(wrong(format!("{path:?} names no file"), "Give the path of a file."));
        };
        let handle = client.push(file, name.as_bytes(), &to, &options)?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Sends an open file; otherwise as `udpx_client_push_file`. `fd` is open for reading and stays the caller's, who may close
/// it at once. `name` is what the file is called, without slashes.
///
/// # Errors
/// As `udpx_client_push_file`.
///
/// # Safety
/// As `udpx_client_push_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_push_fd(
    client: *mut udpx_client,
    fd: c_int,
    name: *const c_char,
    to: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (client, to, options) = unsafe { receive(client, to, options, transfer) }?;
        // SAFETY: as above.
        let name = unsafe { base_name(name) }?;
        let handle = client.push(source::duplicate(fd)?, name, &to, &options)?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Sends `bytes` bytes of memory as a file called `name`; otherwise as `udpx_client_push_file`. The memory is copied before
/// the call returns.
///
/// # Errors
/// As `udpx_client_push_file`; `UDPX_STATUS_IO`: there is not so much memory.
///
/// # Safety
/// As `udpx_client_push_file`; `data` is NULL or points to `bytes` readable bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_push_memory(
    client: *mut udpx_client,
    data: *const c_void,
    bytes: usize,
    name: *const c_char,
    to: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (client, to, options) = unsafe { receive(client, to, options, transfer) }?;
        // SAFETY: as above.
        let (name, data) = unsafe { (base_name(name)?, memory(data, bytes)?) };
        let handle = client.push(source::memory(data)?, name, &to, &options)?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Fetches the file `from`, "HOST:PATH", and stores it as `path`, whose missing directories are made. Otherwise as
/// `udpx_client_push_file`. The file is created by this process, with its rights: the job waits when the transfer is
/// freed before it is over.
///
/// # Errors
/// As `udpx_client_push_file`; `UDPX_STATUS_NO_SPACE`: the directory cannot be reached.
///
/// # Safety
/// As `udpx_client_push_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_pull_file(
    client: *mut udpx_client,
    from: *const c_char,
    path: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (client, from, options) = unsafe { receive(client, from, options, transfer) }?;
        // SAFETY: as above.
        let path = unsafe { boundary::path(path, "path") }?;
        let handle = client.pull(&from, path, &options)?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Fetches a file into a descriptor that is open for writing: a pipe, or a file at its position. It stays the caller's,
/// who may close it at once. What was written is not taken back if the transfer fails: that the whole is what was sent is
/// known by its result. Otherwise as `udpx_client_push_file`.
///
/// # Errors
/// As `udpx_client_push_file`; `UDPX_STATUS_USAGE` also if nothing can be written to it.
///
/// # Safety
/// As `udpx_client_push_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_pull_fd(
    client: *mut udpx_client,
    from: *const c_char,
    fd: c_int,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (client, from, options) = unsafe { receive(client, from, options, transfer) }?;
        let handle = client.pull_open(&from, source::output(fd)?, &options, Extra::default())?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Fetches a file into memory, which `udpx_transfer_memory` tells when the transfer is over. Otherwise as
/// `udpx_client_push_file`.
///
/// # Errors
/// As `udpx_client_push_file`.
///
/// # Safety
/// As `udpx_client_push_file`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_pull_memory(
    client: *mut udpx_client,
    from: *const c_char,
    options: *const udpx_options,
    transfer: *mut *mut udpx_transfer,
) -> udpx_status {
    call(|| {
        // SAFETY: the caller's promise, here and below.
        let (client, from, options) = unsafe { receive(client, from, options, transfer) }?;
        let (memory, file) = Memory::new()?;
        let handle = client.pull_open(&from, file, &options, Extra::of_memory(memory))?;
        // SAFETY: as above.
        unsafe { boundary::store(transfer, "transfer", handle) }
    })
}

/// Lists the directory `place`, "HOST" or "HOST:PATH", as JSON: `items` are its entries (`docs/CONTROL.md` 5.2). Of the
/// options only `port` and `peer_key` count. Waits for the answer. Free the text by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; what the daemon and the host say.
///
/// # Safety
/// Texts are NULL or terminated, `options` is NULL or has `options->size` bytes, `json` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_list(
    client: *mut udpx_client,
    place: *const c_char,
    options: *const udpx_options,
    json: *mut *mut c_char,
) -> udpx_status {
    // SAFETY: the caller's promise, in all three.
    call(|| unsafe {
        let (client, place, options) = receive(client, place, options, json)?;
        let answer = client.ask(List { place: place.remote(&options)? })?;
        boundary::store_text(json, "json", &answer.to_string())
    })
}

/// Asks `host` for `count` echoes of `bytes` bytes each, `interval_ms` milliseconds apart, and tells what came back as JSON.
/// Of the options only `port` and `peer_key` count. Waits for them. Free the text by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; `UDPX_STATUS_UNREACHABLE`; what the daemon says.
///
/// # Safety
/// As `udpx_client_list`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_ping(
    client: *mut udpx_client,
    host: *const c_char,
    count: u32,
    interval_ms: u32,
    bytes: u32,
    options: *const udpx_options,
    json: *mut *mut c_char,
) -> udpx_status {
    // SAFETY: the caller's promise, in all three.
    call(|| unsafe {
        let (client, place, options) = receive(client, host, options, json)?;
        let place = place.remote(&options)?;
        let interval_us = u64::from(interval_ms) * 1000;
        let ping = Ping { host: place.host, port: place.port, key: place.key, count, interval_us, bytes };
        boundary::store_text(json, "json", &client.ask(ping)?.to_string())
    })
}

/// The jobs of this user as JSON, `items`; with `ended` not 0 also those that have ended. Free the text by
/// `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; what the daemon says.
///
/// # Safety
/// `json` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_jobs(
    client: *mut udpx_client,
    ended: c_int,
    json: *mut *mut c_char,
) -> udpx_status {
    // SAFETY: the caller's promise.
    unsafe { asked(client, Jobs { ended: ended != 0, everyone: false }, json) }
}

/// One job as JSON, ended or not. Free the text by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: also if there is no such job of this user.
///
/// # Safety
/// `json` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_show(
    client: *mut udpx_client,
    job: u64,
    json: *mut *mut c_char,
) -> udpx_status {
    // SAFETY: the caller's promise.
    unsafe { asked(client, Show { job, samples: false }, json) }
}

/// The daemon's counters and sessions as JSON; for admins and the daemon's own user. Free the text by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; `UDPX_STATUS_REFUSED`: this user may not.
///
/// # Safety
/// `json` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_stats(client: *mut udpx_client, json: *mut *mut c_char) -> udpx_status {
    // SAFETY: the caller's promise.
    unsafe { asked(client, Stats {}, json) }
}

/// Versions of the daemon as JSON. Free the text by `udpx_string_free`.
///
/// # Errors
/// `UDPX_STATUS_USAGE`; what the daemon says.
///
/// # Safety
/// `json` is NULL or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_client_version(
    client: *mut udpx_client,
    json: *mut *mut c_char,
) -> udpx_status {
    // SAFETY: the caller's promise.
    unsafe { asked(client, Version {}, json) }
}

/// Cancels a job, of any process of this user.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: also if there is no such job.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_client_cancel(client: *mut udpx_client, job: u64) -> udpx_status {
    call(|| handles::get::<Client>(client)?.control(job, Cancel { job }))
}

/// Pauses a job.
///
/// # Errors
/// As `udpx_client_cancel`.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_client_pause(client: *mut udpx_client, job: u64) -> udpx_status {
    call(|| handles::get::<Client>(client)?.control(job, Pause { job }))
}

/// Goes on with a job that is paused or waits.
///
/// # Errors
/// As `udpx_client_cancel`.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_client_resume(client: *mut udpx_client, job: u64) -> udpx_status {
    call(|| handles::get::<Client>(client)?.control(job, Resume { job }))
}

/// Asks what needs no more than the command.
unsafe fn asked(
    client: *mut udpx_client,
    command: impl Into<Command>,
    json: *mut *mut c_char,
) -> udpx_status {
    call(|| {
        let client = handles::get::<Client>(client)?;
        boundary::check_out(json, "json")?;
        let answer = client.ask(command)?;
        // SAFETY: the caller's promise.
        unsafe { boundary::store_text(json, "json", &answer.to_string()) }
    })
}

/// What every request about a host is given.
unsafe fn receive<T>(
    client: *const udpx_client,
    place: *const c_char,
    options: *const udpx_options,
    out: *mut T,
) -> Result<(Arc<Client>, Place, Options), JobError> {
    let client = handles::get::<Client>(client)?;
    boundary::check_out(out, "the pointer for the result")?;
    // SAFETY: the caller's promise.
    unsafe { Ok((client, Place::parse(boundary::bytes(place, "the place")?)?, Options::load(options)?)) }
}
