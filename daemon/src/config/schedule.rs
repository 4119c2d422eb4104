//! `limit` and `timetable`: the most that everything together may move, and when it is something else.
//!
//! ```toml
//! limit = "1gbit"
//! timetable = ["Mon-Fri 08:00-18:00 100mbit", "Sat,Sun 22:00-06:00 none"]
//! ```
//!
//! The first entry that holds counts, and `limit` where none does. What counts is the clock on the wall: an entry holds
//! whenever that shows one of its times, so an hour that a change of the clock repeats has it twice, and one that is left
//! out has it not at all. A range that ends before it begins passes midnight and belongs to the day on which it begins.

use std::fmt;

use jiff::civil::{DateTime, Weekday};
use jiff::{Timestamp, ToSpan, ZonedDateTime};

use super::table::Value;
use super::text::{parse_rate, rate_text};
use super::{Mistake, RATE_LEAST_BPS};

/// What everything together may move, and when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Schedule {
    /// Wire bits a second where no entry holds; `None` is no limit.
    pub limit_bps: Option<u64>,
    /// The first that holds counts.
    pub entries: Vec<Entry>,
}

/// Some hours of some days.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// As it was written.
    pub text: String,
    /// Wire bits a second; `None` is no limit.
    pub bps: Option<u64>,
    /// By day, Monday first.
    days: [bool; 7],
    /// Minutes since midnight: `from` is before 24:00, `to` may be that.
    from: u16,
    to: u16,
}

/// What holds at a moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Wire bits a second; `None` is no limit.
    pub bps: Option<u64>,
    /// The entry of the timetable that says so.
    pub entry: Option<String>,
    /// When something else will hold.
    pub until: Option<Timestamp>,
}

impl Schedule {
    /// What holds at `now`, by the clock on the wall where that is.
    #[must_use]
    pub fn standing(&self, now: &ZonedDateTime) -> Standing {
        let entry = self.entry_at(now.datetime());
        Standing {
            bps: entry.map_or(self.limit_bps, |entry| entry.bps),
            entry: entry.map(|entry| entry.text.clone()),
            until: self.next_change(now),
        }
    }

    fn entry_at(&self, wall: DateTime) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.holds(wall))
    }

    /// The next moment at which another entry holds, or none. It can only be where an entry begins or ends, or where the
    /// clock is changed.
    fn next_change(&self, now: &ZonedDateTime) -> Option<Timestamp> {
        let zone = now.time_zone();
        let mut edges: Vec<Timestamp> =
            zone.following(now.timestamp()).take(CLOCK_CHANGES).map(|change| change.timestamp()).collect();
        let midnight = now.date().at(0, 0, 0, 0);
        for day in -1..=DAYS_AHEAD {
            let minutes = self.entries.iter().flat_map(|entry| [entry.from, entry.to]);
            edges.extend(minutes.flat_map(|minute| {
                let wall = midnight.checked_add(day.days().minutes(i64::from(minute))).ok();
                // An edge that the clock shows twice is two moments.
                let moments = wall.map(|wall| zone.to_ambiguous_timestamp(wall));
                moments.into_iter().flat_map(|both| [both.earlier(), both.later()]).flatten()
            }));
        }
        let held = self.entry_at(now.datetime());
        edges.retain(|&edge| edge > now.timestamp());
        edges.sort_unstable();
        edges.into_iter().find(|&edge| self.entry_at(zone.to_datetime(edge)) != held)
    }

    pub(super) fn parse(limit: Option<&Value<'_>>, entries: Option<&Value<'_>>) -> Result<Self, Mistake> {
        let mut schedule = Self::default();
        if let Some(value) = limit {
            schedule.limit_bps = rate(value.text()?).map_err(|what| value.mistake(&what))?;
        }
        if let Some(list) = entries {
            for value in list.list()? {
                schedule.entries.push(Entry::read(value.text()?).map_err(|what| value.mistake(&what))?);
            }
            if schedule.entries.len() > ENTRIES_MAX {
                return Err(list.mistake(&format!("a timetable has {ENTRIES_MAX} entries at most")));
            }
        }
        Ok(schedule)
    }
}

impl Entry {
    fn holds(&self, wall: DateTime) -> bool {
        let minute = u16::from(wall.hour().unsigned_abs()) * 60 + u16::from(wall.minute().unsigned_abs());
        let is_on = |day: Weekday| self.days[usize::from(day.to_monday_zero_offset().unsigned_abs())];
        let (today, yesterday) = (is_on(wall.weekday()), is_on(wall.weekday().previous()));
        match self.from < self.to {
            true => today && (self.from..self.to).contains(&minute),
            false => (today && minute >= self.from) || (yesterday && minute < self.to),
        }
    }

