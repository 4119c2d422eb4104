//! Following a job to its end: what happens is told, what the daemon demands is done, Ctrl-C pauses it.
//!
//! A daemon that goes away takes no job with it. It is waited for, the job is watched again, and this process offers
//! itself again; only then does the command give up, and says how to go on.

use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use udpx_control::client::{Client, ClientError, SocketChoice};
use udpx_control::schema::{Cancel, Command, Event, JobReport, JobState, Pause, Phase, Reply, Resume, Watch};
use udpxd::Code;

use super::end::{End, Pieces};
use super::offer::Offer;
use super::told;
use crate::agent::{self, Lent};
use crate::failure::Failure;
use crate::interrupt::{Hangup, Interrupt};
use crate::lend::{self, Lender, Step, drive};
use crate::watcher::Watcher;
use crate::{ask, escape};

/// How a job is followed.
pub(crate) struct Follower<'a> {
    /// Where the daemon is.
    pub(crate) socket: PathBuf,
    /// The socket was named on the command line, and has to be in commands that are shown.
    pub(crate) is_named: bool,
    pub(crate) watcher: &'a mut Watcher,
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) hangup: &'a Hangup,
    /// What this process lends to the job; nothing if it only looks on.
    pub(crate) lent: Option<Lent>,
    /// Ctrl-C pauses the job, else it only ends the following.
    pub(crate) pauses: bool,
    /// Give up when the peer is silent for so long.
    pub(crate) timeout: Option<Duration>,
    /// The job over time is wanted at its end.
    pub(crate) wants_samples: bool,
    /// It moves standard input or output: it cannot go on later.
    pub(crate) is_piped: bool,
    pub(crate) state: Progress,
}

/// What is known of the job so far.
#[derive(Default)]
pub(crate) struct Progress {
    /// Its number, once the daemon has accepted it.
    pub(crate) job: Option<u64>,
    pieces: Pieces,
    /// Some of what happened was not seen.
    has_gap: bool,
    offer: Option<Offer>,
    /// Since when the daemon has been away.
    lost: Option<Instant>,
    /// When the peer was heard last, or the job began to be followed.
    heard: Option<Instant>,
}

impl Progress {
    /// Of a job that has begun already.
    pub(crate) fn of(job: u64) -> Self {
        Self { job: Some(job), has_gap: true, ..Self::default() }
    }
}

/// Why the following ends before the job does.
#[derive(Clone, Copy)]
enum Left {
    Interrupted,
    HungUp,
    /// The peer is silent.
    Silent,
    /// The daemon has not taken the request.
    NoAnswer,
}

