//! The relay process of a demo.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use udpxd::Code;
use udpxd::relay::{Impairments, Relay, RelayConfig, Report};

use super::child;
use crate::args::{PathArgs, RelayArgs};
use crate::failure::Failure;

/// The arguments that start it in front of `target`.
pub(super) fn command(path: &PathArgs, target: SocketAddr) -> Vec<OsString> {
    let time = |time: Duration| format!("{}us", time.as_micros());
    let percent = |share: f64| format!("{}%", share * 100.0);
    let seed = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64);
    let mut options = vec![
        ("--target", target.to_string()),
        ("--seed", seed.to_string()),
        ("--loss", percent(path.loss)),
        ("--corrupt", percent(path.corrupt)),
        ("--duplicate", percent(path.duplicate)),
        ("--reorder", percent(path.reorder)),
        ("--delay", time(path.delay)),
        ("--jitter", time(path.jitter)),
    ];
    if let Some(rate) = path.path_rate {
        options.push(("--rate", rate.to_string()));
    }
    let mut command: Vec<OsString> = vec!["demo-relay".into()];
    command.extend(options.into_iter().flat_map(|(name, value)| [name.into(), value.into()]));
    command
}

/// Runs it until its standard input closes; its last line is its report.
pub(crate) fn run(args: &RelayArgs) -> Result<(), Failure> {
    let path = &args.path;
    let impairments = Impairments {
        loss: path.loss,
        corrupt: path.corrupt,
        duplicate: path.duplicate,
        reorder: path.reorder,
        delay: path.delay,
        jitter: path.jitter,
        rate_bps: path.path_rate,
        queue_bytes: None,
    };
    let config = RelayConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        target: args.target,
        up: impairments.clone(),
        down: impairments,
        seed: args.seed,
    };
    let failed = |error: std::io::Error| Failure::new(Code::Io, format!("the relay: {error}"));
    let relay = Relay::bind(config).map_err(failed)?;
    let stop = relay.stopper();
    child::on_parent_gone(move || {
        // If it cannot be woken then its next packet wakes it.
        let _ = stop.stop();
    })?;
    child::hello(relay.local_addr(), None)?;
    let report = relay.run().map_err(failed)?;
    let line = serde_json::to_string(&report).unwrap_or_default();
    crate::say(&format!("{line}\n"))
}

/// The report among what it printed.
pub(super) fn report(printed: &str) -> Result<Report, Failure> {
    serde_json::from_str(printed.trim())
        .map_err(|error| Failure::new(Code::Other, format!("the relay's report cannot be read: {error}")))
}
