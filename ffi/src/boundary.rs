//! What comes from C is looked at here, before anything else sees it; and nothing unwinds beyond here.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use udpxd::Code;
use udpxd::report::JobError;

use crate::status::{fail, udpx_status};

/// Runs the body of a function that C calls.
pub(crate) fn call(body: impl FnOnce() -> Result<(), JobError>) -> udpx_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => udpx_status::Ok,
        Ok(Err(error)) => fail(&error),
        Err(_) => fail(&bug()),
    }
}

/// What a thread of the library came to, where it may have panicked.
pub(crate) fn guarded<T>(body: impl FnOnce() -> Result<T, JobError>) -> Result<T, JobError> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| Err(bug()))
}

fn bug() -> JobError {
    JobError::with_remedy(Code::Bug, "libudpx has panicked; standard error says where")
}

/// A call that makes no sense.
pub(crate) fn wrong(text: impl Into<String>, remedy: &str) -> JobError {
    JobError::new(Code::Usage, text, remedy)
}

fn is_null(name: &str) -> JobError {
    wrong(format!("{name} is NULL"), "Pass what the function's documentation says.")
}

/// Structures that begin with their size, so that later versions can add to them.
///
/// # Safety
/// It is `repr(C)` and its first field is a `usize` that says its size. If it is ever loaded, any bytes are a value of it.
pub(crate) unsafe trait Sized: Copy {
    /// What C calls it.
    const NAME: &str;
    /// Bytes that it had in the first version that had it: what was added since may be missing, and is 0 then.
    const LEAST: usize = size_of::<Self>();
}

/// Most bytes that a structure of any later version may have.
const STRUCT_BYTES_MAX: usize = 4096;

fn check_size<T: Sized>(size: usize) -> Result<(), JobError> {
    if (T::LEAST..=STRUCT_BYTES_MAX).contains(&size) {
        return Ok(());
    }
    let (name, bytes) = (T::NAME, size_of::<T>());
    let text = format!("{name}.size is {size}, and the structure has {bytes} bytes");
    Err(wrong(text, "Set it to sizeof of the structure; compile against the header of this library."))
}

/// Reads a structure that C filled in. An earlier version's may be smaller: what is new since is 0. A later version's may
/// be larger, if what is new in it is unused (zeros).
///
/// # Safety
/// `from` is NULL or points to as many readable bytes as its first field says.
pub(crate) unsafe fn load_sized<T: Sized>(from: *const T) -> Result<T, JobError> {
    if from.is_null() {
        return Err(is_null(T::NAME));
    }
    // SAFETY: the trait's promise: it begins with its size.
    let size = unsafe { from.cast::<usize>().read() };
    check_size::<T>(size)?;
    let known = size.min(size_of::<T>());
    // SAFETY: the caller's promise: there are `size` bytes.
    let beyond = unsafe { std::slice::from_raw_parts(from.cast::<u8>().add(known), size - known) };
    if beyond.iter().any(|&byte| byte != 0) {
        let text = format!("{} has fields that this version of libudpx does not know", T::NAME);
        return Err(JobError::new(Code::Protocol, text, "Install the version of libudpx of the header."));
    }
    let mut loaded = MaybeUninit::<T>::zeroed();
    // SAFETY: there are so many bytes on both sides, and by the trait's promise any bytes are a value.
    unsafe {
        loaded.as_mut_ptr().cast::<u8>().copy_from_nonoverlapping(from.cast::<u8>(), known);
        Ok(loaded.assume_init())
    }
}

/// Checks, before anything is done, that a result can be stored.
///
/// # Safety
/// `to` is NULL or points to as many writable bytes as its first field says.
pub(crate) unsafe fn check_sized<T: Sized>(to: *const T) -> Result<(), JobError> {
    if to.is_null() {
        return Err(is_null(T::NAME));
    }
    // SAFETY: the trait's promise: it begins with its size.
    check_size::<T>(unsafe { to.cast::<usize>().read() })
}

