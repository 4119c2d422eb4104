//! Transfers through a daemon of a script: what is asked for, what is lent and what is not, Ctrl-C, and a daemon that
//! goes away.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::Ran;
use support::fake_daemon::{Act, Asked, FakeDaemon, accepted, ended, event, failing, job, report};
use udpx_control::schema::{
    Body, Command, Demand, Entry, EntryKind, Event, FileReport, How, IfExists, JobReport, JobState,
    Operation, Outcome, Phase, PingReport, Policy, Pong, Progress, Reply,
};

const KEY: &str = "udpxk1000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn progress(bytes: u64, phase: Phase, quiet_us: u64) -> Act {
    let (rate_bps, rtt_us, total) = (8000, 41_000, Some(1000));
    event(Event::Progress(Progress {
        job: 12,
        bytes,
        total,
        rate_bps,
        rtt_us,
        loss: 0.012,
        phase,
        eta_us: None,
        quiet_us,
    }))
}

fn file(name: &str) -> Act {
    event(Event::File(Box::new(FileReport {
        job: 12,
        name: name.into(),
        path: Some(format!("/inbox/alice/{name}").as_str().into()),
        bytes: 1000,
        digest: "0f".repeat(32),
        skipped: false,
        seconds: 2.0,
        reread_bytes: 0,
        error: None,
    })))
}

fn demand(number: u64, path: &Path) -> Act {
    let operation = Operation::Open { path: path.into() };
    event(Event::Demand(Demand { demand: number, job: 12, operation }))
}

/// A whole push of a file `a`.
fn whole(asked: &Asked) -> Vec<Act> {
    let Command::Push(_) = &asked.command else { panic!("{asked:?}") };
    vec![
        accepted(12),
        event(Event::Connected { job: 12, address: "192.0.2.7:48379".into(), rtt_us: 40_000 }),
        event(Event::Queued { job: 12, name: "a".into(), path: "/inbox/alice/a".into() }),
        progress(500, Phase::Sending, 0),
        progress(500, Phase::Sending, 2_500_000),
        event(Event::Retry { job: 12, text: "bob was lost; once more".into() }),
        progress(1000, Phase::Syncing, 0),
        file("a"),
        Act::Say(ended(report(12, JobState::Done))),
    ]
}

fn write(daemon: &FakeDaemon, name: &str) -> std::path::PathBuf {
    let path = daemon.home.path().canonicalize().unwrap().join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, name).unwrap();
    path
}

#[test]
fn a_push_asks_for_what_the_command_line_says() {
    let daemon = FakeDaemon::start(whole);
    let (a, b) = (write(&daemon, "a"), write(&daemon, "deep/b"));
    let ran = daemon.run(&format!(
        "push a deep/../deep/b [2001:db8::1]:/disk/in/ --port 4433 --peer-key {KEY} --if-exists rename --streams 4 \
         --plain --no-gso --mtu 1500 --limit 100mbit --deadline 2h --rate 1gbit"
    ));
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("2001:db8::1:/inbox/alice/a  1000 B in 2.0 s"), "{ran:?}");
    let asked = daemon.asked();
    let Command::Push(push) = &asked[0].command else { panic!("{asked:?}") };
    let sources: Vec<_> =
        push.sources.iter().map(|source| (source.path.as_path(), source.how, source.bytes)).collect();
    assert_eq!(sources, [(a.as_path(), How::Vault, Some(1)), (b.as_path(), How::Vault, Some(6))]);
    let place = &push.destinations[0];
    assert_eq!(
        (place.host.as_str(), place.port, place.key.as_deref()),
        ("2001:db8::1", Some(4433), Some(KEY))
    );
    assert_eq!((place.root.as_str(), place.path.as_bytes()), ("disk", b"in/".as_slice()));
    let options = &push.options;
    assert_eq!((options.if_exists, options.detach, options.streams), (IfExists::Rename, false, Some(4)));
    assert_eq!((options.plain, options.no_gso, options.mtu), (true, true, Some(1500)));
    assert_eq!((options.limit_bps, options.deadline_us), (Some(100_000_000), Some(7_200_000_000)));
    assert_eq!(options.policy, Policy::Fixed { rate_bps: 1_000_000_000 });
}

