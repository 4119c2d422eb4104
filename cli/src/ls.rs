//! `udpxctl ls HOST[:PATH]`

use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::json;
use udpx_control::client::Client;
use udpx_control::schema::{self, Event, List, Reply};
use udpxd::embedded;
use udpxd::storage::listing::{Entry, EntryKind, Listing};

use crate::args::{LsArgs, Output, Reach, Sending};
use crate::engine::{self, Engine};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::job::order;
use crate::remote::Remote;
use crate::run::Way;
use crate::{ask, escape, events, jsonl, say};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: &LsArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let place = Remote::parse(&args.place)?;
    place.warn_of_port(output);
    let listing = match engine::choose(&args.through, &args.reach, &[&place.host], None, output)? {
        Engine::Daemon(mut client) => by_daemon(&mut client, &place, &args.reach, &interrupt)?,
        Engine::Here => {
            let way = Way::to(&place.host, &args.reach, Sending::default())?;
            way.ask(output, interrupt.flag(), |call, events| {
                embedded::list(call, &place.root, &place.path, events)
            })?
        }
    };
    match output.json {
        true => tell_json(&listing),
        false => show(&listing, output),
    }
}

fn by_daemon(
    client: &mut Client,
    place: &Remote,
    reach: &Reach,
    interrupt: &Interrupt,
) -> Result<Listing, Failure> {
    let mut entries = Vec::new();
    let reply =
        ask::wait(client, List { place: order::place(place, reach) }, reach.timeout, interrupt, |event| {
            if let Event::Entries { entries: more } = event {
                entries.extend(more.into_iter().map(entry));
            }
        })?;
    let Reply::Listed { cut: is_cut, .. } = reply else { return Err(ask::unexpected()) };
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Listing { entries, is_cut })
}

fn entry(entry: schema::Entry) -> Entry {
    let since = Duration::from_nanos(entry.mtime_ns.unsigned_abs());
    let modified = match entry.mtime_ns {
        0.. => UNIX_EPOCH.checked_add(since),
        _ => UNIX_EPOCH.checked_sub(since),
    };
    Entry {
        name: PathBuf::from(entry.name).into_os_string(),
        kind: match entry.kind {
            schema::EntryKind::File => EntryKind::File,
            schema::EntryKind::Directory => EntryKind::Directory,
            schema::EntryKind::Link | schema::EntryKind::Other => EntryKind::Other,
        },
        size: entry.bytes,
        modified: modified.unwrap_or(UNIX_EPOCH),
    }
}

/// A line an entry: what it is, its bytes, when it was modified (UTC), its name.
fn show(listing: &Listing, output: Output) -> Result<(), Failure> {
    let width = listing.entries.iter().map(|entry| size(entry).len()).max().unwrap_or(0);
    let mut text = String::new();
    for entry in &listing.entries {
        let (kind, size, modified) = (kind(entry.kind), size(entry), jsonl::timestamp(entry.modified));
        let name = escape::bytes(entry.name.as_bytes());
        text.push_str(&format!("{kind:<5}  {size:>width$}  {modified}  {name}\n"));
    }
    say(&text)?;
    if listing.is_cut && !output.quiet {
        let _ = writeln!(
            std::io::stderr(),
            "udpxctl: the directory has more entries; only {} of them, not the first ones, are told",
            listing.entries.len()
        );
    }
    Ok(())
}

fn tell_json(listing: &Listing) -> Result<(), Failure> {
    for entry in &listing.entries {
        jsonl::emit("entry", events::entry(entry, kind(entry.kind)));
    }
    let (entries, truncated) = (listing.entries.len(), listing.is_cut);
    jsonl::emit_last(
        "summary",
        events::object(json!({ "ok": true, "entries": entries, "truncated": truncated })),
    )
}

fn size(entry: &Entry) -> String {
    match entry.kind {
        EntryKind::File => entry.size.to_string(),
        EntryKind::Directory | EntryKind::Other => "-".into(),
    }
}

fn kind(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory => "dir",
        EntryKind::Other => "other",
    }
}
