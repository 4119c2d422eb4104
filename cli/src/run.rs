//! The seam to the engine: what the command line says becomes a request, and what the engine reports is shown.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use udpxd::embedded::{self, Event, PushFile, PushRequest};
use udpxd::report::{JobError, Summary};
use udpxd::{Code, RatePolicy, StaticSecret};

use crate::args::{IfExists, Output, Sending};
use crate::events;
use crate::failure::Failure;
use crate::jsonl;
use crate::peers::Target;
use crate::progress::{Display, Status};

/// One push: files to one place of one host.
pub(crate) struct Push {
    pub(crate) target: Target,
    pub(crate) identity: StaticSecret,
    pub(crate) files: Vec<PushFile>,
    /// What messages and events call the files, in the same order.
    pub(crate) names: Vec<Vec<u8>>,
    pub(crate) root: String,
    pub(crate) path: Vec<u8>,
    pub(crate) if_exists: IfExists,
    pub(crate) timeout: Duration,
    pub(crate) sending: Sending,
}

/// What a push came to.
pub(crate) struct Outcome {
    /// What arrived, if anything did.
    pub(crate) summary: Option<Summary>,
    /// What went wrong with each of the others, or with all of them.
    pub(crate) failure: Option<Failure>,
}

impl Push {
    /// Pushes with an engine in this process. Says on the way how it goes; the end is the caller's to tell.
    pub(crate) fn run(self, output: Output, cancel: Arc<AtomicBool>) -> Outcome {
        let Self { target, identity, files, names, .. } = self;
        let mut request = PushRequest::new(target.key, target.addresses, identity);
        request.files = files;
        request.root = self.root;
        request.path = self.path;
        request.if_exists = self.if_exists.into();
        request.call.connect_timeout = self.timeout;
        request.call.give_up_after = self.timeout;
        request.call.cancel = cancel;
        request.streams = self.sending.streams;
        request.call.plain = self.sending.plain;
        request.call.gso = !self.sending.no_gso;
        if let Some(mtu) = self.sending.mtu {
            request.call.mtu_max = mtu;
        }
        if let Some(bits_per_second) = self.sending.rate {
            request.call.policy = RatePolicy::Fixed { bps: bits_per_second as f64 };
        }
        if let Ok(user) = std::env::var("USER") {
            request.user = user;
        }
        let mut watcher = Watcher::new(output, &target.name, names);
        let result = embedded::push(request, &mut |event| watcher.on_event(event));
        watcher.close(result)
    }
}

impl From<IfExists> for udpxd::IfExists {
    fn from(what: IfExists) -> Self {
        match what {
            IfExists::Replace => Self::Replace,
            IfExists::Skip => Self::Skip,
            IfExists::Fail => Self::Fail,
            IfExists::Rename => Self::Rename,
        }
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        if error.code == Code::Interrupted {
            return Self::interrupted();
        }
        Self { code: error.code, text: error.text, remedy: error.remedy }
    }
}

/// The source of a path.
pub(crate) fn file(path: PathBuf) -> PushFile {
    PushFile::Path(path)
}

/// Turns events into lines, of JSON or for people.
struct Watcher {
    output: Output,
    host: String,
    names: Vec<Vec<u8>>,
    display: Option<Display>,
    status: Status,
    /// Since when an answer to the first packet is awaited.
    connecting_since: Option<Instant>,
    last_json: Option<Instant>,
    /// Nothing has been heard lately, and this was said.
    silent: bool,
    failures: Vec<Failure>,
}

