//! `udpxctl`: the udpx command line.
//!
//! A command is parsed ([`args`]), run in its own file, and ends in one [`failure::Failure`] or none, which is told
//! here, as the last line, and becomes the exit code. The engine is behind [`run`].
#![forbid(unsafe_code)]

mod args;
mod bench;
mod demo;
mod escape;
mod events;
mod failure;
mod interrupt;
mod jsonl;
mod key;
mod ls;
mod names;
mod peers;
mod ping;
mod places;
mod progress;
mod pull;
mod push;
mod remote;
mod run;
mod table;
mod units;
mod values;
mod watcher;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
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
    let result = match cli.command {
        Command::Push(args) => push::run(args, output),
        Command::Pull(args) => pull::run(args, output),
        Command::Ls(args) => ls::run(args, output),
        Command::Ping(args) => ping::run(args, output),
        Command::Demo(args) => demo::run(&args, output),
        Command::Key(args) => key::run(args, output),
        Command::Version => {
            version(output);
            Ok(())
        }
        Command::DemoReceiver(args) => demo::receiver::run(args),
        Command::DemoRelay(args) => demo::relay::run(&args),
        Command::BenchReceive(args) => bench::receive(args),
        Command::BenchPush(args) => bench::push(args, output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if output.json {
                jsonl::emit("error", events::error(&failure));
            } else {
                failure.show();
            }
            ExitCode::from(failure.code.exit())
        }
    }
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

fn version(output: Output) {
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        jsonl::emit("summary", events::object(json!({ "ok": true, "version": version })));
    } else {
        say(&format!("udpxctl {version}"));
    }
}

/// Prints a line; a closed standard output is not an error of ours.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Warnings of the engine, such as a socket buffer that the host keeps too small, and with `-v` what it does.
fn log_to_stderr(output: Output) {
    let level = match output.verbose {
        _ if output.quiet => LevelFilter::ERROR,
        0 => LevelFilter::WARN,
        1 => LevelFilter::DEBUG,
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
