//! By which socket the packets of each lane of a session leave, and how a session comes to several lanes.
//!
//! Lanes of a session that was opened here have a private connected socket each: another source port, so that networks which
//! spread flows over paths, and receivers which spread them over cores, see several. Those of a session that came to a
//! listening socket share it: the lane's id in each packet tells them apart, and one open port is all that a firewall needs.
//!
//! Lanes are offered when there are files to move, not before: a question needs no more than one.

use std::io;

use udpx_proto::LaneId;
use udpx_proto::limits::LANES_MAX;
use udpx_udp::{Socket, SocketOptions};

use super::Engine;
use super::association::Association;
use super::driver::{Cx, Driver, Peer};
use super::report::Connect;

/// The sockets of a session, as indices of the engine's wires.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Ways {
    wires: [u32; LANES_MAX],
    count: u8,
}

impl Ways {
    /// All lanes by one socket, until more are [added](Self::push).
    pub(crate) fn one(wire: usize) -> Self {
        Self { wires: [wire as u32; LANES_MAX], count: 1 }
    }

    /// The socket of a lane: the first one's, unless it has its own.
    #[inline]
    pub(crate) fn of(&self, lane: usize) -> usize {
        let own = lane < usize::from(self.count);
        self.wires[if own { lane } else { 0 }] as usize
    }

    /// The next lane has a socket of its own. The caller sees to it that there are no more than [`LANES_MAX`].
    pub(super) fn push(&mut self, wire: usize) {
        self.wires[usize::from(self.count)] = wire as u32;
        self.count += 1;
    }

    /// A lane has another socket now.
    pub(super) fn set(&mut self, lane: usize, wire: usize) {
        self.wires[lane] = wire as u32;
    }

    /// Sockets.
    pub(crate) fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The sockets, each once.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        let Self { wires, count } = *self;
        (0..usize::from(count)).map(move |lane| wires[lane] as usize)
    }

    pub(crate) fn uses(&self, wire: usize) -> bool {
        self.iter().any(|own| own == wire)
    }

    /// The lane whose own socket that is, or the first of those that share it.
    pub(crate) fn lane_on(&self, wire: usize) -> usize {
        self.iter().position(|own| own == wire).unwrap_or(0)
    }
}

impl Driver {
    /// Whether it is to have more lanes than it has asked for so far.
    fn wants_lanes(&self) -> bool {
        self.ways.count() < self.lanes_wanted && (!self.puts.is_empty() || !self.takes.is_empty())
    }

    /// The peer wants another lane.
    pub(super) fn on_lane_offered(&mut self, owner: u32, index: u8, remote: LaneId, cx: &mut Cx<'_>) {
        if self.peer.is_stranger() {
            return;
        }
        let Some(local) = cx.lanes.open_further(owner, cx.random.number() as u32) else { return };
        if self.session.accept_lane(cx.now, index, local, remote).is_err() {
            cx.lanes.close(local);
        }
    }
}

impl Engine {
    /// Offers a session's peer as many lanes as both allow, each on a socket of its own, once that is of use.
    pub(super) fn offer_lanes(&mut self, index: u32) {
        loop {
            let Some(driver) = self.associations[index as usize].as_mut().and_then(Association::driver)
            else {
                return;
            };
            let Peer::Server { connect, .. } = &driver.peer else { return };
            if !driver.wants_lanes() {
                return;
            }
            let connect = connect.clone();
            if self.offer_lane(index, &connect).is_none() {
                // No socket, no lane id: what there is has to do.
                if let Some(driver) = self.associations[index as usize].as_mut().and_then(Association::driver)
                {
                    driver.lanes_wanted = driver.ways.count();
                }
                return;
            }
        }
    }

    fn offer_lane(&mut self, index: u32, connect: &Connect) -> Option<()> {
        let random = self.random.number() as u32;
        let lane = self.lanes.open_further(index, random)?;
        let wire = self.socket_to(connect).ok().and_then(|socket| self.add_wire(socket, false).ok());
        let driver = self.associations[index as usize].as_mut().and_then(Association::driver)?;
        match wire {
            Some(wire) if driver.session.offer_lane(lane).is_ok() => driver.ways.push(wire),
            _ => {
                self.lanes.close(lane);
                wire.into_iter().for_each(|wire| self.release_wire(wire));
                return None;
            }
        }
        Some(())
    }

    /// A socket of its own for a session of ours, or for a lane of it.
    ///
    /// # Errors
    /// There is no way there now, or no descriptor.
    pub(super) fn socket_to(&self, connect: &Connect) -> io::Result<Socket> {
        let options = self.config.socket_options();
        let options = SocketOptions { gso: options.gso && connect.gso, ..options };
        Socket::connect(Socket::wildcard(connect.address), connect.address, &options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_without_a_socket_of_its_own_uses_the_first() {
        let mut ways = Ways::one(7);
        assert_eq!((ways.of(0), ways.of(3), ways.count()), (7, 7, 1));
        ways.push(9);
        assert_eq!((ways.of(0), ways.of(1), ways.of(2)), (7, 9, 7));
        ways.set(0, 4);
        assert_eq!(ways.iter().collect::<Vec<_>>(), [4, 9]);
        assert_eq!((ways.lane_on(9), ways.lane_on(4), ways.uses(7)), (1, 0, false));
    }
}
