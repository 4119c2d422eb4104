//! `udpxctl demo`: the whole of udpx on one machine, in front of your eyes, without a daemon or root.
//!
//! ```text
//!  this process                     (relay process)            receiver process
//!  source file ─► engine ─► UDP ─► loss, delay, ... ─► UDP ─► engine ─► received file
//!        └───────────────────── both read again and compared ─────────────────┘
//! ```
//!
//! The other processes are this program once more, with hidden subcommands. Each ends when its standard input
//! closes, so none outlives this one, however it ends. The demo believes nobody: it reads both files again,
//! and where faults were asked for it compares what the relay counted with what was asked.

pub(crate) mod child;
mod data;
mod judge;
pub(crate) mod receiver;
pub(crate) mod relay;
mod space;
mod workplace;

use std::fmt::Display;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use udpxd::relay::Report;
use udpxd::report::Summary;
use udpxd::{Code, StaticSecret, identity};

use crate::args::{Carrying, DemoArgs, IfExists, Output, PathArgs, Sending};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::peers::Target;
use crate::run::{self, Push, Way};
use crate::values::Policy;
use crate::{escape, events, jsonl, say, table, units};
use workplace::Workplace;

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: &DemoArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    // Dropped last: the children that write into it are gone by then.
    let workplace = Workplace::make(args.dir.as_deref(), args.keep)?;
    let show = Narrator { output };
    let source = source(args, &workplace, &interrupt, &show)?;
    let inbox = workplace.directory("received")?;
    let secret = identity::ephemeral().map_err(|error| Failure::new(Code::Io, error.to_string()))?;

    let receiver = child::start(&receiver::command(args, &inbox, &secret.public()))?;
    show.step("receiver", format!("process {}, {}, key {}", receiver.id(), receiver.address, receiver.key));
    let mut target = receiver.target()?;
    let relay = match args.path.is_impaired() {
        true => Some(child::start(&relay::command(&args.path, receiver.address))?),
        false => None,
    };
    if let Some(relay) = &relay {
        show.step("relay", format!("process {}, {}: {}", relay.id(), relay.address, args.path.describe()));
        target.addresses = vec![relay.address];
    }

    let how =
        if args.carrying.plain { "authenticated, not encrypted" } else { "encrypted and authenticated" };
    show.step("push", format!("from this process, {}: {how}", std::process::id()));
    let summary = push(args, &source, target, secret, output, &interrupt)?;
    let received = inbox.join(source.file_name().unwrap_or_default());
    show.step("complete", complete_text(&summary, &received));
    let begun = Instant::now();
    data::compare(&source, &received, &interrupt)?;
    show.step("compare", format!("both files read again and equal, in {}", units::time(begun.elapsed())));

    receiver.finish()?;
    let report = match relay {
        Some(relay) => Some(relay::report(&relay.finish()?)?),
        None => None,
    };
    if let Some(report) = &report {
        show.step("relay", judge::describe(report));
        judge::judge(&args.path, report, summary.total.retransmitted)?;
    }
    if args.keep {
        show.step("kept", escape::path(workplace.path()));
    }
    conclude(&summary, report.as_ref(), output)
}

/// The file to send: the user's, or one made here.
fn source(
    args: &DemoArgs,
    workplace: &Workplace,
    interrupt: &Interrupt,
    show: &Narrator,
) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.file {
        let meta = std::fs::metadata(path)
            .map_err(|error| Failure::new(Code::NoSource, format!("{}: {error}", escape::path(path))))?;
        if !meta.is_file() {
            return Err(Failure::new(
                Code::NoSource,
                format!("{} is not a regular file", escape::path(path)),
            ));
        }
        space::room_for_copy(workplace.path(), meta.len())?;
        show.step("source", format!("{}, {}", escape::path(path), units::size(meta.len())));
        return Ok(path.clone());
    }
    let size = space::affordable(workplace.path(), args.size)?;
    if size < args.size {
        let text = format!("there is no room for twice {} here", units::size(args.size));
        show.step("size", format!("{text}: going on with {}", units::size(size)));
    }
    let path = workplace.path().join("source.bin");
    let begun = Instant::now();
    data::generate(&path, size, interrupt)?;
    let took = units::time(begun.elapsed());
    show.step(
        "source",
        format!("{}, {} of pseudo-random bytes, made in {took}", escape::path(&path), units::size(size)),
    );
    Ok(path)
}

