//! This process, lent to a job beside the following of it.
//!
//! A push or pull gets its demands on its own request. A job that was resumed, or whose daemon has been restarted, gets
//! them by a vault-offer, on a connection and a thread of its own.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::bounded;
use udpx_control::schema::VaultOffer;
use udpxd::Code;

use crate::agent::Lent;
use crate::failure::Failure;
use crate::lend::{Lender, Step, drive};
use crate::{ask, engine};

/// An offer that ends with the handle.
pub(super) struct Offer {
    stop: Arc<AtomicBool>,
    leave: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), Failure>>>,
}

/// How long the daemon may need to take an offer before it is resumed all the same.
const TAKEN_TIME_MAX: Duration = Duration::from_secs(5);

impl Offer {
    /// Offers this process, which lends what is named, to a job, and waits until the daemon has taken the offer or
    /// refused it.
    ///
    /// # Errors
    /// What is to be lent is not there, or the system has no thread left.
    pub(super) fn start(socket: &Path, job: u64, lent: &Lent) -> Result<Self, Failure> {
        let lender = Lender::new(&lent.sources, &lent.destinations)?;
        let (stop, leave) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (stopped, left, socket) = (stop.clone(), leave.clone(), socket.to_owned());
        let (tell_taken, taken) = bounded::<()>(0);
        let serve = move || {
            let mut client = engine::again(&socket)?;
            let mut tell_taken = Some(tell_taken);
            let each = |step| {
                if matches!(step, Step::Accepted(_) | Step::Event(_)) {
                    tell_taken = None;
                }
                match stopped.load(Ordering::Acquire) {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            let end = drive(&mut client, VaultOffer { jobs: vec![job] }, &[], Some(&lender), each);
            if left.load(Ordering::Acquire) {
                lender.leave_parts();
            }
            end.map(drop).map_err(|error| ask::failed(&error))
        };
        let thread = std::thread::Builder::new().name("lend".into()).spawn(serve);
        let thread = thread
            .map_err(|error| Failure::new(Code::Other, format!("no thread could be started: {error}")))?;
        // Nothing is ever sent: the end of the channel is what tells.
        let _ = taken.recv_timeout(TAKEN_TIME_MAX);
        Ok(Self { stop, leave, thread: Some(thread) })
    }

    /// Why it is over before it was stopped, told once.
    pub(super) fn failed(&mut self) -> Option<Failure> {
        let thread = self.thread.take_if(|thread| thread.is_finished())?;
        // What panicked is a bug that was told; the job waits for another offer.
        thread.join().ok()?.err()
    }

    /// Another process takes its place, and goes on with what is unfinished.
    pub(super) fn leave_parts(&self) {
        self.leave.store(true, Ordering::Release);
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
