//! What every process that lends does with its connection between two looks at what it is told.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use udpx_control::client::{ClientError, Responses};

use super::{Answered, Clerks};

/// Sends the answers that are ready.
///
/// # Errors
/// The daemon is gone.
pub fn send_answers(responses: &mut Responses<'_>, clerks: &Clerks) -> Result<(), ClientError> {
    while let Some(Answered { demand, outcome, descriptor }) = clerks.next() {
        responses.answer(&demand, outcome, descriptor.as_ref().map(AsFd::as_fd))?;
    }
    Ok(())
}

/// Waits until the daemon says something, a demand is answered, or `tick_ms` milliseconds have passed.
pub fn sleep(responses: &Responses<'_>, clerks: Option<&Clerks>, tick_ms: u8) {
    let mut polled = vec![PollFd::new(responses.as_fd(), PollFlags::POLLIN)];
    polled.extend(clerks.map(|clerks| PollFd::new(clerks.as_fd(), PollFlags::POLLIN)));
    match nix::poll::poll(&mut polled, PollTimeout::from(tick_ms)) {
        Ok(_) | Err(Errno::EINTR) => {}
        // What is wrong with the connection shows when it is read; meanwhile no busy loop.
        Err(_) => std::thread::sleep(Duration::from_millis(tick_ms.into())),
    }
}
