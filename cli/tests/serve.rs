//! `udpxctl serve` and whoever has its ticket, as processes of their own.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/mod.rs"]
mod support;

use support::Home;
use support::host::Hosting;

/// Two machines: one that serves `served`, and one that comes.
struct Lab {
    there: Home,
    here: Home,
}

impl Lab {
    fn new() -> Lab {
        let lab = Lab { there: Home::new(), here: Home::new() };
        std::fs::create_dir(lab.there.path().join("served")).unwrap();
        std::fs::write(lab.there.path().join("served/a"), "alpha").unwrap();
        std::fs::write(lab.here.path().join("f"), "from here").unwrap();
        lab
    }

    fn served(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.there.path().join("served").join(path)).ok()
    }

    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.there.path().join("served")).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn files_come_and_go_until_ctrl_c() {
    let lab = Lab::new();
    let host = Hosting::start(&lab.there, "serve served");
    let ticket = &host.ticket;
    let listed = lab.here.line(&format!("ls {ticket}"));
    assert!(listed.code == 0 && listed.stdout.contains("  a\n"), "{listed:?}");
    std::fs::write(lab.here.path().join("t"), ticket).unwrap();
    for line in [
        format!("pull {ticket}:a"),
        "pull @t:a b".to_owned(),
        format!("push f {ticket}:deep/g"),
        "ping -c 1 @t".to_owned(),
    ] {
        let ran = lab.here.line(&line);
        assert_eq!(ran.code, 0, "{line}: {ran:?}");
        let said = ran.stdout + &ran.stderr;
        assert!(said.contains("127.0.0.1") || line.starts_with("pull"), "{said}");
        assert!(!said.contains(&ticket[5..40]), "the ticket is a secret: {said}");
    }
    let traced = lab.here.line("push -vv f @t:traced");
    assert!(traced.code == 0 && traced.stderr.len() > 100, "{traced:?}");
    assert!(!traced.stderr.contains(&ticket[5..40]), "the ticket is a secret: {traced:?}");
    let by_variable = lab.here.command(["push", "f", "@"]).env("UDPX_TICKET", ticket).output().unwrap();
    assert!(by_variable.status.success(), "{by_variable:?}");
    assert_eq!(std::fs::read_to_string(lab.here.path().join("b")).unwrap(), "alpha");
    assert_eq!(
        (lab.served("deep/g").as_deref(), lab.served("f").as_deref()),
        (Some("from here"), Some("from here"))
    );

    host.interrupt();
    let ticket = host.ticket.clone();
    let ran = host.end();
    assert_eq!((ran.code, ran.stdout.trim()), (130, ticket.as_str()), "{ran:?}");
    for line in [
        format!("  udpxctl push FILE {ticket}\n"),
        format!("  udpxctl pull {ticket}:FILE\n"),
        "went      a  5 B to 127.0.0.1\n".into(),
        "came      deep/g  9 B ".into(),
        "The ticket is void now".into(),
    ] {
        assert!(ran.stderr.contains(&line), "{line:?} is not in {}", ran.stderr);
    }
    let gone = lab.here.line(&format!("ls {ticket}"));
    assert_eq!(gone.code, 68, "{gone:?}");
    assert!(
        gone.stderr.contains("nothing listens on UDP port") && gone.stderr.contains("run it again there")
    );
}

#[test]
fn rights_are_those_that_were_given() {
    let lab = Lab::new();
    let reading = Hosting::start(&lab.there, "serve served --read-only");
    let ran = lab.here.line(&format!("push f {}", reading.ticket));
    assert_eq!(ran.code, 77, "{ran:?}");
    assert!(ran.stderr.contains("this ticket gives files and takes none"), "{ran:?}");
    assert!(ran.stderr.contains("On 127.0.0.1, make another one."), "{ran:?}");
    assert_eq!(lab.here.line(&format!("pull {}:a", reading.ticket)).code, 0);
    let writing = Hosting::start(&lab.there, "serve served --write-only");
    for line in [format!("pull {}:a", writing.ticket), format!("ls {}", writing.ticket)] {
        let ran = lab.here.line(&line);
        assert!(ran.code == 77 && ran.stderr.contains("takes files and gives none"), "{ran:?}");
    }
    assert_eq!(lab.here.line(&format!("push f {}", writing.ticket)).code, 0);
    assert_eq!(lab.here.line(&format!("pull {}:../secret", reading.ticket)).code, 77);
    assert_eq!(lab.names(), ["a", "f"]);
}

#[test]
fn once_is_for_one_machine() {
    let lab = Lab::new();
    let host = Hosting::start(&lab.there, "serve served --once");
    let other = Home::new();
    assert_eq!(lab.here.line(&format!("ls {}", host.ticket)).code, 0);
    let late = other.line(&format!("ls {}", host.ticket));
    assert!(late.code == 77 && late.stderr.contains("used by another machine already"), "{late:?}");
    assert_eq!(lab.here.line(&format!("pull {}:a", host.ticket)).code, 0);
    let ran = host.end();
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(
        ran.stderr.contains("refused   127.0.0.1") && ran.stderr.ends_with("done: 1 file, 5 B\n"),
        "{ran:?}"
    );
}

