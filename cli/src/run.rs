//! The seam to the engine: what the command line says becomes a request. What the engine reports goes to a
//! [`Watcher`].

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use udpx_control::schema::{Policy, Sample};
use udpxd::embedded::{self, Call, Event, PullFile, PullRequest, PushFile, PushRequest};
use udpxd::report::{JobError, Summary};
use udpxd::trace::Tracer;
use udpxd::{Code, RatePolicy, StaticSecret, identity};

use crate::args::{IfExists, Output, Reach, Sending};
use crate::failure::Failure;
use crate::host::Host;
use crate::jsonl::Fields;
use crate::peers::{self, Target};
use crate::places;
use crate::watcher::Watcher;

/// Another machine, and how we speak to it.
pub(crate) struct Way {
    pub(crate) target: Target,
    pub(crate) identity: StaticSecret,
    pub(crate) timeout: Duration,
    pub(crate) sending: Sending,
    /// How the path is shared, where `sending` has no rate.
    pub(crate) policy: Policy,
    /// Hears of every packet.
    pub(crate) trace: Option<Tracer>,
    /// Lanes of a session at most, if not as many as the cores ask for.
    pub(crate) lanes: Option<u8>,
}

impl Way {
    /// To a host of the command line. Our key is made at first use.
    pub(crate) fn to(host: &Host, reach: &Reach, sending: Sending) -> Result<Self, Failure> {
        let target = peers::resolve(&places::peers()?, host, reach.port, reach.peer_key)?;
        let timeout = reach.timeout.unwrap_or(TIMEOUT);
        Ok(Self {
            target,
            identity: load_identity(reach.identity.clone())?,
            timeout,
            sending,
            policy: Policy::Fair,
            trace: None,
            lanes: None,
        })
    }

    /// Shares the path in this way.
    pub(crate) fn sharing(self, policy: Policy) -> Self {
        Self { policy, ..self }
    }

    /// Speaks to it. What happens on the way is told; the end is the caller's to tell.
    pub(crate) fn ask<T>(
        self,
        output: Output,
        cancel: Arc<AtomicBool>,
        ask: impl FnOnce(Call, &mut dyn FnMut(Event)) -> Result<T, JobError>,
    ) -> Result<T, Failure> {
        let mut watcher = Watcher::new(output, &self.target.name, Vec::new());
        let result = ask(self.call(cancel), &mut |event| watcher.on_event(event));
        watcher.finish();
        result.map_err(Failure::from)
    }

    fn call(self, cancel: Arc<AtomicBool>) -> Call {
        let mut call = Call::new(self.target.key, self.target.addresses, self.identity);
        call.way.host = self.target.name;
        call.way.credential = self.target.credential;
        call.way.connect_timeout = self.timeout;
        call.way.give_up_after = self.timeout;
        call.way.trace = self.trace;
        call.way.lanes = self.lanes;
        call.cancel = cancel;
        let Sending { carrying, rate } = self.sending;
        call.way.plain = carrying.plain;
        call.way.gso = !carrying.no_gso;
        if let Some(mtu) = carrying.mtu {
            call.way.mtu_max = mtu;
        }
        call.way.policy = match (rate, self.policy) {
            (Some(bps), _) | (None, Policy::Fixed { rate_bps: bps }) => RatePolicy::Fixed { bps: bps as f64 },
            (None, Policy::Low) => RatePolicy::Low,
            (None, Policy::Fair) => RatePolicy::Adaptive,
        };
        call
    }
}

/// One push: files to one place of one host.
pub(crate) struct Push {
    pub(crate) way: Way,
    pub(crate) files: Vec<PushFile>,
    /// What messages and events call the files, in the same order.
    pub(crate) names: Vec<Vec<u8>>,
    pub(crate) root: String,
    pub(crate) path: Vec<u8>,
    pub(crate) if_exists: IfExists,
}

/// One pull: files of one host, each to its place here.
pub(crate) struct Pull {
    pub(crate) way: Way,
    pub(crate) files: Vec<PullFile>,
    pub(crate) if_exists: IfExists,
    pub(crate) umask: u32,
}

/// What a push or a pull came to.
pub(crate) struct Outcome {
    /// What arrived, if anything did.
    pub(crate) summary: Option<Summary>,
    /// What went wrong with each of the others, or with all of them.
    pub(crate) failure: Option<Failure>,
    /// The job over time.
    pub(crate) samples: Vec<Sample>,
    /// What its last line of JSON has besides.
    pub(crate) tags: Fields,
}

impl Outcome {
    /// Nothing came of it.
    pub(crate) fn failed(failure: Failure) -> Self {
        Self { summary: None, failure: Some(failure), samples: Vec::new(), tags: Fields::new() }
    }
}

impl Push {
    /// Pushes with an engine in this process. Says on the way how it goes; the end is the caller's to tell.
    pub(crate) fn run(self, output: Output, cancel: Arc<AtomicBool>) -> Outcome {
        let watcher = Watcher::new(output, &self.way.target.name, self.names.clone());
        self.run_watched(watcher, cancel)
    }

    /// The same, told by a watcher of these files.
    pub(crate) fn run_watched(self, mut watcher: Watcher, cancel: Arc<AtomicBool>) -> Outcome {
        let request = PushRequest {
            files: self.files,
            root: self.root,
            path: self.path,
            streams: self.way.sending.carrying.streams,
            if_exists: self.if_exists.into(),
            user: std::env::var("USER").unwrap_or_default(),
            call: self.way.call(cancel),
        };
        let result = embedded::push(request, &mut |event| watcher.on_event(event));
        watcher.close(result)
    }
}

impl Pull {
    /// Pulls with an engine in this process, in the same manner.
    pub(crate) fn run_watched(self, mut watcher: Watcher, cancel: Arc<AtomicBool>) -> Outcome {
        let request = PullRequest {
            files: self.files,
            streams: self.way.sending.carrying.streams,
            if_exists: self.if_exists.into(),
            umask: self.umask,
            call: self.way.call(cancel),
        };
        let result = embedded::pull(request, &mut |event| watcher.on_event(event));
        watcher.close(result)
    }
}

impl From<IfExists> for udpxd::IfExists {
    fn from(what: IfExists) -> Self {
        match what {
            IfExists::Replace => Self::Replace,
            IfExists::Skip => Self::Skip,
            IfExists::Fail => Self::Fail,
            IfExists::Rename => Self::Rename,
        }
    }
}

impl From<JobError> for Failure {
    fn from(error: JobError) -> Self {
        if error.code == Code::Interrupted {
            return Self::interrupted();
        }
        Self { code: error.code, text: error.text, remedy: error.remedy }
    }
}

/// Loads our key, which is made at first use.
pub(crate) fn load_identity(file: Option<PathBuf>) -> Result<StaticSecret, Failure> {
    let file = match file {
        Some(file) => file,
        None => places::identity()?,
    };
    identity::load_or_create(&file).map_err(|error| JobError::told(Code::Config, &error.to_string()).into())
}

/// The source of a path.
pub(crate) fn file(path: PathBuf) -> PushFile {
    PushFile::Path(path)
}

/// How long a silence may be, if nothing else is said.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
