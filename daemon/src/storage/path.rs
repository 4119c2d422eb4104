//! Names that come from a peer, parsed once into a type that can't be wrong.
//!
//! A [`RelPath`] is relative, has no `.`, `..`, empty or over-long component and no NUL: whoever holds one
//! need not check again. What the names *lead to* (symbolic links, mount points) is the business of openat2
//! in [`super::vault`]. Names are bytes: spaces, newlines and bytes that aren't UTF-8 are all legal.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Bytes of the longest name of one file or directory: NAME_MAX of Linux.
pub const COMPONENT_BYTES_MAX: usize = 255;
/// Bytes of the longest path: PATH_MAX of Linux without its NUL.
pub const PATH_BYTES_MAX: usize = 4095;

/// A parsed relative path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelPath(OsString);

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// No name at all.
    #[error("The name is empty; give the name of a file.")]
    Empty,
    /// It begins with a slash.
    #[error("{0:?} is absolute; give a name relative to the destination's root.")]
    Absolute(OsString),
    /// It has a `.` or `..` component.
    #[error("{0:?} has a \".\" or \"..\" in it; give the name without them.")]
    Dots(OsString),
    /// It has a NUL byte.
    #[error("{0:?} has a NUL byte in it, which no file name can have; rename the file.")]
    Nul(OsString),
    /// Two slashes in a row, or one at the end.
    #[error("{0:?} has an empty part (two slashes in a row, or one at the end); remove the extra slash.")]
    EmptyComponent(OsString),
    /// A component is longer than [`COMPONENT_BYTES_MAX`].
    #[error("{0:?} has a part longer than 255 bytes; shorten it.")]
    ComponentTooLong(OsString),
    /// The whole is longer than [`PATH_BYTES_MAX`]; its length in bytes.
    #[error("The name has {0} bytes, more than the 4095 that a path may have; shorten it.")]
    TooLong(usize),
    /// It is a name that udpx uses for files on their way in.
    #[error("{0:?} is a name that udpx gives to unfinished files; rename the file.")]
    Reserved(OsString),
}

impl RelPath {
    /// Parses the name of a file or directory below a root.
    pub fn parse(name: impl AsRef<OsStr>) -> Result<Self, PathError> {
        let name = name.as_ref();
        let bytes = name.as_bytes();
        let refuse = |why: fn(OsString) -> PathError| Err(why(name.to_os_string()));
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong(bytes.len()));
        }
        if bytes[0] == b'/' {
            return refuse(PathError::Absolute);
        }
        if bytes.contains(&0) {
            return refuse(PathError::Nul);
        }
        for component in bytes.split(|&byte| byte == b'/') {
            match component {
                b"" => return refuse(PathError::EmptyComponent),
                b"." | b".." => return refuse(PathError::Dots),
                _ if component.len() > COMPONENT_BYTES_MAX => return refuse(PathError::ComponentTooLong),
                _ if is_part_name(component) => return refuse(PathError::Reserved),
                _ => {}
            }
        }
        Ok(Self(name.to_os_string()))
    }

    /// The path.
    pub fn as_path(&self) -> &Path {
        Path::new(&self.0)
    }

    /// The directory part; empty if the name stands directly below the root.
    pub fn parent(&self) -> &Path {
        self.as_path().parent().unwrap_or(Path::new(""))
    }

    /// The last component.
    pub fn name(&self) -> &OsStr {
        self.as_path().file_name().unwrap_or(&self.0)
    }
}

impl std::fmt::Debug for RelPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl From<RelPath> for PathBuf {
    fn from(path: RelPath) -> Self {
        path.0.into()
    }
}

/// The name of a file on its way in: `.udpx-<16 hex digits>.part`.
pub(super) fn part_name(number: u64) -> OsString {
    OsString::from(format!(".udpx-{number:016x}.part"))
}

