//! A push: which files are under way, on which session, and what becomes of them when a session is lost.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use udpx_proto::{Code, SessionStats};

use super::progress::Progress;
use super::{Event, PushFile, PushRequest};
use crate::engine::access::Peers;
use crate::engine::report::{Command, Connect, Pulse, Report, SessionKey};
use crate::engine::{EngineConfig, EngineHandle};
use crate::report::{FileSummary, JobError, Row, Summary};
use crate::storage::source::Source;
use crate::transfer::put::{News, PutOrigin, PutSpec};
use crate::transfer::{Failure, code_of_source};

/// A push under way.
pub(super) struct Push<'e> {
    request: PushRequest,
    events: &'e mut dyn FnMut(Event),
    engine: EngineHandle,
    files: Vec<File>,
    session: Option<SessionKey>,
    knocking: Knocking,
    progress: Progress,
    summary: Summary,
    /// Sum and count of round trips, nanoseconds.
    rtt: (u64, u64),
    pulse: Pulse,
    /// When progress was told last.
    told: Instant,
    began: Instant,
    last_contact: Instant,
    connected_once: bool,
}

/// One file of the job.
struct File {
    origin: PutOrigin,
    name: Vec<u8>,
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

/// The search for an address that answers.
#[derive(Default)]
struct Knocking {
    /// Addresses not tried yet in this round.
    addresses: VecDeque<SocketAddr>,
    /// Attempts without an answer.
    open: u32,
    /// When the next address has its turn, or the next round begins.
    next: Option<Instant>,
    /// Why the last attempt failed.
    failure: Option<Failure>,
    rounds: u32,
}

impl<'e> Push<'e> {
    pub(super) fn new(request: PushRequest, events: &'e mut dyn FnMut(Event)) -> Result<Self, JobError> {
        if request.files.is_empty() || request.addresses.is_empty() {
            return Err(JobError::new(Code::Usage, "There is nothing to send, or nowhere to send it to."));
        }
        let engine = EngineHandle::start(EngineConfig {
            identity: request.identity.clone(),
            listen: Vec::new(),
            peers: Peers::default(),
            // Nothing is received: room for what a confused peer may send.
            staging: 16 << 20,
            receive_buffer: 4 << 20,
            gso: request.gso,
            mtu_max: request.mtu_max,
            #[cfg(test)]
            inject: None,
        });
        let engine = engine.map_err(|error| JobError::with_remedy(Code::Io, error.to_string()))?;
        let began = Instant::now();
        let files = request.files.iter().map(|file| File::new(file, began)).collect();
        let knocking = Knocking {
            addresses: request.addresses.iter().copied().collect(),
            next: Some(began),
            ..Knocking::default()
        };
        Ok(Self {
            request,
            events,
            engine,
            files,
            session: None,
            knocking,
            progress: Progress::default(),
            summary: Summary::default(),
            rtt: (0, 0),
            pulse: Pulse::default(),
            told: began,
            began,
            last_contact: began,
            connected_once: false,
        })
    }

    pub(super) fn run(mut self) -> Result<Summary, JobError> {
        while self.files.iter().any(|file| matches!(file.state, State::Waiting | State::UnderWay)) {
            if self.request.cancel.load(Ordering::Relaxed) {
                return Err(self.abandon(JobError::new(Code::Interrupted, "Interrupted.")));
            }
            match self.session {
                None => self.knock()?,
                Some(session) => self.start_files(session),
            }
            match self.engine.next(TURN) {
                Ok(Some(report)) => self.on_report(report)?,
                Ok(None) => {}
                Err(_) => return Err(JobError::with_remedy(Code::Bug, "The engine has stopped by itself.")),
            }
            // Whoever shows it wants to see that we live.
            if self.told.elapsed() >= PROGRESS_EVERY {
                self.tell_progress();
            }
        }
        self.summary.seconds = self.began.elapsed().as_secs_f64();
        self.finish()
    }

