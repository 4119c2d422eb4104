//! Two machines, and who may do what: peers that commands change, over real daemons.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use support::two::Two;
use udpxd::identity::OsRandom;
use udpxd::ticket::{Purpose, Ticket};

#[test]
fn commands_change_what_a_peer_may_and_the_change_stays() {
    let mut two = Two::acquainted();
    two.a.file("sent", 1000);
    assert_eq!(two.a.ran("push sent bob").code, 0);
    // What is refused names the command, and the command is the remedy.
    let refused = two.a.ran("pull bob:sent back");
    let remedy = "On bob: sudo udpxctl peer grant alice --root inbox --read";
    assert!(refused.code == 77 && refused.stderr.contains(remedy), "{refused:?}");
    let granted = two.b.administered("peer grant alice --root inbox --read");
    assert!(granted.code == 0 && granted.stdout == "alice: write,read\n", "{granted:?}");
    assert_eq!(two.a.ran("pull bob:sent back").code, 0);
    let revoked = two.b.administered("peer revoke alice --write --json");
    assert!(revoked.code == 0 && revoked.last_event()["ok"] == true, "{revoked:?}");
    let refused = two.a.ran("push sent bob");
    assert!(refused.code == 77 && refused.stderr.contains("--root inbox --write"), "{refused:?}");
    // Over a restart, and with what people wrote.
    two.b.end(Signal::SIGKILL);
    two.b.start();
    assert_eq!(two.a.ran("push sent bob").code, 77);
    assert_eq!(two.a.ran("pull bob:sent again").code, 0);
    let file = fs::read_to_string(two.b.state.join("state/peers.toml")).unwrap();
    assert!(file.starts_with("# the laptop\n[[peer]]\n"), "{file}");
    // A root by its name.
    let place = two.b.state.with_file_name("films");
    fs::create_dir(&place).unwrap();
    std::os::unix::fs::chown(&place, two.b.uids.map(|uids| uids.0), None).unwrap();
    assert_eq!(two.b.administered("peer grant alice --root films --write").code, 2);
    assert_eq!(two.b.administered(&format!("root add films {}", place.display())).code, 0);
    assert_eq!(two.b.administered("peer grant alice --root films --write").code, 0);
    assert_eq!(two.a.ran("push sent bob:/films/in").code, 0);
    assert!(place.join("in").exists());
}

#[test]
fn a_peer_is_renamed_and_forgotten() {
    let two = Two::acquainted();
    two.a.file("sent", 1000);
    assert_eq!(two.a.ran("push sent bob").code, 0);
    let ran = two.b.administered("peer rename alice alicia");
    assert!(ran.code == 0 && ran.stdout == "alice is called alicia now\n", "{ran:?}");
    assert!(two.b.state.join("inbox/alicia/sent").exists() && !two.b.state.join("inbox/alice").exists());
    assert_eq!(two.a.ran("push sent bob:second").code, 0);
    assert!(two.b.state.join("inbox/alicia/second").exists());
    let shown = two.b.administered("peer show alicia");
    assert!(shown.code == 0 && shown.stdout.contains("peers.toml") && shown.stdout.contains(&two.a.key()));
    assert_eq!(two.b.administered("peer remove alicia").code, 0);
    assert!(two.b.state.join("inbox/alicia/second").exists());
    let ran = two.a.ran("push sent bob");
    assert_eq!(ran.code, 77, "{ran:?}");
    for command in [&two.a.key()[..], "On bob: sudo udpxctl invite", "sudo udpxctl join TICKET"] {
        assert!(ran.stderr.contains(command), "{command}: {ran:?}");
    }
    assert_eq!(two.b.administered("peer show alicia").code, 2);
}

#[test]
fn peers_are_for_administrators_and_of_one_file() {
    let two = Two::start();
    let ran = two.b.administered("peer grant a --list");
    assert!(ran.code == 2 && ran.stderr.contains("set in udpxd.toml"), "{ran:?}");
    let file = two.b.state.join("state/peers.toml");
    fs::write(&file, "[[peer]]\nname = \"c\"\nkye = 1\n").unwrap();
    two.b.reload();
    let ran = two.b.administered("peer remove a");
    assert!(ran.code == 78 && ran.stderr.contains("peers.toml:"), "{ran:?}");
    assert!(fs::read_to_string(&file).unwrap().contains("kye"));
    // A reload with a mistake changes nothing.
    two.a.file("sent", 10);
    assert_eq!(two.a.ran("push sent b").code, 0);
    if two.b.uids.is_none() {
        println!("SKIPPED users who are no administrators: needs root");
        return;
    }
    for line in ["peer show a", "peer grant a --read", "peer remove a"] {
        let ran = two.b.ran(line);
        assert!(ran.code == 77 && ran.stderr.contains("udpx-admin"), "{ran:?}");
    }
}

