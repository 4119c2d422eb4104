//! Why a request came to nothing.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::frame::FrameError;
use crate::inbound::InboundError;
use crate::schema::{ErrorReport, SCHEMA, code};

/// Why a request came to nothing. [`ClientError::report`] separates what happened from what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No daemon runs: an engine in this process may take its place.
    #[error("No daemon answers at {}.", listed(paths))]
    NoDaemon {
        /// The sockets that were tried.
        paths: Vec<PathBuf>,
        /// One of them is a dead daemon's.
        stale: bool,
    },
    /// Something else has that name.
    #[error("{path:?} is no socket.")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// This user may not use the socket.
    #[error("This user may not use {path:?}.")]
    NotPermitted {
        /// The path.
        path: PathBuf,
        /// The group whose members may.
        group: String,
    },
    /// The daemon does not answer in time.
    #[error("The daemon at {path:?} did not answer within {} s.", waited.as_secs())]
    TimedOut {
        /// Its socket.
        path: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The daemon has closed the connection.
    #[error("The daemon at {path:?} has closed the connection.")]
    Gone {
        /// Its socket.
        path: PathBuf,
    },
    /// The daemon says no.
    #[error("{0}")]
    Refused(ErrorReport),
    /// The daemon speaks a newer version.
    #[error("The daemon speaks schema {0}, and this program schema {SCHEMA}.")]
    Newer(u32),
    /// What the daemon says is no response.
    #[error("The daemon's answer is not understood: {0}.")]
    Unreadable(serde_json::Error),
    /// What the daemon sends breaks the rules.
    #[error("The daemon's answer is not understood: {0}")]
    Inbound(#[from] InboundError),
    /// The request is too large.
    #[error("The request does not fit: {0}")]
    TooLarge(FrameError),
    /// More or fewer descriptors than the request takes.
    #[error("The request takes {expected} descriptors, and {given} were given.")]
    Descriptors {
        /// What it takes.
        expected: usize,
        /// What was given.
        given: usize,
    },
    /// The system refused.
    #[error("The control socket {path:?} could not be used: {error}.")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

fn listed(paths: &[PathBuf]) -> String {
    let paths: Vec<_> = paths.iter().map(|path| format!("{path:?}")).collect();
    paths.join(" or ")
}

impl ClientError {
    /// The daemon is not there, but may come back: it has been stopped, or is just being started.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused(report) => report.code == code::TRY_AGAIN.0,
            Self::NoDaemon { .. } | Self::Gone { .. } | Self::TimedOut { .. } | Self::Io { .. } => true,
            _ => false,
        }
    }

    /// As what the daemon itself would say.
    #[must_use]
    pub fn report(&self) -> ErrorReport {
        let update = "Use udpxctl and udpxd of the same version.";
        let (code, remedy) = match self {
            Self::Refused(report) => return report.clone(),
            Self::NoDaemon { stale: true, .. } => (
                code::NO_DAEMON,
                "It has ended without removing its socket; start it again: systemctl start udpxd.".to_owned(),
            ),
            Self::NoDaemon { .. } => (code::NO_DAEMON, "Start it: systemctl start udpxd.".to_owned()),
            Self::NotASocket { .. } => {
                (code::USAGE, "Give the daemon's socket with --socket or UDPX_SOCKET.".to_owned())
            }
            Self::NotPermitted { group, .. } => {
                (code::REFUSED, format!("Join its group and log in again: sudo usermod -aG {group} $USER."))
            }
            Self::TimedOut { .. } => {
                (code::TRY_AGAIN, "See whether it is well: systemctl status udpxd.".to_owned())
            }
            Self::Gone { .. } => (
                code::TRY_AGAIN,
                "It may have been stopped; its log says why: journalctl -u udpxd.".to_owned(),
            ),
            Self::Newer(_) | Self::Unreadable(_) | Self::Inbound(_) => (code::PROTOCOL, update.to_owned()),
            Self::TooLarge(_) => (code::USAGE, "Name fewer files at once, or their directory.".to_owned()),
            Self::Descriptors { .. } => {
                (code::USAGE, "Pass one for each file that is opened by descriptor.".to_owned())
            }
            Self::Io { .. } => (code::IO, "See the system's log.".to_owned()),
        };
        ErrorReport::new(code, self.to_string(), remedy)
    }
}
