//! Parsers of files that are private to this crate, for `fuzz/`: they take any text, and panic where a promise is broken.

use std::path::Path;

use crate::config::Config;
use crate::peers;

/// `udpxd.toml`: it is understood, or the mistake has a line of it.
///
/// # Panics
/// The line is none.
pub fn config(text: &str) {
    let path = Path::new("udpxd.toml");
    if let Err(error) = Config::read(text, path) {
        told_with_a_line(text, &error.to_string());
    }
}

/// `peers.toml`: what is understood is understood once it was edited, with the peers that were wanted.
///
/// # Panics
/// It is not, or the line of a mistake is none.
pub fn peers(text: &str) {
    match Config::peers_in(text, Path::new("udpxd.toml")) {
        Ok(found) => peers::check_editing(text, &found),
        Err(error) => told_with_a_line(text, &error.to_string()),
    }
}

/// The file of open invitations: what is kept of it is kept when it is written.
///
/// # Panics
/// It is not.
pub fn invitations(text: &str) {
    peers::check_invitations(text);
}

fn told_with_a_line(text: &str, told: &str) {
    let number = told.strip_prefix("udpxd.toml:").and_then(|rest| rest.split(':').next());
    let number: Option<usize> = number.and_then(|number| number.parse().ok());
    let lines = 1 + text.bytes().filter(|&byte| byte == b'\n').count();
    assert!(number.is_some_and(|number| (1..=lines).contains(&number)), "{told:?} of {lines} lines");
}
