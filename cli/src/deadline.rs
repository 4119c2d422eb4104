//! `--deadline` without a daemon: a thread that stops the transfer when its time is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use udpxd::Code;

use crate::failure::Failure;
use crate::run::Outcome;
use crate::units;

/// A deadline, until it is dropped.
pub(crate) struct Deadline {
    time: Duration,
    is_over: Arc<AtomicBool>,
    /// Dropped, it ends the thread.
    _end: Sender<()>,
}

impl Deadline {
    /// Sets `cancel` when the time is over.
    pub(crate) fn start(time: Duration, cancel: Arc<AtomicBool>) -> Self {
        let (end, ended) = bounded(0);
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        std::thread::spawn(move || {
            if ended.recv_timeout(time) == Err(RecvTimeoutError::Timeout) {
                over.store(true, Ordering::Release);
                cancel.store(true, Ordering::Release);
            }
        });
        Self { time, is_over, _end: end }
    }

    /// Names the deadline where it was what ended a transfer.
    pub(crate) fn name(&self, mut outcome: Outcome) -> Outcome {
        let was_stopped = |failure: &&mut Failure| failure.code == Code::Interrupted;
        if self.is_over.load(Ordering::Acquire)
            && let Some(failure) = outcome.failure.as_mut().filter(was_stopped)
        {
            let text = format!("it was not done within {}", units::whole_seconds(self.time));
            let remedy = "Run the same command again, with a later --deadline or none.";
            *failure = Failure::with_remedy(Code::TryAgain, text, remedy);
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_it_has_ended_is_late() {
        let cancel = Arc::new(AtomicBool::new(false));
        let code = |outcome: Outcome| outcome.failure.map(|failure| failure.code);
        let interrupted = || Outcome::failed(Failure::interrupted());
        let far = Deadline::start(Duration::from_secs(3600), cancel.clone());
        assert_eq!(code(far.name(interrupted())), Some(Code::Interrupted));
        let near = Deadline::start(Duration::from_millis(1), cancel.clone());
        while !cancel.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        assert_eq!(code(near.name(interrupted())), Some(Code::TryAgain));
        let other = Outcome::failed(Failure::new(Code::Io, "a disk broke"));
        assert_eq!(code(near.name(other)), Some(Code::Io));
    }
}
