//! A job as it is kept: everything that it takes to go on with it after a restart, and to tell about it afterwards.
//!
//! A record is written as JSON. The schema of the control socket, of which it is made, needs a format that describes
//! itself (flattened and tagged fields), and a file that people can look into is worth its few bytes more. The outcomes
//! of files are rows of their own in the [`ledger`](super::ledger): a job of twenty thousand files must not be written
//! anew at the end of each.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use udpx_control::Name;
use udpx_control::limits::SOURCES_SHOWN_MAX;
use udpx_control::schema::{
    Direction, ErrorReport, FileReport, How, JobReport, JobState, PlaceReport, StatsReport, TransferOptions,
};

use crate::config::Limits;

/// A job.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    /// Its number; never used twice.
    pub(crate) id: u64,
    /// User id of its owner.
    pub(crate) uid: u32,
    /// The owner's name, or the number if there is none.
    pub(crate) user: String,
    pub(crate) direction: Direction,
    /// The peer, as the user named it.
    pub(crate) host: String,
    /// UDP port, if the user gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    /// The key that the peer must have, where that is known from elsewhere than the configuration: from a ticket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) peer_key: Option<String>,
    /// Of a push: what is sent, here. Of a pull: what is fetched, at the peer.
    pub(crate) sources: Vec<SourceRecord>,
    /// Of a push: root and path at the peer. Of a pull: the path here, without a root.
    pub(crate) destination: DestinationRecord,
    /// As the user wished it. A trace cannot be continued after a restart.
    pub(crate) options: TransferOptions,
    /// Mode bits that the owner takes from new files.
    pub(crate) umask: u32,
    /// When it gives up, milliseconds since 1970; absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deadline_unix_ms: Option<u64>,
    pub(crate) created_unix_ms: u64,
    /// When it first ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) started_unix_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ended_unix_ms: Option<u64>,
    #[serde(flatten)]
    pub(crate) state: JobState,
    /// Times that it was tried again.
    #[serde(default)]
    pub(crate) retries: u32,
    /// Why it failed, or what went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<ErrorReport>,
    /// What it did, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<StatsReport>,
    /// Bytes that were staged to disk, or durable, at the receiver when this was written.
    #[serde(default)]
    pub(crate) bytes: u64,
    /// Bytes in all, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) total: Option<u64>,
    /// What became of the files that have come to their end.
    #[serde(skip)]
    pub(crate) files: Outcomes,
}

/// One source of a job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct SourceRecord {
    /// Of a push the absolute path here; of a pull the path beneath the root.
    #[serde(with = "bytes")]
    pub(crate) path: Name,
    /// Of a pull: the root at the peer; empty means its default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) root: String,
    /// The base name that the file has at its destination.
    #[serde(with = "bytes")]
    pub(crate) name: Name,
    /// Of a push: how the daemon comes to it. What came by a descriptor is opened by the owner's process after a
    /// restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) how: Option<How>,
    /// Its size as it was when the job was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
    /// It came as a pipe, and nobody can open it again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) pipe: bool,
}

/// Where the files of a job go.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct DestinationRecord {
    /// Of a push: the root at the peer; empty means its default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) root: String,
    #[serde(with = "bytes")]
    pub(crate) path: Name,
    /// Of a pull: how the daemon comes to it. What came by a descriptor is written in order, and only once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) how: Option<How>,
}

/// What became of the files of a job, by the index of their source; and which of it is not written yet.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct Outcomes {
    all: BTreeMap<u32, FileReport>,
    unsaved: Vec<u32>,
}

impl Outcomes {
    /// As they were read.
    pub(super) fn saved(all: BTreeMap<u32, FileReport>) -> Self {
        Self { all, unsaved: Vec::new() }
    }

    /// Takes note of what became of a file.
    pub(crate) fn set(&mut self, source: u32, outcome: FileReport) {
        self.all.insert(source, outcome);
        self.unsaved.push(source);
    }

    /// What became of a file; `None` if it has not come to its end.
    pub(crate) fn of(&self, source: u32) -> Option<&FileReport> {
        self.all.get(&source)
    }

    /// All of them, by source.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &FileReport)> {
        self.all.iter().map(|(&source, file)| (source, file))
    }

    /// Files that are durable at the receiver.
    pub(crate) fn done(&self) -> u64 {
        self.all.values().filter(|file| file.error.is_none()).count() as u64
    }

    /// What was set since this was last called.
    pub(super) fn take_unsaved(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.unsaved)
    }
}

