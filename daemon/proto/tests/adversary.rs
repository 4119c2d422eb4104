//! Someone on the path with the real ciphers against him: no flipped bit, no replayed packet and no
//! forgery is ever accepted, and none of them changes anything but a count of dropped datagrams.

mod common;

use std::time::Duration;

use common::{Captured, MIB, bottleneck, capture, finish, is_bulk, over};
use udpx_proto::testing::net::{Side, SimRng, Verdict};
use udpx_proto::testing::{End, Pair, PairConfig};
use udpx_proto::wire::bulk::BulkPrefix;
use udpx_proto::wire::header::Header;
use udpx_proto::{Arrival, DropReason};

/// A lossy path and real keys.
fn secure(seed: u64, plain: bool) -> PairConfig {
    let mut config = over(bottleneck(50_000_000, 20, 1.0), seed);
    config.null_cipher = false;
    config.session.plain = plain;
    config
}

/// Everything that a session knows, but for the counters of drops and the scratch memory which a packet
/// that does not verify may overwrite.
fn fingerprint(end: &End) -> String {
    let mut text = format!("{:?} {} {:?}", end.session, end.sink.unwritten, end.sink.blocks_done);
    for (name, close) in [("scratch: [", ']'), ("drops: DropCounters([", ']')] {
        let start = text.find(name).expect("the field is there") + name.len();
        let len = text[start..].find(close).expect("the field ends");
        text.replace_range(start..start + len, "");
    }
    text
}

fn hand(pair: &mut Pair, to: Side, bytes: &[u8]) -> Result<(), DropReason> {
    let now = pair.now;
    let end = pair.end(to);
    end.session.handle_datagram(now, &Arrival { ecn: 2, from: None }, bytes, &mut end.sink)
}

/// A transfer under way, and packets of `from` which never arrived: bulk ones or mixed ones, all of
/// which their receiver would still accept.
fn withheld(seed: u64, plain: bool, from: Side, bulk: bool) -> (Pair, Vec<Captured>) {
    let mut pair = Pair::new(&secure(seed, plain));
    let mut rng = SimRng::new(seed);
    let dropped = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let keep = std::rc::Rc::clone(&dropped);
    pair.net.link_mut(from, 0).add_filter(move |packet, _| {
        if is_bulk(packet) == bulk && rng.chance(0.05) && packet.len() < 1500 {
            keep.borrow_mut().push(Captured { from, bytes: packet.to_vec() });
            return Verdict::Drop;
        }
        Verdict::Pass
    });
    pair.send_file(from, 1, (0, 8 * MIB), 1);
    pair.send_file(from.other(), 2, (0, 8 * MIB), 1);
    pair.run_until(Duration::from_millis(700), |_| false);
    let kept = dropped.take();
    assert!(kept.len() >= 4, "seed {seed}: only {} packets withheld", kept.len());
    (pair, kept)
}

