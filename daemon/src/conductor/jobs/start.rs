//! Starting jobs when their turn has come, and what becomes of them when their run is over.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use udpx_control::Name;
use udpx_control::schema::{Direction, How, IfExists, JobState, Operation, Outcome, Reply};
use udpx_proto::Code;

use super::job::{Job, Phase, Pulse, Then, is_passing};
use super::{Cx, Jobs, Wanted};
use crate::calls::{self, Errand, Fetching, File, Offering, Run, Way};
use crate::conductor::Asker;
use crate::conductor::clients::Address;
use crate::conductor::lending::Told;
use crate::conductor::reports::{add_stats, error_of, policy};
use crate::conductor::resolver::{Host, Resolved};
use crate::jobs::ledger::unix_ms;
use crate::report::JobError;
use crate::storage::Bell;
use crate::storage::lender::{LentCall, LentVault};
use crate::storage::readers::Origin;
use crate::transfer::put::PutOrigin;
use crate::transfer::take::Place;

impl Jobs {
    /// Jobs whose time has come are queued again, those whose time is over are given up.
    pub(super) fn check_times(&mut self, cx: &mut Cx<'_>) {
        let mut late = Vec::new();
        for (&id, job) in &mut self.table {
            if job.next_try.is_some_and(|at| cx.now >= at) {
                job.next_try = None;
                job.record.state = JobState::Queued;
                self.stirred = true;
            }
            if job.is_too_late(cx.now) {
                late.push(id);
            }
        }
        self.alarm = self.table.values().filter_map(Job::alarm).filter(|&at| at > cx.now).min();
        for id in late {
            self.stop(id, Then::GiveUp, cx);
        }
    }

    /// Starts queued jobs as far as there is room, the oldest first.
    pub(super) fn start_queued(&mut self, cx: &mut Cx<'_>) {
        let mut running = 0;
        let mut of_user = std::collections::HashMap::<u32, u32>::new();
        for job in self.active.iter().filter_map(|id| self.table.get(id)) {
            running += 1;
            *of_user.entry(job.record.uid).or_default() += 1;
        }
        let queued = |job: &Job| {
            let id = job.record.id;
            job.record.state == JobState::Queued
                && !self.unkept.contains_key(&id)
                && !self.active.contains(&id)
        };
        let queued: Vec<(u64, u32)> =
            self.table.iter().filter(|(_, job)| queued(job)).map(|(&id, job)| (id, job.record.uid)).collect();
        for (id, uid) in queued {
            let own = of_user.entry(uid).or_default();
            if running >= self.limits.running {
                return;
            }
            if *own < self.limits.running_per_user && self.start(id, cx) {
                *own += 1;
                running += 1;
            }
        }
    }

    /// Starts one; false if it cannot run now.
    fn start(&mut self, id: u64, cx: &mut Cx<'_>) -> bool {
        let Some(job) = self.table.get_mut(&id) else { return false };
        if job.has_lost_pipe() {
            let text = "the pipe that the job was given is gone, with the daemon or the try that had it";
            let failed = JobError::new(Code::TryAgain, text, WHOLE_AGAIN);
            self.end(id, JobState::Failed, Some(&failed), cx);
            return false;
        }
        let lent =
            job.outlet.is_none() && job.pending().iter().any(|source| !job.handed.contains_key(source));
        if job.record.needs_owner() && lent && cx.lending.lender_of(id).is_none() {
            let why = format!("waits for a process of {}: udpxctl resume {id}", job.record.user);
            self.set_state(id, JobState::Waiting { why, next_try_unix_ms: None }, cx);
            return false;
        }
        let record = &job.record;
        match Host::find(cx.peers, &record.host, record.port, record.peer_key.as_deref()) {
            Ok(host) => {
                // Where too many look-ups are under way this one has to wait.
                let asked = cx.resolver.ask(Asker::Job(id), host);
                if asked {
                    job.phase = Phase::Resolving;
                    self.active.insert(id);
                    job.record.started_unix_ms.get_or_insert_with(unix_ms);
                    self.set_state(id, JobState::Running, cx);
                }
                asked
            }
            // The configuration has changed since it was taken in.
            Err(report) => {
                let failed = JobError::new(Code::from_number(report.code), report.text, report.remedy);
                self.end(id, JobState::Failed, Some(&failed), cx);
                false
            }
        }
    }

