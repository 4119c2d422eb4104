//! A job of several files, sent or fetched: which are under way, and what becomes of them when a session is lost.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use udpx_proto::Code;

pub(super) use super::files::File;
use super::files::Files;
use super::link::{Happened, Link, Room};
use super::progress::Progress;
use super::{Call, Event};
use crate::engine::report::{Pulse, Report, Task};
use crate::report::{FileSummary, JobError, Summary};
use crate::transfer::Failure;
use crate::transfer::put::News;

/// What one file of a job asks of a session.
pub(super) trait Item {
    /// The task that sends or fetches it, as file `index` of its job.
    fn task(&self, index: usize) -> Task;
    /// Whether it is this end that failed, and not the peer.
    fn is_ours(&self, failure: &Failure) -> bool;
}

/// A job under way.
pub(super) struct Job<'e, I> {
    events: &'e mut dyn FnMut(Event),
    link: Link,
    files: Files<I>,
    progress: Progress,
    summary: Summary,
    pulse: Pulse,
    /// When progress was told last.
    told: Instant,
    began: Instant,
}

impl<'e, I: Item> Job<'e, I> {
    pub(super) fn new(
        call: Call,
        room: Room,
        files: Vec<File<I>>,
        events: &'e mut dyn FnMut(Event),
    ) -> Result<Self, JobError> {
        if files.is_empty() {
            return Err(JobError::with_remedy(Code::Usage, "there is no file to be moved"));
        }
        let began = Instant::now();
        Ok(Self {
            events,
            link: Link::start(call, room)?,
            files: Files::new(files),
            progress: Progress::default(),
            summary: Summary::default(),
            pulse: Pulse::default(),
            told: began,
            began,
        })
    }

    pub(super) fn run(mut self) -> Result<Summary, JobError> {
        while self.files.any_open() {
            match self.link.turn(self.events) {
                Ok(Happened::Nothing) => {}
                Ok(Happened::Changed) => self.files.begin_anew(),
                Ok(Happened::Report(Report::File { file, news, pulse, .. })) => {
                    self.pulse = pulse;
                    self.on_news(file, news);
                }
                Ok(Happened::Report(_)) => {}
                Err(error) => return Err(self.abandon(error)),
            }
            if self.link.is_up() {
                self.start_files();
            }
            // Whoever shows it wants to see that we live.
            if self.told.elapsed() >= PROGRESS_EVERY {
                self.tell_progress();
            }
        }
        self.finish()
    }

    /// Keeps some files under way.
    fn start_files(&mut self) {
        while let Some((index, file)) = self.files.next() {
            if !self.link.begin(file.item.task(index)) {
                return;
            }
            self.files.begin(index);
        }
    }

    fn on_news(&mut self, index: usize, news: News) {
        let Some(file) = self.files.under_way(index) else { return };
        match news {
            News::Accepted { path, size } => {
                self.files.on_accepted(index, size);
                (self.events)(Event::Accepted { file: index, path: path_of(path) });
            }
            News::Progress { written, size } => {
                let whole = self.files.on_written(index, written, written == size);
                self.tell_progress();
                if whole {
                    (self.events)(Event::Syncing { file: index });
                }
            }
            News::Done { path, bytes, digest, skipped, reread, rows } => {
                let summary = FileSummary {
                    file: index,
                    path: path_of(path),
                    bytes,
                    digest,
                    skipped,
                    seconds: file.began.elapsed().as_secs_f64(),
                    reread_bytes: reread,
                    rows,
                };
                self.files.on_done(index);
                self.tell_progress();
                self.summary.add_file(summary);
                if let Some(summary) = self.summary.files.last() {
                    (self.events)(Event::FileDone(summary.clone()));
                }
            }
            News::Failed(failure) => {
                let error = self.link.host().file_error(&failure, file.item.is_ours(&failure));
                self.files.on_failed(index, error.clone());
                (self.events)(Event::FileFailed { file: index, error });
            }
        }
    }

    fn tell_progress(&mut self) {
        self.told = Instant::now();
        let (bytes, total) = self.files.progress();
        let rate_bps = self.progress.rate_bps(Instant::now(), bytes);
        let Pulse { rtt_us, loss, traffic } = self.pulse;
        let syncing = self.files.only_syncing();
        (self.events)(Event::Progress { bytes, total, rate_bps, rtt_us, loss, traffic, syncing });
    }

    /// Ends the session and completes the summary.
    fn close(&mut self, code: Code) {
        self.summary.seconds = self.began.elapsed().as_secs_f64();
        self.link.close(code, &mut self.summary);
        self.summary.close();
    }

    /// Gives the job up. What has arrived stays.
    fn abandon(mut self, mut error: JobError) -> JobError {
        self.close(error.code);
        if !self.summary.files.is_empty() {
            error.summary = Some(Box::new(self.summary));
        }
        error
    }

    /// All files are done, or have failed.
    fn finish(mut self) -> Result<Summary, JobError> {
        self.close(Code::Done);
        let errors: Vec<&JobError> = self.files.errors().collect();
        let Some(&first) = errors.first() else { return Ok(self.summary) };
        let alike = errors.len() == self.files.len() && errors.iter().all(|error| error.code == first.code);
        let mut error = match self.files.len() {
            1 => first.clone(),
            all => JobError {
                code: if alike { first.code } else { Code::Partly },
                text: format!("{} of {all} files failed; the first: {}", errors.len(), first.text),
                ..first.clone()
            },
        };
        if !self.summary.files.is_empty() {
            error.summary = Some(Box::new(self.summary));
        }
        Err(error)
    }
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// Progress is told at least so often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
