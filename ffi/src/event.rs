//! What happens at a listener, as C gets it.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use udpxd::Code;
use udpxd::hosting::HostEvent;
use udpxd::report::JobError;

use crate::boundary::{self, Sized};
use crate::status::udpx_status;

/// `kind`: nothing happened in time.
pub const UDPX_EVENT_NONE: u32 = 0;
/// `kind`: a peer, or the holder of the ticket, has connected.
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
    /// Who it was: a peer by its name, the holder of a ticket by the beginning of its key; "" where that is not known.
    pub peer: *const c_char,
}

// SAFETY: `repr(C)`, begins with its size, and is only stored.
unsafe impl Sized for udpx_event {
    const NAME: &str = "udpx_event";
    const LEAST: usize = std::mem::offset_of!(Self, peer);
}

/// An event as C gets it.
pub(crate) struct Told {
    event_told: udpx_event,
    path: CString,
    text: CString,
    peer: CString,
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
            peer: std::ptr::null(),
        };
        Self { event_told, path: CString::default(), text: CString::default(), peer: CString::default() }
    }
}

impl Told {
    /// A file that begins.
    pub(crate) fn beginning(path: &Path, size: Option<u64>) -> Self {
        let mut told = Self::default();
        told.event_told.kind = UDPX_EVENT_ARRIVING;
        told.event_told.total = size.unwrap_or(0);
        told.path = CString::new(path.as_os_str().as_bytes()).unwrap_or_default();
        told
    }

    /// Its texts are good for as long as this is.
    pub(crate) fn as_c(&self) -> udpx_event {
        let size = size_of::<udpx_event>();
        let (path, text, peer) = (self.path.as_ptr(), self.text.as_ptr(), self.peer.as_ptr());
        udpx_event { size, path, text, peer, ..self.event_told }
    }

    pub(crate) fn of(event: HostEvent) -> Self {
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
        let mut who = |peer: &str| told.peer = boundary::c_text(peer);
        match event {
            HostEvent::Connected { peer, .. } => {
                this.kind = UDPX_EVENT_CONNECTED;
                who(&peer);
            }
            HostEvent::Disconnected { peer, code, text, .. } => {
                who(&peer);
                (this.kind, this.status) = (UDPX_EVENT_DISCONNECTED, why(code, &text));
            }
            HostEvent::Refused { text, .. } => {
                (this.kind, this.status) = (UDPX_EVENT_REFUSED, why(Code::Refused, &text));
            }
            HostEvent::Arriving { peer, path, bytes, total, rate_bps, .. } => {
                (this.kind, this.bytes, this.total, this.rate_bps) =
                    (UDPX_EVENT_ARRIVING, bytes, total, rate_bps);
                name(&path);
                who(&peer);
            }
            HostEvent::Came { peer, file, .. } => {
                (this.kind, this.bytes, this.total) = (UDPX_EVENT_CAME, file.bytes, file.bytes);
                this.digest = file.digest;
                name(&file.path);
                who(&peer);
            }
            HostEvent::NotCome { peer, path, code, text, .. } => {
                (this.kind, this.status) = (UDPX_EVENT_NOT_COME, why(code, &text));
                name(&path);
                who(&peer);
            }
            HostEvent::Went { peer, path, bytes, .. } => {
                (this.kind, this.bytes, this.total) = (UDPX_EVENT_WENT, bytes, bytes);
                name(&path);
                who(&peer);
            }
            HostEvent::NotWent { peer, path, code, text, .. } => {
                (this.kind, this.status) = (UDPX_EVENT_NOT_WENT, why(code, &text));
                name(&path);
                who(&peer);
            }
            _ => {}
        }
        told
    }
}

/// Hands an event to C; its texts stay where they are until the next one of this thread.
///
/// # Safety
/// As [`boundary::store_sized`].
pub(crate) unsafe fn tell(event: *mut udpx_event, told: Told) -> Result<(), JobError> {
    TOLD.with_borrow_mut(|last| {
        let told = last.insert(told);
        // SAFETY: the caller's promise.
        unsafe { boundary::store_sized(event, told.as_c()) }
    })
}

thread_local! {
    /// The last event that this thread was told.
    static TOLD: RefCell<Option<Told>> = const { RefCell::new(None) };
}