    /// The addresses of a job's peer are known, or there are none.
    pub(in crate::conductor) fn on_resolved(&mut self, id: u64, resolved: Resolved<Asker>, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get_mut(&id) else { return };
        if !matches!(job.phase, Phase::Resolving) {
            return;
        }
        job.phase = Phase::Rest;
        self.active.remove(&id);
        let run = resolved.found.and_then(|addresses| {
            let way = way(job, &resolved.host, addresses);
            let sources = job.pending();
            let files = sources.iter().map(|&source| file_of(job, source, &self.lent)).collect();
            let errand = cx.ids.next();
            let run = Run::new(way, errand, files, cx.now)?;
            job.pulse = Pulse::default();
            Ok(Phase::Moving { errand, run: Box::new(run), sources, then: None })
        });
        match run {
            Ok(phase) => {
                job.phase = phase;
                self.active.insert(id);
                self.with_run(id, cx, Errand::due);
            }
            // A name that was good once will be so again.
            Err(failed) if job.vain > 0 || job.record.retries > 0 => self.retry(id, &failed, cx),
            Err(failed) => self.end(id, JobState::Failed, Some(&failed), cx),
        }
    }

    /// Asks the lender for files whose turn it is.
    pub(super) fn want_files(&mut self, id: u64, cx: &mut Cx<'_>) {
        let Some(Job { phase: Phase::Moving { errand, run, .. }, .. }) = self.table.get_mut(&id) else {
            return;
        };
        while let Some((index, path)) = run.poll_wanted() {
            let wanted = Wanted { job: id, errand: *errand, index };
            cx.lending.ask(id, Operation::Open { path: Name::from(path.as_path()) }, wanted, cx.now);
        }
    }

    /// A lender has opened a file, or could not.
    pub(in crate::conductor) fn on_told(&mut self, wanted: Wanted, told: Told, cx: &mut Cx<'_>) {
        let Wanted { job: id, errand: of, index } = wanted;
        let Some(Job { phase: Phase::Moving { errand, sources, .. }, record, .. }) = self.table.get(&id)
        else {
            return;
        };
        // Of a run that is over.
        if *errand != of {
            return;
        }
        let source = sources.get(index).and_then(|&source| record.sources.get(source as usize));
        let path = source.map(|source| source.path.as_path().to_path_buf()).unwrap_or_default();
        let opened = match told {
            Ok((Outcome::Opened, Some(file))) => {
                let file = Arc::new(std::fs::File::from(file));
                Ok(PutOrigin::At(Origin::Handed { file, path }))
            }
            Ok(_) => Err(JobError::with_remedy(Code::Protocol, "a file was lent in another way than asked")),
            Err(report) => Err(JobError::new(Code::from_number(report.code), report.text, report.remedy)),
        };
        self.with_run(id, cx, |run, cx| run.lend(index, opened, cx));
    }

    /// If the run of a job is over: what now?
    pub(super) fn end_run(&mut self, id: u64, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get_mut(&id) else { return };
        let Phase::Moving { run, .. } = &job.phase else { return };
        if !run.is_over() {
            return;
        }
        let (bytes, total) = (job.bytes(), job.total());
        let Phase::Moving { run, then, .. } = std::mem::replace(&mut job.phase, Phase::Rest) else { return };
        self.active.remove(&id);
        let was_up = run.link().was_up();
        (job.record.bytes, job.record.total) = (bytes, total.or(job.record.total));
        let outcome = run.into_outcome();
        let done = match &outcome {
            Ok(summary) => Some(summary),
            Err(failed) => failed.summary.as_deref(),
        };
        if let Some(done) = done {
            job.record.stats = Some(add_stats(job.record.stats.as_ref(), done));
        }
        if was_up {
            job.vain = 0;
        }
        self.stirred = true;
        // What went through a pipe cannot be moved again; before that a job may wait for its peer.
        let repeats = !(job.record.has_pipe() && was_up);
        let pending = !job.pending().is_empty() && repeats;
        let passing = outcome.as_ref().err().is_some_and(|failed| is_passing(failed.code.number()));
        match (then, outcome) {
            (_, Ok(_)) => self.end(id, JobState::Done, None, cx),
            (Some(then), Err(_)) => self.after(id, then, cx),
            (None, Err(failed)) if pending && (passing || failed.code == Code::Partly) => {
                self.retry(id, &failed, cx);
            }
            (None, Err(failed)) => {
                let mut failed = self.verdict(id).unwrap_or(failed);
                if !repeats && is_passing(failed.code.number()) {
                    failed.remedy = WHOLE_AGAIN.into();
                }
                self.end(id, JobState::Failed, Some(&failed), cx);
            }
        }
        cx.caps.divide_anew();
    }

