//! The command line of `udpxd`.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Parser, Subcommand};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use udpx_proto::Code;

use super::{Daemon, DaemonError, DaemonEvent, SHUTDOWN_EVERY, check};
use crate::bug;
use crate::conductor::{Conductor, ControlSocket};
use crate::config::Config;
use crate::identity;
use crate::notify::Notifier;

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
    let (shutdown, hangup) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    for (signal, flag) in [(SIGTERM, &shutdown), (SIGINT, &shutdown), (SIGHUP, &hangup)] {
        signal_hook::flag::register(signal, flag.clone())
            .map_err(|error| DaemonError::System(format!("Signal {signal} cannot be handled: {error}.")))?;
    }
    let config = Config::load(path)?;
    // First of all: a second daemon ends here, before it touches anything of the one that runs.
    let socket = ControlSocket::take(&config)?;
    let secret = identity::load_or_create(&config.identity)?;
    let mut daemon = Daemon::start_as(&config, secret, "its udpxd.toml")?;
    for address in daemon.listening() {
        tracing::info!(%address, key = identity::key_text(&daemon.key()), "listening");
    }
    if config.peers.is_empty() {
        tracing::warn!("no [[peer]] is configured, so nothing will be taken, and only loopback is bound");
    }
    let mut watch = daemon.watch();
    if socket.is_none() {
        tracing::info!(
            "no control socket: it is switched off, or neither /run/udpx nor XDG_RUNTIME_DIR can be used"
        );
    }
    let conductor = socket.map(|socket| {
        tracing::info!(path = ?socket.path(), "control socket");
        Conductor::start(socket, &config, daemon.key())
    });
    let conductor = conductor
        .transpose()
        .map_err(|error| DaemonError::System(format!("The control socket cannot be served: {error}.")))?;
    conductor.iter().for_each(|conductor| watch.add(conductor.beat()));
    manager.ready(&status(&daemon, &config));
    while !shutdown.load(Ordering::Relaxed) {
        if let Some(event) = daemon.next_event(SHUTDOWN_EVERY)? {
            log(&event);
            conductor.iter().for_each(|conductor| conductor.tell(&event));
        }
        if hangup.swap(false, Ordering::Relaxed) {
            manager.reloading();
            manager.ready(&reload(path, &mut daemon, conductor.as_ref()));
        }
        manager.feed(|| watch.stuck());
    }
    tracing::info!("stopping");
    manager.stopping();
    drop(conductor);
    daemon.stop();
    Ok(())
}

/// Reads the configuration anew and takes over what can be changed while running; returns the new status.
fn reload(path: &Path, daemon: &mut Daemon, conductor: Option<&Conductor>) -> String {
    let loaded = Config::load(path).map_err(DaemonError::from);
    let done = loaded.and_then(|config| daemon.reload(&config).map(|waiting| (config, waiting)));
    match done {
        Ok((config, waiting)) => {
            conductor.iter().for_each(|conductor| conductor.tell_settings(&config));
            tracing::info!(peers = config.peers.len(), "took over the peers of the configuration");
            for key in &waiting {
                tracing::warn!(key, "this change needs a restart: systemctl restart udpxd");
            }
            match waiting.is_empty() {
                true => status(daemon, &config),
                false => {
                    format!("{} A restart is needed for: {}.", status(daemon, &config), waiting.join(", "))
                }
            }
        }
        Err(error) => {
            tracing::error!(%error, "the configuration was not taken over; the former one stays in force");
            format!("Running on the former configuration: {error}")
        }
    }
}

fn status(daemon: &Daemon, config: &Config) -> String {
    let addresses: Vec<_> = daemon.listening().iter().map(ToString::to_string).collect();
    format!("Receiving on {}; peers configured: {}.", addresses.join(", "), config.peers.len())
}

fn log(event: &DaemonEvent) {
    match event {
        DaemonEvent::Connected { peer, from, .. } => tracing::info!(peer, %from, "connected"),
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
        DaemonEvent::Sent { peer, path, bytes } => tracing::info!(peer, ?path, bytes, "sent"),
        DaemonEvent::NotSent { peer, path, code, text } => {
            tracing::warn!(peer, ?path, code = code.kind(), ?text, "not sent");
        }
        DaemonEvent::Failed { peer, path, code, text } => {
            tracing::warn!(peer, ?path, code = code.kind(), ?text, "not received");
        }
        DaemonEvent::Tally(_) => {}
    }
}

fn check(path: &Path) -> Result<(), DaemonError> {
    let config = Config::load(path)?;
    check::meaning(&config).iter().for_each(|line| println!("{line}"));
    println!("{} is valid", path.display());
    Ok(())
}
