//! Calls and their answers: from a job for a clerk to the reply that the engine gets.

use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, bounded};
use udpx_control::descriptor::classify;
use udpx_proto::Code;

use super::{LENT_CALLS_MAX, LentDone, LentFailure, LentOperation, LentVault};
use crate::storage::Bell;
use crate::storage::fileops::LinuxFiles;
use crate::storage::part::Part;
use crate::storage::path::{RelPath, part_name};
use crate::storage::reserve::reserve;
use crate::storage::vault::{PartSpec, VaultError};
use crate::storage::writers::{ClerkJob, WriteReply};

/// Where the answer to a call goes. Dropped, it says that the process is gone.
#[derive(Debug)]
pub struct LentAnswer {
    /// `None` once it was given, or where nobody waits.
    whom: Option<Box<(Asker, Errand)>>,
    path: PathBuf,
}

/// What was wanted, with what is needed to go on.
enum Errand {
    Create { tag: u64, lender: LentVault, path: RelPath, part: OsString, spec: PartSpec },
    Commit { tag: u64, part: Arc<Part> },
}

impl LentAnswer {
    /// One that nobody waits for.
    pub(super) fn unwanted(path: PathBuf) -> Self {
        Self { whom: None, path }
    }

    /// The file that it is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What came of it. What does not belong to the operation is an error of the protocol.
    pub fn complete(mut self, outcome: Result<LentDone, LentFailure>) {
        self.give(outcome);
    }

    /// It failed, for a reason with a code and a sentence: "what happened; what to do."
    pub fn fail(mut self, code: Code, text: String) {
        self.give(Err(LentFailure::Failed { code, text, renamed: false }));
    }

    fn give(&mut self, outcome: Result<LentDone, LentFailure>) {
        let Some(whom) = self.whom.take() else { return };
        let (asker, errand) = *whom;
        asker.send(errand.end(outcome, &self.path));
    }
}

impl Drop for LentAnswer {
    fn drop(&mut self) {
        if self.whom.is_some() {
            let text = format!(
                "{:?} is out of reach: the process that lent it is gone; run the command again.",
                self.path
            );
            self.give(Err(LentFailure::Failed { code: Code::TryAgain, text, renamed: false }));
        }
    }
}

impl Errand {
    fn end(self, outcome: Result<LentDone, LentFailure>, path: &Path) -> Answered {
        let failed = |failure| match failure {
            LentFailure::IsDirectory => VaultError::IsDirectory(path.into()),
            LentFailure::Exists => VaultError::Exists(path.into()),
            LentFailure::Failed { code, text, .. } => VaultError::Lent { code, text },
        };
        let confused = || {
            let text = format!(
                "{path:?} was lent by a process that did something else than it was asked for; install the same version of udpxctl and udpxd."
            );
            VaultError::Lent { code: Code::Protocol, text }
        };
        match (self, outcome) {
            (Self::Create { tag, lender, path, part, spec }, Ok(LentDone::Opened(file))) => {
                Answered::Adopt(Box::new(Adoption { tag, lender, path, part, spec, file: file.into() }))
            }
            (Self::Create { tag, .. }, outcome) => {
                let error = outcome.map_or_else(failed, |_| confused());
                Answered::Reply(WriteReply::Created { tag, result: Err(error) })
            }
            (Self::Commit { tag, part }, Ok(LentDone::Committed(path))) => {
                part.keep();
                Answered::Reply(WriteReply::Committed { tag, result: Ok(path) })
            }
            (Self::Commit { tag, part }, outcome) => {
                if matches!(outcome, Err(LentFailure::Failed { renamed: true, .. })) {
                    part.keep();
                }
                let error = outcome.map_or_else(failed, |_| confused());
                Answered::Reply(WriteReply::Committed { tag, result: Err(error) })
            }
        }
    }
}

impl std::fmt::Debug for Errand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Create { tag, path, .. } => write!(f, "Create({tag}, {path:?})"),
            Self::Commit { tag, part } => write!(f, "Commit({tag}, {part:?})"),
        }
    }
}

/// A file that came for a part.
pub struct Adoption {
    pub(in crate::storage) tag: u64,
    lender: LentVault,
    path: RelPath,
    part: OsString,
    spec: PartSpec,
    file: File,
}

