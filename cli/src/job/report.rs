//! A job as people read it: a row of a table, or all of its fields.

use std::time::Duration;

use udpx_control::schema::{Direction, JobReport, JobState, PlaceReport, Policy};

use super::told;
use crate::{escape, jsonl, units};

/// The head of a table of jobs.
pub(crate) const HEAD: [&str; 10] =
    ["job", "state", "", "peer", "what", "files", "bytes", "%", "rate", "eta, or why"];

/// A row of it. With `user` the owner stands before the peer.
pub(crate) fn cells(report: &JobReport, user: bool) -> Vec<String> {
    let peer = escape::text(&report.peer);
    let peer = if user { format!("{}: {peer}", escape::text(&report.user)) } else { peer };
    vec![
        report.job.to_string(),
        state(&report.state).to_owned(),
        direction(report.direction).to_owned(),
        peer,
        name(report),
        format!("{}/{}", report.files, report.sources_total),
        units::size(report.bytes),
        percent(report).map_or_else(|| "-".into(), |percent| percent.to_string()),
        if report.rate_bps > 0 { units::rate(report.rate_bps as f64 / 8.0) } else { "-".into() },
        remark(report),
    ]
}

/// All that the report says, a line each.
pub(crate) fn lines(report: &JobReport) -> Vec<Vec<String>> {
    let mut lines = Vec::new();
    let mut put = |name: &str, value: String| lines.push(vec![name.to_owned(), value]);
    put("job", report.job.to_string());
    put("state", state(&report.state).to_owned());
    match remark(report) {
        remark if remark == "-" => {}
        remark => put(if matches!(report.state, JobState::Running) { "eta" } else { "why" }, remark),
    }
    put("owner", format!("{} ({})", escape::text(&report.user), report.uid));
    put("direction", direction(report.direction).to_owned());
    put("peer", escape::text(&report.peer));
    let is_push = report.direction == Direction::Push;
    for source in &report.sources {
        put("source", if is_push { here(source) } else { there(report, source) });
    }
    let more = report.sources_total.saturating_sub(report.sources.len() as u64);
    if more > 0 {
        put("source", format!("and {} more", units::count(more)));
    }
    let destination = &report.destination;
    put("destination", if is_push { there(report, destination) } else { here(destination) });
    let total = report.total.map_or_else(String::new, |total| format!(" of {}", units::size(total)));
    put("bytes", format!("{}{total}", units::size(report.bytes)));
    put("files", format!("{} of {}", report.files, report.sources_total));
    if report.rate_bps > 0 {
        put("rate", units::rate(report.rate_bps as f64 / 8.0));
    }
    if report.rtt_us > 0 {
        put("rtt", units::time(Duration::from_micros(report.rtt_us)));
        put("loss", format!("{:.1} %", report.loss * 100.0));
    }
    put("policy", policy(report.policy));
    put("limit", report.limit_bps.map_or_else(|| "none".into(), |bps| units::bit_rate(bps as f64)));
    put("retries", report.retries.to_string());
    put("created", time(report.created_unix_ms));
    if let Some(at) = report.started_unix_ms {
        put("started", time(at));
    }
    if let Some(at) = report.ended_unix_ms {
        put("ended", time(at));
    }
    if let Some(error) = &report.error {
        put(
            "error",
            format!(
                "{} ({}, exit code {})",
                escape::text(&error.text),
                escape::text(&error.kind),
                error.code
            ),
        );
        if !error.remedy.is_empty() {
            put("remedy", escape::text(&error.remedy));
        }
    }
    lines
}

/// The state in a word.
pub(crate) fn state(state: &JobState) -> &'static str {
    match state {
        JobState::Queued => "queued",
        JobState::Running => "running",
        JobState::Waiting { .. } => "waiting",
        JobState::Paused => "paused",
        JobState::Done => "done",
        JobState::Failed => "failed",
        JobState::Cancelled => "cancelled",
        JobState::Unknown => "?",
    }
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::Push => "to",
        Direction::Pull => "from",
    }
}

/// What a line about the job is called: its file, if it is one.
pub(crate) fn label(report: &JobReport) -> Vec<u8> {
    match report.sources.as_slice() {
        [only] if report.sources_total == 1 => {
            let path = only.path.as_bytes();
            path.rsplit(|&byte| byte == b'/').find(|part| !part.is_empty()).unwrap_or(path).to_vec()
        }
        _ => format!("{} files", report.sources_total).into_bytes(),
    }
}

fn name(report: &JobReport) -> String {
    escape::bytes(&label(report))
}

fn here(place: &PlaceReport) -> String {
    escape::bytes(place.path.as_bytes())
}

