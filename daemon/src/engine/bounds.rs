//! How much peers may hold here: sessions, and files that are half finished.
//!
//! A pipe may have nothing to say for a day, so a file is not given up for being slow. But it costs a descriptor, and of the
//! disk what its peer has said that it would need. So one peer has so many of them and no more, in whatever number of
//! sessions; and one of which nothing more comes for days is nobody's any more.

use std::collections::HashMap;
use std::time::Duration;

use udpx_proto::handshake::PublicKey;
use udpx_proto::{Code, Time};

use super::Engine;
use super::association::Association;
use crate::config::Limits;
use crate::transfer::Failure;

/// What peers may hold at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bounds {
    /// Sessions beyond which nobody's is taken any more.
    pub(crate) sessions: usize,
    /// Files of one peer that are half finished.
    pub(crate) unfinished: usize,
    /// How long one may be that without a byte of it coming.
    pub(crate) stalled: Duration,
}

impl Bounds {
    /// For engines that a user has started, and ends.
    pub(crate) const NONE: Self =
        Self { sessions: usize::MAX, unfinished: usize::MAX, stalled: Duration::MAX };

    /// As the configuration has it.
    pub(crate) fn of(limits: &Limits) -> Self {
        Self {
            sessions: limits.sessions as usize,
            unfinished: limits.unfinished_per_peer as usize,
            stalled: Duration::from_secs(u64::from(limits.stalled_hours) * 3600),
        }
    }
}

/// Files that peers have half finished here: how many of each, over all its sessions.
#[derive(Debug, Default)]
pub(crate) struct Unfinished(HashMap<PublicKey, usize>);

impl Unfinished {
    /// A peer wants to put another one.
    ///
    /// # Errors
    /// It has as many already as it may: what it is to be told.
    pub(super) fn check(&self, peer: &PublicKey, bounds: &Bounds) -> Result<(), Failure> {
        let most = bounds.unfinished;
        if self.0.get(peer).is_none_or(|&count| count < most) {
            return Ok(());
        }
        let text = format!(
            "You have as many files half finished on this machine as it allows, {most}. On it, raise unfinished_per_peer in \
             [limits] of its udpxd.toml; or try again when others have ended."
        );
        Err(Failure::new(Code::TryAgain, text))
    }

    /// It has begun one.
    pub(super) fn begin(&mut self, peer: PublicKey) {
        *self.0.entry(peer).or_default() += 1;
    }

    /// One of its files is done with.
    pub(super) fn end(&mut self, peer: &PublicKey) {
        if let Some(count) = self.0.get_mut(peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.0.remove(peer);
            }
        }
    }
}

impl Engine {
    /// Gives up the files of peers of which nothing has come for too long.
    pub(super) fn end_stalled(&mut self, now: Time) {
        let stalled = self.config.bounds.stalled;
        if now < self.look_for_stalled_at {
            return;
        }
        self.look_for_stalled_at = now + (stalled / 100).clamp(LOOK_MIN, LOOK_MAX);
        for index in 0..self.associations.len() as u32 {
            let has_some = |association: &mut Association| {
                association.driver().is_some_and(|driver| driver.has_unfinished())
            };
            if self.associations[index as usize].as_mut().is_some_and(has_some) {
                self.with_driver(index, now, |driver, cx| driver.end_stalled(stalled, cx));
            }
        }
    }
}

/// How often they are looked for: a hundredth of the time that they have, within these.
const LOOK_MIN: Duration = Duration::from_millis(100);
const LOOK_MAX: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_peer_has_its_own_count() {
        let (alice, bob) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let bounds = Bounds { unfinished: 2, ..Bounds::NONE };
        let mut unfinished = Unfinished::default();
        for _ in 0..2 {
            unfinished.check(&alice, &bounds).unwrap();
            unfinished.begin(alice);
        }
        let refused = unfinished.check(&alice, &bounds).unwrap_err();
        assert!(refused.code == Code::TryAgain && refused.text.contains("allows, 2."), "{refused:?}");
        unfinished.check(&bob, &bounds).unwrap();
        unfinished.end(&alice);
        unfinished.check(&alice, &bounds).unwrap();
        unfinished.end(&alice);
        unfinished.end(&alice);
        assert!(unfinished.0.is_empty());
    }
}
