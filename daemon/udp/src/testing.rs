//! Faults and recordings at the system call layer, for the tests of whoever drives a socket.
//!
//! ```no_run
//! use udpx_udp::testing::{Fault, FaultPlan};
//! use udpx_udp::{Errno, Socket, SocketOptions};
//! # fn main() -> std::io::Result<()> {
//! let mut socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::default())?;
//! // The device turns out to have no checksum offload in the third call, and its queue is full in the sixth.
//! let plan = FaultPlan::new().at(2, Fault::Error(Errno::EIO)).at(5, Fault::Error(Errno::ENOBUFS));
//! socket.inject_send(plan.injector());
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use nix::errno::Errno;

use crate::sys::Submission;

/// Asked before each `sendmmsg`: what should go wrong with it.
pub type SendInjector = Box<dyn FnMut(&SendAttempt<'_>) -> Option<Fault> + Send>;

/// Asked before each `recvmmsg` with the number of the call: the error to fail with.
pub type RecvInjector = Box<dyn FnMut(u64) -> Option<Errno> + Send>;

/// What goes wrong with a `sendmmsg`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails with that error; the kernel never sees it.
    Error(Errno),
    /// Only that many messages (at least 1) reach the kernel.
    Short(usize),
    /// It seems to succeed, and nothing is sent.
    Vanish,
    /// That many messages (at least 1) seem to be sent, and are not; the rest is left for another call.
    VanishFirst(usize),
}

/// A `sendmmsg` that is about to happen.
pub struct SendAttempt<'a> {
    /// Calls since the injector was set, this one not counted.
    pub call: u64,
    messages: &'a Submission<'a>,
}

impl<'a> SendAttempt<'a> {
    pub(crate) fn new(call: u64, messages: &'a Submission<'_>) -> Self {
        Self { call, messages }
    }

    /// Messages in the call.
    #[must_use]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether there is none, which never happens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Message `index`, less than `len()`.
    #[must_use]
    pub fn message(&self, index: usize) -> RecordedMessage {
        let (segment, slices) = self.messages.describe(index);
        let slices: Vec<Range<usize>> = slices.map(|(address, bytes)| address..address + bytes).collect();
        RecordedMessage { call: self.call, segment, slices }
    }
}

/// One message of a `sendmmsg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedMessage {
    /// Number of the call.
    pub call: u64,
    /// The `UDP_SEGMENT` size; `None` for a single packet.
    pub segment: Option<u16>,
    /// Addresses of the slices, for comparison only.
    pub slices: Vec<Range<usize>>,
}

impl RecordedMessage {
    /// Payload bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slices.iter().map(ExactSizeIterator::len).sum()
    }

    /// Packets that the kernel makes of it.
    #[must_use]
    pub fn packets(&self) -> usize {
        self.segment.map_or(1, |segment| self.bytes().div_ceil(usize::from(segment)))
    }
}

/// Faults by the number of the call, from 0.
#[derive(Debug, Clone, Default)]
pub struct FaultPlan {
    faults: BTreeMap<u64, Fault>,
}

impl FaultPlan {
    /// No fault.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// And `fault` in call number `call`.
    #[must_use]
    pub fn at(mut self, call: u64, fault: Fault) -> Self {
        self.faults.insert(call, fault);
        self
    }

    /// The plan as an injector.
    #[must_use]
    pub fn injector(self) -> SendInjector {
        Box::new(move |attempt| self.faults.get(&attempt.call).copied())
    }
}

/// A kernel that refuses certain messages with `errno`, as a real one does: it takes those before the first refused
/// one, and fails only a call that begins with it.
pub fn refuse(errno: Errno, refused: impl Fn(&RecordedMessage) -> bool + Send + 'static) -> SendInjector {
    Box::new(move |attempt| match (0..attempt.len()).position(|index| refused(&attempt.message(index))) {
        Some(0) => Some(Fault::Error(errno)),
        Some(before) => Some(Fault::Short(before)),
        None => None,
    })
}

/// A device that damages what it segments: trains seem to be sent and never arrive, single packets do.
#[must_use]
pub fn damaging() -> SendInjector {
    Box::new(|attempt| {
        let is_train = |index: usize| attempt.message(index).packets() > 1;
        match (0..attempt.len()).position(is_train) {
            Some(0) => {
                let trains = (0..attempt.len()).take_while(|&index| is_train(index)).count();
                Some(Fault::VanishFirst(trains))
            }
            Some(before) => Some(Fault::Short(before)),
            None => None,
        }
    })
}

/// Remembers every message that was about to be sent, those refused afterwards included.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    messages: Arc<Mutex<Vec<RecordedMessage>>>,
}

impl Recording {
    /// An empty recording; clones share it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An injector that records, then asks `faults`.
    #[must_use]
    pub fn injector(&self, mut faults: SendInjector) -> SendInjector {
        let messages = Arc::clone(&self.messages);
        Box::new(move |attempt| {
            let seen = (0..attempt.len()).map(|index| attempt.message(index));
            messages.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
            faults(attempt)
        })
    }

    /// What was recorded since the last time.
    #[must_use]
    pub fn take(&self) -> Vec<RecordedMessage> {
        std::mem::take(&mut *self.messages.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
