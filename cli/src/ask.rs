//! Asking the daemon of this machine, over its control socket.

use std::path::PathBuf;

use serde::Serialize;
use udpx_control::client::{Client, ClientError, SocketChoice};
use udpx_control::schema::{Command, ErrorReport, Event, Reply};
use udpxd::Code;

use crate::events;
use crate::failure::Failure;
use crate::jsonl::Fields;

/// Connects to the daemon: the one behind `socket` if it is given, else the one that the environment leads to.
pub(crate) fn connect(socket: Option<PathBuf>) -> Result<Client, Failure> {
    Client::connect(&SocketChoice::from_env(socket)).map_err(|error| failed(&error))
}

/// Asks for something, hands on the events, and returns the result.
pub(crate) fn call(
    client: &mut Client,
    command: impl Into<Command>,
    on_event: impl FnMut(Event),
) -> Result<Reply, Failure> {
    let responses = client.request(command, &[]).map_err(|error| failed(&error))?;
    responses.finish(on_event).map_err(|error| failed(&error))
}

/// What the daemon, or the way to it, says.
pub(crate) fn failed(error: &ClientError) -> Failure {
    let ErrorReport { code, text, remedy, .. } = error.report();
    Failure { code: Code::from_number(code), text, remedy }
}

/// The daemon has answered something else: it is of another version.
pub(crate) fn unexpected() -> Failure {
    Failure::with_remedy(
        Code::Protocol,
        "The daemon's answer is not understood.",
        "Use udpxctl and udpxd of the same version.",
    )
}

/// A report as the fields of an event.
pub(crate) fn fields(report: &impl Serialize) -> Fields {
    serde_json::to_value(report).map(events::object).unwrap_or_default()
}
