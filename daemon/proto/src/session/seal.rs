//! From a plan to bytes on the wire.

use super::{Session, SourceFault};
use crate::PayloadSource;
use crate::limits::LANES_MAX;
use crate::send::plan::{Plan, PlanKind};
use crate::wire::TAG;
use crate::wire::bulk::BulkPrefix;
use crate::wire::header::Header;

impl Session {
    /// Writes the packets of `plan` back to back into `out` (at least [`Plan::wire_bytes`] long);
    /// returns the bytes. Payload is read from `source` and goes to `out` through the cipher, with no
    /// other copy.
    ///
    /// # Errors
    /// [`SourceFault`] when the source cannot serve a chunk: nothing of the plan may be sent. Its
    /// packets count as lost.
    pub fn seal<P: PayloadSource>(
        &self,
        plan: &Plan,
        source: &P,
        out: &mut [u8],
    ) -> Result<usize, SourceFault> {
        let keys = &self.lanes[plan.lane()].keys;
        match plan.kind {
            PlanKind::Bulk => {
                let mut at = 0;
                for (prefix, chunk) in &plan.bulk {
                    let payload = source.chunk(*chunk).ok_or(SourceFault(chunk.stream))?;
                    let aad = bytemuck::bytes_of(prefix);
                    let end = at + BulkPrefix::SIZE + payload.len() + TAG;
                    let packet = &mut out[at..end];
                    let (head, sealed) = packet.split_at_mut(BulkPrefix::SIZE);
                    head.copy_from_slice(aad);
                    keys.seal(prefix.header.number(), aad, payload, sealed);
                    at = end;
                }
                Ok(at)
            }
            PlanKind::BulkPlain => {
                let mut at = 0;
                for (index, (prefix, chunk)) in plan.bulk.iter().enumerate() {
                    let payload = source.chunk(*chunk).ok_or(SourceFault(chunk.stream))?;
                    let end = at + BulkPrefix::SIZE + payload.len() + TAG;
                    let packet = &mut out[at..end];
                    packet[..BulkPrefix::SIZE].copy_from_slice(bytemuck::bytes_of(prefix));
                    packet[BulkPrefix::SIZE..][..payload.len()].copy_from_slice(payload);
                    packet[BulkPrefix::SIZE + payload.len()..]
                        .copy_from_slice(&self.plain_tag(plan, index, payload));
                    at = end;
                }
                Ok(at)
            }
            PlanKind::Mixed | PlanKind::Probe => {
                let Some(header) = &plan.header else { return Ok(0) };
                let len = Header::SIZE + plan.frames.len() + TAG;
                let packet = &mut out[..len];
                let (head, body) = packet.split_at_mut(Header::SIZE);
                head.copy_from_slice(bytemuck::bytes_of(header));
                body[..plan.frames.len()].copy_from_slice(&plan.frames);
                for &(at, chunk) in &plan.holes {
                    let payload = source.chunk(chunk).ok_or(SourceFault(chunk.stream))?;
                    body[at..at + payload.len()].copy_from_slice(payload);
                }
                keys.seal_in_place(header.number(), bytemuck::bytes_of(header), body);
                Ok(len)
            }
        }
    }

    /// The prefix of packet `index` of a plain train, to be gathered with its payload and
    /// [`plain_tag`](Self::plain_tag).
    #[must_use]
    pub fn plain_prefix(plan: &Plan, index: usize) -> [u8; BulkPrefix::SIZE] {
        bytemuck::cast(plan.bulk[index].0)
    }

    /// The checksum behind `payload` in packet `index` of a plain train.
    #[must_use]
    pub fn plain_tag(&self, plan: &Plan, index: usize, payload: &[u8]) -> [u8; TAG] {
        let prefix = &plan.bulk[index].0;
        let keys = &self.lanes[plan.lane()].keys;
        keys.plain_tag(prefix.header.number(), bytemuck::bytes_of(prefix), payload)
    }
}

const _: () = assert!(LANES_MAX <= u8::MAX as usize);
