//! Room for a part, before any byte of it has travelled.
//!
//! A disk's file system reserves a file by noting extents. One in memory (tmpfs) takes and accounts for each page: 0.28 s a GiB, in
//! which nothing could be written, for pages that the first write takes as fast. There the free space is looked at
//! and the file only given its length; if others use up the space meanwhile, the write says so.

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
    if ops.is_memory(file) {
        return ops.set_len(file, size).map_err(|error| VaultError::at(shown, "given its size", error));
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::super::fileops::LinuxFiles;
    use super::*;

    const SIZE: u64 = 8 << 20;

    #[test]
    fn memory_is_not_taken_page_by_page_before_data_flows() {
        let Ok(dir) = tempfile::tempdir_in("/dev/shm") else {
            return println!("SKIPPED memory_is_not_taken_page_by_page_before_data_flows: no /dev/shm");
        };
        let file = File::create(dir.path().join("part")).unwrap();
        if !LinuxFiles.is_memory(&file) {
            return println!(
                "SKIPPED memory_is_not_taken_page_by_page_before_data_flows: /dev/shm is no tmpfs"
            );
        }
        reserve(&LinuxFiles, &file, Path::new("part"), SIZE).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!((metadata.len(), metadata.blocks()), (SIZE, 0));
        let more = LinuxFiles.free_bytes(&file).unwrap().saturating_add(SIZE);
        let refused = reserve(&LinuxFiles, &file, Path::new("part"), more);
        assert!(matches!(refused, Err(VaultError::NoSpace { .. })), "{refused:?}");
    }

    #[test]
    fn elsewhere_it_is_as_large_as_it_will_be_and_reserved_where_that_is_possible() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("part")).unwrap();
        reserve(&LinuxFiles, &file, Path::new("part"), SIZE).unwrap();
        assert_eq!(file.metadata().unwrap().len(), SIZE);
    }
}