#[test]
fn people_and_programs_read_how_it_goes() {
    let daemon = FakeDaemon::start(whole);
    write(&daemon, "a");
    let ran = daemon.run("push a bob");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains("no answer from bob for 2 s, retrying\n"), "{ran:?}");
    assert!(ran.stderr.contains("bob was lost; once more\n"), "{ran:?}");
    assert!(
        ran.stderr.contains("a  99 %  1000 B of 1000 B  1.0 kB/s  rtt 41 ms  loss 1.2 %  syncing"),
        "{ran:?}"
    );
    assert!(ran.stdout.starts_with("bob:/inbox/alice/a  1000 B in 2.0 s, 500 B/s\n  blake3 0f0f"), "{ran:?}");
    assert!(ran.stdout.lines().any(|line| line.starts_with("total") && line.contains(" 33 ")), "{ran:?}");
    assert_eq!((daemon.run("-q push a bob").stdout, daemon.run("-q push a bob").stderr), Default::default());
    let check = |ran: &Ran| {
        let events = ran.events();
        let words: Vec<_> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
        let expected = ["connected", "queued", "progress", "retry", "retry", "progress", "file", "summary"];
        assert_eq!(words, expected, "{ran:?}");
        assert!(events.iter().all(|event| event["job"] == 12), "{ran:?}");
        assert_eq!((&events[7]["packets"], &events[7]["files"]), (&33.into(), &1.into()));
    };
    check(&daemon.run("push a bob --json"));
    // Into a file, beside what people read.
    let ran = daemon.run("push a bob --json-to events");
    assert!(ran.code == 0 && ran.stdout.starts_with("bob:/inbox"), "{ran:?}");
    let stdout = std::fs::read_to_string(daemon.home.path().join("events")).unwrap();
    check(&Ran { stdout, ..ran });
    let ran = daemon.run("push a bob --json-to missing/events");
    assert!(ran.code == 73 && ran.stderr.contains("--json-to"), "{ran:?}");
}

#[test]
fn what_is_named_is_lent_and_nothing_else() {
    let mut number = 0;
    let daemon = FakeDaemon::start(move |asked| match &asked.command {
        Command::Push(push) => {
            let path = push.sources[0].path.as_path().to_owned();
            let other = path.with_file_name("secret");
            vec![accepted(12), demand(1, &path), demand(2, &other), demand(3, &path)]
        }
        Command::VaultReply(_) => {
            number += 1;
            match number {
                3 => vec![file("a")],
                _ => Vec::new(),
            }
        }
        Command::Pause(_) => vec![job(report(12, JobState::Paused))],
        other => panic!("{other:?}"),
    });
    write(&daemon, "a");
    write(&daemon, "secret");
    let child = daemon.command("push a bob").spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    let replies = loop {
        let replies: Vec<_> = daemon
            .asked()
            .into_iter()
            .filter_map(|asked| match asked.command {
                Command::VaultReply(reply) => Some((reply.demand, reply.outcome, asked.bytes)),
                _ => None,
            })
            .collect();
        if replies.len() == 3 {
            break replies;
        }
        assert!(Instant::now() < end, "{replies:?}");
        std::thread::sleep(Duration::from_millis(10));
    };
    for (number, outcome, bytes) in replies {
        match (number, outcome) {
            (2, Outcome::Failed { error, .. }) => assert!(error.code == 77 && bytes.is_empty(), "{error:?}"),
            (1 | 3, Outcome::Opened) => assert_eq!(bytes, [b"a".to_vec()]),
            other => panic!("{other:?}"),
        }
    }
    support::interrupt(&child);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
}

