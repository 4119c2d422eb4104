//! `udpxctl peer`: one of those whom the daemon knows, and what it may do.

use clap::{Args, Subcommand};
use serde_json::json;
use udpx_control::schema::{Event, PeerAction, PeerReport, PeerRights, Reply};

use crate::args::{AskArgs, Output};
use crate::failure::Failure;
use crate::peer_list::{heard, rights};
use crate::{ask, escape, events, jsonl, say, units, values};

/// What is wanted of which peer.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct PeerArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Print all about one peer
    Show {
        /// Its name
        name: String,
        #[command(flatten)]
        socket: AskArgs,
    },
    /// Call a peer something else; its directory in the inbox goes with it
    Rename {
        /// Its name so far
        name: String,
        /// Its name from now on
        to: String,
        #[command(flatten)]
        socket: AskArgs,
    },
    /// Forget a peer, which is cut off at once; its files stay
    Remove {
        /// Its name
        name: String,
        #[command(flatten)]
        socket: AskArgs,
    },
    /// Let a peer do something in a root, beside what it may do already
    #[command(after_help = GRANT_HELP)]
    Grant(RightsArgs),
    /// Take rights in a root away from a peer: those that are said, or all
    Revoke(RightsArgs),
    /// Bound what may lie in a peer's directory; what is there stays
    #[command(
        after_help = "Example:\n  sudo udpxctl peer quota alice 20GiB\nWhat may be moved is bounded by: \
                            sudo udpxctl limit peer alice 100mbit"
    )]
    Quota {
        /// Its name
        name: String,
        /// Bytes of files: 500MB, 20GiB; or none, for what udpxd.toml says of all
        #[arg(value_name = "SIZE|none", value_parser = values::size_or_none)]
        bytes: Bytes,
        #[command(flatten)]
        socket: AskArgs,
    },
}

/// A number of bytes, or none.
type Bytes = Option<u64>;

#[derive(Debug, Args)]
struct RightsArgs {
    /// Its name
    name: String,
    /// The root; inbox is its own directory
    #[arg(long, value_name = "ROOT", default_value = "inbox")]
    root: String,
    /// Getting files
    #[arg(long)]
    read: bool,
    /// Putting files
    #[arg(long)]
    write: bool,
    /// Seeing what is there
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    socket: AskArgs,
}

impl RightsArgs {
    fn split(self) -> (PeerRights, AskArgs) {
        let Self { name: peer, root, read, write, list, socket } = self;
        (PeerRights { peer, root, read, write, list }, socket)
    }
}

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: PeerArgs, output: Output) -> Result<(), Failure> {
    match args.action {
        Action::Show { name, socket } => {
            let peer = change(socket, PeerAction::Show { peer: name }, output)?;
            if output.json { done() } else { say(&peer.iter().map(card).collect::<String>()) }
        }
        Action::Rename { name, to, socket } => {
            let text = format!("{} is called {} now\n", escape::text(&name), escape::text(&to));
            change(socket, PeerAction::Rename { peer: name, to }, output)?;
            conclude(output, &text)
        }
        Action::Remove { name, socket } => {
            let text = format!("{} is forgotten; its files stay where they are\n", escape::text(&name));
            change(socket, PeerAction::Remove { peer: name }, output)?;
            conclude(output, &text)
        }
        Action::Grant(args) => {
            let (rights, socket) = args.split();
            told_rights(change(socket, PeerAction::Grant(rights), output)?.as_ref(), output)
        }
        Action::Quota { name, bytes, socket } => {
            let now = change(socket, PeerAction::Quota { peer: name, bytes }, output)?;
            let line = |peer: &PeerReport| format!("{}: {}\n", escape::text(&peer.peer), quota(peer));
            conclude(output, &now.iter().map(line).collect::<String>())
        }
        Action::Revoke(args) => {
            let (rights, socket) = args.split();
            told_rights(change(socket, PeerAction::Revoke(rights), output)?.as_ref(), output)
        }
    }
}

