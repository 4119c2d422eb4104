//! `udpxctl`: the udpx command line.
//!
//! A command is parsed ([`args`]), run in its own file, and ends in one [`failure::Failure`] or none, which is told
//! here, as the last line, and becomes the exit code. The engine is behind [`run`].
#![forbid(unsafe_code)]

mod agent;
mod args;
mod ask;
mod bench;
mod change;
mod completions;
mod deadline;
mod demo;
mod engine;
mod escape;
mod events;
mod failure;
mod host;
mod hosting;
mod inbox;
mod interrupt;
mod invite;
mod job;
mod jobs;
mod join;
mod jsonl;
mod key;
mod lend;
mod ls;
mod manual;
mod names;
mod pair;
mod peer;
mod peer_list;
mod peers;
mod ping;
mod places;
mod plot;
mod progress;
mod pull;
mod push;
mod remote;
mod resume;
mod root;
mod run;
mod several;
mod show;
mod stats;
mod stdio;
mod table;
mod trace;
mod units;
mod values;
mod version;
mod watch;
mod watcher;
#[allow(dead_code, reason = "push, pull and resume use the rest of it")]
use std::io::{ErrorKind, Write};
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;
use udpxd::Code;

use args::{Cli, Command, Output};
use failure::Failure;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let output = cli.output;
    log_to_stderr(output);
    finish(output, || match cli.command {
        Command::Push(args) => push::run(args, output),
        Command::Pull(args) => pull::run(&args, output),
        Command::Ls(args) => ls::run(&args, output),
        Command::Ping(args) => ping::run(&args, output),
        Command::Jobs(args) => jobs::run(args, output),
        Command::Show(args) => show::run(args, output),
        Command::Watch(args) => watch::run(args, output),
        Command::Cancel(args) => change::cancel(args, output),
        Command::Pause(args) => change::pause(args, output),
        Command::Resume(args) => resume::run(args, output),
        Command::Limit(args) => change::limit(args, output),
        Command::Policy(args) => change::policy(args, output),
        Command::Completions(args) => completions::run(&args),
        Command::Manual(args) => manual::run(&args),
        Command::Serve(args) => hosting::serve::run(&args, output),
        Command::Receive(args) => hosting::receive::run(args, output),
        Command::Demo(args) => demo::run(&args, output),
        Command::Key(args) => key::run(args, output),
        Command::Peers(args) => peer_list::run(args, output),
        Command::Invite(args) => invite::run(args, output),
        Command::Join(args) => join::run(args, output),
        Command::Pair(args) => pair::run(args, output),
        Command::Peer(args) => peer::run(args, output),
        Command::Inbox(args) => inbox::run(args, output),
        Command::Root(args) => root::run(args, output),
        Command::Stats(args) => stats::run(args, output),
        Command::Version(args) => version::run(args.socket, output),
        Command::Agent(args) => agent::run(args),
        Command::Panic => panic!("as asked"),
        Command::DemoReceiver(args) => demo::receiver::run(args),
        Command::DemoRelay(args) => demo::relay::run(&args),
        Command::BenchReceive(args) => bench::receive(args),
        Command::BenchPush(args) => bench::push(&args, output),
    })
}

/// Runs a command and tells its failure, which may be a bug.
fn finish(output: Output, command: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    let result =
        udpxd::bug::caught(command).unwrap_or_else(|| Err(Failure::new(Code::Bug, udpxd::bug::TEXT)));
    let Err(failure) = result else { return ExitCode::SUCCESS };
    // Where the reason cannot be written the exit code still says it.
    let told = output.tells_events() && jsonl::emit_last("error", events::error(&failure)).is_ok();
    if !told || !output.json {
        failure.show();
    }
    ExitCode::from(failure.code.exit())
}

/// Help, the version, or a mistake in the command line.
fn misunderstood(error: &clap::Error) -> ExitCode {
    if error.use_stderr() && std::env::args_os().any(|argument| argument == "--json") {
        let text = error.to_string();
        let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        jsonl::emit("error", events::error(&Failure::new(Code::Usage, text)));
    } else {
        // A closed stream changes nothing about the code.
        let _ = error.print();
    }
    ExitCode::from(if error.use_stderr() { Code::Usage.exit() } else { Code::Done.exit() })
}

/// Tells the good end of a command: as the last line of JSON, where somebody reads those, and as a text for people.
fn conclude(
    output: Output,
    fields: impl FnOnce() -> jsonl::Fields,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if output.tells_events() {
        jsonl::emit_last("summary", fields())?;
    }
    if output.json { Ok(()) } else { say(&text()) }
}

/// Prints what a command is for.
///
/// # Errors
/// A full disk, say. A reader that has gone (`udpxctl key | head -0`) has what it wanted.
fn say(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            let text = format!("standard output cannot be written: {error}");
            Err(Failure::with_remedy(Code::Io, text, "Free space where it is redirected to."))
        }
        _ => Ok(()),
    }
}

/// Warnings of the engine, such as a socket buffer that the host keeps too small, and with `-v` what it does.
fn log_to_stderr(output: Output) {
    let level = match output.verbose {
        _ if output.quiet => LevelFilter::ERROR,
        0 => LevelFilter::WARN,
        1 => LevelFilter::INFO,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .without_time()
        .with_target(false)
        .init();
}
