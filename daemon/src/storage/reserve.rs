//! Room for a part, before any byte of it has travelled.

use std::fs::File;
use std::io;
use std::path::Path;

use super::fileops::FileOps;
use super::part::{is_no_space, is_unsupported};
use super::vault::VaultError;

/// Reserves the space of a file, so that a full disk shows before data flows. `shown` is its final name, for messages.
///
/// # Errors
/// [`VaultError::NoSpace`], [`VaultError::TooLarge`], or what else the system says.
pub(super) fn reserve(ops: &dyn FileOps, file: &File, shown: &Path, size: u64) -> Result<(), VaultError> {
    if size == 0 {
        return Ok(());
    }
    let free = ops.free_bytes(file).map_err(|error| VaultError::at(shown, "examined", error))?;
    if free < size {
        return Err(VaultError::NoSpace { path: shown.into(), needed: size, free });
    }
    let reserved = loop {
        match ops.allocate(file, size) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_unsupported(&error) => break ops.set_len(file, size),
            reserved => break reserved,
        }
    };
    reserved.map_err(|error| match error.raw_os_error() {
        Some(libc::EFBIG) => VaultError::TooLarge { path: shown.into(), size },
        _ if is_no_space(&error) => {
            let free = ops.free_bytes(file).unwrap_or(0);
            VaultError::NoSpace { path: shown.into(), needed: size, free }
        }
        _ => VaultError::at(shown, "given its size", error),
    })
}
