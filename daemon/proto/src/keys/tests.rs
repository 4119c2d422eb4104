//! Round trips, forgeries, epochs, and that no nonce comes twice.

use std::collections::BTreeSet;

use core::time::Duration;

use proptest::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::schedule::KeyMaterial;
use super::*;
use crate::time::Time;

const SUITES: &[Suite] = &[
    Suite::Aes256Gcm,
    Suite::ChaCha20Poly1305,
    #[cfg(feature = "testing")]
    Suite::Null,
];

fn secrets(seed: u8) -> SessionSecrets {
    SessionSecrets::new([seed; 32], [seed ^ 0x55; 32], [seed ^ 0xff; 32])
}

fn at(seconds: u64) -> Time {
    Time::from_nanos(seconds * 1_000_000_000)
}

fn pair(suite: Suite, lane_index: u16) -> (LaneKeys, LaneKeys) {
    let secrets = secrets(1);
    (
        LaneKeys::new(&secrets, lane_index, Role::Initiator, suite, at(0)),
        LaneKeys::new(&secrets, lane_index, Role::Responder, suite, at(0)),
    )
}

struct Packet {
    epoch: u8,
    number: u64,
    sealed: Vec<u8>,
}

fn seal(keys: &LaneKeys, number: u64) -> Packet {
    let plaintext = number.to_le_bytes();
    let mut sealed = vec![0; 8 + TAG_LEN];
    keys.seal(number, b"aad", &plaintext, &mut sealed);
    Packet { epoch: keys.send_epoch(), number, sealed }
}

fn open(keys: &mut LaneKeys, now: Time, packet: &Packet) -> Result<(), OpenError> {
    let mut out = [0; 8];
    keys.open(now, packet.epoch, packet.number, b"aad", &packet.sealed, &mut out)?;
    assert_eq!(u64::from_le_bytes(out), packet.number);
    Ok(())
}

/// Lets `sender` begin its next epoch with `number`, its packet `number - 1` being acknowledged.
fn next_epoch(sender: &mut LaneKeys, now: Time, number: u64) {
    sender.on_acked(number - 1);
    sender.update_send(now, number);
}

proptest! {
    #[test]
    fn what_is_sealed_opens(
        suite in prop::sample::select(SUITES),
        number in any::<u64>(),
        aad in prop::collection::vec(any::<u8>(), 0..40),
        plaintext in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let (left, mut right) = pair(suite, 0);
        let mut sealed = vec![0; plaintext.len() + TAG_LEN];
        left.seal(number, &aad, &plaintext, &mut sealed);
        let mut in_place = plaintext.clone();
        in_place.resize(plaintext.len() + TAG_LEN, 0xee);
        left.seal_in_place(number, &aad, &mut in_place);
        prop_assert_eq!(&in_place, &sealed);
        let mut out = vec![0; plaintext.len()];
        prop_assert_eq!(right.open(at(0), 0, number, &aad, &sealed, &mut out), Ok(()));
        prop_assert_eq!(&out, &plaintext);
        // Another number is another packet.
        let other = number ^ 1 << (number % 64);
        let refused = Err(OpenError::Authentication);
        prop_assert_eq!(right.open(at(0), 0, other, &aad, &sealed, &mut out), refused);
    }

    #[test]
    fn wrong_lengths_are_errors(length in 0_usize..40, room in 0_usize..40) {
        let (_, mut right) = pair(Suite::Aes256Gcm, 0);
        let result = right.open(at(0), 0, 0, &[], &vec![0; length], &mut vec![0; room]);
        let fits = length == room + TAG_LEN;
        prop_assert_eq!(result, Err(if fits { OpenError::Authentication } else { OpenError::Length }));
    }
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    for &suite in SUITES {
        let (left, mut right) = pair(suite, 0);
        let (aad, plaintext) = ([3; 32], [4; 50]);
        let mut sealed = [0; 66];
        left.seal(5, &aad, &plaintext, &mut sealed);
        let mut out = [0; 50];
        for bit in 0..sealed.len() * 8 {
            let mut bad = sealed;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(right.open(at(0), 0, 5, &aad, &bad, &mut out).is_err(), "{suite:?} {bit}");
        }
        for bit in 0..aad.len() * 8 {
            let mut bad = aad;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(right.open(at(0), 0, 5, &bad, &sealed, &mut out).is_err(), "{suite:?} {bit}");
        }
        for epoch in 1..=u8::MAX {
            assert!(right.open(at(0), epoch, 5, &aad, &sealed, &mut out).is_err());
        }
        assert_eq!(right.open(at(0), 0, 5, &aad, &sealed, &mut out), Ok(()));
    }
}

