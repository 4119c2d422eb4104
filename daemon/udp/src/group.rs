//! SO_REUSEPORT groups whose member is named by the packet.
//!
//! The sockets of a group share one port, one socket per engine. A classic BPF program reads a little-endian u32 at
//! payload offset 4 and takes its top four bits as the index of the socket, so a packet reaches the engine that
//! serves it whatever its addresses. An index that no engine has leaves the choice to the kernel's 4-tuple hash.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use crate::options::SocketOptions;
use crate::socket::Socket;
use crate::sys;

/// Engines that four bits can name, with one value left over for "any".
pub const ENGINES_MAX: usize = 15;

/// Binds the address alone for a moment: the concrete address (port 0 resolved), or an error if any socket of any
/// process holds it. SO_REUSEPORT lets every process of the same user join a group, and take its share of the
/// packets unnoticed: this is how a second daemon finds out.
///
/// # Errors
/// `AddrInUse`, and whatever bind(2) can fail with.
pub fn bind_exclusive(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::DGRAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
}

/// Opens a group of `engines` sockets (1 to 15), in the order of their indices, that no one else holds. A group of
/// one is a plain socket. Closing a member renumbers the others: close all or none.
///
/// # Errors
/// `AddrInUse` if the address is taken, `InvalidInput` for another number of engines, and socket errors.
pub fn bind_group(address: SocketAddr, options: &SocketOptions, engines: usize) -> io::Result<Vec<Socket>> {
    if engines == 0 || engines > ENGINES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "A group has between 1 and 15 engines."));
    }
    if engines == 1 {
        // Bound without SO_REUSEPORT, it is exclusive for as long as it lives.
        return Ok(vec![Socket::bind(address, &SocketOptions { reuse_port: false, ..options.clone() })?]);
    }
    let address = bind_exclusive(address)?;
    let options = SocketOptions { reuse_port: true, ..options.clone() };
    let sockets: Vec<Socket> =
        (0..engines).map(|_| Socket::bind(address, &options)).collect::<io::Result<_>>()?;
    if let Some(first) = sockets.first() {
        first.attach_reuseport_cbpf(engines)?;
    }
    Ok(sockets)
}

impl Socket {
    /// Makes the top four bits of the little-endian u32 at payload offset 4 pick the member of this socket's
    /// SO_REUSEPORT group, in the order in which the members were bound. Any member can be asked; once is enough.
    ///
    /// # Errors
    /// Those of setsockopt(2); `InvalidInput` if `engines` is not between 1 and 15.
    pub fn attach_reuseport_cbpf(&self, engines: usize) -> io::Result<()> {
        let engines =
            u32::try_from(engines).ok().filter(|engines| (1..=ENGINES_MAX as u32).contains(engines));
        let engines = engines.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(sys::attach_reuseport_filter(self.as_fd(), &program(engines))?)
    }
}

/// Offset 0 is the UDP payload. A load beyond the end would make the program return 0, so that all runts would go
/// to the first engine: hence the look at the length first.
fn program(engines: u32) -> [libc::sock_filter; 7] {
    [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_LEN, 0, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, LANE_TOP_BYTE + 1, 0, 4),
        op(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, LANE_TOP_BYTE, 0, 0),
        op(libc::BPF_ALU | libc::BPF_RSH | libc::BPF_K, 4, 0, 0),
        op(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, engines, 1, 0),
        op(libc::BPF_RET | libc::BPF_A, 0, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, u32::MAX, 0, 0),
    ]
}

fn op(code: u32, k: u32, jump_true: u8, jump_false: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: jump_true, jf: jump_false, k }
}

/// The most significant byte of the u32 at offset 4.
const LANE_TOP_BYTE: u32 = 7;