/// Flips each bit of each packet in turn: never accepted, and nothing changes.
fn flip_every_bit(pair: &mut Pair, packets: &[Captured], label: &str) {
    let to = packets[0].from.other();
    let before = fingerprint(pair.end(to));
    for (index, packet) in packets.iter().enumerate() {
        let mut bytes = packet.bytes.clone();
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let result = hand(pair, to, &bytes);
            assert!(result.is_err(), "{label}: packet {index} was accepted with bit {bit} flipped");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
    assert!(before == fingerprint(pair.end(to)), "{label}: something changed");
}

#[test]
fn no_flipped_bit_is_accepted() {
    for (seed, plain, bulk) in [(1, false, true), (2, true, true), (3, false, false), (4, true, false)] {
        let label = format!("seed {seed}, plain {plain}, bulk {bulk}");
        let (mut pair, packets) = withheld(seed, plain, Side::A, bulk);
        // The newest ones: the older were repaired meanwhile, so they would not be news.
        let packets = &packets[packets.len() - 4..];
        flip_every_bit(&mut pair, packets, &label);
        // And yet each was good, and is good once.
        for packet in packets {
            assert_eq!(hand(&mut pair, Side::B, &packet.bytes), Ok(()), "{label}");
            assert_eq!(hand(&mut pair, Side::B, &packet.bytes), Err(DropReason::Duplicate), "{label}");
        }
        finish(&mut pair, 1, Duration::from_secs(30), &label);
    }
}

#[test]
fn flipped_bits_of_received_packets_change_nothing() {
    let seed = 5;
    let mut pair = Pair::new(&secure(seed, false));
    let packets = capture(&mut pair);
    pair.send_file(Side::A, 1, (0, 8 * MIB), 1);
    pair.run_until(Duration::from_millis(500), |p| p.net.next_arrival().is_none());
    let received: Vec<Captured> =
        packets.borrow().iter().filter(|p| p.from == Side::A).take(6).cloned().collect();
    flip_every_bit(&mut pair, &received, &format!("seed {seed}"));
    finish(&mut pair, 1, Duration::from_secs(30), &format!("seed {seed}"));
}

#[test]
fn nothing_is_accepted_twice_however_late() {
    for (seed, plain, mib, null_cipher) in [(6, false, 8, false), (7, true, 8, false), (8, false, 128, true)]
    {
        let mut config = secure(seed, plain);
        config.null_cipher = null_cipher;
        config.lanes = vec![config.lanes[0].clone(); 2];
        if null_cipher {
            // So many packets that the first ones leave every window.
            config.lanes.truncate(1);
            config.lanes[0].ab.queue = None;
        }
        let label = format!("seed {seed}, plain {plain}, {mib} MiB");
        let mut pair = Pair::new(&config);
        let packets = capture(&mut pair);
        pair.send_file(Side::A, 1, (0, mib * MIB), 1);
        pair.send_file(Side::B, 2, (0, MIB), 1);
        let replay = |pair: &mut Pair, packets: &[Captured]| -> usize {
            packets.iter().filter(|p| hand(pair, p.from.other(), &p.bytes).is_ok()).count()
        };
        // In the middle what is on its way may arrive early, but then only once.
        for part in [mib * MIB / 8, mib * MIB / 2] {
            let limit = Duration::from_secs(200);
            assert!(pair.run_until(limit, |p| p.b.session.stats().unique_bytes_received > part), "{label}");
            let so_far = packets.borrow().clone();
            let on_their_way: u64 = (0..config.lanes.len())
                .map(|lane| [Side::A, Side::B].map(|s| pair.net.link(s, lane).stats().in_flight))
                .map(|both| both[0] + both[1])
                .sum();
            let early = replay(&mut pair, &so_far);
            let lost: u64 = (0..config.lanes.len())
                .map(|lane| [Side::A, Side::B].map(|s| pair.net.link(s, lane).stats().lost_total()))
                .map(|both| both[0] + both[1])
                .sum();
            assert!(early as u64 <= on_their_way + lost, "{label}: {early} accepted again");
            let before = [Side::A, Side::B].map(|side| fingerprint(pair.end(side)));
            assert_eq!(replay(&mut pair, &so_far), 0, "{label}: accepted twice");
            let after = [Side::A, Side::B].map(|side| fingerprint(pair.end(side)));
            assert!(before == after, "{label}: replayed packets changed something");
        }
        finish(&mut pair, 1, Duration::from_secs(200), &label);
        pair.run_until(Duration::from_secs(5), |_| false);
        let all = packets.borrow().clone();
        replay(&mut pair, &all);
        assert_eq!(replay(&mut pair, &all), 0, "{label}: accepted twice at the end");
        if null_cipher {
            assert!(pair.b.session.drops().get(DropReason::TooOld) > 0, "{label}: too short a transfer");
        }
    }
}

#[test]
fn forgeries_over_old_and_new_ranges_change_nothing() {
    for (seed, plain) in [(9, false), (10, true)] {
        let label = format!("seed {seed}, plain {plain}");
        let mut pair = Pair::new(&secure(seed, plain));
        let packets = capture(&mut pair);
        let stream = pair.send_file(Side::A, 1, (0, 8 * MIB), 1);
        let mut rng = SimRng::new(seed);
        for step in 1..8 {
            let part = step * MIB;
            let reached = pair.run_until(Duration::from_secs(30), |p| p.b.sink.bytes_of(stream) >= part);
            assert!(reached, "{label}");
            let newest = packets.borrow().iter().rev().find(|p| is_bulk(&p.bytes)).cloned();
            let newest = newest.expect("a transfer is under way");
            let header = *newest.header();
            let kind = common::kind_of(&newest.bytes);
            let before = fingerprint(&pair.b);
            for _ in 0..3000 {
                // Any range, received or not; any number, old, new or far ahead; any of three epochs.
                let offset = rng.below(9 * MIB);
                let number = match rng.below(3) {
                    0 => rng.below(header.number() + 1),
                    1 => header.number() + rng.below(64),
                    _ => rng.below(1 << 62),
                };
                let epoch = header.epoch.wrapping_add(rng.below(3) as u8).wrapping_sub(1);
                let len = 1 + rng.below(1400) as usize;
                let header = Header::new(kind, epoch, header.lane(), number);
                let prefix = BulkPrefix::new(header, stream, offset, len as u16);
                let mut packet = bytemuck::bytes_of(&prefix).to_vec();
                packet.extend((0..len + 16).map(|_| rng.below(256) as u8));
                assert!(hand(&mut pair, Side::B, &packet).is_err(), "{label}: a forgery was accepted");
            }
            assert!(before == fingerprint(&pair.b), "{label}: a forgery changed something");
        }
        // The sink compares every committed byte, also where a forgery was staged.
        finish(&mut pair, 1, Duration::from_secs(30), &label);
    }
}

#[test]
fn garbage_is_dropped_and_counted() {
    let mut pair = Pair::new(&secure(11, false));
    pair.send_file(Side::A, 1, (0, 4 * MIB), 1);
    pair.run_until(Duration::from_millis(300), |_| false);
    let lane = pair.b.session.local_lanes().next().expect("a session has a lane");
    let before = fingerprint(&pair.b);
    let mut rng = SimRng::new(11);
    for index in 0..20_000_u64 {
        let mut packet: Vec<u8> = (0..rng.below(200)).map(|_| rng.below(256) as u8).collect();
        if index % 2 == 0 && packet.len() >= 16 {
            let kinds = [0x11, 0x12, 0x13];
            packet[0] = kinds[rng.below(3) as usize];
            packet[1] = 0;
            packet[2..4].fill(0);
            packet[4..8].copy_from_slice(bytemuck::bytes_of(&udpx_proto::wire::le::U32::new(lane.0)));
        }
        assert!(hand(&mut pair, Side::B, &packet).is_err());
    }
    for size in [0, 1, 15, 16, 31, 32, 47, 48, 65_535, 70_000] {
        assert!(hand(&mut pair, Side::B, &vec![0x12; size]).is_err());
        assert!(hand(&mut pair, Side::B, &vec![0; size]).is_err());
    }
    assert!(before == fingerprint(&pair.b));
    let dropped: u64 = pair.b.session.drops().iter().map(|(_, count)| count).sum();
    assert_eq!(dropped, 20_020, "each is counted once");
    finish(&mut pair, 1, Duration::from_secs(30), "seed 11");
}
