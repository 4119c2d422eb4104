//! One command for several hosts: all at once, each with a line of its own, and one end for all of them.

use serde_json::json;

use crate::args::Output;
use crate::failure::Failure;
use crate::jsonl::Fields;
use crate::progress::Board;
use crate::run::Outcome;
use crate::{events, jsonl, say, table};

/// Runs something for each of the hosts and tells how each ended; the failure, if any failed, is left to the caller.
///
/// # Errors
/// The common failure of all, or that some have failed.
pub(crate) fn run(
    hosts: &[String],
    board: &Board,
    output: Output,
    run: impl Fn(usize) -> Outcome + Sync,
) -> Result<(), Failure> {
    let one = |index: usize, host: &str| {
        let outcome = run(index);
        tell(host, &outcome, board, output);
        outcome
    };
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let started: Vec<_> =
            hosts.iter().enumerate().map(|(index, host)| scope.spawn(move || one(index, host))).collect();
        let joined = started.into_iter().map(std::thread::ScopedJoinHandle::join);
        // A panic is a bug in this thread as well.
        joined.map(|ended| ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let failures: Vec<Failure> = outcomes.iter().filter_map(|outcome| outcome.failure.clone()).collect();
    if let Some(failure) = Failure::of_several(&failures, hosts.len(), "hosts") {
        let remedy = "Look at the errors above and repeat the command for those hosts.";
        return Err(Failure { remedy: remedy.into(), ..failure });
    }
    let summaries = || outcomes.iter().filter_map(|outcome| outcome.summary.as_ref());
    let files: usize = summaries().map(|summary| summary.files.len()).sum();
    let bytes: u64 = summaries().map(|summary| summary.bytes).sum();
    crate::conclude(
        output,
        || events::object(json!({ "ok": true, "hosts": hosts.len(), "files": files, "bytes": bytes })),
        String::new,
    )
}

fn tell(host: &str, outcome: &Outcome, board: &Board, output: Output) {
    if output.tells_events() {
        let mut fields = Fields::new();
        match (&outcome.failure, &outcome.summary) {
            (Some(failure), _) => {
                fields.extend(events::error(failure));
                fields.insert("ok".into(), false.into());
            }
            (None, Some(summary)) => fields.extend(events::summary(summary)),
            (None, None) => drop(fields.insert("ok".into(), true.into())),
        }
        fields.insert("host".into(), host.into());
        fields.extend(outcome.tags.clone());
        jsonl::emit("host", fields);
    }
    if output.json {
        return;
    }
    board.pause(|| {
        if let Some(summary) = outcome.summary.as_ref().filter(|_| !output.quiet) {
            // What cannot be written shows at the end.
            let _ = say(&table::summary(&format!("{host}:"), summary));
        }
        if let Some(failure) = &outcome.failure {
            failure.show_of(host);
        }
    });
}
