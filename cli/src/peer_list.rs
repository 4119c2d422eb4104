//! `udpxctl peers`: whom the daemon knows, and what they may do.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use udpx_control::schema::{Event, PeerReport, Peers};

use crate::args::{AskArgs, Output};
use crate::failure::Failure;
use crate::{ask, escape, events, jsonl, say, table, units};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: AskArgs, output: Output) -> Result<(), Failure> {
    let mut client = ask::connect(args.socket)?;
    let mut peers = Vec::new();
    ask::call(&mut client, Peers {}, |event| {
        if let Event::Peer(peer) = event {
            peers.push(peer);
        }
    })?;
    if output.json {
        peers.iter().for_each(|peer| jsonl::emit("peer", ask::fields(peer)));
        jsonl::emit_last("summary", events::object(json!({ "ok": true, "peers": peers.len() })))
    } else if peers.is_empty() {
        say("no peer is known; one is let in by: sudo udpxctl invite\n")
    } else {
        let head = ["peer", "connected", "rights", "heard", "key"].map(str::to_owned).to_vec();
        let lines: Vec<_> = [head].into_iter().chain(peers.iter().map(cells)).collect();
        say(&table::aligned(&lines, 5))
    }
}

fn cells(peer: &PeerReport) -> Vec<String> {
    let connected = match peer.addresses.as_slice() {
        [] => "no".to_owned(),
        addresses => escape::text(&addresses.join(" ")),
    };
    vec![escape::text(&peer.peer), connected, rights(peer), heard(peer), escape::text(&peer.key)]
}

/// `write,list disk:read`: those on its own directory, then those on other roots.
pub(crate) fn rights(peer: &PeerReport) -> String {
    let granted = [("write", &peer.write), ("read", &peer.read), ("list", &peer.list)];
    let mut roots: Vec<&str> =
        granted.iter().flat_map(|(_, roots)| roots.iter()).map(String::as_str).collect();
    roots.sort_unstable_by_key(|&root| (!is_own(root), root));
    roots.dedup();
    let words = |root: &str| {
        let words = granted.iter().filter(|(_, roots)| roots.iter().any(|other| other == root));
        words.map(|(word, _)| *word).collect::<Vec<_>>().join(",")
    };
    let mut said: Vec<String> = roots
        .iter()
        .map(|&root| match is_own(root) {
            true => words(root),
            false => format!("{}:{}", escape::text(root), words(root)),
        })
        .collect();
    if peer.plain {
        said.push("plain".into());
    }
    if said.is_empty() { "none".into() } else { said.join(" ") }
}

/// Whether a root is the peer's own directory, beneath the inbox or elsewhere.
fn is_own(root: &str) -> bool {
    root == "inbox" || root.starts_with("inbox/")
}

pub(crate) fn heard(peer: &PeerReport) -> String {
    let Some(at) = peer.heard_unix_ms else { return "never".into() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{} ago", units::whole_seconds(now.saturating_sub(Duration::from_millis(at))))
}