/// Asks for it; the peer as it is then.
fn change(socket: AskArgs, action: PeerAction, output: Output) -> Result<Option<PeerReport>, Failure> {
    let mut client = ask::connect(socket.socket)?;
    let mut now = None;
    let reply = ask::call(&mut client, action, |event| {
        if let Event::Peer(peer) = event {
            if output.json {
                jsonl::emit("peer", ask::fields(&peer));
            }
            now = Some(peer);
        }
    })?;
    match reply {
        Reply::Nothing => Ok(now),
        _ => Err(ask::unexpected()),
    }
}

fn told_rights(peer: Option<&PeerReport>, output: Output) -> Result<(), Failure> {
    let line = |peer: &PeerReport| format!("{}: {}\n", escape::text(&peer.peer), rights(peer));
    conclude(output, &peer.map(line).unwrap_or_default())
}

fn conclude(output: Output, text: &str) -> Result<(), Failure> {
    match output {
        Output { json: true, .. } => done(),
        Output { quiet: true, .. } => Ok(()),
        _ => say(text),
    }
}

fn done() -> Result<(), Failure> {
    jsonl::emit_last("summary", events::object(json!({ "ok": true })))
}

/// What may lie in its directory.
fn quota(peer: &PeerReport) -> String {
    let most = peer.quota_bytes.map_or_else(|| "no quota".into(), units::size);
    match peer.used_bytes {
        Some(used) => format!("{most}, {} used", units::size(used)),
        None => most,
    }
}

/// What it has begun to put here: it is held until it is finished, or nothing more of it comes for too long.
fn unfinished(peer: &PeerReport) -> String {
    match peer.unfinished {
        0 => "nothing".into(),
        1 => format!("1 file, {}", units::size(peer.unfinished_bytes)),
        files => format!("{files} files, {}", units::size(peer.unfinished_bytes)),
    }
}

/// All about one peer.
fn card(peer: &PeerReport) -> String {
    let none = || "none".to_owned();
    let connected = match peer.addresses.as_slice() {
        [] => "no".to_owned(),
        addresses => escape::text(&addresses.join(" ")),
    };
    let source = match peer.configured {
        true => "udpxd.toml, where it is changed",
        false => "peers.toml, which udpxctl peer changes",
    };
    let lines = [
        ("peer", escape::text(&peer.peer)),
        ("key", escape::text(&peer.key)),
        ("called at", peer.address.as_deref().map_or_else(none, escape::text)),
        ("rights", rights(peer)),
        ("quota", quota(peer)),
        ("unfinished", unfinished(peer)),
        ("limit", peer.limit_bps.map_or_else(none, |bps| units::bit_rate(bps as f64))),
        ("connected", connected),
        ("heard", heard(peer)),
        ("set in", source.to_owned()),
    ];
    lines.iter().map(|(name, value)| format!("{name:<10} {value}\n")).collect()
}

const GRANT_HELP: &str = "Examples:
  sudo udpxctl peer grant alice --read                       alice may get what she has put into her inbox
  sudo udpxctl peer grant alice --root disk --read --list    and see and get what is in the root disk";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_says_where_a_peer_is_changed() {
        let json = r#"{"peer":"bob","key":"udpxk1","sessions":0,"write":["inbox"],"read":["disk"],"configured":true,
            "quota_bytes":1073741824,"used_bytes":1024,
            "unfinished":2,"unfinished_bytes":2048,"limit_bps":100000000}"#;
        let text = card(&serde_json::from_str(json).unwrap());
        for line in [
            "peer       bob\n",
            "called at  none\n",
            "rights     write disk:read\n",
            "quota      1.0 GiB, 1.0 KiB used\n",
            "unfinished 2 files, 2.0 KiB\n",
            "limit      100.00 Mbit/s\n",
            "udpxd.toml, where",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }
}
