//! Ctrl-C: the first one asks for an orderly end, the second one ends the process.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
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

    pub(crate) fn flag(&self) -> Arc<AtomicBool> {
        self.0.clone()
    }

    /// Fails once the user wants to stop.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.0.load(Ordering::Acquire) { Err(Failure::interrupted()) } else { Ok(()) }
    }
}
