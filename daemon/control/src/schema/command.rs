//! The commands, and what each of them takes.

use serde::{Deserialize, Serialize};

use super::{Policy, Pull, Push, Remote, VaultOffer, VaultReply, is_default};
use crate::name::{self, Name};

macro_rules! commands {
    ($($(#[$doc:meta])* $name:literal $variant:ident $descriptors:expr;)*) => {
        /// What is asked for.
        #[derive(Clone, PartialEq, Debug, Serialize)]
        #[serde(tag = "command", content = "args")]
        pub enum Command { $($(#[$doc])* #[serde(rename = $name)] $variant($variant),)* }

        impl Command {
            /// Every command, as it is written.
            pub const NAMES: &'static [&'static str] = &[$($name,)*];

            /// As it is written.
            #[must_use]
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $name,)* }
            }

            /// How many descriptors have to come with it.
            #[must_use]
            pub fn descriptors(&self) -> usize {
                match self { $(Self::$variant(args) => $descriptors(args),)* }
            }

            /// Reads the arguments of the command `name`; `None` if there is none of that name.
            pub(super) fn parse(name: &str, args: &str) -> Option<Result<Self, serde_json::Error>> {
                match name {
                    $($name => Some(serde_json::from_str(args).map(Self::$variant)),)*
                    _ => None,
                }
            }
        }

        $(impl From<$variant> for Command {
            fn from(args: $variant) -> Self {
                Self::$variant(args)
            }
        })*
    };
}

commands! {
    /// Send files.
    "push" Push Push::descriptors;
    /// Fetch files.
    "pull" Pull Pull::descriptors;
    /// List a directory of a peer: `entries` events.
    "list" List none;
    /// Ask a peer to echo: a `pong` event each.
    "ping" Ping none;
    /// List jobs: a `job` event each.
    "jobs" Jobs none;
    /// Report one job: `file`, `rows` and `samples` events, then the job with its totals.
    "show" Show none;
    /// Follow one job until it ends, or all jobs for ever.
    "watch" Watch none;
    /// End a job and remove what it has begun.
    "cancel" Cancel none;
    /// Stop a job and keep what it has done.
    "pause" Pause none;
    /// Go on with a paused or waiting job.
    "resume" Resume none;
    /// Cap the rate of a job, a peer or everything.
    "limit" Limit none;
    /// Change how a job shares the path.
    "policy" SetPolicy none;
    /// List, add or remove roots.
    "roots" Roots none;
    /// List what has arrived: an `inbox` event each.
    "inbox" Inbox none;
    /// Report the daemon: a `session` event each, then its counters.
    "stats" Stats none;
    /// Report versions.
    "version" Version none;
    /// Report the public key.
    "key" Key none;
    /// List peers: a `peer` event each.
    "peers" Peers none;
    /// Show one peer, or change what it is called and what it may do: a `peer` event with how it is then.
    "peer" PeerAction none;
    /// Make a ticket by which another machine becomes a peer.
    "invite" Invite none;
    /// Become a peer of the machine that made a ticket.
    "join" Join none;
    /// Lend this process to jobs: `demand` events.
    "vault-offer" VaultOffer none;
    /// Answer a demand.
    "vault-reply" VaultReply VaultReply::descriptors;
}

fn none<T>(_: &T) -> usize {
    0
}

/// List a directory of a peer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct List {
    /// The directory, or a file to report alone.
    #[serde(flatten)]
    pub place: Remote,
}

/// Ask a peer to echo.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Ping {
    /// As in [`Remote::host`].
    pub host: String,
    /// As in [`Remote::port`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// As in [`Remote::key`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Number of echoes.
    pub count: u32,
    /// From one to the next, microseconds.
    pub interval_us: u64,
    /// Bytes to be echoed, each time.
    pub bytes: u32,
}

/// List jobs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Jobs {
    /// Those that have ended too.
    #[serde(default)]
    pub ended: bool,
    /// Those of other users too: for admins.
    #[serde(default)]
    pub everyone: bool,
}

/// Report one job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Show {
    /// Its number.
    pub job: u64,
    /// With rate, RTT and loss over time.
    #[serde(default)]
    pub samples: bool,
}

