//! What a lane has sent and not yet forgotten: rings indexed by packet number (design: no map, no
//! allocation a packet), with bit rings beside them so that a SACK is compared a word at a time.

use crate::time::Time;

/// What became of a packet.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum State {
    /// Sent; nothing known.
    InFlight,
    /// The peer has it.
    Acked,
    /// Declared lost; kept a while, in case it arrives after all.
    Lost,
}

/// What a packet carried.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Carried {
    /// One range of stream data: `stream`, `offset`, `len`.
    Bulk,
    /// Frames that the record at index `offset` lists.
    Mixed,
    /// Frames that need no repair: SACK and the like. Not counted in flight.
    Silent,
    /// An MTU probe of `len` bytes: its loss says nothing of the path's load.
    Probe,
}

/// One packet, 24 bytes.
#[derive(Copy, Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) offset: u64,
    pub(crate) stream: u32,
    /// Index of its train, wrapping.
    pub(crate) train: u32,
    /// Payload bytes.
    pub(crate) len: u16,
    /// Bytes of the datagram.
    pub(crate) wire: u16,
    pub(crate) carried: Carried,
    pub(crate) state: State,
}

const _: () = assert!(size_of::<Sent>() <= 32);

/// What the packets of a train share.
#[derive(Copy, Clone, Debug, Default)]
pub(crate) struct Train {
    pub(crate) sent: Time,
    /// Snapshot of the delivery-rate state at sending (draft-cheng-iccrg-delivery-rate-estimation).
    pub(crate) delivered: u64,
    pub(crate) delivered_at: Time,
    pub(crate) first_sent: Time,
    /// Number of its first packet.
    pub(crate) first: u64,
    /// Its packets; 0 while it is being planned.
    pub(crate) packets: u32,
    /// The rate control's phase in which it was sent.
    pub(crate) phase: u32,
    pub(crate) app_limited: bool,
}

/// The packets [base, next) of one lane.
#[derive(Debug)]
pub(crate) struct SentRing {
    base: u64,
    next: u64,
    packets: Vec<Sent>,
    /// Bit set: acknowledged, or not of interest.
    settled: Vec<u64>,
    /// Bit set: a covering SACK reported it missing.
    missing: Vec<u64>,
    trains: Vec<Train>,
    next_train: u32,
}

const EMPTY: Sent =
    Sent { offset: 0, stream: 0, train: 0, len: 0, wire: 0, carried: Carried::Silent, state: State::Acked };

impl SentRing {
    /// Room for `capacity` packets (a power of two), which grows up to `PACKETS_TRACKED_MAX`.
    pub(crate) fn new(capacity: usize) -> Self {
        debug_assert!(capacity.is_power_of_two() && capacity >= 64);
        Self {
            base: 0,
            next: 0,
            packets: vec![EMPTY; capacity],
            settled: vec![0; capacity / 64],
            missing: vec![0; capacity / 64],
            trains: vec![Train::default(); capacity],
            next_train: 0,
        }
    }

    /// Starts at another packet number; only before the first packet.
    #[cfg(feature = "testing")]
    pub(crate) fn start_at(&mut self, number: u64) {
        debug_assert_eq!(self.base, self.next);
        self.base = number;
        self.next = number;
    }

    /// Number of the next packet.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Lowest number that is still of interest.
    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// How many more packets can be sent before something old must be settled.
    pub(crate) fn room(&self) -> usize {
        (crate::limits::PACKETS_TRACKED_MAX - 64).saturating_sub((self.next - self.base) as usize)
    }

    /// A new train; its packets follow by [`push`](Self::push).
    pub(crate) fn push_train(&mut self, train: Train) -> u32 {
        // Fewer trains than packets are alive, so the rings share one capacity.
        let index = self.next_train;
        let mask = self.trains.len() - 1;
        self.trains[index as usize & mask] = train;
        self.next_train = index.wrapping_add(1);
        index
    }

    /// Makes room for `count` more packets.
    pub(crate) fn reserve(&mut self, count: usize) {
        while (self.next - self.base) as usize + count + 64 > self.packets.len() {
            self.grow();
        }
    }

    /// Records the next packet and returns its number. [`reserve`](Self::reserve) came before.
    pub(crate) fn push(&mut self, packet: Sent) -> u64 {
        let number = self.next;
        let mask = self.packets.len() - 1;
        self.packets[number as usize & mask] = packet;
        let (word, bit) = self.bit(number);
        self.settled[word] &= !bit;
        self.missing[word] &= !bit;
        self.next += 1;
        number
    }

    pub(crate) fn get(&self, number: u64) -> Option<&Sent> {
        let mask = self.packets.len() - 1;
        self.contains(number).then(|| &self.packets[number as usize & mask])
    }

    pub(crate) fn train(&self, index: u32) -> &Train {
        &self.trains[index as usize & (self.trains.len() - 1)]
    }

