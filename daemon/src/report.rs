//! What is said about transfers to people and programs: plain structures without any reference to the engine.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::AddAssign;
use std::path::PathBuf;
use std::time::Duration;

use udpx_proto::{Code, DropReason, SessionStats, StreamStats};
use udpx_udp::SyscallCounters;

/// Why a job failed.
#[derive(Clone, PartialEq, Debug)]
pub struct JobError {
    /// The stable code; [`Code::exit`] is what a command exits with.
    pub code: Code,
    /// What happened, without a full stop. Parts of it may come from the peer: escape it before it is shown.
    pub text: String,
    /// What to do about it, as a sentence.
    pub remedy: String,
    /// What was done all the same, where some of several files arrived.
    pub summary: Option<Box<Summary>>,
}

impl JobError {
    /// An error with what to do about it.
    #[must_use]
    pub fn new(code: Code, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, text: text.into(), remedy: remedy.into(), summary: None }
    }

    /// An error with the remedy that belongs to its code.
    #[must_use]
    pub fn with_remedy(code: Code, text: impl Into<String>) -> Self {
        Self::new(code, text, code.remedy())
    }

    /// The end of something that was stopped for this reason, and did not fail.
    #[must_use]
    pub fn ended(code: Code) -> Self {
        Self::with_remedy(code, with_first(code.text().trim_end_matches('.'), char::to_ascii_lowercase))
    }

    /// Takes a sentence of the form "what happened; what to do." apart. One that does not say what to do gets the
    /// remedy of its code.
    #[must_use]
    pub fn told(code: Code, sentence: &str) -> Self {
        let sentence = sentence.trim_end();
        let imperative =
            || ["check", "start", "install"].iter().find_map(|verb| sentence.find(&format!(": {verb} ")));
        let (text, remedy) = match sentence.rsplit_once("; ") {
            Some((text, remedy)) => (text, Some(remedy)),
            None => match imperative() {
                Some(colon) => (&sentence[..colon], Some(&sentence[colon + 2..])),
                None => (sentence, None),
            },
        };
        let text = with_first(text.trim_end_matches('.'), char::to_ascii_lowercase);
        match remedy {
            Some(remedy) => Self::new(code, text, with_first(remedy, char::to_ascii_uppercase)),
            None => Self::with_remedy(code, text),
        }
    }
}

impl fmt::Display for JobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if !self.remedy.is_empty() {
            write!(f, ". {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for JobError {}

/// The text with another first letter; a word in capitals stays as it is.
fn with_first(text: &str, change: fn(&char) -> char) -> String {
    let mut letters = text.chars();
    match letters.next() {
        Some(first) if !letters.clone().next().is_some_and(|second| second.is_ascii_uppercase()) => {
            std::iter::once(change(&first)).chain(letters).collect()
        }
        _ => text.to_owned(),
    }
}

/// Counters of one stream, of the control packets, or of everything.
#[derive(Copy, Clone, PartialEq, Debug, Default)]
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
    /// Packets that carried bytes sent before.
    pub retransmitted: u64,
    /// Stream bytes sent again.
    pub retransmitted_bytes: u64,
    /// Packets that arrived without anything new: known at a receiver only.
    pub duplicates: u64,
    /// From the opening of the stream until its last byte was acknowledged (at a receiver: received), seconds.
    pub seconds: f64,
}

impl Row {
    /// The row of one stream, or of the control packets.
    #[must_use]
    pub fn of(stream: Option<u32>, stats: &StreamStats, took: Duration) -> Self {
        Self {
            stream,
            packets: stats.packets,
            frames: stats.frames,
            wire_bytes: stats.wire_bytes,
            payload_bytes: stats.payload_bytes,
            retransmitted: stats.retransmitted_packets,
            retransmitted_bytes: stats.retransmitted_bytes,
            duplicates: stats.duplicate_packets,
            seconds: took.as_secs_f64(),
        }
    }

    /// Wire bytes a second.
    #[must_use]
    pub fn wire_rate(&self) -> f64 {
        rate(self.wire_bytes, self.seconds)
    }

    /// Payload bytes a second.
    #[must_use]
    pub fn payload_rate(&self) -> f64 {
        rate(self.payload_bytes, self.seconds)
    }

    /// Packets a second.
    #[must_use]
    pub fn packet_rate(&self) -> f64 {
        rate(self.packets, self.seconds)
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

fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// What a session has counted so far: what a job looks like over time is made of it.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Datagram bytes sent and received, UDP and IP headers left out.
    pub wire_bytes: u64,
    /// Packets sent.
    pub packets: u64,
    /// Of those, packets taken for lost.
    pub lost: u64,
    /// Packets sent that carried bytes sent before.
    pub retransmitted: u64,
}

impl Traffic {
    pub(crate) fn of(stats: &SessionStats) -> Self {
        Self {
            wire_bytes: stats.sent_bytes + stats.received_bytes,
            packets: stats.sent_packets,
            lost: stats.lost_packets,
            retransmitted: stats.retransmitted_packets,
        }
    }

