//! `udpxctl resume JOB`: has a job go on, lends it this user's files, and follows it as its push or pull did.

use std::path::PathBuf;

use udpx_control::schema::{Direction, JobReport, PlaceReport, Resume};
use udpxd::Code;

use crate::agent::Lent;
use crate::args::{Output, ResumeArgs};
use crate::failure::Failure;
use crate::interrupt::{Hangup, Interrupt};
use crate::job::detach;
use crate::job::end::End;
use crate::job::follow::{Follower, Progress};
use crate::progress::Board;
use crate::push::finish;
use crate::{ask, change, jsonl, watch};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: ResumeArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    jsonl::redirect(args.json_to.as_deref())?;
    let (job, is_named) = (args.job.job, args.job.ask.socket.is_some());
    let mut client = ask::connect(args.job.ask.socket.clone())?;
    let End { report, sources, .. } = End::ask(&mut client, job)?;
    let lent = lent(&report, &sources)?;
    if args.detach {
        change::change(args.job, Resume { job })?;
        if let Some(lent) = lent {
            detach::lend(client.path(), job, &lent)?;
        }
        return detach::tell(&[job], output);
    }
    let mut watcher = watch::watcher(&report, output, &Board::new());
    let follower = Follower {
        socket: client.path().to_owned(),
        is_named,
        watcher: &mut watcher,
        interrupt: &interrupt,
        hangup: &Hangup::watch()?,
        pauses: true,
        timeout: None,
        lent,
        wants_samples: false,
        is_piped: false,
        state: Progress::of(job),
    };
    let outcome = match follower.resume(client, &report) {
        Ok(end) => end.outcome(watcher),
        Err(failure) => watcher.give_up(failure),
    };
    let place = format!("{}:", report.peer);
    finish(outcome, if report.direction == Direction::Push { &place } else { "" }, output)
}

/// What the job needs of this user; nothing if it is somebody else's.
fn lent(report: &JobReport, beyond: &[PlaceReport]) -> Result<Option<Lent>, Failure> {
    if report.uid != nix::unistd::geteuid().as_raw() {
        return Ok(None);
    }
    Ok(Some(match report.direction {
        Direction::Pull => {
            Lent { sources: Vec::new(), destinations: vec![report.destination.path.clone().into()] }
        }
        Direction::Push if report.sources_total > (report.sources.len() + beyond.len()) as u64 => {
            let text = format!(
                "job {} has {} sources, and the daemon names {} of them",
                report.job,
                report.sources_total,
                report.sources.len() + beyond.len()
            );
            let remedy =
                "Push the files again; those that are there already can be left by --if-exists skip.";
            return Err(Failure::with_remedy(Code::Usage, text, remedy));
        }
        Direction::Push => {
            let sources: Vec<PathBuf> =
                report.sources.iter().chain(beyond).map(|source| source.path.clone().into()).collect();
            Lent { sources, destinations: Vec::new() }
        }
    }))
}
