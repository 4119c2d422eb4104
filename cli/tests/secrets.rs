//! No secret is told: two daemons and their users do all that there is to do, saying all that they can, and everything that
//! they print, and keep in files that are not for secrets, is searched.
#![allow(clippy::unwrap_used, reason = "a failing helper fails its test")]

mod support;

use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;
use support::Ran;
use support::two::{Machine, Two, until};
use udpxd::ticket::Ticket;

/// A secret, and every form in which it could have got out.
struct Secret {
    what: String,
    forms: Vec<Vec<u8>>,
}

impl Secret {
    fn new(what: &str, bytes: &[u8]) -> Secret {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let spaced = |separator: &str| {
            bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(separator).into_bytes()
        };
        let mut forms = vec![
            bytes.to_vec(),
            hex.to_uppercase().into_bytes(),
            hex.into_bytes(),
            spaced(", "),
            spaced(","),
        ];
        // By these it can begin at any bit of what was encoded: a row in the middle is the same.
        for shift in 0..5 {
            let text = in_base(bytes, 5, shift, b"abcdefghijklmnopqrstuvwxyz234567");
            forms.push(text.to_ascii_uppercase());
            forms.push(text);
        }
        for shift in 0..6 {
            let letters = *b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
            forms.push(in_base(bytes, 6, shift, &letters));
        }
        Secret { what: what.into(), forms }
    }

    /// Where it stands in `text`, in any form.
    fn is_in(&self, text: &[u8]) -> bool {
        self.forms.iter().any(|form| text.windows(form.len()).any(|window| window == form))
    }
}

/// Whole letters of `bytes`, of `bits` bits each, without the first `shift` bits.
fn in_base(bytes: &[u8], bits: usize, shift: usize, letters: &[u8]) -> Vec<u8> {
    let bit = |at: usize| usize::from(bytes[at / 8] >> (7 - at % 8) & 1);
    let count = (bytes.len() * 8 - shift) / bits;
    let letter = |n: usize| (0..bits).fold(0, |value, at| value << 1 | bit(shift + n * bits + at));
    (0..count).map(|n| letters[letter(n)]).collect()
}

/// The key of a daemon, as its file has it.
fn key_of(machine: &Machine, what: &str) -> Secret {
    let hex = fs::read_to_string(machine.state.join("identity")).unwrap();
    let hex = hex.trim();
    let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
    assert_eq!(bytes.len(), 32);
    Secret::new(what, &bytes)
}

/// All that was printed.
struct Printed(Vec<(String, Vec<u8>)>);

impl Printed {
    fn take(&mut self, what: &str, ran: &Ran) {
        self.0.push((what.into(), [ran.stdout.as_bytes(), ran.stderr.as_bytes()].concat()));
    }

    fn run(&mut self, machine: &Machine, line: &str, code: i32) {
        let line = format!("{line} -vv");
        let ran = machine.ran(&line);
        assert_eq!(ran.code, code, "{line}: {ran:?}");
        self.take(&line, &ran);
    }

    fn administer(&mut self, machine: &Machine, line: &str, code: i32) -> Ran {
        let ran = machine.administered(line);
        assert_eq!(ran.code, code, "{ran:?}");
        self.take("an administrator's command", &ran);
        ran
    }