    /// Tries addresses, each a little after the one before.
    fn knock(&mut self) -> Result<(), JobError> {
        let now = Instant::now();
        let Some(next) = self.knocking.next.filter(|&next| now >= next) else { return Ok(()) };
        if let Some(address) = self.knocking.addresses.pop_front() {
            (self.events)(Event::Connecting { address });
            let connect = Connect {
                tag: u64::from(self.knocking.rounds),
                address,
                peer: self.request.peer,
                policy: self.request.policy,
                plain: self.request.plain,
                timeout: self.request.connect_timeout,
            };
            self.knocking.open += u32::from(self.engine.send(Command::Connect(Box::new(connect))));
            self.knocking.next = Some(next.max(now) + STAGGER);
        } else if self.knocking.open == 0 {
            self.next_round(now)?;
        }
        Ok(())
    }

    /// Nobody answered. The first time that is the end; a session that was lost is sought for a while.
    fn next_round(&mut self, now: Instant) -> Result<(), JobError> {
        let failure = self.knocking.failure.take();
        let failure =
            failure.unwrap_or_else(|| Failure::new(Code::Unreachable, "No address could be tried."));
        let patient =
            self.connected_once && now.duration_since(self.last_contact) < self.request.give_up_after;
        let hopeless = !matches!(failure.code, Code::Unreachable | Code::TryAgain);
        if !patient || hopeless {
            return Err(self.abandon(JobError::new(failure.code, failure.text)));
        }
        self.begin_round(now + (RETRY_LEAST * (1 << self.knocking.rounds.min(4))));
        Ok(())
    }

    fn begin_round(&mut self, at: Instant) {
        self.knocking.addresses = self.request.addresses.iter().copied().collect();
        self.knocking.next = Some(at);
        self.knocking.open = 0;
        self.knocking.rounds += 1;
    }

    /// Keeps some files under way: many small ones, or one large one.
    fn start_files(&mut self, session: SessionKey) {
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
            let spec = PutSpec {
                file: index,
                origin: file.origin.clone(),
                name: file.name.clone(),
                root: self.request.root.clone(),
                path: self.request.path.clone(),
                if_exists: self.request.if_exists,
                streams: self.request.streams,
                user: self.request.user.clone(),
            };
            if !self.engine.send(Command::Put { session, spec: Box::new(spec) }) {
                return;
            }
            file.begin();
            count += 1;
            bytes += file.size;
        }
    }

    fn on_report(&mut self, report: Report) -> Result<(), JobError> {
        match report {
            Report::Connected { session, address, rtt, replaces } => {
                self.on_connected(session, address, rtt, replaces);
            }
            Report::ConnectFailed { tag, failure }
                if tag == u64::from(self.knocking.rounds) && self.session.is_none() =>
            {
                self.knocking.open = self.knocking.open.saturating_sub(1);
                self.knocking.failure = Some(failure);
                // The next address need not wait for its turn.
                self.knocking.next = self.knocking.next.map(|next| next.min(Instant::now()));
            }
            Report::Put { session, file, news, pulse } if Some(session) == self.session => {
                self.last_contact = Instant::now();
                self.pulse = pulse;
                self.on_news(file, news);
            }
            Report::Quiet { session, silent_for } if Some(session) == self.session => {
                (self.events)(Event::Quiet { silent_for });
            }
            Report::Ended { session, failure, stats, socket } => {
                self.summary.socket = socket;
                self.account(&stats);
                if Some(session) == self.session {
                    self.on_lost(failure)?;
                }
            }
            // Of a session that was given up, or of one that we receive on, which there is none.
            _ => {}
        }
        Ok(())
    }

    fn on_connected(
        &mut self,
        session: SessionKey,
        address: SocketAddr,
        rtt: Duration,
        replaces: Option<SessionKey>,
    ) {
        if let Some(old) = self.session {
            // Of two addresses that answer, the first one is used.
            let (surplus, text) = if replaces == Some(old) {
                (old, "Another session took its place.")
            } else {
                (session, "Another address was faster.")
            };
            self.engine.send(Command::Close { session: surplus, code: Code::Done, text: text.into() });
            if surplus == session {
                return;
            }
            (self.events)(Event::Retry { text: format!("{address} was restarted.") });
            self.files.iter_mut().for_each(File::begin_anew);
        }
        self.session = Some(session);
        self.connected_once = true;
        self.last_contact = Instant::now();
        self.knocking.next = None;
        self.summary.sessions += 1;
        (self.events)(Event::Connected { address, rtt_us: rtt.as_micros() as u64 });
    }