impl Adoption {
    /// Looks at the file and reserves its space: it may block. What is not adopted is removed.
    pub(in crate::storage) fn adopt(self) -> Result<Part, VaultError> {
        let Self { lender, path, part, spec, file, .. } = self;
        let checked = classify(&file).map_err(Into::into).and_then(|descriptor| descriptor.check_part());
        let place = lender.place(&path, part, spec.if_exists);
        let shown = place.dir_path.join(&place.name);
        let ops = Arc::new(LinuxFiles);
        let reserved = match checked {
            Ok(()) => reserve(&*ops, &file, &shown, spec.size.unwrap_or(0)),
            Err(error) => {
                let text = format!("{shown:?} was not lent as a part: {error}");
                Err(VaultError::Lent { code: Code::Protocol, text })
            }
        };
        // From here on dropping the part removes the file.
        let part = Part::lent(ops, lender, file, spec.size, place);
        reserved.map(|()| part)
    }
}

/// What a call has led to.
pub(crate) enum Answered {
    /// A reply for the engine.
    Reply(WriteReply),
    /// A clerk has to look at it first.
    Adopt(Box<Adoption>),
}

/// The engine's end of the answers.
pub(crate) struct Answers {
    receiver: Receiver<Answered>,
    asker: Asker,
}

/// Whoever waits for answers.
#[derive(Clone)]
struct Asker {
    sender: Sender<Answered>,
    bell: Bell,
    /// Calls without an answer, and answers that were not fetched.
    under_way: Arc<AtomicUsize>,
}

impl Asker {
    fn send(self, answered: Answered) {
        // There is always room; the engine may be gone, and then nobody needs to know.
        if self.sender.try_send(answered).is_ok() {
            (self.bell)();
        }
    }
}

impl std::fmt::Debug for Asker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asker")
    }
}

impl Answers {
    /// `bell` wakes the engine.
    pub(crate) fn new(bell: &Bell) -> Self {
        let (sender, receiver) = bounded(LENT_CALLS_MAX);
        let asker = Asker { sender, bell: bell.clone(), under_way: Arc::default() };
        Self { receiver, asker }
    }

    /// The next answer.
    pub(crate) fn next(&self) -> Option<Answered> {
        let answered = self.receiver.try_recv().ok()?;
        self.asker.under_way.fetch_sub(1, Ordering::AcqRel);
        Some(answered)
    }

    /// Sends a job to the lender whose business it is; gives back one that is a clerk's, or an error at once.
    pub(crate) fn route(&self, job: ClerkJob) -> Routed {
        match job {
            ClerkJob::Create { tag, vault, path, spec } => match vault.as_lent() {
                None => Routed::Clerk(ClerkJob::Create { tag, vault, path, spec }),
                Some(lender) => self.create(tag, lender, path, spec),
            },
            ClerkJob::Commit { tag, vault, part, finish } => match part.lender() {
                None => Routed::Clerk(ClerkJob::Commit { tag, vault, part, finish }),
                Some((lender, place)) => {
                    let (path, name) = (place.dir_path.join(&place.name), place.part_name.clone());
                    let operation = LentOperation::Commit {
                        path: path.clone(),
                        part: name,
                        if_exists: place.if_exists,
                        finish,
                    };
                    let poisoned = part.is_poisoned().then(|| VaultError::Poisoned(path.clone()));
                    let lender = lender.clone();
                    self.call(&lender, operation, path, Errand::Commit { tag, part }, poisoned)
                }
            },
            job => Routed::Clerk(job),
        }
    }

    fn create(&self, tag: u64, lender: &LentVault, path: RelPath, spec: PartSpec) -> Routed {
        let (shown, part) = (lender.base.join(path.as_path()), part_name(spec.nonce));
        let operation =
            LentOperation::Create { path: shown.clone(), part: part.clone(), if_exists: spec.if_exists };
        let errand = Errand::Create { tag, lender: lender.clone(), path, part, spec };
        self.call(lender, operation, shown, errand, None)
    }

