//! The command line of push, pull, ls and ping: places, and how things go there.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use udpxd::PublicKey;

use crate::{peers, values};

#[derive(Debug, Args)]
#[command(override_usage = "udpxctl push [OPTIONS] FILE... HOST[:DEST]")]
pub(crate) struct PushArgs {
    /// Files, then the destination: HOST, HOST:path beneath the default root, or HOST:/ROOT/path; a path that ends in
    /// / is a directory, and the file goes inside
    #[arg(required = true, value_names = ["FILE", "HOST[:DEST]"], num_args = 1..)]
    pub(crate) places: Vec<OsString>,
    #[command(flatten)]
    pub(crate) reach: Reach,
    /// What to do where the destination exists
    #[arg(long, value_name = "WHAT", default_value = "replace")]
    pub(crate) if_exists: IfExists,
    #[command(flatten)]
    pub(crate) sending: Sending,
    /// Draw rate, round trip, loss and retransmissions over time into this file, as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Write each packet that is sent, received, lost, doubled or dropped as a line into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
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
    /// Draw rate and round trip over time into this file, as SVG
    #[arg(long, value_name = "FILE.svg")]
    pub(crate) plot: Option<PathBuf>,
    /// Write each packet that is sent, received, lost, doubled or dropped as a line into this file
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
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
    /// A peer's name, a DNS name or an address
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
