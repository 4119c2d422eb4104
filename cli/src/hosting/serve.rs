//! `udpxctl serve DIR`

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde_json::json;
use udpxd::Code;
use udpxd::config::Rights;
use udpxd::hosting::{Host, HostEvent, Offer};
use udpxd::report::JobError;

use super::{Listening, TICK, events, explain, interrupted, note, tell_ticket, text_of_ticket};
use crate::args::Output;
use crate::events::object;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::{escape, jsonl, say, units};

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The directory whose files others may get, and where theirs come
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Serve one machine, the first that uses the ticket, and end when it has moved something and gone
    #[arg(long)]
    once: bool,
    /// Give files, and take none
    #[arg(long, conflicts_with = "write_only")]
    read_only: bool,
    /// Take files, and give and list none
    #[arg(long)]
    write_only: bool,
    #[command(flatten)]
    listening: Listening,
}

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: &ServeArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let rights = Rights { write: !args.read_only, read: !args.write_only, list: !args.write_only };
    let offer = Offer::Directory { path: args.directory.clone(), rights, once: args.once };
    let mut host = args.listening.start(offer)?;
    announce(&host, args, rights, output)?;
    let root = std::path::absolute(&args.directory).unwrap_or_default();
    let mut serving = Serving { output, root, files: 0, bytes: 0 };
    let mut done = false;
    loop {
        if interrupt.check().is_err() {
            return Err(interrupted());
        }
        let event = host.next_event(TICK)?;
        let gone = matches!(event, Some(HostEvent::Disconnected { code: Code::Done, .. }));
        event.into_iter().for_each(|event| serving.tell(event));
        done |= args.once && gone && serving.files > 0;
        // One that was lost before it came again is not waited for any longer than a session lasts.
        if host.sessions() == 0 && (done || host.is_expired()) {
            return serving.finish(done);
        }
    }
}

/// The ticket, and what it is good for.
fn announce(host: &Host, args: &ServeArgs, rights: Rights, output: Output) -> Result<(), Failure> {
    let does = match (rights.read, rights.write) {
        (true, true) => "gives and takes files",
        (true, false) => "gives files",
        _ => "takes files",
    };
    let mut commands = Vec::new();
    if rights.write {
        commands.push("udpxctl push FILE TICKET");
    }
    if rights.read {
        commands.extend(["udpxctl ls TICKET", "udpxctl pull TICKET:FILE"]);
    }
    if output.json {
        tell_ticket(host);
    } else {
        say(&format!("{}\n", text_of_ticket(host)))?;
    }
    let whom = if args.once { "for one machine" } else { "for whoever has the ticket" };
    explain(host, &format!("{} {does} {whom}", escape::path(&args.directory)), &commands, output);
    Ok(())
}

/// What was served so far.
struct Serving {
    output: Output,
    root: PathBuf,
    files: u64,
    bytes: u64,
}

impl Serving {
    fn tell(&mut self, event: HostEvent) {
        match event {
            HostEvent::Connected { from, .. } => self.json("joined", || events::joined(from)),
            HostEvent::Disconnected { from, code, text, .. } => {
                self.json("left", || events::left(from, &text));
                if !matches!(code, Code::Done | Code::Refused) {
                    self.line("lost", &from.ip().to_string(), &text);
                }
            }
            HostEvent::Refused { from, text } => {
                self.json("refused", || events::left(from, &text));
                self.line("refused", &from.ip().to_string(), &text);
            }
            HostEvent::Came { from, file, .. } => {
                self.moved(file.bytes);
                self.json("file", || events::came(&file));
                let rest = format!("{}{}", amount(file.bytes, Some(file.seconds)), with(" from ", from));
                self.line("came", &self.shown(&file.path), &rest);
            }
            HostEvent::Went { to, path, bytes, .. } => {
                self.moved(bytes);
                self.json("file", || events::went(&path, bytes));
                self.line(
                    "went",
                    &self.shown(&path),
                    &format!("{}{}", amount(bytes, None), with(" to ", to)),
                );
            }
            HostEvent::NotCome { from, path, code, text, .. } => {
                self.failed(&path, "in", "not come", code, &text, from);
            }
            HostEvent::NotWent { to, path, code, text, .. } => {
                self.failed(&path, "out", "not gone", code, &text, to);
            }
            // Files of several machines may be on their way at once: each is told when it is there.
            _ => {}
        }
    }

    fn moved(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }

    fn failed(
        &self,
        path: &Path,
        direction: &str,
        what: &str,
        code: Code,
        text: &str,
        whose: Option<SocketAddr>,
    ) {
        let failure = Failure::from(JobError::told(code, text));
        self.json("file", || events::failed(path, direction, &failure));
        let whose = whose.map(|whose| format!("for {}: ", whose.ip())).unwrap_or_default();
        self.line(what, &self.shown(path), &format!("{whose}{}", failure.text));
    }

    /// A path beneath the directory, as people know it.
    fn shown(&self, path: &Path) -> String {
        escape::path(path.strip_prefix(&self.root).unwrap_or(path))
    }

    fn line(&self, what: &str, whom: &str, rest: &str) {
        if !self.output.json && !self.output.quiet {
            note(&format!("{what:<8}  {whom}  {}\n", escape::text(rest)));
        }
    }

    fn json(&self, event: &str, fields: impl FnOnce() -> jsonl::Fields) {
        if self.output.json {
            jsonl::emit(event, fields());
        }
    }

    fn finish(self, done: bool) -> Result<(), Failure> {
        let Self { output, files, bytes, .. } = self;
        if output.json {
            return jsonl::emit_last(
                "summary",
                object(json!({ "ok": true, "files": files, "bytes": bytes })),
            );
        }
        if !output.quiet {
            let why = if done { "done" } else { "the ticket has expired" };
            let word = if files == 1 { "file" } else { "files" };
            note(&format!("{why}: {} {word}, {}\n", units::count(files), units::size(bytes)));
        }
        Ok(())
    }
}

/// `4.0 GiB in 5.2 s, 812 MB/s`
fn amount(bytes: u64, seconds: Option<f64>) -> String {
    match seconds {
        Some(seconds) if seconds > 0.0 => format!(
            "{} in {}, {}",
            units::size(bytes),
            units::time(Duration::try_from_secs_f64(seconds).unwrap_or_default()),
            units::rate(bytes as f64 / seconds)
        ),
        _ => units::size(bytes),
    }
}

fn with(word: &str, address: Option<SocketAddr>) -> String {
    address.map(|address| format!("{word}{}", address.ip())).unwrap_or_default()
}
