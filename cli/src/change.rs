//! `udpxctl cancel`, `pause`, `policy` and `limit`: one request each, and a word about what it came to.

use std::time::SystemTime;

use serde_json::json;
use udpx_control::schema::{self, Cancel, JobState, Limit, LimitTarget, Pause, Reply, SetPolicy, Stats};
use udpxd::Code;

use crate::args::{JobArgs, LimitArgs, Output, PolicyArgs};
use crate::failure::Failure;
use crate::job::report;
use crate::{ask, escape, events, jsonl, stats, units, values};

/// Runs `cancel`; the error is not yet told.
pub(crate) fn cancel(args: JobArgs, output: Output) -> Result<(), Failure> {
    let job = args.job;
    job_is(args, Cancel { job }, &JobState::Cancelled, output)
}

/// Runs `pause`.
pub(crate) fn pause(args: JobArgs, output: Output) -> Result<(), Failure> {
    let job = args.job;
    job_is(args, Pause { job }, &JobState::Paused, output)
}

/// Runs `policy`.
pub(crate) fn policy(args: PolicyArgs, output: Output) -> Result<(), Failure> {
    let (job, policy) = (args.job.job, args.policy);
    let report = change(args.job, SetPolicy { job, policy })?;
    tell(&report, format!("job {job}: {}", report::policy(report.policy)), output)
}

/// Runs `limit`.
pub(crate) fn limit(args: LimitArgs, output: Output) -> Result<(), Failure> {
    if args.words == ["all"] {
        return limit_of_all(args, output);
    }
    let (target, rate_bps) = parse(&args.words)?;
    let whose = match &target {
        LimitTarget::Job { job } => format!("job {job}"),
        LimitTarget::Peer { peer } => escape::text(peer),
        LimitTarget::All => "everything".to_owned(),
    };
    let mut client = ask::connect(args.ask.socket)?;
    let Reply::Nothing = ask::call(&mut client, Limit { target, rate_bps }, |_| {})? else {
        return Err(ask::unexpected());
    };
    let limit = rate_bps.map_or_else(|| "no limit".into(), |bps| units::bit_rate(bps as f64));
    let text = || if output.quiet { String::new() } else { format!("{whose}: {limit}\n") };
    crate::conclude(output, || events::object(json!({ "ok": true })), text)
}

/// Tells what holds for everything.
fn limit_of_all(args: LimitArgs, output: Output) -> Result<(), Failure> {
    let mut client = ask::connect(args.ask.socket)?;
    let Reply::Stats(report) = ask::call(&mut client, Stats {}, |_| {})? else {
        return Err(ask::unexpected());
    };
    let fields = || events::object(json!({ "ok": true, "limit": ask::fields(&report.limit) }));
    crate::conclude(output, fields, || {
        format!("everything: {}\n", stats::limit(&report.limit, SystemTime::now()))
    })
}

/// What is limited, and to what. A job is a number; a peer that is called so is written `peer 12`.
fn parse(words: &[String]) -> Result<(LimitTarget, Option<u64>), Failure> {
    let usage =
        |text: String| Failure::with_remedy(Code::Usage, text, "Write udpxctl limit JOB|PEER|all RATE|none");
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let number = |word: &str| word.parse().ok().filter(|&job: &u64| job > 0);
    let (target, rate) = match words.as_slice() {
        ["all", rate] => (LimitTarget::All, rate),
        ["job", job, rate] => match number(job) {
            Some(job) => (LimitTarget::Job { job }, rate),
            None => return Err(usage(format!("{job:?} is no number of a job"))),
        },
        ["peer", peer, rate] => (LimitTarget::Peer { peer: (*peer).to_owned() }, rate),
        [target, rate] => match number(target) {
            Some(job) => (LimitTarget::Job { job }, rate),
            None => (LimitTarget::Peer { peer: (*target).to_owned() }, rate),
        },
        other => return Err(usage(format!("{:?} names nothing that has a limit", other.join(" ")))),
    };
    Ok((target, values::rate_or_none(rate).map_err(|help| usage(format!("{rate:?} is no rate: {help}")))?))
}

/// Brings a job into a state; one that is still on its way there is told as such.
fn job_is(
    args: JobArgs,
    command: impl Into<schema::Command>,
    wanted: &JobState,
    output: Output,
) -> Result<(), Failure> {
    let job = args.job;
    let report = change(args, command)?;
    let word = report::state(wanted);
    let text = match report.state == *wanted {
        true => format!("job {job} is {word}"),
        false => format!("job {job} is being {word}"),
    };
    tell(&report, text, output)
}

/// Asks for a change of a job; how it stands then.
pub(crate) fn change(
    args: JobArgs,
    command: impl Into<schema::Command>,
) -> Result<schema::JobReport, Failure> {
    let mut client = ask::connect(args.ask.socket)?;
    match ask::call(&mut client, command, |_| {})? {
        Reply::Job { job, .. } => Ok(*job),
        _ => Err(ask::unexpected()),
    }
}

fn tell(report: &schema::JobReport, text: String, output: Output) -> Result<(), Failure> {
    if output.json {
        jsonl::emit("job", events::job(report));
    }
    let fields = || events::object(json!({ "ok": true, "job": report.job }));
    crate::conclude(output, fields, || if output.quiet { String::new() } else { text + "\n" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_limited() {
        let parse = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            parse(&words).map_err(|failure| failure.text)
        };
        let peer = |name: &str| LimitTarget::Peer { peer: name.into() };
        for (line, target, rate) in [
            ("12 100mbit", LimitTarget::Job { job: 12 }, Some(100_000_000)),
            ("job 12 none", LimitTarget::Job { job: 12 }, None),
            ("bob 1gbit", peer("bob"), Some(1_000_000_000)),
            ("peer 12 1k", peer("12"), Some(1000)),
            ("all none", LimitTarget::All, None),
        ] {
            assert_eq!(parse(line), Ok((target, rate)), "{line}");
        }
        for (line, what) in
            [("12 fast", "no rate"), ("job bob 1k", "no number of a job"), ("all the 1k", "names nothing")]
        {
            assert!(parse(line).is_err_and(|text| text.contains(what)), "{line}");
        }
    }
}