    /// Files beneath a directory that are not for secrets.
    fn take_files(&mut self, directory: &Path) {
        for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                self.take_files(&path);
            } else if kind.is_file() && entry.file_name() != "identity" && entry.file_name() != "invitations"
            {
                self.0.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
}

#[test]
fn no_secret_is_printed_or_kept_where_it_has_no_business() {
    let mut two = Two::strangers();
    for machine in [&mut two.a, &mut two.b] {
        machine.end(Signal::SIGTERM);
        machine.traced = true;
        machine.start();
    }
    let mut printed = Printed(Vec::new());
    let mut secrets = vec![key_of(&two.a, "the key of a"), key_of(&two.b, "the key of b")];
    let mut invite = |two: &Two, more: &str| {
        // It alone prints what is secret.
        let ran = two.b.administered(&format!("-q invite {more}"));
        assert_eq!(ran.code, 0, "{ran:?}");
        let text = ran.stdout.trim().rsplit(' ').next().unwrap().to_owned();
        secrets.push(secret_of(&text));
        text
    };
    let ticket = invite(&two, "--name alice --read --write --list");
    let expired = invite(&two, "--name late --expires 1s");
    let joined = printed.administer(&two.a, &format!("-vv join {ticket} --name bob --mutual"), 0);
    assert!(joined.stdout.contains("know each other"));
    // Refusals, of which each would have something to quote.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    printed.administer(&two.a, &format!("-vv join {expired} --name late"), 77);
    printed.administer(&two.a, &format!("-vv join {}x", &ticket[..ticket.len() - 1]), 2);
    printed.administer(&two.a, &format!("--json join {ticket} --name b2"), 0);
    two.a.file("sent", 100_000);
    printed.run(&two.a, &format!("push sent {ticket}"), 77);
    printed.run(&two.a, "push sent bob --json", 0);
    printed.run(&two.a, "pull bob:sent back", 0);
    printed.run(&two.a, "ls bob", 0);
    printed.run(&two.a, "ping -c 1 bob", 0);
    printed.run(&two.a, "push sent bob:/none/x", 77);
    printed.run(&two.a, "push --trace trace sent bob:traced", 0);
    for line in
        ["peers --json", "peer show alice", "stats --json", "inbox --stats", "key", "root list", "version"]
    {
        printed.administer(&two.b, line, 0);
    }
    // And without daemons, by a ticket of another kind.
    let serving = two.b.home.join("served");
    fs::create_dir(&serving).unwrap();
    std::os::unix::fs::chown(&serving, two.b.uids.map(|uids| uids.1), None).unwrap();
    let mut serve = two.b.udpxctl("-vv serve --address 127.0.0.1 --expires 4s served").spawn().unwrap();
    let text = first_ticket(serve.stdout.take().unwrap());
    secrets.push(secret_of(&text));
    printed.run(&two.a, &format!("ls {text}"), 0);
    printed.run(&two.a, &format!("pull {text}:none back"), 66);
    let output = serve.wait_with_output().unwrap();
    // Its commands to be pasted are there for the ticket in them; all else is not.
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let (pasted, told): (Vec<_>, Vec<_>) = told.lines().partition(|line| line.starts_with("  udpxctl "));
    assert_eq!(pasted.len(), 3, "{told:?}");
    printed.0.push(("serve".into(), told.join("\n").into_bytes()));
    for machine in [&mut two.a, &mut two.b] {
        machine.end(Signal::SIGTERM);
    }
    for machine in [&two.a, &two.b] {
        let has = |word: &str| String::from_utf8_lossy(&machine.told()).contains(word);
        until("its log is here to its end", || has("stopping") && has("control socket"));
        printed.0.push(("a daemon's log".into(), machine.told()));
        printed.take_files(&machine.state);
    }
    printed.0.push(("a trace".into(), fs::read(two.a.home.join("trace")).unwrap()));
    assert!(
        printed.0.iter().map(|(_, text)| text.len()).sum::<usize>() > 20_000,
        "there is something to search"
    );
    for (place, text) in &printed.0 {
        for secret in &secrets {
            assert!(!secret.is_in(text), "{} is in what {place} printed", secret.what);
        }
    }
    // The search finds what it seeks.
    let kept = fs::read(two.b.state.join("identity")).unwrap();
    assert!(secrets[1].is_in(&kept) && !secrets[0].is_in(&kept));
    let invited = fs::read(two.b.state.join("state/invitations")).unwrap();
    assert!(secrets[2].is_in(&invited), "a ticket is its secret in another base");
}

fn secret_of(ticket: &str) -> Secret {
    let parsed = Ticket::parse(ticket).unwrap();
    let mut letters = ticket["udpx1".len()..].bytes();
    let mut bytes = Vec::new();
    let (mut bits, mut have) = (0u32, 0);
    for letter in letters.by_ref() {
        let value = b"abcdefghijklmnopqrstuvwxyz234567".iter().position(|&known| known == letter).unwrap();
        (bits, have) = (bits << 5 | value as u32, have + 5);
        if have >= 8 {
            have -= 8;
            bytes.push((bits >> have) as u8);
        }
    }
    // TICKETS.md 2: four bytes, the id, the secret.
    assert_eq!(parsed.id.0, bytes[4..20]);
    Secret::new("a ticket's secret", &bytes[20..36])
}

fn first_ticket(mut out: std::process::ChildStdout) -> String {
    use std::io::{BufRead, BufReader};
    let mut lines = BufReader::new(&mut out).lines();
    let line = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("udpx1"))).unwrap().unwrap();
    // Nothing else is printed there.
    line.split_whitespace().find(|word| word.starts_with("udpx1")).unwrap().to_owned()
}
