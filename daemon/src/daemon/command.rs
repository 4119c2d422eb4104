//! The command line of `udpxd`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use udpx_proto::Code;

use super::{DaemonError, check};
use crate::bug;
use crate::conductor::Conductor;
use crate::config::{Config, ConfigError};
use crate::notify::Notifier;
use crate::peers::{self, PeerBook};

/// Receives files over UDP, encrypted and verified.
#[derive(Parser)]
#[command(name = "udpxd", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The configuration file.
    #[arg(long, global = true, default_value = "/etc/udpx/udpxd.toml")]
    config: PathBuf,
}

#[derive(Subcommand)]
enum Command {
    /// Run until SIGTERM or SIGINT (the default); SIGHUP reads the peers anew.
    Run,
    /// Check the configuration and say what it means.
    Check,
}

/// The command line, for whoever describes it.
#[must_use]
pub fn command_line() -> clap::Command {
    Arguments::command()
}

/// What `main` does.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        None | Some(Command::Run) => serve(&arguments.config),
        Some(Command::Check) => {
            start_log();
            told(bug::caught(|| check(&arguments.config)))
        }
    }
}

/// What `udpxd run` does: a daemon, its control socket and its log, until a signal ends them.
#[must_use]
pub fn serve(config: &Path) -> ExitCode {
    start_log();
    told(bug::caught(|| run(config)))
}

fn told(done: Option<Result<(), DaemonError>>) -> ExitCode {
    match done {
        None => {
            eprintln!("udpxd: {}. Report it with the log.", bug::TEXT);
            ExitCode::from(Code::Bug.exit())
        }
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(error)) => {
            eprintln!("udpxd: {error}");
            ExitCode::from(error.code().exit())
        }
    }
}

/// Logs to stderr; `RUST_LOG` chooses what. Colours are for terminals, and the journal knows the time itself.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false);
    match is_journal() {
        true => log.with_ansi(false).without_time().init(),
        false => log.with_ansi(colours).init(),
    }
}

/// Whether stderr is the journal's very stream, and not something that it was redirected to since (systemd.exec(5)).
fn is_journal() -> bool {
    let ours = nix::sys::stat::fstat(io::stderr()).map(|stat| format!("{}:{}", stat.st_dev, stat.st_ino));
    ours.is_ok_and(|ours| std::env::var("JOURNAL_STREAM").is_ok_and(|stream| stream == ours))
}

fn run(path: &Path) -> Result<(), DaemonError> {
    let mut manager = Notifier::from_environment();
    Conductor::start(path)?.run(&mut manager)
}

fn check(path: &Path) -> Result<(), DaemonError> {
    let config = Config::load(path)?;
    let peers = peers::path_in(&config.state_directory());
    let config = match PeerBook::open(config.clone()) {
        // Only the daemon and root have to be able to.
        Err(ConfigError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::PermissionDenied => {
            println!("{} is not for this user to read, and was not checked", peers.display());
            config
        }
        book => book?.merged(),
    };
    check::meaning(&config).iter().for_each(|line| println!("{line}"));
    println!("{} is valid", path.display());
    Ok(())
}
