//! `udpxctl version`: ours, and that of the daemon if one runs.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use udpx_control::schema::{self, Reply, VersionReport};
use udpxd::Code;

use crate::args::Output;
use crate::failure::Failure;
use crate::{ask, escape, events, jsonl, say};

/// Runs the command; the error is not yet told.
pub(crate) fn run(socket: Option<PathBuf>, output: Output) -> Result<(), Failure> {
    let named = socket.is_some();
    let daemon = match daemon(socket) {
        Ok(report) => Some(report),
        // Our own version can be told in any case; whoever names a socket wants to hear of that one.
        Err(failure) if named => return Err(failure),
        Err(failure) => {
            if failure.code != Code::NoDaemon && !output.json && !output.quiet {
                failure.show();
            }
            None
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    if output.json {
        let mut fields = events::object(json!({ "ok": true, "version": version }));
        if let Some(report) = &daemon {
            fields.insert("daemon_version".into(), report.version.as_str().into());
        }
        jsonl::emit_last("summary", fields)
    } else {
        let mut text = format!("udpxctl {version}\n");
        if let Some(VersionReport { version, schema, protocol, kernel }) = daemon {
            let (version, kernel) = (escape::text(&version), escape::text(&kernel));
            text.push_str(&format!(
                "udpxd {version} (control schema {schema}, wire version {protocol}, Linux {kernel})\n"
            ));
        }
        say(&text)
    }
}

fn daemon(socket: Option<PathBuf>) -> Result<VersionReport, Failure> {
    let mut client = ask::connect(socket)?;
    client.set_patience(Some(PATIENCE));
    match ask::call(&mut client, schema::Version {}, |_| {})? {
        Reply::Version(report) => Ok(report),
        _ => Err(ask::unexpected()),
    }
}

/// A daemon that hangs is no reason to withhold our own version for long.
const PATIENCE: Duration = Duration::from_secs(3);