#[test]
fn events_of_a_host() {
    let lab = Lab::new();
    let host = Hosting::start(&lab.there, "serve served --once --json --expires 1h");
    let other = Home::new();
    assert_eq!(lab.here.line(&format!("pull {}:missing", host.ticket)).code, 66);
    assert_eq!(other.line(&format!("ls {}", host.ticket)).code, 77);
    assert_eq!(lab.here.line(&format!("push f {}", host.ticket)).code, 0);
    let ran = host.end();
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran:?}");
    let events = ran.events();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    for kind in ["joined", "left", "refused", "file", "summary"] {
        assert!(kinds.contains(&kind), "{kind} is not in {kinds:?}");
    }
    assert_eq!(kinds[0], "ticket");
    assert!(events[0]["addresses"][0].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(events[0]["expires"].is_string());
    let file = events.iter().find(|event| event["event"] == "file" && event["ok"] == true).unwrap();
    assert_eq!((&file["direction"], &file["bytes"]), (&"in".into(), &9.into()));
    assert!(events.iter().any(|event| event["event"] == "file" && event["code"] == 66));
}

#[test]
fn several_addresses_and_ipv6() {
    let lab = Lab::new();
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED several_addresses_and_ipv6: this machine has no IPv6");
        return;
    }
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let line = format!("serve served --json --address [::1] --address 127.0.0.1 --port {free}");
    let host = Hosting::start(&lab.there, &line);
    let ran = lab.here.line(&format!("ping -c 1 {}", host.ticket));
    assert!(ran.code == 0 && ran.stdout.starts_with("64 bytes from ::1"), "{ran:?}");
    host.interrupt();
    let ran = host.end();
    let addresses = ran.events()[0]["addresses"].clone();
    assert_eq!(addresses, serde_json::json!([format!("[::1]:{free}"), format!("127.0.0.1:{free}")]));
    assert_eq!(ran.last_event()["exit"], 130);
    // Without any the machine's own are looked for.
    let own = Hosting::start(&lab.there, "serve served --expires 1s --address 127.0.0.1:9");
    assert_eq!(own.end().code, 0);
    let ran = lab.there.line("serve served --expires 1s --json");
    assert!(!ran.events()[0]["addresses"].as_array().unwrap().is_empty(), "{ran:?}");
}

#[test]
fn an_expired_host_ends() {
    let lab = Lab::new();
    let host = Hosting::start(&lab.there, "serve served --expires 1s");
    let ran = host.end();
    assert!(ran.code == 0 && ran.stderr.ends_with("the ticket has expired: 0 files, 0 B\n"), "{ran:?}");
}

#[test]
fn mistakes_of_whoever_serves() {
    let lab = Lab::new();
    for (line, code, words) in [
        ("serve", 2, "DIR"),
        ("serve served --read-only --write-only", 2, "cannot be used with"),
        ("serve served --address bob", 2, "write an address"),
        ("serve served --expires 5", 2, "write a time"),
        ("serve missing", 73, "does not exist"),
        ("serve f", 73, "not a directory"),
        ("serve served --address 127.0.0.1 --port 1", 74, "127.0.0.1:1"),
    ] {
        std::fs::write(lab.there.path().join("f"), "").unwrap();
        // Root may use port 1.
        if line.ends_with("--port 1") && nix::unistd::geteuid().is_root() {
            eprintln!("SKIPPED a port that root may use");
            continue;
        }
        let ran = lab.there.line(line);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        assert!(ran.stderr.contains(words), "{line}: {ran:?}");
        assert_eq!(ran.stdout, "", "{line}");
    }
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let ran = lab.there.line(&format!("serve served --address 127.0.0.1 --port {port}"));
    assert!(ran.code == 74 && ran.stderr.contains("Another program has that port"), "{ran:?}");
}

#[test]
fn tickets_that_are_none() {
    let lab = Lab::new();
    let host = Hosting::start(&lab.there, "serve served");
    let good = host.ticket.as_str();
    let swapped: String = {
        let mut letters: Vec<char> = good.chars().collect();
        letters.swap(40, 41);
        letters[60] = if letters[60] == 'a' { 'b' } else { 'a' };
        letters.into_iter().collect()
    };
    let newer = format!("{}e{}", &good[..5], &good[6..]);
    std::fs::write(lab.here.path().join("empty"), "").unwrap();
    for (place, code, text) in [
        (swapped.as_str(), 2, "the ticket is mistyped"),
        (&good[..good.len() - 3], 2, "the ticket is cut off"),
        (&format!("{good}aaa"), 2, "something follows the ticket"),
        (&newer, 2, "the ticket is mistyped"),
        (&format!("{}0{}", &good[..50], &good[51..]), 2, "as its character 51"),
        ("@missing", 66, "the ticket in missing cannot be read"),
        ("@empty", 2, "no ticket"),
        ("@", 2, "UDPX_TICKET"),
    ] {
        for line in [format!("push f {place}"), format!("ls {place}"), format!("pull {place}:a")] {
            let ran = lab.here.line(&line);
            assert_eq!(ran.code, code, "{line}: {ran:?}");
            assert!(ran.stderr.contains(text), "{line}: {text} is not in {ran:?}");
            assert!(!ran.stderr.contains(&good[10..30]), "{ran:?}");
        }
    }
    let ran = lab.here.line(&format!("pull {good}"));
    assert!(
        ran.code == 2 && ran.stderr.contains("ls TICKET") && !ran.stderr.contains(&good[10..30]),
        "{ran:?}"
    );
    let ran = lab.here.line(&format!("ls {good} --peer-key {}", lab.here.key()));
    assert!(ran.code == 2 && ran.stderr.contains("--peer-key has no use"), "{ran:?}");
    // Of another host, by its secret: as if nobody were there.
    let other = Hosting::start(&lab.there, "serve served");
    assert_ne!(other.ticket, host.ticket);
    drop(other);
    assert_eq!(lab.here.line(&format!("ls {good}")).code, 0, "and the host serves on");
}
