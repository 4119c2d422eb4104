//! A job of a daemon, followed from its request to its end.
//!
//! One thread, one connection: what the daemon tells becomes the transfer's state, and what it demands of a pull's files
//! is done by clerks (`udpxd::lend`). A connection that breaks ends the transfer at once; the job itself is the daemon's.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use udpx_control::client::{Client, ClientError, SocketChoice, Update};
use udpx_control::schema::{
    Cancel, Command, ErrorReport, Event, FileReport, JobReport, JobState, Outcome, Pause, Phase, Reply,
    Resume, Row, StatsReport, code,
};
use udpxd::Code;
use udpxd::lend::{self, Clerks, Vault};
use udpxd::report::JobError;

use crate::boundary::wrong;
use crate::options::{
    UDPX_STATE_PAUSED, UDPX_STATE_RUNNING, UDPX_STATE_STARTING, UDPX_STATE_SYNCING, UDPX_STATE_WAITING,
    udpx_progress,
};
use crate::transfer::{End, Transfer, udpx_summary};

/// The daemon's end of a transfer.
pub(crate) struct Job {
    choice: SocketChoice,
    /// 0 before the daemon has accepted it.
    number: AtomicU64,
    /// It goes on without this process.
    left: AtomicBool,
}

/// What this process lends to a job.
pub(crate) struct Lender {
    // Before the vault: they finish what they are at, and only then unfinished files vanish.
    clerks: Clerks,
    _vault: Arc<Vault>,
}

impl Lender {
    /// Everything at and beneath an absolute path, for writing.
    pub(crate) fn new(destination: std::path::PathBuf) -> Result<Self, JobError> {
        let vault = Arc::new(Vault::new(&[], &[destination])?);
        let clerks = Clerks::start(&vault).map_err(|error| {
            JobError::with_remedy(Code::TryAgain, format!("no thread could be started: {error}"))
        })?;
        Ok(Self { clerks, _vault: vault })
    }
}

impl Job {
    pub(crate) fn new(choice: SocketChoice) -> Self {
        Self { choice, number: AtomicU64::new(0), left: AtomicBool::new(false) }
    }

    pub(crate) fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// From now on nobody follows it.
    pub(crate) fn leave(&self) {
        self.left.store(true, Ordering::Release);
    }

    pub(crate) fn pause(&self) -> Result<(), JobError> {
        self.ask(|job| Pause { job }.into())
    }

    pub(crate) fn resume(&self) -> Result<(), JobError> {
        self.ask(|job| Resume { job }.into())
    }

    fn cancel(&self) -> Result<(), JobError> {
        self.ask(|job| Cancel { job }.into())
    }

    fn ask(&self, command: impl FnOnce(u64) -> Command) -> Result<(), JobError> {
        match self.number() {
            0 => Err(wrong(
                "the daemon has not accepted the transfer yet",
                "Wait until udpx_transfer_job tells a number.",
            )),
            job => {
                let mut client = Client::connect(&self.choice).map_err(|error| failed(&error))?;
                client.call(command(job)).map(drop).map_err(|error| failed(&error))
            }
        }
    }
}

/// What a client's error is in the one table.
pub(crate) fn failed(error: &ClientError) -> JobError {
    of_report(&error.report())
}

pub(crate) fn of_report(report: &ErrorReport) -> JobError {
    JobError::new(Code::from_number(report.code), report.text.clone(), report.remedy.clone())
}

/// What comes in pieces.
#[derive(Default)]
struct Pieces {
    files: Vec<FileReport>,
    rows: Vec<Row>,
}

/// Asks for a job and follows it to its end.
pub(crate) fn run(
    transfer: &Transfer,
    job: &Job,
    command: Command,
    files: &[File],
    lender: Option<&Lender>,
) -> End {
    let mut pieces = Pieces::default();
    let end = follow(transfer, job, command, files, lender, &mut pieces);
    end.unwrap_or_else(|error| {
        let mut end = End::failed(error);
        end.report["files"] = json!(pieces.files);
        end
    })
}

fn follow(
    transfer: &Transfer,
    job: &Job,
    command: Command,
    files: &[File],
    lender: Option<&Lender>,
    pieces: &mut Pieces,
) -> Result<End, JobError> {
    let mut client = Client::connect(&job.choice).map_err(|error| failed(&error))?;
    let descriptors: Vec<_> = files.iter().map(AsFd::as_fd).collect();
    let mut responses = client.request(command, &descriptors).map_err(|error| failed(&error))?;
    let mut is_cancelled = false;
    loop {
        for _ in 0..UPDATES_AT_ONCE {
            match responses.wait(Duration::ZERO).map_err(|error| failed(&error))? {
                None => break,
                Some(Update::Accepted(reply)) => accepted(job, &reply),
                Some(Update::Event(Event::Demand(demand))) => {
                    let refused = match lender {
                        Some(lender) => lender.clerks.give(demand).err(),
                        None => Some(demand),
                    };
                    if let Some(demand) = refused {
                        let outcome = Outcome::failed(nothing_lent());
                        responses.answer(&demand, outcome, None).map_err(|error| failed(&error))?;
                    }
                }
                Some(Update::Event(event)) => on_event(transfer, event, pieces),
                Some(Update::Done(reply, _)) => {
                    accepted(job, &reply);
                    return ended(transfer, reply, std::mem::take(pieces));
                }
            }
        }
        if let Some(lender) = lender {
            lend::send_answers(&mut responses, &lender.clerks).map_err(|error| failed(&error))?;
        }
        if job.left.load(Ordering::Acquire) {
            return Err(JobError::ended(Code::Interrupted));
        }
        if transfer.is_stopped() && !is_cancelled && job.number() > 0 {
            is_cancelled = true;
            // It may have ended meanwhile: then its end is what comes.
            let _ = job.cancel();
        }
        lend::sleep(&responses, lender.map(|lender| &lender.clerks), TICK_MS);
    }
}