/// Stores a structure for C, which has set its size. What a later version's has more is left alone, and what an earlier
/// one's does not have is left out.
///
/// # Safety
/// As [`check_sized`].
pub(crate) unsafe fn store_sized<T: Sized>(to: *mut T, value: T) -> Result<(), JobError> {
    // SAFETY: the caller's promise, here and below; the size was checked to cover it.
    unsafe {
        check_sized(to)?;
        let size = to.cast::<usize>().read();
        let known = size.min(size_of::<T>());
        to.cast::<u8>().copy_from_nonoverlapping((&raw const value).cast::<u8>(), known);
        to.cast::<usize>().write(size);
    }
    Ok(())
}

/// Fills in a structure of C's that has `size` bytes: a whole one, or one of an earlier version.
///
/// # Safety
/// `to` is NULL or points to `size` bytes that may be written.
pub(crate) unsafe fn init_sized<T: Sized>(to: *mut T, size: usize, value: T) -> Result<(), JobError> {
    check_out(to, "options")?;
    if !(T::LEAST..=size_of::<T>()).contains(&size) {
        let text = format!("{} has {} bytes here, not {size}", T::NAME, size_of::<T>());
        return Err(wrong(text, "Pass sizeof of the structure, and use the header of this library."));
    }
    // SAFETY: the caller's promise.
    unsafe {
        to.cast::<usize>().write(size);
        store_sized(to, value)
    }
}

/// Checks, before anything is done, that a result can be stored.
pub(crate) fn check_out<T>(to: *const T, name: &str) -> Result<(), JobError> {
    if to.is_null() { Err(is_null(name)) } else { Ok(()) }
}

/// Stores a result.
///
/// # Safety
/// `to` is NULL or may be written.
pub(crate) unsafe fn store<T>(to: *mut T, name: &str, value: T) -> Result<(), JobError> {
    check_out(to, name)?;
    // SAFETY: the caller's promise; old bytes of C's are not to be dropped.
    unsafe { to.write(value) };
    Ok(())
}

/// The bytes of a C string.
///
/// # Safety
/// `text` is NULL or terminated.
pub(crate) unsafe fn bytes<'a>(text: *const c_char, name: &str) -> Result<&'a [u8], JobError> {
    if text.is_null() {
        return Err(is_null(name));
    }
    // SAFETY: the caller's promise.
    Ok(unsafe { CStr::from_ptr(text) }.to_bytes())
}

/// A C string that has to be text.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, JobError> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(text, name) }?;
    let not_text = |_| wrong(format!("{name} is not UTF-8"), "Pass UTF-8; only paths may be other bytes.");
    std::str::from_utf8(bytes).map_err(not_text)
}

/// A path; any bytes but none.
///
/// # Safety
/// As [`bytes`].
pub(crate) unsafe fn path<'a>(path: *const c_char, name: &str) -> Result<&'a Path, JobError> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(path, name) }?;
    if bytes.is_empty() {
        return Err(wrong(format!("{name} is empty"), "Give a path."));
    }
    Ok(Path::new(OsStr::from_bytes(bytes)))
}

/// A text for C: control characters, NUL among them, are escaped.
pub(crate) fn c_text(text: &str) -> CString {
    let escaped: String = text.chars().fold(String::with_capacity(text.len()), |mut all, character| {
        match character.is_control() {
            true => all.extend(character.escape_default()),
            false => all.push(character),
        }
        all
    });
    CString::new(escaped).unwrap_or_default()
}

/// Hands a text over to C.
///
/// # Safety
/// As [`store`].
pub(crate) unsafe fn store_text(to: *mut *mut c_char, name: &str, text: &str) -> Result<(), JobError> {
    check_out(to, name)?;
    // SAFETY: the caller's promise.
    unsafe { store(to, name, c_text(text).into_raw()) }
}

/// When a time-out is over; `None` is never.
pub(crate) fn deadline(timeout_ms: u32) -> Option<Instant> {
    (timeout_ms != crate::options::UDPX_FOREVER)
        .then(|| Instant::now() + Duration::from_millis(timeout_ms.into()))
}
