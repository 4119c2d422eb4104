//! What a lane id can belong to: a handshake that we began, one that was begun with us, or a session.

use std::net::SocketAddr;
use std::time::Duration;

use mio::Token;
use udpx_proto::handshake::Established;
use udpx_proto::session::RatePolicy;
use udpx_proto::{Code, LaneId, SessionConfig, Time};
use udpx_udp::Socket;

use super::answer::{HALF_OPEN, HalfOpen};
use super::call::Opening;
use super::driver::{Cx, Driver};
use super::report::Report;
use super::ways::Ways;
use super::wire::Wire;
use super::{Engine, FIRST_WIRE};
use crate::report::{SocketReport, Tally};
use crate::transfer::Failure;

/// What a lane id belongs to.
pub(crate) enum Association {
    /// We knock.
    Opening(Box<Opening>),
    /// Somebody knocked and was answered; nothing may happen before a packet of theirs opens.
    HalfOpen(Box<HalfOpen>),
    /// A session.
    Open(Box<Driver>),
}

impl Association {
    pub(crate) fn driver(&mut self) -> Option<&mut Driver> {
        match self {
            Self::Open(driver) => Some(driver),
            Self::Opening(_) | Self::HalfOpen(_) => None,
        }
    }

    /// Its sockets.
    pub(crate) fn ways(&self) -> Ways {
        match self {
            Self::Opening(opening) => Ways::one(opening.wire),
            Self::HalfOpen(half) => Ways::one(half.wire),
            Self::Open(driver) => driver.ways,
        }
    }

    pub(crate) fn is_dirty(&self) -> bool {
        match self {
            Self::Opening(opening) => opening.due,
            Self::HalfOpen(_) => false,
            Self::Open(driver) => driver.dirty,
        }
    }

    /// Its socket can be written to again.
    pub(crate) fn rouse(&mut self) {
        if let Self::Open(driver) = self {
            driver.dirty = true;
        }
    }

    pub(crate) fn deadline(&self) -> Time {
        match self {
            Self::Opening(opening) => opening.deadline(),
            // Housekeeping ends it; it has nothing to do before.
            Self::HalfOpen(_) => Time::FAR,
            Self::Open(driver) => driver.deadline,
        }
    }

    /// The engine stops.
    pub(crate) fn close(&mut self, now: Time) {
        match self {
            Self::Open(driver) => driver.close(Code::TryAgain, "The daemon is being stopped.", now),
            Self::Opening(opening) => opening.connect.timeout = Duration::ZERO,
            Self::HalfOpen(half) => half.began = Time::ZERO,
        }
    }
}

impl Engine {
    pub(super) fn session_config(
        &self,
        established: &Established,
        address: SocketAddr,
        policy: RatePolicy,
        plain: bool,
        mtu_max: u16,
    ) -> SessionConfig {
        SessionConfig {
            plain,
            ip_mtu_max: mtu_max.min(established.peer_params.mtu_max),
            ip_headers: if address.is_ipv4() { 28 } else { 48 },
            policy,
            hint: self.config.paths.hint(&established.peer, address.ip()),
            staging_budget: self.params.staging_credit,
            lanes_max: self.params.lanes_max,
            rekey: self.config.rekey,
            ..SessionConfig::default()
        }
    }

    /// Ends an association and frees its lanes and its sockets.
    pub(crate) fn remove(&mut self, index: u32) {
        let socket = self.socket_report(index);
        let Some(association) = self.associations[index as usize].take() else { return };
        let ways = association.ways();
        let lanes: Vec<LaneId> = match &association {
            Association::Opening(opening) => vec![opening.initiator.lane()],
            Association::HalfOpen(half) => vec![half.established.local_lane],
            Association::Open(driver) => driver.lanes(),
        };
        lanes.into_iter().for_each(|lane| self.lanes.close(lane));
        if let Association::Open(driver) = association {
            self.remember(&driver);
            let now = self.clock.now();
            let Self { pool, workers, outbox, random, tags, lanes, config, unfinished, .. } = self;
            let (queue, identity, bounds) = (workers.queue(), &config.identity, &config.bounds);
            let mut cx = Cx { now, pool, queue, outbox, random, identity, tags, lanes, bounds, unfinished };
            driver.dismantle(socket, &mut cx);
        }
        ways.iter().for_each(|wire| self.release_wire(wire));
    }