impl Follower<'_> {
    /// A push or pull, from its request to its end.
    ///
    /// # Errors
    /// The daemon refuses it, the user ends it, or the daemon has gone and does not come back.
    pub(crate) fn request(
        mut self,
        client: Client,
        command: Command,
        descriptors: &[OwnedFd],
    ) -> Result<End, Failure> {
        let lender = match &self.lent {
            Some(lent) => Some(Lender::new(&lent.sources, &lent.destinations)?),
            None => None,
        };
        self.run(client, command, descriptors, lender)
    }

    /// A job that is there.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub(crate) fn watch(mut self, client: Client, job: u64) -> Result<End, Failure> {
        self.run(client, Watch { job: Some(job) }.into(), &[], None)
    }

    /// The same, after it has been resumed; this process offers itself to it if it has something to lend.
    ///
    /// # Errors
    /// As [`Self::request`].
    pub(crate) fn resume(mut self, mut client: Client, report: &JobReport) -> Result<End, Failure> {
        let job = report.job;
        // Before it goes on, or it would wait for what is just coming. A job that has failed takes no offer before it
        // has been resumed.
        if report.state != JobState::Failed {
            self.offer(job)?;
        }
        ask::call(&mut client, Resume { job }, |_| {})?;
        if self.state.offer.is_none() {
            self.offer(job)?;
        }
        self.run(client, Watch { job: Some(job) }.into(), &[], None)
    }

    fn run(
        &mut self,
        client: Client,
        command: Command,
        descriptors: &[OwnedFd],
        lender: Option<Lender>,
    ) -> Result<End, Failure> {
        let (mut client, mut command, mut lender) = (client, command, lender);
        let mut descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        self.state.heard = Some(Instant::now());
        loop {
            let each = |step| self.step(step);
            let error = match drive(&mut client, command, &descriptors, lender.as_ref(), each) {
                Ok(lend::End::Done(Reply::Job { job, stats })) => {
                    if self.state.has_gap || self.wants_samples {
                        return End::ask(&mut client, job.job);
                    }
                    return Ok(std::mem::take(&mut self.state.pieces).close(*job, stats));
                }
                Ok(lend::End::Done(_)) => return Err(ask::unexpected()),
                Ok(lend::End::Left(left)) => return self.leave(left, lender.as_ref()),
                Err(error) => error,
            };
            // The parts of a daemon that is gone go with it.
            (lender, self.state.offer, self.state.has_gap) = (None, None, true);
            let job = self.state.job.filter(|_| error.is_passing()).ok_or_else(|| ask::failed(&error))?;
            client = self.find_again(job, &error)?;
            self.offer(job)?;
            command = Watch { job: Some(job) }.into();
            descriptors.clear();
        }
    }

    fn step(&mut self, step: Step) -> ControlFlow<Left> {
        match step {
            Step::Accepted(Reply::Accepted { job }) => {
                self.state.job = Some(job);
                self.watcher.tag("job", job);
                self.watcher.note(&format!("job {job}"), 1);
            }
            Step::Accepted(_) => {}
            Step::Event(event) => {
                self.state.lost = None;
                self.listen(&event);
                told::tell(self.watcher, &event);
                self.state.pieces.add(event);
            }
            Step::Tick => return self.look_around(),
        }
        ControlFlow::Continue(())
    }

    /// Notes whether the peer was heard.
    fn listen(&mut self, event: &Event) {
        let heard = match event {
            Event::Progress(progress) => progress.phase != Phase::Connecting && progress.quiet_us == 0,
            Event::Connected { .. } | Event::Queued { .. } | Event::File(_) => true,
            // A user's pause, or a queue here, is no silence of the peer's.
            Event::Job(report) => matches!(report.state, JobState::Paused | JobState::Queued),
            _ => false,
        };
        if heard {
            self.state.heard = Some(Instant::now());
        }
    }

    fn look_around(&mut self) -> ControlFlow<Left> {
        if let Some(failure) = self.state.offer.as_mut().and_then(Offer::failed)
            // It has ended meanwhile, as its own answer says.
            && failure.code != Code::Usage
        {
            self.watcher.note(&format!("this process cannot lend its files: {}", failure.text), 0);
        }
        let silent_for = self.state.heard.map_or(Duration::ZERO, |heard| heard.elapsed());
        let is_accepted = self.state.job.is_some();
        match () {
            () if self.interrupt.is_asked() => ControlFlow::Break(Left::Interrupted),
            () if self.hangup.has_come() => ControlFlow::Break(Left::HungUp),
            () if !is_accepted && silent_for > ANSWER_TIME_MAX => ControlFlow::Break(Left::NoAnswer),
            () if self.timeout.is_some_and(|timeout| silent_for > timeout) => {
                ControlFlow::Break(Left::Silent)
            }
            () => ControlFlow::Continue(()),
        }
    }

    /// The job goes on or is paused; either way it is told how to go on with it.
    fn leave(&mut self, left: Left, lender: Option<&Lender>) -> Result<End, Failure> {
        let Some(job) = self.state.job else {
            return Err(match left {
                Left::Interrupted | Left::HungUp => Failure::interrupted(),
                Left::Silent | Left::NoAnswer => Failure::with_remedy(
                    Code::TryAgain,
                    format!("the daemon at {} does not answer", escape::path(&self.socket)),
                    "See whether it is well: systemctl status udpxd.",
                ),
            });
        };
        match left {
            _ if self.is_piped => self.cancel(job, left),
            Left::HungUp => Err(self.hand_over(job, lender)),
            _ if !self.pauses => {
                let remedy = format!("Watch it again: {}", self.command("watch", job));
                Err(Failure::with_remedy(
                    Code::Interrupted,
                    format!("interrupted; job {job} goes on"),
                    remedy,
                ))
            }
            Left::Interrupted => self.pause(job, Code::Interrupted, "interrupted"),
            Left::Silent | Left::NoAnswer => {
                let seconds = self.timeout.unwrap_or_default().as_secs();
                let host = self.watcher.host().to_owned();
                self.pause(job, Code::Unreachable, &format!("nothing was heard of {host} for {seconds} s"))
            }
        }
    }

    /// Pauses the job, or finds that it has ended meanwhile.
    fn pause(&self, job: u64, code: Code, why: &str) -> Result<End, Failure> {
        let mut client = crate::engine::again(&self.socket)?;
        client.set_patience(Some(PAUSE_TIME_MAX));
        let paused = ask::call(&mut client, Pause { job }, |_| {});
        let what = match paused {
            Ok(_) => "is paused".to_owned(),
            Err(failure) => match End::ask(&mut client, job) {
                Ok(end) if end.report.state.is_ended() => return Ok(end),
                _ => format!("could not be paused: {}", failure.text),
            },
        };
        let remedy = self.ways_on(job);
        Err(Failure::with_remedy(code, format!("{why}; job {job} {what}"), remedy))
    }

    /// Cancels a job that cannot go on later, or finds that it has ended meanwhile.
    fn cancel(&self, job: u64, left: Left) -> Result<End, Failure> {
        let (code, why) = match left {
            Left::Silent | Left::NoAnswer => {
                (Code::Unreachable, format!("nothing was heard of {} for too long", self.watcher.host()))
            }
            Left::Interrupted | Left::HungUp => (Code::Interrupted, "interrupted".to_owned()),
        };
        let mut client = crate::engine::again(&self.socket)?;
        client.set_patience(Some(PAUSE_TIME_MAX));
        let what = match ask::call(&mut client, Cancel { job }, |_| {}) {
            Ok(_) => "is cancelled".to_owned(),
            Err(failure) => match End::ask(&mut client, job) {
                Ok(end) if end.report.state.is_ended() => return Ok(end),
                _ => format!("could not be cancelled: {}", failure.text),
            },
        };
        let remedy = "Run the whole command again: what went through a pipe cannot be had from it twice.";
        Err(Failure::with_remedy(code, format!("{why}; job {job} {what}"), remedy))
    }

    /// The terminal is gone: an agent takes the place of this process, and the job goes on.
    fn hand_over(&self, job: u64, lender: Option<&Lender>) -> Failure {
        let Some(lent) = &self.lent else { return Failure::interrupted() };
        match agent::spawn(&self.socket, &[job], lent) {
            Ok(()) => {
                if let Some(lender) = lender {
                    lender.leave_parts();
                }
                if let Some(offer) = &self.state.offer {
                    offer.leave_parts();
                }
                let text = format!("the terminal was closed; job {job} goes on");
                let remedy = format!("Watch it: {}", self.command("watch", job));
                Failure::with_remedy(Code::Interrupted, text, remedy)
            }
            Err(failure) => {
                let text = format!("job {job} waits for its files: {}", failure.text);
                Failure::with_remedy(failure.code, text, self.ways_on(job))
            }
        }
    }

    fn offer(&mut self, job: u64) -> Result<(), Failure> {
        if let Some(lent) = &self.lent {
            self.state.offer = Some(Offer::start(&self.socket, job, lent)?);
        }
        Ok(())
    }

    /// Waits until the daemon, which has gone away, answers again.
    fn find_again(&mut self, job: u64, error: &ClientError) -> Result<Client, Failure> {
        if self.state.lost.is_none() {
            self.watcher.on_retry("the daemon has gone away; waiting for it to come back");
        }
        let end = *self.state.lost.get_or_insert_with(Instant::now) + RESTART_TIME_MAX;
        loop {
            // One that is just being stopped answers yet, or closes what it accepts.
            std::thread::sleep(TRY_EVERY);
            let failure = match Client::connect(&SocketChoice::path(&self.socket)) {
                Ok(client) if Instant::now() < end => return Ok(client),
                Ok(_) => self.given_up(job, Code::TryAgain, error),
                Err(now) if Instant::now() < end && now.is_passing() => {
                    if self.interrupt.is_asked() || self.hangup.has_come() {
                        let text = format!("interrupted; job {job} is the daemon's, which is not there");
                        Failure::with_remedy(Code::Interrupted, text, self.ways_on(job))
                    } else {
                        continue;
                    }
                }
                Err(now) => self.given_up(job, ask::failed(&now).code, error),
            };
            return Err(failure);
        }
    }

    /// The daemon has not come back.
    fn given_up(&self, job: u64, code: Code, error: &ClientError) -> Failure {
        let text = format!(
            "the daemon has gone away and did not come back within {} s: {}",
            RESTART_TIME_MAX.as_secs(),
            ask::failed(error).text
        );
        let resume = self.command("resume", job);
        Failure::with_remedy(
            code,
            text,
            format!("Start it, then have job {job} go on: systemctl start udpxd; {resume}"),
        )
    }

    fn ways_on(&self, job: u64) -> String {
        format!("Go on: {}   Give up: {}", self.command("resume", job), self.command("cancel", job))
    }

    /// A command line about the job.
    fn command(&self, word: &str, job: u64) -> String {
        let socket = match self.is_named {
            true => format!(" --socket {}", escape::path(&self.socket)),
            false => String::new(),
        };
        format!("udpxctl {word} {job}{socket}")
    }
}

/// How long a daemon that works needs to take a request, twice over.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);
/// How long a pause may take before the user is told that it did not work.
const PAUSE_TIME_MAX: Duration = Duration::from_secs(5);
/// How long a daemon may be away, and how often it is looked for.
const RESTART_TIME_MAX: Duration = Duration::from_secs(30);
const TRY_EVERY: Duration = Duration::from_millis(200);
