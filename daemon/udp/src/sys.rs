//! The system calls. The only unsafe code of the crate, behind types that make each call's contract local:
//!
//! - [`Submission`] borrows everything that the kernel will read until the call has returned.
//! - [`RecvArena`] owns everything that the kernel will write, and sets up every header anew at every call.

#![allow(
    unsafe_code,
    reason = "sendmmsg, recvmmsg and socket options are C interfaces; nix's wrappers share \
                                 one set of control messages among all messages of a call"
)]
#![allow(clippy::unnecessary_cast, reason = "lengths in msghdr differ in type between glibc and musl")]

use std::ffi::{c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;

use crate::address::RawAddr;
use crate::cmsg::RecvControl;

/// Messages in one call at most: the kernel's `UIO_MAXIOV` bounds `vlen` too.
pub(crate) const MESSAGES_MAX: usize = 1024;

/// Slices in one call at most: 16 trains of 64 packets of three slices, with room for cuts.
pub(crate) const SLICES_MAX: usize = 4096;

/// Memory for the headers of one `sendmmsg`, kept between calls. Pages that no call has needed stay untouched.
pub(crate) struct Scratch {
    headers: Vec<libc::mmsghdr>,
    slices: Vec<libc::iovec>,
    #[cfg(feature = "testing")]
    segments: Vec<Option<u16>>,
}

// SAFETY: the raw pointers inside are leftovers outside of a `Submission`: they are overwritten before the next
// call and never read. A `Submission` itself holds the only reference to its scratch while they are alive.
unsafe impl Send for Scratch {}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self {
            headers: Vec::with_capacity(MESSAGES_MAX),
            slices: Vec::with_capacity(SLICES_MAX),
            #[cfg(feature = "testing")]
            segments: Vec::with_capacity(MESSAGES_MAX),
        }
    }

    pub(crate) fn submission<'a>(&'a mut self) -> Submission<'a> {
        self.headers.clear();
        self.slices.clear();
        #[cfg(feature = "testing")]
        self.segments.clear();
        Submission { scratch: self, open: 0, borrowed: PhantomData }
    }
}

/// The messages of one `sendmmsg`. Whatever they point to is borrowed for `'a`, so it outlives the call.
pub(crate) struct Submission<'a> {
    scratch: &'a mut Scratch,
    /// Slices of the message that is being built.
    open: usize,
    borrowed: PhantomData<&'a [u8]>,
}

impl<'a> Submission<'a> {
    /// Whether one more message of that many slices fits.
    pub(crate) fn has_room(&self, slices: usize) -> bool {
        self.scratch.headers.len() < MESSAGES_MAX && self.scratch.slices.len() + slices <= SLICES_MAX
    }

    #[cfg(feature = "testing")]
    pub(crate) fn len(&self) -> usize {
        self.scratch.headers.len()
    }

    /// Adds a slice to the message being built; `has_room` was asked before.
    pub(crate) fn slice(&mut self, bytes: &'a [u8]) {
        let base = bytes.as_ptr().cast::<c_void>().cast_mut();
        self.scratch.slices.push(libc::iovec { iov_base: base, iov_len: bytes.len() });
        self.open += 1;
    }

