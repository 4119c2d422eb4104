//! `udpxctl stats`: the daemon's sessions and counters.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use udpx_control::schema::{DaemonReport, Event, LimitReport, Reply, Row, SessionReport, Stats};

use crate::args::{AskArgs, Output};
use crate::failure::Failure;
use crate::{ask, escape, jsonl, say, table, units};

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: AskArgs, output: Output) -> Result<(), Failure> {
    let mut client = ask::connect(args.socket)?;
    let mut sessions = Vec::new();
    let reply = ask::call(&mut client, Stats {}, |event| {
        if let Event::Session(session) = event {
            sessions.push(session);
        }
    })?;
    let Reply::Stats(report) = reply else { return Err(ask::unexpected()) };
    if output.json {
        sessions.iter().for_each(|session| jsonl::emit("session", ask::fields(session)));
        let mut fields = jsonl::Fields::new();
        fields.insert("ok".into(), true.into());
        fields.insert("daemon".into(), ask::fields(&*report).into());
        jsonl::emit_last("summary", fields)
    } else {
        say(&text(&report, &sessions))
    }
}

fn text(report: &DaemonReport, sessions: &[SessionReport]) -> String {
    let mut text = format!(
        "up {}; sessions: {}; clients of the control socket: {}\n\n",
        units::whole_seconds(Duration::from_micros(report.uptime_us)),
        report.sessions,
        report.connections,
    );
    text.push_str(&format!("limit of everything: {}\n\n", limit(&report.limit, SystemTime::now())));
    if !sessions.is_empty() {
        let head = ["peer", "address", "age", "streams", "rate", "rtt"].map(str::to_owned).to_vec();
        let lines: Vec<_> = [head].into_iter().chain(sessions.iter().map(session)).collect();
        text.push_str(&table::aligned(&lines, 2));
        text.push('\n');
    }
    let head = ["", "packets", "wire bytes", "payload bytes", "retransmitted", "duplicates"];
    let lines =
        [head.map(str::to_owned).to_vec(), row("received", &report.received), row("sent", &report.sent)];
    text.push_str(&table::aligned(&lines, 1));
    text.push('\n');
    let sockets = &report.sockets;
    let counted = [
        ("socket_send_calls", sockets.send_calls),
        ("socket_sent_trains", sockets.sent_trains),
        ("socket_sent_datagrams", sockets.sent_datagrams),
        ("socket_dropped_datagrams", sockets.dropped_datagrams),
        ("socket_receive_calls", sockets.receive_calls),
        ("socket_received_buffers", sockets.received_buffers),
        ("socket_received_datagrams", sockets.received_datagrams),
    ];
    let named = report.counters.iter().map(|counter| (counter.name.as_str(), counter.value));
    let lines: Vec<_> =
        named.chain(counted).map(|(name, value)| vec![escape::text(name), units::count(value)]).collect();
    text.push_str(&table::aligned(&lines, 1));
    text
}

/// What everything together may move: the rate, who says so, and for how long.
pub(crate) fn limit(limit: &LimitReport, now: SystemTime) -> String {
    let mut text = limit.rate_bps.map_or_else(|| "none".to_owned(), |bps| units::bit_rate(bps as f64));
    if limit.command_bps.is_some() && limit.command_bps == limit.rate_bps {
        text.push_str(", by command");
    } else if let Some(entry) = &limit.entry {
        text.push_str(&format!(", by the timetable's {:?}", escape::text(entry)));
    }
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Some(left) = limit.until_unix_ms.and_then(|until| Duration::from_millis(until).checked_sub(now)) {
        text.push_str(&format!("; the timetable changes it in {}", units::whole_seconds(left)));
    }
    text
}

fn session(session: &SessionReport) -> Vec<String> {
    vec![
        escape::text(&session.peer),
        escape::text(&session.address),
        units::whole_seconds(Duration::from_micros(session.age_us)),
        session.streams.to_string(),
        units::bit_rate(session.rate_bps as f64),
        units::time(Duration::from_micros(session.rtt_us)),
    ]
}

fn row(name: &str, row: &Row) -> Vec<String> {
    let counts = [row.packets, row.wire_bytes, row.payload_bytes, row.retransmitted, row.duplicates];
    [name.to_owned()].into_iter().chain(counts.map(units::count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_says_who_and_for_how_long() {
        let now = UNIX_EPOCH + Duration::from_secs(1000);
        let told = |rate_bps, entry: Option<&str>, until_unix_ms, command_bps| {
            let report =
                LimitReport { rate_bps, entry: entry.map(str::to_owned), until_unix_ms, command_bps };
            limit(&report, now)
        };
        assert_eq!(told(None, None, None, None), "none");
        assert_eq!(told(Some(1_000_000), None, None, Some(1_000_000)), "1.00 Mbit/s, by command");
        assert_eq!(
            told(Some(1_000_000), Some("daily 08:00-18:00 1mbit"), Some(1_060_000), Some(2_000_000)),
            "1.00 Mbit/s, by the timetable's \"daily 08:00-18:00 1mbit\"; the timetable changes it in 1 min 0 s"
        );
        assert_eq!(told(None, None, Some(1_005_000), None), "none; the timetable changes it in 5 s");
    }
}
