//! What is sent: files by path or descriptor, and memory.
//!
//! A mapping of a file that somebody else shortens raises SIGBUS, which takes a handler for the whole process, and a
//! library has no business to install one unless it was asked to (`UDPX_MAP_FILES`). So an engine of this process reads
//! files block by block. Memory is copied into what cannot shrink, and sent from a mapping of that. A daemon maps in its
//! own process and is handed the file itself.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::fcntl::{FcntlArg, SealFlag};
use nix::sys::memfd::{MFdFlags, memfd_create};
use udpx_control::descriptor::classify;
use udpxd::Code;
use udpxd::report::JobError;

use crate::boundary::wrong;

/// Opens a file of the caller's for sending.
pub(crate) fn open(path: &Path) -> Result<File, JobError> {
    // A FIFO without a writer must not hang.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = opened.map_err(|error| {
        let text = format!("{path:?} could not be opened: {error}");
        JobError::with_remedy(Code::NoSource, text)
    })?;
    checked(file, &format!("{path:?}"))
}

/// Duplicates a descriptor of the caller's, who keeps it.
pub(crate) fn duplicate(fd: RawFd) -> Result<File, JobError> {
    let file = again(fd, "Pass a file that is open for reading.")?;
    let file = checked(file, &format!("descriptor {fd}"))?;
    // The caller's place in the file is not ours: where the system lets it be opened again we begin at its start.
    Ok(File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or(file))
}

/// Duplicates a descriptor of the caller's that is written to from where it stands.
pub(crate) fn output(fd: RawFd) -> Result<File, JobError> {
    let file = again(fd, "Pass a file or a pipe that is open for writing.")?;
    let checked = classify(&file).map_err(Into::into).and_then(|about| about.check_output());
    checked.map_err(|error| {
        let told = JobError::told(Code::Usage, &format!("{error}"));
        let text = format!("nothing can be written to descriptor {fd}: {}", told.text);
        wrong(text, "Pass a file or a pipe that is open for writing.")
    })?;
    Ok(file)
}

fn again(fd: RawFd, remedy: &str) -> Result<File, JobError> {
    // SAFETY: fcntl(2), F_GETFD: any number may be asked for; EBADF says that it is not open.
    if fd < 0 || unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(wrong(format!("{fd} is no open descriptor"), remedy));
    }
    // SAFETY: it is open; that it stays so during the call is the caller's part.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    Ok(borrowed.try_clone_to_owned().map_err(|error| failed("the descriptor", &error))?.into())
}

fn checked(file: File, what: &str) -> Result<File, JobError> {
    let checked = classify(&file).map_err(Into::into).and_then(|about| about.check_source());
    let refused = |wrong| {
        let told = JobError::told(Code::NoSource, &format!("{wrong}"));
        JobError::new(
            Code::NoSource,
            format!("{what} can't be sent: {}", told.text),
            "Pass a regular file that is open for reading.",
        )
    };
    checked.map(|()| file).map_err(refused)
}

/// Memory of the caller's, copied.
pub(crate) fn memory(data: &[u8]) -> Result<File, JobError> {
    let copy = || -> io::Result<File> {
        let mut file = new_memory()?;
        file.write_all(data)?;
        file.set_permissions(Permissions::from_mode(MEMORY_MODE))?;
        file.rewind()?;
        seal(&file)?;
        Ok(file)
    };
    copy().map_err(|error| failed("memory", &error))
}

/// Everything that comes out of a file, for a callback; returns bytes.
pub(crate) fn pour(mut file: File, mut each: impl FnMut(&[u8]) -> bool) -> io::Result<bool> {
    let mut buffer = vec![0; COPY_STEP];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(true),
            Ok(read) if each(&buffer[..read]) => {}
            Ok(_) => return Ok(false),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// An empty file in memory.
pub(crate) fn new_memory() -> io::Result<File> {
    Ok(memfd_create(c"udpx", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?.into())
}

fn seal(file: &File) -> io::Result<()> {
    let seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
    nix::fcntl::fcntl(file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(())
}

fn failed(what: &str, error: &io::Error) -> JobError {
    JobError::with_remedy(Code::Io, format!("{what} could not be read: {error}"))
}

/// Memory has no mode of its own.
const MEMORY_MODE: u32 = 0o644;
/// Bytes at once.
const COPY_STEP: usize = 1 << 20;
