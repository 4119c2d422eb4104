//! `udpxctl push FILE... HOST[:DEST]`

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use udpx_control::client::Client;
use udpx_control::schema::{self, How, Local};
use udpxd::Code;

use crate::agent::Lent;
use crate::args::{JobOptions, Output, PushArgs};
use crate::deadline::Deadline;
use crate::engine::{self, Engine};
use crate::failure::Failure;
use crate::host::Host;
use crate::interrupt::{Hangup, Interrupt};
use crate::job::transfer::Order;
use crate::job::{self, order};
use crate::names::Names;
use crate::progress::Board;
use crate::remote::Remote;
use crate::run::{Outcome, Push, Way};
use crate::trace::{self, Tracing};
use crate::watcher::{self, Watcher};
use crate::{escape, events, jsonl, plot, say, several, stdio, table};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: PushArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    jsonl::redirect(args.job.json_to.as_deref())?;
    let (sources, destinations) = split(&args.places, &args.to)?;
    let names = match stdio::pushed(&sources, &destinations, args.job.detach)? {
        Some(name) => vec![name],
        None => base_names(&sources)?,
    };
    destinations.iter().for_each(|destination| destination.warn_of_port(output));
    let push = Pushing { args, sources, names, output, interrupt };
    let hosts: Vec<&Host> = destinations.iter().map(|destination| &destination.host).collect();
    let needs = needs_daemon(&push.args.job);
    match engine::choose(&push.args.through, &push.args.reach, &hosts, needs, output)? {
        Engine::Daemon(client) => push.through_daemon(*client, &destinations),
        Engine::Here => {
            push.to_all(&destinations, |destination, watcher| push.in_this_process(destination, watcher))
        }
    }
}

/// The option that only a daemon can serve, if one is given.
pub(crate) fn needs_daemon(job: &JobOptions) -> Option<&'static str> {
    match job {
        JobOptions { detach: true, .. } => Some("--detach"),
        JobOptions { limit: Some(_), .. } => Some("--limit"),
        _ => None,
    }
}

/// One command line.
struct Pushing {
    args: PushArgs,
    sources: Vec<PathBuf>,
    /// What the files are called, in the same order.
    names: Vec<Vec<u8>>,
    output: Output,
    interrupt: Interrupt,
}

impl Pushing {
    /// To one destination after the other's beginning: each is a job, or an engine, of its own.
    fn to_all(
        &self,
        destinations: &[Remote],
        push: impl Fn(&Remote, Watcher) -> Outcome + Sync,
    ) -> Result<(), Failure> {
        if let [only] = destinations {
            let watcher = Watcher::new(self.output, &only.host.to_string(), self.names.clone());
            let outcome = push(only, watcher);
            let title = format!("{} to {}", plot::files(&self.names), only.host);
            let drawn = self.args.plot.as_ref().map_or(Ok(()), |path| outcome.plot(path, &title, false));
            return finish(outcome, &format!("{}:", only.host), self.output).and(drawn);
        }
        if self.args.plot.is_some() {
            let text = "--plot draws one transfer, and several destinations are given";
            let remedy = "Draw each afterwards: udpxctl show JOB --plot FILE.svg";
            return Err(Failure::with_remedy(Code::Usage, text, remedy));
        }
        let board = Board::new();
        let hosts: Vec<String> =
            destinations.iter().map(|destination| destination.host.to_string()).collect();
        several::run(&hosts, &board, self.output, |index| {
            let host = &hosts[index];
            let label = [&watcher::label(&self.names, host), b" to ".as_slice(), host.as_bytes()].concat();
            let mut watcher = Watcher::on_board(self.output, host, self.names.clone(), &label, &board);
            watcher.tag("host", host.as_str());
            push(&destinations[index], watcher)
        })
    }

    /// By an engine in this process.
    fn in_this_process(&self, destination: &Remote, watcher: Watcher) -> Outcome {
        let way = match Way::to(&destination.host, &self.args.reach, self.args.sending.clone()) {
            Ok(way) => way.sharing(self.args.job.policy),
            Err(failure) => return watcher.give_up(failure),
        };
        let (trace, tracing) = match Tracing::begin(self.args.trace.as_deref()) {
            Ok(begun) => begun,
            Err(failure) => return watcher.give_up(failure),
        };
        let cancel = self.interrupt.flag();
        let deadline = self.args.job.deadline.map(|time| Deadline::start(time, cancel.clone()));
        let push = Push {
            way: Way { trace, ..way },
            files: match self.sources.iter().map(|source| stdio::file(source)).collect() {
                Ok(files) => files,
                Err(failure) => return watcher.give_up(failure),
            },
            names: self.names.clone(),
            root: destination.root.clone(),
            path: destination.path.clone(),
            if_exists: self.args.if_exists,
        };
        let outcome = push.run_watched(watcher, cancel);
        tracing.finish(match deadline {
            Some(deadline) => deadline.name(outcome),
            None => outcome,
        })
    }

