//! What a new peer may do, as `invite` and `pair` both ask it.

use clap::Args;

/// A root, the rights there, and where this machine or the other is found.
#[derive(Debug, Args)]
pub(crate) struct NewPeerArgs {
    /// The root that the rights are for [default: the new peer's own directory in the inbox]
    #[arg(long, value_name = "ROOT")]
    pub(crate) root: Option<String>,
    /// The new peer may get files
    #[arg(long)]
    pub(crate) read: bool,
    /// The new peer may put files
    #[arg(long)]
    pub(crate) write: bool,
    /// The new peer may see what is there
    #[arg(long)]
    pub(crate) list: bool,
    /// An address of the machine that invites, where the new peer finds it; may be given several times [default: all of its
    /// own]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) address: Vec<String>,
}
