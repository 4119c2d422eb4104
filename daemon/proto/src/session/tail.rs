//! What is sent twice though nothing is known of its loss: the end of a stream, and control frames on a bad path
//! (PROTOCOL.md 9.5).

use super::Session;
use crate::ids::StreamId;
use crate::send::plan::{Plan, PlanKind};
use crate::send::sent_ring::Carried;
use crate::send::stream::SendStream;
use crate::time::Time;
use crate::wire::bulk::OVERHEAD;
use crate::wire::frame::FrameWriter;

impl Session {
    /// Nothing is to be sent: streams that wait for nothing but answers are at their tails. True if one of them has
    /// something to copy.
    pub(super) fn begin_tails(&mut self, now: Time) -> bool {
        let send = &mut self.send;
        if !send.losses.is_lossy() {
            return false;
        }
        let payload = usize::from(self.lanes[self.home].mtu.current()) - OVERHEAD;
        let loss = send.losses.share();
        send.streams.iter_mut().fold(false, |any, stream| any | stream.begin_tail(now, loss, payload as u64))
    }

    /// The control frames of the datagram that left just now once more, under a number and with a record of their own:
    /// whichever arrives settles them.
    pub(super) fn plan_double(&mut self, now: Time, plan: &mut Plan) -> bool {
        let Some(original) = self.send.double.take() else { return false };
        let home = self.home;
        if self.lanes[home].held || self.lanes[home].sent.room() == 0 {
            return false;
        }
        plan.clear(PlanKind::Mixed, home as u8);
        let mut writer = FrameWriter::new(&mut plan.frames, self.lanes[home].frame_room());
        let mut copy = self.send.records.take();
        let original = self.send.records.get(original);
        let streams = &self.send.streams;
        for &(offset, len) in &original.control {
            // It may have arrived by an earlier packet meanwhile.
            if !self.send.control.holds(offset) {
                continue;
            }
            let (first, second) = self.send.control.bytes(offset, len as usize);
            if writer.stream(StreamId::CONTROL, offset, first, second) {
                copy.control.push((offset, len));
            }
        }
        for &id in &original.opens {
            if streams.get(id).is_some_and(|stream| writer.open(&stream.open_frame())) {
                copy.opens.push(id);
            }
        }
        for &id in &original.ends {
            let end = streams.get(id).and_then(SendStream::end);
            if end.is_some_and(|end| writer.end(id, end)) {
                copy.ends.push(id);
            }
        }
        for &id in &original.resets {
            let written = |stream: &SendStream| writer.reset(id, stream.reset_code, stream.sent_bytes());
            if streams.get(id).is_some_and(written) {
                copy.resets.push(id);
            }
        }
        let frames = copy.control.len() + copy.opens.len() + copy.ends.len() + copy.resets.len();
        if frames == 0 {
            self.send.records.discard(copy);
            return false;
        }
        let record = self.send.records.put(copy);
        self.stats.doubled_packets += 1;
        self.seal_mixed(now, home, plan, (Carried::Mixed, record, 0), frames as u64);
        true
    }
}
