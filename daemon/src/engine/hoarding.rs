//! What peers may hold of the staging memory without anybody knowing what for.
//!
//! Data may come before the message that says what it belongs to: the control stream is a packet late. Its blocks can
//! be neither written nor thrown away, since the peer was told that they came. So a session holds few of them
//! ([`Staging`](super::staging::Staging) refuses more), not for long, and not where all of them together leave nothing
//! to the sessions that could go on.

use std::time::Duration;

use udpx_proto::{Code, Time};

use super::Engine;
use super::association::Association;

impl Engine {
    /// Not one block is free and none can be written early: if half of the memory waits for requests that were not
    /// heard of, the session that holds most of it is closed.
    pub(super) fn end_hoarder(&mut self, now: Time) {
        let held = |association: &mut Option<Association>| {
            association.as_mut().and_then(Association::driver).map_or(0, |driver| driver.staging.unplaced())
        };
        let held: Vec<usize> = self.associations.iter_mut().map(held).collect();
        if held.iter().sum::<usize>() * 2 < self.pool.limit() {
            return;
        }
        if let Some((index, _)) = held.iter().enumerate().max_by_key(|&(_, held)| *held) {
            self.give_up(index, now);
        }
    }

    /// Ends the sessions that wait for a request for too long.
    pub(super) fn end_unplaced(&mut self, now: Time) {
        for index in 0..self.associations.len() {
            let Some(driver) = self.associations[index].as_mut().and_then(Association::driver) else {
                continue;
            };
            let stream = driver.staging.unplaced_stream();
            driver.unplaced = match (stream, driver.unplaced) {
                (Some(stream), Some(before)) if before.0 == stream => Some(before),
                (stream, _) => stream.map(|stream| (stream, now)),
            };
            if driver.unplaced.is_some_and(|(_, since)| now >= since + UNPLACED_FOR) {
                self.give_up(index, now);
            }
        }
    }

    fn give_up(&mut self, index: usize, now: Time) {
        let Self { associations, pool, .. } = self;
        if let Some(driver) = associations[index].as_mut().and_then(Association::driver) {
            driver.close(Code::TryAgain, "Your data takes memory here for a request that never came.", now);
            driver.staging.clear(pool);
        }
    }
}

/// How long data may wait for its request: as long as a control packet is repeated over a bad path.
const UNPLACED_FOR: Duration = Duration::from_secs(10);
