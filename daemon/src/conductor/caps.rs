//! Caps: of a job, and of everything together; and the timetable. That of a peer is the engine's.
//!
//! A cap that several sessions share is divided equally among them, whoever opened them; it is divided anew whenever a
//! session comes or goes, or a cap changes. What the configuration says and what a command said both hold: the lesser
//! counts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};
use udpx_control::schema::LimitReport;

use crate::config::{Schedule, Standing};
use crate::engine::EngineHandle;
use crate::engine::report::Command;

/// The caps that are not those of one job or peer.
pub(super) struct Caps {
    /// By command, bits a second.
    all: Option<u64>,
    schedule: Schedule,
    /// What the schedule says now, and when it is asked again.
    standing: Standing,
    look_at: Option<Instant>,
    /// What each session was told last.
    told: HashMap<u64, Option<u64>>,
    due: bool,
}

/// A session that caps are divided among.
pub(super) struct Capped {
    pub(super) session: u64,
    /// The cap of its job, bits a second.
    pub(super) own: Option<u64>,
}

impl Caps {
    /// `all` is what a command has said.
    pub(super) fn new(schedule: Schedule, all: Option<u64>) -> Self {
        Self { all, schedule, standing: Standing::default(), look_at: None, told: HashMap::new(), due: true }
    }

    /// Another configuration is in force.
    pub(super) fn set_schedule(&mut self, schedule: Schedule) {
        self.schedule = schedule;
        self.look_at = None;
    }

    /// A command caps everything, or does no longer.
    pub(super) fn set_all(&mut self, bps: Option<u64>) {
        self.all = bps;
        self.due = true;
    }

    /// A session came or went, or the cap of a job was changed.
    pub(super) fn divide_anew(&mut self) {
        self.due = true;
    }

    /// Asks the schedule, if it was not asked for a while: the clock may have been set meanwhile, or the machine have
    /// slept.
    pub(super) fn look(&mut self, now: Instant, wall: impl FnOnce() -> ZonedDateTime) {
        if self.look_at.is_some_and(|at| now < at) {
            return;
        }
        self.look_at = Some(now + LOOK_EVERY);
        let wall = wall();
        let before = std::mem::replace(&mut self.standing, self.schedule.standing(&wall));
        if (before.bps, &before.entry) != (self.standing.bps, &self.standing.entry) {
            let holds = self.standing.told(wall.time_zone());
            tracing::info!(holds, "the most that all transfers together may move");
            self.due = true;
        }
    }

    /// Tells each session what it may move, if that is to be told.
    pub(super) fn share(&mut self, sessions: impl FnOnce() -> Vec<Capped>, engine: &EngineHandle) {
        if !std::mem::take(&mut self.due) {
            return;
        }
        let mut before = std::mem::take(&mut self.told);
        for (session, bps) in self.divided(&sessions()) {
            let told = before.remove(&session).unwrap_or(None);
            if told == bps || engine.send(Command::SetLimit { session, bps }) {
                self.told.insert(session, bps);
            } else {
                tracing::debug!(session, "the engine is too busy to take a new limit; it is told again");
                self.told.insert(session, told);
                self.due = true;
            }
        }
    }

    /// What each session may move.
    fn divided(&self, sessions: &[Capped]) -> Vec<(u64, Option<u64>)> {
        let all = [self.all, self.standing.bps].into_iter().flatten().min();
        let of_all = all.map(|bps| bps / sessions.len().max(1) as u64);
        let of = |session: &Capped| [session.own, of_all].into_iter().flatten().min();
        sessions.iter().map(|session| (session.session, of(session))).collect()
    }

    /// What holds for everything.
    pub(super) fn report(&self) -> LimitReport {
        let Standing { bps, entry, until } = &self.standing;
        LimitReport {
            rate_bps: [self.all, *bps].into_iter().flatten().min(),
            entry: entry.clone(),
            until_unix_ms: until.and_then(|until| u64::try_from(until.as_millisecond()).ok()),
            command_bps: self.all,
        }
    }
}

/// The time on the wall of this host.
pub(super) fn wall_clock() -> ZonedDateTime {
    Timestamp::now().to_zoned_datetime(TimeZone::system())
}

/// How often the schedule is asked: what it says holds within a second of its time.
const LOOK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::super::super::config::Config;
    use super::*;

    fn caps(text: &str) -> Caps {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("udpxd.toml");
        std::fs::write(&path, text).unwrap();
        Caps::new(Config::load(&path).unwrap().schedule, None)
    }

    fn sessions(of: &[(u64, Option<u64>)]) -> Vec<Capped> {
        of.iter().map(|&(session, own)| Capped { session, own }).collect()
    }

    fn wall(utc: &str) -> ZonedDateTime {
        utc.parse::<Timestamp>().unwrap().to_zoned_datetime(TimeZone::UTC)
    }

    #[test]
    fn the_least_cap_counts_and_shares_are_equal() {
        let mut caps = caps("limit = \"90kbit\"");
        let now = Instant::now();
        caps.look(now, || wall("2026-11-25T12:00:00Z"));
        let open = sessions(&[(1, None), (2, Some(9_000)), (3, None)]);
        assert_eq!(caps.divided(&open), [(1, Some(30_000)), (2, Some(9_000)), (3, Some(30_000))]);
        // The lesser of what was written and what was commanded.
        caps.set_all(Some(30_000));
        assert_eq!(caps.divided(&open), [(1, Some(10_000)), (2, Some(9_000)), (3, Some(10_000))]);
        caps.set_all(Some(1_000_000));
        assert_eq!((caps.report().rate_bps, caps.report().command_bps), (Some(90_000), Some(1_000_000)));
        caps.set_all(None);
        assert_eq!(caps.divided(&open[..1]), [(1, Some(90_000))]);
        assert_eq!(caps.divided(&[]), []);
    }

    #[test]
    fn the_timetable_is_asked_again_and_follows_a_clock_that_is_set() {
        let mut caps = caps("timetable = [\"Mon-Fri 08:00-18:00 1mbit\"]");
        let begin = Instant::now();
        let open = sessions(&[(1, None)]);
        let mut at = |milliseconds: u64, utc: &str| {
            caps.look(begin + Duration::from_millis(milliseconds), || wall(utc));
            caps.divided(&open)[0].1
        };
        assert_eq!(at(0, "2026-11-25T07:59:59Z"), None);
        assert_eq!(at(400, "2026-11-25T08:00:00Z"), None, "it is not asked all the time");
        assert_eq!(at(500, "2026-11-25T08:00:00Z"), Some(1_000_000));
        // Somebody sets the clock back, and forward over two days.
        assert_eq!(at(1000, "2026-11-25T07:00:00Z"), None);
        assert_eq!(at(1500, "2026-11-27T09:00:00Z"), Some(1_000_000));
        let report = caps.report();
        assert_eq!(report.entry.as_deref(), Some("Mon-Fri 08:00-18:00 1mbit"));
        let end: Timestamp = "2026-11-27T18:00:00Z".parse().unwrap();
        assert_eq!(report.until_unix_ms, Some(end.as_millisecond() as u64));
        // Another configuration counts at once.
        caps.set_schedule(Schedule::default());
        caps.look(begin + Duration::from_millis(1501), || wall("2026-11-27T09:00:01Z"));
        assert_eq!(caps.divided(&open), [(1, None)]);
    }
}
