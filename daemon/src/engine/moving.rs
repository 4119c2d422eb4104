//! A session that we opened moves to other sockets when nothing is heard on its own.
//!
//! A connected socket keeps the source address that it got when the session began. If that address is taken from the
//! machine, or another network takes the place of the one it was for, packets leave with a source that leads nowhere,
//! or do not leave at all, and no answer can tell. So silence is answered by a socket that the kernel routes anew; the
//! peer follows what comes from it (PROTOCOL.md 5.6). Where only the peer is silent, nothing is lost by it.

use std::time::Duration;

use udpx_proto::Time;

use super::Engine;
use super::association::Association;
use super::driver::Peer;
use super::wire::Wire;
use crate::report::SocketReport;

/// When a session that we opened wants another socket.
#[derive(Debug)]
pub(crate) struct Patience {
    /// Silence after which it does; doubled each time that it did not help.
    limit: Duration,
    wants: bool,
    /// What the sockets before this one have done.
    former: SocketReport,
}

impl Default for Patience {
    fn default() -> Self {
        Self { limit: SILENCE, wants: false, former: SocketReport::default() }
    }
}

impl Patience {
    /// Nothing was heard for so long though something is awaited.
    pub(super) fn look(&mut self, silent_for: Duration) {
        if silent_for < SILENCE {
            self.limit = SILENCE;
        } else if silent_for >= self.limit {
            self.limit = silent_for + (2 * self.limit).min(SILENCE_MOST);
            self.wants = true;
        }
    }

    pub(super) fn former_sockets(&self) -> SocketReport {
        self.former
    }
}

impl Engine {
    /// Gives each lane of a session of ours another socket, if it wants that and there is a way for it.
    pub(super) fn renew_wires(&mut self, index: u32, now: Time) {
        let Some(driver) = self.associations[index as usize].as_mut().and_then(Association::driver) else {
            return;
        };
        let (true, Peer::Server { connect, .. }) = (std::mem::take(&mut driver.patience.wants), &driver.peer)
        else {
            return;
        };
        let (connect, ways) = (connect.clone(), driver.ways);
        for (lane, old) in ways.iter().enumerate() {
            // No way there now, or no descriptor: the old socket may still do, and it is tried again.
            let Ok(socket) = self.socket_to(&connect) else { return };
            let local = socket.local_addr();
            let Ok(new) = self.add_wire(socket, false) else { return };
            let former = self.wires[old].as_ref();
            let other_host = former.is_none_or(|wire| wire.socket.local_addr().ip() != local.ip());
            let report = former.map(Wire::report).unwrap_or_default();
            if let Some(driver) = self.associations[index as usize].as_mut().and_then(Association::driver) {
                tracing::debug!(address = %connect.address, %local, lane, "a silent session gets another socket");
                driver.ways.set(lane, new);
                driver.patience.former += report;
                driver.session.on_rebound(now, lane, other_host);
            }
            self.release_wire(old);
        }
    }
}

/// Silence of a peer that owes an answer after which the way back is doubted. Longer than a disk is likely to hold an
/// engine up, and short enough for a transfer to go on within two seconds.
const SILENCE: Duration = Duration::from_millis(900);
/// The longest between two sockets.
const SILENCE_MOST: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_changed_at_growing_distances_until_something_is_heard() {
        let mut patience = Patience::default();
        let mut changes = |silent_ms: std::ops::Range<u64>| -> Vec<u64> {
            silent_ms
                .step_by(100)
                .filter(|&ms| {
                    patience.look(Duration::from_millis(ms));
                    std::mem::take(&mut patience.wants)
                })
                .collect()
        };
        assert_eq!(changes(0..60_000), [900, 2700, 8100, 16_100, 24_100, 32_100, 40_100, 48_100, 56_100]);
        assert_eq!(changes(0..1000), [900], "heard, and silent again");
    }
}
