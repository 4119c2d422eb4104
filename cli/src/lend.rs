//! A request under way whose job needs this process: it shows what happens and does what the daemon demands.
//!
//! The files of a push or pull are opened, created and renamed here, by a [`Vault`], since the daemon may not
//! (`docs/CONTROL.md`, section 8). [`drive`] waits for the daemon and for the threads that work on its demands at once;
//! the command sees everything else as a [`Step`], and has its say ten times a second.

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;

use udpx_control::client::{Client, ClientError, Update};
use udpx_control::schema::{Command, Event, Reply};
use udpxd::Code;
use udpxd::lend::{self, Clerks, Vault};

use crate::failure::Failure;

/// What this process lends: some threads that work on what its user has named.
#[derive(Debug)]
pub(crate) struct Lender {
    // Before the vault: they finish what they are at, and only then unfinished files vanish.
    clerks: Clerks,
    vault: Arc<Vault>,
}

impl Lender {
    /// Lends files for reading, and everything at and beneath the destinations. All paths are absolute.
    ///
    /// # Errors
    /// A relative path, a destination that cannot be reached.
    pub(crate) fn new(sources: &[PathBuf], destinations: &[PathBuf]) -> Result<Self, Failure> {
        let vault = Vault::new(sources, destinations)?;
        let vault = Arc::new(vault);
        let clerks = Clerks::start(&vault)
            .map_err(|error| Failure::new(Code::Other, format!("no thread could be started: {error}")))?;
        Ok(Self { clerks, vault })
    }

    /// Another process lends itself to the same job: what is unfinished is left to it when this one ends.
    pub(crate) fn leave_parts(&self) {
        self.vault.leave_parts();
    }
}

/// What a command sees of its request.
#[derive(Debug)]
pub(crate) enum Step {
    /// The daemon has accepted it.
    Accepted(Reply),
    /// Something happened.
    Event(Event),
    /// Nothing, for a tenth of a second at most: a look at Ctrl-C, at the clock.
    Tick,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum End<T> {
    /// With this result.
    Done(Reply),
    /// The command has left it.
    Left(T),
}

/// Sends a request and serves its demands until it has a result, or `each` breaks off. Without a lender every demand is
/// refused.
///
/// # Errors
/// What the daemon says, or that it is gone: [`ClientError::Gone`].
pub(crate) fn drive<T>(
    client: &mut Client,
    command: impl Into<Command>,
    descriptors: &[BorrowedFd<'_>],
    lender: Option<&Lender>,
    mut each: impl FnMut(Step) -> ControlFlow<T>,
) -> Result<End<T>, ClientError> {
    let mut responses = client.request(command, descriptors)?;
    let clerks = lender.map(|lender| &lender.clerks);
    loop {
        let attended = lend::attend(&mut responses, clerks, |update| match update {
            Update::Done(reply, _) => ControlFlow::Break(End::Done(reply)),
            Update::Accepted(reply) => each(Step::Accepted(reply)).map_break(End::Left),
            Update::Event(event) => each(Step::Event(event)).map_break(End::Left),
        })?;
        if let ControlFlow::Break(end) = attended {
            return Ok(end);
        }
        if let ControlFlow::Break(left) = each(Step::Tick) {
            return Ok(End::Left(left));
        }
        lend::sleep(&responses, clerks, TICK_MS);
    }
}

/// Longest time from one look around to the next, milliseconds.
const TICK_MS: u8 = 100;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread::JoinHandle;

    use udpx_control::client::SocketChoice;
    use udpx_control::schema::{Demand, Jobs, Operation, Outcome, Request, Response, VaultReply};

    use super::*;

    fn request(stream: &mut UnixStream) -> Command {
        let mut length = [0; 4];
        stream.read_exact(&mut length).unwrap();
        let mut json = vec![0; usize::from(length[0]) + (usize::from(length[1]) << 8)];
        stream.read_exact(&mut json).unwrap();
        Request::parse(&json).unwrap().command
    }

    /// A daemon that says all of `said` to the first request, waits for so many answers, and goes.
    fn daemon(
        said: Vec<Response>,
        answers: usize,
    ) -> (tempfile::TempDir, Client, JoinHandle<Vec<VaultReply>>) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("s");
        let listener = UnixListener::bind(&socket).unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            request(&mut stream);
            let frames: Vec<u8> = said.iter().flat_map(|response| response.encode().unwrap()).collect();
            stream.write_all(&frames).unwrap();
            (0..answers)
                .map(|_| match request(&mut stream) {
                    Command::VaultReply(reply) => reply,
                    other => panic!("{other:?}"),
                })
                .collect()
        });
        let client = Client::connect(&SocketChoice::from_env(Some(socket))).unwrap();
        (directory, client, thread)
    }

    fn demand(number: u64) -> Response {
        let operation = Operation::Stat { path: "/etc/passwd".into() };
        Response::event(1, Event::Demand(Demand { demand: number, job: 1, operation }))
    }

    fn refusals(answers: &[VaultReply]) -> Vec<(u64, u32)> {
        let mut codes: Vec<_> = answers
            .iter()
            .map(|reply| match &reply.outcome {
                Outcome::Failed { error, .. } => (reply.demand, error.code),
                other => panic!("{other:?}"),
            })
            .collect();
        codes.sort_unstable();
        codes
    }

    #[test]
    fn demands_are_answered_behind_the_commands_back() {
        for lends in [false, true] {
            let said = vec![
                Response::ok(1, Reply::Nothing),
                demand(1),
                demand(2),
                Response::event(1, Event::Unknown),
            ];
            let (directory, mut client, thread) = daemon(said, 2);
            let lender = lends.then(|| Lender::new(&[], &[directory.path().to_path_buf()]).unwrap());
            let mut steps = String::new();
            let end = drive(&mut client, Jobs::default(), &[], lender.as_ref(), |step| {
                match step {
                    Step::Accepted(_) => steps.push('a'),
                    Step::Event(Event::Demand(_)) => steps.push('d'),
                    Step::Event(_) => steps.push('e'),
                    Step::Tick => {}
                }
                ControlFlow::<()>::Continue(())
            });
            assert!(matches!(end, Err(ClientError::Gone { .. })), "{end:?}");
            assert_eq!(steps, "ae");
            assert_eq!(refusals(&thread.join().unwrap()), [(1, 77), (2, 77)]);
        }
    }

    #[test]
    fn a_command_may_leave_at_any_tick() {
        let (_directory, mut client, thread) = daemon(Vec::new(), 0);
        let end = drive(&mut client, Jobs::default(), &[], None, |step| match step {
            Step::Tick => ControlFlow::Break(7),
            _ => ControlFlow::Continue(()),
        });
        assert!(matches!(end, Ok(End::Left(7))), "{end:?}");
        thread.join().unwrap();
    }
}
