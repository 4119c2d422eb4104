//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use udpxd::PublicKey;

use crate::hosting::receive::ReceiveArgs;
use crate::hosting::serve::ServeArgs;
use crate::{peers, values};

/// Moves files between machines over UDP: encrypted, verified, fast.
#[derive(Debug, Parser)]
#[command(name = "udpxctl", version, arg_required_else_help = true, infer_long_args = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: Output,
    #[command(subcommand)]
    pub(crate) command: Command,
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
    /// Send a file between two processes on this machine and compare the bytes
    Demo(DemoArgs),
    /// Print this user's public key
    Key(KeyArgs),
    /// List whom the daemon knows, and what they may do
    Peers(AskArgs),
    /// List what has arrived since the daemon was started
    Inbox(InboxArgs),
    /// Print the daemon's sessions and counters
    Stats(AskArgs),
    /// Print the version, and that of the daemon if one runs
    Version(AskArgs),
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
#[command(override_usage = "udpxctl push [OPTIONS] FILE... HOST[:DEST]")]
pub(crate) struct PushArgs {
    /// Files, then the destination: HOST, HOST:path beneath the default root, or HOST:/ROOT/path; a path that ends in
    /// / is a directory, and the file goes inside. HOST is a ticket (or @FILE with one), a name or an address
    #[arg(required = true, value_names = ["FILE", "HOST[:DEST]"], num_args = 1..)]
    pub(crate) places: Vec<OsString>,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// What to do where the destination exists
    #[arg(long, value_name = "WHAT", default_value = "replace")]
    pub(crate) if_exists: IfExists,
    #[command(flatten)]
    pub(crate) sending: Sending,
}

#[derive(Debug, Args)]
#[command(override_usage = "udpxctl pull [OPTIONS] HOST:FILE... [DEST]")]
pub(crate) struct PullArgs {
    /// Files of one machine, HOST:path beneath its default root or HOST:/ROOT/path, then where they go: a new name, or
    /// a directory [default: .]
    #[arg(required = true, value_names = ["HOST:FILE", "DEST"], num_args = 1..)]
    pub(crate) places: Vec<OsString>,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// What to do where the destination exists
    #[arg(long, value_name = "WHAT", default_value = "replace")]
    pub(crate) if_exists: IfExists,
    #[command(flatten)]
    pub(crate) carrying: Carrying,
}

#[derive(Debug, Args)]
pub(crate) struct LsArgs {
    /// HOST for its default root, HOST:path beneath it, or HOST:/ROOT/path
    #[arg(value_name = "HOST[:PATH]")]
    pub(crate) place: OsString,
    #[command(flatten)]
    pub(crate) reach: Reach,
}

#[derive(Debug, Args)]
pub(crate) struct PingArgs {
    /// A ticket (or @FILE with one), a peer's name, a DNS name or an address
    #[arg(value_name = "HOST")]
    pub(crate) host: OsString,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// How many echoes
    #[arg(short = 'c', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=PINGS_MAX))]
    pub(crate) count: u32,
    /// Bytes of each, 8 to 1024
    #[arg(short = 's', long, value_name = "BYTES", default_value_t = 64, value_parser = values::echo_size)]
    pub(crate) size: usize,
    /// Time between two, e.g. 200ms
    #[arg(short = 'i', long, value_name = "TIME", value_parser = values::duration, default_value = "1s")]
    pub(crate) interval: Duration,
}

/// Echoes of one command.
const PINGS_MAX: i64 = 1_000_000;

/// How the other machine is found.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// Its public key, as `udpxctl key` prints it there [default: from peers.toml]
    #[arg(long, value_name = "KEY", value_parser = peers::key)]
    pub(crate) peer_key: Option<PublicKey>,
    /// Its UDP port
    #[arg(long, value_name = "N", default_value_t = udpxd::config::PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The file of our secret key [default: $XDG_STATE_HOME/udpx/identity.key]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Give up when nothing was heard for this long
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "60s")]
    pub(crate) timeout: Duration,
}

/// How data is sent.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Sending {
    #[command(flatten)]
    pub(crate) carrying: Carrying,
    /// Send at this rate whatever is lost, e.g. 2.5gbit [default: adapt to the path]
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) rate: Option<u64>,
}