#[test]
fn a_flipped_bit_in_a_plain_packet_is_seen() {
    let (left, right) = pair(Suite::Aes256Gcm, 0);
    let header = [7; PLAIN_HEADER];
    for length in [1, 16, 17, 128, 240, 241, 1408] {
        let payload: Vec<u8> = (0..length).map(|i| i as u8).collect();
        let tag = left.plain_tag(9, &header, &payload);
        assert!(right.check_plain(9, &header, &payload, &tag));
        // Not from the wrong direction, lane or number.
        assert!(!left.check_plain(9, &header, &payload, &tag));
        assert!(!pair(Suite::Aes256Gcm, 1).1.check_plain(9, &header, &payload, &tag));
        assert!(!right.check_plain(8, &header, &payload, &tag));
        assert!(!right.check_plain(9, &header[1..], &payload, &tag));
        assert!(!right.check_plain(9, &header, &payload, &tag[1..]));
        for bit in 0..length * 8 {
            let mut bad = payload.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!right.check_plain(9, &header, &bad, &tag), "{length} {bit}");
        }
        for bit in 0..header.len() * 8 {
            let mut bad = header;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!right.check_plain(9, &bad, &payload, &tag), "{length} {bit}");
        }
    }
}

#[test]
fn neither_directions_nor_lanes_nor_sessions_share_keys() {
    let (left, _) = pair(Suite::Aes256Gcm, 0);
    let packet = seal(&left, 1);
    for lane in 0..4 {
        for role in [Role::Initiator, Role::Responder] {
            for seed in 1..4 {
                let mut keys = LaneKeys::new(&secrets(seed), lane, role, Suite::Aes256Gcm, at(0));
                let right = lane == 0 && role == Role::Responder && seed == 1;
                assert_eq!(open(&mut keys, at(0), &packet).is_ok(), right);
            }
        }
    }
    let other_hash = SessionSecrets::new([1; 32], [1 ^ 0x55; 32], [0; 32]);
    let mut keys = LaneKeys::new(&other_hash, 0, Role::Responder, Suite::Aes256Gcm, at(0));
    assert!(open(&mut keys, at(0), &packet).is_err());
}

#[test]
fn no_key_and_nonce_come_twice() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
        for sender in [Role::Initiator, Role::Responder] {
            for lane in [0, 1, 2, 255, 256, u16::MAX] {
                let mut secret = secrets(1).traffic(sender, lane);
                for _epoch in 0..5 {
                    let KeyMaterial { key, iv } = &secret.material(suite);
                    let around = (0..64).map(|bit| 1_u64 << bit).flat_map(|n| [n - 1, n, !n]);
                    for number in around.collect::<BTreeSet<_>>() {
                        seen.insert((*key, KeyMaterial::nonce(iv, number)));
                        count += 1;
                    }
                    secret.ratchet();
                }
            }
        }
    }
    assert_eq!(seen.len(), count);
}

#[test]
fn an_epoch_begins_when_due_and_acknowledged() {
    let limits = EpochLimits { packets: 100, ..EpochLimits::of(Suite::Aes256Gcm) };
    let (mut left, mut right) = pair(Suite::Aes256Gcm, 0);
    left = left.with_limits(limits);
    assert!(!left.should_update(at(0), 100), "nothing was acknowledged");
    left.on_acked(3);
    assert!(!left.should_update(at(0), 99));
    assert!(left.should_update(at(0), 100));
    assert!(!left.should_update(at(119), 99));
    assert!(left.should_update(at(120), 99));
    left.update_send(at(5), 100);
    assert_eq!(left.send_epoch(), 1);
    left.on_acked(99);
    assert!(!left.should_update(at(500), 500), "that packet was of the epoch before");
    assert_eq!(open(&mut right, at(5), &seal(&left, 100)), Ok(()));
    left.on_acked(100);
    assert!(!left.should_update(at(124), 199));
    assert!(left.should_update(at(125), 199));
    assert!(left.should_update(at(6), 200));
}