    /// An entry such as `Mon-Fri 08:00-18:00 100mbit`; else what is wrong with it.
    fn read(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let (Some(days), Some(hours), Some(first)) = (words.next(), words.next(), words.next()) else {
            return Err(format!("an entry of the timetable is {EXAMPLE}"));
        };
        let bps = rate(&[first].into_iter().chain(words).collect::<String>())?;
        let (from, to) = hours
            .split_once('-')
            .and_then(|(from, to)| Some((minute(from)?, minute(to)?)))
            .filter(|&(from, to)| from < DAY && from != to)
            .ok_or_else(|| {
                format!(
                    "{hours:?} are no hours: write 08:00-18:00, or 22:00-06:00 for a night, or 00:00-24:00"
                )
            })?;
        Ok(Self { text: text.to_owned(), bps, days: read_days(days)?, from, to })
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `Mon-Fri`, `Sat,Sun`, `Fri-Mon`, `daily`.
fn read_days(text: &str) -> Result<[bool; 7], String> {
    let wrong = || format!("{text:?} are no days: write Mon-Fri, or Sat,Sun, or daily");
    if text.eq_ignore_ascii_case("daily") {
        return Ok([true; 7]);
    }
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first).ok_or_else(wrong)?, day(last).ok_or_else(wrong)?);
        // A range may pass the end of the week.
        (0..=(last + 7 - first) % 7).for_each(|step| days[(first + step) % 7] = true);
    }
    Ok(days)
}

fn day(name: &str) -> Option<usize> {
    ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].iter().position(|day| name.eq_ignore_ascii_case(day))
}

/// `08:00` as minutes, up to `24:00`.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |digits: &str, most: u16| {
        let plain = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        digits.parse::<u16>().ok().filter(|&number| plain && number <= most)
    };
    let at = two(hour, 24)? * 60 + two(minute, 59)?;
    (at <= DAY).then_some(at)
}

fn rate(text: &str) -> Result<Option<u64>, String> {
    if text == "none" {
        return Ok(None);
    }
    match parse_rate(text) {
        Some(bps) if bps >= RATE_LEAST_BPS => Ok(Some(bps)),
        Some(_) => Err(format!("{text:?} is less than anything would arrive at; the least rate is 8kbit")),
        None => Err(format!("{text:?} is no rate; write \"100mbit\", \"1.5 Gbit/s\" or \"none\"")),
    }
}

impl Standing {
    /// In words: `100 Mbit/s until Wed 18:00 ("Mon-Fri 08:00-18:00 100mbit")`.
    #[must_use]
    pub fn told(&self, zone: &jiff::tz::TimeZone) -> String {
        let mut text = self.bps.map_or_else(|| "no limit".to_owned(), rate_text);
        if let Some(until) = self.until {
            text.push_str(&until.to_zoned_datetime(zone.clone()).strftime(" until %a %H:%M").to_string());
        }
        if let Some(entry) = &self.entry {
            text.push_str(&format!(" ({entry:?})"));
        }
        text
    }
}