    /// Ends the message being built. `segment` is recorded for tests only: the kernel reads it in `control`.
    pub(crate) fn finish(&mut self, to: Option<&'a RawAddr>, control: &'a [u8], segment: Option<u16>) {
        // SAFETY: all-zero is a valid msghdr: null pointers with zero lengths (sendmsg(2): msg_name and
        // msg_control may be null). Zeroing also covers libc's private padding fields.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        if let Some(address) = to {
            header.msg_name = ptr::from_ref(address).cast::<c_void>().cast_mut();
            header.msg_namelen = address.size() as libc::socklen_t;
        }
        if !control.is_empty() {
            header.msg_control = control.as_ptr().cast::<c_void>().cast_mut();
            header.msg_controllen = control.len() as _;
        }
        header.msg_iovlen = self.open as _;
        self.open = 0;
        self.scratch.headers.push(libc::mmsghdr { msg_hdr: header, msg_len: 0 });
        #[cfg(feature = "testing")]
        self.scratch.segments.push(segment);
        #[cfg(not(feature = "testing"))]
        let _ = segment;
    }

    /// Hands the messages to the kernel: how many it took, in order, or why it refused the first one.
    pub(crate) fn submit(&mut self, fd: BorrowedFd<'_>) -> Result<usize, Errno> {
        let mut slices = self.scratch.slices.as_mut_ptr();
        for header in &mut self.scratch.headers {
            header.msg_hdr.msg_iov = slices;
            // SAFETY: the lengths of the messages add up to `slices.len()`, so the pointer stays inside the
            // vector's buffer or one past it.
            slices = unsafe { slices.add(header.msg_hdr.msg_iovlen as usize) };
        }
        let messages = self.scratch.headers.as_mut_ptr();
        let count = self.scratch.headers.len() as c_uint;
        // SAFETY: sendmmsg(2) reads `count` mmsghdr at `messages`, and what they point to, before it returns, and
        // writes only their msg_len. Addresses, control bytes and payload are borrowed for 'a, which outlives
        // `self`; the slices were set just above.
        let sent = unsafe { libc::sendmmsg(fd.as_raw_fd(), messages, count, libc::MSG_NOSIGNAL | NOWAIT) };
        usize::try_from(sent).map_err(|_| Errno::last())
    }

    /// Forgets all messages from `count` on.
    #[cfg(feature = "testing")]
    pub(crate) fn truncate(&mut self, count: usize) {
        self.scratch.headers.truncate(count);
    }

    /// Segment size and slices (address, bytes) of message `index`.
    #[cfg(feature = "testing")]
    pub(crate) fn describe(&self, index: usize) -> (Option<u16>, impl Iterator<Item = (usize, usize)> + '_) {
        let count = |header: &libc::mmsghdr| header.msg_hdr.msg_iovlen as usize;
        let start: usize = self.scratch.headers[..index].iter().map(count).sum();
        let end = start + count(&self.scratch.headers[index]);
        let slices = self.scratch.slices[start..end].iter();
        (self.scratch.segments[index], slices.map(|slice| (slice.iov_base as usize, slice.iov_len)))
    }
}

/// Buffers, addresses and control room for one `recvmmsg`.
pub(crate) struct RecvArena {
    bytes: Vec<u8>,
    buffer_bytes: usize,
    control_bytes: usize,
    names: Vec<RawAddr>,
    controls: Vec<RecvControl>,
    slices: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

// SAFETY: the raw pointers inside point into the arena's own vectors, are set anew by each `receive`, and are read
// by the kernel only during that call, which has the arena borrowed mutably.
unsafe impl Send for RecvArena {}

impl RecvArena {
    pub(crate) fn new(buffers: usize, buffer_bytes: usize) -> Self {
        // SAFETY: all-zero is a valid mmsghdr, as in `finish`.
        let header = || unsafe { std::mem::zeroed::<libc::mmsghdr>() };
        let slice = || libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };
        Self {
            bytes: vec![0; buffers * buffer_bytes],
            buffer_bytes,
            control_bytes: size_of::<RecvControl>(),
            names: vec![RawAddr::default(); buffers],
            controls: vec![RecvControl::default(); buffers],
            slices: std::iter::repeat_with(slice).take(buffers).collect(),
            headers: std::iter::repeat_with(header).take(buffers).collect(),
        }
    }

    /// Makes the control room smaller than the kernel needs.
    #[cfg(feature = "testing")]
    pub(crate) fn limit_control(&mut self, bytes: usize) {
        self.control_bytes = bytes.min(size_of::<RecvControl>());
    }