    /// Keeps what a session knows of its path.
    pub(super) fn remember(&self, driver: &Driver) {
        // Of strangers nothing: they could fill the table.
        if let Some(hint) = driver.session.rate_hint().filter(|_| !driver.peer.is_stranger()) {
            self.config.paths.remember(&driver.peer_key, driver.address.ip(), hint);
        }
    }

    /// Tells what was counted. An engine that only calls tells it at the end of each session.
    fn tell_tally(&mut self) {
        if self.acceptor.is_none() {
            return;
        }
        let listening = self.wires.iter().flatten().filter(|wire| wire.listening);
        let mut sockets = SocketReport::default();
        listening.for_each(|wire| sockets += wire.report());
        let drivers = self.associations.iter_mut().flatten().filter_map(Association::driver);
        let sessions = drivers.filter_map(|driver| driver.tally()).collect();
        self.outbox.push(Report::Tally(Box::new(Tally { sockets, sessions })));
    }

    /// Forgets what hangs, and sees to what was forgotten by events.
    pub(crate) fn keep_house(&mut self, now: Time) {
        self.housekeeping_at = now + HOUSEKEEPING;
        // Should an event be missed, a socket is not blocked for ever.
        self.wires.iter_mut().flatten().for_each(|wire| wire.blocked = false);
        for index in 0..self.associations.len() as u32 {
            let stale = match &self.associations[index as usize] {
                Some(Association::HalfOpen(half)) => now >= half.began + HALF_OPEN,
                Some(Association::Open(driver)) => {
                    !driver.session.is_confirmed() && now >= driver.session.last_heard() + HALF_OPEN
                }
                Some(Association::Opening(_)) | None => false,
            };
            if stale {
                self.remove(index);
            }
        }
        self.end_unplaced(now);
        self.end_stalled(now);
        self.rouse_superseded();
        self.tell_tally();
    }

    pub(crate) fn add_wire(&mut self, socket: Socket, listening: bool) -> Result<usize, Failure> {
        #[cfg(test)]
        let socket = {
            let mut socket = socket;
            if let Some(inject) = self.config.inject {
                socket.inject_send(inject());
            }
            socket
        };
        let at = self.wires.iter().position(Option::is_none).unwrap_or(self.wires.len());
        let wire = Wire::new(socket, self.poll.registry(), Token(FIRST_WIRE + at), listening);
        let mut wire = wire.map_err(|error| Failure::new(Code::Io, format!("No socket: {error}.")))?;
        wire.users += u32::from(!listening);
        if at == self.wires.len() {
            self.wires.push(None);
        }
        self.wires[at] = Some(wire);
        Ok(at)
    }

    pub(super) fn release_wire(&mut self, at: usize) {
        if let Some(slot) = self.wires.get_mut(at)
            && let Some(wire) = slot
            && !wire.listening
        {
            wire.users -= 1;
            if wire.users == 0 {
                wire.flush(|_| {});
                // A carrier may have the socket for a while yet, and it would stay in the poll for as long.
                let _ = self.poll.registry().deregister(&mut wire.socket);
                self.carriers.leave(wire);
                *slot = None;
            }
        }
    }

    pub(super) fn free_index(&mut self) -> u32 {
        let at = self.associations.iter().position(Option::is_none).unwrap_or(self.associations.len());
        if at == self.associations.len() {
            self.associations.push(None);
        }
        at as u32
    }

    pub(super) fn next_key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }
}

/// How often stale associations are looked for.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