    /// What came since `before`; `None` if that is of another session.
    pub(crate) fn checked_sub(&self, before: &Self) -> Option<Self> {
        Some(Self {
            wire_bytes: self.wire_bytes.checked_sub(before.wire_bytes)?,
            packets: self.packets.checked_sub(before.packets)?,
            lost: self.lost.checked_sub(before.lost)?,
            retransmitted: self.retransmitted.checked_sub(before.retransmitted)?,
        })
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.wire_bytes += other.wire_bytes;
        self.packets += other.packets;
        self.lost += other.lost;
        self.retransmitted += other.retransmitted;
    }
}

/// What a socket did: how well batching works.
#[derive(Copy, Clone, PartialEq, Eq, Debug, Default)]
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

impl SocketReport {
    /// What was done since `before`, of the same socket.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            send_calls: self.send_calls - before.send_calls,
            sent_trains: self.sent_trains - before.sent_trains,
            sent_datagrams: self.sent_datagrams - before.sent_datagrams,
            dropped_datagrams: self.dropped_datagrams - before.dropped_datagrams,
            receive_calls: self.receive_calls - before.receive_calls,
            received_buffers: self.received_buffers - before.received_buffers,
            received_datagrams: self.received_datagrams - before.received_datagrams,
        }
    }
}

impl From<SyscallCounters> for SocketReport {
    fn from(counters: SyscallCounters) -> Self {
        Self {
            send_calls: counters.sendmmsg_calls,
            sent_trains: counters.sent_trains,
            sent_datagrams: counters.sent_datagrams,
            dropped_datagrams: counters.dropped_datagrams,
            receive_calls: counters.recvmmsg_calls,
            received_buffers: counters.received_buffers,
            received_datagrams: counters.received_datagrams,
        }
    }
}

impl AddAssign for SocketReport {
    fn add_assign(&mut self, other: Self) {
        self.send_calls += other.send_calls;
        self.sent_trains += other.sent_trains;
        self.sent_datagrams += other.sent_datagrams;
        self.dropped_datagrams += other.dropped_datagrams;
        self.receive_calls += other.receive_calls;
        self.received_buffers += other.received_buffers;
        self.received_datagrams += other.received_datagrams;
    }
}

/// What one lane of a session carried.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct LaneRow {
    /// Packets sent.
    pub sent: u64,
    /// Packets received.
    pub received: u64,
}

impl LaneRow {
    /// Of all lanes that have carried something.
    pub(crate) fn of(stats: &SessionStats) -> Vec<Self> {
        let rows =
            stats.lanes.iter().map(|lane| Self { sent: lane.sent_packets, received: lane.received_packets });
        rows.filter(|row| row.sent + row.received > 0).collect()
    }
}

/// What sessions sent and received, control packets included.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct SessionCounters {
    /// All that was sent.
    pub sent: Row,
    /// All that was received; frames are not counted there.
    pub received: Row,
    /// Datagrams that were not accepted, by the names of their reasons.
    pub drops: BTreeMap<&'static str, u64>,
}

impl SessionCounters {
    pub(crate) fn of(stats: &SessionStats) -> Self {
        let sent = Row {
            packets: stats.sent_packets,
            frames: stats.sent_frames,
            wire_bytes: stats.sent_bytes,
            payload_bytes: stats.unique_bytes_sent + stats.retransmitted_bytes + stats.copied_bytes,
            retransmitted: stats.retransmitted_packets,
            retransmitted_bytes: stats.retransmitted_bytes,
            ..Row::default()
        };
        let received = Row {
            packets: stats.received_packets,
            wire_bytes: stats.received_bytes,
            payload_bytes: stats.unique_bytes_received,
            duplicates: stats.drops.get(DropReason::Duplicate),
            ..Row::default()
        };
        let drops = stats.drops.iter().map(|(reason, count)| (reason.label(), count)).collect();
        Self { sent, received, drops }
    }
}

impl AddAssign<&SessionCounters> for SessionCounters {
    fn add_assign(&mut self, other: &SessionCounters) {
        self.sent += &other.sent;
        self.received += &other.received;
        for (reason, count) in &other.drops {
            *self.drops.entry(reason).or_default() += count;
        }
    }
}

/// One session of a daemon, at one moment.
#[derive(Clone, PartialEq, Debug)]
pub struct SessionTally {
    /// Names the session for as long as the daemon lives.
    pub session: u64,
    /// The peer's name.
    pub peer: String,
    /// Where the peer is now.
    pub address: SocketAddr,
    /// What it has done so far.
    pub counters: SessionCounters,
    /// Smoothed round trip, microseconds.
    pub rtt_us: u64,
    /// Share of the sent packets that were taken for lost, 0 to 1.
    pub loss: f64,
    /// Datagram bytes of a full packet.
    pub datagram: u16,
    /// Streams that are open, both ways.
    pub streams: u32,
    /// Bulk data goes unencrypted.
    pub plain: bool,
    /// Files that the peer has begun to put here.
    pub unfinished: u32,
    /// Bytes that these take here, or will where their size is known.
    pub unfinished_bytes: u64,
}