    /// Receives into as many buffers as there is data for, `room` at most, without waiting.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>, room: usize) -> Result<usize, Errno> {
        let room = room.min(self.headers.len());
        let buffers = self.bytes.chunks_exact_mut(self.buffer_bytes);
        let parts = buffers.zip(&mut self.names).zip(&mut self.controls).zip(&mut self.slices);
        for ((((buffer, name), control), slice), header) in parts.zip(&mut self.headers[..room]) {
            *slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
            let message = &mut header.msg_hdr;
            // The kernel overwrites the lengths and flags: each message starts anew at each call, or the
            // second call would see the first one's.
            message.msg_name = ptr::from_mut(name).cast();
            message.msg_namelen = size_of::<RawAddr>() as libc::socklen_t;
            message.msg_iov = ptr::from_mut(slice);
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = self.control_bytes as _;
            message.msg_flags = 0;
            header.msg_len = 0;
        }
        let count = room as c_uint;
        // SAFETY: recvmmsg(2) writes to at most `count` headers and, within the lengths set above, to the memory
        // that they name: all of it owned by `self`, which is borrowed mutably, and valid for any bytes. A null
        // time-out means none.
        let received = unsafe {
            libc::recvmmsg(fd.as_raw_fd(), self.headers.as_mut_ptr(), count, NOWAIT as _, ptr::null_mut())
        };
        usize::try_from(received).map_err(|_| Errno::last())
    }

    /// Message `index` of the last call.
    pub(crate) fn message(&self, index: usize) -> RawMessage<'_> {
        let header = &self.headers[index];
        let control = bytemuck::cast_slice(&self.controls[index]);
        RawMessage {
            name: &self.names[index],
            name_size: header.msg_hdr.msg_namelen as usize,
            control: &control[..control.len().min(header.msg_hdr.msg_controllen as usize)],
            len: (header.msg_len as usize).min(self.buffer_bytes),
            truncated: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
            control_truncated: header.msg_hdr.msg_flags & libc::MSG_CTRUNC != 0,
        }
    }

    /// The first `len` bytes of buffer `index`.
    pub(crate) fn buffer(&self, index: usize, len: usize) -> &[u8] {
        &self.bytes[index * self.buffer_bytes..][..len]
    }

    pub(crate) fn len(&self) -> usize {
        self.headers.len()
    }
}

/// One received message as the kernel left it.
pub(crate) struct RawMessage<'a> {
    pub(crate) name: &'a RawAddr,
    pub(crate) name_size: usize,
    pub(crate) control: &'a [u8],
    pub(crate) len: usize,
    pub(crate) truncated: bool,
    pub(crate) control_truncated: bool,
}

/// Sets an option whose value is an `int`.
pub(crate) fn set_int(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> Result<(), Errno> {
    set(fd, level, name, &value)
}

/// Reads an option whose value is an `int`.
pub(crate) fn get_int(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> Result<c_int, Errno> {
    let mut value: c_int = 0;
    let mut size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: getsockopt(2) writes at most `size` bytes to the value, which is an int of that size.
    let done = unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, name, ptr::from_mut(&mut value).cast(), &raw mut size)
    };
    Errno::result(done).map(|_| value)
}

/// Gives a SO_REUSEPORT group the program that picks its members.
pub(crate) fn attach_reuseport_filter(
    fd: BorrowedFd<'_>,
    program: &[libc::sock_filter],
) -> Result<(), Errno> {
    let program = libc::sock_fprog { len: program.len() as _, filter: program.as_ptr().cast_mut() };
    set(fd, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

fn set<T>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> Result<(), Errno> {
    let size = size_of::<T>() as libc::socklen_t;
    // SAFETY: setsockopt(2) only reads `size` bytes of the value. The one value with a pointer inside, a
    // sock_fprog, names a slice that its caller still borrows; the kernel copies the program.
    let done = unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, ptr::from_ref(value).cast(), size) };
    Errno::result(done).map(drop)
}

const NOWAIT: c_int = libc::MSG_DONTWAIT;
