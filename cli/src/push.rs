//! `udpxctl push FILE... HOST[:DEST]`

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use udpxd::{Code, identity};

use crate::args::{Output, PushArgs};
use crate::destination::Destination;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::run::{self, Outcome, Push};
use crate::{escape, events, jsonl, peers, places, table};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: PushArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let (sources, destination) = split(&args.places)?;
    let names = base_names(&sources)?;
    if destination.path_is_number && !output.json {
        warn_of_port(&destination);
    }
    let target = peers::resolve(&places::peers()?, &destination.host, args.port, args.peer_key)?;
    let identity = load_identity(args.identity)?;
    let host = target.name.clone();
    let push = Push {
        target,
        identity,
        files: sources.into_iter().map(run::file).collect(),
        names,
        root: destination.root,
        path: destination.path,
        if_exists: args.if_exists,
        timeout: args.timeout,
        sending: args.sending,
    };
    finish(push.run(output, interrupt.flag()), &host, output)
}

/// Loads our key, which is made at first use.
pub(crate) fn load_identity(file: Option<PathBuf>) -> Result<udpxd::StaticSecret, Failure> {
    let file = match file {
        Some(file) => file,
        None => places::identity()?,
    };
    identity::load_or_create(&file).map_err(|error| Failure::with_remedy(Code::Config, error.to_string(), ""))
}

/// Tells how a push ended; its failure is left to the caller.
pub(crate) fn finish(outcome: Outcome, host: &str, output: Output) -> Result<(), Failure> {
    if let Some(summary) = &outcome.summary {
        if output.json {
            // One last event only: where something failed it is the error, and the files were told one by one.
            if outcome.failure.is_none() {
                jsonl::emit("summary", events::summary(summary));
            }
        } else if !output.quiet {
            // A closed standard output is no reason to fail: the files have arrived.
            let _ = std::io::stdout().write_all(table::summary(host, summary).as_bytes());
        }
    }
    outcome.failure.map_or(Ok(()), Err)
}

fn split(places: &[OsString]) -> Result<(Vec<PathBuf>, Destination), Failure> {
    match places {
        [] | [_] => {
            Err(Failure::with_remedy(Code::Usage, "no destination given: udpxctl push FILE HOST", ""))
        }
        [sources @ .., destination] => {
            Ok((sources.iter().map(PathBuf::from).collect(), Destination::parse(destination)?))
        }
    }
}

/// The names that the files will have: all different, and none of a directory.
fn base_names(sources: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut seen: BTreeMap<&OsStr, &Path> = BTreeMap::new();
    let mut names = Vec::with_capacity(sources.len());
    for source in sources {
        if source.is_dir() {
            let shown = escape::path(source);
            let remedy = format!("This version pushes files. Pack it first: tar cf NAME.tar {shown}");
            return Err(Failure::with_remedy(Code::Usage, format!("{shown} is a directory"), remedy));
        }
        // Of several files the others are sent all the same.
        if sources.len() == 1
            && let Err(error) = source.metadata()
        {
            return Err(Failure::new(Code::NoSource, format!("{}: {error}", escape::path(source))));
        }
        let Some(name) = source.file_name() else {
            return Err(Failure::new(Code::Usage, format!("{} names no file", escape::path(source))));
        };
        if let Some(first) = seen.insert(name, source) {
            let (first, second) = (escape::path(first), escape::path(source));
            let text =
                format!("{first} and {second} would both be called {}", escape::bytes(name.as_bytes()));
            return Err(Failure::with_remedy(Code::Usage, text, "Push one of them under another name."));
        }
        names.push(name.as_bytes().to_vec());
    }
    Ok(names)
}

fn warn_of_port(destination: &Destination) {
    let (host, path) = (escape::text(&destination.host), escape::bytes(&destination.path));
    // Only a hint: if it cannot be written the push goes on.
    let _ = writeln!(
        std::io::stderr(),
        "udpxctl: {path} in {host}:{path} is taken as a file name; a port is given by --port {path}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sources: &[&str]) -> Result<Vec<Vec<u8>>, Failure> {
        base_names(&sources.iter().map(PathBuf::from).collect::<Vec<_>>())
    }

    #[test]
    fn base_names_differ() {
        assert_eq!(names(&["/x/a", "b"]), Ok(vec![b"a".to_vec(), b"b".to_vec()]));
        assert!(names(&["/x/a", "y/a"]).is_err_and(|failure| failure.text.contains("both be called a")));
        assert!(names(&["/x/.."]).is_err() && names(&["/"]).is_err() && names(&[""]).is_err());
    }

    #[test]
    fn one_place_is_no_destination() {
        let failure = split(&["file".into()]).unwrap_err();
        assert_eq!(failure.lines(), "udpxctl: no destination given: udpxctl push FILE HOST\n");
        let (sources, destination) = split(&["a".into(), "b".into(), "bob:c/".into()]).unwrap();
        assert_eq!((sources.len(), destination.path.as_slice()), (2, b"c/".as_slice()));
    }
}
