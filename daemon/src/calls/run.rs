//! Files that are sent or fetched: which are under way, and what becomes of them when a session is lost.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use udpx_proto::Code;

use super::errand::{Cx, Errand};
pub(super) use super::files::File;
use super::files::Files;
use super::link::{Happened, Link};
use super::progress::Progress;
use super::{Event, Way};
use crate::engine::report::{GetSpec, Pulse, Report, Task};
use crate::report::{FileSummary, JobError, Summary};
use crate::storage::readers::Origin;
use crate::transfer::Failure;
use crate::transfer::put::{Cause, News, Offer, PutOrigin, PutSpec};

/// What one file asks of a session.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// To be sent.
    Put(PutSpec),
    /// To be sent once somebody has opened it for us: see [`Run::poll_wanted`].
    Lent {
        /// Its path, for whoever opens it.
        path: PathBuf,
        /// Where it goes.
        offer: Offer,
        /// Streams; chosen by size if `None`.
        streams: Option<u16>,
        /// It, as soon as it was opened.
        origin: Option<PutOrigin>,
    },
    /// To be fetched.
    Get(GetSpec),
}

impl Item {
    /// The task that sends or fetches it, as file `index` of its run; `None` while nobody has opened it.
    fn task(&self, index: usize) -> Option<Task> {
        Some(match self {
            Self::Put(spec) => {
                let mut spec = spec.clone();
                if let Cause::Offered(offer) = &mut spec.cause {
                    offer.file = index;
                }
                Task::Put(Box::new(spec))
            }
            Self::Lent { offer, streams, origin, .. } => {
                let cause = Cause::Offered(Offer { file: index, ..offer.clone() });
                Task::Put(Box::new(PutSpec { origin: origin.clone()?, streams: *streams, cause }))
            }
            Self::Get(spec) => Task::Get(Box::new(GetSpec { file: index, ..spec.clone() })),
        })
    }

    /// Whether it is this end that failed, and not the peer.
    fn is_ours(&self, failure: &Failure) -> bool {
        let about = |path: &PathBuf| failure.text.starts_with(&format!("{path:?} "));
        let ours_to_send = matches!(failure.code, Code::NoSource | Code::SourceChanged | Code::Corrupt);
        match self {
            Self::Put(PutSpec { origin: PutOrigin::At(Origin::Path(path)), .. })
            | Self::Lent { path, .. } => ours_to_send || about(path),
            Self::Put(PutSpec { origin: PutOrigin::Pipe(inlet), .. }) => {
                ours_to_send || about(&inlet.name().to_path_buf())
            }
            Self::Put(_) => ours_to_send,
            // Into a descriptor, whose name says it all.
            Self::Get(GetSpec { place, destination, .. }) if place.root.as_os_str().is_empty() => {
                failure.text.contains(&format!("{:?}", OsStr::from_bytes(destination)))
            }
            Self::Get(spec) => {
                let root = format!("{:?}", spec.place.root);
                failure.text.starts_with(root.trim_end_matches('"'))
                    || matches!(failure.code, Code::NoSpace | Code::Corrupt)
            }
        }
    }
}

/// Files on their way to or from one peer.
pub(crate) struct Run {
    link: Link,
    files: Files,
    /// Files that somebody has to open.
    wanted: Vec<usize>,
    progress: Progress,
    summary: Summary,
    pulse: Pulse,
    /// When progress was told last.
    told: Instant,
    began: Instant,
    /// Why it ends before its files have.
    error: Option<JobError>,
    over: bool,
}

impl Run {
    /// Begins to move files. `id` must be its own among the errands of an engine.
    ///
    /// # Errors
    /// There is nothing to be moved, or no address.
    pub(crate) fn new(way: Way, id: u32, files: Vec<File>, now: Instant) -> Result<Self, JobError> {
        if files.is_empty() {
            return Err(JobError::with_remedy(Code::Usage, "there is no file to be moved"));
        }
        Ok(Self {
            link: Link::new(way, id, now)?,
            files: Files::new(files),
            wanted: Vec::new(),
            progress: Progress::default(),
            summary: Summary::default(),
            pulse: Pulse::default(),
            told: now,
            began: now,
            error: None,
            over: false,
        })
    }

    /// A file that somebody has to open, by its index, and its path: [`lend`](Self::lend) it.
    pub(crate) fn poll_wanted(&mut self) -> Option<(usize, PathBuf)> {
        let index = self.wanted.pop()?;
        match self.files.item(index) {
            Some(Item::Lent { path, .. }) => Some((index, path.clone())),
            _ => None,
        }
    }

    /// A file was opened, or could not be.
    pub(crate) fn lend(&mut self, index: usize, opened: Result<PutOrigin, JobError>, cx: &mut Cx<'_>) {
        match opened {
            Ok(origin) => {
                self.files.lend(index, origin);
                if self.files.under_way(index).is_some() && !self.start(index, cx) {
                    self.files.put_back(index);
                }
            }
            Err(error) => self.fail(index, error, cx),
        }
        self.settle(cx);
    }

    /// Bytes that are there, of those that are to be there, and how the path does.
    pub(crate) fn state(&self) -> (u64, u64, Pulse) {
        let (bytes, total) = self.files.progress();
        (bytes, total, self.pulse)
    }

    /// What came of it, once it [`is_over`](Errand::is_over).
    ///
    /// # Errors
    /// That of the only file, the common code if all failed alike, [`Code::Partly`] if some arrived; or why it ended
    /// early.
    pub(crate) fn into_outcome(self) -> Result<Summary, JobError> {
        let Self { files, summary, error, .. } = self;
        let Some(mut error) = error.or_else(|| verdict(&files)) else { return Ok(summary) };
        if !summary.files.is_empty() {
            error.summary = Some(Box::new(summary));
        }
        Err(error)
    }

