//! Questions that are no files: what a directory holds, and whether anybody is there.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use udpx_proto::Code;
use udpx_proto::limits::PING_MAX;
use udpx_proto::messages::{ListEntry, ListKind};

use super::link::{Happened, Link, Room};
use super::{Call, Event};
use crate::engine::report::{Answer, Report, Task};
use crate::report::{JobError, Summary};
use crate::storage::listing::{Entry, EntryKind, LIST_ENTRIES_MAX, Listing};

/// Lists a directory of the peer: `path` beneath its root `root`, both empty for the default root itself.
///
/// # Errors
/// [`JobError`]: no session came about, or what the peer says against it.
pub fn list(call: Call, root: &str, path: &[u8], events: &mut dyn FnMut(Event)) -> Result<Listing, JobError> {
    let mut link = Link::start(call, Room::LITTLE)?;
    let result = ask_list(&mut link, root, path, events);
    let code = result.as_ref().map_or_else(|error| error.code, |_| Code::Done);
    link.close(code, &mut Summary::default());
    result
}

fn ask_list(
    link: &mut Link,
    root: &str,
    path: &[u8],
    events: &mut dyn FnMut(Event),
) -> Result<Listing, JobError> {
    let mut listing = Listing { entries: Vec::new(), is_cut: false };
    let mut asked = false;
    loop {
        if !asked {
            asked = link.begin(Task::List { root: root.to_owned(), path: path.to_vec() });
        }
        match link.turn(events)? {
            Happened::Changed => {
                listing.entries.clear();
                asked = false;
            }
            Happened::Report(Report::Answer { answer: Answer::Refused(failure), .. }) => {
                return Err(link.host().told(&failure));
            }
            Happened::Report(Report::Answer { answer: Answer::Entries(page), .. }) => {
                listing.entries.extend(page.entries.into_iter().map(entry));
                if listing.entries.len() > LIST_ENTRIES_MAX {
                    let text = "the peer lists more entries than one listing may have";
                    return Err(JobError::with_remedy(Code::Protocol, text));
                }
                if page.last {
                    // It should be; nobody who shows it need trust that.
                    listing.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                    listing.is_cut = page.truncated;
                    return Ok(listing);
                }
            }
            Happened::Report(_) | Happened::Nothing => {}
        }
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

/// Asks for echoes; `events` hears of each. Ends early when the call is cancelled: what came is told all the same.
///
/// # Errors
/// [`JobError`]: no session came about, it was lost, or an echo differs from what was sent.
pub fn ping(call: Call, ping: Ping, events: &mut dyn FnMut(Event)) -> Result<PingSummary, JobError> {
    let mut link = Link::start(call, Room::LITTLE)?;
    let mut echoes = Echoes { sent: Vec::new(), summary: PingSummary::default() };
    let result = echoes.run(&mut link, ping, events);
    link.close(Code::Done, &mut Summary::default());
    match result {
        Err(error) if error.code != Code::Interrupted || echoes.summary.sent == 0 => Err(error),
        _ => Ok(echoes.summary),
    }
}

struct Echoes {
    /// Whether each has come back.
    sent: Vec<bool>,
    summary: PingSummary,
}

impl Echoes {
    fn run(&mut self, link: &mut Link, ping: Ping, events: &mut dyn FnMut(Event)) -> Result<(), JobError> {
        let mut next = Instant::now();
        loop {
            let now = Instant::now();
            if self.summary.sent < ping.count && link.is_up() && now >= next {
                let body = body(self.summary.sent, ping.size);
                if link.begin(Task::Ping { body }) {
                    self.sent.push(false);
                    self.summary.sent += 1;
                    let pause = if self.summary.sent == ping.count { ping.patience } else { ping.interval };
                    next = now + pause;
                }
            } else if self.summary.sent == ping.count && now >= next {
                return Ok(());
            }
            if let Happened::Report(Report::Answer { answer: Answer::Pong { body, rtt }, .. }) =
                link.turn_until(next, events)?
            {
                self.on_echo(&body, rtt, ping.size, events)?;
            }
            if self.summary.received == ping.count {
                return Ok(());
            }
        }
    }

    fn on_echo(
        &mut self,
        echo: &[u8],
        rtt: Duration,
        size: usize,
        events: &mut dyn FnMut(Event),
    ) -> Result<(), JobError> {
        let number = echo.first_chunk().map_or(u64::MAX, |number| u64::from_le_bytes(*number));
        let known = u32::try_from(number).ok().filter(|&number| number < self.summary.sent);
        let Some(number) = known.filter(|&number| body(number, size) == echo) else {
            return Err(JobError::with_remedy(Code::Corrupt, "an echo differs from what was sent"));
        };
        if !std::mem::replace(&mut self.sent[number as usize], true) {
            let rtt_us = rtt.as_micros() as u64;
            self.summary.received += 1;
            self.summary.rtts_us.push(rtt_us);
            events(Event::Echo { number, bytes: size, rtt_us });
        }
        Ok(())
    }
}

/// The bytes of an echo: its number, then a pattern that depends on it.
fn body(number: u32, size: usize) -> Vec<u8> {
    let pattern = (0..size).map(|at| (at as u32).wrapping_mul(31).wrapping_add(number) as u8);
    u64::from(number).to_le_bytes().into_iter().chain(pattern).take(size).collect()
}
