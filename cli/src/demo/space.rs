//! Is there room for a file and its copy? Asked before anything is written.

use std::path::Path;

use nix::sys::statvfs::statvfs;
use udpxd::Code;

use crate::failure::Failure;
use crate::{escape, units};

/// The size to run with: the one wanted, or the largest whole MiB that fits twice.
pub(super) fn affordable(directory: &Path, wanted: u64) -> Result<u64, Failure> {
    let free = free_bytes(directory)?;
    largest(free, wanted).ok_or_else(|| no_room(directory, free))
}

/// Fails if a copy of `size` bytes does not fit.
pub(super) fn room_for_copy(directory: &Path, size: u64) -> Result<(), Failure> {
    let free = free_bytes(directory)?;
    if size.saturating_add(RESERVE) <= free { Ok(()) } else { Err(no_room(directory, free)) }
}

fn largest(free: u64, wanted: u64) -> Option<u64> {
    let each = free.saturating_sub(RESERVE) / 2;
    if wanted <= each {
        return Some(wanted);
    }
    let whole = each / MIB * MIB;
    (whole > 0).then_some(whole)
}

fn free_bytes(directory: &Path) -> Result<u64, Failure> {
    let stat = statvfs(directory).map_err(|errno| {
        Failure::new(Code::Io, format!("the free space of {}: {}", escape::path(directory), errno.desc()))
    })?;
    Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
}

fn no_room(directory: &Path, free: u64) -> Failure {
    let text = format!("there are only {} free in {}", units::size(free), escape::path(directory));
    Failure::with_remedy(Code::NoSpace, text, "Free some, or name another place with --dir.")
}

const MIB: u64 = 1 << 20;
/// Left free for directories, the file system's own needs and whoever else writes there.
const RESERVE: u64 = 16 * MIB;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_size_that_fits_twice() {
        assert_eq!(largest(10 << 30, 1 << 30), Some(1 << 30));
        assert_eq!(largest((2 << 30) + RESERVE, 1 << 30), Some(1 << 30));
        assert_eq!(largest((2 << 30) + RESERVE - 1, 1 << 30), Some((1 << 30) - MIB));
        assert_eq!(largest(100 * MIB, 1 << 30), Some(42 * MIB));
        assert_eq!(largest(RESERVE + 2 * MIB - 1, 1 << 30), None);
        assert_eq!(largest(0, 1 << 30), None);
        assert_eq!(largest(RESERVE, 0), Some(0));
        assert_eq!(largest(u64::MAX, u64::MAX), Some((u64::MAX - RESERVE) / 2 / MIB * MIB));
    }

    #[test]
    fn a_real_directory_has_a_size() {
        assert!(affordable(&std::env::temp_dir(), 1).is_ok());
        assert!(
            room_for_copy(&std::env::temp_dir(), u64::MAX)
                .is_err_and(|failure| failure.code == Code::NoSpace)
        );
        assert!(affordable(Path::new("/nonexistent"), 1).is_err_and(|failure| failure.code == Code::Io));
    }
}