#[test]
fn a_pull_names_its_place_here() {
    let daemon =
        FakeDaemon::start(|_| vec![accepted(12), file("a"), Act::Say(ended(report(12, JobState::Done)))]);
    let home = daemon.home.path().canonicalize().unwrap();
    std::fs::create_dir(home.join("in")).unwrap();
    for (line, place) in [
        ("pull bob:/disk/a", ""),
        ("pull bob:a in", "in/"),
        ("pull bob:a new", "new"),
        ("pull bob:a deep/er/", "deep/er/"),
        ("pull bob:a bob:b both", "both/"),
    ] {
        let ran = daemon.run(line);
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stdout.starts_with("/inbox/alice/a  1000 B"), "{ran:?}");
        let asked = daemon.asked().pop().unwrap();
        let Command::Pull(pull) = asked.command else { panic!("{asked:?}") };
        assert_eq!(pull.destination.path.as_path().as_os_str(), home.join(place).as_os_str(), "{line}");
        assert_eq!(pull.destination.how, How::Vault);
        assert_eq!((pull.sources[0].path.as_bytes(), pull.sources[0].port), (b"a".as_slice(), None));
    }
    let ran = daemon.run("pull bob:a gone/../x");
    assert!(ran.code == 66 && ran.stderr.contains("gone/.."), "{ran:?}");
}

#[test]
fn ctrl_c_pauses_the_job_and_tells_how_to_go_on() {
    let daemon = FakeDaemon::start(|asked| match asked.command.name() {
        "push" => vec![accepted(12), progress(500, Phase::Sending, 0)],
        "pause" => vec![job(report(12, JobState::Paused))],
        other => panic!("{other}"),
    });
    write(&daemon, "a");
    for (json, socket) in [(false, false), (true, false), (false, true)] {
        let mut command = daemon.command(if json { "push a bob --json" } else { "push a bob" });
        if socket {
            command.arg("--socket").arg(daemon.socket());
        }
        let before = daemon.asked().len();
        let child = command.spawn().unwrap();
        while daemon.asked().len() == before {
            std::thread::sleep(Duration::from_millis(10));
        }
        std::thread::sleep(Duration::from_millis(200));
        support::interrupt(&child);
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert_eq!(ran.code, 130, "{ran:?}");
        assert_eq!(daemon.words().last(), Some(&"pause"));
        let place = if socket { format!(" --socket {}", daemon.socket().display()) } else { String::new() };
        let remedy = format!("Go on: udpxctl resume 12{place}   Give up: udpxctl cancel 12{place}");
        match json {
            true => assert_eq!(ran.last_event()["remedy"], remedy.as_str()),
            false => {
                let told = format!("udpxctl: interrupted; job 12 is paused\n  {remedy}\n");
                assert!(ran.stderr.ends_with(&told), "{ran:?}");
            }
        }
    }
}

