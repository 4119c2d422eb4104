//! Asking the daemon of this machine, over its control socket.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use udpx_control::client::{Client, ClientError, SocketChoice, Update};
use udpx_control::schema::{Command, ErrorReport, Event, Reply};
use udpxd::Code;

use crate::events;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
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

/// The same for what takes its time, until the user interrupts it; `patience` is how long the daemon may be silent.
pub(crate) fn wait(
    client: &mut Client,
    command: impl Into<Command>,
    patience: Option<Duration>,
    interrupt: &Interrupt,
    mut on_event: impl FnMut(Event),
) -> Result<Reply, Failure> {
    let patience = patience.unwrap_or(PATIENCE);
    let mut responses = client.request(command, &[]).map_err(|error| failed(&error))?;
    let mut heard = Instant::now();
    loop {
        interrupt.check()?;
        match responses.wait(LOOK_UP_EVERY).map_err(|error| failed(&error))? {
            Some(Update::Done(reply, _)) => return Ok(reply),
            Some(Update::Event(event)) => on_event(event),
            Some(Update::Accepted(_)) => {}
            None if heard.elapsed() > patience => {
                let text = format!("the daemon said nothing for {} s", patience.as_secs());
                let remedy = "See whether it is well: systemctl status udpxd.";
                return Err(Failure::with_remedy(Code::TryAgain, text, remedy));
            }
            None => continue,
        }
        heard = Instant::now();
    }
}

/// How long a daemon may need for an answer that waits for another machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// How soon Ctrl-C is noticed.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);

/// What the daemon, or the way to it, says.
pub(crate) fn failed(error: &ClientError) -> Failure {
    reported(&error.report())
}

/// An error of the daemon's.
pub(crate) fn reported(error: &ErrorReport) -> Failure {
    let ErrorReport { code, text, remedy, .. } = error.clone();
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
