//! The signals of a daemon, as something that its loop can wait for.

use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// SIGTERM and SIGINT, which end the daemon, and SIGHUP, which makes it read its configuration anew.
#[derive(Debug)]
pub(super) struct Signals {
    /// Each signal leaves a byte here.
    bell: UnixStream,
    shutdown: Arc<AtomicBool>,
    hangup: Arc<AtomicBool>,
}

impl Signals {
    /// Takes them over for this process.
    ///
    /// # Errors
    /// The system refused.
    pub(super) fn take() -> io::Result<Self> {
        let (bell, ringer) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        let (shutdown, hangup) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        for (signal, flag) in [(SIGTERM, &shutdown), (SIGINT, &shutdown), (SIGHUP, &hangup)] {
            // In this order: whoever hears the bell sees the flag.
            signal_hook::flag::register(signal, flag.clone())?;
            signal_hook::low_level::pipe::register(signal, ringer.try_clone()?)?;
        }
        Ok(Self { bell, shutdown, hangup })
    }

    /// What to wait for.
    pub(super) fn descriptor(&self) -> RawFd {
        self.bell.as_raw_fd()
    }

    /// Quiets the bell until the next signal.
    pub(super) fn quiet(&mut self) {
        while self.bell.read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
    }

    /// The daemon shall end.
    pub(super) fn shall_end(&self) -> bool {
        self.shutdown.load(Ordering::Relaxed)
    }

    /// The configuration shall be read anew; asked once.
    pub(super) fn shall_reload(&self) -> bool {
        self.hangup.swap(false, Ordering::Relaxed)
    }
}