    /// The train that was pushed last has so many packets.
    pub(crate) fn close_train(&mut self, packets: u32) {
        let mask = self.trains.len() - 1;
        self.trains[self.next_train.wrapping_sub(1) as usize & mask].packets = packets;
    }

    fn contains(&self, number: u64) -> bool {
        (self.base..self.next).contains(&number)
    }

    fn bit(&self, number: u64) -> (usize, u64) {
        ((number as usize >> 6) & (self.settled.len() - 1), 1 << (number & 63))
    }

    /// The bits of the word of numbers from `word` (a multiple of 64) on which are in [base, next).
    fn live(&self, word: u64) -> u64 {
        let mut mask = u64::MAX;
        if self.base > word {
            mask &= if self.base - word >= 64 { 0 } else { u64::MAX << (self.base - word) };
        }
        if self.next < word + 64 {
            mask &= if self.next <= word { 0 } else { (1 << (self.next - word)) - 1 };
        }
        mask
    }

    /// Of the numbers from `word` on: those acknowledged for the first time by `received`, and those
    /// which `covered` reports missing for the first time.
    pub(crate) fn news(&self, word: u64, received: u64, covered: u64) -> (u64, u64) {
        let live = self.live(word);
        if live == 0 {
            return (0, 0);
        }
        let (index, _) = self.bit(word);
        let settled = self.settled[index];
        let newly = received & !settled & live;
        let missing = covered & !received & !settled & !self.missing[index] & live;
        (newly, missing)
    }

    /// Marks a packet acknowledged; returns it as it was before.
    pub(crate) fn set_acked(&mut self, number: u64) -> Sent {
        let (word, bit) = self.bit(number);
        self.settled[word] |= bit;
        let mask = self.packets.len() - 1;
        let packet = &mut self.packets[number as usize & mask];
        let before = *packet;
        packet.state = State::Acked;
        before
    }

    /// Remembers that the peer reported a packet missing.
    pub(crate) fn set_missing(&mut self, number: u64) {
        let (word, bit) = self.bit(number);
        self.missing[word] |= bit;
    }

    /// Declares a packet lost; returns it as it was before.
    pub(crate) fn set_lost(&mut self, number: u64) -> Sent {
        let mask = self.packets.len() - 1;
        let packet = &mut self.packets[number as usize & mask];
        let before = *packet;
        packet.state = State::Lost;
        before
    }

    /// Forgets the front: acknowledged packets, lost ones which were sent before `forget_lost`, and those
    /// that need no answer.
    pub(crate) fn advance(&mut self, forget_lost: Time) {
        let mask = self.packets.len() - 1;
        while self.base < self.next {
            let packet = &self.packets[self.base as usize & mask];
            let passed = match packet.state {
                State::Acked => true,
                State::Lost => self.train(packet.train).sent < forget_lost,
                State::InFlight => {
                    packet.carried == Carried::Silent && self.train(packet.train).sent < forget_lost
                }
            };
            if !passed {
                break;
            }
            self.base += 1;
        }
    }

    fn grow(&mut self) {
        let old = self.packets.len();
        let new = old * 2;
        let mut packets = vec![EMPTY; new];
        let mut trains = vec![Train::default(); new];
        let (mut settled, mut missing) = (vec![0; new / 64], vec![0; new / 64]);
        for number in self.base..self.next {
            let packet = self.packets[number as usize & (old - 1)];
            packets[number as usize & (new - 1)] = packet;
            trains[packet.train as usize & (new - 1)] = self.trains[packet.train as usize & (old - 1)];
            let (word, bit) = self.bit(number);
            let to = (number as usize >> 6) & (new / 64 - 1);
            settled[to] |= self.settled[word] & bit;
            missing[to] |= self.missing[word] & bit;
        }
        (self.packets, self.trains, self.settled, self.missing) = (packets, trains, settled, missing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(train: u32) -> Sent {
        Sent { carried: Carried::Bulk, state: State::InFlight, train, len: 1, wire: 49, ..EMPTY }
    }

    #[test]
    fn news_come_once_and_survive_growth() {
        let mut ring = SentRing::new(64);
        for n in 0..500u64 {
            ring.reserve(1);
            let train = ring.push_train(Train { sent: Time::from_nanos(n), ..Train::default() });
            assert_eq!(ring.push(packet(train)), n);
        }
        assert_eq!(ring.news(64, 0b1011, 0b1111), (0b1011, 0b100));
        for n in [64, 65, 67] {
            ring.set_acked(n);
        }
        ring.set_missing(66);
        assert_eq!(ring.news(64, 0b1011, 0b1111), (0, 0));
        assert_eq!(ring.news(64, 0b1111, 0b1111), (0b100, 0));
        assert_eq!(ring.train(ring.get(499).expect("kept").train).sent, Time::from_nanos(499));
        assert_eq!(ring.news(448, u64::MAX, u64::MAX).0, (1 << 52) - 1);
        ring.set_lost(0);
        ring.advance(Time::from_nanos(1));
        assert_eq!(ring.base(), 1);
    }
}
