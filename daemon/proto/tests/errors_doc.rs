//! `docs/ERRORS.md` is the one table of codes, as people read it. `UDPX_BLESS=1 cargo test -p udpx-proto --test errors_doc`
//! writes it anew.

use std::path::Path;

use udpx_proto::Code;

const BEFORE: &str = "\
# Errors and exit codes

What udpx reports when something fails, made from `daemon/proto/src/codes.rs`: a change there is a change here.

A command that fails prints two lines on standard error, what happened and what to do about it:

    udpxctl: bob does not answer
      Check that udpxd runs there and that UDP port 48379 is open.

With `--json` its last event is an `error` with the fields `code`, `kind`, `text`, `remedy` and `exit`
(`docs/events.schema.json`); the control socket (`docs/CONTROL.md`) and the wire (`docs/PROTOCOL.md`) carry the same
codes. The texts are more particular than those of the table, which stand where nothing better is known. Codes are never
used again for something else, and a number that is not known reads as 1.

Of several files or hosts that failed alike the exit code is their common one; where some went well, or they failed in
different ways, it is 4 and each failure is told by itself.

| code | kind | exit | what happened | what to do |
|---|---|---|---|---|
";

fn document() -> String {
    let row = |code: &Code| {
        let (number, kind, exit) = (code.number(), code.kind(), code.exit());
        format!("| {number} | `{kind}` | {exit} | {} | {} |\n", code.text(), code.remedy())
    };
    BEFORE.to_owned() + &Code::ALL.iter().map(row).collect::<String>()
}

#[test]
fn the_document_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/ERRORS.md");
    let document = document();
    if std::env::var_os("UDPX_BLESS").is_some() {
        std::fs::write(&path, &document).expect("the document can be written");
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == document,
        "docs/ERRORS.md is not what the codes say; UDPX_BLESS=1 cargo test -p udpx-proto --test errors_doc writes it"
    );
}
