//! The command line of `udpxd`.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::{Daemon, DaemonError, DaemonEvent};
use crate::config::Config;
use crate::identity;

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
    /// Run until SIGTERM or SIGINT (the default).
    Run,
    /// Check the configuration and say what it means.
    Check,
}

/// What `main` does.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    start_log();
    let done = match arguments.command {
        None | Some(Command::Run) => run(&arguments.config),
        Some(Command::Check) => check(&arguments.config),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("udpxd: {error}");
            ExitCode::from(error.code().exit())
        }
    }
}

/// Logs to stderr; `RUST_LOG` chooses what.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env();
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_target(false).init();
}

fn run(path: &std::path::Path) -> Result<(), DaemonError> {
    let config = Config::load(path)?;
    let shutdown = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, shutdown.clone())
            .map_err(|error| DaemonError::System(format!("Signal {signal} cannot be handled: {error}.")))?;
    }
    let secret = identity::load_or_create(&config.identity)?;
    let daemon = Daemon::start_as(&config, secret, &path.display().to_string())?;
    for address in daemon.listening() {
        tracing::info!(%address, key = identity::key_text(&daemon.key()), "listening");
    }
    if config.peers.is_empty() {
        tracing::warn!("no [[peer]] is configured, so nothing will be taken, and only loopback is bound");
    }
    super::run(&daemon, &shutdown, &mut log)?;
    tracing::info!("stopping");
    daemon.stop();
    Ok(())
}

fn log(event: &DaemonEvent) {
    match event {
        DaemonEvent::Connected { peer, from } => tracing::info!(peer, %from, "connected"),
        DaemonEvent::Disconnected { peer, from, code, text, .. } => {
            tracing::info!(peer, %from, code = code.kind(), ?text, "disconnected");
        }
        DaemonEvent::Refused { key, from } => {
            tracing::warn!(key = identity::key_text(key), %from, "refused a key that is not configured");
        }
        DaemonEvent::Received { peer, file } => {
            let digest = file.digest_hex();
            let (path, bytes, seconds) = (&file.path, file.bytes, file.seconds);
            tracing::info!(peer, ?path, bytes, seconds, digest, "received");
        }
        DaemonEvent::Failed { peer, path, code, text } => {
            tracing::warn!(peer, ?path, code = code.kind(), ?text, "not received");
        }
    }
}

fn check(path: &std::path::Path) -> Result<(), DaemonError> {
    let config = Config::load(path)?;
    for address in config.listen_addresses() {
        println!("listens on {address}");
    }
    for peer in &config.peers {
        println!("takes files of {} into {}", peer.name, config.inbox_of(peer).display());
    }
    println!("{} is valid", path.display());
    Ok(())
}
