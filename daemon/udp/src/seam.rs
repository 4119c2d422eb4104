//! Where tests stand between the socket and the kernel. Without the feature `testing` it is nothing at all.

use std::os::fd::BorrowedFd;

use nix::errno::Errno;

use crate::sys::{RecvArena, Submission};
#[cfg(feature = "testing")]
use crate::testing::{Fault, RecvInjector, SendAttempt, SendInjector};

/// The kernel as one socket sees it.
#[derive(Default)]
pub(crate) struct Kernel {
    #[cfg(feature = "testing")]
    send: Option<SendInjector>,
    #[cfg(feature = "testing")]
    receive: Option<RecvInjector>,
    #[cfg(feature = "testing")]
    send_calls: u64,
    #[cfg(feature = "testing")]
    receive_calls: u64,
}

#[cfg(not(feature = "testing"))]
impl Kernel {
    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, messages: &mut Submission<'_>) -> Result<usize, Errno> {
        messages.submit(fd)
    }

    pub(crate) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        arena: &mut RecvArena,
        room: usize,
    ) -> Result<usize, Errno> {
        arena.receive(fd, room)
    }
}

#[cfg(feature = "testing")]
impl Kernel {
    pub(crate) fn inject_send(&mut self, injector: SendInjector) {
        self.send = Some(injector);
        self.send_calls = 0;
    }

    pub(crate) fn inject_receive(&mut self, injector: RecvInjector) {
        self.receive = Some(injector);
        self.receive_calls = 0;
    }

    pub(crate) fn send(&mut self, fd: BorrowedFd<'_>, messages: &mut Submission<'_>) -> Result<usize, Errno> {
        if let Some(injector) = &mut self.send {
            let fault = injector(&SendAttempt::new(self.send_calls, messages));
            self.send_calls += 1;
            match fault {
                Some(Fault::Error(errno)) => return Err(errno),
                Some(Fault::Short(count)) => messages.truncate(count.max(1)),
                Some(Fault::Vanish) => return Ok(messages.len()),
                Some(Fault::VanishFirst(count)) => return Ok(count.clamp(1, messages.len())),
                None => {}
            }
        }
        messages.submit(fd)
    }

    pub(crate) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        arena: &mut RecvArena,
        room: usize,
    ) -> Result<usize, Errno> {
        if let Some(injector) = &mut self.receive {
            let fault = injector(self.receive_calls);
            self.receive_calls += 1;
            if let Some(errno) = fault {
                return Err(errno);
            }
        }
        arena.receive(fd, room)
    }
}
