//! Caps: of a job, and of all jobs together. That of a peer is the engine's, whoever opened the sessions.
//!
//! A cap that several jobs share is divided equally among those that have a session; it is divided anew whenever a
//! session comes or goes, or a cap changes.

use super::{Cx, Jobs};
use crate::calls::Errand;
use crate::engine::report::Command;

impl Jobs {
    /// Tells each session what it may move.
    pub(super) fn share_rates(&mut self, cx: &mut Cx<'_>) {
        let running = || self.runs().filter_map(|(job, run)| Some((job, run.link().session()?)));
        let count = running().count() as u64;
        for (job, session) in running() {
            let of_all = self.limit_of_all.map(|bps| bps / count.max(1));
            let bps = [job.record.options.limit_bps, of_all].into_iter().flatten().min();
            if !cx.engine.send(Command::SetLimit { session, bps }) {
                tracing::warn!(job = job.record.id, "the engine is too busy to take a new limit");
            }
        }
    }
}
