//! Caps: of a job, of all jobs with a peer, of all jobs.
//!
//! A cap that several jobs share is divided equally among those that have a session; it is divided anew whenever a
//! session comes or goes, or a cap changes.

use std::collections::HashMap;

use super::{Cx, Jobs};
use crate::calls::Errand;
use crate::engine::report::Command;

/// The caps that are not those of one job, bits a second.
#[derive(Debug, Default)]
pub(super) struct Rates {
    pub(super) peers: HashMap<String, u64>,
    pub(super) all: Option<u64>,
}

impl Jobs {
    /// Tells each session what it may move.
    pub(super) fn share_rates(&mut self, cx: &mut Cx<'_>) {
        let mut with_peer: HashMap<&str, u64> = HashMap::new();
        let running = || self.runs().filter_map(|(job, run)| Some((job, run.link().session()?)));
        let mut count = 0u64;
        for (job, _) in running() {
            *with_peer.entry(&job.record.host).or_default() += 1;
            count += 1;
        }
        for (job, session) in running() {
            let host = job.record.host.as_str();
            let of_peer = self.rates.peers.get(host).map(|bps| bps / with_peer[host].max(1));
            let of_all = self.rates.all.map(|bps| bps / count.max(1));
            let bps = [job.record.options.limit_bps, of_peer, of_all].into_iter().flatten().min();
            if !cx.engine.send(Command::SetLimit { session, bps }) {
                tracing::warn!(job = job.record.id, "the engine is too busy to take a new limit");
            }
        }
    }
}
