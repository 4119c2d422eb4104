//! Vaults: a process of a user opens, creates, names and syncs that user's files for the daemon.
//!
//! The daemon's user may read nobody's home, and a passed directory would not pass its permissions. So the process
//! does the path's work with its own rights and passes single files. Its connection carries demands as events of a
//! push, a pull or a vault-offer; each is answered by one vault-reply. The process must answer no demand for a path
//! outside of what its user named: the daemon has no right to more.

use serde::{Deserialize, Serialize};

use super::{EntryKind, ErrorReport, IfExists, is_default};
use crate::name::{self, Name};

/// Lend this process, which runs as the jobs' owner, to jobs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VaultOffer {
    /// The jobs. The offer ends when all of them have ended.
    pub jobs: Vec<u64>,
}

/// The answer to a demand. It is the one request that gets no response, unless it is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VaultReply {
    /// Id of the request whose event the demand was.
    pub offer: u64,
    /// Number of the demand.
    pub demand: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Something to be done with the user's rights.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Demand {
    /// Names it in the reply; unique on its connection.
    pub demand: u64,
    /// The job that needs it.
    pub job: u64,
    /// What.
    #[serde(flatten)]
    pub operation: Operation,
}

/// What is to be done. `path` is absolute; a `part` is one component, a file on its way in, in the directory of `path`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "operation", rename_all = "kebab-case")]
pub enum Operation {
    /// Open a file for reading.
    Open {
        /// The file.
        #[serde(flatten, with = "name::path")]
        path: Name,
    },
    /// Create a part, 0600, for reading and writing; it must not exist, missing directories are made.
    Create {
        /// What the file will be called.
        #[serde(flatten, with = "name::path")]
        path: Name,
        /// What it is called until then.
        #[serde(flatten, with = "name::part")]
        part: Name,
        /// What is to become of a file of that name: with `skip` and `fail` it is an [`Obstacle`] already now.
        #[serde(default, skip_serializing_if = "is_default")]
        if_exists: IfExists,
    },
    /// Open a part that was created before, for reading and writing.
    Reopen {
        /// What the file will be called.
        #[serde(flatten, with = "name::path")]
        path: Name,
        /// What it is called until then.
        #[serde(flatten, with = "name::part")]
        part: Name,
    },
    /// Set mode and time of a part, sync it, give it its name, sync the directory.
    Commit {
        /// What it shall be called.
        #[serde(flatten, with = "name::path")]
        path: Name,
        /// What it is called.
        #[serde(flatten, with = "name::part")]
        part: Name,
        /// What to do where that name is taken.
        #[serde(default, skip_serializing_if = "is_default")]
        if_exists: IfExists,
        /// Permission bits; set-id and sticky bits are to be dropped.
        mode: u32,
        /// Modification time, nanoseconds since 1970; absent leaves the time of the last write.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mtime_ns: Option<i64>,
    },
    /// Remove a part.
    Remove {
        /// What the file would have been called.
        #[serde(flatten, with = "name::path")]
        path: Name,
        /// What it is called.
        #[serde(flatten, with = "name::part")]
        part: Name,
    },
    /// Sync a directory.
    Sync {
        /// The directory.
        #[serde(flatten, with = "name::path")]
        path: Name,
    },
    /// Tell what is there, links followed.
    Stat {
        /// The file or directory.
        #[serde(flatten, with = "name::path")]
        path: Name,
    },
    /// An operation that this version does not know: answer that it failed.
    #[serde(other)]
    Unknown,
}

/// What came of a demand.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// Open, create, reopen: the descriptor comes with this frame.
    Opened,
    /// Commit: the file is durable under this name.
    Committed {
        /// Its path.
        #[serde(flatten, with = "name::path")]
        path: Name,
    },
    /// Remove, sync: done.
    Done,
    /// Stat: what is there.
    Found {
        /// What it is; absent if nothing is there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        kind: Option<EntryKind>,
        /// Bytes of a file.
        #[serde(default)]
        bytes: u64,
    },
    /// It could not be done.
    Failed {
        /// Why.
        error: ErrorReport,
        /// Commit: the file has its final name all the same, only that is not durable.
        #[serde(default, skip_serializing_if = "is_default")]
        renamed: bool,
        /// Create, commit: what is there under the final name, if it is that.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        obstacle: Option<Obstacle>,
    },
}

/// What is in the way of a file's name, and not simply an error: the daemon knows what to do about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Obstacle {
    /// A directory: the file may be meant to go inside.
    Directory,
    /// Something that shall not be replaced.
    Exists,
}

impl Operation {
    /// As it is written.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Open { .. } => "open",
            Self::Create { .. } => "create",
            Self::Reopen { .. } => "reopen",
            Self::Commit { .. } => "commit",
            Self::Remove { .. } => "remove",
            Self::Sync { .. } => "sync",
            Self::Stat { .. } => "stat",
            Self::Unknown => "unknown",
        }
    }

    /// What it is about; nothing of an unknown one.
    #[must_use]
    pub const fn path(&self) -> Option<&Name> {
        match self {
            Self::Open { path }
            | Self::Create { path, .. }
            | Self::Reopen { path, .. }
            | Self::Commit { path, .. }
            | Self::Remove { path, .. }
            | Self::Sync { path }
            | Self::Stat { path } => Some(path),
            Self::Unknown => None,
        }
    }
}

impl Outcome {
    /// It could not be done, and nothing of it was.
    #[must_use]
    pub fn failed(error: ErrorReport) -> Self {
        Self::Failed { error, renamed: false, obstacle: None }
    }
}

impl VaultReply {
    pub(super) fn descriptors(&self) -> usize {
        usize::from(self.outcome == Outcome::Opened)
    }
}
