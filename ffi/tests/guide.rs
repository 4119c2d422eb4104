//! `docs/C_API.md`: its quick start is compiled and run as it stands there, and its table is that of the header.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

mod support;

use std::process::Command;

use support::{Build, Receiver, build, bytes, root, told};

fn guide() -> String {
    std::fs::read_to_string(root().join("docs/C_API.md")).unwrap()
}

/// The first block of code of that kind.
fn block<'a>(guide: &'a str, kind: &str) -> &'a str {
    guide.split_once(&format!("```{kind}\n")).unwrap().1.split_once("```").unwrap().0
}

#[test]
fn the_quick_start_works_and_fails_as_it_says() {
    let place = tempfile::tempdir().unwrap();
    let guide = guide();
    let compile = |kind: &str, name: &str| {
        let source = place.path().join(name);
        std::fs::write(&source, block(&guide, kind)).unwrap();
        build(&source, Build::Gcc, place.path()).unwrap()
    };
    let (program, receive) = (compile("c", "quick.c"), compile("c receive", "receive.c"));

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
fn peers_are_named_as_it_says() {
    let place = tempfile::tempdir().unwrap();
    let guide = guide();
    let progress = block(&guide, "c progress");
    let fragment = block(&guide, "c fragment").replace("/srv/incoming", place.path().to_str().unwrap());
    let code = format!(
        "#include <stdio.h>\n#include <udpx.h>\n{progress}udpx_progress_fn shown = show;\nint main(void)\n{{\n    udpx_engine *engine;\n    udpx_listener *listener;\n\
         udpx_listen_options options;\n    char *alices_key;\n    if (udpx_engine_new(NULL, 0, &engine) || \
         udpx_engine_key(engine, &alices_key) || udpx_listen_options_init(&options, sizeof options))\n        return 1;\n    {{\n\
         {fragment}        options.port = 0;\n        options.address = \"127.0.0.1\";\n        \
         if (udpx_engine_listen(engine, &options, &listener))\n            return 2;\n    }}\n    udpx_string_free(alices_key);\n    \
         udpx_listener_free(listener);\n    return udpx_engine_free(engine);\n}}\n"
    );
    let source = place.path().join("peers.c");
    std::fs::write(&source, code).unwrap();
    let program = build(&source, Build::Gcc, place.path()).unwrap();
    let output = Command::new(program).output().unwrap();
    assert!(output.status.success(), "{}", told(&output));
}

#[test]
fn every_function_is_told_of() {
    let (guide, header) = (guide(), std::fs::read_to_string(root().join("include/udpx.h")).unwrap());
    let functions: Vec<&str> = header
        .split("udpx_status ")
        .skip(1)
        .filter_map(|piece| piece.split_once('(').map(|(name, _)| name))
        .filter(|name| name.starts_with("udpx_") && !name.contains([' ', '\n']))
        .collect();
    assert!(functions.len() > 40, "{functions:?}");
    for name in functions {
        let rest = name.splitn(3, '_').nth(2).unwrap();
        assert!(guide.contains(name) || guide.contains(&format!("`_{rest}`")), "{name} is not in the guide");
    }
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
