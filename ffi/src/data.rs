//! Bytes that go straight to a callback of C, from the memory in which they arrived.
//!
//! ```text
//! engine ──► whole blocks, in order ──► a thread of the sink ──► udpx_data_fn
//!    ◄── credit: what was not taken yet pushes back on the sender ──┘
//! ```
//!
//! A callback that takes its time holds up nothing but its own file, and loses nothing. What it has seen was
//! authenticated packet by packet; that the whole is what was sent is known at the end, and told by the event or the
//! result. Who wants only whole files has them kept in a spool first ([`Spooled`]).

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use udpxd::Code;
use udpxd::embedded::Sink;
use udpxd::hosting::HostEvent;
use udpxd::report::JobError;

use crate::event::{Told, udpx_event};
use crate::source;

/// Takes what has come, piece by piece and in order; returns 0 to go on, anything else to leave the rest: then the
/// transfer fails.
///
/// It is called on a thread of the library, never on two at once for one listener or transfer, and may take its time: the
/// sender waits, and nothing is lost. `data` is good until it returns. It may call the library, except for what would wait
/// for it: freeing its own listener, transfer or engine.
pub type udpx_data_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, data: *const c_void, bytes: usize) -> c_int>;

/// A file begins: `file->path` is what its sender calls it, `file->total` its bytes, 0 while they are not known. Returns 0 to
/// take it. What was handed over of a file before that did not come to its end is void then: the same file may begin once
/// more after a lost connection.
///
/// It is called before the file's first byte, and as `udpx_data_fn` is; `file` is good until it returns.
pub type udpx_start_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, file: *const udpx_event) -> c_int>;

type Take = unsafe extern "C" fn(*mut c_void, *const c_void, usize) -> c_int;
type Start = unsafe extern "C" fn(*mut c_void, *const udpx_event) -> c_int;

/// Marks calls into C for one listener or transfer, so that a call from inside of them is known.
#[derive(Clone, Default)]
pub(crate) struct Seat(Arc<u8>);

thread_local! {
    /// For which one this thread is inside a callback.
    static INSIDE: Cell<*const u8> = const { Cell::new(std::ptr::null()) };
}

impl Seat {
    fn during<T>(&self, body: impl FnOnce() -> T) -> T {
        let before = INSIDE.replace(Arc::as_ptr(&self.0));
        let done = body();
        INSIDE.set(before);
        done
    }

    /// Whether the calling thread is inside such a callback.
    pub(crate) fn is_here(&self) -> bool {
        INSIDE.get() == Arc::as_ptr(&self.0)
    }
}

/// The callbacks of C with their userdata.
#[derive(Clone)]
pub(crate) struct Taker {
    take: Take,
    start: Option<Start>,
    userdata: *mut c_void,
    seat: Seat,
}

// SAFETY: the userdata is handed to the callbacks and not touched; that both may be used on another thread is what the
// documentation of `udpx_data_fn` asks of them. They are not called on two threads at once.
unsafe impl Send for Taker {}
// SAFETY: as above.
unsafe impl Sync for Taker {}

impl Taker {
    pub(crate) fn new(take: Take, start: Option<Start>, userdata: *mut c_void, seat: &Seat) -> Self {
        Self { take, start, userdata, seat: seat.clone() }
    }
}

impl Sink for Taker {
    fn begin(&self, path: &Path, size: Option<u64>) -> bool {
        let Some(start) = self.start else { return true };
        let told = Told::beginning(path, size);
        let file = told.as_c();
        // SAFETY: whoever passed it vouches for it until the handle is freed, which waits for this call; here and below.
        self.seat.during(|| unsafe { start(self.userdata, &raw const file) == 0 })
    }

    fn begins_again(&self) -> bool {
        self.start.is_some()
    }

    fn take(&self, bytes: &[u8]) -> bool {
        // SAFETY: as above.
        self.seat.during(|| unsafe { (self.take)(self.userdata, bytes.as_ptr().cast(), bytes.len()) == 0 })
    }
}

/// A file that is kept until it is whole and verified, and is handed over then.
pub(crate) struct Spooled {
    taker: Taker,
    /// A directory of our own in which it is kept.
    spool: PathBuf,
}

impl Spooled {
    pub(crate) fn new(taker: Taker, place: &Path) -> Result<Self, JobError> {
        let failed = |error: std::io::Error| {
            JobError::with_remedy(Code::NoSpace, format!("no directory could be made in {place:?}: {error}"))
        };
        for number in 0..SPOOL_NAMES {
            let spool = place.join(format!("udpx-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&spool) {
                Ok(()) => return Ok(Self { taker, spool }),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(failed(std::io::ErrorKind::AlreadyExists.into()))
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.spool.join("data")
    }

    /// Hands over what came.
    pub(crate) fn deliver(&self, event: HostEvent) -> HostEvent {
        let HostEvent::Came { peer, from, file } = event else { return event };
        let each = |data: &[u8]| self.taker.take(data);
        let path = self.file();
        let poured = File::open(&path).and_then(|data| {
            std::fs::remove_file(&path)?;
            Ok(self.taker.begin(Path::new(""), Some(file.bytes)) && source::pour(data, each)?)
        });
        let not_come = |code, text: String| HostEvent::NotCome {
            peer: peer.clone(),
            from,
            path: file.path.clone(),
            code,
            text,
        };
        match poured {
            Ok(true) => HostEvent::Came { peer, from, file },
            Ok(false) => not_come(Code::Refused, "The callback did not take all of it.".into()),
            Err(error) => not_come(Code::Io, format!("What came could not be read again: {error}.")),
        }
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        // What is left is in a directory of this user's only; there is nobody to tell.
        let _ = std::fs::remove_dir_all(&self.spool);
    }
}

/// Spools of one process at once.
const SPOOL_NAMES: u32 = 4096;