/// Whether a component is such a name.
pub(crate) fn is_part_name(component: &[u8]) -> bool {
    component
        .strip_prefix(b".udpx-")
        .and_then(|rest| rest.strip_suffix(b".part"))
        .is_some_and(|digits| digits.len() == 16 && digits.iter().all(u8::is_ascii_hexdigit))
}

/// `name` with ` (number)` before its extension, its stem shortened where it would become too long.
pub(super) fn numbered(name: &OsStr, number: u32) -> OsString {
    let bytes = name.as_bytes();
    let dot = bytes.iter().rposition(|&byte| byte == b'.').filter(|&at| at > 0).unwrap_or(bytes.len());
    let (stem, extension) = bytes.split_at(dot);
    let suffix = format!(" ({number})");
    // An extension too long to be one is cut too, rather than refusing the file.
    let extension = &extension[..extension.len().min(COMPONENT_BYTES_MAX - suffix.len() - 1)];
    let room = COMPONENT_BYTES_MAX - suffix.len() - extension.len();
    let mut cut = stem.len().min(room);
    // Not in the middle of a UTF-8 character, whose bytes after the first are 0b10xxxxxx.
    while cut < stem.len() && cut > 1 && stem[cut] & 0xc0 == 0x80 {
        cut -= 1;
    }
    OsString::from_vec([&stem[..cut], suffix.as_bytes(), extension].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_names_are_names() {
        for name in
            [&b"a"[..], b"a/b c/d\n", b"\xff\xfe", b"...", b"-rf *", b"a\\b", b".udpx-1.part", &[b'x'; 255]]
        {
            let path = RelPath::parse(OsStr::from_bytes(name)).unwrap();
            assert_eq!(path.as_path().as_os_str().as_bytes(), name);
        }
        let path = RelPath::parse("a/b/c").unwrap();
        assert_eq!((path.parent(), path.name()), (Path::new("a/b"), OsStr::new("c")));
        assert_eq!(RelPath::parse("c").unwrap().parent(), Path::new(""));
    }

    #[test]
    fn dangerous_names_are_refused() {
        let long = "x".repeat(256);
        let deep = "x/".repeat(2048);
        let part = ".udpx-0123456789abcdef.part";
        for (name, error) in [
            ("", PathError::Empty),
            ("/etc/passwd", PathError::Absolute("/etc/passwd".into())),
            ("a/../b", PathError::Dots("a/../b".into())),
            ("..", PathError::Dots("..".into())),
            ("./a", PathError::Dots("./a".into())),
            ("a\0b", PathError::Nul("a\0b".into())),
            ("a//b", PathError::EmptyComponent("a//b".into())),
            ("a/", PathError::EmptyComponent("a/".into())),
            (&long, PathError::ComponentTooLong(long.clone().into())),
            (&deep, PathError::TooLong(4096)),
            (part, PathError::Reserved(part.into())),
        ] {
            assert_eq!(RelPath::parse(name), Err(error));
        }
        assert_eq!(
            RelPath::parse("a\n/../\u{202e}").unwrap_err().to_string(),
            r#""a\n/../\u{202e}" has a "." or ".." in it; give the name without them."#
        );
    }

    #[test]
    fn numbers_go_before_the_extension() {
        for (name, expected) in [
            ("a.txt", "a (1).txt"),
            ("a", "a (1)"),
            (".profile", ".profile (1)"),
            ("a.tar.gz", "a.tar (1).gz"),
        ] {
            assert_eq!(numbered(OsStr::new(name), 1), expected);
        }
        let long = numbered(OsStr::new(&format!("{}.txt", "ä".repeat(125))), 12);
        assert!(long.len() <= COMPONENT_BYTES_MAX && long.to_str().unwrap().ends_with("ä (12).txt"));
        let extension = numbered(OsStr::new(&format!("a.{}", "x".repeat(253))), 9999);
        assert!(RelPath::parse(extension).is_ok());
    }
}
