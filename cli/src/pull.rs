//! `udpxctl pull HOST:FILE... [DEST]`

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use udpx_control::schema::{self, How};
use udpxd::Code;
use udpxd::embedded::{PullFile, PullTo};

use crate::agent::Lent;
use crate::args::{Output, PullArgs, Sending};
use crate::deadline::Deadline;
use crate::engine::{self, Engine};
use crate::failure::Failure;
use crate::host::Host;
use crate::interrupt::{Hangup, Interrupt};
use crate::job::transfer::Order;
use crate::job::{self, order};
use crate::names::Names;
use crate::push::{finish, finish_on, needs_daemon};
use crate::remote::Remote;
use crate::run::{Outcome, Pull, Way};
use crate::trace::{self, Tracing};
use crate::watcher::Watcher;
use crate::{escape, jsonl, plot, stdio};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: &PullArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    jsonl::redirect(args.job.json_to.as_deref())?;
    let (sources, destination) = split(&args.places)?;
    let names = base_names(&sources)?;
    let into = match stdio::is_meant(&destination) {
        true => Destination::Output(stdio::pulled(names.len(), output, args.job.detach)?),
        false => Destination::of(&destination, names.len())?,
    };
    sources.iter().for_each(|source| source.warn_of_port(output));
    let from = sources[0].host.clone();
    let host = from.to_string();
    let watcher = || Watcher::new(output, &host, names.clone());
    let end = |outcome: Outcome| {
        let title = format!("{} from {host}", plot::files(&names));
        let drawn = args.plot.as_ref().map_or(Ok(()), |path| outcome.plot(path, &title, true));
        match into {
            Destination::Output(_) => finish_on(stdio::say_beside, outcome, "", output),
            Destination::File(_) | Destination::Directory(_) => finish(outcome, "", output),
        }
        .and(drawn)
    };
    match engine::choose(&args.through, &args.reach, &[&from], needs_daemon(&args.job), output)? {
        Engine::Daemon(client) => {
            let order = order(args, &sources, &into)?;
            if args.job.detach {
                let job = job::detach::detach(*client, order.command, &order.lent)?;
                return job::detach::tell(&[job], output);
            }
            let hangup = Hangup::watch()?;
            let (how, signals) = ((&args.reach, &args.through), (&interrupt, &hangup));
            end(job::transfer::run(*client, order, watcher(), how, signals))
        }
        Engine::Here => {
            let outcome = into_here(args, sources, &names, &into, watcher(), &interrupt)?;
            end(outcome)
        }
    }
}

/// By an engine in this process.
fn into_here(
    args: &PullArgs,
    sources: Vec<Remote>,
    names: &[Vec<u8>],
    into: &Destination<'_>,
    watcher: Watcher,
    interrupt: &Interrupt,
) -> Result<Outcome, Failure> {
    let sending = Sending { carrying: args.carrying.clone(), rate: None };
    let way = Way::to(&sources[0].host, &args.reach, sending)?.sharing(args.job.policy);
    let file = |(source, name): (Remote, &Vec<u8>)| PullFile {
        root: source.root,
        path: source.path,
        destination: into.place_for(name),
    };
    let (trace, tracing) = Tracing::begin(args.trace.as_deref())?;
    let pull = Pull {
        way: Way { trace, ..way },
        files: sources.into_iter().zip(names).map(file).collect(),
        if_exists: args.if_exists,
        umask: udpxd::lend::umask(),
    };
    let cancel = interrupt.flag();
    let deadline = args.job.deadline.map(|time| Deadline::start(time, cancel.clone()));
    let outcome = pull.run_watched(watcher, cancel);
    Ok(tracing.finish(match deadline {
        Some(deadline) => deadline.name(outcome),
        None => outcome,
    }))
}

/// What a daemon is asked for.
fn order(args: &PullArgs, sources: &[Remote], into: &Destination<'_>) -> Result<Order, Failure> {
    let mut passed = Vec::new();
    let destination = match into {
        Destination::File(path) => order::destination(path, false),
        Destination::Directory(path) => order::destination(path, true),
        Destination::Output(_) => {
            let (local, file) = stdio::output_of_order()?;
            passed.push(file);
            Ok(local)
        }
    }?;
    let destinations = match destination.how {
        How::Vault => vec![destination.path.clone().into()],
        How::Fd => Vec::new(),
    };
    let lent = Lent { sources: Vec::new(), destinations };
    let sources = sources.iter().map(|source| order::place(source, &args.reach)).collect();
    let trace = args.trace.as_deref();
    let options = order::options(&args.job, (&args.carrying, None), args.if_exists, trace);
    Ok(Order {
        command: schema::Pull { sources, destination, options }.into(),
        lent,
        is_piped: !passed.is_empty(),
        descriptors: passed.into_iter().chain(trace::for_daemon(trace)?).collect(),
        wants_samples: args.plot.is_some(),
    })
}

