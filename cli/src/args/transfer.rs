//! The command line of push, pull, ls and ping: places, and how things go there.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use udpxd::PublicKey;

use super::AskArgs;
use crate::values::Policy;
use crate::{peers, values};

#[derive(Debug, Args)]
#[command(override_usage = "udpxctl push [OPTIONS] FILE... HOST[:DEST]", after_help = PUSH_EXAMPLES)]
pub(crate) struct PushArgs {
    /// Files, then the destination: HOST, HOST:path beneath the default root, or HOST:/ROOT/path; a path that ends in
    /// / is a directory, and the file goes inside. HOST is a ticket (or @FILE with one), a name or an address
    #[arg(required = true, value_names = ["FILE", "HOST[:DEST]"], num_args = 1..)]
    pub(crate) places: Vec<OsString>,
    /// One more destination; may be given several times. Each is a job of its own
    #[arg(long, value_name = "HOST[:DEST]")]
    pub(crate) to: Vec<OsString>,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// What to do where the destination exists
    #[arg(long, value_name = "WHAT", default_value = "replace")]
    pub(crate) if_exists: IfExists,
    #[command(flatten)]
    pub(crate) sending: Sending,
    /// Draw rate, round trip, loss and retransmissions over time into this file, as SVG
    #[arg(long, value_name = "FILE.svg", conflicts_with = "detach")]
    pub(crate) plot: Option<PathBuf>,
    /// Write each packet that is sent, received, lost, doubled or dropped as a line into this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["detach", "to"])]
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) job: JobOptions,
    #[command(flatten)]
    pub(crate) through: Through,
}

const PUSH_EXAMPLES: &str = "\
Examples:
  udpxctl push file.iso bob                   into bob's inbox, under its own name
  udpxctl push a.iso b.iso bob:/disk/in/      into the directory in/ of bob's root disk
  udpxctl push file.iso bob --to carol        to two machines at once
  udpxctl push file.iso bob --detach          print the job's number, and come back at once
  udpxctl push file.iso bob --limit 100mbit --deadline 2h";

#[derive(Debug, Args)]
#[command(override_usage = "udpxctl pull [OPTIONS] HOST:FILE... [DEST]", after_help = PULL_EXAMPLES)]
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
    /// Draw rate and round trip over time into this file, as SVG
    #[arg(long, value_name = "FILE.svg", conflicts_with = "detach")]
    pub(crate) plot: Option<PathBuf>,
    /// Write each packet that is sent, received, lost, doubled or dropped as a line into this file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["detach"])]
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) job: JobOptions,
    #[command(flatten)]
    pub(crate) through: Through,
}

const PULL_EXAMPLES: &str = "\
Examples:
  udpxctl pull bob:file.iso                   into this directory
  udpxctl pull bob:/disk/a.iso bob:b.iso /srv/in/
  udpxctl pull bob:file.iso other-name.iso    under another name";

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  udpxctl ls bob\n  udpxctl ls bob:/disk/in\nOf a directory with more than 100000 entries it tells so many, and that there are more."
)]
pub(crate) struct LsArgs {
    /// HOST for its default root, HOST:path beneath it, or HOST:/ROOT/path
    #[arg(value_name = "HOST[:PATH]")]
    pub(crate) place: OsString,
    #[command(flatten)]
    pub(crate) reach: Reach,
    #[command(flatten)]
    pub(crate) through: Through,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  udpxctl ping bob -c 10 -i 200ms")]
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
    #[command(flatten)]
    pub(crate) through: Through,
}

/// Echoes of one command.
const PINGS_MAX: i64 = 1_000_000;

/// How the other machine is found.
#[derive(Debug, Args)]
pub(crate) struct Reach {
    /// Its public key, as `udpxctl key` prints it there [default: as the daemon knows it; without one, from peers.toml]
    #[arg(long, value_name = "KEY", value_parser = peers::key)]
    pub(crate) peer_key: Option<PublicKey>,
    /// Its UDP port
    #[arg(long, value_name = "N", default_value_t = udpxd::config::PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,
    /// The file of a secret key to use instead of the daemon's; as --no-daemon [default without a daemon:
    /// $XDG_STATE_HOME/udpx/identity.key]
    #[arg(long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// Give up when nothing was heard for this long [default: 60s; with a daemon, a job goes on trying]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) timeout: Option<Duration>,
}

/// Which engine does the work.
#[derive(Debug, Args)]
pub(crate) struct Through {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Work in this process, with this user's own key, even where a daemon runs
    #[arg(long, conflicts_with = "socket")]
    pub(crate) no_daemon: bool,
}

/// What becomes of a job, and how it is shown.
#[derive(Debug, Args)]
pub(crate) struct JobOptions {
    /// Print the job's number and come back at once; the daemon goes on
    #[arg(long, conflicts_with_all = ["no_daemon", "identity", "timeout"])]
    pub(crate) detach: bool,
    /// Give up after so long, e.g. 90min or 2h [default: never with a daemon]
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) deadline: Option<Duration>,
    /// Never send faster than this, e.g. 100mbit
    #[arg(long, value_name = "RATE", value_parser = values::rate)]
    pub(crate) limit: Option<u64>,
    /// How it shares the path: fair, low (what others leave), or fixed=RATE whatever is lost
    #[arg(long, value_name = "POLICY", value_parser = values::policy, default_value = "fair")]
    pub(crate) policy: Policy,
    /// Write events as JSON lines to this file, beside what is printed
    #[arg(long, value_name = "FILE")]
    pub(crate) json_to: Option<PathBuf>,
}

/// How data is sent.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Sending {
    #[command(flatten)]
    pub(crate) carrying: Carrying,
    /// The same as --policy fixed=RATE: send at this rate whatever is lost, e.g. 2.5gbit
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
