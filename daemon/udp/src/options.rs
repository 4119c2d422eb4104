//! How a socket is set up, and what the kernel turned out to be able to do.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use crate::sys;

/// What a caller wants of a socket.
#[derive(Debug, Clone)]
pub struct SocketOptions {
    /// Send trains as GSO messages where the kernel can.
    pub gso: bool,
    /// Let the kernel merge received datagrams where it can.
    pub gro: bool,
    /// Mark packets with the ECN bits of their train, and report those of received ones.
    pub ecn: bool,
    /// Report the kernel's arrival time of each received buffer.
    pub timestamps: bool,
    /// Join, or found, the SO_REUSEPORT group of the address.
    pub reuse_port: bool,
    /// Receive buffer wanted, bytes.
    pub receive_buffer: usize,
    /// Send buffer wanted, bytes.
    pub send_buffer: usize,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            gso: true,
            gro: true,
            ecn: true,
            timestamps: false,
            reuse_port: false,
            // 10 Gbit/s for 6 ms, a scheduling stall on a busy host.
            receive_buffer: 8 << 20,
            // A few batches: more would only be delay in front of the pacer's back.
            send_buffer: 4 << 20,
        }
    }
}

/// What the kernel under this socket can do, as probed when it was made. That it accepts GSO says nothing about
/// the device that a packet will leave by: see [`Socket::gso`](crate::Socket::gso).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caps {
    /// Packets in one GSO message at most; 1 without GSO (kernel < 4.18).
    pub gso_segments_max: usize,
    /// GRO was wanted, and is on (kernel >= 5.12).
    pub gro: bool,
    /// ECN marks of received packets are reported.
    pub ecn: bool,
    /// Packets dropped for want of receive buffer are reported.
    pub overflow: bool,
    /// Arrival times were wanted, and are reported.
    pub timestamps: bool,
}

/// Sets everything but the addresses.
pub(crate) fn configure(socket: &socket2::Socket, v6: bool, options: &SocketOptions) -> io::Result<Caps> {
    let fd = socket.as_fd();
    if v6 {
        // Each family has its own socket on the same port.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_port(options.reuse_port)?;
    never_fragment(fd, v6)?;
    Ok(Caps {
        gso_segments_max: if probe_gso(fd) { crate::SEGMENTS_MAX } else { 1 },
        gro: options.gro && enable_gro(fd),
        ecn: options.ecn
            && if v6 { socket.set_recv_tclass_v6(true) } else { socket.set_recv_tos_v4(true) }.is_ok(),
        overflow: sys::set_int(fd, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1).is_ok(),
        timestamps: options.timestamps && sys::set_int(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1).is_ok(),
    })
}

/// Sets DF and ignores the kernel's path MTU, which anyone can lower with a forged ICMP message: the transport
/// probes for itself.
fn never_fragment(fd: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    if v6 {
        sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)?;
        sys::set_int(fd, libc::IPPROTO_IPV6, libc::IPV6_DONTFRAG, 1)?;
    } else {
        sys::set_int(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE)?;
    }
    Ok(())
}

fn probe_gso(fd: BorrowedFd<'_>) -> bool {
    let known = sys::set_int(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 1200).is_ok();
    // A default left behind would segment every later send that carries no control message of its own.
    known && sys::set_int(fd, libc::SOL_UDP, libc::UDP_SEGMENT, 0).is_ok()
}

/// Between 5.0 and 5.12 the option could be set but not read, and its first users found those kernels' merging
/// faulty: what cannot be read back stays off.
fn enable_gro(fd: BorrowedFd<'_>) -> bool {
    if sys::set_int(fd, libc::SOL_UDP, libc::UDP_GRO, 1).is_err() {
        return false;
    }
    let on = sys::get_int(fd, libc::SOL_UDP, libc::UDP_GRO) == Ok(1);
    if !on {
        // If even this fails, buffers of 64 KiB still hold whatever is merged; only the splitting needs the
        // control message, which such a kernel sends.
        let _ = sys::set_int(fd, libc::SOL_UDP, libc::UDP_GRO, 0);
    }
    on
}
