//! What happens to a job, for those who follow it.

use std::time::Duration;

use udpx_control::Name;
use udpx_control::schema::{Event, JobState, Phase as Stage, Progress};

use super::job::{Job, Phase};
use super::{Cx, Jobs};
use crate::calls;
use crate::conductor::clients::Address;
use crate::conductor::reports::{failed_file, file};

impl Jobs {
    /// Something happened to a run: it is noted and told.
    pub(super) fn tell(&mut self, id: u64, event: calls::Event, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get_mut(&id) else { return };
        let mut news = Vec::new();
        match event {
            calls::Event::Connecting { .. } => {
                job.pulse.stage = Stage::Connecting;
                news.push(Event::Progress(job.progress(Duration::ZERO)));
            }
            calls::Event::Connected { address, rtt_us } => {
                (job.pulse.stage, job.pulse.rtt_us) = (Stage::Sending, rtt_us);
                news.push(Event::Connected { job: id, address: address.to_string(), rtt_us });
            }
            calls::Event::Accepted { file, path } => {
                let name = job.name_of(file);
                news.push(Event::Queued { job: id, name, path: path.into() });
            }
            calls::Event::Progress { rate_bps, rtt_us, loss, traffic, syncing, .. } => {
                job.samples.take(job.since.elapsed(), rtt_us, traffic);
                job.pulse.rate_bps = rate_bps;
                if rtt_us > 0 {
                    (job.pulse.rtt_us, job.pulse.loss) = (rtt_us, loss);
                }
                job.pulse.stage = match job.pulse.stage {
                    Stage::Connecting => Stage::Connecting,
                    _ if syncing => Stage::Syncing,
                    _ => Stage::Sending,
                };
                news.push(Event::Progress(job.progress(Duration::ZERO)));
            }
            calls::Event::Quiet { silent_for } => news.push(Event::Progress(job.progress(silent_for))),
            calls::Event::Retry { text } => news.push(Event::Retry { job: id, text }),
            calls::Event::FileDone(done) => {
                if let Some(source) = job.source_of(done.file) {
                    let report = file(id, &job.name_of(done.file), &done);
                    job.record.files.set(source, report.clone());
                    news.push(Event::File(Box::new(report)));
                    self.save(id);
                }
            }
            calls::Event::FileFailed { file, error } => {
                if let Some(source) = job.source_of(file) {
                    let report = failed_file(id, &job.name_of(file), &error);
                    job.record.files.set(source, report.clone());
                    news.push(Event::File(Box::new(report)));
                    self.save(id);
                }
            }
            // The progress says so, and echoes are no files.
            calls::Event::Syncing { .. } | calls::Event::Echo { .. } => {}
        }
        for event in news {
            self.publish(id, &event, cx);
        }
    }

    /// A job is in another state.
    pub(super) fn tell_state(&mut self, id: u64, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get(&id) else { return };
        // Whoever asked for a job knows that it is queued.
        if !self.unkept.contains_key(&id) && job.record.state != JobState::Running {
            self.publish(id, &Event::Job(Box::new(job.report())), cx);
        } else {
            let event = Event::Job(Box::new(job.report()));
            self.publish_to_followers(id, &event, cx);
        }
    }

    fn publish(&self, id: u64, event: &Event, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get(&id) else { return };
        job.watchers.iter().for_each(|&to| cx.out.event(to, event.clone()));
        self.publish_to_followers(id, event, cx);
    }

    fn publish_to_followers(&self, id: u64, event: &Event, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get(&id) else { return };
        let may = |uid: &Option<u32>| uid.is_none_or(|uid| uid == job.record.uid);
        let followers = self.followers.iter().filter(|(_, uid)| may(uid));
        followers.for_each(|(to, _)| cx.out.event(*to, event.clone()));
    }

    /// Somebody follows all jobs, of one user or of all.
    pub(in crate::conductor) fn follow(&mut self, from: Address, uid: Option<u32>, cx: &mut Cx<'_>) {
        for report in self.list(uid, false) {
            cx.out.event(from, Event::Job(Box::new(report)));
        }
        self.followers.push((from, uid));
    }
}

impl Job {
    /// The source of a file of the present run.
    fn source_of(&self, file: usize) -> Option<u32> {
        match &self.phase {
            Phase::Moving { sources, .. } => sources.get(file).copied(),
            Phase::Rest | Phase::Resolving => None,
        }
    }

    fn name_of(&self, file: usize) -> Name {
        let source = self.source_of(file).and_then(|source| self.record.sources.get(source as usize));
        source.map_or_else(|| Name::new(*b""), |source| source.name.clone())
    }

    /// How far it is; nothing was heard of its peer for so long.
    fn progress(&self, quiet: Duration) -> Progress {
        let (bytes, total) = (self.bytes(), self.total());
        let left = total.map(|total| total.saturating_sub(bytes));
        let rate_bps = self.pulse.rate_bps;
        let eta = left.filter(|_| rate_bps > 0).map(|left| left as f64 * 8e6 / rate_bps as f64);
        Progress {
            job: self.record.id,
            bytes,
            total,
            rate_bps,
            rtt_us: self.pulse.rtt_us,
            loss: self.pulse.loss,
            phase: self.pulse.stage,
            eta_us: eta.map(|us| us as u64),
            quiet_us: u64::try_from(quiet.as_micros()).unwrap_or(u64::MAX),
        }
    }
}
