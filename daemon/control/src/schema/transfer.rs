//! Push and pull: what goes where, and how.

use serde::{Deserialize, Serialize};

use super::is_default;
use crate::name::{self, Name};

/// Send files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Push {
    /// The files.
    pub sources: Vec<Local>,
    /// Where all of them go.
    pub destinations: Vec<Remote>,
    /// How.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: TransferOptions,
}

/// Fetch files.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pull {
    /// The files.
    pub sources: Vec<Remote>,
    /// Where all of them go.
    pub destination: Local,
    /// How.
    #[serde(default, skip_serializing_if = "is_default")]
    pub options: TransferOptions,
}

/// A file or directory of this machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Local {
    /// Absolute path; with [`How::Fd`] the name that the file shall have, and for people.
    #[serde(flatten, with = "name::path")]
    pub path: Name,
    /// How the daemon comes to it.
    pub how: How,
    /// Its size as this process sees it, which progress is measured by until the file is opened; for a source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// How the daemon comes to a file of this machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// By a descriptor that comes with the request: the first for the first such file, and so on.
    Fd,
    /// By asking a process of the user: this connection, or one with a vault-offer.
    Vault,
}

/// A place at a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Remote {
    /// A peer's name, a DNS name or an address (without brackets).
    pub host: String,
    /// UDP port, if it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The peer's public key, if it is to be this one whatever the daemon knows of the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Name of a root there; empty means its default.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub root: String,
    /// Path beneath the root; one that ends in `/` is a directory, and the file goes inside.
    #[serde(flatten, with = "name::path")]
    pub path: Name,
}

/// How a transfer goes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TransferOptions {
    /// What to do where the destination exists.
    #[serde(skip_serializing_if = "is_default")]
    pub if_exists: IfExists,
    /// Answer with the job's number at once; no events follow.
    #[serde(skip_serializing_if = "is_default")]
    pub detach: bool,
    /// How it shares the path with others.
    #[serde(skip_serializing_if = "is_default")]
    pub policy: Policy,
    /// Cap of the job, bits a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_bps: Option<u64>,
    /// Time after which the job gives up, microseconds from now; by default it never does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_us: Option<u64>,
    /// Streams of a large file; by default a matter of its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<u16>,
    /// Do not encrypt bulk data; the peer must allow it too.
    #[serde(skip_serializing_if = "is_default")]
    pub plain: bool,
    /// Hand packets to the kernel one by one.
    #[serde(skip_serializing_if = "is_default")]
    pub no_gso: bool,
    /// Largest IP packet, bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u16>,
    /// Write a line for each packet event to one more descriptor, behind those of the files.
    #[serde(skip_serializing_if = "is_default")]
    pub trace: bool,
}

/// What to do where the destination exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IfExists {
    /// Replace it in one step.
    #[default]
    Replace,
    /// Leave it, and call that done.
    Skip,
    /// Fail.
    Fail,
    /// Choose another name.
    Rename,
}

/// How a job shares the path with others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Its share.
    #[default]
    Fair,
    /// Only what others leave.
    Low,
    /// This rate, whatever is lost.
    Fixed {
        /// Wire bits a second.
        rate_bps: u64,
    },
}

impl Push {
    pub(super) fn descriptors(&self) -> usize {
        let files = self.sources.iter().filter(|source| source.how == How::Fd).count();
        files + usize::from(self.options.trace)
    }
}

impl Pull {
    pub(super) fn descriptors(&self) -> usize {
        usize::from(self.destination.how == How::Fd) + usize::from(self.options.trace)
    }
}
