//! `--trace FILE`: every packet as a line of text (`docs/TRACE.md`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use udpxd::Code;
use udpxd::trace::{Trace, Tracer};

use crate::escape;
use crate::failure::Failure;
use crate::run::Outcome;

/// A trace of a command, or none.
pub(crate) struct Tracing {
    begun: Option<(PathBuf, Trace)>,
}

impl Tracing {
    /// Begins a trace where one is wished, before anything is sent. The tracer is for the sessions.
    pub(crate) fn begin(path: Option<&Path>) -> Result<(Option<Tracer>, Self), Failure> {
        let Some(path) = path else { return Ok((None, Self { begun: None })) };
        let (tracer, trace) =
            File::create(path).and_then(Trace::begin).map_err(|error| failed(path, &error))?;
        Ok((Some(tracer), Self { begun: Some((path.to_owned(), trace)) }))
    }

    /// Waits until all of it is written. The transfer is over, and came to its own end.
    pub(crate) fn finish(self, outcome: Outcome) -> Outcome {
        let Some((path, trace)) = self.begun else { return outcome };
        let incomplete = trace.finish().err().map(|error| failed(&path, &error));
        Outcome { failure: outcome.failure.or(incomplete), ..outcome }
    }
}

/// The file of a trace that a daemon writes: it goes with the request as its last descriptor.
///
/// # Errors
/// It cannot be created.
pub(crate) fn for_daemon(path: Option<&Path>) -> Result<Vec<OwnedFd>, Failure> {
    let file = path.map(|path| File::create(path).map_err(|error| failed(path, &error)));
    Ok(file.transpose()?.map(OwnedFd::from).into_iter().collect())
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let text = format!("the trace cannot be written: {}: {error}", escape::path(path));
    Failure::with_remedy(
        Code::Io,
        text,
        "Give --trace a file that can be written, with room for 60 bytes a packet.",
    )
}
