//! A job of a daemon, followed from its request to its end.
//!
//! One thread, one connection: what the daemon tells becomes the transfer's state, and what it demands of a pull's files
//! is done by clerks (`udpxd::lend`). A connection that breaks ends the transfer at once, unless it was to be waited for:
//! then the job, which is the daemon's, is watched again, and this process offers itself to it once more.

use std::fs::File;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use udpx_control::client::{Client, ClientError, SocketChoice, Update};
use udpx_control::schema::{
    Cancel, Command, ErrorReport, Event, FileReport, JobReport, JobState, Pause, Phase, Reply, Resume, Row,
    Show, StatsReport, VaultOffer, Watch,
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

/// What a job is asked for with, and what this process does for it.
pub(crate) struct Order {
    pub(crate) command: Command,
    /// Passed with the request.
    pub(crate) files: Vec<File>,
    /// Files that are asked for once more after the daemon was away, by the paths that it knows.
    pub(crate) open: Vec<(PathBuf, File)>,
    /// Everything at and beneath this absolute path is lent for writing.
    pub(crate) destination: Option<PathBuf>,
    /// A daemon that goes away is waited for.
    pub(crate) reconnects: bool,
}

/// What this process lends to a job, over one connection.
struct Lender {
    // Before the vault: they finish what they are at, and only then unfinished files vanish.
    clerks: Clerks,
    _vault: Arc<Vault>,
}

impl Order {
    /// Looks at what is lent, before anything is asked for.
    pub(crate) fn check(&self) -> Result<(), JobError> {
        self.vault(false).map(drop)
    }

    fn vault(&self, again: bool) -> Result<Option<Vault>, JobError> {
        let lends = self.destination.is_some() || (again && !self.open.is_empty());
        if !lends {
            return Ok(None);
        }
        let destinations: Vec<PathBuf> = self.destination.iter().cloned().collect();
        let mut vault = Vault::new(&[], &destinations)?;
        for (path, file) in &self.open {
            let file = file.try_clone().map_err(|error| no_thread(&error))?;
            vault = vault.with_open(path.clone(), file);
        }
        Ok(Some(vault))
    }

    /// `again`: the daemon has forgotten what was passed to it.
    fn lender(&self, again: bool) -> Result<Option<Lender>, JobError> {
        let Some(vault) = self.vault(again)?.map(Arc::new) else { return Ok(None) };
        let clerks = Clerks::start(&vault).map_err(|error| no_thread(&error))?;
        Ok(Some(Lender { clerks, _vault: vault }))
    }
}

fn no_thread(error: &std::io::Error) -> JobError {
    JobError::with_remedy(Code::TryAgain, format!("the system has no thread or descriptor left: {error}"))
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

/// Why a request is not attended to any more.
enum Break {
    /// What was said, or that the daemon is gone.
    Failed(ClientError),
    /// Nobody follows it any more.
    Left,
}

impl From<ClientError> for Break {
    fn from(error: ClientError) -> Self {
        Self::Failed(error)
    }
}

/// Asks for a job and follows it to its end.
pub(crate) fn run(transfer: &Transfer, job: &Job, order: Order) -> End {
    let mut pieces = Pieces::default();
    let end = follow(transfer, job, order, &mut pieces);
    end.unwrap_or_else(|error| {
        let mut end = End::failed(error);
        end.report["files"] = json!(pieces.files);
        end
    })
}

fn follow(transfer: &Transfer, job: &Job, mut order: Order, pieces: &mut Pieces) -> Result<End, JobError> {
    let mut client = Client::connect(&job.choice).map_err(|error| failed(&error))?;
    let mut command = std::mem::replace(&mut order.command, Watch { job: None }.into());
    let mut files = std::mem::take(&mut order.files);
    let mut lender = order.lender(false)?;
    let mut offer: Option<Offer> = None;
    loop {
        let descriptors: Vec<_> = files.iter().map(AsFd::as_fd).collect();
        let mut attend = Attend { transfer, job, lender: lender.as_ref(), pieces };
        let error = match attend.run(&mut client, command, &descriptors) {
            Ok(reply) if offer.is_some() => {
                // Some of what happened was not seen.
                *pieces = Pieces::default();
                return told_again(transfer, job, &reply, pieces);
            }
            Ok(reply) => return ended(transfer, reply, std::mem::take(pieces)),
            Err(Break::Left) => return Err(JobError::ended(Code::Interrupted)),
            Err(Break::Failed(error)) => error,
        };
        let number = job.number();
        if !order.reconnects || number == 0 || !error.is_passing() {
            return Err(failed(&error));
        }
        // The parts of a daemon that is gone go with it.
        drop((lender.take(), offer.take()));
        files.clear();
        transfer.update(|progress| progress.state = UDPX_STATE_WAITING);
        client = find_again(transfer, job)?;
        offer = Some(Offer::start(&job.choice, number, order.lender(true)?)?);
        command = Watch { job: Some(number) }.into();
    }
}

/// A request that is attended to until it has a result.
struct Attend<'a> {
    transfer: &'a Transfer,
    job: &'a Job,
    lender: Option<&'a Lender>,
    pieces: &'a mut Pieces,
}

impl Attend<'_> {
    fn run(
        &mut self,
        client: &mut Client,
        command: Command,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Reply, Break> {
        let mut responses = client.request(command, descriptors)?;
        let mut is_cancelled = false;
        let clerks = self.lender.map(|lender| &lender.clerks);
        loop {
            let attended = lend::attend(&mut responses, clerks, |update| {
                match update {
                    Update::Accepted(reply) => accepted(self.job, &reply),
                    Update::Event(event) => on_event(self.transfer, event, self.pieces),
                    Update::Done(reply, _) => {
                        accepted(self.job, &reply);
                        return ControlFlow::Break(reply);
                    }
                }
                ControlFlow::Continue(())
            })?;
            if let ControlFlow::Break(reply) = attended {
                return Ok(reply);
            }
            if self.job.left.load(Ordering::Acquire) {
                return Err(Break::Left);
            }
            if self.transfer.is_stopped() && !is_cancelled && self.job.number() > 0 {
                is_cancelled = true;
                // It may have ended meanwhile: then its end is what comes.
                let _ = self.job.cancel();
            }
            lend::sleep(&responses, clerks, TICK_MS);
        }
    }
}

/// Waits until the daemon, which has gone away, answers again.
fn find_again(transfer: &Transfer, job: &Job) -> Result<Client, JobError> {
    loop {
        // One that is just being stopped answers yet, or closes what it accepts.
        std::thread::sleep(TRY_EVERY);
        if job.left.load(Ordering::Acquire) {
            return Err(JobError::ended(Code::Interrupted));
        }
        if transfer.is_stopped() {
            let text = format!("the daemon is away, and job {} goes on when it is back", job.number());
            return Err(JobError::new(Code::Interrupted, text, "Cancel it then: udpx_client_cancel."));
        }
        match Client::connect(&job.choice) {
            Ok(client) => return Ok(client),
            Err(error) if error.is_passing() => {}
            Err(error) => return Err(failed(&error)),
        }
    }
}

/// Asks for all of a job that has ended.
fn told_again(transfer: &Transfer, job: &Job, reply: &Reply, pieces: &mut Pieces) -> Result<End, JobError> {
    let number = match reply {
        Reply::Job { job, .. } => job.job,
        _ => job.number(),
    };
    let mut client = Client::connect(&job.choice).map_err(|error| failed(&error))?;
    let whole = Show { job: number, samples: false };
    let shown = client.request(whole, &[]).and_then(|responses| {
        responses.finish(&mut |event| match event {
            Event::File(file) if pieces.files.len() < FILES_MAX => pieces.files.push(*file),
            Event::Rows { rows, .. } => pieces.rows.extend(rows),
            _ => {}
        })
    });
    ended(transfer, shown.map_err(|error| failed(&error))?, std::mem::take(pieces))
}

/// This process, lent to a job that a restarted daemon goes on with, on a connection and a thread of its own.
struct Offer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Offer {
    fn start(choice: &SocketChoice, job: u64, lender: Option<Lender>) -> Result<Self, JobError> {
        let Some(lender) = lender else { return Ok(Self { stop: Arc::default(), thread: None }) };
        let stop: Arc<AtomicBool> = Arc::default();
        let (choice, stopped) = (choice.clone(), stop.clone());
        let serve = move || {
            while !stopped.load(Ordering::Acquire) {
                // Where the connection breaks the following notices it too, and ends this.
                let _ = lend_to(&choice, job, &lender, &stopped);
                std::thread::sleep(TRY_EVERY);
            }
        };
        let thread = std::thread::Builder::new().name("udpx-lender".into()).spawn(serve);
        Ok(Self { stop, thread: Some(thread.map_err(|error| no_thread(&error))?) })
    }
}

fn lend_to(
    choice: &SocketChoice,
    job: u64,
    lender: &Lender,
    stopped: &AtomicBool,
) -> Result<(), ClientError> {
    let mut client = Client::connect(choice)?;
    let mut responses = client.request(VaultOffer { jobs: vec![job] }, &[])?;
    while !stopped.load(Ordering::Acquire) {
        let attended = lend::attend(&mut responses, Some(&lender.clerks), |update| match update {
            Update::Done(..) => ControlFlow::Break(()),
            Update::Accepted(_) | Update::Event(_) => ControlFlow::Continue(()),
        })?;
        if attended.is_break() {
            return Ok(());
        }
        lend::sleep(&responses, Some(&lender.clerks), TICK_MS);
    }
    Ok(())
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic there was told on standard error; the job waits for another offer.
            let _ = thread.join();
        }
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

/// Files of a job that its report has.
const FILES_MAX: usize = 65_536;
/// How soon a wish to stop is noticed, milliseconds.
const TICK_MS: u8 = 50;
/// How often a daemon that is away is looked for.
const TRY_EVERY: Duration = Duration::from_millis(200);
