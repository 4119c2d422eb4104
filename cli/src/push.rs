//! `udpxctl push FILE... HOST[:DEST]`

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use udpxd::Code;

use crate::args::{Output, PushArgs};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::names::Names;
use crate::remote::Remote;
use crate::run::{self, Outcome, Push, Way};
use crate::trace::Tracing;
use crate::{escape, events, jsonl, plot, say, table};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: PushArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let (sources, destination) = split(&args.places)?;
    let names = base_names(&sources)?;
    destination.warn_of_port(output);
    let (tracer, tracing) = Tracing::begin(args.trace)?;
    let push = Push {
        way: Way { trace: tracer, ..Way::to(&destination.host, args.reach, args.sending)? },
        files: sources.into_iter().map(run::file).collect(),
        names,
        root: destination.root,
        path: destination.path,
        if_exists: args.if_exists,
    };
    let title = format!("{} to {}", plot::files(&push.names), destination.host);
    let outcome = push.run(output, interrupt.flag());
    let drawn = args.plot.map_or(Ok(()), |path| outcome.plot(&path, &title, false));
    finish(outcome, &format!("{}:", destination.host), output).and(drawn).and(tracing.finish())
}

/// Tells how a push or a pull ended; its failure is left to the caller. `place` is what stands before the paths of the
/// files, a host and a colon.
pub(crate) fn finish(outcome: Outcome, place: &str, output: Output) -> Result<(), Failure> {
    let told = match &outcome.summary {
        // One last event only: where something failed it is the error, and the files were told one by one.
        Some(_) if output.json && outcome.failure.is_some() => Ok(()),
        Some(summary) if output.json => jsonl::emit_last("summary", events::summary(summary)),
        Some(summary) if !output.quiet => say(&table::summary(place, summary)),
        _ => Ok(()),
    };
    outcome.failure.map_or(told, Err)
}

fn split(places: &[OsString]) -> Result<(Vec<PathBuf>, Remote), Failure> {
    match places {
        [] | [_] => Err(Failure::new(Code::Usage, "no destination given: udpxctl push FILE HOST")),
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
        if source.as_os_str() == "-" {
            let text = "this version does not push standard input";
            let remedy = "Write it into a file and push that, or give ./- for a file that is called so.";
            return Err(Failure::with_remedy(Code::Usage, text, remedy));
        }
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
        assert!(names(&["-"]).is_err_and(|failure| failure.text.contains("standard input")));
        assert!(names(&["/x/.."]).is_err() && names(&["/"]).is_err() && names(&[""]).is_err());
    }

    #[test]
    fn one_place_is_no_destination() {
        let failure = split(&["file".into()]).unwrap_err();
        assert!(failure.lines().starts_with("udpxctl: no destination given: udpxctl push FILE HOST\n  See "));
        let (sources, destination) = split(&["a".into(), "b".into(), "bob:c/".into()]).unwrap();
        assert_eq!((sources.len(), destination.path.as_slice()), (2, b"c/".as_slice()));
    }
}
