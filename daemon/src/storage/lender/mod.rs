//! A vault whose names are another process's business: a user's own files.
//!
//! ```text
//!  engine ──► Queue ──► LentCall (bounded channel, bell) ──► conductor ──► the user's process
//!     ▲                                                                            │
//!     └── WriteReply ◄── adopted by a clerk ◄── LentAnswer (channel, bell) ◄───────┘
//! ```
//!
//! The daemon's user may neither create nor rename there. So what a clerk would do becomes a [`LentCall`], which goes to
//! whoever talks to the user's process. That process passes the part as an open file; a clerk looks at it, reserves its
//! space, and from there on it is written like any other. No thread waits for an answer.
//!
//! Calls under way are counted ([`LENT_CALLS_MAX`]), and the channel of the answers has room for as many: an answer
//! always fits, and whoever gives it never waits. A call that is dropped is answered too, with an error.

mod answer;

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use crossbeam_channel::Sender;
use udpx_proto::Code;

pub use answer::LentAnswer;
pub(crate) use answer::{Adoption, Answered, Answers, Routed};

use super::Bell;
use super::listing::Listing;
use super::part::{Finish, IfExists, Part, Place};
use super::path::RelPath;
use super::source::{Loading, Source, SourceError};
use super::vault::{PartSpec, Vault, VaultError};

/// Calls of one engine without an answer.
pub const LENT_CALLS_MAX: usize = 1024;

/// Something to be done by the process of a file's owner.
#[derive(Debug)]
pub struct LentCall {
    /// The job that needs it.
    pub job: u64,
    /// What.
    pub operation: LentOperation,
    /// Whom to tell what came of it.
    pub answer: LentAnswer,
}

/// What is to be done. Paths are absolute; a `part` stands in the directory of `path`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LentOperation {
    /// Create a part and open it for reading and writing.
    Create {
        /// What the file will be called.
        path: PathBuf,
        /// What it is called until then.
        part: OsString,
        /// With skip and fail it is an obstacle already now if `path` is taken.
        if_exists: IfExists,
    },
    /// Make a part durable under its final name.
    Commit {
        /// What it shall be called.
        path: PathBuf,
        /// What it is called.
        part: OsString,
        /// What to do where that name is taken.
        if_exists: IfExists,
        /// Its mode and time.
        finish: Finish,
    },
    /// Remove a part. Nobody waits for the answer.
    Remove {
        /// What it would have been called.
        path: PathBuf,
        /// What it is called.
        part: OsString,
    },
}

/// What was done.
#[derive(Debug)]
pub enum LentDone {
    /// Of a create: the part.
    Opened(OwnedFd),
    /// Of a commit: the name that the file got.
    Committed(PathBuf),
    /// Of a remove.
    Removed,
}

/// Why it was not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LentFailure {
    /// The final name is that of a directory.
    IsDirectory,
    /// The final name is taken, and what has it is to be left.
    Exists,
    /// Any other reason.
    Failed {
        /// Of the table of errors.
        code: Code,
        /// "What happened; what to do."
        text: String,
        /// The file has its final name all the same, only that is not durable.
        renamed: bool,
    },
}

/// A directory that belongs to a user, and whose files a process of that user creates and names.
#[derive(Clone)]
pub struct LentVault {
    job: u64,
    base: PathBuf,
    calls: Sender<LentCall>,
    bell: Bell,
}

impl LentVault {
    /// What is beneath `base`, an absolute path, for a job. Calls are sent to `calls` and then announced by `bell`.
    pub fn new(job: u64, base: PathBuf, calls: Sender<LentCall>, bell: Bell) -> Self {
        Self { job, base, calls, bell }
    }

    /// A clerk was asked for what only the other process can do.
    pub(super) fn misused() -> VaultError {
        let text = "A user's file was to be named by the daemon itself; this is a defect, please report it.";
        VaultError::Lent { code: Code::Bug, text: text.into() }
    }

    /// Wants a part removed. Where that cannot be asked for, the other process removes it when it ends.
    pub(super) fn discard(&self, place: &Place) {
        let (path, part) = (place.dir_path.join(&place.name), place.part_name.clone());
        let answer = LentAnswer::unwanted(path.clone());
        self.send(LentOperation::Remove { path, part }, answer);
    }

    fn send(&self, operation: LentOperation, answer: LentAnswer) {
        match self.calls.try_send(LentCall { job: self.job, operation, answer }) {
            Ok(()) => (self.bell)(),
            Err(crossbeam_channel::TrySendError::Full(call)) => {
                let text =
                    format!("{:?} has to wait for too many others; try again later.", call.answer.path());
                call.answer.fail(Code::TryAgain, text);
            }
            // Dropped, and so answered.
            Err(crossbeam_channel::TrySendError::Disconnected(_)) => {}
        }
    }
}

impl Vault for LentVault {
    fn open_source(&self, path: &RelPath, _: Loading) -> Result<Source, SourceError> {
        Err(SourceError::Unreadable(self.base.join(path.as_path())))
    }

    fn create_part(&self, _: &RelPath, _: PartSpec) -> Result<Part, VaultError> {
        Err(Self::misused())
    }

    fn commit(&self, _: &Part, _: Finish) -> Result<PathBuf, VaultError> {
        Err(Self::misused())
    }

    fn list(&self, path: Option<&RelPath>) -> Result<Listing, SourceError> {
        Err(SourceError::Unreadable(
            path.map_or_else(|| self.base.clone(), |path| self.base.join(path.as_path())),
        ))
    }

    fn as_lent(&self) -> Option<&LentVault> {
        Some(self)
    }
}

impl LentVault {
    fn place(&self, path: &RelPath, part_name: OsString, if_exists: IfExists) -> Place {
        Place {
            dir_path: self.base.join(path.parent()),
            part_name,
            name: path.name().to_os_string(),
            if_exists,
        }
    }
}
