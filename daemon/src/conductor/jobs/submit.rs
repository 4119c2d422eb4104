//! Taking in a push or a pull: what is wrong with it, whether there is room, and its record.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use nix::unistd::{Uid, User};
use udpx_control::Name;
use udpx_control::descriptor::classify;
use udpx_control::schema::{
    Direction, ErrorReport, How, JobState, Local, Pull, Push, Remote, Reply, TransferOptions,
};
use udpx_control::server::PeerCredentials;
use udpx_proto::Code;

use super::job::Job;
use super::{Cx, Jobs};
use crate::calls::{Descriptor, Given};
use crate::conductor::clients::Address;
use crate::conductor::reports::{error, error_of};
use crate::conductor::resolver::Host;
use crate::jobs::ledger::unix_ms;
use crate::jobs::record::{DestinationRecord, JobRecord, Outcomes, SourceRecord};
use crate::report::JobError;
use crate::storage::pipe::Outlet;
use crate::trace::{Trace, Tracer};
use crate::transfer::{code_of_source, code_of_vault};

/// What came with a request.
struct Came {
    handed: HashMap<u32, Given>,
    outlet: Option<Arc<Outlet>>,
    tracer: Option<Tracer>,
}

impl Jobs {
    /// Somebody wants files sent.
    ///
    /// # Errors
    /// Why they will not be.
    pub(in crate::conductor) fn push(
        &mut self,
        from: Address,
        who: &PeerCredentials,
        push: &Push,
        files: Vec<OwnedFd>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        let [destination] = push.destinations.as_slice() else {
            let text = format!("A job has one destination, and this one has {}.", push.destinations.len());
            return Err(error(Code::Usage, text, "Make a request for each of them."));
        };
        let mut files = files;
        let tracer = trace(&push.options, &mut files)?;
        let sources: Vec<SourceRecord> = push.sources.iter().map(source_here).collect::<Result<_, _>>()?;
        different_names(&sources)?;
        let mut files = files.into_iter();
        let mut handed = HashMap::new();
        let mut sources = sources;
        for (index, source) in push.sources.iter().enumerate().filter(|(_, source)| source.how == How::Fd) {
            let Some(file) = files.next() else { break };
            let given = handed_source(file, source.path.as_path())?;
            if let Given::Pipe(_) = given {
                (sources[index].pipe, sources[index].bytes) = (true, None);
            }
            handed.insert(index as u32, given);
        }
        let record = JobRecord {
            direction: Direction::Push,
            sources,
            destination: DestinationRecord {
                root: destination.root.clone(),
                path: destination.path.clone(),
                how: None,
            },
            ..self.record(who, destination, push.options.clone())?
        };
        self.take_in(from, who, record, Came { handed, tracer, outlet: None }, cx)
    }

    /// Somebody wants files fetched.
    ///
    /// # Errors
    /// Why they will not be.
    pub(in crate::conductor) fn pull(
        &mut self,
        from: Address,
        who: &PeerCredentials,
        pull: &Pull,
        mut files: Vec<OwnedFd>,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        let Some(first) = pull.sources.first() else {
            return Err(error(Code::Usage, "There is nothing to be fetched.", "Name a file of a host."));
        };
        let place = |source: &Remote| (source.host.clone(), source.port, source.key.clone());
        if pull.sources.iter().any(|source| place(source) != place(first)) {
            let text = "The files of a job are those of one host.";
            return Err(error(Code::Usage, text, "Make a request for each host."));
        }
        let tracer = trace(&pull.options, &mut files)?;
        let Local { path, how, .. } = &pull.destination;
        check_absolute(path)?;
        let outlet = match (how, files.into_iter().next(), pull.sources.len()) {
            (How::Fd, Some(file), 1) => Some(handed_output(file, path.as_path())?),
            (How::Fd, ..) => {
                let text = "One file can be fetched into a descriptor, and no more.";
                return Err(error(Code::Usage, text, "Make a request for each file."));
            }
            (How::Vault, ..) => None,
        };
        let sources: Vec<SourceRecord> = pull.sources.iter().map(source_there).collect::<Result<_, _>>()?;
        different_names(&sources)?;
        let record = JobRecord {
            direction: Direction::Pull,
            sources,
            destination: DestinationRecord { root: String::new(), path: path.clone(), how: Some(*how) },
            ..self.record(who, first, pull.options.clone())?
        };
        self.take_in(from, who, record, Came { outlet, tracer, handed: HashMap::new() }, cx)
    }

