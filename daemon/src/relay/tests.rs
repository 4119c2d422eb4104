//! A relay between two plain sockets on loopback.

use std::net::{SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{Impairments, Relay, RelayConfig, Report, Stop};

struct Lab {
    client: UdpSocket,
    server: UdpSocket,
    stop: Stop,
    relay: JoinHandle<Report>,
}

impl Lab {
    fn new(up: Impairments, down: Impairments) -> Lab {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (client, server) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
        for socket in [&client, &server] {
            socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        }
        let config = RelayConfig { listen: any, target: server.local_addr().unwrap(), up, down, seed: 1 };
        let relay = Relay::bind(config).unwrap();
        client.connect(relay.local_addr()).unwrap();
        let stop = relay.stopper();
        Lab { client, server, stop, relay: std::thread::spawn(move || relay.run().unwrap()) }
    }

    fn finish(self) -> Report {
        self.stop.stop().unwrap();
        self.relay.join().unwrap()
    }
}

fn drain(socket: &UdpSocket) -> Vec<Vec<u8>> {
    let mut buffer = [0; 2000];
    std::iter::from_fn(|| socket.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec())).collect()
}

#[test]
fn both_directions_are_forwarded_with_their_delay() {
    let delay = Duration::from_millis(30);
    let slow = Impairments { delay, ..Impairments::default() };
    let lab = Lab::new(slow.clone(), slow);
    let start = Instant::now();
    lab.client.send(b"ping").unwrap();
    let mut buffer = [0; 100];
    let (len, from) = lab.server.recv_from(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"ping");
    let there = start.elapsed();
    lab.server.send_to(b"pong", from).unwrap();
    let len = lab.client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"pong");
    let back = start.elapsed();
    assert!(there >= delay && back >= 2 * delay, "{there:?} {back:?}");
    assert!(back < 10 * delay, "{back:?}");
    let report = lab.finish();
    assert_eq!((report.up.received, report.up.forwarded), (1, 1));
    assert_eq!((report.down.received, report.down.received_bytes), (1, 4));
}

#[test]
fn without_faults_everything_arrives_in_order() {
    let lab = Lab::new(Impairments::default(), Impairments::default());
    let reader = lab.server.try_clone().unwrap();
    let reader = std::thread::spawn(move || drain(&reader));
    let mut sent = Vec::new();
    for index in 0..200u32 {
        let mut datagram = vec![0; 100 + (index as usize % 7) * 150];
        datagram[..4].copy_from_slice(&index.to_le_bytes());
        lab.client.send(&datagram).unwrap();
        sent.push(datagram);
    }
    assert!(reader.join().unwrap() == sent);
    assert_eq!(lab.finish().up.forwarded, 200);
}

#[test]
fn what_is_missing_or_damaged_is_what_was_counted() {
    let up = Impairments { loss: 0.2, corrupt: 0.1, duplicate: 0.1, reorder: 0.1, ..Impairments::default() };
    let lab = Lab::new(up, Impairments::default());
    let reader = lab.server.try_clone().unwrap();
    let reader = std::thread::spawn(move || drain(&reader));
    for _ in 0..2000 {
        lab.client.send(&[0; 500]).unwrap();
        std::thread::sleep(Duration::from_micros(20));
    }
    let arrived = reader.join().unwrap();
    let report = lab.finish();
    let up = report.up;
    assert_eq!(up.received, 2000);
    assert_eq!(arrived.len() as u64, up.received - up.lost + up.duplicated);
    assert!((300..500).contains(&up.lost), "{up:?}");
    let damaged = arrived.iter().filter(|datagram| datagram.iter().any(|&byte| byte != 0)).count() as u64;
    assert!(damaged >= up.corrupted && up.corrupted > 100, "{damaged} {up:?}");
    assert!(arrived.iter().all(|datagram| datagram.iter().map(|byte| byte.count_ones()).sum::<u32>() <= 1));
}

#[test]
fn each_client_has_its_own_way_back() {
    let lab = Lab::new(Impairments::default(), Impairments::default());
    let other = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
    other.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    other.connect(lab.client.peer_addr().unwrap()).unwrap();
    lab.client.send(b"one").unwrap();
    other.send(b"two").unwrap();
    let mut buffer = [0; 100];
    for _ in 0..2 {
        let (len, from) = lab.server.recv_from(&mut buffer).unwrap();
        lab.server.send_to(&buffer[..len].repeat(2), from).unwrap();
    }
    let len = lab.client.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"oneone");
    let len = other.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..len], b"twotwo");
    lab.finish();
}