#[test]
fn a_job_that_ended_before_it_could_be_paused_has_ended_well() {
    let daemon = FakeDaemon::start(|asked| match asked.command.name() {
        "push" => vec![accepted(12)],
        "pause" => vec![Act::Say(Body::Error(failing(2, "usage", "Job 12 is done.")))],
        "show" => vec![file("a"), Act::Say(ended(report(12, JobState::Done)))],
        other => panic!("{other}"),
    });
    write(&daemon, "a");
    let child = daemon.command("push a bob").spawn().unwrap();
    daemon.wait_for("push");
    std::thread::sleep(Duration::from_millis(200));
    support::interrupt(&child);
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert!(ran.code == 0 && ran.stdout.starts_with("bob:/inbox/alice/a"), "{ran:?}");
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    // A daemon that does not answer the pause.
    let daemon = FakeDaemon::start(|asked| match asked.command.name() {
        "push" => vec![accepted(12)],
        _ => Vec::new(),
    });
    write(&daemon, "a");
    let child = daemon.command("push a bob").spawn().unwrap();
    daemon.wait_for("push");
    std::thread::sleep(Duration::from_millis(200));
    support::interrupt(&child);
    daemon.wait_for("pause");
    let begun = Instant::now();
    support::interrupt(&child);
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_daemon_that_is_restarted_is_waited_for() {
    for away in [Act::Restart(Duration::from_millis(700)), Act::Close] {
        let mut away = Some(away);
        let daemon = FakeDaemon::start(move |asked| match asked.command.name() {
            "push" => vec![accepted(12), progress(500, Phase::Sending, 0), away.take().unwrap()],
            "vault-offer" => vec![Act::Say(Body::Ok(Reply::Nothing))],
            "watch" => vec![
                progress(900, Phase::Sending, 0),
                Act::Later(Duration::from_millis(300), ended(report(12, JobState::Done))),
            ],
            "show" => vec![file("a"), Act::Say(ended(report(12, JobState::Done)))],
            other => panic!("{other}"),
        });
        write(&daemon, "a");
        let ran = daemon.run("push a bob");
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(ran.stderr.contains("the daemon has gone away; waiting for it to come back"), "{ran:?}");
        assert!(ran.stdout.starts_with("bob:/inbox/alice/a  1000 B"), "{ran:?}");
        assert_eq!(daemon.words(), ["push", "vault-offer", "watch", "show"]);
        let asked = daemon.asked();
        assert!(matches!(&asked[1].command, Command::VaultOffer(offer) if offer.jobs == [12]), "{asked:?}");
    }
}

#[test]
fn a_daemon_that_has_gone_for_good_is_given_up() {
    let daemon = FakeDaemon::start(|_| vec![accepted(12), Act::Restart(Duration::from_secs(3600))]);
    write(&daemon, "a");
    let begun = Instant::now();
    let ran = daemon.run("push a bob");
    assert!(ran.code == 69 && ran.stderr.contains("did not come back within 30 s"), "{ran:?}");
    assert!(ran.stderr.contains("udpxctl resume 12"), "{ran:?}");
    assert!(begun.elapsed() >= Duration::from_secs(30) && begun.elapsed() < Duration::from_secs(40));
}

#[test]
fn before_it_is_accepted_a_daemon_that_goes_away_is_an_error() {
    let daemon = FakeDaemon::start(|_| vec![Act::Close]);
    write(&daemon, "a");
    let ran = daemon.run("push a bob");
    assert!(ran.code == 75 && ran.stderr.contains("has closed the connection"), "{ran:?}");
}

#[test]
fn a_closed_terminal_leaves_the_job_to_an_agent() {
    // What ignores SIGHUP hands that on, and rightly goes on when its terminal is closed.
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    if u64::from_str_radix(ignored.trim(), 16).unwrap() & 1 == 1 {
        println!("SKIPPED a_closed_terminal_leaves_the_job_to_an_agent: SIGHUP is ignored here (nohup)");
        return;
    }
    let daemon = FakeDaemon::start(|asked| match asked.command.name() {
        "push" => vec![accepted(12)],
        "vault-offer" => vec![
            Act::Say(Body::Ok(Reply::Nothing)),
            Act::Later(Duration::from_millis(300), Body::Done(Reply::Nothing)),
        ],
        other => panic!("{other}"),
    });
    write(&daemon, "a");
    let child = daemon.command("push a bob").spawn().unwrap();
    daemon.wait_for("push");
    std::thread::sleep(Duration::from_millis(200));
    support::signal(&child, Signal::SIGHUP);
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert!(ran.code == 130 && ran.stderr.contains("job 12 goes on"), "{ran:?}");
    assert_eq!(daemon.words(), ["push", "vault-offer"]);
}

#[test]
fn a_detached_job_is_a_number_and_an_agent() {
    let mut number = 11;
    let daemon = FakeDaemon::start(move |asked| match &asked.command {
        Command::Push(push) => {
            assert!(push.options.detach);
            number += 1;
            vec![Act::Say(Body::Done(Reply::Accepted { job: number }))]
        }
        Command::VaultOffer(_) => {
            vec![
                Act::Say(Body::Ok(Reply::Nothing)),
                Act::Later(Duration::from_millis(300), Body::Done(Reply::Nothing)),
            ]
        }
        other => panic!("{other:?}"),
    });
    write(&daemon, "a");
    let ran = daemon.run("push a bob --detach");
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, "12\n", ""), "{ran:?}");
    let ran = daemon.run("push a bob --to carol --detach");
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "13\n14\n"), "{ran:?}");
    assert_eq!(daemon.run("push a bob --detach --json").last_event()["job"], 15);
    for line in ["push a bob --detach --no-daemon", "push a bob --detach --plot x"] {
        assert_eq!(daemon.run(line).code, 2, "{line}");
    }
    let home = support::Home::new();
    std::fs::write(home.path().join("a"), "x").unwrap();
    for option in ["--detach", "--limit 1mbit"] {
        let ran = home.line(&format!("push a bob {option}"));
        assert!(ran.code == 69 && ran.stderr.contains("needs a daemon"), "{ran:?}");
    }
}