#[test]
fn late_packets_open_across_an_update_for_a_while() {
    for &suite in SUITES {
        let (mut left, mut right) = pair(suite, 0);
        let pto = Duration::from_secs(1);
        let early: Vec<Packet> = (0..3).map(|number| seal(&left, number)).collect();
        open(&mut right, at(0), &early[0]).unwrap();
        assert_eq!(right.next_deadline(pto), None);
        next_epoch(&mut left, at(0), 3);
        let later: Vec<Packet> = (3..6).map(|number| seal(&left, number)).collect();

        // The later ones overtake; a damaged one of them changes nothing.
        let mut bad = seal(&left, 3);
        bad.sealed[0] ^= 1;
        assert_eq!(open(&mut right, at(10), &bad), Err(OpenError::Authentication));
        assert_eq!(right.receive_epoch(), 0);
        open(&mut right, at(10), &later[1]).unwrap();
        assert_eq!(right.receive_epoch(), 1);
        open(&mut right, at(11), &early[1]).unwrap();
        open(&mut right, at(11), &later[0]).unwrap();

        assert_eq!(right.next_deadline(pto), Some(at(13)));
        right.expire_old(at(12), pto);
        open(&mut right, at(12), &early[2]).unwrap();
        right.expire_old(at(13), pto);
        assert_eq!(right.next_deadline(pto), None);
        assert_eq!(open(&mut right, at(13), &early[2]), Err(OpenError::UnknownEpoch));
        open(&mut right, at(13), &later[2]).unwrap();
    }
}

#[test]
fn the_epoch_byte_wraps_around() {
    let (mut left, mut right) = pair(Suite::ChaCha20Poly1305, 0);
    for epoch in 0..600_u64 {
        let last = seal(&left, 2 * epoch);
        let straggler = seal(&left, 2 * epoch + 1);
        assert_eq!(u64::from(last.epoch), epoch % 256);
        open(&mut right, at(epoch), &last).unwrap();
        assert_eq!(u64::from(right.receive_epoch()), epoch);
        next_epoch(&mut left, at(epoch), 2 * epoch + 2);
        open(&mut right, at(epoch), &seal(&left, 2 * epoch + 2)).unwrap();
        open(&mut right, at(epoch), &straggler).unwrap();
    }
}

#[test]
fn distant_epochs_are_not_even_tried() {
    let (left, mut right) = pair(Suite::Aes256Gcm, 0);
    let mut packet = seal(&left, 0);
    for epoch in 2..=255 {
        packet.epoch = epoch;
        assert_eq!(open(&mut right, at(0), &packet), Err(OpenError::UnknownEpoch));
    }
}

#[test]
fn too_many_forgeries_end_the_session() {
    let (left, right) = pair(Suite::Aes256Gcm, 0);
    let mut right = right.with_limits(EpochLimits { forgeries: 3, ..EpochLimits::of(Suite::Aes256Gcm) });
    let good = seal(&left, 0);
    let mut bad = seal(&left, 0);
    bad.sealed[9] ^= 1;
    for _ in 0..3 {
        assert!(!right.close_needed());
        assert_eq!(open(&mut right, at(0), &bad), Err(OpenError::Authentication));
    }
    assert!(right.close_needed());
    assert_eq!(open(&mut right, at(0), &good), Err(OpenError::IntegrityLimit));
}

