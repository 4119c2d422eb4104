//! `udpxctl push FILE... HOST[:DEST]`

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use udpxd::Code;

use crate::args::{Output, PushArgs};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::names::Names;
use crate::remote::Remote;
use crate::run::{self, Outcome, Push, Way};
use crate::{escape, events, jsonl, table};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: PushArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let (sources, destination) = split(&args.places)?;
    let names = base_names(&sources)?;
    destination.warn_of_port(output);
    let push = Push {
        way: Way::to(&destination.host, args.reach, args.sending)?,
        files: sources.into_iter().map(run::file).collect(),
        names,
        root: destination.root,
        path: destination.path,
        if_exists: args.if_exists,
    };
    finish(push.run(output, interrupt.flag()), &format!("{}:", destination.host), output)
}

/// Tells how a push or a pull ended; its failure is left to the caller. `place` is what stands before the paths of the
/// files, a host and a colon.
pub(crate) fn finish(outcome: Outcome, place: &str, output: Output) -> Result<(), Failure> {
    if let Some(summary) = &outcome.summary {
        if output.json {
            // One last event only: where something failed it is the error, and the files were told one by one.
            if outcome.failure.is_none() {
                jsonl::emit("summary", events::summary(summary));
            }
        } else if !output.quiet {
            // A closed standard output is no reason to fail: the files have arrived.
            let _ = std::io::stdout().write_all(table::summary(place, summary).as_bytes());
        }
    }
    outcome.failure.map_or(Ok(()), Err)
}

fn split(places: &[OsString]) -> Result<(Vec<PathBuf>, Remote), Failure> {
    match places {
        [] | [_] => {
            Err(Failure::with_remedy(Code::Usage, "no destination given: udpxctl push FILE HOST", ""))
        }
        [sources @ .., destination] => {
            Ok((sources.iter().map(PathBuf::from).collect(), Remote::parse(destination)?))
        }
    }
}

/// The names that the files will have: all different, and none of a directory.
fn base_names(sources: &[PathBuf]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut names = Names::default();
    for source in sources {
        let shown = escape::path(source);
        if source.is_dir() {
            let remedy = format!("This version pushes files. Pack it first: tar cf NAME.tar {shown}");
            return Err(Failure::with_remedy(Code::Usage, format!("{shown} is a directory"), remedy));
        }
        // Of several files the others are sent all the same.
        if sources.len() == 1
            && let Err(error) = source.metadata()
        {
            return Err(Failure::new(Code::NoSource, format!("{shown}: {error}")));
        }
        names.add(source.file_name().map(OsStr::as_bytes), shown)?;
    }
    Ok(names.into_list())
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
