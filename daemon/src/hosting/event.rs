//! What happens at a host.

use std::net::SocketAddr;
use std::path::PathBuf;

use udpx_proto::Code;

use crate::engine::report::{Pulse, Report};
use crate::report::FileSummary;

/// What happened at a host. Texts and paths may be the other end's: escape them before they are shown.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HostEvent {
    /// The holder of the ticket has opened a session.
    Connected {
        /// What it is called: a peer by its name, the holder of a ticket by the beginning of its key.
        peer: String,
        /// Where it is.
        from: SocketAddr,
    },
    /// A session is over.
    Disconnected {
        /// As above.
        peer: String,
        /// Where it was.
        from: SocketAddr,
        /// Why.
        code: Code,
        /// The same in words.
        text: String,
    },
    /// Somebody was refused and told why.
    Refused {
        /// Where they are.
        from: SocketAddr,
        /// Why.
        text: String,
    },
    /// Bytes of a file were written here.
    Arriving {
        /// As above.
        peer: String,
        /// Where it comes from.
        from: Option<SocketAddr>,
        /// The path that it will have.
        path: PathBuf,
        /// Bytes so far.
        bytes: u64,
        /// Bytes in all.
        total: u64,
        /// Bits a second, over the last two seconds; 0 too while it is not known.
        rate_bps: u64,
        /// Smoothed round trip, microseconds.
        rtt_us: u64,
        /// Share of our packets taken for lost so far, 0 to 1.
        loss: f64,
    },
    /// A file is here, durable, under its name.
    Came {
        /// As above.
        peer: String,
        /// Where it came from, if that is still connected.
        from: Option<SocketAddr>,
        /// The file.
        file: FileSummary,
    },
    /// A file will not come.
    NotCome {
        /// As above.
        peer: String,
        /// Where it was to come from, if that is still connected.
        from: Option<SocketAddr>,
        /// Its path here.
        path: PathBuf,
        /// Why.
        code: Code,
        /// The same in words.
        text: String,
    },
    /// A file is durable at the other end.
    Went {
        /// As above.
        peer: String,
        /// Where it went, if that is still connected.
        to: Option<SocketAddr>,
        /// Its path here.
        path: PathBuf,
        /// Its bytes.
        bytes: u64,
    },
    /// It will not be.
    NotWent {
        /// As above.
        peer: String,
        /// Where it was to go, if that is still connected.
        to: Option<SocketAddr>,
        /// Its path here.
        path: PathBuf,
        /// Why.
        code: Code,
        /// The same in words.
        text: String,
    },
}

impl HostEvent {
    /// What a report means; `None` if it means nothing to a host. `place` finds the address of a peer, `rate` how fast bytes
    /// come of which there are so many.
    pub(super) fn of(
        report: Report,
        place: impl Fn(&str) -> Option<SocketAddr>,
        rate: impl FnOnce(u64) -> u64,
    ) -> Option<Self> {
        Some(match report {
            Report::Arrived { peer, from, .. } => Self::Connected { peer, from },
            Report::Left { peer, from, failure, .. } => {
                Self::Disconnected { peer, from, code: failure.code, text: failure.text }
            }
            Report::Barred { from, text, .. } => Self::Refused { from, text },
            Report::Unknown { from, .. } => Self::Refused { from, text: "They have no ticket.".into() },
            Report::Arriving { peer, path, written: bytes, size: total, pulse } => {
                let Pulse { rtt_us, loss, .. } = pulse;
                let from = place(&peer);
                Self::Arriving { peer, from, path, bytes, total, rate_bps: rate(bytes), rtt_us, loss }
            }
            Report::Received { peer, file, .. } => Self::Came { from: place(&peer), peer, file },
            Report::NotReceived { peer, path, failure } => {
                Self::NotCome { from: place(&peer), peer, path, code: failure.code, text: failure.text }
            }
            Report::Sent { peer, path, bytes } => Self::Went { to: place(&peer), peer, path, bytes },
            Report::NotSent { peer, path, failure } => {
                Self::NotWent { to: place(&peer), peer, path, code: failure.code, text: failure.text }
            }
            // Those of sessions that this end opens, and of counters.
            _ => return None,
        })
    }
}