#[test]
fn a_resumed_job_is_lent_its_files_and_followed() {
    for (state, words) in [
        (JobState::Paused, ["show", "vault-offer", "resume", "watch", "show"]),
        // A failed job takes no offer before it is resumed.
        (JobState::Failed, ["show", "resume", "vault-offer", "watch", "show"]),
    ] {
        let mut shown = Vec::new();
        let daemon = FakeDaemon::start(move |asked| match asked.command.name() {
            "show" if shown.is_empty() => {
                shown.push(());
                vec![job(report(12, state.clone()))]
            }
            "show" => vec![file("a"), Act::Say(ended(report(12, JobState::Done)))],
            "vault-offer" => vec![Act::Say(Body::Ok(Reply::Nothing))],
            "resume" => vec![job(report(12, JobState::Queued))],
            "watch" => vec![Act::Later(Duration::from_millis(100), ended(report(12, JobState::Done)))],
            other => panic!("{other}"),
        });
        let ran = daemon.run("resume 12");
        assert!(ran.code == 0 && ran.stdout.starts_with("bob:/inbox/alice/a"), "{ran:?}");
        assert_eq!(daemon.words(), words);
    }
    // What the daemon does not name cannot be lent; what is another user's is not.
    let many =
        FakeDaemon::start(|_| vec![job(JobReport { sources_total: 40, ..report(12, JobState::Paused) })]);
    let ran = many.run("resume 12");
    assert!(ran.code == 2 && ran.stderr.contains("has 40 sources, and the daemon names 1"), "{ran:?}");
    let mut shown = 0;
    let theirs = FakeDaemon::start(move |asked| match asked.command.name() {
        "show" if shown == 0 => {
            shown += 1;
            vec![job(JobReport { uid: 4_000_000, ..report(12, JobState::Paused) })]
        }
        "resume" => vec![job(report(12, JobState::Queued))],
        _ => vec![Act::Say(ended(report(12, JobState::Done)))],
    });
    assert_eq!(theirs.run("resume 12").code, 0);
    assert_eq!(theirs.words(), ["show", "resume", "watch", "show"]);
}

#[test]
fn a_silent_peer_is_given_up_only_where_the_user_says_so() {
    let daemon = FakeDaemon::start(|asked| match asked.command.name() {
        "push" => vec![accepted(12), progress(0, Phase::Connecting, 0)],
        "pause" => vec![job(report(12, JobState::Paused))],
        other => panic!("{other}"),
    });
    write(&daemon, "a");
    let ran = daemon.run("push a bob --timeout 1s");
    assert_eq!(ran.code, 68, "{ran:?}");
    assert!(ran.stderr.contains("nothing was heard of bob for 1 s; job 12 is paused"), "{ran:?}");
    assert!(ran.stderr.contains("udpxctl resume 12"), "{ran:?}");
}

