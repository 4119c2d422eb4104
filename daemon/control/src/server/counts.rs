//! How many connections there are, in total and of each user.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{CONNECTIONS_MAX, CONNECTIONS_PER_UID_MAX, CONNECTIONS_RESERVED};
use crate::schema::{ErrorReport, code};

/// How many connections a listener has at most. Others are told so and closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// In total.
    pub connections: usize,
    /// Of those, kept free for root.
    pub reserved: usize,
    /// Of one user.
    pub per_uid: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS_MAX,
            reserved: CONNECTIONS_RESERVED,
            per_uid: CONNECTIONS_PER_UID_MAX,
        }
    }
}

/// The limit that a connection would have passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Full {
    /// All together.
    #[error("The daemon has {0} connections, as many as it takes.")]
    Total(usize),
    /// Of one user.
    #[error("User {uid} has {connections} connections to the daemon, as many as one user may have.")]
    User {
        /// The user.
        uid: u32,
        /// Connections of that user.
        connections: usize,
    },
}

impl Full {
    /// What the client is told.
    #[must_use]
    pub fn report(&self) -> ErrorReport {
        ErrorReport::new(code::TRY_AGAIN, self.to_string(), "Wait until some of them are closed.")
    }
}

#[derive(Debug, Default)]
struct Counts {
    total: usize,
    per_uid: HashMap<u32, usize>,
}

/// The count that a listener shares with its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Census(Arc<Mutex<Counts>>);

/// One counted connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    census: Census,
    uid: u32,
}

impl Census {
    pub(super) fn enter(&self, uid: u32, limits: Limits) -> Result<Slot, Full> {
        let mut counts = self.lock();
        let reserved = if uid == 0 { 0 } else { limits.reserved };
        if counts.total + reserved >= limits.connections {
            return Err(Full::Total(counts.total));
        }
        let of_user = counts.per_uid.get(&uid).copied().unwrap_or(0);
        if of_user >= limits.per_uid {
            return Err(Full::User { uid, connections: of_user });
        }
        counts.total += 1;
        counts.per_uid.insert(uid, of_user + 1);
        drop(counts);
        Ok(Slot { census: self.clone(), uid })
    }

    pub(super) fn total(&self) -> usize {
        self.lock().total
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        // Plain numbers: a panic between two of them leaves nothing broken.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.census.lock();
        counts.total -= 1;
        let left = counts.per_uid.get(&self.uid).copied().unwrap_or(1) - 1;
        match left {
            0 => drop(counts.per_uid.remove(&self.uid)),
            _ => drop(counts.per_uid.insert(self.uid, left)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_all_users_are_limited_and_root_still_gets_in() {
        let (census, limits) = (Census::default(), Limits { connections: 6, reserved: 2, per_uid: 3 });
        let of_one: Vec<_> = (0..3).map(|_| census.enter(1000, limits).unwrap()).collect();
        assert_eq!(census.enter(1000, limits).unwrap_err(), Full::User { uid: 1000, connections: 3 });
        let other = census.enter(1001, limits).unwrap();
        assert_eq!(census.enter(1002, limits).unwrap_err(), Full::Total(4));
        let root = [census.enter(0, limits).unwrap(), census.enter(0, limits).unwrap()];
        assert_eq!(census.enter(0, limits).unwrap_err(), Full::Total(6));
        assert_eq!(census.total(), 6);
        drop((of_one, other, root));
        assert_eq!(census.total(), 0);
        assert!(census.lock().per_uid.is_empty());
    }
}
