//! `sync_file_range(2)`, which no safe wrapper offers: starts the write-back of a file that is being received,
//! so that its final fsync finds little left to do. It stands here because this directory is the only one of
//! the storage layer where unsafe calls are allowed.
#![allow(unsafe_code, reason = "sync_file_range exists only as an unsafe call")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

/// Starts writing back all dirty pages of `file`; with `wait`, first waits for those already on their way.
/// This is a matter of pace only and promises nothing about durability.
pub(in crate::storage) fn start(file: &File, wait: bool) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WRITE | if wait { libc::SYNC_FILE_RANGE_WAIT_BEFORE } else { 0 };
    // SAFETY: sync_file_range(2) takes no pointer; offset 0 and length 0 mean the whole file.
    match unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
