//! `udpxctl key`: who we are, for the configuration of those whom we push to.
//!
//! That is the daemon where one does the work, else this user: which of them is said on standard error, and nothing but
//! the key stands on standard output.

use std::io::Write;

use serde_json::json;
use udpx_control::client::{Client, ClientError, SocketChoice};
use udpx_control::schema::{Key, Reply};
use udpxd::identity;

use crate::args::{KeyArgs, Output};
use crate::failure::Failure;
use crate::{ask, escape, events, run};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: KeyArgs, output: Output) -> Result<(), Failure> {
    let (key, whose) = key(args)?;
    if let Some(whose) = whose.filter(|_| !output.json && !output.quiet) {
        // Only an explanation.
        let _ = writeln!(std::io::stderr(), "udpxctl: {whose}");
    }
    crate::conclude(output, || events::object(json!({ "ok": true, "key": key })), || format!("{key}\n"))
}

/// The key, and whose it is where that is not what was asked for.
fn key(args: KeyArgs) -> Result<(String, Option<String>), Failure> {
    let own = |file, whose: Option<&str>| {
        let key = identity::key_text(&run::load_identity(file)?.public());
        Ok((key, whose.map(str::to_owned)))
    };
    if args.through.no_daemon || args.identity.is_some() {
        return own(args.identity, None);
    }
    match Client::connect(&SocketChoice::from_env(args.through.ask.socket)) {
        Ok(mut client) => match ask::call(&mut client, Key {}, |_| {})? {
            Reply::Key(report) => {
                let place = escape::path(client.path());
                let whose = format!("the key of the daemon at {place}; --no-daemon shows this user's own");
                Ok((report.key, Some(whose)))
            }
            _ => Err(ask::unexpected()),
        },
        Err(ClientError::NoDaemon { .. }) => own(None, Some("the key of this user, since no daemon runs")),
        Err(error) => Err(ask::failed(&error)),
    }
}
