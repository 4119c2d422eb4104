//! Errors, as they travel.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The numbers and kinds that this crate gives itself. They are rows of the one table of errors (`docs/ERRORS.md`), which
/// lies above this crate; the daemon passes on its own.
pub mod code {
    /// A number of the table with its kind.
    pub type Code = (u32, &'static str);

    /// Something failed that has no code of its own.
    pub const OTHER: Code = (1, "other");
    /// The request is not understood.
    pub const USAGE: Code = (2, "usage");
    /// No daemon answers.
    pub const NO_DAEMON: Code = (69, "no-daemon");
    /// A system call failed.
    pub const IO: Code = (74, "io");
    /// A limit or a time-out; it may work later.
    pub const TRY_AGAIN: Code = (75, "try-again");
    /// Another version, or not this protocol.
    pub const PROTOCOL: Code = (76, "protocol");
    /// Not permitted.
    pub const REFUSED: Code = (77, "refused");
}

/// Why something failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ErrorReport {
    /// Number in the table of errors.
    pub code: u32,
    /// Its name there.
    pub kind: String,
    /// What happened, as a sentence. Parts of it may be a peer's words: escape it before it is shown.
    pub text: String,
    /// What to do about it; empty where the text says it.
    #[serde(default)]
    pub remedy: String,
}

impl ErrorReport {
    /// An error with a number and kind of the table.
    pub fn new(code: code::Code, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code: code.0, kind: code.1.into(), text: text.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if !self.remedy.is_empty() {
            write!(f, " {}", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for ErrorReport {}
