//! The same things in the words of the engine and in those of the control socket.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::UNIX_EPOCH;

use udpx_control::Name;
use udpx_control::schema::{ErrorReport, IfExists, Obstacle, Operation, Outcome};
use udpx_proto::Code;

use crate::storage::lender::{LentDone, LentFailure, LentOperation};
use crate::storage::part;

/// Whether an outcome is one of this operation.
pub(super) fn fits(operation: &Operation, outcome: &Outcome, with_file: bool) -> bool {
    match (operation, outcome) {
        (_, Outcome::Failed { .. }) => !with_file,
        (Operation::Open { .. } | Operation::Create { .. } | Operation::Reopen { .. }, Outcome::Opened) => {
            with_file
        }
        (Operation::Commit { .. }, Outcome::Committed { .. })
        | (Operation::Remove { .. } | Operation::Sync { .. }, Outcome::Done)
        | (Operation::Stat { .. }, Outcome::Found { .. }) => !with_file,
        _ => false,
    }
}

/// An engine's operation as a demand.
pub(super) fn demanded(operation: LentOperation) -> Operation {
    let name = |path: &Path| Name::from(path);
    match operation {
        LentOperation::Create { path, part, if_exists } => Operation::Create {
            path: name(&path),
            part: name(part.as_ref()),
            if_exists: if_exists_of(if_exists),
        },
        LentOperation::Commit { path, part, if_exists, finish } => Operation::Commit {
            path: name(&path),
            part: name(part.as_ref()),
            if_exists: if_exists_of(if_exists),
            mode: finish.mode,
            mtime_ns: finish.modified.and_then(|time| match time.duration_since(UNIX_EPOCH) {
                Ok(after) => i64::try_from(after.as_nanos()).ok(),
                Err(before) => i64::try_from(before.duration().as_nanos()).ok().map(|ns| -ns),
            }),
        },
        LentOperation::Remove { path, part } => {
            Operation::Remove { path: name(&path), part: name(part.as_ref()) }
        }
    }
}

/// An outcome that fits, as the engine has it.
pub(super) fn done(outcome: Outcome, descriptor: Option<OwnedFd>) -> Result<LentDone, LentFailure> {
    match (outcome, descriptor) {
        (Outcome::Opened, Some(file)) => Ok(LentDone::Opened(file)),
        (Outcome::Committed { path }, _) => Ok(LentDone::Committed(path.into())),
        (Outcome::Failed { obstacle: Some(Obstacle::Directory), .. }, _) => Err(LentFailure::IsDirectory),
        (Outcome::Failed { obstacle: Some(Obstacle::Exists), .. }, _) => Err(LentFailure::Exists),
        (Outcome::Failed { error, renamed, obstacle: None }, _) => {
            let (code, text) = (Code::from_number(error.code), sentence(&error));
            Err(LentFailure::Failed { code, text, renamed })
        }
        (Outcome::Opened | Outcome::Done | Outcome::Found { .. }, _) => Ok(LentDone::Removed),
    }
}

/// An error as one sentence, as the engine's own are: "what happened; what to do."
pub(super) fn sentence(error: &ErrorReport) -> String {
    let mut remedy = error.remedy.chars();
    match remedy.next() {
        Some(first) => {
            let text = error.text.trim_end_matches('.');
            format!("{text}; {}{}", first.to_ascii_lowercase(), remedy.as_str())
        }
        None => error.text.clone(),
    }
}

fn if_exists_of(if_exists: part::IfExists) -> IfExists {
    match if_exists {
        part::IfExists::Replace => IfExists::Replace,
        part::IfExists::Skip => IfExists::Skip,
        part::IfExists::Fail => IfExists::Fail,
        part::IfExists::Rename => IfExists::Rename,
    }
}
