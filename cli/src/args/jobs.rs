//! The command line of what is done with jobs of a daemon.

use std::path::PathBuf;

use clap::Args;

use super::AskArgs;
use crate::values;
use crate::values::Policy;

#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    /// Those that have ended too
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Those of other users too, for administrators
    #[arg(long)]
    pub(crate) everyone: bool,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

/// One job.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// The job's number, as `udpxctl jobs` lists it
    #[arg(value_name = "JOB", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) job: u64,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Draw rate, round trip, loss and retransmissions over time into this file, as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "The exit code is the job's. Ctrl-C ends the watching; the job goes on.")]
pub(crate) struct WatchArgs {
    /// The job's number [default: all jobs of this user, until Ctrl-C]
    #[arg(value_name = "JOB", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) job: Option<u64>,
    /// Write events as JSON lines to this file, beside what is printed
    #[arg(long, value_name = "FILE")]
    pub(crate) json_to: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "A job of your own files needs a process of yours that opens them: this one, until the job has \
ended, or one in the background with --detach."
)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// Come back at once; the daemon goes on
    #[arg(long)]
    pub(crate) detach: bool,
    /// Write events as JSON lines to this file, beside what is printed
    #[arg(long, value_name = "FILE")]
    pub(crate) json_to: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    override_usage = "udpxctl limit [OPTIONS] JOB|PEER|all RATE|none\n       udpxctl limit [OPTIONS] all",
    after_help = "Examples:\n  udpxctl limit 12 100mbit\n  udpxctl limit peer bob 1gbit\n  udpxctl limit all none\n  udpxctl limit all   (what holds now)"
)]
pub(crate) struct LimitArgs {
    /// What is limited: a job by its number, a peer by its name (or `peer NAME`), or all; then the rate, or none. `all` alone tells what holds now
    #[arg(required = true, value_names = ["JOB|PEER|all", "RATE|none"], num_args = 1..=3)]
    pub(crate) words: Vec<String>,
    #[command(flatten)]
    pub(crate) ask: AskArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  udpxctl policy 12 low")]
pub(crate) struct PolicyArgs {
    #[command(flatten)]
    pub(crate) job: JobArgs,
    /// fair, low (what others leave), or fixed=RATE whatever is lost
    #[arg(value_name = "POLICY", value_parser = values::policy)]
    pub(crate) policy: Policy,
}
