//! Two ceilings without a cipher: bytes alone, and a header before each payload.
//!
//! Both send straight from the source, without a copy in user space. The raw pump's trains are single slices; the iovec pump
//! gathers header, payload, header, payload ... as udpx's plain path does, with headers and tag of the same size.

use udpx_udp::{GatherBatch, SEGMENTS_MAX, packets_max, train_bytes_max};

use super::endpoint::{EndpointArgs, Kind, Report};
use super::process::Void;
use super::pump::{self, Sender, TRAINS, refused};
use super::row::{Figure, Lab};
use super::source::{Digest, Generated, SentDigest, Staging};

/// Bytes before each payload: udpx's BULK header and, in front of the payload instead of behind it, its tag.
const HEADER: usize = 48;

pub(crate) fn raw(lab: &Lab) -> Result<Vec<Figure>, Void> {
    pump::figures(lab, Kind::RawPump)
}

pub(crate) fn iovec(lab: &Lab) -> Result<Vec<Figure>, Void> {
    pump::figures(lab, Kind::IovecPump)
}

pub(crate) fn send(args: &EndpointArgs) -> Result<Report, Void> {
    let mut source = Generated::new();
    let mut digest = SentDigest::new(args.digest, args.size);
    let report = if args.kind == Kind::IovecPump {
        send_gathered(args, &mut source, &mut digest)?
    } else {
        send_bytes(args, &mut source, &mut digest)?
    };
    Ok(Report { digest: digest.finish(), ..report })
}

pub(crate) fn receive(args: &EndpointArgs) -> Result<Report, Void> {
    if args.kind == Kind::IovecPump { receive_gathered(args) } else { receive_bytes(args) }
}

fn send_bytes(args: &EndpointArgs, source: &mut Generated, digest: &mut SentDigest) -> Result<Report, Void> {
    let mut spare: GatherBatch<'static> = GatherBatch::new();
    let train = train_bytes_max(args.datagram) as u64;
    Sender::run(args, args.datagram.into(), |sender, offset, len| {
        let end = offset + len;
        digest.advance(source, end);
        let mut batch = std::mem::take(&mut spare).recycle();
        let mut at = offset;
        while at < end {
            let bytes = source.at(at, train.min(end - at) as usize);
            let mut slot = batch.train(None, 0, args.datagram).map_err(refused)?;
            slot.push(bytes);
            slot.commit().map_err(refused)?;
            at += bytes.len() as u64;
        }
        sender.send_gather(&mut batch)?;
        spare = batch.recycle();
        Ok(())
    })
}

fn send_gathered(
    args: &EndpointArgs,
    source: &mut Generated,
    digest: &mut SentDigest,
) -> Result<Report, Void> {
    let mut spare: GatherBatch<'static> = GatherBatch::new();
    // A batch may be one train longer where the source wraps.
    let mut headers = vec![[0; HEADER]; (TRAINS + 1) * SEGMENTS_MAX];
    let payload = usize::from(args.datagram) - HEADER;
    Sender::run(args, payload, |sender, offset, len| {
        let end = offset + len;
        digest.advance(source, end);
        let mut batch = std::mem::take(&mut spare).recycle();
        let mut free = headers.iter_mut();
        let mut at = offset;
        while at < end {
            let mut slot = batch.train(None, 0, args.datagram).map_err(refused)?;
            for _ in 0..packets_max(args.datagram) {
                let bytes = source.at(at, (payload as u64).min(end - at) as usize);
                let header = free.next().ok_or_else(|| Void("out of headers".into()))?;
                header[..8].copy_from_slice(&at.to_le_bytes());
                slot.push(header);
                slot.push(bytes);
                at += bytes.len() as u64;
                // A shorter packet, here or where the source wraps, ends its train.
                if bytes.len() < payload || at == end {
                    break;
                }
            }
            slot.commit().map_err(refused)?;
        }
        sender.send_gather(&mut batch)?;
        spare = batch.recycle();
        Ok(())
    })
}

fn receive_bytes(args: &EndpointArgs) -> Result<Report, Void> {
    let mut digest = Digest::new(args.digest);
    let report = pump::receive(args, |bytes, _| {
        digest.update(bytes);
        Ok(bytes.len() as u64)
    })?;
    Ok(Report { digest: digest.finish(), ..report })
}

/// Checks that each header has the offset that is due; payload is copied only where it has to be hashed.
fn receive_gathered(args: &EndpointArgs) -> Result<Report, Void> {
    let mut staging = Staging::new(args.digest, args.datagram.into());
    let mut due = 0u64;
    let report = pump::receive(args, |bytes, segment| {
        let before = due;
        for datagram in bytes.chunks(segment) {
            let (header, payload) = datagram
                .split_first_chunk::<HEADER>()
                .ok_or_else(|| Void("a datagram is shorter than its header".into()))?;
            if header[..8] != due.to_le_bytes() {
                return Err(Void(format!("datagrams are missing after {due} bytes")));
            }
            if args.digest {
                staging.next(payload.len()).copy_from_slice(payload);
                staging.commit(payload.len());
            }
            due += payload.len() as u64;
        }
        Ok(due - before)
    })?;
    Ok(Report { digest: staging.finish(), ..report })
}