    /// What both kinds of job have.
    fn record(
        &mut self,
        who: &PeerCredentials,
        at: &Remote,
        options: TransferOptions,
    ) -> Result<JobRecord, ErrorReport> {
        if let Some(streams) = options.streams.filter(|&streams| u32::from(streams) > self.limits.streams) {
            let most = self.limits.streams;
            let text = format!("A file may have {most} streams here (limits.streams), not {streams}.");
            return Err(error(Code::Usage, text, format!("Ask for {most} or fewer.")));
        }
        let now = unix_ms();
        let user = User::from_uid(Uid::from_raw(who.uid)).ok().flatten();
        Ok(JobRecord {
            id: 0,
            uid: who.uid,
            user: user.map_or_else(|| who.uid.to_string(), |user| user.name),
            direction: Direction::Push,
            host: at.host.clone(),
            port: at.port,
            peer_key: at.key.clone(),
            sources: Vec::new(),
            destination: DestinationRecord { root: String::new(), path: Name::new(*b""), how: None },
            // The process of its owner takes them away when it names a file.
            umask: 0,
            deadline_unix_ms: options.deadline_us.map(|us| now.saturating_add(us / 1000)),
            options,
            created_unix_ms: now,
            started_unix_ms: None,
            ended_unix_ms: None,
            state: JobState::Queued,
            retries: 0,
            error: None,
            stats: None,
            bytes: 0,
            total: None,
            files: Outcomes::default(),
        })
    }

    fn take_in(
        &mut self,
        from: Address,
        who: &PeerCredentials,
        mut record: JobRecord,
        Came { handed, outlet, tracer }: Came,
        cx: &mut Cx<'_>,
    ) -> Result<(), ErrorReport> {
        if record.sources.is_empty() {
            return Err(error(Code::Usage, "There is nothing to be sent.", "Name a file."));
        }
        // A host that cannot be meant is told at once; whether it answers will be seen.
        Host::find(cx.peers, &record.host, record.port, record.peer_key.as_deref())?;
        self.check_room(who.uid)?;
        record.id = self.ledger.next_id();
        let sizes: Option<u64> = record.sources.iter().map(|source| source.bytes).sum();
        record.total = sizes.filter(|_| record.direction == Direction::Push);
        let (id, detach, uid) = (record.id, record.options.detach, record.uid);
        let mut job = Job::new(record, cx.now);
        (job.handed, job.outlet, job.tracer) = (handed, outlet, tracer);
        if !detach {
            job.watchers.push(from);
            cx.lending.on_offer(from.client, from.request, who.uid, &[(id, uid)], cx.now)?;
        }
        job.alarm().into_iter().for_each(|at| self.wake_at(at));
        self.table.insert(id, job);
        let sequence = self.save(id);
        self.unkept.insert(id, (sequence, from));
        Ok(())
    }

    fn check_room(&self, uid: u32) -> Result<(), ErrorReport> {
        let mut all = 0;
        let mut own = 0;
        for job in self.table.values().filter(|job| !job.record.state.is_ended()) {
            all += 1;
            own += u32::from(job.record.uid == uid);
        }
        let full = |count, whose, limit, name| {
            let text = format!(
                "There are {count} jobs{whose} that have not ended, as many as there may be (limits.{name} = {limit})."
            );
            Err(error(Code::TryAgain, text, "Wait until some have ended, or cancel some: udpxctl jobs"))
        };
        match self.limits {
            limits if own >= limits.jobs_per_user => {
                full(own, " of yours", limits.jobs_per_user, "jobs_per_user")
            }
            limits if all >= limits.jobs => full(all, "", limits.jobs, "jobs"),
            _ => Ok(()),
        }
    }

    /// The ledger has written something: who waited for it is told that the job is accepted.
    pub(super) fn accept_durable(&mut self, cx: &mut Cx<'_>) {
        let Self { unkept, table, ledger, .. } = self;
        unkept.retain(|&id, &mut (sequence, from)| {
            let kept = ledger.is_durable(sequence);
            if kept && let Some(job) = table.get(&id) {
                match job.record.options.detach {
                    true => cx.out.done(from, Reply::Accepted { job: id }),
                    false => cx.out.ok(from, Reply::Accepted { job: id }),
                }
                self.stirred = true;
            }
            !kept
        });
    }

