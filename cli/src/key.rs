//! `udpxctl key`: who we are, for the configuration of those whom we push to.

use serde_json::json;
use udpxd::identity;

use crate::args::{KeyArgs, Output};
use crate::failure::Failure;
use crate::{events, jsonl, run, say};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: KeyArgs, output: Output) -> Result<(), Failure> {
    let key = identity::key_text(&run::load_identity(args.identity)?.public());
    if output.json {
        jsonl::emit_last("summary", events::object(json!({ "ok": true, "key": key })))
    } else {
        say(&format!("{key}\n"))
    }
}
