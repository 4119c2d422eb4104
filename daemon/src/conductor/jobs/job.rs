//! One job: its record, and what is known of it only while the daemon runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use udpx_control::schema::{How, JobReport, JobState, Phase as Stage};

use crate::calls::{Given, Run};
use crate::conductor::clients::Address;
use crate::jobs::ledger::unix_ms;
use crate::jobs::record::JobRecord;
use crate::samples::Samples;
use crate::storage::pipe::Outlet;
use crate::trace::Tracer;

/// A job.
pub(super) struct Job {
    pub(super) record: JobRecord,
    pub(super) phase: Phase,
    /// Who hears what happens.
    pub(super) watchers: Vec<Address>,
    /// Files that came as descriptors, by their source.
    pub(super) handed: HashMap<u32, Given>,
    /// Of a pull: where its file goes, if that came as a descriptor.
    pub(super) outlet: Option<Arc<Outlet>>,
    /// Its trace goes on with each of its sessions.
    pub(super) tracer: Option<Tracer>,
    /// When it is tried again.
    pub(super) next_try: Option<Instant>,
    /// Tries in a row that came to nothing.
    pub(super) vain: u32,
    pub(super) pulse: Pulse,
    /// Its way over time, since this daemon has it.
    pub(super) samples: Samples,
    pub(super) since: Instant,
    /// The deadline on the clock that is not set.
    give_up_at: Option<Instant>,
}

/// What of it is under way.
pub(super) enum Phase {
    /// Nothing.
    Rest,
    /// The peer's addresses are looked up.
    Resolving,
    /// Files of these sources are on their way; what then, if it is ended.
    Moving { errand: u32, run: Box<Run>, sources: Vec<u32>, then: Option<Then> },
}

/// Why a run is ended early.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Then {
    Pause,
    Cancel,
    /// Its time is over.
    GiveUp,
    /// The daemon ends; the job goes on with the next one.
    Park,
}

/// How it does at the moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pulse {
    pub(super) rate_bps: u64,
    pub(super) rtt_us: u64,
    pub(super) loss: f64,
    pub(super) stage: Stage,
}

impl Default for Pulse {
    fn default() -> Self {
        Self { rate_bps: 0, rtt_us: 0, loss: 0.0, stage: Stage::Connecting }
    }
}

impl Job {
    pub(super) fn new(record: JobRecord, now: Instant) -> Self {
        let left = record.deadline_unix_ms.map(|at| Duration::from_millis(at.saturating_sub(unix_ms())));
        Self {
            record,
            phase: Phase::Rest,
            watchers: Vec::new(),
            handed: HashMap::new(),
            outlet: None,
            tracer: None,
            next_try: None,
            vain: 0,
            pulse: Pulse::default(),
            samples: Samples::default(),
            since: now,
            give_up_at: left.map(|left| now + left),
        }
    }

    pub(super) fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Moving { run, .. } => Some(run),
            Phase::Rest | Phase::Resolving => None,
        }
    }

    /// Bytes that are at the receiver: of this run, and of those before it.
    pub(super) fn bytes(&self) -> u64 {
        let Phase::Moving { run, sources, .. } = &self.phase else { return self.record.bytes };
        let (bytes, ..) = run.state();
        let before = self.record.files.iter().filter(|(source, _)| !sources.contains(source));
        before.map(|(_, file)| file.bytes).sum::<u64>() + bytes
    }

    /// The same of all bytes; `None` if that is not known.
    pub(super) fn total(&self) -> Option<u64> {
        let Phase::Moving { run, sources, .. } = &self.phase else { return self.record.total };
        let (_, total, _) = run.state();
        let before = self.record.files.iter().filter(|(source, _)| !sources.contains(source));
        Some(before.map(|(_, file)| file.bytes).sum::<u64>() + total).filter(|&total| total > 0)
    }

    /// As it is told.
    pub(super) fn report(&self) -> JobReport {
        let Pulse { rate_bps, rtt_us, loss, .. } = self.pulse;
        let (bytes, total) = (self.bytes(), self.total());
        let rate_bps = if self.record.state == JobState::Running { rate_bps } else { 0 };
        JobReport { bytes, total, rate_bps, rtt_us, loss, ..self.record.report() }
    }

    /// Sources whose files are neither there nor will never be.
    pub(super) fn pending(&self) -> Vec<u32> {
        let all = 0..self.record.sources.len() as u32;
        all.filter(|&source| match self.record.files.of(source) {
            None => true,
            Some(file) => file.error.as_ref().is_some_and(|error| is_passing(error.code)),
        })
        .collect()
    }

    /// A pipe of it is gone: with the daemon that had it, or because the job has ended before.
    pub(super) fn has_lost_pipe(&self) -> bool {
        let source = |&source: &u32| {
            self.record.sources.get(source as usize).is_some_and(|source| source.pipe)
                && !self.handed.contains_key(&source)
        };
        (self.record.destination.how == Some(How::Fd) && self.outlet.is_none())
            || self.pending().iter().any(source)
    }

    /// When it wants to be tried again, or given up.
    pub(super) fn alarm(&self) -> Option<Instant> {
        let active = !self.record.state.is_ended();
        self.next_try.into_iter().chain(self.give_up_at.filter(|_| active)).min()
    }

    /// It has as much time as it likes.
    pub(super) fn forget_deadline(&mut self) {
        (self.give_up_at, self.record.deadline_unix_ms) = (None, None);
    }

    /// Its time is over.
    pub(super) fn is_too_late(&self, now: Instant) -> bool {
        !self.record.state.is_ended() && self.give_up_at.is_some_and(|at| now >= at)
    }
}

/// What waiting may mend: unreachable, and "try again".
pub(super) fn is_passing(code: u32) -> bool {
    use udpx_proto::Code;
    [Code::Unreachable, Code::TryAgain].iter().any(|passing| passing.number() == code)
}
