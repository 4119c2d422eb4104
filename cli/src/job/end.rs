//! How a job ended: what arrived, with its table, or why not.

use udpx_control::client::Client;
use udpx_control::schema::{
    Event, FileReport, JobReport, JobState, PlaceReport, Reply, Row, Sample, Show, StatsReport,
};
use udpxd::Code;
use udpxd::conductor::reports;
use udpxd::report::{self, JobError, Summary};

use super::told;
use crate::ask;
use crate::failure::Failure;
use crate::run::Outcome;
use crate::watcher::Watcher;

/// The last report of a job, with what came before it.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) report: JobReport,
    pub(crate) stats: Option<Box<StatsReport>>,
    /// The files that have come to their end.
    pub(crate) files: Vec<FileReport>,
    /// Its sources behind those that the report lists, if they were asked for.
    pub(crate) sources: Vec<PlaceReport>,
    /// The job over time, if it was asked for.
    pub(crate) samples: Vec<Sample>,
}

/// The pieces of it that come as events.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    files: Vec<FileReport>,
    rows: Vec<Row>,
    sources: Vec<PlaceReport>,
    samples: Vec<Sample>,
}

impl Pieces {
    pub(crate) fn add(&mut self, event: Event) {
        match event {
            Event::File(file) => self.files.push(*file),
            Event::Rows { rows, .. } => self.rows.extend(rows),
            Event::Sources { sources, .. } => self.sources.extend(sources),
            Event::Samples { samples, .. } => self.samples.extend(samples),
            _ => {}
        }
    }

    /// With the last report.
    pub(crate) fn close(self, report: JobReport, mut stats: Option<Box<StatsReport>>) -> End {
        if let Some(stats) = &mut stats {
            stats.add_rows(self.rows);
        }
        End { report, stats, files: self.files, sources: self.sources, samples: self.samples }
    }
}

impl End {
    /// Asks how a job stands, ended or not.
    ///
    /// # Errors
    /// There is no such job, or it is somebody else's.
    pub(crate) fn ask(client: &mut Client, job: u64) -> Result<Self, Failure> {
        let mut pieces = Pieces::default();
        let reply = ask::call(client, Show { job, samples: true }, |event| pieces.add(event))?;
        let Reply::Job { job, stats } = reply else { return Err(ask::unexpected()) };
        Ok(pieces.close(*job, stats))
    }

    /// What arrived, with its table, in the form that an engine of this process reports it in.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let stats = self.stats.as_deref()?;
        Some(Summary {
            files: self.files.iter().filter(|file| file.error.is_none()).map(told::summary).collect(),
            bytes: self.report.bytes,
            seconds: stats.total.seconds,
            streams: stats.streams.iter().map(reports::row_of).collect(),
            control: reports::row_of(&stats.control),
            total: reports::row_of(&stats.total),
            lost: stats.lost,
            rtt_min_us: stats.rtt_min_us,
            rtt_mean_us: stats.rtt_mean_us,
            datagram: u16::try_from(stats.datagram_bytes).unwrap_or(u16::MAX),
            sessions: stats.sessions,
            lanes: Vec::new(),
            socket: report::SocketReport::default(),
        })
    }

    /// As the end of a push or a pull, told by the watcher that has followed it.
    pub(crate) fn outcome(self, watcher: Watcher) -> Outcome {
        let samples = self.samples.clone();
        Outcome { samples, ..self.told_by(watcher) }
    }

    fn told_by(self, watcher: Watcher) -> Outcome {
        let summary = self.summary();
        let job = self.report.job;
        match self.report.state {
            JobState::Done => Outcome { failure: None, ..watcher.close(Ok(summary.unwrap_or_default())) },
            JobState::Cancelled => {
                let text = format!("job {job} was cancelled");
                let mut outcome = watcher.close(Err(JobError::new(Code::Interrupted, "", "")));
                outcome.failure = Some(Failure::with_remedy(Code::Interrupted, text, "Push or pull again."));
                outcome.summary = summary.filter(|some| !some.files.is_empty());
                outcome
            }
            _ => {
                let Failure { code, text, remedy } = told::failure(&self.report);
                watcher.close(Err(JobError { code, text, remedy, summary: summary.map(Box::new) }))
            }
        }
    }
}
