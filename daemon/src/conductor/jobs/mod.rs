//! The jobs of a daemon: what users have asked for, from the moment it is accepted until history forgets it.
//!
//! ```text
//!            accepted once it is on the disk
//! submit ──────────────► queued ──► running ──► done, failed
//!                          ▲  ▲        │ │
//!            resume, ──────┘  └────────┘ └► waiting (for its time, or for its owner), paused, cancelled
//!            its time has come
//! ```
//!
//! A job that runs is a [`Run`](calls::Run) on the daemon's engine. What can be mended by waiting makes it wait, for ever if no
//! deadline was set; files that are there already are not moved again. A job of a user's own files needs a process of
//! that user ([`Lending`]): without one it waits and says so.
//!
//! Everything here is driven by the conductor's loop and nothing waits. What changes is written by the [`Ledger`].

mod control;
mod job;
mod start;
mod submit;
mod tell;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use crossbeam_channel::Sender;
use udpx_control::schema::{ErrorReport, Event, JobCounts, JobReport, JobState, Reply, RootReport};
use udpx_control::server::PeerCredentials;
use udpx_proto::Code;

use super::access::Admins;
use super::caps::{Capped, Caps};
use super::clients::{Address, Out};
use super::lending::Lending;
use super::reports::error;
use super::resolver::Resolver;
use super::roots::RootChange;
use super::{Asker, ErrandIds};
use crate::calls::{self, Errand};
use crate::config::{Limits, Peer};
use crate::engine::EngineHandle;
use crate::engine::report::Report;
use crate::jobs::ledger::{Ledger, LedgerReport, Sequence, unix_ms};
use crate::jobs::record::{History, JobRecord};
use crate::storage::Bell;
use crate::storage::lender::LentCall;
pub(super) use control::Who;
use job::{Job, Phase};

/// What the conductor asked a lender for: a file of a job's run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    job: u64,
    errand: u32,
    index: usize,
}

/// What jobs need of the conductor while something happens.
pub(super) struct Cx<'a> {
    pub(super) engine: &'a EngineHandle,
    pub(super) lending: &'a mut Lending<Wanted>,
    pub(super) resolver: &'a Resolver<Asker>,
    pub(super) ids: &'a mut ErrandIds,
    pub(super) peers: &'a [Peer],
    pub(super) caps: &'a mut Caps,
    pub(super) out: &'a mut Out,
    pub(super) now: Instant,
}

/// All jobs that are remembered.
pub(super) struct Jobs {
    ledger: Ledger,
    table: BTreeMap<u64, Job>,
    /// Those of them with something under way: few, while the table may be long.
    active: BTreeSet<u64>,
    /// Jobs that are not on the disk yet: up to where that must be, and who waits for word.
    unkept: BTreeMap<u64, (Sequence, Address)>,
    /// When the first of them wants to be tried again, or given up.
    alarm: Option<Instant>,
    limits: Limits,
    /// Who follows all jobs, and of which user; of all users if `None`.
    followers: Vec<(Address, Option<u32>)>,
    /// Requests that do nothing but lend: they end with their jobs.
    offers: HashSet<Address>,
    /// Roots that were changed, or the cap of everything: up to where that must be on the disk, who is told then, and
    /// which root.
    unkept_settings: Vec<(Sequence, Address, Option<RootReport>)>,
    /// For the vaults of their runs.
    lent: (Sender<LentCall>, Bell),
    /// Something may be started.
    stirred: bool,
    /// When history is looked through.
    prune_at: Instant,
}

