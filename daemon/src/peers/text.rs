//! Changing the text of `peers.toml` without touching what people wrote into it.
//!
//! The text is cut where each `[[peer]]` begins, comments right above it included. A peer that stays as it is keeps its
//! piece, one that changes gets a new one below its comments, one that goes takes its piece along. Whether that was the
//! right place to cut is decided by reading what came of it: a text that means something else is not used, and the file is
//! written anew.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::{Config, Peer, Rights, is_root_name};
use crate::identity::key_text;

/// The text for `after`, which `text` has been for `before`. Peers keep their key or their name.
pub(super) fn edited(text: &str, before: &[Peer], after: &[Peer]) -> String {
    let edited = edit(text, before, after);
    let says = |text: &String| Config::peers_in(text, Path::new("")).is_ok_and(|peers| peers == after);
    edited.filter(says).unwrap_or_else(|| {
        let tables = after.iter().map(table).collect::<Vec<_>>().join("\n");
        format!("{HEAD}\n{tables}")
    })
}

fn edit(text: &str, before: &[Peer], after: &[Peer]) -> Option<String> {
    let (head, pieces) = cut(text);
    if pieces.len() != before.len() {
        return None;
    }
    let mut edited = if text.is_empty() { format!("{HEAD}\n") } else { head.to_owned() };
    for new in after {
        let old = before.iter().zip(&pieces).find(|(old, _)| old.key == new.key || old.name == new.name);
        match old {
            Some((old, piece)) if old == new => edited.push_str(piece),
            Some((_, piece)) => {
                edited.extend(comments(piece));
                edited.push_str(&table(new));
            }
            None => {
                if !edited.is_empty() && !edited.ends_with("\n\n") {
                    edited.push_str(if edited.ends_with('\n') { "\n" } else { "\n\n" });
                }
                edited.push_str(&table(new));
            }
        }
    }
    Some(edited)
}

/// What stands before the first peer, and a piece for each peer.
fn cut(text: &str) -> (&str, Vec<&str>) {
    let mut starts = Vec::new();
    let (mut at, mut comments_at) = (0, None);
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        if bare.starts_with("[[peer]]") {
            starts.push(comments_at.unwrap_or(at));
        }
        comments_at = if bare.starts_with('#') { comments_at.or(Some(at)) } else { None };
        at += line.len();
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let pieces = starts.iter().zip(ends).map(|(&start, end)| &text[start..end]).collect();
    (&text[..starts.first().copied().unwrap_or(text.len())], pieces)
}

/// The lines above a `[[peer]]`.
fn comments(piece: &str) -> impl Iterator<Item = &str> {
    piece.split_inclusive('\n').take_while(|line| line.trim().starts_with('#'))
}

/// A peer as the file says it.
fn table(peer: &Peer) -> String {
    let mut text = format!("[[peer]]\nname = {:?}\nkey = {:?}\n", peer.name, key_text(&peer.key));
    // Infallible: a String takes everything.
    if let Some(address) = &peer.address {
        // Without a port, if that is how it was said: the file is to mean the same as before.
        let address = address.port.map_or_else(|| address.host.clone(), |_| address.to_string());
        let _ = writeln!(text, "address = \"{address}\"");
    }
    if peer.plain {
        text.push_str("plain = true\n");
    }
    let Rights { write, read, list } = peer.rights;
    let _ = writeln!(text, "write = {write}\nread = {read}\nlist = {list}");
    for (root, rights) in &peer.roots {
        // Whoever edits the file may have called one what no root can be called.
        let root = if is_root_name(root) { root.clone() } else { quoted(root) };
        let _ = writeln!(text, "roots.{root} = {:?}", rights.words());
    }
    if let Some(inbox) = &peer.inbox {
        let inbox = toml::Value::String(inbox.to_string_lossy().into_owned());
        let _ = writeln!(text, "inbox = {inbox}");
    }
    if let Some(quota) = peer.quota {
        let _ = writeln!(text, "quota = \"{quota}\"");
    }
    if let Some(rate) = peer.rate_bps {
        let _ = writeln!(text, "rate = \"{rate} bit/s\"");
    }
    text
}

/// A key of TOML that is no bare one.
fn quoted(key: &str) -> String {
    let letter = |letter: char| match letter {
        '"' | '\\' => format!("\\{letter}"),
        letter if letter.is_control() => format!("\\u{:04x}", u32::from(letter)),
        letter => letter.to_string(),
    };
    format!("\"{}\"", key.chars().map(letter).collect::<String>())
}

