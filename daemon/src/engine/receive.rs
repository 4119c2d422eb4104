//! Datagrams in: from a socket's batch to the sessions that they belong to.

use std::net::SocketAddr;
use std::time::Duration;

use udpx_proto::handshake::UnknownSession;
use udpx_proto::wire::header::{Header, Kind};
use udpx_proto::{Arrival, LaneId, Time};
use udpx_udp::{HintKind, RecvBatch};

use super::Engine;
use super::association::Association;

impl Engine {
    /// One receive call on a socket that is readable, and what it brought.
    pub(crate) fn receive(&mut self, at: usize) {
        let Some(wire) = self.wires[at].as_mut().filter(|wire| wire.readable) else { return };
        let Some(mut batch) = self.receive.take() else { return };
        let received = wire.socket.recv(&mut batch);
        let hint = wire.socket.take_hint();
        let overruns = wire.take_overruns();
        match received {
            Ok(_) => {
                // Room that was left means that the queue was empty; whatever comes later rings again.
                wire.readable = batch.is_full();
                self.busy |= wire.readable;
            }
            Err(error) => {
                // Something may be there still, and no event would say so again: it stays readable, and is tried
                // again soon.
                self.retry_at = self.clock.now() + RECEIVE_AGAIN;
                self.receive_errors += 1;
                if self.receive_errors.is_power_of_two() {
                    tracing::warn!(%error, count = self.receive_errors, "receiving failed");
                }
            }
        }
        let now = self.clock.now();
        match hint {
            Some(HintKind::Refused) => self.on_refused(at, now),
            Some(HintKind::SizeDoubted) => self.doubt_size(at),
            _ => {}
        }
        self.distribute(at, &batch, now);
        self.receive = Some(batch);
        while let Some(index) = self.touched.pop() {
            if let Some(driver) = self.associations[index as usize].as_mut().and_then(Association::driver) {
                if overruns > 0 {
                    driver.session.on_overruns(driver.ways.lane_on(at), overruns);
                }
                driver.session.end_of_batch(now);
            }
        }
    }

    /// An ICMP message came to a socket: one that is connected serves one session.
    fn doubt_size(&mut self, at: usize) {
        if self.wires[at].as_ref().is_none_or(|wire| wire.listening) {
            return;
        }
        let drivers = self.associations.iter_mut().flatten().filter_map(Association::driver);
        for driver in drivers.filter(|driver| driver.ways.uses(at)) {
            driver.session.doubt_size(driver.ways.lane_on(at));
            driver.dirty = true;
        }
    }

    fn distribute(&mut self, at: usize, batch: &RecvBatch, now: Time) {
        // Most buffers belong to one session: the last one found is asked first.
        let mut last: Option<(LaneId, u32)> = None;
        let listening = self.wires[at].as_ref().is_some_and(|wire| wire.listening);
        for received in batch.iter() {
            let from = listening.then_some(received.from);
            let arrival = Arrival { ecn: received.ecn, from };
            for datagram in received.datagrams() {
                let Ok((header, _)) = Header::parse(datagram) else {
                    self.on_other(at, received.from, datagram, now);
                    last = None;
                    continue;
                };
                let lane = header.lane();
                let index = match last {
                    Some((known, index)) if known == lane => index,
                    _ => match self.lanes.find(lane) {
                        Some(index) => {
                            self.touch(index, datagram, now);
                            // What is half open is looked at again with each packet, until one opens.
                            let open =
                                matches!(self.associations[index as usize], Some(Association::Open(_)));
                            last = open.then_some((lane, index));
                            index
                        }
                        None => {
                            self.on_unknown_lane(at, received.from, lane, header.number(), now);
                            continue;
                        }
                    },
                };
                let Self { associations, pool, .. } = self;
                if let Some(driver) = associations[index as usize].as_mut().and_then(Association::driver) {
                    let mut sink = driver.staging.sink(pool);
                    // Dropped datagrams are counted by the session.
                    let _ = driver.session.handle_datagram(now, &arrival, datagram, &mut sink);
                }
            }
        }
    }

    /// The session gets datagrams in this batch.
    fn touch(&mut self, index: u32, datagram: &[u8], now: Time) {
        if let Some(Association::HalfOpen(_)) = self.associations[index as usize] {
            self.promote(index, datagram, now);
        }
        if let Some(driver) = self.associations[index as usize].as_mut().and_then(Association::driver)
            && !self.touched.contains(&index)
        {
            driver.dirty = true;
            self.touched.push(index);
        }
    }

    /// Not a packet of a session.
    fn on_other(&mut self, at: usize, from: SocketAddr, datagram: &[u8], now: Time) {
        let listening = self.wires[at].as_ref().is_some_and(|wire| wire.listening);
        // A HELLO of another version is answered too.
        if listening {
            return self.on_hello(at, from, datagram, now);
        }
        let opening = |association: &Option<Association>| matches!(association, Some(Association::Opening(opening)) if opening.is_on(at));
        match Kind::of(datagram) {
            Ok(Kind::UnknownSession) => {
                if let Ok(hint) = UnknownSession::parse(datagram) {
                    self.on_unknown_session(at, hint, now);
                }
            }
            _ => {
                if let Some(index) = self.associations.iter().position(opening) {
                    self.on_opening_datagram(index as u32, datagram, now);
                }
            }
        }
    }

    /// A packet for a lane that we do not have: its sender may have missed that we were restarted.
    fn on_unknown_lane(&mut self, at: usize, from: SocketAddr, lane: LaneId, number: u64, now: Time) {
        let Self { acceptor, wires, .. } = self;
        if let (Some(acceptor), Some(wire)) = (acceptor, wires[at].as_mut())
            && wire.listening
            && let Some(hint) = acceptor.unknown_session(now, lane, number)
        {
            wire.datagram(Some(from), hint.as_bytes(), u32::MAX);
        }
    }

    pub(crate) fn on_refused(&mut self, at: usize, now: Time) {
        for association in self.associations.iter_mut().flatten() {
            if let Association::Opening(opening) = association
                && opening.is_on(at)
            {
                opening.on_refused(now);
            }
        }
    }
}

/// How soon a receive call that failed is repeated.
const RECEIVE_AGAIN: Duration = Duration::from_millis(1);