impl Jobs {
    /// Those that a ledger kept. What ran when the daemon ended is queued again.
    pub(super) fn new(
        ledger: Ledger,
        kept: Vec<JobRecord>,
        limits: Limits,
        lent: (Sender<LentCall>, Bell),
        now: Instant,
    ) -> Self {
        let mut jobs = Self {
            ledger,
            table: BTreeMap::new(),
            active: BTreeSet::new(),
            unkept: BTreeMap::new(),
            alarm: Some(now),
            limits,
            followers: Vec::new(),
            offers: HashSet::new(),
            unkept_settings: Vec::new(),
            lent,
            stirred: true,
            prune_at: now + PRUNE_EVERY,
        };
        for mut record in kept {
            if matches!(record.state, JobState::Running | JobState::Waiting { .. } | JobState::Unknown) {
                record.state = JobState::Queued;
            }
            jobs.table.insert(record.id, Job::new(record, now));
        }
        jobs
    }

    /// A changed configuration is in force.
    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        self.stirred = true;
    }

    /// The ledger, for what else it keeps.
    pub(super) fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// The ledger's bell has rung.
    pub(super) fn on_ledger(&mut self, cx: &mut Cx<'_>) {
        while let Some(report) = self.ledger.poll() {
            match report {
                LedgerReport::Durable(_) => {
                    self.accept_durable(cx);
                    self.tell_kept_settings(cx);
                }
                LedgerReport::Failing(failing) => self.refuse_unkept(&failing.to_string(), cx),
            }
        }
    }

    /// An administrator has changed the roots, which is told once it is kept; `added` is a new one as it is now.
    pub(super) fn keep_root(&mut self, from: Address, change: &RootChange, added: Option<RootReport>) {
        let sequence = match change {
            RootChange::Set(name, path) => self.ledger.set_root(name, path),
            RootChange::Removed(name) => self.ledger.remove_root(name),
        };
        self.unkept_settings.push((sequence, from, added));
    }

    fn tell_kept_settings(&mut self, cx: &mut Cx<'_>) {
        let kept = |(sequence, ..): &mut (Sequence, _, _)| self.ledger.is_durable(*sequence);
        for (_, to, added) in self.unkept_settings.extract_if(.., kept) {
            added.into_iter().for_each(|root| cx.out.event(to, Event::Root(root)));
            cx.out.done(to, Reply::Nothing);
        }
    }

    /// A report of the engine; gives back one that is no job's.
    pub(super) fn on_report(&mut self, report: Report, cx: &mut Cx<'_>) -> Option<Report> {
        let owner = self.runs().find(|(_, run)| run.link().owns(&report));
        let Some(id) = owner.map(|(job, _)| job.record.id) else { return Some(report) };
        let (fresh, ended) =
            (matches!(report, Report::Connected { .. }), matches!(report, Report::Ended { .. }));
        self.with_run(id, cx, |run, cx| run.on_report(report, cx));
        if fresh || ended {
            cx.caps.divide_anew();
        }
        None
    }

    /// The job whose session this is, and what its user calls the peer.
    pub(super) fn of_session(&self, session: u64) -> Option<(u64, &str)> {
        let mut runs = self.runs();
        let (job, _) = runs.find(|(_, run)| run.link().session() == Some(session))?;
        Some((job.record.id, job.record.host.as_str()))
    }

    /// The sessions of jobs, for what they may move together.
    pub(super) fn capped(&self) -> impl Iterator<Item = Capped> {
        let capped = |(job, run): (&Job, &calls::Run)| {
            Some(Capped { session: run.link().session()?, own: job.record.options.limit_bps })
        };
        self.runs().filter_map(capped)
    }

    /// The jobs that run.
    fn runs(&self) -> impl Iterator<Item = (&Job, &calls::Run)> {
        let active = self.active.iter().filter_map(|id| self.table.get(id));
        active.filter_map(|job| Some((job, job.run()?)))
    }

    /// Something is due for a job then.
    fn wake_at(&mut self, at: Instant) {
        self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at)));
    }

    /// Does what is due.
    pub(super) fn due(&mut self, cx: &mut Cx<'_>) {
        let due = self.runs().filter(|(_, run)| cx.now >= run.deadline());
        let due: Vec<u64> = due.map(|(job, _)| job.record.id).collect();
        for id in due {
            self.with_run(id, cx, Errand::due);
        }
        if self.alarm.is_some_and(|at| cx.now >= at) {
            self.check_times(cx);
        }
        if std::mem::take(&mut self.stirred) {
            self.start_queued(cx);
        }
        if cx.now >= self.prune_at {
            self.prune_at = cx.now + PRUNE_EVERY;
            self.prune();
        }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Instant {
        let runs = self.runs().map(|(_, run)| run.deadline());
        runs.chain(self.alarm).fold(self.prune_at, Instant::min)
    }

    /// How many there are of each kind.
    pub(super) fn counts(&self) -> JobCounts {
        let mut counts = JobCounts::default();
        for job in self.table.values() {
            let count = match job.record.state {
                JobState::Queued => &mut counts.queued,
                JobState::Running => &mut counts.running,
                JobState::Waiting { .. } => &mut counts.waiting,
                JobState::Paused => &mut counts.paused,
                _ => &mut counts.ended,
            };
            *count += 1;
        }
        counts
    }

    /// The jobs that somebody may see, oldest first.
    pub(super) fn list(&self, uid: Option<u32>, ended: bool) -> Vec<JobReport> {
        let wanted = |job: &&Job| {
            uid.is_none_or(|uid| job.record.uid == uid) && (ended || !job.record.state.is_ended())
        };
        self.table.values().filter(wanted).map(Job::report).collect()
    }

    /// A job, for one of its owner's or an admin's.
    ///
    /// # Errors
    /// There is none, or it is somebody else's.
    fn owned(&mut self, id: u64, who: &PeerCredentials, admins: Admins) -> Result<&mut Job, ErrorReport> {
        let Some(job) = self.table.get_mut(&id) else {
            let text = format!("There is no job {id}.");
            return Err(error(Code::Usage, text, "udpxctl jobs --all lists them."));
        };
        if job.record.uid != who.uid && !admins.has(who) {
            let text = format!("Job {id} is of user {}.", job.record.user);
            let remedy = "Ask that user, or root, or a member of the group udpx-admin.";
            return Err(error(Code::Refused, text, remedy));
        }
        Ok(job)
    }

    /// A client has gone: nobody is told anything any more, and jobs may have lost their lender.
    pub(super) fn on_gone(&mut self, client: mio::Token, cx: &mut Cx<'_>) {
        self.followers.retain(|(to, _)| to.client != client);
        self.offers.retain(|to| to.client != client);
        for job in self.table.values_mut() {
            job.watchers.retain(|to| to.client != client);
        }
        for id in cx.lending.on_gone(client, cx.now) {
            tracing::debug!(job = id, "nobody lends itself to this job any more");
        }
    }

    /// Lets the run of a job do something, and sees to what came of it.
    fn with_run(&mut self, id: u64, cx: &mut Cx<'_>, act: impl FnOnce(&mut calls::Run, &mut calls::Cx<'_>)) {
        let Some(job) = self.table.get_mut(&id) else { return };
        let Phase::Moving { run, .. } = &mut job.phase else { return };
        let mut happened = Vec::new();
        act(
            run,
            &mut calls::Cx { engine: cx.engine, now: cx.now, events: &mut |event| happened.push(event) },
        );
        for event in happened {
            self.tell(id, event, cx);
        }
        self.want_files(id, cx);
        self.end_run(id, cx);
    }

    /// Has a job written, and its watchers told where it stands.
    fn save(&mut self, id: u64) -> Sequence {
        match self.table.get_mut(&id) {
            Some(job) => self.ledger.save(&mut job.record),
            None => Sequence::default(),
        }
    }

    fn prune(&mut self) {
        let history = History::of(&self.limits);
        let records = self.table.values().map(|job| &job.record);
        for id in history.expired_of(records, unix_ms()) {
            self.table.remove(&id);
            self.ledger.remove(id);
        }
    }
}

/// How often history is looked through.
const PRUNE_EVERY: std::time::Duration = std::time::Duration::from_secs(600);
