//! The receiving process of a demo: the daemon's library with a configuration made for the occasion.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use udpxd::config::{Config, Peer};
use udpxd::daemon::{Daemon, DaemonError, DaemonEvent};
use udpxd::{Code, PublicKey, identity};

use super::child;
use crate::args::{DemoArgs, ReceiverArgs};
use crate::failure::Failure;

/// The arguments that start it.
pub(super) fn command(args: &DemoArgs, inbox: &Path, sender: &PublicKey) -> Vec<OsString> {
    let mut command: Vec<OsString> = vec!["demo-receiver".into(), "--inbox".into(), inbox.into()];
    command.extend(["--peer-key".into(), identity::key_text(sender).into()]);
    if args.carrying.plain {
        command.push("--plain".into());
    }
    if args.carrying.no_gso {
        command.push("--no-gso".into());
    }
    if let Some(mtu) = args.mtu() {
        command.extend(["--mtu".into(), mtu.to_string().into()]);
    }
    command
}

/// Runs it until its standard input closes.
pub(crate) fn run(args: ReceiverArgs) -> Result<(), Failure> {
    let mut config = Config {
        listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
        gso: !args.no_gso,
        ..Config::default()
    };
    if let Some(mtu) = args.mtu {
        config.mtu_max = mtu;
    }
    config.peers =
        vec![Peer { plain: args.plain, inbox: Some(args.inbox), ..Peer::new("demo", args.peer_key) }];
    let secret = identity::ephemeral().map_err(|error| Failure::new(Code::Io, error.to_string()))?;
    let daemon = start(&config, secret)?;
    let gone = child::parent_gone()?;
    child::hello(address(&daemon)?, Some(&identity::key_text(&daemon.key())))?;
    while !gone.load(Ordering::Acquire) {
        // What happens to files the sender is told.
        next_event(&daemon, TICK)?;
    }
    daemon.stop();
    Ok(())
}

/// Starts a daemon in this process.
pub(crate) fn start(config: &Config, secret: udpxd::StaticSecret) -> Result<Daemon, Failure> {
    Daemon::start_as(config, secret, "its command line").map_err(|error| failed(&error))
}

/// What happened next, if anything did.
pub(crate) fn next_event(daemon: &Daemon, timeout: Duration) -> Result<Option<DaemonEvent>, Failure> {
    daemon.next_event(timeout).map_err(|error| failed(&error))
}

fn failed(error: &DaemonError) -> Failure {
    Failure::with_remedy(error.code(), format!("the receiver: {error}"), "")
}

/// Where it listens.
pub(crate) fn address(daemon: &Daemon) -> Result<SocketAddr, Failure> {
    daemon.listening().first().copied().ok_or_else(|| Failure::new(Code::Bug, "the receiver does not listen"))
}

/// How soon the end of the parent is noticed.
const TICK: Duration = Duration::from_millis(50);
