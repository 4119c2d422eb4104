//! A push or a pull through a daemon, from its request to its outcome.

use std::os::fd::OwnedFd;

use udpx_control::client::Client;
use udpx_control::schema::Command;

use super::follow::{Follower, Progress};
use crate::agent::Lent;
use crate::args::{Reach, Through};
use crate::interrupt::{Hangup, Interrupt};
use crate::run::Outcome;
use crate::watcher::Watcher;

/// What is asked, with what this process lends for it.
pub(crate) struct Order {
    pub(crate) command: Command,
    pub(crate) lent: Lent,
    /// What goes with the command, in the order that it says.
    pub(crate) descriptors: Vec<OwnedFd>,
    /// Standard input or output is among them: such a job moves its bytes once, and cannot go on later.
    pub(crate) is_piped: bool,
    /// The job over time is wanted at its end.
    pub(crate) wants_samples: bool,
}

/// Asks for it and follows it; the end is the caller's to tell.
pub(crate) fn run(
    client: Client,
    order: Order,
    mut watcher: Watcher,
    (reach, through): (&Reach, &Through),
    (interrupt, hangup): (&Interrupt, &Hangup),
) -> Outcome {
    let follower = Follower {
        socket: client.path().to_owned(),
        is_named: through.ask.socket.is_some(),
        watcher: &mut watcher,
        interrupt,
        hangup,
        lent: Some(order.lent),
        pauses: true,
        timeout: reach.timeout,
        wants_samples: order.wants_samples,
        is_piped: order.is_piped,
        state: Progress::default(),
    };
    match follower.request(client, order.command, &order.descriptors) {
        Ok(end) => end.outcome(watcher),
        Err(failure) => watcher.give_up(failure),
    }
}
