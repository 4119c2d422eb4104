//! Memory that a transfer fills: a memfd that whoever moves the bytes writes to, a daemon too.
//!
//! It is sealed before it is mapped: whoever has its descriptor yet can neither shorten it, which would raise a signal
//! here, nor change what was looked at.

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use memmap2::Mmap;
use nix::fcntl::{FcntlArg, SealFlag};
use udpxd::Code;
use udpxd::report::JobError;

use crate::source::new_memory;

/// It, and its mapping once it is whole.
pub(crate) struct Memory {
    file: File,
    map: OnceLock<Option<Mmap>>,
}

impl Memory {
    /// An empty one, and the descriptor for whoever fills it.
    pub(crate) fn new() -> Result<(Self, File), JobError> {
        let made = new_memory().and_then(|file| Ok((file.try_clone()?, file)));
        let (file, filled) = made.map_err(|error| failed(&error))?;
        Ok((Self { file, map: OnceLock::new() }, filled))
    }

    /// What it was filled with. From now on it cannot change.
    pub(crate) fn bytes(&self) -> Result<&[u8], JobError> {
        if self.map.get().is_none() {
            // Two threads at once make two mappings, of which one is kept.
            let _ = self.map.set(self.sealed().map_err(|error| failed(&error))?);
        }
        Ok(self.map.get().and_then(Option::as_deref).unwrap_or_default())
    }

    fn sealed(&self) -> io::Result<Option<Mmap>> {
        let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
        nix::fcntl::fcntl(&self.file, FcntlArg::F_ADD_SEALS(seals))?;
        if self.file.metadata()?.len() == 0 {
            return Ok(None);
        }
        // SAFETY: memmap2 asks that nobody changes the file: it is sealed against that.
        unsafe { Mmap::map(&self.file) }.map(Some)
    }
}

fn failed(error: &io::Error) -> JobError {
    JobError::with_remedy(Code::Io, format!("memory could not be had: {error}"))
}