/// What an entry looks like.
const EXAMPLE: &str = "\"Mon-Fri 08:00-18:00 100mbit\": days, hours and a rate";
/// Minutes of a day.
const DAY: u16 = 24 * 60;
/// An entry comes again within a week, whatever others hide it; a change of the clock may swallow that once.
const DAYS_AHEAD: i32 = 15;
/// Changes of the clock within that time that are looked at.
const CLOCK_CHANGES: usize = 2;
/// Entries that are looked through each second.
const ENTRIES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::super::Config;
    use super::super::tests::mistake;
    use super::*;

    fn schedule(limit: Option<u64>, entries: &[&str]) -> Schedule {
        let entries = entries.iter().map(|text| Entry::read(text).unwrap()).collect();
        Schedule { limit_bps: limit, entries }
    }

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    /// A moment by its UTC time, in Berlin.
    fn berlin(utc: &str) -> ZonedDateTime {
        utc.parse::<Timestamp>().unwrap().to_zoned_datetime(zone("Europe/Berlin"))
    }

    /// What holds, and the UTC time until when.
    fn at(schedule: &Schedule, now: &ZonedDateTime) -> (Option<u64>, String) {
        let standing = schedule.standing(now);
        (standing.bps, standing.until.map_or_else(String::new, |until| until.to_string()))
    }

    #[test]
    fn hours_of_days_hold_and_end() {
        let schedule = schedule(Some(9_000_000), &["Mon-Fri 08:00-18:00 100mbit"]);
        // 2026-11-25 is a Wednesday; Berlin is an hour ahead of UTC.
        let cases = [
            ("2026-11-25T06:59:59Z", Some(9_000_000), "2026-11-25T07:00:00Z"),
            ("2026-11-25T07:00:00Z", Some(100_000_000), "2026-11-25T17:00:00Z"),
            ("2026-11-25T17:00:00Z", Some(9_000_000), "2026-11-26T07:00:00Z"),
            ("2026-11-27T17:00:00Z", Some(9_000_000), "2026-11-30T07:00:00Z"),
            ("2026-11-28T12:00:00Z", Some(9_000_000), "2026-11-30T07:00:00Z"),
        ];
        for (now, bps, until) in cases {
            assert_eq!(at(&schedule, &berlin(now)), (bps, until.to_owned()), "{now}");
        }
        assert_eq!(at(&Schedule::default(), &berlin("2026-11-25T00:00:00Z")), (None, String::new()));
    }

    #[test]
    fn the_first_that_holds_counts() {
        let schedule = schedule(
            None,
            &["daily 12:00-13:00 none", "Mon-Fri 08:00-18:00 100mbit", "daily 00:00-24:00 1gbit"],
        );
        let cases = [
            ("2026-11-25T06:00:00Z", Some(1_000_000_000), "2026-11-25T07:00:00Z"),
            ("2026-11-25T10:00:00Z", Some(100_000_000), "2026-11-25T11:00:00Z"),
            ("2026-11-25T11:30:00Z", None, "2026-11-25T12:00:00Z"),
            ("2026-11-25T12:00:00Z", Some(100_000_000), "2026-11-25T17:00:00Z"),
            // Midnight is no change.
            ("2026-11-28T20:00:00Z", Some(1_000_000_000), "2026-11-29T11:00:00Z"),
        ];
        for (now, bps, until) in cases {
            assert_eq!(at(&schedule, &berlin(now)), (bps, until.to_owned()), "{now}");
        }
    }

    #[test]
    fn a_night_belongs_to_the_day_on_which_it_begins() {
        let schedule = schedule(None, &["Fri,Sun 22:00-06:00 10mbit"]);
        let cases = [
            // Friday, 21:59 and 22:00; Saturday, 05:59, 06:00 and 23:00; Sunday 23:00; Monday 05:00.
            ("2026-11-27T20:59:00Z", None, "2026-11-27T21:00:00Z"),
            ("2026-11-27T21:00:00Z", Some(10_000_000), "2026-11-28T05:00:00Z"),
            ("2026-11-28T04:59:00Z", Some(10_000_000), "2026-11-28T05:00:00Z"),
            ("2026-11-28T05:00:00Z", None, "2026-11-29T21:00:00Z"),
            ("2026-11-28T22:00:00Z", None, "2026-11-29T21:00:00Z"),
            ("2026-11-29T22:00:00Z", Some(10_000_000), "2026-11-30T05:00:00Z"),
            ("2026-11-30T04:00:00Z", Some(10_000_000), "2026-11-30T05:00:00Z"),
        ];
        for (now, bps, until) in cases {
            assert_eq!(at(&schedule, &berlin(now)), (bps, until.to_owned()), "{now}");
        }
    }

    #[test]
    fn the_clock_on_the_wall_counts_when_it_is_changed() {
        // 2026-03-29 in Berlin: after 01:59 comes 03:00. 2026-10-25: after 02:59 comes 02:00.
        let in_the_gap = schedule(None, &["daily 02:00-03:00 1mbit"]);
        let cases = [
            ("2026-03-29T00:59:00Z", None, "2026-03-30T00:00:00Z"),
            ("2026-03-29T01:00:00Z", None, "2026-03-30T00:00:00Z"),
            // Both hours that the clock calls two.
            ("2026-10-24T23:59:00Z", None, "2026-10-25T00:00:00Z"),
            ("2026-10-25T00:00:00Z", Some(1_000_000), "2026-10-25T02:00:00Z"),
            ("2026-10-25T01:59:00Z", Some(1_000_000), "2026-10-25T02:00:00Z"),
            ("2026-10-25T02:00:00Z", None, "2026-10-26T01:00:00Z"),
        ];
        for (now, bps, until) in cases {
            assert_eq!(at(&in_the_gap, &berlin(now)), (bps, until.to_owned()), "{now}");
        }
        let half = schedule(None, &["daily 01:30-02:30 1mbit"]);
        let cases = [
            // It ends where the clock leaps over its end.
            ("2026-03-29T00:30:00Z", Some(1_000_000), "2026-03-29T01:00:00Z"),
            ("2026-10-25T00:29:00Z", Some(1_000_000), "2026-10-25T00:30:00Z"),
            ("2026-10-25T00:30:00Z", None, "2026-10-25T01:00:00Z"),
            ("2026-10-25T01:00:00Z", Some(1_000_000), "2026-10-25T01:30:00Z"),
        ];
        for (now, bps, until) in cases {
            assert_eq!(at(&half, &berlin(now)), (bps, until.to_owned()), "{now}");
        }
        // A day of 23 hours is over an hour earlier, one of 25 later.
        let day = schedule(None, &["Sun 00:00-24:00 1mbit"]);
        assert_eq!(at(&day, &berlin("2026-03-28T23:00:00Z")).1, "2026-03-29T22:00:00Z");
        assert_eq!(at(&day, &berlin("2026-10-24T22:00:00Z")).1, "2026-10-25T23:00:00Z");
    }

    #[test]
    fn until_is_the_next_minute_at_which_something_else_holds() {
        // Against looking at every minute, over both changes of the clock, for what is hidden in each other.
        let schedule = schedule(
            Some(5_000_000),
            &["Sat-Mon 23:30-02:15 1mbit", "daily 01:00-02:45 2mbit", "Sun 02:30-03:30 3mbit"],
        );
        for (from, zone_name) in [
            ("2026-03-28T12:00:00Z", "Europe/Berlin"),
            ("2026-10-24T12:00:00Z", "Europe/Berlin"),
            // Half an hour, at midnight; and another calendar day altogether.
            ("2026-04-04T12:00:00Z", "Australia/Lord_Howe"),
            ("2026-11-28T12:00:00Z", "Pacific/Apia"),
        ] {
            let start: Timestamp = from.parse().unwrap();
            let now = |minute: i64| (start + minute.minutes()).to_zoned_datetime(zone(zone_name));
            let held: Vec<_> =
                (0..4 * 1440).map(|minute| schedule.standing_without_until(&now(minute))).collect();
            for minute in (0..2 * 1440).step_by(7) {
                let next = (minute + 1..held.len()).find(|&later| held[later] != held[minute]).unwrap();
                let told = schedule.standing(&now(minute as i64)).until.unwrap();
                assert_eq!(told, now(next as i64).timestamp(), "{zone_name}, {}", now(minute as i64));
            }
        }
    }

    impl Schedule {
        fn standing_without_until(&self, now: &ZonedDateTime) -> Option<String> {
            self.entry_at(now.datetime()).map(|entry| entry.text.clone())
        }
    }

    #[test]
    fn what_is_told_names_the_rate_the_end_and_the_entry() {
        let schedule = schedule(None, &["Mon-Fri 08:00-18:00 100mbit"]);
        let told = |now| schedule.standing(&berlin(now)).told(&zone("Europe/Berlin"));
        assert_eq!(
            told("2026-11-25T12:00:00Z"),
            "100 Mbit/s until Wed 18:00 (\"Mon-Fri 08:00-18:00 100mbit\")"
        );
        assert_eq!(told("2026-11-28T12:00:00Z"), "no limit until Mon 08:00");
    }

    #[test]
    fn mistakes_name_the_remedy() {
        let refused = |line: &str, told: &str| {
            let text = mistake(line);
            assert!(text.starts_with("1: ") && text.contains(told), "{line}: {text}");
        };
        refused("limit = \"fast\"", "no rate; write \"100mbit\"");
        refused("limit = 5", "'limit' is a text in quotes");
        refused("limit = \"7kbit\"", "the least rate is 8kbit");
        refused("timetable = \"x\"", "'timetable' is a list");
        for (entry, told) in [
            ("Mon-Fri 08:00-18:00", "days, hours and a rate"),
            ("Mo-Fr 08:00-18:00 1mbit", "\"Mo-Fr\" are no days"),
            ("Mon- 08:00-18:00 1mbit", "are no days"),
            ("Mon 8:00-18:00 1mbit", "\"8:00-18:00\" are no hours"),
            ("Mon 08:00-08:00 1mbit", "are no hours"),
            ("Mon 24:00-06:00 1mbit", "are no hours"),
            ("Mon 08:00-24:01 1mbit", "are no hours"),
            ("Mon 08:60-09:00 1mbit", "are no hours"),
            ("Mon 08:00-18:00 much", "\"much\" is no rate"),
        ] {
            refused(&format!("timetable = [{entry:?}]"), told);
        }
        let many = vec!["\"daily 00:00-24:00 none\""; ENTRIES_MAX + 1].join(",");
        refused(&format!("timetable = [{many}]"), "100 entries at most");
        let config =
            Config::parse("limit = \"1 Gbit/s\"\ntimetable = [\"sat-mon,WED 22:00-24:00 1.5 Gbit/s\"]")
                .unwrap();
        let entry = &config.schedule.entries[0];
        assert_eq!((config.schedule.limit_bps, entry.bps), (Some(1_000_000_000), Some(1_500_000_000)));
        assert_eq!(entry.days, [true, false, true, false, false, true, true]);
    }
}
