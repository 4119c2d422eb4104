//! Names and peers' words, made harmless for a terminal.

use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path for people: control characters and bytes that are not UTF-8 are written as escapes.
pub(crate) fn path(path: &Path) -> String {
    bytes(path.as_os_str().as_bytes())
}

/// A name as it travels, for people.
pub(crate) fn bytes(name: &[u8]) -> String {
    let mut shown = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        chunk.valid().chars().for_each(|letter| push(&mut shown, letter));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(shown, "\\x{byte:02x}");
        }
    }
    shown
}

/// A text for people.
pub(crate) fn text(text: &str) -> String {
    bytes(text.as_bytes())
}

fn push(shown: &mut String, letter: char) {
    match letter {
        '\n' => shown.push_str("\\n"),
        '\r' => shown.push_str("\\r"),
        '\t' => shown.push_str("\\t"),
        '\u{0}'..='\u{1f}' | '\u{7f}' => {
            let _ = write!(shown, "\\x{:02x}", u32::from(letter));
        }
        // C1 controls, and what would turn the direction of writing or hide itself.
        '\u{80}'..='\u{9f}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}'
        | '\u{feff}' => {
            let _ = write!(shown, "\\u{{{:x}}}", u32::from(letter));
        }
        _ => shown.push(letter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_and_broken_bytes_are_written_out() {
        assert_eq!(bytes(b"plain name.iso"), "plain name.iso");
        assert_eq!(bytes("\u{e4}\u{4f60}".as_bytes()), "\u{e4}\u{4f60}");
        assert_eq!(bytes(b"a\nb\x1b[31m\x07\xff\xc3"), "a\\nb\\x1b[31m\\x07\\xff\\xc3");
        assert_eq!(text("a\u{202e}b\u{9b}"), "a\\u{202e}b\\u{9b}");
    }
}