impl SessionTally {
    pub(crate) fn of(session: u64, peer: &str, address: SocketAddr, stats: &SessionStats) -> Self {
        Self {
            session,
            peer: peer.into(),
            address,
            counters: SessionCounters::of(stats),
            rtt_us: stats.rtt_smoothed_ns / 1000,
            loss: stats.lost_packets as f64 / stats.sent_packets.max(1) as f64,
            datagram: stats.datagram,
            streams: 0,
            plain: false,
            unfinished: 0,
            unfinished_bytes: 0,
        }
    }
}

/// What a daemon has counted, at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tally {
    /// The listening sockets.
    pub sockets: SocketReport,
    /// The sessions that are open.
    pub sessions: Vec<SessionTally>,
}

/// One file that arrived.
#[derive(Clone, PartialEq, Debug)]
pub struct FileSummary {
    /// Its place in the request; 0 at a receiver.
    pub file: usize,
    /// Its path as the receiver resolved it.
    pub path: PathBuf,
    /// Bytes.
    pub bytes: u64,
    /// BLAKE3 of its content, which both ends agree on.
    pub digest: [u8; 32],
    /// It was there already and was left.
    pub skipped: bool,
    /// From the request until it was durable, seconds.
    pub seconds: f64,
    /// Bytes that the receiver read back from its disk to verify them.
    pub reread_bytes: u64,
    /// One row per stream.
    pub rows: Vec<Row>,
}

impl FileSummary {
    /// The digest in hex.
    #[must_use]
    pub fn digest_hex(&self) -> String {
        crate::identity::hex(&self.digest)
    }
}

/// What a push did.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Summary {
    /// The files that arrived, in the order in which they did.
    pub files: Vec<FileSummary>,
    /// Bytes of those files.
    pub bytes: u64,
    /// From the first packet until the last file was durable, seconds.
    pub seconds: f64,
    /// One row per stream, in the order in which they were finished; the numbers are counted from 1.
    pub streams: Vec<Row>,
    /// Packets without file data.
    pub control: Row,
    /// The sum of all rows.
    pub total: Row,
    /// Packets that the sender took for lost.
    pub lost: u64,
    /// Least round trip, microseconds.
    pub rtt_min_us: u64,
    /// Mean round trip, microseconds.
    pub rtt_mean_us: u64,
    /// Datagram bytes of a full packet at the end.
    pub datagram: u16,
    /// Sessions that were needed.
    pub sessions: u32,
    /// The sockets of the last one.
    pub socket: SocketReport,
    /// The lanes of the last one.
    pub lanes: Vec<LaneRow>,
}

impl Summary {
    /// Bytes of files a second, from beginning to end.
    #[must_use]
    pub fn goodput(&self) -> f64 {
        rate(self.bytes, self.seconds)
    }

    /// Adds a file that arrived. Its streams get the next numbers.
    pub(crate) fn add_file(&mut self, mut file: FileSummary) {
        self.bytes += file.bytes;
        for row in &mut file.rows {
            row.stream = Some(self.streams.len() as u32 + 1);
            self.streams.push(*row);
        }
        self.files.push(file);
    }

    /// Makes the totals fit the rows, once all of them are there.
    pub(crate) fn close(&mut self) {
        let mut total = Row { seconds: self.seconds, ..Row::default() };
        self.control.seconds = self.seconds;
        self.streams.iter().chain([&self.control]).for_each(|row| total += row);
        self.total = total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sentence_is_taken_apart() {
        for (sentence, text, remedy) in [
            ("The disk is full; free some space.", "the disk is full", "Free some space."),
            ("UDP is blocked: check the firewall.", "UDP is blocked", "Check the firewall."),
            ("\"a; b\" is a directory; name a file.", "\"a; b\" is a directory", "Name a file."),
            ("It took too long.", "it took too long", Code::TryAgain.remedy()),
            ("", "", Code::TryAgain.remedy()),
        ] {
            let error = JobError::told(Code::TryAgain, sentence);
            assert_eq!((error.text.as_str(), error.remedy.as_str()), (text, remedy), "{sentence}");
        }
    }

    #[test]
    fn rows_sum_to_the_total() {
        let row = |packets, bytes| Row { packets, wire_bytes: bytes, seconds: 1.0, ..Row::default() };
        let mut summary = Summary { seconds: 2.0, control: row(3, 300), ..Summary::default() };
        for rows in [vec![row(10, 1000), row(20, 2000)], vec![row(1, 100)]] {
            summary.add_file(FileSummary {
                file: 0,
                path: "f".into(),
                bytes: 7,
                digest: [0; 32],
                skipped: false,
                seconds: 1.0,
                reread_bytes: 0,
                rows,
            });
        }
        summary.close();
        assert_eq!((summary.total.packets, summary.total.wire_bytes, summary.bytes), (34, 3400, 14));
        assert_eq!(
            summary.streams.iter().map(|row| row.stream).collect::<Vec<_>>(),
            [Some(1), Some(2), Some(3)]
        );
        assert!((summary.total.wire_rate() - 1700.0).abs() < 1e-9);
    }
}
