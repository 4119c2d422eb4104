//! What happens to a transfer, told on the way: as lines of JSON, or for people.
//!
//! The engine of this process ([`Watcher::on_event`]) and jobs of a daemon ([`crate::job`]) are told in the same words.

use std::path::Path;
use std::time::{Duration, Instant};

use udpxd::Code;
use udpxd::embedded::Event;
use udpxd::report::{FileSummary, JobError, Summary};
use udpxd::samples::Samples;

use crate::args::Output;
use crate::failure::Failure;
use crate::progress::{Board, Display, Status};
use crate::run::Outcome;
use crate::{escape, events, jsonl, say, units};

/// Turns events into lines, of JSON or for people.
pub(crate) struct Watcher {
    output: Output,
    host: String,
    names: Vec<Vec<u8>>,
    /// Files that it is about, more perhaps than have names here.
    files: usize,
    /// What every line of JSON has besides: the number of a daemon's job, or the host if there are several.
    tags: jsonl::Fields,
    display: Option<Display>,
    status: Status,
    /// No address has answered yet.
    connecting: bool,
    last_json: Option<Instant>,
    /// Nothing has been heard lately: when that was told last.
    silent: Option<Instant>,
    failures: Vec<Failure>,
    begun: Instant,
    samples: Samples,
}

impl Watcher {
    /// For files of these names; none for a command that moves no files.
    pub(crate) fn new(output: Output, host: &str, names: Vec<Vec<u8>>) -> Self {
        let label = label(&names, host);
        Self::on_board(output, host, names, &label, &Board::new())
    }

    /// The same, with a line called `label` among those of others.
    pub(crate) fn on_board(
        output: Output,
        host: &str,
        names: Vec<Vec<u8>>,
        label: &[u8],
        board: &Board,
    ) -> Self {
        let display = (!output.json && !output.quiet).then(|| Display::new(label, board));
        Self {
            output,
            host: host.to_owned(),
            files: names.len(),
            names,
            tags: jsonl::Fields::new(),
            display,
            status: Status::default(),
            connecting: false,
            last_json: None,
            silent: None,
            failures: Vec::new(),
            begun: Instant::now(),
            samples: Samples::default(),
        }
    }

    /// Gives every line of JSON a field more.
    pub(crate) fn tag(&mut self, key: &str, value: impl Into<serde_json::Value>) {
        self.tags.insert(key.into(), value.into());
    }

    /// What messages call the peer.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// It is about so many files, whether their names are known here or not.
    pub(crate) fn set_files(&mut self, files: usize) {
        self.files = files;
    }

    /// From the engine of this process.
    pub(crate) fn on_event(&mut self, event: Event) {
        match event {
            Event::Connecting { address } => {
                self.connecting = true;
                self.note(&format!("connecting to {address}"), 1);
            }
            Event::Connected { address, rtt_us } => self.on_connected(&address.to_string(), rtt_us),
            Event::Accepted { file, path } => self.on_queued(&self.name(file), &path),
            Event::Progress { bytes, total, rate_bps, rtt_us, loss, traffic, syncing } => {
                self.samples.take(self.begun.elapsed(), rtt_us, traffic);
                let (rate, rtt) = (rate_bps as f64 / 8.0, Duration::from_micros(rtt_us));
                self.on_progress(Status { bytes, total, rate, rtt, loss, syncing });
            }
            Event::Quiet { silent_for } => self.on_quiet(silent_for),
            Event::Retry { text } => self.on_retry(&text),
            Event::Echo { number, bytes, rtt_us } => self.on_echo(number, bytes, rtt_us),
            Event::FileDone(file) => self.on_file(&self.name(file.file), &file),
            Event::FileFailed { file, error } => self.on_failed_file(&self.name(file), error.into()),
            // Whatever else a later engine may tell is not needed to follow it.
            _ => {}
        }
    }

    /// The peer has answered and is who it should be.
    pub(crate) fn on_connected(&mut self, address: &str, rtt_us: u64) {
        self.connecting = false;
        self.silent = None;
        self.status.rtt = Duration::from_micros(rtt_us);
        self.json("connected", || events::connected(address, rtt_us));
        self.note(&format!("connected to {address}"), 1);
    }

    /// The receiver takes a file.
    pub(crate) fn on_queued(&mut self, name: &[u8], path: &Path) {
        self.json("queued", || events::accepted(name, path));
        self.note(&format!("{} goes to {}", String::from_utf8_lossy(name), path.display()), 1);
    }

    /// Something failed and is tried again.
    pub(crate) fn on_retry(&mut self, text: &str) {
        self.json("retry", || events::retry(text));
        self.note(text, 0);
    }

    /// A file is durable.
    pub(crate) fn on_file(&mut self, name: &[u8], file: &FileSummary) {
        self.json("file", || events::file(name, file));
    }

    /// A file has failed for good.
    pub(crate) fn on_failed_file(&mut self, name: &[u8], failure: Failure) {
        self.json("file", || events::failed_file(name, &failure));
        // One file's failure is the command's, which is told at the end.
        if self.files > 1 && !self.output.json {
            self.pause(|| failure.show());
        }
        self.failures.push(failure);
    }

