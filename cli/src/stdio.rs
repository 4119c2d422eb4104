//! `-` in a place of a file: standard input is pushed, standard output is pulled to.
//!
//! What they are is looked at by whoever moves the bytes: a pipe, a terminal, or a file at its position. With data on
//! standard output everything that is said goes to standard error.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use udpx_control::Name;
use udpx_control::schema::{How, Local};
use udpxd::Code;
use udpxd::embedded::{Descriptor, PullTo, PushFile};
use udpxd::ticket::Purpose;

use crate::args::Output;
use crate::escape;
use crate::failure::Failure;
use crate::host::Host;
use crate::remote::Remote;

/// What standard output is called.
pub(crate) const OUTPUT: &str = "standard output";

/// Whether `-` is meant, and not a file that is called so (`./-`).
pub(crate) fn is_meant(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// If standard input is to be pushed: what events call it.
///
/// # Errors
/// It cannot go together with what else is asked for.
pub(crate) fn pushed(
    sources: &[PathBuf],
    destinations: &[Remote],
    detach: bool,
) -> Result<Option<Vec<u8>>, Failure> {
    if !sources.iter().any(|source| is_meant(source)) {
        return Ok(None);
    }
    let wrong = |text: &str, remedy: &str| Err(Failure::with_remedy(Code::Usage, text, remedy));
    let ([_], [destination]) = (sources, destinations) else {
        let text =
            "standard input (-) is pushed alone, and to one destination, since it can be read only once";
        return wrong(text, "Push the files by themselves, or give ./- for a file that is called so.");
    };
    if detach {
        let text = "standard input (-) ends with this command, and --detach would go on without it";
        return wrong(text, "Leave out --detach, or write it into a file and push that.");
    }
    let name = destination.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    let is_named = match &destination.host {
        Host::Ticket(ticket) => !name.is_empty() || ticket.purpose == Purpose::Receive,
        Host::Name(_) => !name.is_empty(),
    };
    if !is_named {
        let text = "standard input (-) has no name";
        let host = escape::text(&destination.host.to_string());
        return wrong(text, &format!("Give it one at the destination: \"udpxctl push - {host}:NAME\""));
    }
    Ok(Some(if name.is_empty() { b"standard input".to_vec() } else { name.to_vec() }))
}

/// What is pushed for a path.
///
/// # Errors
/// There is no standard input.
pub(crate) fn file(path: &Path) -> Result<PushFile, Failure> {
    if !is_meant(path) {
        return Ok(PushFile::Path(path.to_path_buf()));
    }
    let descriptor = open(std::io::stdin(), "standard input")?;
    Ok(PushFile::Open { name: Vec::new(), descriptor })
}

/// Standard output, for one file; nothing else may be written there.
///
/// # Errors
/// There are several files, or events would go there too.
pub(crate) fn pulled(files: usize, output: Output, detach: bool) -> Result<PullTo, Failure> {
    let wrong = |text: &str, remedy: &str| Err(Failure::with_remedy(Code::Usage, text, remedy));
    if files > 1 {
        let text = "standard output (-) takes one file, and several are given";
        return wrong(text, "Pull one after the other, or give ./- for a directory that is called so.");
    }
    if output.json {
        let text = "the events of --json and the file would both go to standard output";
        return wrong(text, "Write the events into a file: --json-to FILE");
    }
    if detach {
        let text = "standard output (-) ends with this command, and --detach would go on without it";
        return wrong(text, "Leave out --detach, or pull into a file.");
    }
    Ok(PullTo::Open(open(std::io::stdout(), OUTPUT)?))
}

/// Standard output, for what is received.
///
/// # Errors
/// Events would go there too.
pub(crate) fn received(output: Output) -> Result<Descriptor, Failure> {
    if output.json {
        let text = "the events of --json and the file would both go to standard output";
        return Err(Failure::with_remedy(Code::Usage, text, "Give the file a name: -o FILE"));
    }
    open(std::io::stdout(), OUTPUT)
}

/// Standard input as a daemon is asked to send it, and what is passed to it.
///
/// # Errors
/// There is none.
pub(crate) fn input_of_order() -> Result<(Local, OwnedFd), Failure> {
    let local = Local { path: Name::new(*b"/dev/stdin"), how: How::Fd, bytes: None };
    Ok((local, again(std::io::stdin(), "standard input")?))
}

/// Standard output as a daemon is asked to fill it, and what is passed to it.
///
/// # Errors
/// There is none.
pub(crate) fn output_of_order() -> Result<(Local, OwnedFd), Failure> {
    let local = Local { path: Name::new(*b"/dev/stdout"), how: How::Fd, bytes: None };
    Ok((local, again(std::io::stdout(), OUTPUT)?))
}

fn open(stream: impl AsFd, shown: &str) -> Result<Descriptor, Failure> {
    Ok(Descriptor { file: Arc::new(File::from(again(stream, shown)?)), shown: shown.into() })
}

fn again(stream: impl AsFd, shown: &str) -> Result<OwnedFd, Failure> {
    stream.as_fd().try_clone_to_owned().map_err(|error| {
        let remedy = "Run it with one, or name a file.";
        Failure::with_remedy(Code::Usage, format!("there is no {shown}: {error}"), remedy)
    })
}

/// Says something where standard output has the data.
pub(crate) fn say_beside(text: &str) -> Result<(), Failure> {
    // Nobody to tell if it fails.
    let _ = std::io::stderr().write_all(text.as_bytes());
    Ok(())
}
