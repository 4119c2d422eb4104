//! A job of several files, sent or fetched: which are under way, and what becomes of them when a session is lost.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use udpx_proto::Code;

use super::link::{Happened, Link, Room};
use super::progress::Progress;
use super::{Call, Event};
use crate::engine::report::{Pulse, Report, Task};
use crate::report::{FileSummary, JobError, Summary};
use crate::transfer::put::News;

/// What one file of a job asks of a session.
pub(super) trait Item {
    /// The task that sends or fetches it, as file `index` of its job.
    fn task(&self, index: usize) -> Task;
}

/// A job under way.
pub(super) struct Job<'e, I> {
    events: &'e mut dyn FnMut(Event),
    link: Link,
    files: Vec<File<I>>,
    progress: Progress,
    summary: Summary,
    pulse: Pulse,
    /// When progress was told last.
    told: Instant,
    began: Instant,
}

/// One file of the job.
pub(super) struct File<I> {
    item: I,
    /// Bytes; 0 while they are not known.
    size: u64,
    state: State,
    written: u64,
    /// "Syncing" was told.
    told: bool,
    began: Instant,
}

enum State {
    Waiting,
    UnderWay,
    Done,
    Failed(JobError),
}

impl<'e, I: Item> Job<'e, I> {
    pub(super) fn new(
        call: Call,
        room: Room,
        files: Vec<File<I>>,
        events: &'e mut dyn FnMut(Event),
    ) -> Result<Self, JobError> {
        if files.is_empty() {
            return Err(JobError::new(Code::Usage, "There is no file to be moved."));
        }
        let began = Instant::now();
        Ok(Self {
            events,
            link: Link::start(call, room)?,
            files,
            progress: Progress::default(),
            summary: Summary::default(),
            pulse: Pulse::default(),
            told: began,
            began,
        })
    }

    pub(super) fn run(mut self) -> Result<Summary, JobError> {
        while self.files.iter().any(|file| matches!(file.state, State::Waiting | State::UnderWay)) {
            match self.link.turn(self.events) {
                Ok(Happened::Nothing) => {}
                Ok(Happened::Changed) => self.files.iter_mut().for_each(File::begin_anew),
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

    /// Keeps some files under way: many small ones, or one large one.
    fn start_files(&mut self) {
        let under_way = self.files.iter().filter(|file| matches!(file.state, State::UnderWay));
        let (mut count, mut bytes) =
            under_way.fold((0, 0), |(count, bytes), file| (count + 1, bytes + file.size));
        for (index, file) in self.files.iter_mut().enumerate() {
            if !matches!(file.state, State::Waiting) {
                continue;
            }
            if count >= FILES_MAX || (count > 0 && bytes + file.size > BYTES_MAX) {
                return;
            }
            if !self.link.begin(file.item.task(index)) {
                return;
            }
            file.begin();
            count += 1;
            bytes += file.size;
        }
    }

    fn on_news(&mut self, index: usize, news: News) {
        let Some(file) = self.files.get_mut(index).filter(|file| matches!(file.state, State::UnderWay))
        else {
            return;
        };
        match news {
            News::Accepted { path, size } => {
                file.size = size;
                (self.events)(Event::Accepted { file: index, path: path_of(path) });
            }
            News::Progress { written, size } => {
                file.written = written;
                let whole = written == size && !std::mem::replace(&mut file.told, written == size);
                self.tell_progress();
                if whole {
                    (self.events)(Event::Syncing { file: index });
                }
            }
            News::Done { path, bytes, digest, skipped, reread, rows } => {
                file.state = State::Done;
                self.progress.done += file.size;
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
                self.tell_progress();
                self.summary.add_file(summary);
                if let Some(summary) = self.summary.files.last() {
                    (self.events)(Event::FileDone(summary.clone()));
                }
            }
            News::Failed(failure) => {
                let error = JobError::new(failure.code, failure.text);
                file.state = State::Failed(error.clone());
                (self.events)(Event::FileFailed { file: index, error });
            }
        }
    }

    fn tell_progress(&mut self) {
        self.told = Instant::now();
        let under_way = self.files.iter().filter(|file| matches!(file.state, State::UnderWay));
        let bytes = self.progress.done + under_way.map(|file| file.written).sum::<u64>();
        let total = self.files.iter().map(|file| file.size).sum();
        let rate_bps = self.progress.rate_bps(Instant::now(), bytes);
        let Pulse { rtt_us, loss } = self.pulse;
        (self.events)(Event::Progress { bytes, total, rate_bps, rtt_us, loss });
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
        let errors: Vec<&JobError> = self.files.iter().filter_map(File::error).collect();
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

impl<I> File<I> {
    /// A file of `size` bytes, 0 if that is not known yet.
    pub(super) fn new(item: I, size: u64) -> Self {
        Self { item, size, state: State::Waiting, written: 0, told: false, began: Instant::now() }
    }

    /// A file that failed before it began.
    pub(super) fn failed(item: I, error: JobError) -> Self {
        Self { state: State::Failed(error), ..Self::new(item, 0) }
    }

    fn begin(&mut self) {
        self.state = State::UnderWay;
        self.began = Instant::now();
    }

    /// The session that carried it is lost.
    fn begin_anew(&mut self) {
        if matches!(self.state, State::UnderWay) {
            self.state = State::Waiting;
            self.written = 0;
            self.told = false;
        }
    }

    fn error(&self) -> Option<&JobError> {
        match &self.state {
            State::Failed(error) => Some(error),
            State::Waiting | State::UnderWay | State::Done => None,
        }
    }
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// Progress is told at least so often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// Files under way at once.
const FILES_MAX: usize = 32;
/// Bytes of files under way at once, if they are several.
const BYTES_MAX: u64 = 256 << 20;
