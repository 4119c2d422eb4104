//! `udpxctl invite`: a ticket by which another machine becomes a peer of this one.
//!
//! Nothing but the line to paste stands on standard output, so that it can be piped: `udpxctl join -` takes it whole.

use std::io::Write;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use udpx_control::schema::{Invite, InviteReport, Reply};

use crate::args::{AskArgs, NewPeerArgs, Output};
use crate::failure::Failure;
use crate::{ask, escape, events, units, values};

/// What the new peer may do, and how it finds this machine.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct InviteArgs {
    #[command(flatten)]
    rights: NewPeerArgs,
    /// For how long the ticket can be used
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = values::duration)]
    expires: Duration,
    /// What to call the new peer [default: as it calls itself]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    socket: AskArgs,
}

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: InviteArgs, output: Output) -> Result<(), Failure> {
    // Whoever says nothing gives what a drop box needs.
    let NewPeerArgs { root, read, write, list, address } = args.rights;
    let none = !(read || write || list);
    let (write, list) = (write || none, list || none);
    let request = Invite {
        root,
        read,
        write,
        list,
        expires_us: u64::try_from(args.expires.as_micros()).unwrap_or(u64::MAX),
        addresses: address,
        name: args.name,
    };
    let mut client = ask::connect(args.socket.socket)?;
    let Reply::Invited(report) = ask::call(&mut client, request, |_| {})? else {
        return Err(ask::unexpected());
    };
    if !output.json && !output.quiet {
        let words = [(read, "read"), (write, "write"), (list, "list")];
        let words: Vec<_> = words.iter().filter(|(given, _)| *given).map(|(_, word)| *word).collect();
        // Only an explanation.
        let _ = write!(std::io::stderr(), "{}", told(&report, &words.join(", "), args.expires));
    }
    let fields = || {
        let expires = report.expires_unix_ms;
        events::object(json!({
            "ok": true, "ticket": report.ticket, "root": report.root, "addresses": report.addresses,
            "expires_unix_ms": expires,
        }))
    };
    crate::conclude(output, fields, || format!("sudo udpxctl join {}\n", report.ticket))
}

fn told(report: &InviteReport, rights: &str, expires: Duration) -> String {
    format!(
        "udpxctl: one machine can become a peer by this line, within {}; it may {rights} in {} then. It finds this machine \
         at {}. Keep the line like a password.\n",
        units::whole_seconds(expires),
        escape::text(&report.root),
        escape::text(&report.addresses.join(", ")),
    )
}

const HELP: &str = "Examples:
  sudo udpxctl invite                              a drop box: the new peer may put files, and see them
  sudo udpxctl invite --root disk --read --list    it may get files from the root disk
  sudo udpxctl invite | ssh bob sudo udpxctl join -";