/// The line that b prints.
fn invited(two: &Two, more: &str) -> String {
    let ran = two.b.administered(&format!("invite {more}"));
    assert!(ran.code == 0 && ran.stdout.starts_with("sudo udpxctl join udpx1"), "{ran:?}");
    assert_eq!(ran.stdout.lines().count(), 1);
    ran.stdout.trim().strip_prefix("sudo udpxctl ").unwrap().to_owned()
}

#[test]
fn two_commands_lead_from_nothing_to_a_pushed_file() {
    let mut two = Two::strangers();
    two.a.file("sent", 100_000);
    let line = invited(&two, "");
    let joined = two.a.administered(&format!("{line} --name bob --as alice"));
    assert!(joined.code == 0 && joined.stdout.contains("udpxctl push FILE bob"), "{joined:?}");
    let pushed = two.a.ran("push sent bob");
    assert!(pushed.code == 0 && two.b.state.join("inbox/alice/sent").exists(), "{pushed:?}");
    assert_eq!(two.a.ran("ls bob").code, 0);
    let refused = two.a.ran("pull bob:sent back");
    assert!(
        refused.code == 77 && refused.stderr.contains("peer grant alice --root inbox --read"),
        "{refused:?}"
    );
    // Nothing is given back, but b knows where a is.
    two.b.file("answer", 10);
    let refused = two.b.ran("push answer alice");
    let remedy = "On alice: sudo udpxctl peer grant bob --root inbox --write";
    assert!(refused.code == 77 && refused.stderr.contains(remedy), "{refused:?}");
    // Both remember it.
    two.a.end(Signal::SIGKILL);
    two.b.end(Signal::SIGKILL);
    two.a.start();
    two.b.start();
    assert_eq!(two.a.ran("push sent bob:again").code, 0);
    // The secret is in no log that a daemon keeps, and in one file that nobody else reads.
    let secret = &line["join udpx1".len() + 20..];
    let peers = fs::read_to_string(two.b.state.join("state/peers.toml")).unwrap();
    assert!(!peers.contains(secret) && !joined.stderr.contains(secret));
}

#[test]
fn a_mutual_join_gives_both_the_same() {
    let two = Two::strangers();
    two.b.file("answer", 10);
    let line = invited(&two, "--name alice --list --write");
    assert_eq!(two.a.administered(&format!("{line} --name bob --mutual")).code, 0);
    let ran = two.b.ran("push answer alice");
    assert!(ran.code == 0 && two.a.state.join("inbox/bob/answer").exists(), "{ran:?}");
}

