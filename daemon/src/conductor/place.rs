//! Taking the control socket's place, so that those may connect who shall.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;

use nix::unistd::{Group, getegid, geteuid, getgroups};
use udpx_control::server::{BindError, Limits, Listener};

use crate::config::Control;
use crate::config::OF_USER;

/// Listens where the configuration says; `None` if there shall be no socket.
pub(super) fn take(control: &Control) -> Result<Option<Listener>, BindError> {
    let Some(path) = control.socket() else {
        return Ok(None);
    };
    if *control == Control::Auto
        && let Some(directory) = path.parent().filter(|directory| directory.ends_with(OF_USER))
    {
        match DirBuilder::new().mode(0o700).create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(BindError::Io { path: directory.into(), action: "created", error });
            }
            _ => {}
        }
    }
    let (mode, group) = audience();
    Listener::bind(&path, mode, group, Limits::default()).map(Some)
}

/// Permission bits of the socket and the group that it is given to: members of `udpx`, where this process can give
/// them something. Otherwise it is a user's own daemon, and nobody else's business.
fn audience() -> (u32, Option<&'static str>) {
    let root = geteuid().is_root();
    match Group::from_name(GROUP).ok().flatten().map(|group| group.gid) {
        // What this process makes has that group; a service's sandbox may forbid chown(2).
        Some(gid) if gid == getegid() => (FOR_GROUP, None),
        Some(gid) if root || getgroups().is_ok_and(|groups| groups.contains(&gid)) => {
            (FOR_GROUP, Some(GROUP))
        }
        None if root => (FOR_GROUP, None),
        Some(_) | None => (FOR_OWNER, None),
    }
}

const GROUP: &str = "udpx";
const FOR_GROUP: u32 = 0o660;
const FOR_OWNER: u32 = 0o600;
