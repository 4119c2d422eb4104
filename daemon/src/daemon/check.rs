//! What a configuration means, in lines for people: `udpxd check`.

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use crate::config::{Config, Limits, Peer, Rights, Schedule, rate_text};

/// A line for each thing that the configuration says.
pub(super) fn meaning(config: &Config) -> Vec<String> {
    let mut lines: Vec<_> =
        config.listen_addresses().iter().map(|address| format!("listens on {address}")).collect();
    for peer in &config.peers {
        of_peer(config, peer, &mut lines);
    }
    for (name, root) in &config.roots {
        let used = config.peers.iter().any(|peer| peer.roots.get(name).is_some_and(|rights| rights.any()));
        if !used {
            let path = root.path.display();
            lines.push(format!("no peer may do anything in root {name}, which is {path}"));
        }
    }
    lines.push(format!("keeps jobs in {}, {}", config.state_directory().display(), history(&config.limits)));
    schedule(&config.schedule, &Timestamp::now().to_zoned_datetime(TimeZone::system()), &mut lines);
    let Limits { jobs, jobs_per_user, running, running_per_user, sessions, streams, .. } = config.limits;
    lines.push(format!("at most {jobs} jobs, of a user {jobs_per_user}"));
    lines.push(format!("at most {running} of them running, of a user {running_per_user}"));
    lines.push(format!("at most {sessions} sessions, and {streams} streams for a file"));
    lines.push(match config.control.socket() {
        Some(socket) => format!("control socket {}", socket.display()),
        None => "no control socket".into(),
    });
    lines
}

/// What everything together may move, entry by entry, and what holds at `now`.
fn schedule(schedule: &Schedule, now: &ZonedDateTime, lines: &mut Vec<String>) {
    let rate = |bps: Option<u64>| {
        bps.map_or_else(|| "without a limit".into(), |bps| format!("at most {}", rate_text(bps)))
    };
    let whole = rate(schedule.limit_bps);
    if schedule.entries.is_empty() {
        return lines.push(format!("moves {whole}, all transfers together"));
    }
    for entry in &schedule.entries {
        lines.push(format!(
            "moves {}, all transfers together, by the timetable's {:?}",
            rate(entry.bps),
            entry.text
        ));
    }
    lines.push(format!("moves {whole} at any other time"));
    let standing = schedule.standing(now);
    let zone = now.time_zone();
    let name = zone.iana_name().unwrap_or("local time");
    lines.push(format!("now, {} in {name}: {}", now.strftime("%a %H:%M"), standing.told(zone)));
}

fn of_peer(config: &Config, peer: &Peer, lines: &mut Vec<String>) {
    let name = &peer.name;
    if let Some(address) = &peer.address {
        lines.push(format!("calls {name} at {address}"));
    }
    let own = config.inbox_of(peer);
    rights(name, peer.rights, &own.display().to_string(), lines);
    for (root, &granted) in &peer.roots {
        let place = match config.roots.get(root) {
            Some(found) => format!("root {root}, which is {}", found.path.display()),
            None => format!("root {root}, if it was added by udpxctl root add: it is not in [roots]"),
        };
        rights(name, granted, &place, lines);
    }
}

fn rights(peer: &str, Rights { write, read, list }: Rights, place: &str, lines: &mut Vec<String>) {
    let said = [
        (write, format!("takes files of {peer} into {place}")),
        (read, format!("gives {peer} files from {place}")),
        (list, format!("lists for {peer} what is in {place}")),
    ];
    lines.extend(said.into_iter().filter(|(granted, _)| *granted).map(|(_, line)| line));
}

fn history(limits: &Limits) -> String {
    match limits.history_days {
        0 => "and forgets them when they have ended".into(),
        1 => "for a day after their end".into(),
        days => format!("for {days} days after their end"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timetable_is_told_with_what_holds_now() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("udpxd.toml");
        let text =
            "limit = \"1gbit\"\ntimetable = [\"Mon-Fri 08:00-18:00 100mbit\", \"Sun 00:00-24:00 none\"]";
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now: Timestamp = "2026-11-25T12:30:00Z".parse().unwrap();
        let mut lines = Vec::new();
        schedule(&config.schedule, &now.to_zoned_datetime(zone), &mut lines);
        assert_eq!(
            lines,
            [
                "moves at most 100 Mbit/s, all transfers together, by the timetable's \"Mon-Fri 08:00-18:00 100mbit\"",
                "moves without a limit, all transfers together, by the timetable's \"Sun 00:00-24:00 none\"",
                "moves at most 1 Gbit/s at any other time",
                "now, Wed 13:30 in Europe/Berlin: 100 Mbit/s until Wed 18:00 (\"Mon-Fri 08:00-18:00 100mbit\")",
            ]
        );
        let none = meaning(&Config::default());
        assert!(none.iter().any(|line| line == "moves without a limit, all transfers together"), "{none:?}");
    }

    #[test]
    fn each_grant_and_limit_is_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("udpxd.toml");
        let key = format!("udpxk1{}", "10".repeat(32));
        let text = format!(
            "control = \"off\"\n[roots]\ndisk = \"/srv/disk\"\nidle = \"/srv/idle\"\n[limits]\nhistory_days = 0\n\
             running = 5\n[[peer]]\nname = \"alice\"\nkey = \"{key}\"\naddress = \"alice.example\"\nroots.disk = \
             [\"read\", \"list\"]\nroots.gone = [\"write\"]\n"
        );
        std::fs::write(&path, text).unwrap();
        let lines = meaning(&Config::load(&path).unwrap());
        for line in [
            "listens on 0.0.0.0:48379",
            "calls alice at alice.example:48379",
            "takes files of alice into /var/lib/udpx/inbox/alice",
            "gives alice files from root disk, which is /srv/disk",
            "lists for alice what is in root disk, which is /srv/disk",
            "takes files of alice into root gone, if it was added by udpxctl root add: it is not in [roots]",
            "no peer may do anything in root idle, which is /srv/idle",
            "keeps jobs in /var/lib/udpx, and forgets them when they have ended",
            "at most 5 of them running, of a user 64",
            "no control socket",
        ] {
            assert!(lines.iter().any(|found| found == line), "{line:?} is not in {lines:#?}");
        }
    }
}
