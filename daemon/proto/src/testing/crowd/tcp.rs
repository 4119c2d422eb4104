//! A model of a bulk TCP sender and its receiver, as far as congestion control sees them.
//!
//! Packets are numbered and never repeated: each lost one stands for a retransmission that some later one brings, so what
//! arrived is what was delivered. The receiver acknowledges every second packet, each at a gap; a packet is lost when three
//! sent later have arrived. The path beyond keeps order.

use std::collections::VecDeque;

use super::{Bbr, Cubic};
use crate::time::Time;

/// The congestion control of a model.
#[derive(Debug)]
pub enum Congestion {
    /// RFC 9438.
    Cubic(Cubic),
    /// BBR version 1.
    Bbr(Bbr),
}

/// An acknowledgement: the numbers [from, to) have arrived, or as many of them as `missing` leaves.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct TcpAck {
    from: u64,
    to: u64,
}

impl TcpAck {
    pub(super) fn encode(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.from.to_le_bytes());
        bytes[8..].copy_from_slice(&self.to.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Self {
        let at = |i: usize| u64::from_le_bytes(*bytes[i..].first_chunk().expect("sixteen bytes"));
        Self { from: at(0), to: at(8) }
    }
}

/// What an acknowledgement says to congestion control.
#[derive(Copy, Clone, Debug)]
pub struct AckInfo {
    /// Packets that it acknowledges.
    pub acked: u64,
    /// The newest one's round trip, seconds.
    pub rtt: f64,
    /// Packets delivered between the newest one's sending and now, a second.
    pub rate: f64,
    /// Packets in flight afterwards.
    pub in_flight: u64,
    /// Packets delivered before the newest one was sent, and until now.
    pub delivered: (u64, u64),
}

#[derive(Copy, Clone, Debug)]
struct Sent {
    number: u64,
    at: Time,
    delivered: u64,
    delivered_at: Time,
}

/// Sender and receiver of one flow.
#[derive(Debug)]
pub struct Tcp {
    congestion: Congestion,
    next: u64,
    out: VecDeque<Sent>,
    /// Packets below are not of the present loss event.
    recovery: u64,
    delivered: u64,
    delivered_at: Time,
    paced_until: Time,
    srtt: f64,
    last_heard: Time,
    // The receiver.
    expected: u64,
    unacked: Option<(u64, u64, Time)>,
    acks: VecDeque<TcpAck>,
}

const DELAYED_ACK: u64 = 40_000_000;
const REORDERING: u64 = 3;
/// Packets of the first window (RFC 6928).
const RTO_MIN: f64 = 0.2;

impl Tcp {
    /// A flow that begins at `now`.
    #[must_use]
    pub fn new(congestion: Congestion, now: Time) -> Self {
        Self {
            congestion,
            next: 0,
            out: VecDeque::new(),
            recovery: 0,
            delivered: 0,
            delivered_at: now,
            paced_until: now,
            srtt: 0.0,
            last_heard: now,
            expected: 0,
            unacked: None,
            acks: VecDeque::new(),
        }
    }

    /// Packets that the sender knows to have arrived.
    #[must_use]
    pub fn delivered_packets(&self) -> u64 {
        self.delivered
    }

    /// The window, packets.
    #[must_use]
    pub fn window(&self) -> f64 {
        match &self.congestion {
            Congestion::Cubic(c) => c.window(),
            Congestion::Bbr(b) => b.window(),
        }
    }

    /// The next packet to send.
    pub(super) fn poll_transmit(&mut self, now: Time) -> Option<u64> {
        if self.out.len() as f64 >= self.window() || now < self.paced_until {
            return None;
        }
        if let Congestion::Bbr(b) = &self.congestion {
            self.paced_until = self.paced_until.max(now).after_nanos((1e9 / b.pacing()) as u64);
        }
        if self.out.is_empty() {
            self.delivered_at = now;
            self.last_heard = now;
        }
        let number = self.next;
        self.next += 1;
        let (delivered, delivered_at) = (self.delivered, self.delivered_at);
        self.out.push_back(Sent { number, at: now, delivered, delivered_at });
        Some(number)
    }

    pub(super) fn poll_ack(&mut self, _: Time) -> Option<TcpAck> {
        self.acks.pop_front()
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        let paced = (!self.acks.is_empty() || (self.out.len() as f64) < self.window())
            .then_some(self.paced_until)
            .filter(|_| matches!(self.congestion, Congestion::Bbr(_)));
        let delayed = self.unacked.map(|(_, _, at)| at.after_nanos(DELAYED_ACK));
        let rto = (!self.out.is_empty()).then(|| self.rto());
        paced.into_iter().chain(delayed).chain(rto).min()
    }

    fn rto(&self) -> Time {
        self.last_heard.after_nanos(((2.0 * self.srtt).max(RTO_MIN) * 1e9) as u64)
    }

    /// The receiver has a packet.
    pub(super) fn on_packet(&mut self, now: Time, number: u64) {
        let gap = number != self.expected;
        self.expected = number + 1;
        match self.unacked.take() {
            Some((from, to, _)) if !gap => self.acks.push_back(TcpAck { from, to: to + 1 }),
            Some((from, to, _)) => {
                self.acks.push_back(TcpAck { from, to });
                self.acks.push_back(TcpAck { from: number, to: number + 1 });
            }
            None if gap => self.acks.push_back(TcpAck { from: number, to: number + 1 }),
            None => self.unacked = Some((number, number + 1, now)),
        }
    }

    pub(super) fn on_ack(&mut self, now: Time, ack: &TcpAck) {
        self.last_heard = now;
        let mut newest = None;
        let mut acked = 0;
        self.out.retain(|sent| {
            let hit = (ack.from..ack.to).contains(&sent.number);
            if hit {
                newest = Some(*sent);
                acked += 1;
            }
            !hit
        });
        let Some(newest) = newest else { return };
        self.delivered += acked;
        self.delivered_at = now;
        let rtt = now.nanos_since(newest.at) as f64 / 1e9;
        self.srtt = if self.srtt == 0.0 { rtt } else { 0.875 * self.srtt + 0.125 * rtt };
        let span = now.nanos_since(newest.delivered_at).max(1) as f64 / 1e9;
        let mut lost = 0;
        while self.out.front().is_some_and(|sent| sent.number + REORDERING < ack.to) {
            let gone = self.out.pop_front().expect("just seen");
            lost += u64::from(gone.number >= self.recovery);
        }
        let info = AckInfo {
            acked,
            rtt,
            rate: (self.delivered - newest.delivered) as f64 / span,
            in_flight: self.out.len() as u64,
            delivered: (newest.delivered, self.delivered),
        };
        let in_recovery = ack.to <= self.recovery;
        match &mut self.congestion {
            Congestion::Cubic(c) => {
                if lost > 0 {
                    c.on_loss(now);
                    self.recovery = self.next;
                } else if !in_recovery {
                    c.on_ack(now, acked as f64, self.srtt, rtt);
                }
            }
            Congestion::Bbr(b) => b.on_ack(now, &info),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Time) {
        if let Some((from, to, at)) = self.unacked
            && now >= at.after_nanos(DELAYED_ACK)
        {
            self.unacked = None;
            self.acks.push_back(TcpAck { from, to });
        }
        if !self.out.is_empty() && now >= self.rto() {
            self.out.clear();
            self.last_heard = now;
            self.recovery = self.next;
            if let Congestion::Cubic(c) = &mut self.congestion {
                c.on_timeout(now);
            }
        }
    }
}
