//! Two network namespaces joined by a veth pair with an MTU of 1500: what loopback, with its MTU of 65,536, cannot
//! show. Needs root and `ip`; the namespaces end with the threads that made them.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod common;

use std::net::SocketAddr;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{collect, flush, is_root, packets, pattern, queue, send_all};
use nix::sched::{CloneFlags, unshare};
use udpx_udp::{HintKind, RecvBatch, SendBatch, Socket, SocketOptions};

fn ip(command: &str) {
    let done = Command::new("ip").args(command.split_whitespace()).output().unwrap();
    assert!(done.status.success(), "ip {command}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Two sockets in namespaces of their own; `near` runs here, in the first one.
fn across_a_veth(addresses: [&str; 2], prefix: u8, near: impl FnOnce(Socket, Socket) + Send) {
    let local = |index: usize| SocketAddr::new(addresses[index].parse().unwrap(), 4000);
    let (send_thread, far_thread) = mpsc::channel();
    let (send_ready, ready) = mpsc::channel();
    let (send_socket, far_socket) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            send_thread.send(nix::unistd::gettid()).unwrap();
            ready.recv().unwrap();
            ip("link set far up");
            // No duplicate address detection: the address is usable at once.
            let extra = if prefix == 64 { "nodad" } else { "" };
            ip(&format!("addr add {}/{prefix} dev far {extra}", addresses[1]));
            // A socket stays in the namespace in which it was made.
            send_socket.send(Socket::bind(local(1), &SocketOptions::default()).unwrap()).unwrap();
        });
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let far = far_thread.recv_timeout(Duration::from_secs(10)).unwrap();
            ip(&format!("link add near type veth peer name far netns {far}"));
            ip("link set near up");
            let extra = if prefix == 64 { "nodad" } else { "" };
            ip(&format!("addr add {}/{prefix} dev near {extra}", addresses[0]));
            send_ready.send(()).unwrap();
            let mut receiver = far_socket.recv_timeout(Duration::from_secs(10)).unwrap();
            wait_for_carrier();
            let mut sender = Socket::connect(local(0), local(1), &SocketOptions::default()).unwrap();
            warm_up(&mut sender, &mut receiver);
            near(sender, receiver);
        });
    });
}

/// Sends until something arrives: before the neighbour is resolved the kernel keeps only a few packets for it, and
/// asks again only once a second.
fn warm_up(sender: &mut Socket, receiver: &mut Socket) {
    let (mut batch, mut recv) = (SendBatch::new(1), RecvBatch::new(4));
    for _ in 0..200 {
        queue(&mut batch, None, 0, 100, &[0; 10]);
        let _ = sender.send(&mut batch);
        thread::sleep(Duration::from_millis(50));
        if receiver.recv(&mut recv).unwrap() > 0 {
            while receiver.recv(&mut recv).unwrap() > 0 {}
            return;
        }
    }
    panic!("nothing crosses the veth");
}

