//! SO_REUSEPORT groups with real sockets: the packet names the member.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod common;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};

use common::{LOOPBACKS, collect};
use udpx_udp::{ENGINES_MAX, Socket, SocketOptions, bind_exclusive, bind_group};

fn packet(engine: u32, lane: u32) -> Vec<u8> {
    let mut bytes = vec![0xeeu8; 40];
    bytes[4..8].copy_from_slice(&((engine << 28) | lane).to_le_bytes());
    bytes
}

#[test]
fn the_lane_id_picks_the_engine() {
    for address in LOOPBACKS {
        let mut group = bind_group(address.parse().unwrap(), &SocketOptions::default(), 3).unwrap();
        let to = group[0].local_addr();
        assert!(group.iter().all(|socket| socket.local_addr() == to));
        // From many source ports: the 4-tuple must not matter.
        for lane in 0..20u32 {
            let sender = UdpSocket::bind(SocketAddr::new(to.ip(), 0)).unwrap();
            for engine in 0..3 {
                sender.send_to(&packet(engine, (lane * 0x00ab_cdef) & 0x0fff_ffff), to).unwrap();
            }
        }
        for (socket, engine) in group.iter_mut().zip(0u8..) {
            let got = collect(socket, 20);
            assert_eq!(got.len(), 20);
            assert!(got.iter().all(|(_, bytes)| bytes[7] >> 4 == engine));
        }
    }
}

#[test]
fn an_engine_that_does_not_exist_is_left_to_the_hash() {
    let mut group = bind_group(LOOPBACKS[0].parse().unwrap(), &SocketOptions::default(), 3).unwrap();
    let to = group[0].local_addr();
    for _ in 0..60 {
        let sender = UdpSocket::bind(SocketAddr::new(to.ip(), 0)).unwrap();
        for engine in [3, 7, 15] {
            sender.send_to(&packet(engine, 1), to).unwrap();
        }
        // Too short to hold a lane id.
        sender.send_to(&[0; 7], to).unwrap();
        sender.send_to(&[], to).unwrap();
    }
    let counts: Vec<usize> = group.iter_mut().map(|socket| collect(socket, 300).len()).collect();
    assert_eq!(counts.iter().sum::<usize>(), 300);
    // All packets of one sender go to one member; of 60 senders each member gets some.
    assert!(counts.iter().all(|&count| count > 0 && count % 5 == 0), "{counts:?}");
}

#[test]
fn one_sender_reaches_several_engines() {
    let mut group = bind_group(LOOPBACKS[0].parse().unwrap(), &SocketOptions::default(), 2).unwrap();
    let to = group[0].local_addr();
    let sender = UdpSocket::bind(SocketAddr::new(to.ip(), 0)).unwrap();
    let mut sent = BTreeMap::new();
    for index in 0..50u32 {
        let engine = index * 7 % 2;
        *sent.entry(engine).or_insert(0) += 1;
        sender.send_to(&packet(engine, index), to).unwrap();
    }
    for (socket, engine) in group.iter_mut().zip(0..) {
        assert_eq!(collect(socket, sent[&engine]).len(), sent[&engine]);
    }
}

#[test]
fn a_group_that_someone_holds_is_not_joined() {
    let options = SocketOptions::default();
    for address in LOOPBACKS {
        for engines in [1, 2] {
            let group = bind_group(address.parse().unwrap(), &options, engines).unwrap();
            let taken = group[0].local_addr();
            assert_eq!(bind_exclusive(taken).unwrap_err().kind(), ErrorKind::AddrInUse);
            for others in [1, 2] {
                let refused = bind_group(taken, &options, others).err().unwrap();
                assert_eq!(refused.kind(), ErrorKind::AddrInUse);
            }
            drop(group);
            bind_group(taken, &options, engines).unwrap();
        }
    }
    // What the check is for: without it the second daemon would be let in.
    let group = bind_group(LOOPBACKS[0].parse().unwrap(), &options, 2).unwrap();
    let joining = SocketOptions { reuse_port: true, ..options };
    assert!(Socket::bind(group[0].local_addr(), &joining).is_ok());
}

#[test]
fn the_number_of_engines_is_checked() {
    let (address, options) = (LOOPBACKS[0].parse().unwrap(), SocketOptions::default());
    for engines in [0, ENGINES_MAX + 1] {
        assert_eq!(bind_group(address, &options, engines).err().unwrap().kind(), ErrorKind::InvalidInput);
        let socket = Socket::bind(address, &options).unwrap();
        assert_eq!(socket.attach_reuseport_cbpf(engines).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