/// Whether what [`edited`] writes is read as what was wanted: for fuzzing, with a text that means `peers`.
///
/// # Panics
/// It is not.
pub(crate) fn check_editing(text: &str, peers: &[Peer]) {
    let read = |text: &str| Config::peers_in(text, Path::new("")).expect("what is written is understood");
    let mut changed = peers.to_vec();
    for peer in &mut changed {
        peer.rights.read = !peer.rights.read;
    }
    assert_eq!(read(&edited(text, peers, &changed)), changed);
    changed.pop();
    assert_eq!(read(&edited(text, peers, &changed)), changed);
    assert_eq!(read(&edited("", &[], peers)), peers);
}

const HEAD: &str = "\
# Peers that udpxctl invite, join and peer have added. It may be edited; then: sudo systemctl reload udpxd
# What stands here is what [[peer]] in udpxd.toml can have; that file counts where both name a peer.
";

#[cfg(test)]
mod tests {
    use udpx_proto::handshake::PublicKey;

    use super::*;
    use crate::config::{PeerAddress, PeerSource};

    fn peer(name: &str, number: u8) -> Peer {
        Peer { source: PeerSource::PeersFile, ..Peer::new(name, PublicKey([number; 32])) }
    }

    fn read(text: &str) -> Vec<Peer> {
        Config::peers_in(text, Path::new("p")).unwrap()
    }

    #[test]
    fn every_setting_is_written_as_it_is_read() {
        let mut all = peer("alice", 1);
        all.address = Some(PeerAddress { host: "2001:db8::1".into(), port: Some(9) });
        all.plain = true;
        all.rights = Rights { write: false, read: true, list: true };
        all.roots.insert("disk".into(), Rights { read: true, ..Rights::NONE });
        all.roots.insert("none".into(), Rights::NONE);
        all.roots.insert("a \"b\".\u{e4}\n".into(), Rights::NONE);
        all.inbox = Some("/srv/a \"b\"\\c".into());
        (all.quota, all.rate_bps) = (Some(u64::MAX), Some(100_000_000));
        let mut bob = peer("bob", 2);
        bob.address = Some(PeerAddress { host: "2001:db8::2".into(), port: None });
        let after = [all, bob];
        let text = edited("", &[], &after);
        assert_eq!(read(&text), after);
        assert!(text.starts_with("# Peers that"));
    }

    #[test]
    fn what_people_wrote_stays() {
        let by_hand = format!(
            "# mine\n\n# the laptop\n[[peer]]   # hers\nname = 'alice'\nkey = \"{}\"\n\n# the server\n[[peer]]\nname = \
             \"bob\"\nkey = \"{}\"\n  # trailing\n",
            key_text(&PublicKey([1; 32])),
            key_text(&PublicKey([2; 32])),
        );
        let before = read(&by_hand);
        // One more.
        let mut after = before.clone();
        after.push(peer("carol", 3));
        let text = edited(&by_hand, &before, &after);
        assert!(text.starts_with(&by_hand) && read(&text) == after, "{text}");
        // One changes: its comments stay, and everybody else.
        let mut after = before.clone();
        after[1].rights.read = true;
        let text = edited(&by_hand, &before, &after);
        assert!(text.contains("# the laptop\n[[peer]]   # hers\nname = 'alice'"), "{text}");
        assert!(text.contains("# the server\n[[peer]]\nname = \"bob\""), "{text}");
        assert_eq!(read(&text), after);
        // One goes.
        let text = edited(&by_hand, &before, &before[1..]);
        assert!(text.starts_with("# mine\n\n# the server\n") && !text.contains("alice"), "{text}");
        assert_eq!(read(&text), &before[1..]);
        // All go.
        assert_eq!(edited(&by_hand, &before, &[]), "# mine\n\n");
    }

    #[test]
    fn a_text_that_cannot_be_cut_is_written_anew() {
        let key = key_text(&PublicKey([1; 32]));
        for text in [
            format!("peer = [{{ name = \"alice\", key = \"{key}\" }}]\n"),
            format!("[[ peer ]]\nname = \"alice\"\nkey = \"{key}\"\n"),
            format!("[[peer]]\nname = \"alice\"\nkey = \"{key}\"\ninbox = '''\n[[peer]]'''\n"),
        ] {
            let before = read(&text);
            let after = [before[0].clone(), peer("bob", 2)];
            assert_eq!(read(&edited(&text, &before, &after)), after, "{text}");
        }
    }
}