/// How data travels, whoever sends it.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Carrying {
    /// Streams of a large file [default: by its size]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) streams: Option<u16>,
    /// Authenticate bulk data without encrypting it; both ends must allow it
    #[arg(long)]
    pub(crate) plain: bool,
    /// Hand packets to the kernel one by one (no segmentation offload)
    #[arg(long)]
    pub(crate) no_gso: bool,
    /// Largest IP packet, bytes [default: 9000; 1500 on a demo's impaired path]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1280..))]
    pub(crate) mtu: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IfExists {
    /// Replace it in one step
    Replace,
    /// Leave it
    Skip,
    /// Report an error
    Fail,
    /// Choose another name
    Rename,
}

#[derive(Debug, Args)]
pub(crate) struct KeyArgs {
    /// The file of our secret key [default: $XDG_STATE_HOME/udpx/identity.key]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
}

/// Which daemon is asked.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    /// The daemon's control socket [default: $UDPX_SOCKET, then $XDG_RUNTIME_DIR/udpx/udpxd.sock, then
    /// /run/udpx/udpxd.sock]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct InboxArgs {
    /// Go on with what arrives, until Ctrl-C
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Files of this peer only
    #[arg(long, value_name = "NAME")]
    pub(crate) peer: Option<String>,
    #[command(flatten)]
    pub(crate) socket: AskArgs,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Size of the file that is made
    #[arg(long, value_name = "SIZE", value_parser = values::size, default_value = "1GiB", conflicts_with = "file")]
    pub(crate) size: u64,
    /// Send this file instead
    #[arg(long, value_name = "PATH")]
    pub(crate) file: Option<PathBuf>,
    /// Where to make the temporary directory [default: $TMPDIR, or /tmp]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Keep the temporary directory
    #[arg(long)]
    pub(crate) keep: bool,
    #[command(flatten)]
    pub(crate) carrying: Carrying,
    #[command(flatten)]
    pub(crate) path: PathArgs,
}

/// What is wrong with the path, in each direction.
#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "An impaired path, through a relay process")]
pub(crate) struct PathArgs {
    /// Share of the packets that vanish, e.g. 1%
    #[arg(long, value_name = "PERCENT", value_parser = values::percent, default_value = "0%", hide_default_value = true)]
    pub(crate) loss: f64,
    /// One-way delay, e.g. 20ms
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "0ms", hide_default_value = true)]
    pub(crate) delay: Duration,
    /// How much more the delay may be at times
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "0ms", hide_default_value = true)]
    pub(crate) jitter: Duration,
    /// Share of the packets in which a bit is flipped
    #[arg(long, value_name = "PERCENT", value_parser = values::percent, default_value = "0%", hide_default_value = true)]
    pub(crate) corrupt: f64,
    /// Share of the packets that others overtake
    #[arg(long, value_name = "PERCENT", value_parser = values::percent, default_value = "0%", hide_default_value = true)]
    pub(crate) reorder: f64,
    /// Share of the packets that arrive twice
    #[arg(long, value_name = "PERCENT", value_parser = values::percent, default_value = "0%", hide_default_value = true)]
    pub(crate) duplicate: f64,
    /// Rate of the path, e.g. 1gbit
    #[arg(long = "rate", value_name = "RATE", value_parser = values::rate)]
    pub(crate) path_rate: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct ReceiverArgs {
    /// The directory that files go to
    #[arg(long)]
    pub(crate) inbox: PathBuf,
    /// The only key that may send
    #[arg(long, value_parser = peers::key)]
    pub(crate) peer_key: PublicKey,
    #[arg(long)]
    pub(crate) plain: bool,
    #[arg(long)]
    pub(crate) no_gso: bool,
    #[arg(long)]
    pub(crate) mtu: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// Where packets go
    #[arg(long)]
    pub(crate) target: std::net::SocketAddr,
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) path: PathArgs,
}

#[derive(Debug, Args)]
pub(crate) struct BenchReceiveArgs {
    #[arg(long)]
    pub(crate) listen: std::net::SocketAddr,
    /// Hash and forget what is received
    #[arg(long, required_unless_present = "into")]
    pub(crate) null: bool,
    #[arg(long, conflicts_with = "null")]
    pub(crate) into: Option<PathBuf>,
    #[arg(long)]
    pub(crate) plain: bool,
    #[arg(long)]
    pub(crate) mtu: Option<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct BenchPushArgs {
    #[arg(long)]
    pub(crate) to: std::net::SocketAddr,
    /// What bench-receive printed as its key
    #[arg(long)]
    pub(crate) peer: String,
    /// Name of the file at the receiver
    #[arg(long = "as")]
    pub(crate) name: String,
    /// Send so many generated bytes
    #[arg(long, required_unless_present = "file")]
    pub(crate) generate: Option<u64>,
    #[arg(long, conflicts_with = "generate")]
    pub(crate) file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) sending: Sending,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
