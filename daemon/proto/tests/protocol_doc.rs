//! `docs/PROTOCOL.md` and the code name the same things: numbers, names, limits and sections.

use std::fs;
use std::path::{Path, PathBuf};

use udpx_proto::handshake::HandshakeDrop;
use udpx_proto::limits::*;
use udpx_proto::wire::frame::FrameWriter;
use udpx_proto::wire::header::Kind;
use udpx_proto::wire::sack::{SackBuilder, SackInfo};
use udpx_proto::{Code, DropReason, LaneId, Message};

fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document() -> String {
    read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/PROTOCOL.md"))
}

/// Fails unless some table row of the document begins with these cells.
fn expect_row(document: &str, cells: &[&str]) {
    let row = format!("| {} |", cells.join(" | "));
    assert!(document.lines().any(|line| line.starts_with(&row)), "PROTOCOL.md has no row {row}");
}

#[test]
fn every_name_and_number_stands_in_a_table() {
    let document = document();
    for reason in DropReason::ALL {
        expect_row(&document, &[&format!("`{}`", reason.label())]);
    }
    for reason in HandshakeDrop::ALL {
        expect_row(&document, &[&format!("`{}`", reason.label())]);
    }
    for (kind, version, name) in Message::TYPES {
        expect_row(&document, &[&kind.to_string(), &version.to_string(), &format!("`{name}`")]);
    }
    for code in Code::ALL {
        let (number, kind) = (code.number().to_string(), format!("`{}`", code.kind()));
        expect_row(&document, &[&number, &kind, code.text(), code.remedy()]);
        assert_eq!(u32::from(code.exit()), code.number(), "the table gives one number for both");
    }
    let kinds = (0..16).filter_map(|low| Kind::of(&[1 << 4 | low]).ok());
    for kind in kinds {
        expect_row(&document, &[&(kind as u8).to_string(), &format!("`{kind:?}`")]);
    }
}

#[test]
fn every_frame_kind_stands_in_the_table() {
    let (document, source) = (document(), read(&source_dir().join("wire/frame.rs")));
    let kinds: Vec<(&str, &str)> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub(super) const ")?.strip_suffix(';'))
        .filter_map(|constant| constant.split_once(": u8 = "))
        .collect();
    assert!(kinds.len() >= 13, "the constants are written in another way now: {kinds:?}");
    for (name, number) in kinds {
        expect_row(&document, &[number, &format!("`{name}`")]);
    }
}

#[test]
fn every_limit_stands_in_the_table() {
    let seconds = |span: std::time::Duration| format!("{} s", span.as_secs());
    let limits = [
        ("BLOCK", BLOCK.to_string()),
        ("STREAMS_MAX", STREAMS_MAX.to_string()),
        ("OFFSET_MAX", OFFSET_MAX.to_string()),
        ("RUNS_MAX", RUNS_MAX.to_string()),
        ("BLOCKS_TRACKED_MAX", BLOCKS_TRACKED_MAX.to_string()),
        ("SACKS_MAX", SACKS_MAX.to_string()),
        ("STREAM_SPREAD_MAX", STREAM_SPREAD_MAX.to_string()),
        ("LANES_MAX", LANES_MAX.to_string()),
        ("CONTROL_WINDOW", CONTROL_WINDOW.to_string()),
        ("CONTROL_QUEUE_MAX", CONTROL_QUEUE_MAX.to_string()),
        ("MESSAGE_MAX", MESSAGE_MAX.to_string()),
        ("UNOPENED_MAX", UNOPENED_MAX.to_string()),
        ("TRAIN_PACKETS_MAX", TRAIN_PACKETS_MAX.to_string()),
        ("TRAIN_BYTES_MAX", TRAIN_BYTES_MAX.to_string()),
        ("DATAGRAM_MIN", DATAGRAM_MIN.to_string()),
        ("DATAGRAM_MAX", DATAGRAM_MAX.to_string()),
        ("PACKETS_TRACKED_MIN", PACKETS_TRACKED_MIN.to_string()),
        ("PACKETS_TRACKED_MAX", PACKETS_TRACKED_MAX.to_string()),
        ("IDLE_TIMEOUT", seconds(IDLE_TIMEOUT)),
        ("KEEP_ALIVE", seconds(KEEP_ALIVE)),
        ("CLOSE_TEXT_MAX", CLOSE_TEXT_MAX.to_string()),
        ("PING_MAX", PING_MAX.to_string()),
    ];
    let source = read(&source_dir().join("limits.rs"));
    let defined: Vec<&str> =
        source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split(':').next()).collect();
    assert_eq!(defined, limits.each_ref().map(|&(name, _)| name));
    let document = document();
    for (name, value) in &limits {
        expect_row(&document, &[&format!("`{name}`"), value]);
    }
}

#[test]
fn every_section_that_the_code_cites_exists() {
    let document = document();
    let headings: Vec<&str> = document
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .collect();
    let has_section = |wanted: &str| {
        headings.iter().any(|heading| match heading.split_once(' ') {
            Some((number, title)) => number == wanted || title == wanted,
            None => false,
        })
    };
    let mut citations = 0;
    for_each_source(&source_dir(), &mut |path, text| {
        // A citation may go on in the next line of its comment.
        let words: Vec<&str> =
            text.split_whitespace().filter(|word| !matches!(*word, "//" | "///" | "//!")).collect();
        let text = words.join(" ");
        for (at, mark) in text.match_indices("PROTOCOL.md") {
            let rest = &text[at + mark.len()..];
            let section = match rest.strip_prefix(", \"") {
                Some(title) => title.split('"').next().unwrap_or_default(),
                None => rest
                    .trim_start()
                    .split(|c: char| !c.is_ascii_digit() && c != '.')
                    .next()
                    .map_or("", |number| number.trim_end_matches('.')),
            };
            if !section.is_empty() {
                citations += 1;
                assert!(has_section(section), "{} cites section {section:?}", path.display());
            }
        }
    });
    assert!(citations >= 10, "only {citations} citations were found");
}

fn for_each_source(dir: &Path, each: &mut dyn FnMut(&Path, &str)) {
    for entry in fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())).flatten() {
        let path = entry.path();
        if path.is_dir() {
            for_each_source(&path, each);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            each(&path, &read(&path));
        }
    }
}

/// The SACK of section 5.4, byte by byte.
#[test]
fn the_worked_example_is_what_the_code_writes() {
    let info = SackInfo {
        lane: LaneId(0x1a2b_3c05),
        delay_us: 350,
        newest: 199,
        lo: 128,
        hi: 200,
        overruns: 0,
        ecn: [0; 3],
    };
    let missing = [130, 131, 150].iter().fold(0u64, |bits, number| bits | 1 << (number - 128));
    let mut builder = SackBuilder::default();
    let (body, map) = builder.build(&info, &[!missing, 0xff]);
    let mut frame = Vec::new();
    assert!(FrameWriter::new(&mut frame, 1200).sack(&body, map));

    let document = document();
    let example = document.lines().skip_while(|line| !line.starts_with("    07 00 40 00"));
    let written: Vec<u8> = example
        .map_while(|line| line.strip_prefix("    "))
        .filter_map(|line| line.split("    ").next())
        .flat_map(str::split_whitespace)
        .map(|byte| u8::from_str_radix(byte, 16).unwrap_or_else(|_| panic!("{byte:?} is no byte")))
        .collect();
    assert_eq!(written, frame);
}