/// As a command line names it.
fn there(report: &JobReport, place: &PlaceReport) -> String {
    let (host, path) = (escape::text(&report.peer), escape::bytes(place.path.as_bytes()));
    if place.root.is_empty() {
        format!("{host}:{path}")
    } else {
        format!("{host}:/{}/{path}", escape::text(&place.root))
    }
}

/// As in `--policy`.
pub(crate) fn policy(policy: Policy) -> String {
    match policy {
        Policy::Fair => "fair".into(),
        Policy::Low => "low".into(),
        Policy::Fixed { rate_bps } => format!("fixed, {}", units::bit_rate(rate_bps as f64)),
    }
}

/// 100 is for what is durable.
fn percent(report: &JobReport) -> Option<u64> {
    if report.state == JobState::Done {
        return Some(100);
    }
    let total = report.total?;
    let share = report.bytes.min(total) as f64 / total.max(1) as f64;
    Some(((share * 100.0) as u64).min(99))
}

/// How long it takes yet, or why it does not go on.
fn remark(report: &JobReport) -> String {
    match &report.state {
        JobState::Running => {
            let left = report.total.map(|total| total.saturating_sub(report.bytes) as f64 * 8.0);
            let eta = left.filter(|_| report.rate_bps > 0).map(|left| left / report.rate_bps as f64);
            let eta = eta.and_then(|seconds| Duration::try_from_secs_f64(seconds.max(1.0)).ok());
            eta.map_or_else(|| "-".into(), units::whole_seconds)
        }
        JobState::Waiting { why, next_try_unix_ms } => {
            let next = next_try_unix_ms.map(|at| format!(", next try {}", told::until(at)));
            escape::text(without_stop(why)) + &next.unwrap_or_default()
        }
        JobState::Failed => match &report.error {
            Some(error) => escape::text(without_stop(&error.text)),
            None => "-".into(),
        },
        _ => "-".into(),
    }
}

/// A sentence, to go on behind it.
pub(crate) fn without_stop(sentence: &str) -> &str {
    sentence.trim_end_matches('.')
}

fn time(unix_ms: u64) -> String {
    jsonl::unix_time(Duration::from_millis(unix_ms))
}

#[cfg(test)]
pub(crate) fn example(state: JobState) -> JobReport {
    let place = |path: &str| PlaceReport { root: String::new(), path: path.into() };
    JobReport {
        job: 12,
        uid: 1000,
        user: "alice".into(),
        direction: Direction::Push,
        peer: "bob".into(),
        sources: vec![place("/home/alice/file.iso")],
        sources_total: 1,
        destination: place(""),
        state,
        bytes: 500,
        total: Some(1000),
        files: 0,
        rate_bps: 800,
        rtt_us: 41_000,
        loss: 0.012,
        policy: Policy::Fair,
        limit_bps: None,
        created_unix_ms: 0,
        started_unix_ms: None,
        ended_unix_ms: None,
        retries: 0,
        error: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_how_long_or_why() {
        let row = cells(&example(JobState::Running), false);
        assert_eq!(row, ["12", "running", "to", "bob", "file.iso", "0/1", "500 B", "50", "100 B/s", "5 s"]);
        let why = "bob does not\n answer.".to_owned();
        let row = cells(&example(JobState::Waiting { why, next_try_unix_ms: Some(1) }), true);
        assert_eq!(
            (row[3].as_str(), row[9].as_str()),
            ("alice: bob", "bob does not\\n answer, next try now")
        );
        let done = cells(&example(JobState::Done), false);
        assert_eq!((done[7].as_str(), done[9].as_str()), ("100", "-"));
        let nearly = JobReport { bytes: 2000, ..example(JobState::Paused) };
        assert_eq!(cells(&nearly, false)[7], "99");
        let pipe = JobReport { total: None, ..example(JobState::Running) };
        assert_eq!((cells(&pipe, false)[7].as_str(), cells(&pipe, false)[9].as_str()), ("-", "-"));
    }

    #[test]
    fn all_fields_are_there() {
        let mut report = JobReport { sources_total: 20, ..example(JobState::Paused) };
        report.error = Some(udpx_control::schema::ErrorReport {
            code: 68,
            kind: "unreachable".into(),
            text: "bob does not answer.".into(),
            remedy: "Check it.".into(),
        });
        let text: Vec<String> = lines(&report).into_iter().map(|line| line.join(" ")).collect();
        for part in [
            "job 12",
            "state paused",
            "owner alice (1000)",
            "source /home/alice/file.iso",
            "source and 19 more",
            "destination bob:",
            "bytes 500 B of 1000 B",
            "policy fair",
            "limit none",
            "created 1970-01-01T00:00:00.000Z",
            "error bob does not answer. (unreachable, exit code 68)",
            "remedy Check it.",
        ] {
            assert!(text.iter().any(|line| line == part), "{part}: {text:?}");
        }
    }
}
