//! Tables of counters. Rates are computed where a row is written, and rows are summed where a table is made: neither can
//! disagree with what it is made of.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use super::{Event, finite};
use crate::limits::ROWS_PER_FRAME_MAX;

/// Counters of one stream, of the control packets, or of everything. JSON has the rates too.
#[derive(Copy, Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Columns", into = "Columns")]
pub struct Row {
    /// Number of the stream; `None` for control packets and totals.
    pub stream: Option<u32>,
    /// Packets sent (at a receiver: received).
    pub packets: u64,
    /// Frames in them.
    pub frames: u64,
    /// Datagram bytes of those packets, UDP and IP headers left out.
    pub wire_bytes: u64,
    /// Stream bytes in them, copies included.
    pub payload_bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Packets that carried bytes sent before.
    pub retransmitted: u64,
    /// Stream bytes sent again.
    pub retransmitted_bytes: u64,
    /// Packets that arrived without anything new: known at a receiver only.
    pub duplicates: u64,
}

/// A row as it is written.
#[derive(Serialize, Deserialize)]
struct Columns {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<u32>,
    packets: u64,
    frames: u64,
    wire_bytes: u64,
    payload_bytes: u64,
    #[serde(serialize_with = "finite")]
    seconds: f64,
    #[serde(default)]
    wire_bps: u64,
    #[serde(default)]
    payload_bps: u64,
    #[serde(default)]
    packets_per_second: u64,
    retransmitted: u64,
    retransmitted_bytes: u64,
    duplicates: u64,
}

impl Row {
    /// Wire bytes a second.
    #[must_use]
    pub fn wire_rate(&self) -> f64 {
        self.rate(self.wire_bytes)
    }

    /// Payload bytes a second.
    #[must_use]
    pub fn payload_rate(&self) -> f64 {
        self.rate(self.payload_bytes)
    }

    /// Packets a second.
    #[must_use]
    pub fn packet_rate(&self) -> f64 {
        self.rate(self.packets)
    }

    fn rate(&self, count: u64) -> f64 {
        if self.seconds > 0.0 { count as f64 / self.seconds } else { 0.0 }
    }
}

/// Adds everything but the time, which runs in parallel.
impl AddAssign<&Row> for Row {
    fn add_assign(&mut self, other: &Row) {
        self.packets += other.packets;
        self.frames += other.frames;
        self.wire_bytes += other.wire_bytes;
        self.payload_bytes += other.payload_bytes;
        self.retransmitted += other.retransmitted;
        self.retransmitted_bytes += other.retransmitted_bytes;
        self.duplicates += other.duplicates;
    }
}

impl From<Row> for Columns {
    fn from(row: Row) -> Self {
        Self {
            stream: row.stream,
            packets: row.packets,
            frames: row.frames,
            wire_bytes: row.wire_bytes,
            payload_bytes: row.payload_bytes,
            seconds: row.seconds,
            wire_bps: (row.wire_rate() * 8.0).round() as u64,
            payload_bps: (row.payload_rate() * 8.0).round() as u64,
            packets_per_second: row.packet_rate().round() as u64,
            retransmitted: row.retransmitted,
            retransmitted_bytes: row.retransmitted_bytes,
            duplicates: row.duplicates,
        }
    }
}

impl From<Columns> for Row {
    fn from(columns: Columns) -> Self {
        Self {
            stream: columns.stream,
            packets: columns.packets,
            frames: columns.frames,
            wire_bytes: columns.wire_bytes,
            payload_bytes: columns.payload_bytes,
            seconds: columns.seconds,
            retransmitted: columns.retransmitted,
            retransmitted_bytes: columns.retransmitted_bytes,
            duplicates: columns.duplicates,
        }
    }
}

/// What a job did: a row for each stream, one for control packets, and their sum.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct StatsReport {
    /// One row for each stream. Rows that do not fit came in `rows` events before; [`StatsReport::add_rows`] puts
    /// them back.
    pub streams: Vec<Row>,
    /// Packets without file data.
    pub control: Row,
    /// The sum of all rows, those in events included.
    pub total: Row,
    /// Packets that the sender took for lost.
    pub lost: u64,
    /// Least round trip, microseconds.
    pub rtt_min_us: u64,
    /// Mean round trip, microseconds.
    pub rtt_mean_us: u64,
    /// UDP payload of a full packet at the end.
    pub datagram_bytes: u32,
    /// Sessions that were needed.
    pub sessions: u32,
}

impl StatsReport {
    /// A table whose total is the sum of its rows over `seconds`.
    #[must_use]
    pub fn of_rows(streams: Vec<Row>, control: Row, seconds: f64) -> Self {
        let mut total = Row { seconds, ..Row::default() };
        streams.iter().chain([&control]).for_each(|row| total += row);
        Self { streams, control, total, ..Self::default() }
    }

    /// Takes out the rows that do not fit into one frame, as events to be sent before it.
    pub fn split_rows(&mut self, job: u64) -> Vec<Event> {
        let beyond = self.streams.len().saturating_sub(ROWS_PER_FRAME_MAX);
        let first: Vec<Row> = self.streams.drain(..beyond).collect();
        first.chunks(ROWS_PER_FRAME_MAX).map(|rows| Event::Rows { job, rows: rows.to_vec() }).collect()
    }

    /// Puts rows of events before those that are here.
    pub fn add_rows(&mut self, rows: Vec<Row>) {
        self.streams.splice(..0, rows);
    }
}

/// What sockets did: how well batching works.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SocketReport {
    /// Calls of `sendmmsg`.
    pub send_calls: u64,
    /// Trains (GSO messages and single packets) that were sent.
    pub sent_trains: u64,
    /// Datagrams that were sent.
    pub sent_datagrams: u64,
    /// Datagrams that the kernel did not take.
    pub dropped_datagrams: u64,
    /// Calls of `recvmmsg`, those that found nothing included.
    pub receive_calls: u64,
    /// Buffers (GRO aggregates and single packets) that were filled.
    pub received_buffers: u64,
    /// Datagrams in them.
    pub received_datagrams: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stream: u32) -> Row {
        Row { stream: Some(stream), packets: 10, wire_bytes: 1000, seconds: 2.0, ..Row::default() }
    }

    #[test]
    fn json_has_rates_and_no_infinity() {
        let json = serde_json::to_value(row(1)).unwrap();
        assert_eq!((&json["wire_bps"], &json["packets_per_second"]), (&4000.into(), &5.into()));
        for seconds in [0.0, f64::NAN, f64::INFINITY] {
            let json = serde_json::to_value(Row { seconds, ..row(1) }).unwrap();
            assert_eq!((&json["wire_bps"], &json["seconds"]), (&0.into(), &0.0.into()), "{seconds}");
        }
    }

    #[test]
    fn rows_sum_to_the_total_and_survive_being_split() {
        let streams: Vec<Row> = (0..5000).map(row).collect();
        let whole = StatsReport::of_rows(streams, row(0), 3.0);
        assert_eq!((whole.total.packets, whole.total.wire_bytes), (50_010, 5_001_000));
        let mut last = whole.clone();
        let events = last.split_rows(7);
        assert_eq!((events.len(), last.streams.len()), (4, ROWS_PER_FRAME_MAX));
        let mut rows = Vec::new();
        for event in events {
            let Event::Rows { job: 7, rows: more } = event else { panic!("{event:?}") };
            assert!(more.len() <= ROWS_PER_FRAME_MAX);
            rows.extend(more);
        }
        last.add_rows(rows);
        assert_eq!(last, whole);
    }
}
