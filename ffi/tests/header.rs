//! `include/udpx.h` is what cbindgen makes of the sources, and its version is that of the crate. After a change of the API:
//! `UDPX_BLESS=1 cargo test -p udpx --test header`.
#![allow(clippy::unwrap_used, reason = "a test may panic, in its helpers too")]

use std::path::Path;

/// In the order in which a reader of the header wants them.
const SOURCES: [&str; 11] = [
    "status", "options", "transfer", "engine", "pull", "ask", "event", "data", "offer", "listener", "client",
];

fn generate(here: &Path) -> String {
    let mut config = cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let numbers: Vec<&str> = version.split('.').collect();
    let macros = format!(
        "\n/* The version of this header; udpx_version() is that of the library. */\n#define UDPX_VERSION \"{version}\"\n\
         #define UDPX_VERSION_MAJOR {}\n#define UDPX_VERSION_MINOR {}\n#define UDPX_VERSION_PATCH {}\n",
        numbers[0], numbers[1], numbers[2]
    );
    config.after_includes = Some(macros);
    let mut builder = cbindgen::Builder::new().with_config(config);
    for source in SOURCES {
        builder = builder.with_src(here.join(format!("src/{source}.rs")));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    // Headings of Rust's documentation, as a C programmer would say it.
    String::from_utf8(header)
        .unwrap()
        .replace("# Errors", "Errors:")
        .replace("# Safety", "The caller's part:")
}

#[test]
fn the_header_is_that_of_the_sources() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let committed = here.join("../include/udpx.h");
    let generated = generate(here);
    if std::env::var_os("UDPX_BLESS").is_some() {
        std::fs::write(&committed, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(committed).unwrap();
    let different = committed.lines().zip(generated.lines()).find(|(old, new)| old != new);
    assert!(
        committed == generated,
        "include/udpx.h is not that of ffi/src; UDPX_BLESS=1 makes it anew. First difference: {different:?}"
    );
}
