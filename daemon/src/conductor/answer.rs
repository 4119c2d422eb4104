//! A request and what is known give an answer.

use udpx_control::schema::{
    Command, ErrorReport, Event, KeyReport, Reply, Roots, SCHEMA, VersionReport, code,
};
use udpx_proto::wire::header::VERSION;

use super::board::Board;

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
pub(super) fn answer(board: &Board, connections: usize, command: &Command) -> Answer {
    match command {
        Command::Version(_) => Answer::Whole(Vec::new(), Reply::Version(version())),
        Command::Key(_) => Answer::Whole(Vec::new(), Reply::Key(KeyReport { key: board.key().to_owned() })),
        Command::Peers(_) => listed(board.peers().into_iter().map(Event::Peer).collect()),
        Command::Roots(Roots::List) => listed(board.roots().into_iter().map(Event::Root).collect()),
        Command::Stats(_) => {
            let sessions = board.sessions().into_iter().map(Event::Session).collect();
            let connections = u32::try_from(connections).unwrap_or(u32::MAX);
            Answer::Whole(sessions, Reply::Stats(Box::new(board.stats(connections))))
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
    Answer::Whole(events, Reply::Listed { count })
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

/// The commands of the schema that this version does not serve.
fn not_yet(command: &Command) -> ErrorReport {
    let name = command.name();
    let remedy = match command {
        Command::Push(_) | Command::Pull(_) | Command::List(_) | Command::Ping(_) => {
            "udpxctl does it in its own process, without the daemon."
        }
        Command::Roots(_) => "Set the inbox of a peer in udpxd.toml, then: systemctl reload udpxd.",
        Command::Limit(_) | Command::SetPolicy(_) => "The sender chooses the rate: udpxctl push --rate.",
        _ => "Transfers are jobs of the udpxctl that began them; it ends them with Ctrl-C.",
    };
    ErrorReport::new(code::PROTOCOL, format!("{name:?} is not in this version of udpxd."), remedy)
}
