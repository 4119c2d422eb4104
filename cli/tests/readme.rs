//! Every `console` block of README.md does what it says, in scratch homes with real daemons.
//!
//! What is replaced: `bob.example` and the standard port, by this machine and a port that is free.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

#[path = "support/console.rs"]
mod console;
#[path = "support/mod.rs"]
mod support;

use std::net::UdpSocket;

use console::Console;

fn run(document: &str) -> Result<usize, String> {
    let programs = support::daemon::udpxd();
    let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let bob = format!("127.0.0.1:{port}");
    // `bob.example:backup/` is a place at bob; the colon of a port would end the host's name too early.
    let port = port.to_string();
    let replaced =
        [("bob.example:48379", bob.as_str()), ("bob.example", "127.0.0.1"), ("48379", port.as_str())];
    Console::new(programs.parent().unwrap(), &replaced).run(document)
}

#[test]
fn the_console_blocks_of_the_readme() {
    let readme = concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md");
    let commands =
        run(&std::fs::read_to_string(readme).unwrap()).unwrap_or_else(|why| panic!("README.md: {why}"));
    eprintln!("{commands} commands");
}

const STORY: &str = r#"
```console
alice$ udpxctl key --no-daemon
udpxk1974965db87186afedbdd7afff285dc62be2550ada01637b42301f1def55b941a
```

```toml bob:udpxd.toml
listen = ["127.0.0.1:48379"]
control = "off"
inbox = "inbox"
identity = "identity"
[[peer]]
name = "alice"
key = "udpxk1974965db87186afedbdd7afff285dc62be2550ada01637b42301f1def55b941a"
```

```console
bob$ mkdir inbox && sed -i "s|\"inbox\"|\"$HOME/inbox\"|; s|\"identity\"|\"$HOME/identity\"|" udpxd.toml
bob$ udpxd run --config udpxd.toml &
...listening address=127.0.0.1:48379 key="udpxk126156740b06c77cadb4d6b52efe335abd06a5d438b89e71c08cff96a30694106"
...
alice$ printf 0123456789 > file
alice$ udpxctl push file 127.0.0.1 --port 48379 \
  --peer-key udpxk126156740b06c77cadb4d6b52efe335abd06a5d438b89e71c08cff96a30694106
...
...inbox/alice/file  10 B in 3 ms, 3.3 kB/s
  blake3 0123456789abcdef0123456789abcdef
...
control ...
total ...
...
bob$ cat inbox/alice/file && echo
0123456789
```
"#;

#[test]
fn a_story_with_two_machines_is_run_as_it_stands() {
    assert_eq!(run(STORY), Ok(6));
}

#[test]
fn what_is_not_as_written_is_told() {
    let told = |block: &str| run(&format!("```console\n{block}\n```\n")).unwrap_err();
    assert!(told("alice$ echo 1 file").contains("it printed\n1 file"));
    assert!(told("alice$ echo 17 files\n3 filed").contains("17 files"));
    assert!(told("alice$ false").contains("exit status: 1"));
    assert!(told("alice$ printf 'a\\nb\\n'\na").contains("the document has\na"));
    assert!(told("alice$ echo x &\ny").contains("ended"));
    assert_eq!(
        run("```console\nalice$ echo 17 files, 1.5 MB/s, rtt 3 ms\n3 files, 12 kB/s, rtt 1.25 s\n```\n"),
        Ok(1)
    );
}