    /// Keeps some files under way.
    fn start_files(&mut self, cx: &mut Cx<'_>) {
        while self.link.is_up() && self.error.is_none() {
            let Some(index) = self.files.next() else { return };
            self.files.begin(index, cx.now);
            if self.files.item(index).is_some_and(Item::is_to_be_opened) {
                self.wanted.push(index);
            } else if !self.start(index, cx) {
                return self.files.put_back(index);
            }
        }
    }

    /// Has the session begin with a file; false if the engine does not keep up.
    fn start(&mut self, index: usize, cx: &mut Cx<'_>) -> bool {
        let task = self.files.item(index).and_then(|item| item.task(index));
        task.is_some_and(|task| self.link.begin(task, cx))
    }

    fn on_news(&mut self, index: usize, news: News, cx: &mut Cx<'_>) {
        let Some(file) = self.files.under_way(index) else { return };
        match news {
            News::Accepted { path, size } => {
                self.files.on_accepted(index, size);
                (cx.events)(Event::Accepted { file: index, path: path_of(path) });
            }
            News::Progress { written, size } => {
                let whole = self.files.on_written(index, written, size);
                self.tell_progress(cx);
                if whole {
                    (cx.events)(Event::Syncing { file: index });
                }
            }
            News::Done { path, bytes, digest, skipped, reread, rows } => {
                let summary = FileSummary {
                    file: index,
                    path: path_of(path),
                    bytes,
                    digest,
                    skipped,
                    seconds: cx.now.duration_since(file.began).as_secs_f64(),
                    reread_bytes: reread,
                    rows,
                };
                self.files.on_done_with(index, bytes);
                self.tell_progress(cx);
                self.summary.add_file(summary);
                if let Some(summary) = self.summary.files.last() {
                    (cx.events)(Event::FileDone(summary.clone()));
                }
            }
            News::Failed(failure) => {
                let error = self.link.host().file_error(&failure, file.item.is_ours(&failure));
                self.fail(index, error, cx);
            }
        }
    }

    fn fail(&mut self, index: usize, error: JobError, cx: &mut Cx<'_>) {
        if self.files.under_way(index).is_some() {
            self.files.on_failed(index, error.clone());
            (cx.events)(Event::FileFailed { file: index, error });
        }
    }

    fn tell_progress(&mut self, cx: &mut Cx<'_>) {
        self.told = cx.now;
        let (bytes, total) = self.files.progress();
        let rate_bps = self.progress.rate_bps(cx.now, bytes);
        let Pulse { rtt_us, loss, traffic } = self.pulse;
        let syncing = self.files.only_syncing();
        (cx.events)(Event::Progress { bytes, total, rate_bps, rtt_us, loss, traffic, syncing });
    }

    fn give_up(&mut self, error: JobError, cx: &mut Cx<'_>) {
        let code = error.code;
        self.error.get_or_insert(error);
        self.end(code, cx);
    }

    fn end(&mut self, code: Code, cx: &mut Cx<'_>) {
        if self.summary.seconds == 0.0 {
            self.summary.seconds = cx.now.duration_since(self.began).as_secs_f64();
        }
        self.link.close(code, cx);
    }

    /// Whatever happened: the next files, or the end.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.over {
            return;
        }
        self.start_files(cx);
        if !self.files.any_open() {
            self.end(Code::Done, cx);
        }
        if self.link.is_closed(cx.now) {
            self.link.settle(&mut self.summary);
            self.summary.close();
            self.over = true;
        }
    }
}

impl Errand for Run {
    fn link(&self) -> &Link {
        &self.link
    }

    fn on_report(&mut self, report: Report, cx: &mut Cx<'_>) {
        match self.link.on_report(report, cx) {
            Ok(Happened::Nothing) => {}
            Ok(Happened::Changed) => {
                self.wanted.clear();
                self.files.begin_anew();
            }
            Ok(Happened::Report(Report::File { file, news, pulse, .. })) => {
                self.pulse = pulse;
                self.on_news(file, news, cx);
            }
            Ok(Happened::Report(_)) => {}
            Err(error) => self.give_up(error, cx),
        }
        self.settle(cx);
    }

    fn due(&mut self, cx: &mut Cx<'_>) {
        if let Err(error) = self.link.due(cx) {
            self.give_up(error, cx);
        }
        self.settle(cx);
        // Whoever shows it wants to see that we live.
        if !self.over && cx.now.duration_since(self.told) >= PROGRESS_EVERY {
            self.tell_progress(cx);
        }
    }

    fn deadline(&self) -> Instant {
        self.link.deadline().min(self.told + PROGRESS_EVERY)
    }

    fn stop(&mut self, code: Code, cx: &mut Cx<'_>) {
        self.give_up(JobError::ended(code), cx);
        self.settle(cx);
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

impl Item {
    /// It waits for whoever opens it.
    fn is_to_be_opened(&self) -> bool {
        matches!(self, Self::Lent { origin: None, .. })
    }
}

/// What is wrong with files of which none is under way any more.
fn verdict(files: &Files) -> Option<JobError> {
    let errors: Vec<&JobError> = files.errors().collect();
    let first = *errors.first()?;
    let alike = errors.len() == files.len() && errors.iter().all(|error| error.code == first.code);
    Some(match files.len() {
        1 => first.clone(),
        all => JobError {
            code: if alike { first.code } else { Code::Partly },
            text: format!("{} of {all} files failed; the first: {}", errors.len(), first.text),
            ..first.clone()
        },
    })
}

fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

/// Progress is told at least so often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
