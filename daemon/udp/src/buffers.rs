//! Socket buffer sizes: ask, read back, and say so when the host allows less.

use std::ffi::c_int;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Once;

use crate::sys;

/// What was wanted of one socket buffer and what the kernel granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferReport {
    /// Bytes asked for.
    pub wanted: usize,
    /// Bytes granted, in the same unit: the kernel stores and reports twice the number, for its bookkeeping.
    pub granted: usize,
    /// Granted past the sysctl limit, by CAP_NET_ADMIN.
    pub forced: bool,
    limit: &'static str,
}

impl BufferReport {
    /// The command that would lift the limit, if less than wanted was granted.
    #[must_use]
    pub fn remedy(&self) -> Option<String> {
        (self.granted < self.wanted).then(|| format!("sysctl -w {}={}", self.limit, self.wanted))
    }
}

/// Both buffers of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffers {
    /// Received datagrams not yet read.
    pub receive: BufferReport,
    /// Packets not yet taken by the device.
    pub send: BufferReport,
}

/// Sizes both buffers; warns once a process for each that stays short.
pub(crate) fn size(fd: BorrowedFd<'_>, receive: usize, send: usize) -> io::Result<Buffers> {
    let buffers = Buffers { receive: RECEIVE.size(fd, receive)?, send: SEND.size(fd, send)? };
    warn(&buffers.receive, "receive", &RECEIVE_WARNED);
    warn(&buffers.send, "send", &SEND_WARNED);
    Ok(buffers)
}

fn warn(report: &BufferReport, which: &str, warned: &'static Once) {
    if let Some(remedy) = report.remedy() {
        warned.call_once(|| {
            tracing::warn!(
                "The kernel limits the UDP {which} buffer to {} of the {} bytes wanted; packets may be lost at \
                 high rates. Remedy: {remedy}",
                report.granted,
                report.wanted,
            );
        });
    }
}

/// The names of one buffer's options.
struct Options {
    force: c_int,
    plain: c_int,
    limit: &'static str,
}

impl Options {
    fn size(&self, fd: BorrowedFd<'_>, wanted: usize) -> io::Result<BufferReport> {
        let value = c_int::try_from(wanted.min(WANTED_MAX)).unwrap_or(c_int::MAX / 2);
        let forced = sys::set_int(fd, libc::SOL_SOCKET, self.force, value).is_ok();
        if !forced {
            sys::set_int(fd, libc::SOL_SOCKET, self.plain, value)?;
        }
        let stored = sys::get_int(fd, libc::SOL_SOCKET, self.plain)?;
        Ok(BufferReport {
            wanted,
            granted: usize::try_from(stored / 2).unwrap_or(0),
            forced,
            limit: self.limit,
        })
    }
}

const RECEIVE: Options =
    Options { force: libc::SO_RCVBUFFORCE, plain: libc::SO_RCVBUF, limit: "net.core.rmem_max" };
const SEND: Options =
    Options { force: libc::SO_SNDBUFFORCE, plain: libc::SO_SNDBUF, limit: "net.core.wmem_max" };

/// The kernel doubles the value into an int.
const WANTED_MAX: usize = (c_int::MAX / 2) as usize;

static RECEIVE_WARNED: Once = Once::new();
static SEND_WARNED: Once = Once::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_remedy_is_the_exact_line() {
        let report =
            BufferReport { wanted: 8_388_608, granted: 212_992, forced: false, limit: RECEIVE.limit };
        assert_eq!(report.remedy().as_deref(), Some("sysctl -w net.core.rmem_max=8388608"));
        assert_eq!(BufferReport { granted: 8_388_608, ..report }.remedy(), None);
    }
}