    /// Something else than progress, in its place, such as what a job waits for.
    pub(crate) fn on_state(&mut self, text: &str) {
        if let Some(display) = &mut self.display {
            display.show_text(text, true);
        }
    }

    /// An echo came back.
    pub(crate) fn on_echo(&mut self, number: u32, bytes: usize, rtt_us: u64) {
        self.silent = None;
        self.json("echo", || events::echo(number, bytes, rtt_us));
        if !self.output.json && !self.output.quiet {
            let rtt = units::time(Duration::from_micros(rtt_us));
            let host = escape::text(&self.host);
            let line = format!("{bytes} bytes from {host}: echo {}, rtt {rtt}\n", number + 1);
            // If nothing can be written then the last line says so.
            self.pause(|| drop(say(&line)));
        }
    }

    /// So far it has come.
    pub(crate) fn on_progress(&mut self, status: Status) {
        let before = std::mem::replace(&mut self.status, status);
        if self.connecting {
            return;
        }
        let mut changed = self.status.syncing && !before.syncing;
        if let Some(told) = self.silent {
            // Progress is told in any case; only new bytes, or that nobody calls it silent any more, end a silence.
            if self.status.bytes == before.bytes && told.elapsed() < SILENCE_ENDS {
                return;
            }
            self.silent = None;
            changed = true;
        }
        self.show(changed);
    }

    /// Nothing was heard of the peer for so long.
    pub(crate) fn on_quiet(&mut self, silent_for: Duration) {
        let first = self.silent.replace(Instant::now()).is_none();
        let text = format!("no answer from {} for {} s, retrying", self.host, silent_for.as_secs().max(2));
        if first {
            self.json("retry", || events::retry(&text));
        }
        if let Some(display) = &mut self.display {
            display.show_text(&text, first);
        }
    }

    /// Takes the progress line away.
    pub(crate) fn finish(&mut self) {
        if let Some(display) = &mut self.display {
            display.finish();
        }
    }

    /// The same, and what became of the files; it is the caller's to tell.
    pub(crate) fn close(mut self, result: Result<Summary, JobError>) -> Outcome {
        self.finish();
        match result {
            Ok(summary) => Outcome {
                summary: Some(summary),
                failure: None,
                samples: self.samples.list(),
                tags: self.tags,
            },
            Err(mut error) => {
                let summary =
                    error.summary.take().map(|summary| *summary).filter(|some| !some.files.is_empty());
                // Of several files each failure was told by itself; the error sums them up.
                let failure = match Failure::of_several(&self.failures, self.files, "files") {
                    Some(several) if error.code != Code::Interrupted => several,
                    _ => error.into(),
                };
                Outcome { summary, failure: Some(failure), samples: self.samples.list(), tags: self.tags }
            }
        }
    }

    /// The end of what was not followed to its own.
    pub(crate) fn give_up(mut self, failure: Failure) -> Outcome {
        self.finish();
        Outcome { tags: self.tags, ..Outcome::failed(failure) }
    }

    /// The same where it may be over in a moment.
    pub(crate) fn on_passing_state(&mut self, text: &str) {
        if let Some(display) = &mut self.display {
            display.show_text(text, false);
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

    /// A line of JSON, if somebody reads them.
    pub(crate) fn json(&self, event: &str, fields: impl FnOnce() -> jsonl::Fields) {
        if self.output.tells_events() {
            let mut fields = fields();
            fields.extend(self.tags.clone());
            jsonl::emit(event, fields);
        }
    }

    /// A line for people who asked for this much.
    pub(crate) fn note(&mut self, line: &str, verbosity: u8) {
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

/// What a line about these files is called: by the file, if it is one.
pub(crate) fn label(names: &[Vec<u8>], host: &str) -> Vec<u8> {
    match names {
        [] => host.as_bytes().to_vec(),
        [only] => only.clone(),
        several => format!("{} files", several.len()).into_bytes(),
    }
}

/// Progress events are for programs that draw; five a second are enough.
const JSON_EVERY: Duration = Duration::from_millis(200);

/// A silent peer is told of every half second.
const SILENCE_ENDS: Duration = Duration::from_millis(1200);

#[cfg(test)]
mod tests {
    use udpxd::report::Traffic;

    use super::*;

    #[test]
    fn a_silence_is_not_ended_by_our_own_clock() {
        let output = Output { json: false, quiet: true, verbose: 0 };
        let mut watcher = Watcher::new(output, "bob", vec![b"f".to_vec()]);
        let progress = |bytes| Event::Progress {
            bytes,
            total: 100,
            rate_bps: 0,
            rtt_us: 1,
            loss: 0.0,
            traffic: Traffic::default(),
            syncing: false,
        };
        watcher.on_event(progress(10));
        watcher.on_event(Event::Quiet { silent_for: Duration::from_secs(2) });
        for _ in 0..3 {
            watcher.on_event(progress(10));
            assert!(watcher.silent.is_some(), "nothing was heard");
            watcher.on_event(Event::Quiet { silent_for: Duration::from_secs(3) });
        }
        watcher.on_event(progress(11));
        assert!(watcher.silent.is_none(), "bytes were written");
        watcher.silent = Instant::now().checked_sub(SILENCE_ENDS);
        watcher.on_event(progress(11));
        assert!(watcher.silent.is_none(), "nobody calls it silent any more");
    }
}
