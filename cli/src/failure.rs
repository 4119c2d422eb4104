//! A command that failed: a code of the one table, one line what, one line what to do.

use std::io::Write;

use udpxd::Code;

use crate::escape;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    /// What happened. Shown escaped: it may quote file names, or what a peer said.
    pub(crate) text: String,
    /// What to do about it, as a sentence.
    pub(crate) remedy: String,
}

impl Failure {
    /// With the remedy that the table has for the code.
    pub(crate) fn new(code: Code, text: impl Into<String>) -> Self {
        Self { code, text: text.into(), remedy: code.remedy().to_owned() }
    }

    pub(crate) fn with_remedy(code: Code, text: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, text: text.into(), remedy: remedy.into() }
    }

    pub(crate) fn interrupted() -> Self {
        Self::with_remedy(Code::Interrupted, "interrupted", "The same command can be run again.")
    }

    /// The lines for a person.
    pub(crate) fn lines(&self) -> String {
        let mut lines = format!("udpxctl: {}\n", escape::text(&self.text));
        // Lines of a file to be written are lines here too.
        for line in self.remedy.lines() {
            lines.push_str("  ");
            lines.push_str(&escape::text(line));
            lines.push('\n');
        }
        lines
    }

    /// Says it on standard error.
    pub(crate) fn show(&self) {
        // Where standard error is closed there is nobody to tell; the exit code still says it.
        let _ = std::io::stderr().write_all(self.lines().as_bytes());
    }

    /// The same for one of several hosts.
    pub(crate) fn show_of(&self, host: &str) {
        Self { text: format!("{host}: {}", self.text), ..self.clone() }.show();
    }

    /// One failure for several files (or other `things`) that failed out of `all`: their code if all failed alike, else
    /// [`Code::Partly`].
    pub(crate) fn of_several(failures: &[Failure], all: usize, things: &str) -> Option<Failure> {
        let (first, rest) = failures.split_first()?;
        if all == 1 {
            return Some(first.clone());
        }
        let alike = failures.len() == all && rest.iter().all(|failure| failure.code == first.code);
        let code = if alike { first.code } else { Code::Partly };
        Some(Failure::new(code, format!("{} of {all} {things} failed", failures.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_failures_have_their_common_code_or_partly() {
        let gone = Failure::new(Code::NoSource, "a is not there");
        let full = Failure::new(Code::NoSpace, "no room for b");
        let code =
            |list: &[Failure], all| Failure::of_several(list, all, "files").map(|failure| failure.code);
        assert_eq!(code(&[], 3), None);
        assert_eq!(code(std::slice::from_ref(&gone), 1), Some(Code::NoSource));
        assert_eq!(code(&[gone.clone(), gone.clone()], 2), Some(Code::NoSource));
        assert_eq!(code(std::slice::from_ref(&gone), 2), Some(Code::Partly));
        assert_eq!(code(&[gone, full], 2), Some(Code::Partly));
    }

    #[test]
    fn what_a_peer_says_cannot_reach_the_terminal_raw() {
        let failure = Failure::with_remedy(Code::Refused, "no\x1b[2Jway\nout", "");
        assert_eq!(failure.lines(), "udpxctl: no\\x1b[2Jway\\nout\n");
        let failure = Failure::with_remedy(Code::Refused, "no", "Write:\n  [a]\r\x1b");
        assert_eq!(failure.lines(), "udpxctl: no\n  Write:\n    [a]\\r\\x1b\n");
    }
}
