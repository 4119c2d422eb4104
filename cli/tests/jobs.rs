//! Commands about jobs, against a daemon of a script: what each asks for, and what people and programs read.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::time::Duration;

use support::fake_daemon::{Act, FakeDaemon, ended, event, failing, job, report};
use udpx_control::schema::{
    Body, Command, Event, FileReport, JobReport, JobState, LimitTarget, Policy, Reply, Sample,
};

fn waiting() -> JobState {
    JobState::Waiting { why: "bob does not answer.".into(), next_try_unix_ms: Some(1) }
}

fn list() -> Vec<Act> {
    let jobs = [report(12, JobState::Running), report(13, waiting())];
    let mut acts: Vec<Act> = jobs.map(|job| event(Event::Job(Box::new(job)))).into();
    acts.push(Act::Say(Body::Done(Reply::Listed { count: 2, cut: false })));
    acts
}

#[test]
fn jobs_is_a_table() {
    let daemon = FakeDaemon::start(|_| list());
    let ran = daemon.run("jobs");
    assert_eq!(ran.code, 0, "{ran:?}");
    let lines: Vec<Vec<&str>> =
        ran.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).collect();
    assert_eq!(lines[0][..2], ["job", "state"]);
    assert_eq!(lines[1].join(" "), "12 running to bob file.iso 0/1 500 B 50 100 B/s 5 s", "{}", ran.stdout);
    assert!(lines[2].join(" ").ends_with("bob does not answer, next try now"), "{}", ran.stdout);
    let events = daemon.run("jobs --all --everyone --json").events();
    assert_eq!((&events[0]["job"], &events[1]["state"]), (&12.into(), &"waiting".into()));
    assert_eq!(events[2]["jobs"], 2);
    let asked: Vec<Command> = daemon.asked().into_iter().map(|asked| asked.command).collect();
    assert!(matches!(&asked[0], Command::Jobs(jobs) if !jobs.ended && !jobs.everyone));
    assert!(matches!(&asked[1], Command::Jobs(jobs) if jobs.ended && jobs.everyone));
    let none = FakeDaemon::start(|_| vec![Act::Say(Body::Done(Reply::Listed { count: 0, cut: false }))]);
    assert!(none.run("jobs").stdout.contains("no jobs; --all lists"));
}

fn shown() -> Vec<Act> {
    let file = FileReport {
        job: 12,
        name: "file.iso".into(),
        path: Some("/inbox/alice/file\u{1b}.iso".into()),
        bytes: 1000,
        digest: "0f".repeat(32),
        skipped: false,
        seconds: 2.0,
        reread_bytes: 0,
        error: None,
    };
    let error = Some(failing(67, "source-changed", "b changed while it was sent."));
    let failed = FileReport { name: "b".into(), path: None, error, ..file.clone() };
    let sample = |at_us| Sample { at_us, rate_bps: 4000, rtt_us: 41_000, loss: 0.01, retransmitted: 1 };
    vec![
        event(Event::File(Box::new(file))),
        event(Event::File(Box::new(failed))),
        event(Event::Samples { job: 12, samples: vec![sample(1_000_000), sample(2_000_000)] }),
        Act::Say(ended(report(12, JobState::Done))),
    ]
}

#[test]
fn show_tells_all_fields_files_and_the_table() {
    let daemon = FakeDaemon::start(|_| shown());
    let ran = daemon.run("show 12 --plot out.svg");
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in [
        "state        done",
        "owner        alice",
        "destination  bob:",
        "/inbox/alice/file\\x1b.iso  1000 B in 2.0 s, 500 B/s",
        "blake3 0f0f",
        "b  failed: b changed while it was sent.",
        "rtt min 40 ms, mean 41 ms",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    let total = ran.stdout.lines().find(|line| line.starts_with("total")).unwrap();
    assert_eq!(total.split_whitespace().nth(1), Some("33"), "10 + 20 + 3");
    assert!(std::fs::read_to_string(daemon.home.path().join("out.svg")).unwrap().contains("<svg"));
    let events = daemon.run("show 12 --json").events();
    assert_eq!((&events[0]["ok"], &events[1]["ok"]), (&true.into(), &false.into()));
    assert_eq!((&events[1]["code"], &events[2]["event"]), (&67.into(), &"job".into()));
    assert_eq!((&events[3]["packets"], &events[3]["job"]), (&33.into(), &12.into()));
}

#[test]
fn changes_are_asked_for_as_they_are_written() {
    let daemon = FakeDaemon::start(|asked| match &asked.command {
        Command::Cancel(_) => vec![job(report(12, JobState::Running))],
        Command::Pause(_) => vec![job(report(12, JobState::Paused))],
        Command::SetPolicy(_) => {
            vec![job(JobReport { policy: Policy::Low, ..report(12, JobState::Running) })]
        }
        Command::Limit(_) => vec![Act::Say(Body::Done(Reply::Nothing))],
        other => panic!("{other:?}"),
    });
    for (line, said) in [
        ("cancel 12", "job 12 is being cancelled\n"),
        ("pause 12", "job 12 is paused\n"),
        ("policy 12 low", "job 12: low\n"),
        ("limit 12 100mbit", "job 12: 100.00 Mbit/s\n"),
        ("limit bob 1gbit", "bob: 1.00 Gbit/s\n"),
        ("limit all none", "everything: no limit\n"),
    ] {
        let ran = daemon.run(line);
        assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (0, said, ""), "{line}");
        let quiet = daemon.run(&format!("-q {line}"));
        assert_eq!((quiet.code, quiet.stdout.as_str()), (0, ""), "{line}");
        assert_eq!(daemon.run(&format!("--json {line}")).last_event()["ok"], true, "{line}");
    }
    let limits = daemon.asked().into_iter().filter_map(|asked| match asked.command {
        Command::Limit(limit) => Some((limit.target, limit.rate_bps)),
        _ => None,
    });
    let limits: Vec<_> = limits.step_by(3).collect();
    assert_eq!(limits[0], (LimitTarget::Job { job: 12 }, Some(100_000_000)));
    assert_eq!(limits[1], (LimitTarget::Peer { peer: "bob".into() }, Some(1_000_000_000)));
    assert_eq!(limits[2], (LimitTarget::All, None));
}