#[test]
fn a_ticket_works_once_over_restarts_and_for_one_machine() {
    let mut two = Two::strangers();
    let line = invited(&two, "--name alice");
    two.b.end(Signal::SIGKILL);
    two.b.start();
    assert_eq!(two.a.administered(&format!("{line} --name bob")).code, 0, "it survives a restart");
    // The same machine hears the same again.
    assert_eq!(two.a.administered(&line).code, 0);
    two.b.end(Signal::SIGKILL);
    two.b.start();
    // Another one does not: that is what a is with another key.
    two.a.end(Signal::SIGTERM);
    fs::remove_file(two.a.state.join("identity")).unwrap();
    fs::remove_file(two.a.state.join("state/peers.toml")).unwrap();
    two.a.start();
    let refused = two.a.administered(&line);
    assert_eq!(refused.code, 77, "{refused:?}");
    for part in ["was used by another machine already", ": sudo udpxctl invite", "sudo udpxctl join TICKET"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    // A machine that was set up anew is not the one that is known by its name: both keys are told.
    let refused = two.a.administered(&format!("{} --as alice", invited(&two, "")));
    assert!(refused.code == 77 && refused.stderr.matches("udpxk1").count() == 2, "{refused:?}");
    assert!(refused.stderr.contains("sudo udpxctl peer remove alice"), "{refused:?}");
    // Nor does one that was forgotten come back by what it has used.
    let line = invited(&two, "--name carol");
    assert_eq!(two.a.administered(&line).code, 0);
    assert_eq!(two.b.administered("peer remove carol").code, 0);
    let refused = two.a.administered(&line);
    assert!(refused.code == 77 && refused.stderr.contains("was used already"), "{refused:?}");
}

#[test]
fn a_ticket_expires_by_the_clock_of_its_maker() {
    let two = Two::strangers();
    let line = invited(&two, "--expires 1s");
    std::thread::sleep(Duration::from_millis(1500));
    let refused = two.a.administered(&line);
    assert!(refused.code == 77 && refused.stderr.contains("has expired"), "{refused:?}");
    assert!(refused.stderr.contains(": sudo udpxctl invite"), "{refused:?}");
    assert!(!two.b.administered("peers").stdout.contains("udpxk1"));
}

#[test]
fn of_two_joiners_at_once_one_wins() {
    let two = Two::strangers();
    // A third machine: the state of a, with a key of its own, is that of another daemon.
    let third = Two::strangers();
    let line = invited(&two, "--name winner");
    let joins = std::thread::scope(|scope| {
        let joins = [&two.a, &third.a].map(|machine| scope.spawn(|| machine.administered(&line)));
        joins.map(|join| join.join().unwrap())
    });
    let mut codes = joins.each_ref().map(|ran| ran.code);
    codes.sort_unstable();
    assert_eq!(codes, [0, 77], "{joins:?}");
    let known = two.b.administered("peer show winner").stdout;
    let winner = if joins[0].code == 0 { two.a.key() } else { third.a.key() };
    assert!(known.contains(&winner), "{known}");
}

/// The ticket of a line, with a secret that somebody guessed.
fn guessed(line: &str) -> String {
    let right = Ticket::parse(line.strip_prefix("join ").unwrap()).unwrap();
    let (addresses, gives) = (right.addresses.clone(), right.gives);
    let mut random = OsRandom::open().unwrap();
    let other = Ticket::new(right.key, addresses, right.expires, Purpose::Invite, gives, &mut random);
    let wrong = Ticket { id: right.id, ..other };
    assert!(wrong.secret != right.secret);
    wrong.text().to_string()
}

#[test]
fn a_wrong_secret_gets_no_answer_and_uses_nothing_up() {
    let mut two = Two::strangers();
    let line = invited(&two, "--name alice");
    let begin = Instant::now();
    let refused = two.a.administered(&format!("join {}", guessed(&line)));
    assert!(begin.elapsed() < Duration::from_secs(60), "it does not wait for ever: {:?}", begin.elapsed());
    assert_eq!(refused.code, 68, "{refused:?}");
    for part in ["does not answer", "(of udpxctl invite: udpxd)", "whole and neither used nor expired"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    assert!(!two.b.administered("peers").stdout.contains("udpxk1"));
    // Over a restart as well: whose the ticket is was not written down either.
    two.b.end(Signal::SIGKILL);
    two.b.start();
    assert_eq!(two.a.administered(&line).code, 0);
    assert!(two.b.administered("peer show alice").stdout.contains(&two.a.key()));
}

#[test]
fn the_beginning_of_a_ticket_is_no_machine_whose_key_is_missing() {
    let two = Two::strangers();
    two.a.file("sent", 10);
    for more in ["", "--no-daemon"] {
        let ran = two.a.ran(&format!("push {more} sent udpx1afvacgq"));
        let remedy = "beginning of a ticket: copy the whole line";
        assert!(ran.code == 78 && ran.stderr.contains(remedy), "{ran:?}");
        assert!(!ran.stderr.contains("--peer-key"), "{ran:?}");
    }
    let ran = two.a.administered("join udpx1afvacgq");
    assert!(ran.code == 2 && ran.stderr.contains("cut off"), "{ran:?}");
}

#[test]
fn a_known_name_with_another_key_is_refused_with_both() {
    let two = Two::acquainted();
    let third = Two::strangers();
    let line = invited(&third, "");
    let refused = two.a.administered(&format!("{line} --name bob"));
    assert_eq!(refused.code, 77, "{refused:?}");
    for part in [&two.b.key()[..], &third.b.key(), "--name NAME", "sudo udpxctl peer remove bob"] {
        assert!(refused.stderr.contains(part), "{part}: {refused:?}");
    }
    assert!(third.b.administered("peers").stdout.contains("no peer is known"), "nothing was sent");
    // A ticket for joining is none for files.
    two.a.file("sent", 10);
    let ticket = line.strip_prefix("join ").unwrap();
    let refused = two.a.ran(&format!("push sent {ticket}"));
    assert!(refused.code == 77 && refused.stderr.contains("sudo udpxctl join TICKET"), "{refused:?}");
    let refused = third.b.administered(&line);
    assert!(refused.code == 2 && refused.stderr.contains("this very machine"), "{refused:?}");
    let refused = two.a.administered("invite --root films");
    assert!(refused.code == 2 && refused.stderr.contains("No root is called"), "{refused:?}");
    if two.a.uids.is_some() {
        assert_eq!(two.a.ran("invite").code, 77);
        assert_eq!(two.a.ran(&line).code, 77);
    }
}