    /// The ledger cannot write: jobs that are not on the disk are no jobs.
    pub(super) fn refuse_unkept(&mut self, failing: &str, cx: &mut Cx<'_>) {
        for (id, (_, from)) in std::mem::take(&mut self.unkept) {
            let text = format!("The job cannot be kept: {failing}");
            cx.out.refuse(from, error(Code::Io, text, "See the system's log on this machine."));
            self.table.remove(&id);
            self.ledger.remove(id);
            cx.lending.on_job_ended(id);
        }
    }
}

/// What a descriptor is that came as a source.
///
/// # Errors
/// Nothing that could be sent.
fn handed_source(file: OwnedFd, path: &Path) -> Result<Given, ErrorReport> {
    let descriptor = Descriptor { file: Arc::new(File::from(file)), shown: path.to_path_buf() };
    let checked = classify(&*descriptor.file).map_err(Into::into).and_then(|found| found.check_input());
    checked.map_err(|wrong| {
        let text = format!("{path:?}: {wrong}");
        error(Code::NoSource, text, "Pass a file or pipe that is open for reading.")
    })?;
    Given::of(&descriptor).map_err(|wrong| told(code_of_source(&wrong), &wrong.to_string()))
}

/// The same of one that came as a destination.
fn handed_output(file: OwnedFd, path: &Path) -> Result<Arc<Outlet>, ErrorReport> {
    let outlet = Outlet::new(Arc::new(File::from(file)), path);
    let outlet = outlet.map_err(|wrong| told(code_of_vault(&wrong), &wrong.to_string()))?;
    Ok(Arc::new(outlet))
}

/// A sentence that says what happened and what to do.
fn told(code: Code, sentence: &str) -> ErrorReport {
    error_of(&JobError::told(code, sentence))
}

/// Begins the trace that a job wants: into the last of the descriptors that came with it.
fn trace(options: &TransferOptions, files: &mut Vec<OwnedFd>) -> Result<Option<Tracer>, ErrorReport> {
    let Some(file) = files.pop_if(|_| options.trace) else { return Ok(None) };
    let checked = classify(&file).map_err(Into::into).and_then(|file| file.check_output());
    checked.map_err(|wrong| {
        let text = format!("The trace has nowhere to go: {wrong}");
        error(Code::Io, text, "Pass a file or a pipe that is open for writing.")
    })?;
    // It writes until the last session of the job has gone.
    let (tracer, _) = Trace::begin(file.into()).map_err(|failed| {
        error(Code::TryAgain, format!("There is no thread for a trace: {failed}."), "Try again later.")
    })?;
    Ok(Some(tracer))
}

fn check_absolute(path: &Name) -> Result<(), ErrorReport> {
    let bytes = path.as_bytes();
    if !bytes.starts_with(b"/") || bytes.contains(&0) {
        let text = format!("{:?} is no absolute path.", path.as_path());
        return Err(error(Code::Usage, text, "Give a path that begins with '/'."));
    }
    Ok(())
}

fn source_here(source: &Local) -> Result<SourceRecord, ErrorReport> {
    check_absolute(&source.path)?;
    let name = source.path.as_path().file_name().map(|name| Name::new(name.as_bytes()));
    let name = name.ok_or_else(|| {
        let text = format!("{:?} has no name that it could have there.", source.path.as_path());
        error(Code::Usage, text, "Name a file.")
    })?;
    Ok(SourceRecord {
        path: source.path.clone(),
        root: String::new(),
        name,
        how: Some(source.how),
        bytes: source.bytes,
        pipe: false,
    })
}

fn source_there(source: &Remote) -> Result<SourceRecord, ErrorReport> {
    let name = source.path.as_bytes().rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    if matches!(name, b"" | b"." | b"..") {
        let text = format!("{:?} of {} names no file.", source.path.as_path(), source.host);
        return Err(error(Code::Usage, text, "Name a file, HOST:path/name."));
    }
    Ok(SourceRecord {
        path: source.path.clone(),
        root: source.root.clone(),
        name: Name::new(name),
        how: None,
        bytes: None,
        pipe: false,
    })
}

/// Two files of one name would be one.
fn different_names(sources: &[SourceRecord]) -> Result<(), ErrorReport> {
    let mut names = HashSet::new();
    match sources.iter().find(|source| !names.insert(source.name.as_bytes())) {
        None => Ok(()),
        Some(twice) => {
            let text = format!("Two of the files are called {:?}.", twice.name.as_path());
            Err(error(Code::Usage, text, "Move them one after the other, to different places."))
        }
    }
}