#[test]
fn what_the_daemon_refuses_is_its_own_words_and_code() {
    let daemon = FakeDaemon::start(|_| {
        vec![Act::Say(Body::Error(failing(77, "refused", "Job 12 is another user's.")))]
    });
    for line in [
        "show 12",
        "watch 12",
        "watch",
        "cancel 12",
        "pause 12",
        "resume 12",
        "policy 12 fair",
        "limit 12 1k",
        "jobs",
    ] {
        let ran = daemon.run(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (77, ""), "{line}: {ran:?}");
        assert_eq!(ran.stderr, "udpxctl: Job 12 is another user's.\n  Do something about it.\n", "{line}");
        assert_eq!(daemon.run(&format!("--json {line}")).last_event()["kind"], "refused", "{line}");
    }
}

#[test]
fn without_a_daemon_they_cannot_be_asked() {
    let home = support::Home::new();
    for line in [
        "jobs",
        "show 1",
        "watch",
        "watch 1",
        "cancel 1",
        "pause 1",
        "resume 1",
        "policy 1 low",
        "limit 1 1k",
    ] {
        let ran = home.line(line);
        assert_eq!((ran.code, ran.stdout.as_str()), (69, ""), "{line}: {ran:?}");
        assert!(ran.stderr.contains("no.sock") && ran.stderr.contains("systemctl start udpxd"), "{ran:?}");
    }
    for line in ["show 0", "show x", "policy 1 fast", "limit 1", "cancel", "completions tcsh"] {
        assert_eq!(home.line(line).code, 2, "{line}");
    }
}

#[test]
fn a_job_that_is_watched_gives_its_exit_code() {
    let failed = || JobReport {
        error: Some(failing(73, "no-space", "The disk of bob is full.")),
        ..report(12, JobState::Failed)
    };
    for (state, code, said) in [
        (report(12, JobState::Done), 0, ""),
        (failed(), 73, "The disk of bob is full."),
        (report(12, JobState::Cancelled), 130, "job 12 was cancelled"),
    ] {
        let end = state.clone();
        // Once it has ended already, and once it ends while it is watched.
        let daemon = FakeDaemon::start(move |_| vec![Act::Say(ended(end.clone()))]);
        let ran = daemon.run("watch 12");
        assert!(ran.code == code && ran.stderr.contains(said), "{ran:?}");
        assert_eq!(daemon.words(), ["show"]);
        let mut shown = 0;
        let daemon = FakeDaemon::start(move |asked| match asked.command.name() {
            "show" if shown == 0 => {
                shown += 1;
                vec![job(report(12, JobState::Running))]
            }
            "show" => vec![Act::Say(ended(state.clone()))],
            _ => vec![
                event(Event::Job(Box::new(report(12, waiting())))),
                Act::Later(Duration::from_millis(50), ended(state.clone())),
            ],
        });
        let ran = daemon.run("watch 12");
        assert!(ran.code == code && ran.stderr.contains(said), "{ran:?}");
        assert!(ran.stderr.contains("job 12: bob does not answer; next try now"), "{ran:?}");
        assert_eq!(daemon.words(), ["show", "watch", "show"]);
    }
}

#[test]
fn all_jobs_are_watched_until_ctrl_c() {
    let daemon = FakeDaemon::start(|_| {
        vec![
            event(Event::Job(Box::new(report(12, JobState::Running)))),
            event(Event::Job(Box::new(report(13, waiting())))),
            event(Event::Job(Box::new(report(12, JobState::Done)))),
        ]
    });
    let mut child = daemon.command("watch").spawn().unwrap();
    let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert_eq!(line, "job 12 file.iso done, 1000 B\n");
    support::interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    assert!(String::from_utf8_lossy(&output.stderr).contains("job 13: bob does not answer"));
}
