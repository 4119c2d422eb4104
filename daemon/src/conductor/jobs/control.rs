//! What users do with jobs that are there: look at them, pause, resume, cancel, limit, and lend themselves to them.

use udpx_control::schema::{
    ErrorReport, Event, JobState, LimitTarget, Policy, Reply, SetPolicy, Show, VaultOffer,
};
use udpx_control::server::PeerCredentials;
use udpx_proto::Code;

use super::job::{Phase, Then};
use super::{Cx, Jobs};
use crate::calls::Errand;
use crate::conductor::access::Admins;
use crate::conductor::clients::Address;
use crate::conductor::reports::{self, error};
use crate::config::RATE_LEAST_BPS;
use crate::engine::report::Command;

/// Whoever asks.
#[derive(Clone, Copy)]
pub(in crate::conductor) struct Who<'a> {
    pub(in crate::conductor) peer: &'a PeerCredentials,
    pub(in crate::conductor) admins: Admins,
}

impl Jobs {
    /// Everything about one job.
    ///
    /// # Errors
    /// There is none, or it is somebody else's; as below.
    pub(in crate::conductor) fn show(
        &mut self,
        from: Address,
        show: &Show,
        who: Who<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        let job = self.owned(show.job, who.peer, who.admins)?;
        for sources in job.record.sources_beyond() {
            cx.out.event(from, Event::Sources { job: show.job, sources });
        }
        for (_, file) in job.record.files.iter() {
            cx.out.event(from, Event::File(Box::new(file.clone())));
        }
        let samples = if show.samples { job.samples.list() } else { Vec::new() };
        if !samples.is_empty() {
            cx.out.event(from, Event::Samples { job: show.job, samples });
        }
        let mut stats = job.record.stats.clone().map(Box::new);
        for event in stats.as_mut().map(|stats| stats.split_rows(show.job)).unwrap_or_default() {
            cx.out.event(from, event);
        }
        cx.out.done(from, Reply::Job { job: Box::new(job.report()), stats });
        Ok(())
    }

    /// What happens to one job, until it ends.
    pub(in crate::conductor) fn watch(
        &mut self,
        from: Address,
        id: u64,
        who: Who<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        let job = self.owned(id, who.peer, who.admins)?;
        if job.record.state.is_ended() {
            return self.show(from, &Show { job: id, samples: false }, who, cx);
        }
        cx.out.event(from, Event::Job(Box::new(job.report())));
        job.watchers.push(from);
        Ok(())
    }

    pub(in crate::conductor) fn cancel(
        &mut self,
        from: Address,
        id: u64,
        who: Who<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        let job = self.owned(id, who.peer, who.admins)?;
        refuse_ended(&job.record.state, id)?;
        self.stop(id, Then::Cancel, cx);
        self.answer_with_job(from, id, cx);
        Ok(())
    }

    pub(in crate::conductor) fn pause(
        &mut self,
        from: Address,
        id: u64,
        who: Who<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        let job = self.owned(id, who.peer, who.admins)?;
        refuse_ended(&job.record.state, id)?;
        if job.record.state != JobState::Paused {
            self.stop(id, Then::Pause, cx);
        }
        self.answer_with_job(from, id, cx);
        Ok(())
    }

    /// Has a job go on that is paused, waits or has failed.
    pub(in crate::conductor) fn resume(
        &mut self,
        from: Address,
        id: u64,
        who: Who<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        let job = self.owned(id, who.peer, who.admins)?;
        match job.record.state {
            JobState::Done | JobState::Cancelled => refuse_ended(&job.record.state, id)?,
            // It is on its way; one that is being paused is wanted after all.
            JobState::Running | JobState::Queued => {
                if let Phase::Moving { then: Some(_), .. } = &job.phase {
                    let text = format!("Job {id} is just being stopped.");
                    return Err(error(Code::TryAgain, text, "Resume it in a moment."));
                }
            }
            _ => {
                job.next_try = None;
                job.vain = 0;
                job.record.ended_unix_ms = None;
                // Its time was over: now it has as much as it likes.
                if job.is_too_late(cx.now) || job.record.state == JobState::Failed {
                    job.forget_deadline();
                }
                self.stirred = true;
                self.set_state(id, JobState::Queued, cx);
            }
        }
        self.answer_with_job(from, id, cx);
        Ok(())
    }

