//! Who is at the other end, as the kernel saw it when the connection was made.

use std::io;
use std::os::fd::AsFd;

use nix::sys::socket::sockopt;

use crate::fd;

/// Who is at the other end. What the process becomes later does not change it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerCredentials {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Process id, for messages only: it may have been given to another process by now.
    pub pid: i32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
}

impl PeerCredentials {
    /// Asks the kernel (SO_PEERCRED, SO_PEERGROUPS).
    ///
    /// # Errors
    /// What getsockopt says: the descriptor is no connected Unix socket.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let socket = socket.as_fd();
        let peer = nix::sys::socket::getsockopt(&socket, sockopt::PeerCredentials)?;
        Ok(Self { uid: peer.uid(), gid: peer.gid(), pid: peer.pid(), groups: fd::peer_groups(socket)? })
    }

    /// Whether the process is of this group, by its effective or a supplementary one.
    #[must_use]
    pub fn is_in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }
}