    fn through_daemon(&self, client: Client, destinations: &[Remote]) -> Result<(), Failure> {
        let socket = client.path().to_owned();
        if self.args.job.detach {
            let mut jobs = Vec::new();
            let mut client = Some(client);
            for destination in destinations {
                let order = self.order(destination)?;
                let client = client.take().map_or_else(|| engine::again(&socket), Ok)?;
                jobs.push(job::detach::detach(client, order.command, &order.lent)?);
            }
            return job::detach::tell(&jobs, self.output);
        }
        let hangup = Hangup::watch()?;
        let first = Mutex::new(Some(client));
        self.to_all(destinations, |destination, watcher| {
            // One connection serves one job.
            let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
            let client = first.map_or_else(|| engine::again(&socket), Ok);
            match client.and_then(|client| Ok((client, self.order(destination)?))) {
                Ok((client, order)) => job::transfer::run(
                    client,
                    order,
                    watcher,
                    (&self.args.reach, &self.args.through),
                    (&self.interrupt, &hangup),
                ),
                Err(failure) => watcher.give_up(failure),
            }
        })
    }

    /// What a daemon is asked for.
    fn order(&self, destination: &Remote) -> Result<Order, Failure> {
        let args = &self.args;
        let mut passed = Vec::new();
        let mut sources: Vec<Local> = Vec::new();
        for path in &self.sources {
            if stdio::is_meant(path) {
                let (local, file) = stdio::input_of_order()?;
                passed.push(file);
                sources.push(local);
            } else {
                sources.push(order::source(path)?);
            }
        }
        let lent_ones = sources.iter().filter(|source| source.how == How::Vault);
        let lent = Lent {
            sources: lent_ones.map(|source| source.path.clone().into()).collect(),
            destinations: Vec::new(),
        };
        let destinations = vec![order::place(destination, &args.reach)];
        let trace = args.trace.as_deref();
        let how = (&args.sending.carrying, args.sending.rate);
        let options = order::options(&args.job, how, args.if_exists, trace);
        Ok(Order {
            command: schema::Push { sources, destinations, options }.into(),
            lent,
            is_piped: !passed.is_empty(),
            descriptors: passed.into_iter().chain(trace::for_daemon(trace)?).collect(),
            wants_samples: args.plot.is_some(),
        })
    }
}

/// Tells how a push or a pull ended; its failure is left to the caller. `place` is what stands before the paths of the
/// files, a host and a colon.
pub(crate) fn finish(outcome: Outcome, place: &str, output: Output) -> Result<(), Failure> {
    finish_on(say, outcome, place, output)
}

/// The same, where `tell` writes the table.
pub(crate) fn finish_on(
    tell: impl FnOnce(&str) -> Result<(), Failure>,
    outcome: Outcome,
    place: &str,
    output: Output,
) -> Result<(), Failure> {
    let Outcome { summary, failure, tags, .. } = outcome;
    let told = summary.map_or(Ok(()), |summary| {
        // One last event only: where something failed it is the error, and the files were told one by one.
        if output.tells_events() && failure.is_none() {
            let mut fields = events::summary(&summary);
            fields.extend(tags);
            jsonl::emit_last("summary", fields)?;
        }
        if output.json || output.quiet { Ok(()) } else { tell(&table::summary(place, &summary)) }
    });
    failure.map_or(told, Err)
}

/// Sources, and destinations: the last of the places, and those of `--to`.
fn split(places: &[OsString], more: &[OsString]) -> Result<(Vec<PathBuf>, Vec<Remote>), Failure> {
    let (sources, last) = match places {
        [] | [_] => return Err(Failure::new(Code::Usage, "no destination given: udpxctl push FILE HOST")),
        [sources @ .., destination] => (sources, destination),
    };
    let destinations: Vec<Remote> =
        [last].into_iter().chain(more).map(|place| Remote::parse(place)).collect::<Result<_, _>>()?;
    if destinations.len() > DESTINATIONS_MAX {
        let text =
            format!("{} destinations are given, and {DESTINATIONS_MAX} are allowed", destinations.len());
        return Err(Failure::with_remedy(Code::Usage, text, "Push to the others afterwards."));
    }
    for (index, destination) in destinations.iter().enumerate() {
        if destinations[..index].contains(destination) {
            let text =
                format!("{} is given twice as destination", escape::text(&destination.host.to_string()));
            return Err(Failure::with_remedy(Code::Usage, text, "Give each destination once."));
        }
    }
    Ok((sources.iter().map(PathBuf::from).collect(), destinations))
}

/// Destinations of one command: each has a thread and a connection.
const DESTINATIONS_MAX: usize = 32;

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
        let failure = split(&["file".into()], &[]).unwrap_err();
        assert!(failure.lines().starts_with("udpxctl: no destination given: udpxctl push FILE HOST\n  See "));
        let places: Vec<OsString> = ["a", "b", "bob:c/"].map(OsString::from).to_vec();
        let (sources, destinations) = split(&places, &[]).unwrap();
        assert_eq!((sources.len(), destinations[0].path.as_slice()), (2, b"c/".as_slice()));
        let hosts = |more: &[&str]| {
            let more: Vec<OsString> = more.iter().map(OsString::from).collect();
            let split = split(&places, &more).map_err(|failure| failure.text)?;
            Ok(split.1.into_iter().map(|destination| destination.host).collect::<Vec<_>>())
        };
        assert_eq!(
            hosts(&["carol", "dave:x"]),
            Ok(["bob", "carol", "dave"].map(|name| Host::Name(name.into())).to_vec())
        );
        assert_eq!(hosts(&["bob"]).map(|hosts| hosts.len()), Ok(2), "another place there");
        assert!(hosts(&["bob:c/"]).is_err_and(|text: String| text.contains("twice")));
        let many: Vec<String> = (0..40).map(|number| format!("host{number}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(hosts(&many).is_err_and(|text| text.contains("32 are allowed")));
    }
}