    /// The session is over though files are not.
    fn on_lost(&mut self, failure: Failure) -> Result<(), JobError> {
        self.session = None;
        let now = Instant::now();
        let worth_it = matches!(failure.code, Code::Unreachable | Code::TryAgain | Code::Done);
        if !worth_it || now.duration_since(self.last_contact) >= self.request.give_up_after {
            return Err(self.abandon(JobError::new(failure.code, failure.text)));
        }
        (self.events)(Event::Retry { text: failure.text });
        self.files.iter_mut().for_each(File::begin_anew);
        self.begin_round(now);
        Ok(())
    }

    fn on_news(&mut self, index: usize, news: News) {
        let Some(file) = self.files.get_mut(index).filter(|file| matches!(file.state, State::UnderWay))
        else {
            return;
        };
        match news {
            News::Accepted { path } => (self.events)(Event::Accepted { file: index, path: path_of(path) }),
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

    /// Adds what a session cost beside its files.
    fn account(&mut self, stats: &SessionStats) {
        self.summary.control += &Row::of(None, &stats.control, Duration::ZERO);
        self.summary.lost += stats.lost_packets;
        self.summary.datagram = stats.datagram;
        if stats.rtt_samples > 0 {
            let least = stats.rtt_min_ns / 1000;
            let before = self.summary.rtt_min_us;
            self.summary.rtt_min_us = if before == 0 { least } else { before.min(least) };
            self.rtt = (self.rtt.0 + stats.rtt_sum_ns, self.rtt.1 + stats.rtt_samples);
            self.summary.rtt_mean_us = self.rtt.0 / self.rtt.1 / 1000;
        }
    }

    /// Ends the session and waits for its counters.
    fn close(&mut self, code: Code) {
        let Some(session) = self.session else { return };
        let text = String::new();
        if !self.engine.send(Command::Close { session, code, text }) {
            return;
        }
        let end = Instant::now() + CLOSING;
        while Instant::now() < end {
            match self.engine.next(CLOSING) {
                Ok(Some(Report::Ended { session: ended, stats, socket, .. })) => {
                    self.summary.socket = socket;
                    self.account(&stats);
                    if ended == session {
                        return;
                    }
                }
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Gives the job up. What has arrived stays.
    fn abandon(&mut self, mut error: JobError) -> JobError {
        self.close(error.code);
        self.summary.seconds = self.began.elapsed().as_secs_f64();
        if !self.summary.files.is_empty() {
            self.summary.close();
            error.summary = Some(Box::new(std::mem::take(&mut self.summary)));
        }
        error
    }

    /// All files are done, or have failed.
    fn finish(mut self) -> Result<Summary, JobError> {
        self.close(Code::Done);
        self.summary.close();
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

impl File {
    fn new(file: &PushFile, now: Instant) -> Self {
        let mut state = State::Waiting;
        let (origin, name, size) = match file {
            PushFile::Path(path) => {
                let name = path.file_name().unwrap_or_default().as_bytes().to_vec();
                // The reader that opens it says what is wrong with it, if something is.
                let size = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
                (PutOrigin::Path(path.clone()), name, size)
            }
            PushFile::Generated { name, len, seed } => match Source::generated(*len, *seed) {
                Ok(source) => (PutOrigin::Open(Arc::new(source)), name.clone(), *len),
                Err(error) => {
                    state = State::Failed(JobError::new(code_of_source(&error), error.to_string()));
                    (PutOrigin::Path(PathBuf::new()), name.clone(), *len)
                }
            },
        };
        Self { origin, name, size, state, written: 0, told: false, began: now }
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
    Path::new(&OsString::from_vec(bytes)).to_path_buf()
}

/// Progress is told at least so often.
const PROGRESS_EVERY: Duration = Duration::from_millis(250);
/// How often cancellation is looked for.
const TURN: Duration = Duration::from_millis(50);
/// Between the attempts at two addresses (RFC 8305 recommends 250 ms).
const STAGGER: Duration = Duration::from_millis(250);
/// Before a lost session is sought again; doubled each time, up to sixteen-fold.
const RETRY_LEAST: Duration = Duration::from_millis(200);
/// Files under way at once.
const FILES_MAX: usize = 32;
/// Bytes of files under way at once, if they are several.
const BYTES_MAX: u64 = 256 << 20;
/// How long a session's last counters are waited for.
const CLOSING: Duration = Duration::from_millis(500);