fn wait_for_carrier() {
    for _ in 0..200 {
        let shown = Command::new("ip").args(["-o", "link", "show", "near"]).output().unwrap();
        if String::from_utf8_lossy(&shown.stdout).contains("LOWER_UP") {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the veth has no carrier");
}

const V4: [&str; 2] = ["10.77.0.1", "10.77.0.2"];
const V6: [&str; 2] = ["fd77::1", "fd77::2"];

#[test]
fn trains_cross_whole_at_the_largest_segment() {
    if !is_root("trains_cross_whole_at_the_largest_segment") {
        return;
    }
    for (addresses, prefix, segment) in [(V4, 24, 1472u16), (V6, 64, 1452)] {
        across_a_veth(addresses, prefix, |mut sender, mut receiver| {
            assert_eq!(sender.route_mtu().unwrap(), 1500);
            let before = receiver.counters().received_buffers;
            let size = usize::from(segment);
            let trains: Vec<_> = (0..8).map(|seed| pattern(seed, size, 44 * size - seed as usize)).collect();
            let mut batch = SendBatch::new(8);
            for train in &trains {
                queue(&mut batch, None, 2, segment, train);
            }
            let outcome = send_all(&mut sender, &mut batch);
            assert_eq!((outcome.syscalls, outcome.datagrams, outcome.dropped), (1, 352, 0));
            let got = collect(&mut receiver, 352);
            assert!(got.iter().all(|(ecn, _)| *ecn == 2));
            let expected = packets(trains.iter().map(|train| (size, &train[..])));
            assert!(got.into_iter().map(|(_, bytes)| bytes).eq(expected));
            assert_eq!(receiver.counters().received_buffers - before, 8, "one GRO buffer a train");
        });
    }
}

#[test]
fn packets_above_the_mtu_are_refused_not_fragmented() {
    if !is_root("packets_above_the_mtu_are_refused_not_fragmented") {
        return;
    }
    for (addresses, prefix, segment) in [(V4, 24, 1472u16), (V6, 64, 1452)] {
        across_a_veth(addresses, prefix, |mut sender, mut receiver| {
            let mut batch = SendBatch::new(3);
            // A probe one byte too large, then one that just fits.
            queue(&mut batch, None, 0, segment + 1, &vec![1; usize::from(segment) + 1]);
            queue(&mut batch, None, 0, segment, &vec![2; usize::from(segment)]);
            let outcome = send_all(&mut sender, &mut batch);
            assert_eq!((outcome.datagrams, outcome.dropped), (1, 1));
            let hint = outcome.hints.iter().next().unwrap();
            assert_eq!((hint.kind, hint.train), (HintKind::TooBig, 0));
            assert_eq!(collect(&mut receiver, 1).len(), 1);

            // The route's MTU shrinks under a socket that sends trains: nothing that fits is lost, and smaller
            // trains pass again.
            ip("link set near mtu 1400");
            queue(&mut batch, None, 0, segment, &vec![3; 10 * usize::from(segment) + 700]);
            let outcome = send_all(&mut sender, &mut batch);
            assert_eq!((outcome.datagrams, outcome.dropped), (1, 10));
            assert!(outcome.hints.contains(HintKind::CutAnew) && outcome.hints.contains(HintKind::TooBig));
            assert!(sender.gso());
            queue(&mut batch, None, 0, 1352, &[4; 20 * 1352]);
            let outcome = send_all(&mut sender, &mut batch);
            assert_eq!((outcome.syscalls, outcome.datagrams), (1, 20));
            assert_eq!(collect(&mut receiver, 21).len(), 21);
        });
    }
}

#[test]
fn a_device_without_checksum_offload_loses_nothing() {
    if !is_root("a_device_without_checksum_offload_loses_nothing") {
        return;
    }
    if Command::new("ethtool").arg("--version").output().is_err() {
        eprintln!("SKIPPED a_device_without_checksum_offload_loses_nothing: needs ethtool");
        return;
    }
    across_a_veth(V4, 24, |mut sender, mut receiver| {
        // EIO before Linux 6.11, segmentation in software since: either way everything arrives.
        let done = Command::new("ethtool").args(["-K", "near", "tx", "off", "sg", "off"]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let train = pattern(1, 1472, 44 * 1472);
        let mut batch = SendBatch::new(1);
        for _ in 0..3 {
            queue(&mut batch, None, 0, 1472, &train);
            flush(&mut sender, &mut batch);
            let got = collect(&mut receiver, 44).into_iter().map(|(_, bytes)| bytes);
            assert!(got.eq(packets([(1472, &train[..])])));
        }
    });
}

#[test]
fn a_link_that_goes_down_and_comes_back_is_a_hint() {
    if !is_root("a_link_that_goes_down_and_comes_back_is_a_hint") {
        return;
    }
    across_a_veth(V4, 24, |mut sender, mut receiver| {
        let mut batch = SendBatch::new(1);
        queue(&mut batch, None, 0, 1000, &[1; 5000]);
        flush(&mut sender, &mut batch);
        ip("link set near down");
        queue(&mut batch, None, 0, 1000, &[2; 5000]);
        let outcome = send_all(&mut sender, &mut batch);
        assert_eq!((outcome.datagrams, outcome.dropped), (0, 5));
        assert!(outcome.hints.contains(HintKind::Unreachable));
        assert_eq!(collect(&mut receiver, 5).len(), 5);
        ip("link set near up");
        wait_for_carrier();
        warm_up(&mut sender, &mut receiver);
        queue(&mut batch, None, 0, 1000, &[3; 5000]);
        flush(&mut sender, &mut batch);
        assert_eq!(collect(&mut receiver, 5).len(), 5);
    });
}