impl SourceRecord {
    fn place(&self) -> PlaceReport {
        PlaceReport { root: self.root.clone(), path: self.path.clone() }
    }
}

impl JobRecord {
    /// Whether a file of it can only be opened or created with the rights of its owner, by a process of that user.
    pub(crate) fn needs_owner(&self) -> bool {
        self.destination.how.is_some() || self.sources.iter().any(|source| source.how.is_some())
    }

    /// Whether it moves bytes that come or go only once: such a job cannot begin anew.
    pub(crate) fn has_pipe(&self) -> bool {
        self.destination.how == Some(How::Fd) || self.sources.iter().any(|source| source.pipe)
    }

    /// The sources that its report does not list, in pieces for an event each.
    pub(crate) fn sources_beyond(&self) -> impl Iterator<Item = Vec<PlaceReport>> {
        let beyond = self.sources.get(SOURCES_SHOWN_MAX..).unwrap_or_default();
        beyond.chunks(SOURCES_SHOWN_MAX).map(|piece| piece.iter().map(SourceRecord::place).collect())
    }

    /// The job as it is told, at rest: whoever runs it adds rate, round trip and loss.
    pub(crate) fn report(&self) -> JobReport {
        JobReport {
            job: self.id,
            uid: self.uid,
            user: self.user.clone(),
            direction: self.direction,
            peer: self.host.clone(),
            sources: self.sources.iter().take(SOURCES_SHOWN_MAX).map(SourceRecord::place).collect(),
            sources_total: self.sources.len() as u64,
            destination: PlaceReport {
                root: self.destination.root.clone(),
                path: self.destination.path.clone(),
            },
            state: self.state.clone(),
            bytes: self.bytes,
            total: self.total,
            files: self.files.done(),
            rate_bps: 0,
            rtt_us: 0,
            loss: 0.0,
            policy: self.options.policy,
            limit_bps: self.options.limit_bps,
            created_unix_ms: self.created_unix_ms,
            started_unix_ms: self.started_unix_ms,
            ended_unix_ms: self.ended_unix_ms,
            retries: self.retries,
            error: self.error.clone(),
        }
    }
}

/// How much is remembered of jobs that have ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct History {
    /// Jobs.
    pub(crate) jobs_max: usize,
    /// Time since their end.
    pub(crate) age_max: Duration,
}

impl Default for History {
    fn default() -> Self {
        Self { jobs_max: HISTORY_JOBS_MAX, age_max: Duration::from_secs(HISTORY_DAYS * DAY_SECONDS) }
    }
}

impl History {
    /// As the configuration has it.
    pub(crate) fn of(limits: &Limits) -> Self {
        let age_max = Duration::from_secs(u64::from(limits.history_days) * DAY_SECONDS);
        Self { age_max, ..Self::default() }
    }

    /// The jobs to be forgotten, oldest first. `ended` has number and end of those that have ended, in any order.
    pub(crate) fn expired(&self, ended: impl Iterator<Item = (u64, u64)>, now_unix_ms: u64) -> Vec<u64> {
        let age_max_ms = u64::try_from(self.age_max.as_millis()).unwrap_or(u64::MAX);
        let mut ended: Vec<(u64, u64)> = ended.map(|(id, at)| (at, id)).collect();
        ended.sort_unstable();
        let beyond = ended.len().saturating_sub(self.jobs_max);
        let old = |at: u64| now_unix_ms.saturating_sub(at) > age_max_ms;
        let expired = ended.iter().enumerate().filter(|&(index, &(at, _))| index < beyond || old(at));
        expired.map(|(_, &(_, id))| id).collect()
    }

    /// The jobs of `records` to be forgotten, oldest first.
    pub(crate) fn expired_of<'a>(
        &self,
        records: impl Iterator<Item = &'a JobRecord>,
        now_unix_ms: u64,
    ) -> Vec<u64> {
        let ended = records.filter(|record| record.state.is_ended());
        // A clock that was set back must not keep a job for ever: without an end it counts as long over.
        self.expired(ended.map(|record| (record.id, record.ended_unix_ms.unwrap_or(0))), now_unix_ms)
    }
}