    fn answer_with_job(&self, from: Address, id: u64, cx: &mut Cx<'_>) {
        if let Some(job) = self.table.get(&id) {
            cx.out.done(from, Reply::Job { job: Box::new(job.report()), stats: None });
        }
    }

    /// Caps a job, or all together.
    pub(in crate::conductor) fn limit(
        &mut self,
        from: Address,
        target: &LimitTarget,
        rate_bps: Option<u64>,
        who: Who<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        if rate_bps.is_some_and(|bps| bps < RATE_LEAST_BPS) {
            let text = format!("{} bit/s is no rate that anything would arrive at.", rate_bps.unwrap_or(0));
            return Err(error(Code::Usage, text, "To stop a job, pause it; the least rate is 8 kbit."));
        }
        match target {
            LimitTarget::Job { job: id } => {
                let id = *id;
                let job = self.owned(id, who.peer, who.admins)?;
                refuse_ended(&job.record.state, id)?;
                job.record.options.limit_bps = rate_bps;
                self.save(id);
            }
            LimitTarget::All => {
                who.admins.require(who.peer, "The limit of everything")?;
                cx.caps.set_all(rate_bps);
                let sequence = self.ledger.set_limit(rate_bps);
                self.unkept_settings.push((sequence, from, None));
                return Ok(());
            }
            // It is a setting of the peer, and no matter of jobs.
            LimitTarget::Peer { .. } => return Err(error(Code::Bug, Code::Bug.text(), Code::Bug.remedy())),
        }
        cx.caps.divide_anew();
        cx.out.done(from, Reply::Nothing);
        Ok(())
    }

    /// Has a job share the path in another way.
    pub(in crate::conductor) fn set_policy(
        &mut self,
        from: Address,
        wanted: &SetPolicy,
        who: Who<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        let &SetPolicy { job: id, policy } = wanted;
        let job = self.owned(id, who.peer, who.admins)?;
        refuse_ended(&job.record.state, id)?;
        if let Policy::Fixed { rate_bps } = policy
            && rate_bps < RATE_LEAST_BPS
        {
            return Err(error(Code::Usage, "That is no rate.", "The least rate is 8 kbit."));
        }
        job.record.options.policy = policy;
        let session = job.run().and_then(|run| run.link().session());
        if let Some(session) = session
            && !cx.engine.send(Command::SetPolicy { session, policy: reports::policy(policy) })
        {
            return Err(error(Code::TryAgain, "The engine is too busy.", "Try again in a moment."));
        }
        self.save(id);
        self.answer_with_job(from, id, cx);
        Ok(())
    }

    /// A process lends itself to jobs of its user.
    pub(in crate::conductor) fn offer(
        &mut self,
        from: Address,
        offer: &VaultOffer,
        who: Who<'_>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        let mut jobs = Vec::new();
        for &id in &offer.jobs {
            let job = self.owned(id, who.peer, who.admins)?;
            refuse_ended(&job.record.state, id)?;
            jobs.push((id, job.record.uid));
        }
        if jobs.is_empty() {
            return Err(error(Code::Usage, "An offer is for jobs, and names none.", "Name them."));
        }
        cx.lending.on_offer(from.client, from.request, who.peer.uid, &jobs, cx.now)?;
        self.offers.insert(from);
        cx.out.ok(from, Reply::Nothing);
        for (id, _) in jobs {
            let waits = |job: &super::Job| {
                matches!(job.record.state, JobState::Waiting { next_try_unix_ms: None, .. })
            };
            if self.table.get(&id).is_some_and(waits) {
                self.set_state(id, JobState::Queued, cx);
                self.stirred = true;
            }
        }
        Ok(())
    }

    /// The daemon ends: what runs is stopped, to go on with the next daemon. True once nothing runs any more.
    pub(in crate::conductor) fn park(&mut self, cx: &mut Cx<'_>) -> bool {
        for id in self.active.clone() {
            self.stop(id, Then::Park, cx);
        }
        // A run that was stopped wants to be driven to its end.
        self.active.is_empty()
    }
}

fn refuse_ended(state: &JobState, id: u64) -> Result<(), ErrorReport> {
    let how = match state {
        JobState::Done => "is done",
        JobState::Failed => "has failed",
        JobState::Cancelled => "was cancelled",
        _ => return Ok(()),
    };
    Err(error(Code::Usage, format!("Job {id} {how}."), format!("udpxctl show {id} tells about it.")))
}
