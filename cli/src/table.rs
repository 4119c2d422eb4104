//! The summary for people: a row for each stream, one for control packets, and the totals that they sum to.

use std::time::Duration;

use udpxd::report::{FileSummary, Row, Summary};

use crate::{escape, units};

/// The lines at the end of a push or a pull; `place` stands before the paths.
pub(crate) fn summary(place: &str, summary: &Summary) -> String {
    let mut text = String::new();
    if summary.files.len() > ROWS_MAX {
        text = format!(
            "{} {} files, {} in {}, {}\n",
            escape::text(place),
            units::count(summary.files.len() as u64),
            units::size(summary.bytes),
            units::time(Duration::try_from_secs_f64(summary.seconds).unwrap_or_default()),
            units::rate(summary.goodput()),
        );
    }
    for file in summary.files.iter().filter(|_| summary.files.len() <= ROWS_MAX) {
        text.push_str(&self::file(place, file, &escape::path(&file.path)));
    }
    format!("{text}\n{}{}\n", rows(summary), path(summary))
}

/// The lines about one file, which is shown as `path`.
pub(crate) fn file(place: &str, file: &FileSummary, path: &str) -> String {
    let place = escape::text(place);
    if file.skipped {
        return format!("{place}{path}  was there and was left\n");
    }
    format!(
        "{place}{path}  {} in {}, {}\n  blake3 {}\n",
        units::size(file.bytes),
        units::time(Duration::try_from_secs_f64(file.seconds).unwrap_or_default()),
        units::rate(if file.seconds > 0.0 { file.bytes as f64 / file.seconds } else { 0.0 }),
        file.digest_hex(),
    )
}

/// One line about the way that the packets went.
pub(crate) fn path(summary: &Summary) -> String {
    format!(
        "rtt min {}, mean {}; {} packets taken for lost; datagrams of {} bytes",
        units::time(Duration::from_micros(summary.rtt_min_us)),
        units::time(Duration::from_micros(summary.rtt_mean_us)),
        units::count(summary.lost),
        units::count(summary.datagram.into()),
    )
}

const HEAD: [&str; 11] = [
    "stream",
    "packets",
    "frames",
    "wire bytes",
    "payload bytes",
    "seconds",
    "wire/s",
    "payload/s",
    "packets/s",
    "retransmitted",
    "duplicates",
];

/// The table. Of more streams than [`ROWS_MAX`] only the slowest are shown.
pub(crate) fn rows(summary: &Summary) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    let mut shown: Vec<&Row> = summary.streams.iter().collect();
    let mut rest = String::new();
    if shown.len() > ROWS_MAX {
        shown.sort_by(|a, b| a.payload_rate().total_cmp(&b.payload_rate()));
        shown.truncate(SLOWEST);
        rest = format!(
            "the {SLOWEST} slowest of {} streams; --json has all of them\n",
            units::count(summary.streams.len() as u64)
        );
    }
    for row in shown {
        lines.push(cells(&row.stream.map_or_else(|| "-".into(), |number| number.to_string()), row));
    }
    lines.push(cells("control", &summary.control));
    lines.push(cells("total", &summary.total));
    rest + &aligned(&lines, 1)
}

/// The table of one file, as its receiver saw it. Packets without file data are the session's, not the file's.
pub(crate) fn file_rows(streams: &[Row]) -> String {
    let seconds = streams.iter().map(|row| row.seconds).fold(0.0, f64::max);
    let mut total = Row { seconds, ..Row::default() };
    streams.iter().for_each(|row| total += row);
    let mut lines = vec![HEAD.map(str::to_owned)];
    let name = |row: &Row| row.stream.map_or_else(|| "-".into(), |number| number.to_string());
    lines.extend(streams.iter().map(|row| cells(&name(row), row)));
    lines.push(cells("total", &total));
    aligned(&lines, 1)
}

/// Cells in columns: the first `names` of them begin, and the others end, below each other.
pub(crate) fn aligned(lines: &[impl AsRef<[String]>], names: usize) -> String {
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.as_ref().get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let columns = lines.iter().map(|line| line.as_ref().len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        for (column, (cell, &width)) in line.as_ref().iter().zip(&widths).enumerate() {
            text.push_str(if column == 0 { "" } else { "  " });
            match column < names {
                true => text.push_str(&format!("{cell:<width$}")),
                false => text.push_str(&format!("{cell:>width$}")),
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

/// Files and streams with a line each; of more there are totals.
const ROWS_MAX: usize = 20;
/// Streams that are shown of more.
const SLOWEST: usize = 5;

fn cells(name: &str, row: &Row) -> [String; 11] {
    [
        name.to_owned(),
        units::count(row.packets),
        units::count(row.frames),
        units::count(row.wire_bytes),
        units::count(row.payload_bytes),
        format!("{:.3}", row.seconds),
        units::rate(row.wire_rate()),
        units::rate(row.payload_rate()),
        units::count(row.packet_rate().round() as u64),
        units::count(row.retransmitted),
        units::count(row.duplicates),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let row = |stream, packets| Row {
            stream,
            packets,
            wire_bytes: packets * 1000,
            seconds: 2.0,
            ..Row::default()
        };
        let report = Summary {
            streams: vec![row(Some(1), 1_000_000), row(Some(2), 9)],
            control: row(None, 12),
            total: row(None, 1_000_021),
            ..Summary::default()
        };
        let text = rows(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5);
        assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert!(lines[1].starts_with("1        1,000,000") && lines[4].starts_with("total"), "{text}");
    }

    #[test]
    fn of_many_streams_the_slowest_are_shown() {
        let row = |number: u32| Row {
            stream: Some(number),
            payload_bytes: u64::from(1000 - number),
            seconds: 1.0,
            ..Row::default()
        };
        let streams: Vec<Row> = (1..=21).map(row).collect();
        let few = Summary { streams: streams[1..].to_vec(), ..Summary::default() };
        assert_eq!(rows(&few).lines().count(), 23);
        let text = rows(&Summary { streams, ..Summary::default() });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "the 5 slowest of 21 streams; --json has all of them");
        assert_eq!(lines.len(), 9, "{text}");
        assert!(lines[2].starts_with("21 ") && lines[6].starts_with("17 "), "{text}");
    }
}