#[test]
fn a_new_handshake_becomes_the_next_epoch() {
    // In the new handshake the roles may be the other way round.
    for new_role in [Role::Initiator, Role::Responder] {
        let (mut left, mut right) = pair(Suite::Aes256Gcm, 3);
        let fresh = secrets(9);
        open(&mut right, at(0), &seal(&left, 0)).unwrap();
        right.stage_receive(&fresh, new_role.peer());
        left.stage_receive(&fresh, new_role);

        // An ordinary update that crosses with it works still.
        next_epoch(&mut left, at(1), 1);
        let straggler = seal(&left, 1);
        open(&mut right, at(1), &seal(&left, 2)).unwrap();
        assert!(right.staged_receive());

        left.stage_send(&fresh, new_role);
        assert!(!left.should_update(at(1), 3), "epoch 1 was not acknowledged yet");
        left.on_acked(2);
        assert!(left.should_update(at(1), 3));
        left.update_send(at(1), 3);
        assert!(!left.should_update(at(1), 4));
        let first = seal(&left, 3);
        assert_eq!(first.epoch, 2);
        open(&mut right, at(2), &first).unwrap();
        open(&mut right, at(2), &straggler).unwrap();
        assert!(!right.staged_receive());
        assert_eq!(right.receive_epoch(), 2);

        // The other direction follows, and both go on by the ratchet.
        right.stage_send(&fresh, new_role.peer());
        right.on_acked(0);
        right.update_send(at(3), 1);
        open(&mut left, at(3), &seal(&right, 1)).unwrap();
        next_epoch(&mut left, at(4), 4);
        open(&mut right, at(4), &seal(&left, 4)).unwrap();
        assert_eq!(right.receive_epoch(), 3);
    }
}

#[test]
fn secrets_are_erased() {
    fn erased_when_dropped<T: ZeroizeOnDrop>(_: &T) {}
    let mut secrets = secrets(1);
    let mut traffic = secrets.traffic(Role::Initiator, 0);
    let mut material = traffic.material(Suite::Aes256Gcm);
    erased_when_dropped(&secrets);
    erased_when_dropped(&traffic);
    erased_when_dropped(&material);
    erased_when_dropped(&plain::PlainKey::new(&traffic));
    material.zeroize();
    assert!(material.key == [0; 32] && material.iv == [0; 12]);
    traffic.zeroize();
    let zeros = SessionSecrets::new([0; 32], [0; 32], [0; 32]);
    secrets.zeroize();
    assert!(
        secrets.traffic(Role::Responder, 7).material(Suite::Aes256Gcm)
            == zeros.traffic(Role::Responder, 7).material(Suite::Aes256Gcm)
    );
    assert_eq!(format!("{secrets:?}"), "SessionSecrets { .. }");
}

#[test]
fn new_secrets_shut_out_whoever_has_the_old_ones() {
    for &suite in SUITES {
        let (mut left, mut right) = pair(suite, 0);
        let (mut left_spy, mut right_spy) = pair(suite, 0);
        left.stage_receive(&secrets(2), Role::Initiator);
        left.stage_send(&secrets(2), Role::Initiator);
        right.stage_receive(&secrets(2), Role::Responder);
        right.stage_send_later(&secrets(2), Role::Responder);
        // The responder waits until the initiator shows that it has them.
        right.on_acked(0);
        assert!(!right.should_update(at(1), 1));
        next_epoch(&mut left, at(1), 1);
        assert!(!left.is_settled() && left.wants_ack(at(1), 1));
        let packet = seal(&left, 1);
        assert_eq!(open(&mut right, at(1), &packet), Ok(()));
        assert_eq!(open(&mut right_spy, at(1), &packet), Err(OpenError::Authentication));
        left.on_acked(1);
        assert!(left.is_settled());
        assert!(right.should_update(at(1), 1));
        right.update_send(at(1), 1);
        let packet = seal(&right, 1);
        assert_eq!(open(&mut left, at(1), &packet), Ok(()));
        assert_eq!(open(&mut left_spy, at(1), &packet), Err(OpenError::Authentication));
        // And from there the ratchet goes on.
        next_epoch(&mut left, at(200), 9);
        assert_eq!(open(&mut right, at(200), &seal(&left, 9)), Ok(()));
    }
}
