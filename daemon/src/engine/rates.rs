//! Caps of peers: what may be moved to one and from it, whoever opened the sessions.
//!
//! A cap is divided equally among the sessions with its peer, anew whenever one comes, and once a second for those that
//! went. What we send is held back here; what the peer sends it is asked to hold back, as `RateLimit` does: a program that
//! was changed need not heed that.

use std::collections::HashMap;

use udpx_proto::Time;
use udpx_proto::handshake::PublicKey;

use super::Engine;
use super::association::Association;

impl Engine {
    /// Tells each session what it may move.
    pub(super) fn share_rates(&mut self, now: Time) {
        self.rates_stirred = false;
        let mut sessions: HashMap<PublicKey, Vec<u32>> = HashMap::new();
        let mut uncapped = Vec::new();
        for (index, association) in self.associations.iter_mut().enumerate() {
            let Some(driver) = association.as_mut().and_then(Association::driver) else { continue };
            // Whoever comes by a ticket comes as somebody else.
            let capped = driver.guest.is_none() && self.config.peers.rate_bps(&driver.peer_key).is_some();
            match capped {
                true => sessions.entry(driver.peer_key).or_default().push(index as u32),
                false if driver.is_capped() => uncapped.push(index as u32),
                false => {}
            }
        }
        for index in uncapped {
            self.with_driver(index, now, |driver, cx| driver.set_share(None, cx));
        }
        for (key, indices) in sessions {
            let share = self.config.peers.rate_bps(&key).map(|bps| bps / indices.len() as u64);
            for index in indices {
                self.with_driver(index, now, |driver, cx| driver.set_share(share, cx));
            }
        }
    }
}
