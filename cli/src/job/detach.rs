//! `--detach`: the daemon has the job, an agent of this user lends it the files, and the command is over.

use std::path::Path;

use serde_json::json;
use udpx_control::client::Client;
use udpx_control::schema::{Command, Reply};

use crate::agent::{self, Lent};
use crate::args::Output;
use crate::failure::Failure;
use crate::{ask, events};

/// Asks for a job of these files and leaves it to an agent; its number.
///
/// # Errors
/// The daemon refuses it, or no agent can be started: then the job waits, and the error says how to go on.
pub(crate) fn detach(mut client: Client, command: Command, lent: &Lent) -> Result<u64, Failure> {
    let socket = client.path().to_owned();
    let Reply::Accepted { job } = ask::call(&mut client, command, |_| {})? else {
        return Err(ask::unexpected());
    };
    lend(&socket, job, lent)?;
    Ok(job)
}

/// Leaves a job that is there to an agent.
///
/// # Errors
/// No agent can be started.
pub(crate) fn lend(socket: &Path, job: u64, lent: &Lent) -> Result<(), Failure> {
    agent::spawn(socket, &[job], lent).map_err(|Failure { code, text, remedy }| {
        let text = format!("job {job} waits for its files: {text}");
        Failure { code, text, remedy: format!("{remedy} Then: udpxctl resume {job}") }
    })
}

/// Tells the numbers of jobs, a line each: they are what a script goes on with.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn tell(jobs: &[u64], output: Output) -> Result<(), Failure> {
    let fields = || match jobs {
        [only] => json!({ "ok": true, "job": only }),
        several => json!({ "ok": true, "jobs": several.len() }),
    };
    crate::conclude(
        output,
        || events::object(fields()),
        || jobs.iter().map(|job| format!("{job}\n")).collect(),
    )
}
