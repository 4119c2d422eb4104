//! From a datagram's lane id to what it belongs to, without a hash map.
//!
//! We hand the ids out ourselves: the top four bits name the engine, the low twelve are the slot in this table, and
//! what lies between is a number that differs from use to use of the slot. A look-up is an index and a comparison.

use udpx_proto::LaneId;

/// Lanes that one engine serves at once.
pub(crate) const LANES_MAX: usize = 1 << SLOT_BITS;

/// The lanes of one engine.
#[derive(Debug)]
pub(crate) struct LaneTable {
    engine: u32,
    slots: Vec<Slot>,
    /// Slots that were used before and are free.
    free: Vec<u16>,
}

#[derive(Debug)]
struct Slot {
    /// The id that is in force, or was last.
    id: LaneId,
    owner: Option<u32>,
}

impl LaneTable {
    pub(crate) fn new(engine: u32) -> Self {
        Self { engine, slots: Vec::new(), free: Vec::new() }
    }

    /// A new lane of `owner`, or of nobody yet; `random` makes ids of one run unlike those of the run before, so that a peer's stale
    /// packets find no lane. `None` when all are in use.
    pub(crate) fn open(&mut self, owner: Option<u32>, random: u32) -> Option<LaneId> {
        let index = match self.free.pop() {
            Some(index) => usize::from(index),
            None if self.slots.len() < LANES_MAX => {
                self.slots.push(Slot { id: LaneId(random & GENERATION_MASK), owner: None });
                self.slots.len() - 1
            }
            None => return None,
        };
        let slot = &mut self.slots[index];
        let generation = slot.id.0.wrapping_add(1 << SLOT_BITS) & GENERATION_MASK;
        slot.id = LaneId(self.engine << LaneId::ENGINE_SHIFT | generation | index as u32);
        slot.owner = owner;
        Some(slot.id)
    }

    /// A lane more for an owner that has one. `None` when half of the table is in use: the rest is for those who have none.
    pub(crate) fn open_further(&mut self, owner: u32, random: u32) -> Option<LaneId> {
        let used = self.slots.len() - self.free.len();
        if used < LANES_MAX / 2 { self.open(Some(owner), random) } else { None }
    }

    /// Gives a lane that was opened for nobody its owner.
    pub(crate) fn assign(&mut self, lane: LaneId, owner: u32) {
        if let Some(slot) = self.slots.get_mut(lane.0 as usize & (LANES_MAX - 1))
            && slot.id == lane
        {
            slot.owner = Some(owner);
        }
    }

    /// Whose lane that is.
    #[inline]
    pub(crate) fn find(&self, lane: LaneId) -> Option<u32> {
        let slot = self.slots.get(lane.0 as usize & (LANES_MAX - 1))?;
        if slot.id == lane { slot.owner } else { None }
    }

    /// Ends a lane.
    pub(crate) fn close(&mut self, lane: LaneId) {
        let index = lane.0 as usize & (LANES_MAX - 1);
        if let Some(slot) = self.slots.get_mut(index)
            && slot.id == lane
            && slot.owner.take().is_some()
        {
            self.free.push(index as u16);
        }
    }
}

const SLOT_BITS: u32 = 12;
/// The bits between slot and engine.
const GENERATION_MASK: u32 = (1 << LaneId::ENGINE_SHIFT) - (1 << SLOT_BITS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_is_found_until_it_is_closed_and_its_slot_gets_another_id() {
        let mut lanes = LaneTable::new(3);
        let a = lanes.open(Some(10), 0xdead_beef).unwrap();
        let b = lanes.open(None, 1).unwrap();
        assert_eq!(lanes.find(b), None);
        lanes.assign(b, 11);
        assert_eq!((a.engine(), b.engine()), (3, 3));
        assert_eq!((lanes.find(a), lanes.find(b)), (Some(10), Some(11)));
        assert_eq!(lanes.find(LaneId(a.0 ^ 1 << 20)), None);
        lanes.close(a);
        lanes.close(a);
        assert_eq!(lanes.find(a), None);
        let again = lanes.open(Some(12), 0).unwrap();
        assert_eq!(again.0 & 0xfff, a.0 & 0xfff);
        assert_ne!(again, a);
        assert_eq!((lanes.find(a), lanes.find(again)), (None, Some(12)));
    }

    #[test]
    fn the_table_is_bounded() {
        let mut lanes = LaneTable::new(0);
        let further = (0..LANES_MAX).filter(|_| lanes.open_further(0, 0).is_some()).count();
        assert_eq!(further, LANES_MAX / 2);
        assert!((further..LANES_MAX).all(|owner| lanes.open(Some(owner as u32), 0).is_some()));
        assert_eq!(lanes.open(None, 0), None);
        assert_eq!(lanes.find(LaneId(u32::MAX)), None);
    }
}