#[test]
fn several_hosts_are_served_at_once_and_summed_up() {
    let daemon = FakeDaemon::start(|asked| {
        let Command::Push(push) = &asked.command else { panic!("{asked:?}") };
        match push.destinations[0].host.as_str() {
            "dave" => vec![Act::Say(Body::Error(failing(78, "config", "There is no dave.")))],
            // Both wait until the other has begun.
            _ => vec![
                accepted(asked.client as u64),
                file("a"),
                Act::Later(Duration::from_millis(200), ended(report(asked.client as u64, JobState::Done))),
            ],
        }
    });
    write(&daemon, "a");
    let begun = Instant::now();
    let ran = daemon.run("push a bob --to carol:x");
    assert!(ran.code == 0 && begun.elapsed() < Duration::from_secs(5), "{ran:?}");
    assert!(
        ran.stdout.contains("bob:/inbox/alice/a") && ran.stdout.contains("carol:/inbox/alice/a"),
        "{ran:?}"
    );
    let ran = daemon.run("push a bob --to dave --to carol --json");
    let events = ran.events();
    assert_eq!((ran.code, &events.last().unwrap()["text"]), (4, &"1 of 3 hosts failed".into()));
    let hosts: Vec<_> = events.iter().filter(|event| event["event"] == "host").collect();
    assert_eq!(hosts.len(), 3, "{events:?}");
    assert_eq!(hosts.iter().find(|host| host["ok"] == false).unwrap()["host"], "dave");
    assert_eq!(daemon.run("push a bob --to carol --json").last_event()["hosts"], 2);
    let ran = daemon.run("push a bob --to bob");
    assert!(ran.code == 2 && ran.stderr.contains("twice"), "{ran:?}");
}

#[test]
fn twenty_clients_at_once() {
    let daemon = FakeDaemon::start(|asked| {
        let Command::Push(push) = &asked.command else { panic!("{asked:?}") };
        let job = asked.client as u64;
        let end = JobReport {
            destination: udpx_control::schema::PlaceReport {
                root: String::new(),
                path: push.destinations[0].path.clone(),
            },
            ..report(job, JobState::Done)
        };
        vec![accepted(job), file("a"), Act::Later(Duration::from_millis(500), ended(end))]
    });
    write(&daemon, "a");
    let children: Vec<_> = (0..20)
        .map(|number| daemon.command(&format!("push a bob:{number}x --json")).spawn().unwrap())
        .collect();
    let mut jobs = Vec::new();
    for child in children {
        let ran = Ran::of(&child.wait_with_output().unwrap());
        assert_eq!(ran.code, 0, "{ran:?}");
        jobs.push(ran.last_event()["job"].as_u64().unwrap());
    }
    jobs.sort_unstable();
    assert_eq!(jobs, (1..=20).collect::<Vec<_>>());
}

#[test]
fn ls_and_ping_ask_the_daemon() {
    let daemon = FakeDaemon::start(|asked| match &asked.command {
        Command::List(list) => {
            assert_eq!((list.place.host.as_str(), list.place.root.as_str()), ("bob", "disk"));
            let entry = |name: &str, kind| Entry {
                name: name.into(),
                kind,
                bytes: 7,
                mode: 0o644,
                mtime_ns: 1_500_000_000,
            };
            let entries = vec![entry("b", EntryKind::Link), entry("a\u{1b}", EntryKind::File)];
            vec![
                event(Event::Entries { entries }),
                Act::Say(Body::Done(Reply::Listed { count: 2, cut: true })),
            ]
        }
        Command::Ping(ping) => {
            assert_eq!((ping.count, ping.interval_us, ping.bytes), (2, 10_000, 64));
            let pong = |sequence, rtt_us| event(Event::Pong(Pong { sequence, bytes: 64, rtt_us }));
            let (rtt_min_us, rtt_mean_us, rtt_max_us) = (300, 300, 300);
            let end = PingReport { sent: 2, received: 1, rtt_min_us, rtt_mean_us, rtt_max_us };
            vec![pong(1, Some(300)), pong(2, None), Act::Say(Body::Done(Reply::Ping(end)))]
        }
        other => panic!("{other:?}"),
    });
    let ran = daemon.run("ls bob:/disk/x");
    assert_eq!(ran.code, 0, "{ran:?}");
    let time = "1970-01-01T00:00:01.500Z";
    assert_eq!(ran.stdout, format!("file   7  {time}  a\\x1b\nother  -  {time}  b\n"));
    assert!(ran.stderr.contains("the directory has more entries"), "{ran:?}");
    assert_eq!(daemon.run("ls bob:/disk/x --json").last_event()["truncated"], true);
    let ran = daemon.run("ping bob -c 2 -i 10ms");
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.starts_with("64 bytes from bob: echo 1, rtt 0.30 ms\n"), "{ran:?}");
    assert!(
        ran.stdout.ends_with(
            "bob: 1 of 2 echoes came back, loss 50.0 %; rtt min 0.30 ms, mean 0.30 ms, max 0.30 ms\n"
        ),
        "{ran:?}"
    );
    let events = daemon.run("ping bob -c 2 -i 10ms --json").events();
    assert_eq!((&events[0]["event"], &events[0]["number"]), (&"echo".into(), &0.into()));
}

