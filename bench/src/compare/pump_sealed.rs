//! The yardstick of sealed udpx: AES-256-GCM over each datagram and nothing else, one thread on each end.
//!
//! Sealing reads the source and writes the train, opening reads the receive buffer and writes the block that is hashed: each
//! payload byte is moved by the cipher, once on each end. Header and tag have the sizes of udpx's. Datagrams have
//! to arrive in order; one that doesn't, or fails to open, makes the row void.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use udpx_udp::{SendBatch, packets_max};

use super::endpoint::{EndpointArgs, Kind, Report};
use super::process::Void;
use super::pump::{self, Sender, TRAINS, refused};
use super::row::{Figure, Lab, PACED_BPS};
use super::source::{Generated, SentDigest, Staging};

/// Clear, authenticated: the packet number and the offset, at the places where udpx's BULK header has them.
const HEADER: usize = 32;
const TAG: usize = 16;
const PACKET_NUMBER: std::ops::Range<usize> = 8..16;
const OFFSET: std::ops::Range<usize> = 24..32;

pub(crate) fn sealed(lab: &Lab) -> Result<Vec<Figure>, Void> {
    pump::figures(lab, Kind::SealedPump)
}

/// At a steady rate: what the machine needs for that much of cipher, digest and system calls.
pub(crate) fn paced(lab: &Lab) -> Result<Vec<Figure>, Void> {
    pump::paced(lab, Kind::SealedPump, lab.paced_size(), PACED_BPS)
}

pub(crate) fn send(args: &EndpointArgs) -> Result<Report, Void> {
    let mut source = Generated::new();
    let mut digest = SentDigest::new(args.digest, args.size);
    let key = key()?;
    // One more where the source wraps.
    let mut batch = SendBatch::new(TRAINS + 1);
    let payload = usize::from(args.datagram) - HEADER - TAG;
    let mut number = 0u64;
    let report = Sender::run(args, payload, |sender, offset, len| {
        let end = offset + len;
        digest.advance(&mut source, end);
        let mut at = offset;
        while at < end {
            let mut slot = batch.train(None, 0, args.datagram).map_err(refused)?;
            let packets = slot.buffer().chunks_mut(args.datagram.into()).take(packets_max(args.datagram));
            let mut written = 0;
            for packet in packets {
                let plain = source.at(at, (payload as u64).min(end - at) as usize);
                seal(&key, number, at, plain, &mut packet[..HEADER + plain.len() + TAG])?;
                number += 1;
                written += HEADER + plain.len() + TAG;
                at += plain.len() as u64;
                // A shorter packet, here or where the source wraps, ends its train.
                if plain.len() < payload || at == end {
                    break;
                }
            }
            slot.commit(written).map_err(refused)?;
        }
        sender.send(&mut batch)
    })?;
    Ok(Report { digest: digest.finish(), ..report })
}

pub(crate) fn receive(args: &EndpointArgs) -> Result<Report, Void> {
    let mut staging = Staging::new(args.digest, args.datagram.into());
    let key = key()?;
    let (mut number, mut due) = (0u64, 0u64);
    let report = pump::receive(args, |bytes, segment| {
        let before = due;
        for packet in bytes.chunks(segment) {
            let len = packet
                .len()
                .checked_sub(HEADER + TAG)
                .ok_or_else(|| Void("a datagram is shorter than its header".into()))?;
            if packet[PACKET_NUMBER] != number.to_le_bytes() || packet[OFFSET] != due.to_le_bytes() {
                return Err(Void(format!("datagrams are missing after {due} bytes")));
            }
            open(&key, number, packet, staging.next(len))?;
            staging.commit(len);
            number += 1;
            due += len as u64;
        }
        Ok(due - before)
    })?;
    Ok(Report { digest: staging.finish(), ..report })
}

fn seal(key: &LessSafeKey, number: u64, offset: u64, plain: &[u8], packet: &mut [u8]) -> Result<(), Void> {
    let (header, sealed) = packet.split_at_mut(HEADER);
    header[PACKET_NUMBER].copy_from_slice(&number.to_le_bytes());
    header[OFFSET].copy_from_slice(&offset.to_le_bytes());
    let (cipher, tag) = sealed.split_at_mut(plain.len());
    key.seal_out_of_place_scatter(nonce(number), Aad::from(&*header), plain, cipher, &[], tag)
        .map_err(|_| Void("a datagram cannot be sealed".into()))
}

fn open(key: &LessSafeKey, number: u64, packet: &[u8], plain: &mut [u8]) -> Result<(), Void> {
    let (header, sealed) = packet.split_at(HEADER);
    let (cipher, tag) = sealed.split_at(plain.len());
    key.open_separate_gather(nonce(number), Aad::from(header), cipher, tag, plain)
        .map_err(|_| Void(format!("datagram {number} does not open")))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&number.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

/// Both ends know it: these bytes are nobody's secret.
fn key() -> Result<LessSafeKey, Void> {
    let key =
        UnboundKey::new(&AES_256_GCM, &[0x5a; 32]).map_err(|_| Void("AES-256-GCM is missing".into()))?;
    Ok(LessSafeKey::new(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        let key = key().unwrap();
        let plain = [7; 1424];
        let mut packet = [0; HEADER + 1424 + TAG];
        seal(&key, 3, 4272, &plain, &mut packet).unwrap();
        assert_ne!(packet[HEADER..HEADER + 1424], plain);
        let mut out = [0; 1424];
        open(&key, 3, &packet, &mut out).unwrap();
        assert_eq!(out, plain);
        assert!(open(&key, 4, &packet, &mut out).is_err());
        for at in [0, PACKET_NUMBER.start, HEADER, packet.len() - 1] {
            packet[at] ^= 1;
            assert!(open(&key, 3, &packet, &mut out).is_err(), "{at}");
            packet[at] ^= 1;
        }
    }
}
