//! The command line.

mod demo;
mod jobs;
mod new_peer;
mod transfer;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use udpxd::Code;

use crate::hosting::receive::ReceiveArgs;
use crate::hosting::serve::ServeArgs;
use crate::invite::InviteArgs;
use crate::join::JoinArgs;
use crate::jsonl;
use crate::pair::PairArgs;
use crate::peer::PeerArgs;
use crate::root::RootArgs;

pub(crate) use demo::{BenchPushArgs, BenchReceiveArgs, DemoArgs, PathArgs, ReceiverArgs, RelayArgs};
pub(crate) use jobs::{JobArgs, JobsArgs, LimitArgs, PolicyArgs, ResumeArgs, ShowArgs, WatchArgs};
pub(crate) use new_peer::NewPeerArgs;
pub(crate) use transfer::{
    Carrying, IfExists, JobOptions, LsArgs, PingArgs, PullArgs, PushArgs, Reach, Sending, Through,
};

/// Moves files between machines over UDP: encrypted, verified, fast.
#[derive(Debug, Parser)]
#[command(name = "udpxctl", version, arg_required_else_help = true, infer_long_args = false)]
#[command(after_long_help = exit_codes())]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The end of `--help`: the exit codes, from the one table.
fn exit_codes() -> String {
    let line = |code: &Code| format!("  {:>3}  {}\n", code.exit(), code.text());
    let lines: String = Code::ALL.iter().map(line).collect();
    format!("Exit codes (docs/ERRORS.md says what to do about each):\n{lines}")
}

/// How a command speaks.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// Print events as JSON lines on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print errors only
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more (-v), or everything (-vv), on standard error
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

impl Output {
    /// Lines of JSON are written, to standard output or to a file.
    pub(crate) fn tells_events(self) -> bool {
        self.json || jsonl::is_redirected()
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send files to another machine
    Push(PushArgs),
    /// Fetch files from another machine
    Pull(PullArgs),
    /// List a directory of another machine
    Ls(LsArgs),
    /// Ask another machine for echoes
    Ping(PingArgs),
    /// Let others get files from a directory, and put theirs there, by a ticket and until Ctrl-C
    Serve(ServeArgs),
    /// Take one file from whoever gets the ticket
    Receive(ReceiveArgs),
    /// List this user's jobs
    Jobs(JobsArgs),
    /// Print all about one job
    Show(ShowArgs),
    /// Follow one job until it ends, or all jobs
    Watch(WatchArgs),
    /// End a job, and remove what it has begun
    Cancel(JobArgs),
    /// Stop a job, and keep what it has done
    Pause(JobArgs),
    /// Go on with a paused or waiting job
    Resume(ResumeArgs),
    /// Limit the rate of a job, a peer or everything
    Limit(LimitArgs),
    /// Change how a job shares the path with others
    Policy(PolicyArgs),
    /// Send a file between two processes on this machine and compare the bytes
    Demo(DemoArgs),
    /// Print the public key of the daemon, or of this user where none runs
    Key(KeyArgs),
    /// List whom the daemon knows, and what they may do
    Peers(AskArgs),
    /// Let another machine become a peer, by a ticket that works once
    Invite(InviteArgs),
    /// Become a peer of the machine that made a ticket
    Join(JoinArgs),
    /// Become a peer of a machine that ssh reaches: invite there, and join here
    Pair(PairArgs),
    /// Show one peer, rename or remove it, and change what it may do
    Peer(PeerArgs),
    /// List what has arrived since the daemon was started
    Inbox(InboxArgs),
    /// Add, list and remove places where files of peers may go
    Root(RootArgs),
    /// Print the daemon's sessions and counters
    Stats(AskArgs),
    /// Print the version, and that of the daemon if one runs
    Version(AskArgs),
    /// Print a script that completes this command line in a shell
    Completions(CompletionsArgs),
    /// Write the manual pages of udpxctl and udpxd, and completions for shells, into a directory
    #[command(hide = true)]
    Manual(ManualArgs),
    /// A process that opens and renames a user's files for jobs of the daemon
    #[command(hide = true)]
    Agent(AgentArgs),
    /// Panic, as a bug would, to see what becomes of it
    #[command(hide = true)]
    Panic,
    /// The receiving process of a demo
    #[command(hide = true)]
    DemoReceiver(ReceiverArgs),
    /// The impairing relay of a demo
    #[command(hide = true)]
    DemoRelay(RelayArgs),
    /// The receiving process of a benchmark
    #[command(hide = true)]
    BenchReceive(BenchReceiveArgs),
    /// The sending process of a benchmark
    #[command(hide = true)]
    BenchPush(BenchPushArgs),
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The file of a secret key, whose public one is printed [default without a daemon:
    /// $XDG_STATE_HOME/udpx/identity.key]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) through: Through,
}

#[derive(Debug, Args)]
pub(crate) struct ManualArgs {
    /// An existing directory
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  udpxctl completions bash > ~/.local/share/bash-completion/completions/udpxctl"
)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

/// Which daemon is asked.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// The daemon's control socket [default: $UDPX_SOCKET, then $XDG_RUNTIME_DIR/udpx/udpxd.sock, then
    /// /run/udpx/udpxd.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

/// What it may open comes on standard input.
#[derive(Debug, Args)]
pub(crate) struct AgentArgs {
    /// Jobs of this user
    #[arg(required = true, value_name = "JOB")]
    pub(crate) jobs: Vec<u64>,
    #[command(flatten)]
    pub(crate) socket: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InboxArgs {
    /// Go on with what arrives, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// What was received of each file, a row a stream
    #[arg(long)]
    pub(crate) stats: bool,
    /// Files of this peer only
    #[arg(long, value_name = "NAME")]
    pub(crate) peer: Option<String>,
    #[command(flatten)]
    pub(crate) socket: AskArgs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