fn accepted(job: &Job, reply: &Reply) {
    let number = match reply {
        Reply::Accepted { job } => *job,
        Reply::Job { job, .. } => job.job,
        _ => return,
    };
    job.number.store(number, Ordering::Release);
}

fn on_event(transfer: &Transfer, event: Event, pieces: &mut Pieces) {
    match event {
        Event::Progress(told) => transfer.update(|progress| {
            (progress.bytes, progress.total) = (told.bytes, told.total.unwrap_or(0));
            (progress.rate_bps, progress.rtt_us) = (told.rate_bps, told.rtt_us);
            (progress.loss, progress.quiet_us) = (told.loss, told.quiet_us);
            progress.state = match told.phase {
                Phase::Connecting => UDPX_STATE_STARTING,
                Phase::Sending => UDPX_STATE_RUNNING,
                Phase::Syncing => UDPX_STATE_SYNCING,
            };
        }),
        Event::Connected { rtt_us, .. } => transfer.update(|progress| {
            (progress.state, progress.rtt_us, progress.quiet_us) = (UDPX_STATE_RUNNING, rtt_us, 0);
        }),
        Event::Job(report) => transfer.update(|progress| on_report(progress, &report)),
        Event::File(file) if pieces.files.len() < FILES_MAX => pieces.files.push(*file),
        Event::Rows { rows, .. } => pieces.rows.extend(rows),
        _ => {}
    }
}

fn on_report(progress: &mut udpx_progress, report: &JobReport) {
    (progress.bytes, progress.total) = (report.bytes, report.total.unwrap_or(progress.total));
    match report.state {
        JobState::Queued => progress.state = UDPX_STATE_STARTING,
        JobState::Running => progress.state = UDPX_STATE_RUNNING,
        JobState::Waiting { .. } => progress.state = UDPX_STATE_WAITING,
        JobState::Paused => progress.state = UDPX_STATE_PAUSED,
        _ => {}
    }
}

fn ended(transfer: &Transfer, reply: Reply, pieces: Pieces) -> Result<End, JobError> {
    let (job, stats) = match reply {
        Reply::Job { job, stats } => (job, stats),
        Reply::Accepted { job } => {
            let report = json!({ "job": job });
            return Ok(End { result: Ok(()), summary: udpx_summary::default(), report });
        }
        _ => return Err(JobError::with_remedy(Code::Protocol, "the daemon's answer is not understood")),
    };
    let stats = stats.map(|mut stats| {
        stats.add_rows(pieces.rows);
        *stats
    });
    let result = match (&job.state, &job.error) {
        (JobState::Done, _) => Ok(()),
        (JobState::Cancelled, _) => Err(JobError::ended(Code::Interrupted)),
        (_, Some(report)) => Err(of_report(report)),
        (_, None) => Err(JobError::with_remedy(Code::Other, "the job failed")),
    };
    transfer.update(|progress| on_report(progress, &job));
    let summary = summary(&job, stats.as_ref());
    let mut report = json!({ "job": job, "files": pieces.files, "stats": stats.map_or(Value::Null, |stats| json!(stats)) });
    if let Err(error) = &result {
        report["error"] = json!(udpxd::conductor::reports::error_of(error));
    }
    Ok(End { result, summary, report })
}

fn summary(job: &JobReport, stats: Option<&StatsReport>) -> udpx_summary {
    let mut summary = udpx_summary { files: job.files, bytes: job.bytes, ..udpx_summary::default() };
    if let Some(stats) = stats {
        summary.duration_us = (stats.total.seconds * 1e6) as u64;
        (summary.packets, summary.wire_bytes) = (stats.total.packets, stats.total.wire_bytes);
        (summary.retransmitted, summary.lost) = (stats.total.retransmitted, stats.lost);
        (summary.rtt_min_us, summary.rtt_mean_us) = (stats.rtt_min_us, stats.rtt_mean_us);
    }
    summary
}

fn nothing_lent() -> ErrorReport {
    ErrorReport::new(code::REFUSED, "This program lends no such file.", "Push or pull it again.")
}

/// Updates that are handled before answers to demands are looked for.
const UPDATES_AT_ONCE: usize = 64;
/// Files of a job that its report has.
const FILES_MAX: usize = 65_536;
/// How soon a wish to stop is noticed, milliseconds.
const TICK_MS: u8 = 50;