fn push(
    args: &DemoArgs,
    source: &Path,
    target: Target,
    identity: StaticSecret,
    output: Output,
    interrupt: &Interrupt,
) -> Result<Summary, Failure> {
    let name = source.file_name().unwrap_or_default();
    let carrying = Carrying { mtu: args.mtu(), ..args.carrying.clone() };
    let sending = Sending { carrying, rate: None };
    let push = Push {
        way: Way {
            target,
            identity,
            timeout: TIMEOUT,
            sending,
            policy: Policy::Fair,
            trace: None,
            lanes: None,
        },
        files: vec![run::file(source.to_path_buf())],
        names: vec![name.as_bytes().to_vec()],
        root: String::new(),
        path: Vec::new(),
        if_exists: IfExists::Fail,
    };
    let outcome = push.run(output, interrupt.flag());
    match (outcome.summary, outcome.failure) {
        (Some(summary), None) => Ok(summary),
        (_, Some(failure)) => Err(failure),
        (None, None) => Err(Failure::new(Code::Bug, "the push ended without a result")),
    }
}

fn conclude(summary: &Summary, report: Option<&Report>, output: Output) -> Result<(), Failure> {
    if output.json {
        let mut fields = events::summary(summary);
        if let Some(report) = report {
            fields.insert("relay".into(), serde_json::to_value(report).unwrap_or_default());
        }
        jsonl::emit_last("summary", fields)
    } else if output.quiet {
        Ok(())
    } else {
        let rows = table::rows(summary);
        let path = table::path(summary);
        say(&format!(
            "\n{rows}\n{path}\n{} in {}: {}\nok\n",
            units::size(summary.bytes),
            units::time(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default()),
            units::bit_rate(summary.goodput() * 8.0),
        ))
    }
}

fn complete_text(summary: &Summary, received: &Path) -> String {
    let digest = summary.files.first().map(udpxd::report::FileSummary::digest_hex).unwrap_or_default();
    format!("{} is durable, blake3 {digest}", escape::path(received))
}

impl DemoArgs {
    /// The packets of an impaired path are of a usual size: with jumbo frames there would be too few for chance.
    fn mtu(&self) -> Option<u16> {
        self.carrying.mtu.or_else(|| self.path.is_impaired().then_some(USUAL_MTU))
    }
}

impl PathArgs {
    fn is_impaired(&self) -> bool {
        *self != Self::default()
    }

    /// What is wrong with it, in words.
    fn describe(&self) -> String {
        let percent = |name: &str, share: f64| (share > 0.0).then(|| format!("{name} {} %", share * 100.0));
        let time =
            |name: &str, time: Duration| (!time.is_zero()).then(|| format!("{name} {}", units::time(time)));
        let parts = [
            percent("loss", self.loss),
            percent("corrupt", self.corrupt),
            percent("duplicate", self.duplicate),
            percent("reorder", self.reorder),
            time("delay", self.delay),
            time("jitter", self.jitter),
            self.path_rate.map(|rate| format!("rate {}", units::bit_rate(rate as f64))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("{}, each way", parts.join(", "))
    }
}

/// Says step by step what is done.
struct Narrator {
    output: Output,
}

impl Narrator {
    fn step(&self, what: &str, text: impl Display) {
        if !self.output.json && !self.output.quiet {
            // A closed standard output does not make the demo fail.
            let _ = writeln!(std::io::stdout(), "{what:<9} {text}");
        }
    }
}

const USUAL_MTU: u16 = 1500;

/// On one machine nobody is silent for long.
const TIMEOUT: Duration = Duration::from_secs(30);
