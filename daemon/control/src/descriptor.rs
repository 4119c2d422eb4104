//! What a descriptor that came from another process is. Whoever passed it chose it: it is looked at before it is used.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag};
use nix::sys::stat::SFlag;

/// What a descriptor is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Descriptor {
    /// What it refers to.
    pub kind: DescriptorKind,
    /// What may be done with it.
    pub access: Access,
    /// Writes go to the end of the file whatever offset they name (`O_APPEND`).
    pub append: bool,
    /// Bytes of a regular file.
    pub bytes: u64,
}

/// What a descriptor refers to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DescriptorKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A pipe or FIFO.
    Pipe,
    /// A socket.
    Socket,
    /// A terminal or another character device.
    CharacterDevice,
    /// A disk.
    BlockDevice,
    /// None of these: an epoll or event descriptor, for example.
    Other,
}

/// What may be done with a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// It was opened for reading.
    Read,
    /// It was opened for writing.
    Write,
    /// Both.
    ReadWrite,
    /// Neither: it only names the file (`O_PATH`).
    Path,
}

/// Why a descriptor does not serve.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DescriptorError {
    /// It cannot be looked at.
    #[error("The descriptor that was passed could not be examined: {0}. Pass an open file.")]
    Io(#[from] io::Error),
    /// It is a directory.
    #[error("The descriptor that was passed is a directory. Pass its files, or let a vault open them.")]
    Directory,
    /// It is something else that is no regular file.
    #[error("The descriptor that was passed is {0}. Pass a regular file.")]
    NotAFile(&'static str),
    /// It was not opened for reading.
    #[error("The descriptor that was passed is not open for reading. Open the file for reading.")]
    NotReadable,
    /// It was not opened for writing.
    #[error("The descriptor that was passed is not open for writing. Open the file for writing.")]
    NotWritable,
    /// It appends.
    #[error("The descriptor that was passed only appends. Open the file without O_APPEND.")]
    Appends,
}

/// Looks at a descriptor.
///
/// # Errors
/// What fstat or fcntl say: it is none, for example.
pub fn classify(descriptor: impl AsFd) -> io::Result<Descriptor> {
    let descriptor: BorrowedFd<'_> = descriptor.as_fd();
    let stat = nix::sys::stat::fstat(descriptor)?;
    let flags = OFlag::from_bits_retain(nix::fcntl::fcntl(descriptor, FcntlArg::F_GETFL)?);
    let kind = match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => DescriptorKind::File,
        SFlag::S_IFDIR => DescriptorKind::Directory,
        SFlag::S_IFIFO => DescriptorKind::Pipe,
        SFlag::S_IFSOCK => DescriptorKind::Socket,
        SFlag::S_IFCHR => DescriptorKind::CharacterDevice,
        SFlag::S_IFBLK => DescriptorKind::BlockDevice,
        _ => DescriptorKind::Other,
    };
    let access = match flags & OFlag::O_ACCMODE {
        _ if flags.contains(OFlag::O_PATH) => Access::Path,
        OFlag::O_RDONLY => Access::Read,
        OFlag::O_WRONLY => Access::Write,
        OFlag::O_RDWR => Access::ReadWrite,
        _ => return Err(Errno::EINVAL.into()),
    };
    let bytes = match kind {
        DescriptorKind::File => u64::try_from(stat.st_size).unwrap_or(0),
        _ => 0,
    };
    Ok(Descriptor { kind, access, append: flags.contains(OFlag::O_APPEND), bytes })
}

impl Descriptor {
    /// Whether it can be read at any offset: a source.
    ///
    /// # Errors
    /// [`DescriptorError`].
    pub fn check_source(&self) -> Result<(), DescriptorError> {
        self.check_file()?;
        match self.access {
            Access::Read | Access::ReadWrite => Ok(()),
            Access::Write | Access::Path => Err(DescriptorError::NotReadable),
        }
    }

    /// Whether it can be written at any offset and read back: a part.
    ///
    /// # Errors
    /// [`DescriptorError`].
    pub fn check_part(&self) -> Result<(), DescriptorError> {
        self.check_source()?;
        match self.access {
            Access::ReadWrite if self.append => Err(DescriptorError::Appends),
            Access::ReadWrite => Ok(()),
            _ => Err(DescriptorError::NotWritable),
        }
    }

    /// Whether bytes of unknown number can be read from it in order: standard input.
    ///
    /// # Errors
    /// [`DescriptorError`].
    pub fn check_input(&self) -> Result<(), DescriptorError> {
        match self.kind {
            DescriptorKind::Pipe | DescriptorKind::Socket | DescriptorKind::CharacterDevice => {}
            _ => self.check_file()?,
        }
        match self.access {
            Access::Read | Access::ReadWrite => Ok(()),
            Access::Write | Access::Path => Err(DescriptorError::NotReadable),
        }
    }

    /// Whether bytes can be written to it in order: standard output, a trace.
    ///
    /// # Errors
    /// [`DescriptorError`].
    pub fn check_output(&self) -> Result<(), DescriptorError> {
        match self.kind {
            DescriptorKind::Pipe | DescriptorKind::Socket | DescriptorKind::CharacterDevice => {}
            _ => self.check_file()?,
        }
        match self.access {
            Access::Write | Access::ReadWrite => Ok(()),
            Access::Read | Access::Path => Err(DescriptorError::NotWritable),
        }
    }

    fn check_file(&self) -> Result<(), DescriptorError> {
        match self.kind {
            DescriptorKind::File => Ok(()),
            DescriptorKind::Directory => Err(DescriptorError::Directory),
            DescriptorKind::Pipe => Err(DescriptorError::NotAFile("a pipe")),
            DescriptorKind::Socket => Err(DescriptorError::NotAFile("a socket")),
            DescriptorKind::CharacterDevice => Err(DescriptorError::NotAFile("a terminal or device")),
            DescriptorKind::BlockDevice => Err(DescriptorError::NotAFile("a disk")),
            DescriptorKind::Other => Err(DescriptorError::NotAFile("no file at all")),
        }
    }
}
