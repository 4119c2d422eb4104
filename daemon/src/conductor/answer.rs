//! A request and what is known give an answer.

use udpx_control::schema::{
    Command, ErrorReport, Event, JobCounts, KeyReport, Reply, Roots, SCHEMA, VersionReport, code,
};
use udpx_proto::wire::header::VERSION;

use super::board::Board;
use super::caps::Caps;

/// What a request gets.
#[derive(Debug)]
pub(super) enum Answer {
    /// Everything at once.
    Whole(Vec<Event>, Reply),
    /// This now, and then each file that arrives; of one peer, if one is named.
    Follow(Vec<Event>, Option<String>),
    /// No.
    Refused(ErrorReport),
}

/// Answers a request of somebody who may have an answer. `connections` is how many clients there are.
pub(super) fn answer(
    (board, caps): (&Board, &Caps),
    jobs: JobCounts,
    connections: usize,
    command: &Command,
) -> Answer {
    match command {
        Command::Version(_) => Answer::Whole(Vec::new(), Reply::Version(version())),
        Command::Key(_) => Answer::Whole(Vec::new(), Reply::Key(KeyReport { key: board.key().to_owned() })),
        Command::Peers(_) => listed(board.peers().into_iter().map(Event::Peer).collect()),
        Command::Roots(Roots::List) => listed(board.roots().into_iter().map(Event::Root).collect()),
        Command::Stats(_) => {
            let sessions = board.sessions().into_iter().map(Event::Session).collect();
            let connections = u32::try_from(connections).unwrap_or(u32::MAX);
            Answer::Whole(sessions, Reply::Stats(Box::new(board.stats(jobs, connections, caps.report()))))
        }
        Command::Inbox(inbox) => match inbox.peer.as_deref() {
            Some(peer) if !board.knows(peer) => Answer::Refused(ErrorReport::new(
                code::USAGE,
                format!("No peer is called {peer:?}."),
                "udpxctl peers lists them.",
            )),
            peer => {
                let events: Vec<_> = board.inbox(peer).cloned().map(Event::Inbox).collect();
                match inbox.follow {
                    true => Answer::Follow(events, inbox.peer.clone()),
                    false => listed(events),
                }
            }
        },
        other => Answer::Refused(not_yet(other)),
    }
}

fn listed(events: Vec<Event>) -> Answer {
    let count = events.len() as u64;
    Answer::Whole(events, Reply::Listed { count, cut: false })
}

fn version() -> VersionReport {
    let kernel = nix::sys::utsname::uname();
    VersionReport {
        version: env!("CARGO_PKG_VERSION").into(),
        schema: SCHEMA,
        protocol: VERSION.into(),
        kernel: kernel.map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default(),
    }
}

/// The commands of the schema that this version does not serve here.
fn not_yet(command: &Command) -> ErrorReport {
    let text = format!("{:?} is not in this version of udpxd.", command.name());
    ErrorReport::new(code::PROTOCOL, text, "Use udpxctl and udpxd of the same version.")
}