/// Jobs that have ended and are remembered: a few kilobytes each.
pub(crate) const HISTORY_JOBS_MAX: usize = 10_000;
/// How long they are, days, where the configuration says nothing else.
pub(crate) const HISTORY_DAYS: u64 = 30;
const DAY_SECONDS: u64 = 24 * 60 * 60;

/// A name in a record: text where it is UTF-8, else its bytes.
mod bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use udpx_control::Name;

    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Text(String),
        Bytes(Vec<u8>),
    }

    pub(super) fn serialize<S: Serializer>(name: &Name, to: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(name.as_bytes()) {
            Ok(text) => text.serialize(to),
            Err(_) => name.as_bytes().serialize(to),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Name, D::Error> {
        Ok(match Written::deserialize(from)? {
            Written::Text(text) => Name::new(text.into_bytes()),
            Written::Bytes(bytes) => Name::new(bytes),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A job with something in every field.
    pub(crate) fn job(id: u64) -> JobRecord {
        let source = |path: &[u8], name: &[u8]| SourceRecord {
            path: Name::new(path),
            root: String::new(),
            name: Name::new(name),
            how: Some(How::Vault),
            bytes: Some(7),
            pipe: false,
        };
        JobRecord {
            id,
            uid: 1000,
            user: "alice".into(),
            direction: Direction::Push,
            host: "bob".into(),
            port: Some(4433),
            peer_key: Some("udpxk1aa".into()),
            sources: vec![source(b"/home/alice/a", b"a"), source(b"/home/alice/\xff", b"\xff")],
            destination: DestinationRecord { root: "disk".into(), path: "in/".into(), how: None },
            options: TransferOptions { streams: Some(4), limit_bps: Some(9), ..TransferOptions::default() },
            umask: 0o22,
            deadline_unix_ms: Some(99),
            created_unix_ms: 10,
            started_unix_ms: Some(11),
            ended_unix_ms: None,
            state: JobState::Waiting { why: "bob does not answer".into(), next_try_unix_ms: Some(12) },
            retries: 3,
            error: Some(ErrorReport::new((68, "unreachable"), "Bob does not answer.", "Wake him.")),
            stats: Some(StatsReport::default()),
            bytes: 5,
            total: Some(14),
            files: Outcomes::default(),
        }
    }

    pub(crate) fn file(job: u64, name: &[u8]) -> FileReport {
        FileReport {
            job,
            name: Name::new(name),
            path: Some(Name::new(*b"/inbox/a")),
            bytes: 7,
            digest: "00".into(),
            skipped: false,
            seconds: 0.5,
            reread_bytes: 0,
            error: None,
        }
    }

    #[test]
    fn a_record_survives_its_json_with_names_that_are_no_text() {
        let record = job(7);
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.contains("[47,104,111,109,101") && text.contains("\"state\":\"waiting\""), "{text}");
        assert_eq!(serde_json::from_str::<JobRecord>(&text).unwrap(), record);
        let later = text.replacen('{', "{\"field_of_a_later_version\":1,", 1);
        assert_eq!(serde_json::from_str::<JobRecord>(&later).unwrap(), record);
    }

    #[test]
    fn the_report_is_the_record_at_rest() {
        let mut record = job(7);
        record.files.set(1, file(7, b"\xff"));
        let report = record.report();
        assert_eq!((report.job, report.files, report.retries, report.sources_total), (7, 1, 3, 2));
        assert_eq!((report.destination.root.as_str(), report.limit_bps), ("disk", Some(9)));
        assert!(record.files.done() == 1 && record.needs_owner());
    }

    #[test]
    fn history_forgets_what_is_too_old_and_the_oldest_of_too_many() {
        let history = History { jobs_max: 3, age_max: Duration::from_millis(100) };
        let ended = [(1, 950), (2, 899), (3, 1000), (4, 900), (5, 990)];
        assert_eq!(history.expired(ended.into_iter(), 1000), [2, 4]);
        // A clock that was set back makes nothing old.
        assert_eq!(history.expired([(1, 5000)].into_iter(), 1000), Vec::<u64>::new());
        assert_eq!(History::of(&Limits::default()), History::default());
        let mut done = job(1);
        (done.state, done.ended_unix_ms) = (JobState::Done, Some(1));
        assert_eq!(history.expired_of([&done, &job(2)].into_iter(), 1000), [1]);
    }
}
