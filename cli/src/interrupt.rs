//! Ctrl-C: the first one asks for an orderly end, the second one ends the process. A terminal that is closed.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use udpxd::Code;

use crate::failure::Failure;

/// Whether the user wants to stop. Clones see the same wish.
#[derive(Clone, Debug, Default)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Watches SIGINT and SIGTERM from now on.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub(crate) fn watch() -> Result<Self, Failure> {
        let asked = Arc::new(AtomicBool::new(false));
        let install = |signal| -> io::Result<()> {
            // In this order: the first signal finds the flag unset, and then sets it.
            flag::register_conditional_shutdown(signal, i32::from(Code::Interrupted.exit()), asked.clone())?;
            flag::register(signal, asked.clone())?;
            Ok(())
        };
        install(SIGINT)
            .and_then(|()| install(SIGTERM))
            .map_err(|error| Failure::new(Code::Other, format!("signals cannot be handled: {error}")))?;
        Ok(Self(asked))
    }

    /// The user wants to stop.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Fails once the user wants to stop.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.is_asked() { Err(Failure::interrupted()) } else { Ok(()) }
    }
}

/// Whether the terminal has been closed. Clones see the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hangup(Arc<AtomicBool>);

impl Hangup {
    /// Watches SIGHUP from now on, unless it is ignored: then nohup(1) or a shell wants this process to stay.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub(crate) fn watch() -> Result<Self, Failure> {
        let gone = Arc::new(AtomicBool::new(false));
        if !is_ignored(SIGHUP) {
            flag::register(SIGHUP, gone.clone())
                .map_err(|error| Failure::new(Code::Other, format!("signals cannot be handled: {error}")))?;
        }
        Ok(Self(gone))
    }

    /// It has been closed.
    pub(crate) fn has_come(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// As /proc tells it: to ask sigaction(2) would need unsafe code.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
