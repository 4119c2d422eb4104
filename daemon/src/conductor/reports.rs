//! What calls and sessions tell, as the schema of the control socket says it.

use udpx_control::Name;
use udpx_control::schema::{Entry, EntryKind, ErrorReport, FileReport, PingReport, Policy, Row, StatsReport};
use udpx_proto::{Code, RatePolicy};

use crate::calls::PingSummary;
use crate::report::{self, FileSummary, JobError, Summary};
use crate::storage::listing;

/// An error of the one table.
pub(super) fn error(code: Code, text: impl Into<String>, remedy: impl Into<String>) -> ErrorReport {
    ErrorReport::new((code.number(), code.kind()), text, remedy)
}

/// Why a call failed.
#[must_use]
pub fn error_of(failed: &JobError) -> ErrorReport {
    error(failed.code, failed.text.clone(), failed.remedy.clone())
}

pub(super) fn row(row: &report::Row) -> Row {
    Row {
        stream: row.stream,
        packets: row.packets,
        frames: row.frames,
        wire_bytes: row.wire_bytes,
        payload_bytes: row.payload_bytes,
        seconds: row.seconds,
        retransmitted: row.retransmitted,
        retransmitted_bytes: row.retransmitted_bytes,
        duplicates: row.duplicates,
    }
}

/// A row that the schema tells, as an engine of this process reports it.
#[must_use]
pub fn row_of(told: &Row) -> report::Row {
    report::Row {
        stream: told.stream,
        packets: told.packets,
        frames: told.frames,
        wire_bytes: told.wire_bytes,
        payload_bytes: told.payload_bytes,
        retransmitted: told.retransmitted,
        retransmitted_bytes: told.retransmitted_bytes,
        duplicates: told.duplicates,
        seconds: told.seconds,
    }
}

/// A file of a job that is durable at its receiver.
#[must_use]
pub fn file(job: u64, name: &Name, file: &FileSummary) -> FileReport {
    FileReport {
        job,
        name: name.clone(),
        path: Some(file.path.clone().into()),
        bytes: file.bytes,
        digest: if file.skipped { String::new() } else { file.digest_hex() },
        skipped: file.skipped,
        seconds: file.seconds,
        reread_bytes: file.reread_bytes,
        error: None,
    }
}

/// A file of a job that is not.
#[must_use]
pub fn failed_file(job: u64, name: &Name, failed: &JobError) -> FileReport {
    FileReport {
        job,
        name: name.clone(),
        path: None,
        bytes: 0,
        digest: String::new(),
        skipped: false,
        seconds: 0.0,
        reread_bytes: 0,
        error: Some(error_of(failed)),
    }
}

/// Adds what one try of a job did to what those before it have done: the rows go on counting.
#[must_use]
pub fn add_stats(before: Option<&StatsReport>, done: &Summary) -> StatsReport {
    let mut streams = before.map(|stats| stats.streams.clone()).unwrap_or_default();
    for new in &done.streams {
        streams.push(Row { stream: Some(streams.len() as u32 + 1), ..row(new) });
    }
    let mut control = row(&done.control);
    if let Some(before) = before {
        control += &before.control;
        control.seconds += before.control.seconds;
    }
    let seconds = done.seconds + before.map_or(0.0, |stats| stats.total.seconds);
    let least = before.map(|stats| stats.rtt_min_us).filter(|&least| least > 0);
    StatsReport {
        lost: done.lost + before.map_or(0, |stats| stats.lost),
        rtt_min_us: least.map_or(done.rtt_min_us, |least| match done.rtt_min_us {
            0 => least,
            new => new.min(least),
        }),
        rtt_mean_us: match done.rtt_mean_us {
            0 => before.map_or(0, |stats| stats.rtt_mean_us),
            new => new,
        },
        datagram_bytes: done.datagram.into(),
        sessions: done.sessions + before.map_or(0, |stats| stats.sessions),
        ..StatsReport::of_rows(streams, control, seconds)
    }
}

/// How a session is to share its path.
pub(super) fn policy(policy: Policy) -> RatePolicy {
    match policy {
        Policy::Fair => RatePolicy::Adaptive,
        Policy::Low => RatePolicy::Low,
        Policy::Fixed { rate_bps } => RatePolicy::Fixed { bps: rate_bps as f64 },
    }
}

/// An entry of a directory.
pub fn entry(entry: listing::Entry) -> Entry {
    let kind = match entry.kind {
        listing::EntryKind::File => EntryKind::File,
        listing::EntryKind::Directory => EntryKind::Directory,
        listing::EntryKind::Other => EntryKind::Other,
    };
    let mtime_ns = match entry.modified.duration_since(std::time::UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_nanos()).map_or(i64::MIN, |ns| -ns),
    };
    // The modes of a peer's files are not told over the wire.
    Entry { name: std::path::PathBuf::from(entry.name).into(), kind, bytes: entry.size, mode: 0, mtime_ns }
}

/// What came of echoes.
pub fn ping(summary: &PingSummary) -> PingReport {
    let (rtt_min_us, rtt_mean_us, rtt_max_us) = summary.rtt_us().unwrap_or_default();
    let (sent, received) = (summary.sent, summary.received);
    PingReport { sent, received, rtt_min_us, rtt_mean_us, rtt_max_us }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_several_tries_sum_to_the_total() {
        let row = |packets| report::Row { packets, wire_bytes: 10, ..report::Row::default() };
        let mut first =
            Summary { seconds: 1.0, control: row(2), lost: 1, rtt_min_us: 50, ..Summary::default() };
        first.streams = vec![row(7), row(8)];
        let mut second = Summary { seconds: 2.0, control: row(3), sessions: 2, ..Summary::default() };
        second.streams = vec![row(9)];
        let stats = add_stats(Some(&add_stats(None, &first)), &second);
        assert_eq!((stats.total.packets, stats.control.packets, stats.lost), (29, 5, 1));
        assert_eq!(
            stats.streams.iter().map(|row| row.stream).collect::<Vec<_>>(),
            [Some(1), Some(2), Some(3)]
        );
        assert_eq!((stats.total.seconds, stats.rtt_min_us, stats.sessions), (3.0, 50, 2));
    }
}
