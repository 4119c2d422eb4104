//! `docs/C_API.md`: its quick start is compiled and run as it stands there, and its table is that of the header.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::process::Command;

use support::{Build, Receiver, build, bytes, root, told};

fn guide() -> String {
    std::fs::read_to_string(root().join("docs/C_API.md")).unwrap()
}

#[test]
fn the_quick_start_works_and_fails_as_it_says() {
    let place = tempfile::tempdir().unwrap();
    let guide = guide();
    let code = guide.split_once("```c\n").unwrap().1.split_once("```").unwrap().0;
    let source = place.path().join("quick.c");
    std::fs::write(&source, code).unwrap();
    let program = build(&source, Build::Gcc, place.path()).unwrap();
    let receive = build(&root().join("ffi/examples/receive.c"), Build::Gcc, place.path()).unwrap();

    let (file, came) = (place.path().join("file"), place.path().join("came"));
    std::fs::write(&file, bytes(100_000)).unwrap();
    let receiver = Receiver::start(Command::new(receive), &came);
    let sent = Command::new(&program).arg(&file).arg(&receiver.ticket).output().unwrap();
    assert!(sent.status.success(), "{}", told(&sent));
    let ticket = receiver.ticket.clone();
    assert_eq!(receiver.end().0, Some(0));
    assert_eq!(std::fs::read(&came).unwrap(), bytes(100_000));

    let missing = Command::new(&program).arg(place.path().join("none")).arg(&ticket).output().unwrap();
    assert_eq!(missing.status.code(), Some(66), "{}", told(&missing));
    assert!(told(&missing).contains("(no-source)"), "{}", told(&missing));
    let nowhere = Command::new(&program).arg(&file).arg("bob").output().unwrap();
    assert_eq!(nowhere.status.code(), Some(2), "{}", told(&nowhere));
    assert!(told(&nowhere).contains("peer_key"), "{}", told(&nowhere));
}

#[test]
fn the_table_is_that_of_the_header() {
    let header = std::fs::read_to_string(root().join("include/udpx.h")).unwrap();
    let body = header.split_once("UDPX_STATUS_OK").unwrap().1.split_once('}').unwrap().0;
    let body = format!("UDPX_STATUS_OK{body}");
    let mut lines = body.lines().filter_map(|line| line.trim().trim_end_matches(',').split_once(" = "));
    let guide = guide();
    let count = lines.by_ref().inspect(|(name, number)| {
        assert!(guide.contains(&format!("| `{name}` | {number} |")), "{name} = {number} is not in the guide");
    });
    assert_eq!(count.count(), 17);
}