/// Sources, of which there is at least one, and the destination.
fn split(places: &[OsString]) -> Result<(Vec<Remote>, PathBuf), Failure> {
    let (sources, destination) = match places {
        [sources @ .., last] if !sources.is_empty() && !is_remote(last) => (sources, PathBuf::from(last)),
        all => (all, PathBuf::from(".")),
    };
    let sources: Vec<Remote> = sources.iter().map(|text| source(text)).collect::<Result<_, _>>()?;
    let Some(first) = sources.first() else {
        return Err(Failure::new(Code::Usage, "no source given: udpxctl pull HOST:FILE"));
    };
    if let Some(other) = sources.iter().find(|source| source.host != first.host) {
        let text = format!("{} and {} are two machines", first.host, other.host);
        return Err(Failure::with_remedy(Code::Usage, text, "Pull from one after the other."));
    }
    Ok((sources, destination))
}

/// As with scp: what has a colon before any slash is on another machine; and what is behind the path of a ticket.
fn is_remote(place: &OsStr) -> bool {
    if place.as_bytes().starts_with(b"@") {
        return place.as_bytes().contains(&b':');
    }
    let head = place.as_bytes().split(|&byte| byte == b'/').next().unwrap_or_default();
    head.contains(&b':')
}

fn source(text: &OsStr) -> Result<Remote, Failure> {
    if !is_remote(text) {
        if Host::by_ticket(text.as_bytes())?.is_some() {
            let text = "behind the ticket the file is missing";
            return Err(Failure::with_remedy(
                Code::Usage,
                text,
                "Write TICKET:FILE; `udpxctl ls TICKET` lists them.",
            ));
        }
        let shown = escape::bytes(text.as_bytes());
        let remedy = "Write HOST:FILE; the destination comes last.";
        return Err(Failure::with_remedy(Code::Usage, format!("{shown} names no file of a host"), remedy));
    }
    Remote::parse(text)
}

/// The base names of the sources: all different.
fn base_names(sources: &[Remote]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut names = Names::default();
    for source in sources {
        let name = source.path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let good = !matches!(name, b"" | b"." | b"..");
        names.add(good.then_some(name), format!("{}:{}", source.host, escape::bytes(&source.path)))?;
    }
    Ok(names.into_list())
}

/// Where files go.
enum Destination<'a> {
    /// One file, under this name.
    File(&'a Path),
    /// Each under its own name.
    Directory(&'a Path),
    /// One, to standard output.
    Output(PullTo),
}

impl<'a> Destination<'a> {
    fn of(path: &'a Path, files: usize) -> Result<Self, Failure> {
        if path.is_dir() || path.as_os_str().as_bytes().ends_with(b"/") {
            return Ok(Self::Directory(path));
        }
        if files > 1 && path.exists() {
            let text = format!("{} is no directory, and {files} files are to go there", escape::path(path));
            return Err(Failure::with_remedy(Code::Usage, text, "Give a directory."));
        }
        Ok(if files > 1 { Self::Directory(path) } else { Self::File(path) })
    }

    fn place_for(&self, name: &[u8]) -> PullTo {
        match self {
            Self::File(path) => path.to_path_buf().into(),
            Self::Directory(path) => path.join(OsStr::from_bytes(name)).into(),
            Self::Output(output) => output.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_texts(texts: &[&str]) -> Result<(Vec<Vec<u8>>, PathBuf), String> {
        let places: Vec<OsString> = texts.iter().map(OsString::from).collect();
        let split = split(&places).map_err(|failure| failure.text)?;
        let names = base_names(&split.0).map_err(|failure| failure.text)?;
        Ok((names, split.1))
    }

    #[test]
    fn the_last_place_is_the_destination_if_it_is_here() {
        let names = |names: &[&str]| names.iter().map(|name| name.as_bytes().to_vec()).collect::<Vec<_>>();
        for (texts, expected, destination) in [
            (&["bob:a"][..], &["a"][..], "."),
            (&["bob:a", "x"], &["a"], "x"),
            (&["bob:d/a", "bob:/root/b"], &["a", "b"], "."),
            (&["bob:a", "bob:b", "./x:y"], &["a", "b"], "./x:y"),
            (&["[::1]:a", "/tmp/"], &["a"], "/tmp/"),
        ] {
            assert_eq!(split_texts(texts), Ok((names(expected), destination.into())), "{texts:?}");
        }
    }

    #[test]
    fn what_cannot_be_pulled_is_refused_before_anything_is_asked() {
        for (texts, what) in [
            (&["file"][..], "names no file of a host"),
            (&["bob"], "names no file of a host"),
            (&["bob:"], "names no file"),
            (&["bob:directory/"], "names no file"),
            (&["bob:a/.."], "names no file"),
            (&["bob:a", "x", "y"], "names no file of a host"),
            (&["bob:a", "eve:b"], "two machines"),
            (&["bob:a", "bob:d/a"], "both be called a"),
        ] {
            assert!(split_texts(texts).is_err_and(|text| text.contains(what)), "{texts:?}");
        }
    }

    #[test]
    fn several_files_go_into_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (file, new) = (directory.path().join("file"), directory.path().join("new"));
        std::fs::write(&file, "").unwrap();
        let to = |path: &Path, files| Destination::of(path, files).map(|into| into.place_for(b"n"));
        assert_eq!(to(directory.path(), 1), Ok(directory.path().join("n").into()));
        assert_eq!((to(&new, 1), to(&new, 2)), (Ok(new.clone().into()), Ok(new.join("n").into())));
        assert_eq!(to(&new.join(""), 1), Ok(new.join("n").into()));
        assert!(to(&file, 1) == Ok(file.clone().into()) && to(&file, 2).is_err());
    }
}