    /// The error of a job some of whose files have failed, over all its tries.
    fn verdict(&self, id: u64) -> Option<JobError> {
        let record = &self.table.get(&id)?.record;
        let errors: Vec<_> = record.files.iter().filter_map(|(_, file)| file.error.as_ref()).collect();
        let (first, all) = (*errors.first()?, record.sources.len());
        let code = match errors.len() == all && errors.iter().all(|error| error.code == first.code) {
            true => first.code,
            false => Code::Partly.number(),
        };
        let text = match all {
            1 => first.text.clone(),
            all => format!("{} of {all} files failed; the first: {}", errors.len(), first.text),
        };
        Some(JobError::new(Code::from_number(code), text, first.remedy.clone()))
    }

    /// Something failed that may work later.
    fn retry(&mut self, id: u64, failed: &JobError, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get_mut(&id) else { return };
        let pause = RETRY_LEAST * (1 << job.vain.min(6));
        let pause = pause.min(RETRY_MOST);
        job.vain += 1;
        job.record.retries += 1;
        job.record.error = Some(error_of(failed));
        job.next_try = Some(cx.now + pause);
        self.wake_at(cx.now + pause);
        let next_try_unix_ms = Some(unix_ms() + pause.as_millis() as u64);
        let text = format!("{}; trying again in {} s", failed.text, pause.as_secs());
        self.tell(id, calls::Event::Retry { text }, cx);
        self.set_state(id, JobState::Waiting { why: failed.text.clone(), next_try_unix_ms }, cx);
    }

    /// A run was ended on purpose, or there was none.
    fn after(&mut self, id: u64, then: Then, cx: &mut Cx<'_>) {
        match then {
            Then::Pause => self.set_state(id, JobState::Paused, cx),
            Then::Park => self.set_state(id, JobState::Queued, cx),
            Then::Cancel => {
                let text = "the job was cancelled";
                self.end(id, JobState::Cancelled, Some(&JobError::new(Code::Interrupted, text, "")), cx);
            }
            Then::GiveUp => {
                let job = self.table.get(&id);
                let last = job.and_then(|job| job.record.error.clone());
                let code = last.as_ref().map_or(Code::TryAgain, |last| Code::from_number(last.code));
                let why = last.map(|last| format!(": {}", last.text)).unwrap_or_default();
                let text = format!("the job's deadline has passed{why}");
                let remedy = format!("Go on with it: udpxctl resume {id}");
                self.end(id, JobState::Failed, Some(&JobError::new(code, text, remedy)), cx);
            }
        }
    }

    /// Ends what is under way for a job, and then does what is to be done.
    pub(super) fn stop(&mut self, id: u64, then: Then, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get_mut(&id) else { return };
        job.next_try = None;
        match &mut job.phase {
            Phase::Moving { then: wanted, .. } => {
                // Who cancels means it more than who pauses.
                let first = wanted.is_none();
                *wanted =
                    Some(wanted.map_or(then, |before| if then == Then::Cancel { then } else { before }));
                if first {
                    let code = if then == Then::Park { Code::TryAgain } else { Code::Interrupted };
                    self.with_run(id, cx, |run, cx| run.stop(code, cx));
                }
            }
            phase @ (Phase::Rest | Phase::Resolving) => {
                *phase = Phase::Rest;
                self.active.remove(&id);
                self.after(id, then, cx);
            }
        }
    }

    /// A job has come to its end.
    fn end(&mut self, id: u64, state: JobState, failed: Option<&JobError>, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get_mut(&id) else { return };
        job.record.ended_unix_ms = Some(unix_ms());
        job.record.error = failed.map(error_of);
        // Whoever reads a pipe sees its end by it.
        job.handed.clear();
        job.outlet = None;
        job.tracer = None;
        self.set_state(id, state, cx);
        let Some(job) = self.table.get_mut(&id) else { return };
        let mut stats = job.record.stats.clone().map(Box::new);
        let rows = stats.as_mut().map(|stats| stats.split_rows(id)).unwrap_or_default();
        let report = job.report();
        for to in std::mem::take(&mut job.watchers) {
            for event in &rows {
                cx.out.event(to, event.clone());
            }
            // Also of a job that failed: the report says why, and what has arrived.
            cx.out.done(to, Reply::Job { job: Box::new(report.clone()), stats: stats.clone() });
        }
        for (client, request) in cx.lending.on_job_ended(id) {
            let to = Address { client, request };
            if self.offers.remove(&to) {
                cx.out.done(to, Reply::Nothing);
            }
        }
        self.stirred = true;
    }

