//! `udpxctl jobs`: the jobs of the daemon, a line each.

use serde_json::json;
use udpx_control::schema::{Event, Jobs};

use crate::args::{JobsArgs, Output};
use crate::failure::Failure;
use crate::job::report;
use crate::{ask, events, jsonl, table};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: JobsArgs, output: Output) -> Result<(), Failure> {
    let mut client = ask::connect(args.ask.socket)?;
    let mut jobs = Vec::new();
    ask::call(&mut client, Jobs { ended: args.all, everyone: args.everyone }, |event| {
        if let Event::Job(job) = event {
            jobs.push(job);
        }
    })?;
    if output.json {
        jobs.iter().for_each(|job| jsonl::emit("job", events::job(job)));
    }
    crate::conclude(
        output,
        || events::object(json!({ "ok": true, "jobs": jobs.len() })),
        || {
            if jobs.is_empty() {
                let which =
                    if args.all { "no jobs\n" } else { "no jobs; --all lists those that have ended too\n" };
                return if output.quiet { String::new() } else { which.to_owned() };
            }
            let head = report::HEAD.map(str::to_owned).to_vec();
            let lines: Vec<_> =
                [head].into_iter().chain(jobs.iter().map(|job| report::cells(job, args.everyone))).collect();
            table::aligned(&lines, lines[0].len())
        },
    )
}
