//! quinn, by a program of its own (`bench/quinn`), which is built only by whoever wants this row.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use super::endpoint::{self, Report};
use super::netns::Side;
use super::process::{Running, Void};
use super::row::{Figure, Lab};

const STARTUP: Duration = Duration::from_secs(10);

/// What the receiver prints when the sender may begin.
#[derive(Deserialize)]
struct Listening {
    listening: String,
    cert: String,
}

pub(crate) fn quinn(lab: &Lab) -> Result<Vec<Figure>, Void> {
    [("1 connection", 1), ("4 connections", 4)]
        .into_iter()
        .map(|(label, connections)| transfer(lab, label, connections))
        .collect()
}

fn transfer(lab: &Lab, label: &'static str, connections: u64) -> Result<Figure, Void> {
    let program = program()?;
    let size = lab.source.size / connections * connections;
    let start = |side: Side, role: &str, address: &str, cert: Option<&str>| {
        let mut command = lab.arena.command(side, &program);
        command.args(["--role", role, "--address", address, "--size", &size.to_string()]);
        command.args(["--datagram", &lab.arena.datagram().to_string()]);
        command.args(["--connections", &connections.to_string()]);
        if let Some(cert) = cert {
            command.args(["--cert", cert]);
        }
        Running::start(&format!("quinn's {role}r"), &mut command)
    };
    let any_port = format!("{}:0", lab.arena.address(Side::B));
    let mut receiver = start(Side::B, "receive", &any_port, None)?;
    let line = receiver.line(STARTUP)?;
    let hello: Listening =
        serde_json::from_str(&line).map_err(|_| Void(format!("quinn's receiver said: {line}")))?;
    let sender = start(Side::A, "send", &hello.listening, Some(&hello.cert))?;
    let (sender, receiver) = (sender.finish(lab.limit)?, receiver.finish(STARTUP)?);
    let parse = |text: &str| -> Result<Report, Void> {
        serde_json::from_str(text.trim()).map_err(|_| Void(format!("quinn's end reported: {text}")))
    };
    let (sent, received) = (parse(&sender.stdout)?, parse(&receiver.stdout)?);
    if sent.bytes != size || received.bytes != size {
        return Err(Void(format!("{} of {size} bytes sent, {} received", sent.bytes, received.bytes)));
    }
    if let (Some(setup), 1) = (&sent.setup, connections) {
        lab.note(setup);
    }
    Ok(Figure {
        sender: endpoint::cost(&sent, &sender),
        receiver: endpoint::cost(&received, &receiver),
        resent_share: sent.resent_share,
        ..Figure::new(label, size, sent.seconds)
    })
}

fn program() -> Result<PathBuf, Void> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("quinn/target/release/udpx-bench-quinn");
    if path.is_file() {
        return Ok(path);
    }
    Err(Void("not built: cargo build --release --manifest-path bench/quinn/Cargo.toml".into()))
}