impl Watcher {
    fn new(output: Output, host: &str, names: Vec<Vec<u8>>) -> Self {
        let label = match names.as_slice() {
            [only] => only.clone(),
            several => format!("{} files", several.len()).into_bytes(),
        };
        let display = (!output.json && !output.quiet).then(|| Display::new(&label));
        Self {
            output,
            host: host.to_owned(),
            names,
            display,
            status: Status::default(),
            connecting_since: None,
            last_json: None,
            silent: false,
            failures: Vec::new(),
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connecting { address } => {
                self.connecting_since.get_or_insert_with(Instant::now);
                self.note(&format!("connecting to {address}"), 1);
            }
            Event::Connected { address, rtt_us } => {
                self.connecting_since = None;
                self.status.rtt = Duration::from_micros(rtt_us);
                self.json("connected", || events::connected(&address, rtt_us));
                self.note(&format!("connected to {address}"), 1);
            }
            Event::Accepted { file, path } => {
                let name = self.name(file);
                self.json("queued", || events::accepted(&name, &path));
                self.note(&format!("{} goes to {}", String::from_utf8_lossy(&name), path.display()), 1);
            }
            Event::Progress { bytes, total, rate_bps, rtt_us, loss } => {
                // Bytes that are sent again after the file was complete do not make it sync less.
                let syncing = self.status.syncing && bytes >= self.status.bytes;
                let (rate, rtt) = (rate_bps as f64 / 8.0, Duration::from_micros(rtt_us));
                self.status = Status { bytes, total, rate, rtt, loss, syncing };
                match self.connecting_since.map(|since| since.elapsed()) {
                    Some(waited) if waited >= QUIET_AFTER => self.on_quiet(waited),
                    Some(_) => {}
                    None => self.on_progress(),
                }
            }
            Event::Syncing { .. } => {
                self.status.syncing = true;
                self.show(true);
            }
            Event::Quiet { silent_for } => self.on_quiet(silent_for),
            Event::Retry { text } => {
                self.json("retry", || events::retry(&text));
                self.note(&text, 0);
            }
            Event::FileDone(file) => {
                self.status.syncing = false;
                let name = self.name(file.file);
                self.json("file", || events::file(&name, &file));
            }
            Event::FileFailed { file, error } => {
                let failure = Failure::from(error);
                let name = self.name(file);
                self.json("file", || events::failed_file(&name, &failure));
                // One file's failure is the command's, which is told at the end.
                if self.names.len() > 1 && !self.output.json {
                    self.pause(|| failure.show());
                }
                self.failures.push(failure);
            }
            // Whatever else a later engine may tell is not needed to follow a push.
            _ => {}
        }
    }

    fn on_progress(&mut self) {
        let was_silent = std::mem::take(&mut self.silent);
        self.show(was_silent);
    }

    fn on_quiet(&mut self, silent_for: Duration) {
        let first = !std::mem::replace(&mut self.silent, true);
        let text = format!("no answer from {} for {} s, retrying", self.host, silent_for.as_secs().max(2));
        if first {
            self.json("retry", || events::retry(&text));
        }
        if let Some(display) = &mut self.display {
            display.show_text(&text, first);
        }
    }

    fn close(mut self, result: Result<Summary, JobError>) -> Outcome {
        if let Some(display) = &mut self.display {
            display.finish();
        }
        match result {
            Ok(summary) => Outcome { summary: Some(summary), failure: None },
            Err(mut error) => {
                let summary =
                    error.summary.take().map(|summary| *summary).filter(|some| !some.files.is_empty());
                // Of several files each failure was told by itself; the error sums them up.
                let failure = match Failure::of_several(&self.failures, self.names.len()) {
                    Some(several) if error.code != Code::Interrupted => several,
                    _ => error.into(),
                };
                Outcome { summary, failure: Some(failure) }
            }
        }
    }

    fn name(&self, file: usize) -> Vec<u8> {
        self.names.get(file).cloned().unwrap_or_default()
    }

    fn show(&mut self, changed: bool) {
        if let Some(display) = &mut self.display {
            if changed { display.show_change(&self.status) } else { display.show(&self.status) }
        }
        if changed || self.last_json.is_none_or(|last| last.elapsed() >= JSON_EVERY) {
            self.last_json = Some(Instant::now());
            self.json("progress", || events::progress(&self.status));
        }
    }

    fn json(&self, event: &str, fields: impl FnOnce() -> jsonl::Fields) {
        if self.output.json {
            jsonl::emit(event, fields());
        }
    }

    /// A line for people who asked for this much.
    fn note(&mut self, line: &str, verbosity: u8) {
        if let Some(display) = self.display.as_mut().filter(|_| self.output.verbose >= verbosity) {
            display.note(line);
        }
    }

    /// Lets something else write on the terminal.
    fn pause(&mut self, write: impl FnOnce()) {
        match &mut self.display {
            Some(display) => display.pause(write),
            None => write(),
        }
    }
}

/// How long nobody worries about no answer.
const QUIET_AFTER: Duration = Duration::from_secs(2);

/// Progress events are for programs that draw; five a second are enough.
const JSON_EVERY: Duration = Duration::from_millis(200);