/// Follow jobs.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Watch {
    /// One job; by default all of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<u64>,
}

/// End a job and remove what it has begun.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cancel {
    /// Its number.
    pub job: u64,
}

/// Stop a job and keep what it has done.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pause {
    /// Its number.
    pub job: u64,
}

/// Go on with a paused or waiting job.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Resume {
    /// Its number.
    pub job: u64,
}

/// Cap a rate.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Limit {
    /// Whose.
    #[serde(flatten)]
    pub target: LimitTarget,
    /// Bits a second; absent takes the cap away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_bps: Option<u64>,
}

/// Whose rate is capped.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "target", rename_all = "kebab-case")]
pub enum LimitTarget {
    /// One job's.
    Job {
        /// Its number.
        job: u64,
    },
    /// One peer's: for admins.
    Peer {
        /// Its name.
        peer: String,
    },
    /// The daemon's: for admins.
    All,
}

/// Change how a job shares the path.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetPolicy {
    /// Its number.
    pub job: u64,
    /// The policy.
    pub policy: Policy,
}

/// List, add or remove roots.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum Roots {
    /// List them: a `root` event each.
    List,
    /// Add one: for admins.
    Add {
        /// Its name.
        root: String,
        /// An existing directory, as an absolute path.
        #[serde(flatten, with = "name::path")]
        path: Name,
    },
    /// Remove one; what is in it stays: for admins.
    Remove {
        /// Its name.
        root: String,
    },
}

/// List what has arrived.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Inbox {
    /// Go on with what arrives from now on.
    #[serde(default)]
    pub follow: bool,
    /// From one peer only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
}

/// Report the daemon.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Stats {}

/// Report versions.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Version {}

/// Report the public key.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Key {}

/// List peers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Peers {}

/// Show one peer, or change it: for admins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
pub enum PeerAction {
    /// Show it.
    Show {
        /// Its name.
        peer: String,
    },
    /// Call it something else; its directory beneath the inbox goes with it.
    Rename {
        /// Its name so far.
        peer: String,
        /// Its name from now on.
        to: String,
    },
    /// Forget it; its files stay.
    Remove {
        /// Its name.
        peer: String,
    },
    /// Let it do something in a root, beside what it may do there already.
    Grant(PeerRights),
    /// Take rights in a root away from it: those that are said, all if none is.
    Revoke(PeerRights),
    /// Set how much may lie in its directory.
    Quota {
        /// Its name.
        peer: String,
        /// Bytes of files; without, what the configuration says of all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    },
    /// Set what may be moved to it and from it.
    Rate {
        /// Its name.
        peer: String,
        /// Bits a second; without, any rate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rate_bps: Option<u64>,
    },
}

/// Rights of a peer in a root.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerRights {
    /// Its name.
    pub peer: String,
    /// Name of the root: `inbox` is its own directory.
    pub root: String,
    /// Get files.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read: bool,
    /// Put files.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write: bool,
    /// See what is there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub list: bool,
}

/// Make a ticket by which another machine becomes a peer: for admins.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invite {
    /// Where the rights hold; the peer's own directory if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// It may get files.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read: bool,
    /// It may put files.
    #[serde(default, skip_serializing_if = "is_default")]
    pub write: bool,
    /// It may see what is there.
    #[serde(default, skip_serializing_if = "is_default")]
    pub list: bool,
    /// For how long the ticket can be used, microseconds.
    pub expires_us: u64,
    /// Addresses of this machine for the ticket, with or without a port; its own if there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// What the peer will be called; as it calls itself if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Become a peer of the machine that made a ticket: for admins.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The ticket: a secret.
    pub ticket: String,
    /// What the other machine will be called here; as it calls itself if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What this machine calls itself; its host name if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call_me: Option<String>,
    /// The other machine gets the rights that the ticket gives, in its own directory here.
    #[serde(default, skip_serializing_if = "is_default")]
    pub mutual: bool,
}

/// Without the secret.
impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join").field("name", &self.name).finish_non_exhaustive()
    }
}
