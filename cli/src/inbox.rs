//! `udpxctl inbox`: what has arrived since the daemon's start, and with `--follow` what arrives.

use std::time::Duration;

use serde_json::json;
use udpx_control::client::Update;
use udpx_control::schema::{Event, Inbox, InboxEntry};
use udpxd::conductor::reports;
use udpxd::report::Row;

use crate::args::{InboxArgs, Output};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::{ask, escape, events, jsonl, say, table, units};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: InboxArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let mut client = ask::connect(args.socket.socket)?;
    let request = Inbox { follow: args.follow, peer: args.peer };
    let mut responses = client.request(request, &[]).map_err(|error| ask::failed(&error))?;
    let mut files = 0u64;
    loop {
        interrupt.check()?;
        match responses.wait(LOOK_UP_EVERY).map_err(|error| ask::failed(&error))? {
            Some(Update::Event(Event::Inbox(entry))) => {
                files += 1;
                show(&entry, args.stats, output)?;
            }
            Some(Update::Done(..)) => break,
            Some(Update::Event(_) | Update::Accepted(_)) | None => {}
        }
    }
    if output.json {
        jsonl::emit_last("summary", events::object(json!({ "ok": true, "files": files })))
    } else if files == 0 && !output.quiet {
        say("nothing has arrived since the daemon was started\n")
    } else {
        Ok(())
    }
}

fn show(entry: &InboxEntry, stats: bool, output: Output) -> Result<(), Failure> {
    if output.json {
        jsonl::emit_last("inbox", ask::fields(entry))
    } else {
        let time = jsonl::unix_time(Duration::from_millis(entry.arrived_unix_ms));
        let path = escape::bytes(entry.path.as_bytes());
        // What the other machine says of its user stands behind what is known.
        let peer = match entry.user.as_str() {
            "" => escape::text(&entry.peer),
            user => format!("{} ({})", escape::text(&entry.peer), escape::text(user)),
        };
        say(&format!("{time}  {peer}  {}  {path}\n", units::size(entry.bytes)))?;
        if stats && !entry.rows.is_empty() {
            let rows: Vec<Row> = entry.rows.iter().map(reports::row_of).collect();
            say(&format!("{}\n", table::file_rows(&rows)))?;
        }
        Ok(())
    }
}

/// How soon Ctrl-C is noticed.
const LOOK_UP_EVERY: Duration = Duration::from_millis(100);
