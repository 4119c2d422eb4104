//! Questions that are no files: what a directory holds, and whether anybody is there.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use udpx_proto::Code;
use udpx_proto::limits::PING_MAX;
use udpx_proto::messages::{ListEntry, ListKind};

use super::errand::{Cx, Errand};
use super::link::{Happened, Link};
use super::question::{Query, Question};
use super::{Event, Way};
use crate::engine::report::{Answer, Report, Task};
use crate::report::JobError;
use crate::storage::listing::{Entry, EntryKind, LIST_ENTRIES_MAX, Listing};

/// The question what a directory of the peer holds.
pub(crate) type ListAsk = Question<List>;

/// A directory, and what is known of it.
pub(crate) struct List {
    root: String,
    path: Vec<u8>,
    listing: Listing,
}

impl ListAsk {
    /// Of `path` beneath the peer's root `root`, both empty for the default root itself.
    ///
    /// # Errors
    /// There is no address.
    pub(crate) fn new(way: Way, id: u32, root: &str, path: &[u8], now: Instant) -> Result<Self, JobError> {
        let listing = Listing { entries: Vec::new(), is_cut: false };
        Self::of(List { root: root.to_owned(), path: path.to_vec(), listing }, way, id, now)
    }

    /// What came of it, once it [`is_over`](Errand::is_over).
    ///
    /// # Errors
    /// No session came about, or what the peer says against it.
    pub(crate) fn into_outcome(self) -> Result<Listing, JobError> {
        self.into_answered().map(|list| list.listing)
    }
}

impl Query for List {
    fn task(&self) -> Task {
        Task::List { root: self.root.clone(), path: self.path.clone() }
    }

    fn begin_anew(&mut self) {
        self.listing.entries.clear();
    }

    fn on_answer(&mut self, answer: Answer) -> Option<Result<(), JobError>> {
        let Answer::Entries(page) = answer else { return None };
        self.listing.entries.extend(page.entries.into_iter().map(entry));
        if self.listing.entries.len() > LIST_ENTRIES_MAX {
            let text = "the peer lists more entries than one listing may have";
            return Some(Err(JobError::with_remedy(Code::Protocol, text)));
        }
        page.last.then(|| {
            // It should be; nobody who shows it need trust that.
            self.listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            self.listing.is_cut = page.truncated;
            Ok(())
        })
    }
}

fn entry(wire: ListEntry) -> Entry {
    let kind = match wire.kind {
        ListKind::Regular => EntryKind::File,
        ListKind::Directory => EntryKind::Directory,
        ListKind::Other => EntryKind::Other,
    };
    let distance = Duration::from_nanos(wire.mtime_ns.unsigned_abs());
    let modified: Option<SystemTime> =
        if wire.mtime_ns < 0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    let name = OsString::from_vec(wire.name);
    Entry { name, kind, size: wire.size, modified: modified.unwrap_or(UNIX_EPOCH) }
}

/// Echoes to ask for.
#[derive(Copy, Clone, Debug)]
pub struct Ping {
    /// How many.
    pub count: u32,
    /// Bytes of each, [`PING_BYTES_MIN`] to [`PING_BYTES_MAX`].
    pub size: usize,
    /// Time between two.
    pub interval: Duration,
    /// How long the last ones are waited for.
    pub patience: Duration,
}

/// The number of an echo has to fit in.
pub const PING_BYTES_MIN: usize = 8;
/// The largest echo, bytes.
pub const PING_BYTES_MAX: usize = PING_MAX;

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PingSummary {
    /// Echoes that were asked for.
    pub sent: u32,
    /// Echoes that came back byte for byte, each once.
    pub received: u32,
    /// Round trips, microseconds: of each that came back, in order of arrival.
    pub rtts_us: Vec<u64>,
    /// Numbers of those that did not come back.
    pub missing: Vec<u32>,
}

impl PingSummary {
    /// Share of those that did not come back, 0 to 1.
    #[must_use]
    pub fn loss(&self) -> f64 {
        f64::from(self.sent - self.received) / f64::from(self.sent.max(1))
    }

    /// Least, mean and greatest round trip, microseconds; `None` where nothing came back.
    #[must_use]
    pub fn rtt_us(&self) -> Option<(u64, u64, u64)> {
        let (least, most) = (self.rtts_us.iter().min()?, self.rtts_us.iter().max()?);
        Some((*least, self.rtts_us.iter().sum::<u64>() / self.rtts_us.len() as u64, *most))
    }
}

