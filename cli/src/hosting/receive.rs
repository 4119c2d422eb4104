//! `udpxctl receive [-o FILE]`: without a file what comes goes to standard output, and all else to standard error.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use udpxd::Code;
use udpxd::hosting::{Host, HostEvent, Offer};
use udpxd::report::{FileSummary, JobError};

use super::{Listening, TICK, events, explain, interrupted, note, tell_ticket, text_of_ticket};
use crate::args::Output;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::progress::{Board, Display, Status};
use crate::{escape, events as common, jsonl, say, stdio, units};

#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    /// The file that what comes is stored as; one that is there is replaced when all has come [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    listening: Listening,
}

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: ReceiveArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let to_file = args.output.filter(|path| !stdio::is_meant(path));
    let is_pipe = to_file.is_none();
    let (offer, path) = match to_file {
        Some(path) => (Offer::File { path: path.clone() }, path),
        None => {
            let descriptor = stdio::received(output)?;
            let shown = descriptor.shown.clone();
            (Offer::Pipe(descriptor), shown)
        }
    };
    let mut host = args.listening.start(offer)?;
    announce(&host, &path, is_pipe, output);
    let display = (!output.json && !output.quiet)
        .then(|| Display::new(path.as_os_str().as_encoded_bytes(), &Board::new()));
    let mut receiving = Receiving { output, path, display, came: None, joined: false, told: None };
    let received = receiving.run(&mut host, &interrupt);
    if let Some(display) = &mut receiving.display {
        display.finish();
    }
    let file = received?;
    drop(host);
    match output.json {
        true => jsonl::emit_last("summary", events::received(&file)),
        false if output.quiet => Ok(()),
        false if is_pipe => stdio::say_beside(&line(&file)),
        false => say(&line(&file)),
    }
}

/// The ticket, alone on its line, and what it is good for: on standard error, as standard output may be for data.
fn announce(host: &Host, path: &Path, is_pipe: bool, output: Output) {
    if output.json {
        return tell_ticket(host);
    }
    note(&format!("{}\n", text_of_ticket(host)));
    if is_pipe {
        let what = "One file or stream is waited for, to go to standard output";
        return explain(host, what, &["udpxctl push FILE TICKET", "COMMAND | udpxctl push - TICKET"], output);
    }
    let what = format!("One file is waited for, to be {}", escape::path(path));
    explain(host, &what, &["udpxctl push FILE TICKET"], output);
}

/// What has happened so far.
struct Receiving {
    output: Output,
    path: PathBuf,
    display: Option<Display>,
    /// The file, and when its sender is not waited for any more.
    came: Option<(FileSummary, Instant)>,
    /// Somebody has used the ticket.
    joined: bool,
    /// When progress was last told to programs.
    told: Option<Instant>,
}

impl Receiving {
    fn run(&mut self, host: &mut Host, interrupt: &Interrupt) -> Result<FileSummary, Failure> {
        loop {
            if interrupt.check().is_err() && self.came.is_none() {
                return Err(interrupted());
            }
            if let Some(event) = host.next_event(TICK)? {
                self.on_event(event)?;
            }
            // The sender has to hear that its file is here before this end is gone.
            match &self.came {
                Some((file, until)) if host.sessions() == 0 || Instant::now() >= *until => {
                    return Ok(file.clone());
                }
                None if !self.joined && host.is_expired() => {
                    let text = "nobody came before the ticket expired";
                    let remedy = "Run it again for a new ticket, or with a longer --expires.";
                    return Err(Failure::with_remedy(Code::TryAgain, text, remedy));
                }
                _ => {}
            }
        }
    }

    fn on_event(&mut self, event: HostEvent) -> Result<(), Failure> {
        match event {
            HostEvent::Connected { from, .. } => {
                self.joined = true;
                self.json("joined", || events::joined(from));
            }
            HostEvent::Disconnected { from, text, .. } => self.json("left", || events::left(from, &text)),
            HostEvent::Refused { from, text } => {
                self.json("refused", || events::left(from, &text));
                self.note(&format!("{} was refused: {text}", from.ip()));
            }
            HostEvent::Arriving { bytes, total, rate_bps, rtt_us, loss, .. } if self.came.is_none() => {
                let (rate, rtt) = (rate_bps as f64 / 8.0, Duration::from_micros(rtt_us));
                self.show(&Status { bytes, total, rate, rtt, loss, syncing: bytes == total });
            }
            HostEvent::Came { file, .. } => {
                self.json("file", || events::came(&file));
                self.came.get_or_insert((file, Instant::now() + FAREWELL));
            }
            HostEvent::NotCome { path, code, text, .. } if self.came.is_none() => {
                let failure = Failure::from(JobError::told(code, &text));
                if is_ours(&path, code, &text) {
                    return Err(failure);
                }
                self.json("file", || events::failed(&path, "in", &failure));
                self.note(&format!("it did not come: {}; the same sender may try again", failure.text));
            }
            _ => {}
        }
        Ok(())
    }

    fn show(&mut self, status: &Status) {
        if let Some(display) = &mut self.display {
            display.show(status);
        }
        if self.told.is_none_or(|told| told.elapsed() >= JSON_EVERY) {
            self.told = Some(Instant::now());
            self.json("progress", || common::progress(status));
        }
    }

    fn note(&self, line: &str) {
        if let Some(display) = &self.display {
            display.note(&format!("{}: {line}", escape::path(&self.path)));
        }
    }

    fn json(&self, event: &str, fields: impl FnOnce() -> jsonl::Fields) {
        if self.output.json {
            jsonl::emit(event, fields());
        }
    }
}

/// Whether it is this end that cannot have the file: another try would not help.
fn is_ours(path: &Path, code: Code, text: &str) -> bool {
    let quoted = format!("{path:?}");
    // What standard output has got cannot be taken back: whatever is said of it is the end.
    text.contains(&quoted) && path == Path::new(stdio::OUTPUT)
        || matches!(code, Code::NoSpace | Code::Io | Code::Bug)
            && text.starts_with(quoted.trim_end_matches('"'))
}

fn line(file: &FileSummary) -> String {
    let rate = if file.seconds > 0.0 { file.bytes as f64 / file.seconds } else { 0.0 };
    format!(
        "{}  {} in {}, {}\n  blake3 {}\n",
        escape::path(&file.path),
        units::size(file.bytes),
        units::time(Duration::try_from_secs_f64(file.seconds).unwrap_or_default()),
        units::rate(rate),
        file.digest_hex(),
    )
}

/// How long the sender is given to say good-bye, once its file is here: some retransmissions on a bad path.
const FAREWELL: Duration = Duration::from_secs(5);
/// As in a push.
const JSON_EVERY: Duration = Duration::from_millis(200);