    /// Writes where a job stands, and tells those who follow it.
    pub(super) fn set_state(&mut self, id: u64, state: JobState, cx: &mut Cx<'_>) {
        let Some(job) = self.table.get_mut(&id) else { return };
        if job.record.state == state {
            return;
        }
        tracing::info!(job = id, user = job.record.user, host = job.record.host, ?state, "job");
        job.record.state = state;
        self.save(id);
        self.tell_state(id, cx);
    }
}

/// How the peer of a job is called.
fn way(job: &Job, host: &Host, addresses: Vec<std::net::SocketAddr>) -> Way {
    let options = &job.record.options;
    let usual = Way::new(host.key, addresses);
    Way {
        host: host.name.clone(),
        policy: policy(options.policy),
        plain: options.plain,
        gso: !options.no_gso,
        mtu_max: options.mtu.unwrap_or(usual.mtu_max),
        // Whoever is silent for longer is tried again by the job.
        give_up_after: GIVE_UP_AFTER,
        trace: job.tracer.clone(),
        ..usual
    }
}

fn file_of(job: &Job, source: u32, lent: &(Sender<LentCall>, Bell)) -> File {
    let (record, of) = (&job.record, &job.record.sources[source as usize]);
    let streams = record.options.streams;
    match record.direction {
        Direction::Push => {
            let offering = Offering {
                root: record.destination.root.clone(),
                path: record.destination.path.as_bytes().to_vec(),
                streams,
                if_exists: if_exists(record.options.if_exists),
                user: record.user.clone(),
            };
            let path = of.path.as_path().to_path_buf();
            match job.handed.get(&source).filter(|_| of.how == Some(How::Fd)) {
                Some(given) => offering.given(given, of.name.as_bytes()),
                None => offering.lent(path, of.bytes.unwrap_or(0)),
            }
        }
        Direction::Pull => {
            let fetching =
                Fetching { streams, if_exists: if_exists(record.options.if_exists), umask: record.umask };
            if let Some(outlet) = &job.outlet {
                return fetching.piped(&of.root, of.path.as_bytes(), outlet.clone());
            }
            let (base, below) =
                destination(record.destination.path.as_path(), &of.name, record.sources.len());
            let vault = LentVault::new(record.id, base.clone(), lent.0.clone(), lent.1.clone());
            let place = Place { vault: Arc::new(vault), root: base };
            fetching.file_in(&of.root, of.path.as_bytes(), place, &below)
        }
    }
}

/// The directory that a file goes to, and its name there: a destination that ends in a slash is a directory, and one of
/// several files as well.
fn destination(path: &Path, name: &Name, files: usize) -> (PathBuf, PathBuf) {
    let inside = files > 1 || path.as_os_str().as_bytes().ends_with(b"/");
    match (inside, path.parent(), path.file_name()) {
        (false, Some(parent), Some(own)) => (parent.into(), own.into()),
        _ => (path.into(), name.as_path().into()),
    }
}

fn if_exists(what: IfExists) -> udpx_proto::messages::IfExists {
    use udpx_proto::messages::IfExists as Wire;
    match what {
        IfExists::Replace => Wire::Replace,
        IfExists::Skip => Wire::Skip,
        IfExists::Fail => Wire::Fail,
        IfExists::Rename => Wire::Rename,
    }
}

/// What to do about a job that has used up a pipe.
const WHOLE_AGAIN: &str =
    "Run the whole command again: what went through a pipe cannot be had from it twice.";
/// Before something that failed is tried again; doubled each time.
const RETRY_LEAST: Duration = Duration::from_secs(1);
const RETRY_MOST: Duration = Duration::from_secs(60);
/// A session that hears nothing for so long is given up, and another one sought.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_a_name_or_a_directory() {
        let name = Name::from("f");
        for (path, files, base, below) in [
            ("/home/a/x", 1, "/home/a", "x"),
            ("/home/a/", 1, "/home/a/", "f"),
            ("/home/a", 2, "/home/a", "f"),
            ("/", 1, "/", "f"),
            ("/x", 1, "/", "x"),
        ] {
            let expected = (PathBuf::from(base), PathBuf::from(below));
            assert_eq!(destination(Path::new(path), &name, files), expected, "{path}");
        }
    }
}