#[test]
fn only_where_nobody_serves_the_socket_this_process_does_it() {
    let home = support::Home::new();
    std::fs::write(home.path().join("a"), "x").unwrap();
    let key = home.key();
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let line = format!("push a 127.0.0.1 --timeout 100ms --port {port} --peer-key {KEY}");
    let ran = home.line(&line);
    assert_eq!(ran.code, 68, "{ran:?}");
    let said = format!(
        "udpxctl: no daemon at {}; running in this process as key {key}\n",
        home.path().join("no.sock").display()
    );
    assert!(ran.stderr.starts_with(&said), "{ran:?}");
    assert!(!home.line(&format!("-q {line}")).stderr.contains("no daemon"));
    let ran = home.line(&format!("{line} --no-daemon"));
    assert!(ran.code == 68 && !ran.stderr.contains("no daemon"), "{ran:?}");
    // Something else of that name, and a daemon that hangs, are no reasons.
    let ran = home.line(&format!("{line} --socket a"));
    assert!(ran.code == 2 && ran.stderr.contains("is no socket"), "{ran:?}");
    assert_eq!(home.line(&format!("{line} --socket a --no-daemon")).code, 2);
    let ran = home.line("key");
    assert!(ran.stdout.trim() == key && ran.stderr.contains("since no daemon runs"), "{ran:?}");
}

#[test]
fn the_key_is_that_of_whoever_does_the_work() {
    let daemon = FakeDaemon::start(|_| {
        let report = udpx_control::schema::KeyReport { key: KEY.into() };
        vec![Act::Say(Body::Done(Reply::Key(report)))]
    });
    let ran = daemon.run("key");
    assert_eq!((ran.code, ran.stdout.trim()), (0, KEY), "{ran:?}");
    assert!(ran.stderr.contains("the key of the daemon at") && ran.stderr.contains("d.sock"), "{ran:?}");
    let ran = daemon.run("key --no-daemon");
    assert!(ran.stdout.starts_with("udpxk1") && ran.stdout.trim() != KEY, "{ran:?}");
    assert_eq!(daemon.run("key --json").last_event()["key"], KEY);
}

#[test]
fn files_that_are_not_there_are_the_daemons_to_find() {
    // Of several files the others are sent all the same.
    let daemon = FakeDaemon::start(|asked| {
        let Command::Push(push) = &asked.command else { panic!("{asked:?}") };
        let there: Vec<_> = push.sources.iter().map(|source| source.bytes.is_some()).collect();
        assert_eq!(there, [true, false]);
        let gone = FileReport {
            job: 12,
            name: "gone".into(),
            path: None,
            bytes: 0,
            digest: String::new(),
            skipped: false,
            seconds: 0.0,
            reread_bytes: 0,
            error: Some(failing(66, "no-source", "gone is not there.")),
        };
        let error = Some(failing(4, "partly", "1 of 2 files failed"));
        vec![
            accepted(12),
            file("a"),
            event(Event::File(Box::new(gone))),
            Act::Say(ended(JobReport { error, sources_total: 2, ..report(12, JobState::Failed) })),
        ]
    });
    write(&daemon, "a");
    let ran = daemon.run("push a gone bob");
    assert!(ran.code == 4 && ran.stderr.contains("gone is not there."), "{ran:?}");
    assert!(
        ran.stderr.contains("1 of 2 files failed") && ran.stdout.starts_with("bob:/inbox/alice/a"),
        "{ran:?}"
    );
}
