//! Bytes and descriptors through a Unix socket, and what the kernel says about who is at its other end.
//!
//! Receiving is done without nix: where the table of descriptors is full the kernel passes those that it could still
//! install, sets MSG_CTRUNC, and nix then refuses to show any of them, so that they would stay open for ever. A client
//! must not be able to use up the daemon's descriptors like that.

#![allow(
    unsafe_code,
    reason = "a received descriptor is a number that has to be made an OwnedFd; nix has no SO_PEERGROUPS"
)]

use std::io::{self, IoSlice};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags};

/// SCM_MAX_FD of the kernel: one message never carries more.
const MESSAGE_DESCRIPTORS_MAX: usize = 253;

/// Bytes of a control message with so many descriptors, rounded up to words so that the buffer is aligned.
const CONTROL_WORDS: usize = {
    let payload = MESSAGE_DESCRIPTORS_MAX * size_of::<RawFd>();
    // SAFETY: CMSG_SPACE only computes.
    let bytes = unsafe { libc::CMSG_SPACE(payload as libc::c_uint) } as usize;
    bytes.div_ceil(size_of::<u64>())
};
const _: () = assert!(align_of::<u64>() >= align_of::<libc::cmsghdr>());

/// What one call has received.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Received {
    /// Bytes; 0 when the other end has closed.
    pub(crate) bytes: usize,
    /// Descriptors came that this process had no room for.
    pub(crate) truncated: bool,
}

/// Receives what is there, without waiting. Descriptors go to the end of `descriptors`, close-on-exec.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<Received> {
    let mut control = [0u64; CONTROL_WORDS];
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: a msghdr is integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_iov = &raw mut slice;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control) as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: recvmsg(2) writes at most iov_len bytes to iov_base and msg_controllen bytes to msg_control; both
    // buffers are borrowed or owned here for the whole call.
    let bytes = Errno::result(unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, flags) })?;
    // SAFETY: the kernel has set msg_controllen to what it wrote into `control`, which is aligned for a cmsghdr and
    // still alive; cmsg(3) says that CMSG_FIRSTHDR and CMSG_NXTHDR return NULL instead of leaving it.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&raw const header) };
    while !message.is_null() {
        // SAFETY: not NULL, hence within `control` as above. The payload begins at CMSG_DATA and ends cmsg_len bytes
        // behind the header. unix(7): each of its integers is a new descriptor of this process that refers to the
        // sender's open file; nobody else knows its number, so it is ours to own.
        unsafe {
            if (*message).cmsg_level == libc::SOL_SOCKET && (*message).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(message).cast::<RawFd>();
                let len = ((*message).cmsg_len as usize).saturating_sub(libc::CMSG_LEN(0) as usize);
                for at in 0..len / size_of::<RawFd>() {
                    descriptors.push(OwnedFd::from_raw_fd(data.add(at).read_unaligned()));
                }
            }
            message = libc::CMSG_NXTHDR(&raw const header, message);
        }
    }
    let truncated = header.msg_flags & libc::MSG_CTRUNC != 0;
    Ok(Received { bytes: bytes as usize, truncated })
}

/// Sends what fits, without waiting and without SIGPIPE. The descriptors go with the first byte.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&numbers)];
    let control = if numbers.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    Ok(nix::sys::socket::sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, flags, None)?)
}

/// The supplementary groups that the process at the other end had when it connected.
pub(crate) fn peer_groups(socket: BorrowedFd<'_>) -> io::Result<Vec<libc::gid_t>> {
    let mut groups = vec![MaybeUninit::<libc::gid_t>::uninit(); 64];
    loop {
        let mut len = size_of_val(&groups[..]) as libc::socklen_t;
        // SAFETY: socket(7): getsockopt writes at most `len` bytes to the buffer, which has that many, and sets `len`
        // to how many it wrote, or with ERANGE to how many it would have to.
        let result = unsafe {
            libc::getsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &raw mut len,
            )
        };
        let count = len as usize / size_of::<libc::gid_t>();
        match Errno::result(result) {
            Ok(_) => {
                // SAFETY: the kernel has initialised the first `count` elements, see above.
                return Ok(groups[..count].iter().map(|group| unsafe { group.assume_init() }).collect());
            }
            Err(Errno::ERANGE) if count > groups.len() => groups.resize(count, MaybeUninit::uninit()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn as_many_descriptors_as_the_kernel_passes_arrive_and_belong_to_us() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let many = vec![file.as_fd(); MESSAGE_DESCRIPTORS_MAX];
        assert_eq!(send(theirs.as_fd(), b"x", &many).unwrap(), 1);
        let mut received = Vec::new();
        let mut buffer = [0; 16];
        let call = receive(ours.as_fd(), &mut buffer, &mut received).unwrap();
        assert_eq!(call, Received { bytes: 1, truncated: false });
        assert_eq!(received.len(), MESSAGE_DESCRIPTORS_MAX);
        for descriptor in &received {
            let flags = nix::fcntl::fcntl(descriptor, nix::fcntl::FcntlArg::F_GETFD).unwrap();
            assert_eq!(flags, libc::FD_CLOEXEC);
        }
        let more = vec![file.as_fd(); MESSAGE_DESCRIPTORS_MAX + 1];
        assert!(send(theirs.as_fd(), b"x", &more).is_err());
    }

    #[test]
    fn nothing_there_and_the_end_are_two_things() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let receive = || receive(ours.as_fd(), &mut [0; 16], &mut Vec::new());
        assert_eq!(receive().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(theirs);
        assert_eq!(receive().unwrap().bytes, 0);
        assert_eq!(send(ours.as_fd(), b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn the_groups_of_the_other_end_are_ours() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let mut groups = peer_groups(ours.as_fd()).unwrap();
        let mut expected: Vec<_> =
            nix::unistd::getgroups().unwrap().iter().map(|group| group.as_raw()).collect();
        groups.sort_unstable();
        expected.sort_unstable();
        assert_eq!(groups, expected);
    }
}
