//! What every process that lends does with its connection: it attends to it, and sleeps until there is something to
//! attend to.

use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use udpx_control::client::{ClientError, Responses, Update};
use udpx_control::schema::{Demand, ErrorReport, Event, Outcome, code};

use super::{Answered, Clerks};

/// Looks at what the daemon has said and does not wait for more: demands go to the clerks, or are refused where there are
/// none; everything else goes to `each`, which may break off. Then sends the answers that are ready.
///
/// # Errors
/// What the daemon says, or that it is gone.
pub fn attend<T>(
    responses: &mut Responses<'_>,
    clerks: Option<&Clerks>,
    mut each: impl FnMut(Update) -> ControlFlow<T>,
) -> Result<ControlFlow<T>, ClientError> {
    for _ in 0..UPDATES_AT_ONCE {
        match responses.wait(Duration::ZERO)? {
            None => break,
            Some(Update::Event(Event::Demand(demand))) => give(responses, clerks, demand)?,
            Some(update) => {
                if let ControlFlow::Break(left) = each(update) {
                    return Ok(ControlFlow::Break(left));
                }
            }
        }
    }
    while let Some(Answered { demand, outcome, descriptor }) = clerks.and_then(Clerks::next) {
        responses.answer(&demand, outcome, descriptor.as_ref().map(AsFd::as_fd))?;
    }
    Ok(ControlFlow::Continue(()))
}

/// Hands a demand on, or refuses it.
fn give(responses: &mut Responses<'_>, clerks: Option<&Clerks>, demand: Demand) -> Result<(), ClientError> {
    let refused = match clerks {
        Some(clerks) => clerks.give(demand).err().map(|demand| (demand, too_many())),
        None => Some((demand, nothing_lent())),
    };
    match refused {
        Some((demand, error)) => responses.answer(&demand, Outcome::failed(error), None),
        None => Ok(()),
    }
}

fn too_many() -> ErrorReport {
    let text = "The daemon demands more at once than it may.";
    ErrorReport::new(
        code::PROTOCOL,
        text,
        "Use udpxd and the program that follows its job of the same version.",
    )
}

fn nothing_lent() -> ErrorReport {
    let remedy = "Resume the job (udpxctl resume), or push or pull the file again.";
    ErrorReport::new(code::REFUSED, "This program lends no files to the job.", remedy)
}

/// Waits until the daemon says something, a demand is answered, or `tick_ms` milliseconds have passed.
pub fn sleep(responses: &Responses<'_>, clerks: Option<&Clerks>, tick_ms: u8) {
    let mut polled = vec![PollFd::new(responses.as_fd(), PollFlags::POLLIN)];
    polled.extend(clerks.map(|clerks| PollFd::new(clerks.as_fd(), PollFlags::POLLIN)));
    match nix::poll::poll(&mut polled, PollTimeout::from(tick_ms)) {
        Ok(_) | Err(Errno::EINTR) => {}
        // What is wrong with the connection shows when it is read; meanwhile no busy loop.
        Err(_) => std::thread::sleep(Duration::from_millis(tick_ms.into())),
    }
}

/// Updates that are handled before answers to demands are looked for.
const UPDATES_AT_ONCE: usize = 64;