    fn call(
        &self,
        lender: &LentVault,
        operation: LentOperation,
        path: PathBuf,
        errand: Errand,
        error: Option<VaultError>,
    ) -> Routed {
        let under_way = self.asker.under_way.fetch_add(1, Ordering::AcqRel);
        let error = error.or_else(|| {
            let text = format!("{path:?} has to wait for too many others; try again later.");
            (under_way >= LENT_CALLS_MAX).then_some(VaultError::Lent { code: Code::TryAgain, text })
        });
        if let Some(error) = error {
            self.asker.under_way.fetch_sub(1, Ordering::AcqRel);
            return Routed::Reply(match errand {
                Errand::Create { tag, .. } => WriteReply::Created { tag, result: Err(error) },
                Errand::Commit { tag, .. } => WriteReply::Committed { tag, result: Err(error) },
            });
        }
        lender.send(operation, LentAnswer { whom: Some(Box::new((self.asker.clone(), errand))), path });
        Routed::Sent
    }
}

/// What became of a job for a clerk.
pub(crate) enum Routed {
    /// It is one.
    Clerk(ClerkJob),
    /// A lender has it.
    Sent,
    /// It has come to its end already.
    Reply(WriteReply),
}

#[cfg(test)]
mod tests {
    use super::super::LentCall;
    use super::*;
    use crate::storage::part::IfExists;

    fn create(tag: u64, vault: &LentVault) -> ClerkJob {
        let spec = PartSpec { size: Some(1), if_exists: IfExists::Replace, nonce: tag };
        let path = RelPath::parse("f").unwrap_or_else(|error| unreachable!("{error}"));
        ClerkJob::Create { tag, vault: Arc::new(vault.clone()), path, spec }
    }

    fn bell() -> Bell {
        Arc::new(|| {})
    }

    fn failure(answered: &Option<Answered>) -> (u64, Code) {
        match answered {
            Some(Answered::Reply(WriteReply::Created {
                tag,
                result: Err(VaultError::Lent { code, .. }),
            })) => (*tag, *code),
            _ => panic!("no failure"),
        }
    }

    #[test]
    fn a_full_queue_is_an_error_at_once_and_a_dropped_call_too() {
        let answers = Answers::new(&bell());
        let (calls, queue) = bounded(1);
        let vault = LentVault::new(1, "/home/alice".into(), calls, bell());
        assert!(matches!(answers.route(create(1, &vault)), Routed::Sent) && answers.next().is_none());
        assert!(matches!(answers.route(create(2, &vault)), Routed::Sent));
        assert_eq!(failure(&answers.next()), (2, Code::TryAgain));
        let LentCall { job, operation, answer } = queue.recv().unwrap();
        let part = OsString::from(".udpx-0000000000000001.part");
        let path = PathBuf::from("/home/alice/f");
        assert_eq!(operation, LentOperation::Create { path, part, if_exists: IfExists::Replace });
        assert_eq!((job, answer.path()), (1, Path::new("/home/alice/f")));
        drop(answer);
        assert_eq!(failure(&answers.next()), (1, Code::TryAgain));
        drop(queue);
        assert!(matches!(answers.route(create(3, &vault)), Routed::Sent));
        assert_eq!(failure(&answers.next()), (3, Code::TryAgain));
        assert_eq!(answers.asker.under_way.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn answers_always_find_room() {
        let answers = Answers::new(&bell());
        let (calls, queue) = bounded(2 * LENT_CALLS_MAX);
        let vault = LentVault::new(1, "/".into(), calls, bell());
        for tag in 0..LENT_CALLS_MAX as u64 {
            assert!(matches!(answers.route(create(tag, &vault)), Routed::Sent));
        }
        assert!(matches!(answers.route(create(0, &vault)), Routed::Reply(_)), "one too many");
        queue.try_iter().for_each(|call| call.answer.complete(Err(LentFailure::IsDirectory)));
        let mut count = 0;
        while let Some(Answered::Reply(WriteReply::Created { result, .. })) = answers.next() {
            assert!(matches!(result, Err(VaultError::IsDirectory(_))));
            count += 1;
        }
        assert_eq!(count, LENT_CALLS_MAX);
        assert!(matches!(answers.route(create(0, &vault)), Routed::Sent));
    }

    #[test]
    fn what_does_not_belong_to_an_operation_is_an_error() {
        let answers = Answers::new(&bell());
        let (calls, queue) = bounded(4);
        let vault = LentVault::new(1, "/".into(), calls, bell());
        for done in [LentDone::Removed, LentDone::Committed("/f".into())] {
            assert!(matches!(answers.route(create(1, &vault)), Routed::Sent));
            queue.recv().unwrap().answer.complete(Ok(done));
            assert_eq!(failure(&answers.next()), (1, Code::Protocol));
        }
    }
}
