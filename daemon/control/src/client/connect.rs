//! Connecting, and what each way of failing means.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use nix::unistd::{Gid, Group};

use super::{ClientError, SocketChoice};
use crate::limits::CONNECT_TIME_MAX;

/// Connects to the first candidate that a daemon serves.
pub(super) fn first(choice: &SocketChoice) -> Result<(UnixStream, PathBuf), ClientError> {
    let mut stale = false;
    for path in choice.candidates() {
        match one(path) {
            Ok(stream) => return Ok((stream, path.clone())),
            Err(ClientError::NoDaemon { stale: this, .. }) => stale |= this,
            Err(error) => return Err(error),
        }
    }
    Err(ClientError::NoDaemon { paths: choice.candidates().to_vec(), stale })
}

fn one(path: &Path) -> Result<UnixStream, ClientError> {
    let no_daemon = |stale| ClientError::NoDaemon { paths: vec![path.into()], stale };
    let failed = |errno: Errno| ClientError::Io { path: path.into(), error: errno.into() };
    let address = UnixAddr::new(path).map_err(failed)?;
    // With the non-blocking connect a full backlog is EAGAIN; with the other it would be waited for without end.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd =
        socket::socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    let deadline = Instant::now() + CONNECT_TIME_MAX;
    loop {
        match socket::connect(socket.as_raw_fd(), &address) {
            Ok(()) => return Ok(socket.into()),
            Err(Errno::EAGAIN) if Instant::now() < deadline => thread::sleep(RETRY),
            Err(Errno::EAGAIN) => {
                return Err(ClientError::TimedOut { path: path.into(), waited: CONNECT_TIME_MAX });
            }
            Err(Errno::EINTR) => {}
            Err(Errno::ENOENT) => return Err(no_daemon(false)),
            // unix(7) says so for a socket without a listener, but it is said for any other file as well.
            Err(Errno::ECONNREFUSED) => match fs::metadata(path) {
                Ok(metadata) if !metadata.file_type().is_socket() => {
                    return Err(ClientError::NotASocket { path: path.into() });
                }
                _ => return Err(no_daemon(true)),
            },
            Err(Errno::ENOTDIR | Errno::EPROTOTYPE) => {
                return Err(ClientError::NotASocket { path: path.into() });
            }
            Err(Errno::EACCES | Errno::EPERM) => {
                return Err(ClientError::NotPermitted { path: path.into(), group: group_of(path) });
            }
            Err(errno) => return Err(failed(errno)),
        }
    }
}

/// The group that may use the socket, as far as it can be seen from here.
fn group_of(path: &Path) -> String {
    let gid = |path: &Path| -> io::Result<u32> { Ok(fs::metadata(path)?.gid()) };
    // Where the directory is closed to us, its group is the one to join.
    let gid = gid(path).or_else(|_| gid(path.parent().unwrap_or(path)));
    let group =
        gid.ok().filter(|gid| *gid != 0).and_then(|gid| Group::from_gid(Gid::from_raw(gid)).ok().flatten());
    group.map_or_else(|| USUAL_GROUP.into(), |group| group.name)
}

/// The group of the socket as it is installed.
const USUAL_GROUP: &str = "udpx";
const RETRY: Duration = Duration::from_millis(10);
