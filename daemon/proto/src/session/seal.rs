//! From a plan to bytes on the wire.

use alloc::sync::Arc;

use super::{Session, SourceFault};
use crate::PayloadSource;
use crate::keys::PacketKey;
use crate::limits::LANES_MAX;
use crate::send::plan::{Plan, PlanKind};
use crate::wire::TAG;
use crate::wire::bulk::BulkPrefix;
use crate::wire::header::Header;

/// Seals plans of one lane and key epoch without the session, in whatever thread.
///
/// It is taken with the plan, so that the key is that of the epoch which the plan's headers name. Each plan is sealed once, or its packet
/// numbers would serve twice.
#[derive(Clone)]
pub struct Sealer(Arc<PacketKey>);

impl Sealer {
    /// As [`Session::seal`], for all plans but those of [`PlanKind::BulkPlain`].
    ///
    /// # Errors
    /// [`SourceFault`], as there.
    ///
    /// # Panics
    /// For a plan of that kind: its packets have no ciphertext.
    pub fn seal<P: PayloadSource>(
        &self,
        plan: &Plan,
        source: &P,
        out: &mut [u8],
    ) -> Result<usize, SourceFault> {
        assert!(plan.kind != PlanKind::BulkPlain, "a plain train is not sealed");
        seal(&self.0, plan, source, out)
    }
}

impl core::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sealer").finish_non_exhaustive()
    }
}

impl Session {
    /// What seals the plans that were made since the last change of keys, of one lane.
    #[must_use]
    pub fn sealer(&self, lane: usize) -> Sealer {
        Sealer(self.lanes[lane].keys.sealing_key().clone())
    }

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
        if plan.kind != PlanKind::BulkPlain {
            return seal(self.lanes[plan.lane()].keys.sealing_key(), plan, source, out);
        }
        let mut at = 0;
        for (index, (prefix, chunk)) in plan.bulk.iter().enumerate() {
            let payload = source.chunk(*chunk).ok_or(SourceFault(chunk.stream))?;
            let end = at + BulkPrefix::SIZE + payload.len() + TAG;
            let packet = &mut out[at..end];
            packet[..BulkPrefix::SIZE].copy_from_slice(bytemuck::bytes_of(prefix));
            packet[BulkPrefix::SIZE..][..payload.len()].copy_from_slice(payload);
            packet[BulkPrefix::SIZE + payload.len()..].copy_from_slice(&self.plain_tag(plan, index, payload));
            at = end;
        }
        Ok(at)
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

/// Seals what is not plain.
fn seal<P: PayloadSource>(
    key: &PacketKey,
    plan: &Plan,
    source: &P,
    out: &mut [u8],
) -> Result<usize, SourceFault> {
    if let Some(header) = &plan.header {
        let len = Header::SIZE + plan.frames.len() + TAG;
        let (head, body) = out[..len].split_at_mut(Header::SIZE);
        head.copy_from_slice(bytemuck::bytes_of(header));
        let (text, tag) = body.split_at_mut(plan.frames.len());
        text.copy_from_slice(&plan.frames);
        for &(at, chunk) in &plan.holes {
            let payload = source.chunk(chunk).ok_or(SourceFault(chunk.stream))?;
            text[at..at + payload.len()].copy_from_slice(payload);
        }
        key.seal_in_place(header.number(), bytemuck::bytes_of(header), text, tag);
        return Ok(len);
    }
    let mut at = 0;
    for (prefix, chunk) in &plan.bulk {
        let payload = source.chunk(*chunk).ok_or(SourceFault(chunk.stream))?;
        let aad = bytemuck::bytes_of(prefix);
        let end = at + BulkPrefix::SIZE + payload.len() + TAG;
        let (head, sealed) = out[at..end].split_at_mut(BulkPrefix::SIZE);
        head.copy_from_slice(aad);
        let (ciphertext, tag) = sealed.split_at_mut(payload.len());
        key.seal(prefix.header.number(), aad, payload, ciphertext, tag);
        at = end;
    }
    Ok(at)
}

const _: () = assert!(LANES_MAX <= u8::MAX as usize);
