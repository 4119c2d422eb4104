//! `udpxctl watch [JOB]`: one job until it ends, with its exit code; or all jobs of this user, until Ctrl-C.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use udpx_control::schema::{Event, JobReport, JobState, Watch};

use crate::args::{Output, WatchArgs};
use crate::failure::Failure;
use crate::interrupt::{Hangup, Interrupt};
use crate::job::end::End;
use crate::job::follow::{Follower, Progress};
use crate::job::{report, told};
use crate::lend::{self, Step, drive};
use crate::progress::Board;
use crate::push::finish;
use crate::watcher::Watcher;
use crate::{ask, escape, jsonl, units};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: WatchArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    jsonl::redirect(args.json_to.as_deref())?;
    match args.job {
        Some(job) => one(job, args, output, &interrupt),
        None => all(args, output, &interrupt),
    }
}

fn one(job: u64, args: WatchArgs, output: Output, interrupt: &Interrupt) -> Result<(), Failure> {
    let is_named = args.ask.socket.is_some();
    let mut client = ask::connect(args.ask.socket)?;
    let end = End::ask(&mut client, job)?;
    let mut watcher = watcher(&end.report, output, &Board::new());
    let place = format!("{}:", end.report.peer);
    let place =
        if end.report.direction == udpx_control::schema::Direction::Push { place.as_str() } else { "" };
    if end.report.state.is_ended() {
        return finish(end.outcome(watcher), place, output);
    }
    let follower = Follower {
        socket: client.path().to_owned(),
        is_named,
        watcher: &mut watcher,
        interrupt,
        hangup: &Hangup::default(),
        lent: None,
        pauses: false,
        timeout: None,
        wants_samples: false,
        is_piped: false,
        state: Progress::of(job),
    };
    let outcome = match follower.watch(client, job) {
        Ok(end) => end.outcome(watcher),
        Err(failure) => watcher.give_up(failure),
    };
    finish(outcome, place, output)
}

/// A watcher of a job that is there.
pub(crate) fn watcher(report: &JobReport, output: Output, board: &Board) -> Watcher {
    let label = [format!("{} ", report.job).into_bytes(), report::label(report)].concat();
    let mut watcher = Watcher::on_board(output, &report.peer, Vec::new(), &label, board);
    watcher.set_files(usize::try_from(report.sources_total).unwrap_or(usize::MAX));
    watcher.tag("job", report.job);
    watcher
}

/// Jobs come and go; each has a line while it is there.
fn all(args: WatchArgs, output: Output, interrupt: &Interrupt) -> Result<(), Failure> {
    let mut client = ask::connect(args.ask.socket)?;
    let board = Board::new();
    let mut watchers = BTreeMap::new();
    let end = drive(&mut client, Watch { job: None }, &[], None, |step| {
        if let Step::Event(event) = step {
            show(&event, &mut watchers, output, &board);
        }
        match interrupt.is_asked() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    watchers.values_mut().for_each(Watcher::finish);
    match end {
        Ok(lend::End::Left(())) => Err(Failure::interrupted()),
        Ok(lend::End::Done(_)) => Err(ask::unexpected()),
        Err(error) => Err(ask::failed(&error)),
    }
}

fn show(event: &Event, watchers: &mut BTreeMap<u64, Watcher>, output: Output, board: &Board) {
    let job = match event {
        Event::Job(report) => {
            watchers.entry(report.job).or_insert_with(|| watcher(report, output, board));
            report.job
        }
        Event::Queued { job, .. } | Event::Connected { job, .. } | Event::Retry { job, .. } => *job,
        Event::Progress(progress) => progress.job,
        Event::File(file) => file.job,
        _ => return,
    };
    let Some(watcher) = watchers.get_mut(&job) else { return };
    told::tell(watcher, event);
    if let Event::Job(report) = event
        && report.state.is_ended()
    {
        watcher.finish();
        watchers.remove(&job);
        if !output.json && !output.quiet {
            // A stream that is closed ends the command at its next line of JSON, or by Ctrl-C.
            board.pause(|| drop(crate::say(&format!("{}\n", last_line(report)))));
        }
    }
}

fn last_line(job: &JobReport) -> String {
    let what = escape::bytes(&report::label(job));
    let why = match (&job.state, &job.error) {
        (JobState::Failed, Some(error)) => format!(": {}", escape::text(&error.text)),
        _ => format!(", {}", units::size(job.bytes)),
    };
    format!("job {} {what} {}{why}", job.job, report::state(&job.state))
}
