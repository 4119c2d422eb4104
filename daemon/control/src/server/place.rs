//! The place of the socket in the file system: one daemon has it, dead ones do not, and nothing else is removed.
//!
//! Next to the socket stands `NAME.lock`, which the daemon keeps locked while it lives. Without it two daemons that start
//! at once could each take the other's fresh socket for a stale one. The kernel drops the lock with its holder, however
//! that ended; the file itself stays.

use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr};
use nix::unistd::Group;

use super::PeerCredentials;
use crate::limits::BACKLOG;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another daemon has it.
    #[error("Another daemon{} serves {path:?}. Stop it, or give this one another socket.", process(*.pid))]
    InUse {
        /// The socket.
        path: PathBuf,
        /// The other daemon's process id, if it is known.
        pid: Option<i32>,
    },
    /// Something else has that name.
    #[error("{0:?} exists and is no socket. Remove it, or give the daemon another socket.")]
    NotASocket(PathBuf),
    /// The name does not fit into an address.
    #[error("{0:?} is too long for a socket: 107 bytes are possible. Choose a shorter path.")]
    PathTooLong(PathBuf),
    /// There is no such group.
    #[error(
        "The group {0:?}, which shall have the control socket, does not exist. Create it: groupadd --system {0}."
    )]
    NoGroup(String),
    /// The group cannot be given.
    #[error(
        "{path:?} could not be given to group {group:?}: {error}. Run as root, or as a member of that group."
    )]
    Group {
        /// The socket.
        path: PathBuf,
        /// The group.
        group: String,
        /// What the system said.
        error: io::Error,
    },
    /// Any other failure.
    #[error(
        "The control socket {path:?} could not be {action}: {error}. Check that its directory exists and may be written."
    )]
    Io {
        /// The file in question.
        path: PathBuf,
        /// What was tried: a past participle.
        action: &'static str,
        /// What the system said.
        error: io::Error,
    },
}

fn process(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (process {pid})"))
}

/// A path that is ours until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Device and inode: what else may have the path by then is not ours to remove.
    identity: (u64, u64),
    _lock: File,
}

impl Place {
    /// Takes the path, and listens there without blocking.
    pub(super) fn take(
        path: &Path,
        mode: u32,
        group: Option<&str>,
    ) -> Result<(Self, UnixListener), BindError> {
        let failed = |action| move |error: io::Error| BindError::Io { path: path.into(), action, error };
        let address = UnixAddr::new(path).map_err(|errno| match errno {
            Errno::ENAMETOOLONG => BindError::PathTooLong(path.into()),
            errno => failed("named")(errno.into()),
        })?;
        let gid = group.map(find_group).transpose()?;
        refuse_what_is_no_socket(path)?;
        let lock = lock(path, &address)?;
        if is_served(&address).map_err(failed("examined"))?.is_some() {
            return Err(in_use(path, &address));
        }
        // Under the lock, and nobody listens: a dead daemon's.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("replaced")(error)),
            _ => {}
        }
        let socket = new_socket().map_err(failed("created"))?;
        socket::bind(socket.as_raw_fd(), &address).map_err(|errno| failed("created")(errno.into()))?;
        // Nobody can connect before it listens, so there is no moment with wider permissions.
        let prepare = || {
            if let (Some(gid), Some(group)) = (gid, group) {
                std::os::unix::fs::lchown(path, None, Some(gid)).map_err(|error| BindError::Group {
                    path: path.into(),
                    group: group.into(),
                    error,
                })?;
            }
            std::fs::set_permissions(path, Permissions::from_mode(mode))
                .map_err(failed("opened to its group"))?;
            let backlog = Backlog::new(BACKLOG).map_err(|errno| failed("opened")(errno.into()))?;
            socket::listen(&socket, backlog).map_err(|errno| failed("opened")(errno.into()))?;
            let metadata = std::fs::symlink_metadata(path).map_err(failed("examined"))?;
            Ok((metadata.dev(), metadata.ino()))
        };
        match prepare() {
            Ok(identity) => Ok((Self { path: path.into(), identity, _lock: lock }, socket.into())),
            Err(error) => {
                // Nothing of a start that failed stays behind; if it does, the next start takes it for stale.
                let _ = std::fs::remove_file(path);
                Err(error)
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.identity);
        if ours {
            // What cannot be removed is found to be stale by the next daemon.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn find_group(name: &str) -> Result<u32, BindError> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => Err(BindError::NoGroup(name.into())),
    }
}

fn refuse_what_is_no_socket(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => Ok(()),
        Ok(_) => Err(BindError::NotASocket(path.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(BindError::Io { path: path.into(), action: "examined", error }),
    }
}

fn lock(path: &Path, address: &UnixAddr) -> Result<File, BindError> {
    let mut name = path.as_os_str().to_os_string();
    name.push(".lock");
    let lock_path = PathBuf::from(name);
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let failed = |action| {
        let path = lock_path.clone();
        move |error| BindError::Io { path, action, error }
    };
    let file = options.open(&lock_path).map_err(failed("created"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(in_use(path, address)),
        Err(TryLockError::Error(error)) => Err(failed("locked")(error)),
    }
}

fn in_use(path: &Path, address: &UnixAddr) -> BindError {
    let pid = is_served(address).ok().flatten().flatten();
    BindError::InUse { path: path.into(), pid }
}

/// Whether somebody listens at the address, and their process id if they could be asked.
fn is_served(address: &UnixAddr) -> io::Result<Option<Option<i32>>> {
    let socket = new_socket()?;
    match socket::connect(socket.as_raw_fd(), address) {
        Ok(()) => Ok(Some(PeerCredentials::of(&socket).ok().map(|peer| peer.pid))),
        // A full backlog, or a socket that we may not use: somebody's, in any case.
        Err(Errno::EAGAIN | Errno::EACCES | Errno::EPERM | Errno::EPROTOTYPE) => Ok(Some(None)),
        Err(Errno::ECONNREFUSED | Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}
