//! Statuses: the one table of errors as C sees it, and what the last failure of a thread was.

use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

use udpxd::Code;
use udpxd::report::JobError;

use crate::boundary::{self, Sized, call};

macro_rules! statuses {
    ($($variant:ident $code:ident;)*) => {
        impl udpx_status {
            pub(crate) fn of(code: Code) -> Self {
                match code {
                    $(Code::$code => Self::$variant,)*
                    _ => Self::Other,
                }
            }

            #[cfg(test)]
            const ALL: &[(Self, Code)] = &[$((Self::$variant, Code::$code),)*];
        }
    };
}

/// What a call came to. The numbers are those of the table of errors of udpx (`docs/ERRORS.md`) and are never reused; a
/// later version may have more of them.
#[repr(C)]
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub enum udpx_status {
    /// Everything went well.
    Ok = 0,
    /// Something failed that has no code of its own.
    Other = 1,
    /// The call is wrong: NULL, a size, a handle that was freed, a text that makes no sense.
    Usage = 2,
    /// Some of several files failed.
    Partly = 4,
    /// Data did not match its digest after three tries.
    Corrupt = 65,
    /// The source cannot be opened.
    NoSource = 66,
    /// The source changed while it was sent.
    SourceChanged = 67,
    /// The host does not answer.
    Unreachable = 68,
    /// No daemon runs on this machine.
    NoDaemon = 69,
    /// This is a bug of udpx.
    Bug = 70,
    /// The destination has no room, or cannot be created.
    NoSpace = 73,
    /// A disk or network operation failed.
    Io = 74,
    /// It took too long, or was put off.
    TryAgain = 75,
    /// The other side speaks another version, or not the protocol.
    Protocol = 76,
    /// The peer or this machine does not permit it.
    Refused = 77,
    /// A configuration is not valid.
    Config = 78,
    /// It was cancelled.
    Interrupted = 130,
}

statuses! {
    Ok Done;
    Other Other;
    Usage Usage;
    Partly Partly;
    Corrupt Corrupt;
    NoSource NoSource;
    SourceChanged SourceChanged;
    Unreachable Unreachable;
    NoDaemon NoDaemon;
    Bug Bug;
    NoSpace NoSpace;
    Io Io;
    TryAgain TryAgain;
    Protocol Protocol;
    Refused Refused;
    Config Config;
    Interrupted Interrupted;
}

/// Why a call of this thread failed. Set `size` to `sizeof(udpx_error)` before the call.
#[repr(C)]
#[derive(Copy, Clone, Debug)]
pub struct udpx_error {
    /// Bytes of the structure.
    pub size: usize,
    /// The status that the call returned.
    pub status: udpx_status,
    /// Its name in the table of errors, e.g. "no-source".
    pub kind: *const c_char,
    /// What happened, UTF-8. Control characters are escaped: it may be shown as it is.
    pub text: *const c_char,
    /// What to do about it, UTF-8; may be empty.
    pub remedy: *const c_char,
}

// SAFETY: `repr(C)`, begins with its size, and is only stored.
unsafe impl Sized for udpx_error {
    const NAME: &str = "udpx_error";
}

struct Last {
    status: udpx_status,
    kind: CString,
    text: CString,
    remedy: CString,
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

/// Keeps a failure for `udpx_last_error`.
pub(crate) fn fail(error: &JobError) -> udpx_status {
    let status = udpx_status::of(error.code);
    let last = Last {
        status,
        kind: boundary::c_text(error.code.kind()),
        text: boundary::c_text(&error.text),
        remedy: boundary::c_text(&error.remedy),
    };
    // While the thread ends there is nobody left to ask.
    let _ = LAST.try_with(|cell| cell.replace(Some(last)));
    status
}

/// Tells why the last call of this thread that failed did.
///
/// The texts belong to the library and are good until the next call of this thread that fails. If none has failed yet the
/// status is `UDPX_STATUS_OK` and the texts are empty.
///
/// # Errors
/// `UDPX_STATUS_USAGE`: `error` is NULL or its size is wrong.
///
/// # Safety
/// `error` is NULL or points to a structure of `error->size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_last_error(error: *mut udpx_error) -> udpx_status {
    call(|| {
        let told = LAST.with_borrow(|last| match last {
            Some(Last { status, kind, text, remedy }) => udpx_error {
                size: 0,
                status: *status,
                kind: kind.as_ptr(),
                text: text.as_ptr(),
                remedy: remedy.as_ptr(),
            },
            None => udpx_error {
                size: 0,
                status: udpx_status::Ok,
                kind: c"done".as_ptr(),
                text: c"".as_ptr(),
                remedy: c"".as_ptr(),
            },
        });
        // SAFETY: the caller's promise.
        unsafe { boundary::store_sized(error, told) }
    })
}

/// What a status means, as a sentence. The text is static; a number that is none of ours gives that of
/// `UDPX_STATUS_OTHER`.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_strerror(status: i32) -> *const c_char {
    let code = u32::try_from(status).map_or(Code::Other, Code::from_number);
    text_of(code).as_ptr()
}

/// Static texts of the table, terminated.
fn text_of(code: Code) -> &'static CStr {
    static TEXTS: std::sync::OnceLock<Vec<(Code, CString)>> = std::sync::OnceLock::new();
    let texts =
        TEXTS.get_or_init(|| Code::ALL.iter().map(|&code| (code, boundary::c_text(code.text()))).collect());
    let found = texts.iter().find(|(this, _)| *this == code);
    found.map_or(c"Something failed.", |(_, text)| text.as_c_str())
}

/// The version of the library that is loaded, e.g. "0.1.0"; static. `UDPX_VERSION` is that of the header.
#[unsafe(no_mangle)]
pub extern "C" fn udpx_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Frees a text that the library has handed over. NULL is nothing to free.
///
/// # Safety
/// `text` is NULL, or came from a function that says to free it by this one, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn udpx_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: the caller's promise: it came out of CString::into_raw.
        drop(unsafe { CString::from_raw(text) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_enum_is_the_one_table() {
        assert_eq!(udpx_status::ALL.len(), Code::ALL.len(), "a code of the table is missing here");
        for &(status, code) in udpx_status::ALL {
            assert_eq!((status as u32, udpx_status::of(code)), (code.number(), status));
        }
    }

    #[test]
    fn texts_are_those_of_the_table() {
        for &code in Code::ALL {
            // SAFETY: the text is static and terminated.
            let text = unsafe { CStr::from_ptr(udpx_strerror(code.number() as i32)) };
            assert_eq!(text.to_str().unwrap(), code.text());
        }
        for unknown in [-1, i32::MAX, i32::MIN, 3] {
            assert_eq!(udpx_strerror(unknown), udpx_strerror(1));
        }
    }
}