/// Echoes that are asked for, one after the other.
pub(crate) struct Echoes {
    link: Link,
    ping: Ping,
    /// Whether each has come back.
    sent: Vec<bool>,
    summary: PingSummary,
    /// When the next is to be asked for, or the last ones are not waited for any more.
    next: Instant,
    error: Option<JobError>,
    over: bool,
}

impl Echoes {
    /// Begins to ask.
    ///
    /// # Errors
    /// There is no address.
    pub(crate) fn new(way: Way, id: u32, ping: Ping, now: Instant) -> Result<Self, JobError> {
        Ok(Self {
            link: Link::new(way, id, now)?,
            ping,
            sent: Vec::new(),
            summary: PingSummary::default(),
            next: now,
            error: None,
            over: false,
        })
    }

    /// What came back, once it [`is_over`](Errand::is_over); also of echoes that were stopped.
    ///
    /// # Errors
    /// No session came about, it was lost, or an echo differs from what was sent.
    pub(crate) fn into_outcome(mut self) -> Result<PingSummary, JobError> {
        let missing = self.sent.iter().enumerate().filter(|(_, back)| !**back);
        self.summary.missing = missing.map(|(number, _)| number as u32).collect();
        match self.error {
            Some(error) if error.code != Code::Interrupted || self.summary.sent == 0 => Err(error),
            _ => Ok(self.summary),
        }
    }

    fn ask(&mut self, cx: &mut Cx<'_>) {
        let Ping { count, size, interval, patience } = self.ping;
        if self.error.is_some() || cx.now < self.next {
            return;
        }
        if self.summary.sent < count && self.link.is_up() {
            let body = body(self.summary.sent, size);
            if self.link.begin(Task::Ping { body }, cx) {
                self.sent.push(false);
                self.summary.sent += 1;
                self.next = cx.now + if self.summary.sent == count { patience } else { interval };
            }
        } else if self.summary.sent == count {
            self.link.close(Code::Done, cx);
        }
    }

    fn on_echo(&mut self, echo: &[u8], rtt: Duration, cx: &mut Cx<'_>) -> Result<(), JobError> {
        let size = self.ping.size;
        let number = echo.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        let known = u32::try_from(number).ok().filter(|&number| number < self.summary.sent);
        let Some(number) = known.filter(|&number| body(number, size) == echo) else {
            return Err(JobError::with_remedy(Code::Corrupt, "an echo differs from what was sent"));
        };
        if !std::mem::replace(&mut self.sent[number as usize], true) {
            let rtt_us = rtt.as_micros() as u64;
            self.summary.received += 1;
            self.summary.rtts_us.push(rtt_us);
            (cx.events)(Event::Echo { number, bytes: size, rtt_us });
        }
        Ok(())
    }

    fn settle(&mut self, result: Result<(), JobError>, cx: &mut Cx<'_>) {
        if let Err(error) = result {
            self.link.close(error.code, cx);
            self.error.get_or_insert(error);
        }
        self.ask(cx);
        if self.summary.received == self.ping.count {
            self.link.close(Code::Done, cx);
        }
        self.over |= self.link.is_closed(cx.now);
    }
}

impl Errand for Echoes {
    fn link(&self) -> &Link {
        &self.link
    }

    fn on_report(&mut self, report: Report, cx: &mut Cx<'_>) {
        let result = match self.link.on_report(report, cx) {
            Ok(Happened::Report(Report::Answer { answer: Answer::Pong { body, rtt }, .. })) => {
                self.on_echo(&body, rtt, cx)
            }
            Ok(_) => Ok(()),
            Err(error) => Err(error),
        };
        self.settle(result, cx);
    }

    fn due(&mut self, cx: &mut Cx<'_>) {
        let result = self.link.due(cx);
        self.settle(result, cx);
    }

    fn deadline(&self) -> Instant {
        if self.link.is_up() { self.next.min(self.link.deadline()) } else { self.link.deadline() }
    }

    fn stop(&mut self, code: Code, cx: &mut Cx<'_>) {
        self.settle(Err(JobError::ended(code)), cx);
    }

    fn is_over(&self) -> bool {
        self.over
    }
}

/// The bytes of an echo: its number, then a pattern that depends on it.
fn body(number: u32, size: usize) -> Vec<u8> {
    let pattern = (0..size).map(|at| (at as u32).wrapping_mul(31).wrapping_add(number) as u8);
    u64::from(number).to_le_bytes().into_iter().chain(pattern).take(size).collect()
}
