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

/// Sends datagrams from the client and returns what arrives at the server. In small bursts, each of which is taken in
/// before the next: the receive buffer of a plain socket holds little more than a hundred datagrams.
fn exchange(lab: &Lab, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut buffer = [0; 2000];
    let mut arrived = Vec::new();
    lab.server.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    for burst in datagrams.chunks(40) {
        for datagram in burst {
            lab.client.send(datagram).unwrap();
        }
        arrived.extend(std::iter::from_fn(|| {
            lab.server.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec())
        }));
    }
    lab.server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    arrived
        .extend(std::iter::from_fn(|| lab.server.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec())));
    arrived
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
    let sent: Vec<Vec<u8>> =
        (0..200u8).map(|index| vec![index; 100 + usize::from(index % 7) * 150]).collect();
    let arrived = exchange(&lab, &sent);
    let first = |list: &[Vec<u8>]| list.iter().map(|datagram| datagram[0]).collect::<Vec<_>>();
    assert_eq!(first(&arrived), first(&sent));
    assert!(arrived == sent, "some datagram has another length or content");
    assert_eq!(lab.finish().up.forwarded, 200);
}

#[test]
fn what_is_missing_or_damaged_is_what_was_counted() {
    let up = Impairments { loss: 0.2, corrupt: 0.1, duplicate: 0.1, reorder: 0.1, ..Impairments::default() };
    let lab = Lab::new(up, Impairments::default());
    let arrived = exchange(&lab, &vec![vec![0; 500]; 1000]);
    let up = lab.finish().up;
    assert_eq!(up.received, 1000);
    assert_eq!(arrived.len() as u64, up.received - up.lost + up.duplicated);
    assert!((140..260).contains(&up.lost) && up.reordered > 40, "{up:?}");
    let damaged = arrived.iter().filter(|datagram| datagram.iter().any(|&byte| byte != 0)).count() as u64;
    assert!(damaged >= up.corrupted && up.corrupted > 40, "{damaged} {up:?}");
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
