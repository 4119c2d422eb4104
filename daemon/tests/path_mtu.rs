//! A path whose MTU falls in mid-transfer, between two network namespaces: where the sender's own link says so, and where
//! packets just vanish. Needs root and `ip`; the namespaces end with the threads that made them.
#![allow(clippy::unwrap_used, reason = "a failed set-up fails the test")]

mod common;

use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use common::Receiver;
use nix::sched::{CloneFlags, unshare};
use udpx_proto::RatePolicy;
use udpxd::embedded::{Event, PushFile, push};
use udpxd::report::Summary;

fn ip(command: &str) {
    let done = Command::new("ip").args(command.split_whitespace()).output().unwrap();
    assert!(done.status.success(), "ip {command}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Whether this is root; says loudly what is left out if not.
fn is_root(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        let required = std::env::var("UDPX_REQUIRE").unwrap_or_default();
        assert!(!required.contains("root"), "{test} needs root, and UDPX_REQUIRE asks for it");
        eprintln!("SKIPPED {test}: needs root");
    }
    root
}

/// Moves 40 MiB at 80 Mbit/s over a veth pair with these MTUs. When a quarter is there, `shrink` runs in the namespace of
/// its end: near is the sender's, far the receiver's. Returns the longest time without progress afterwards, and what the
/// sender counted.
fn transfer(mtu: u32, near: &'static str, far: &'static str, gso: bool) -> (Duration, Summary) {
    let (tell_thread, far_thread) = mpsc::channel();
    let (tell_link, linked) = mpsc::channel::<()>();
    let (tell_receiver, receiver) = mpsc::channel();
    let (tell_quarter, quarter) = mpsc::channel::<()>();
    let (tell_end, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell_thread.send(nix::unistd::gettid()).unwrap();
            linked.recv().unwrap();
            ip(&format!("link set far up mtu {mtu}"));
            ip("addr add 10.79.0.2/24 dev far");
            let receiver = Receiver::with("10.79.0.2:0", |config| config.mtu_max = 9000);
            tell_receiver.send(receiver.request(Vec::new())).unwrap();
            if quarter.recv().is_ok() && !far.is_empty() {
                ip(far);
            }
            // Until the sender has finished.
            let _ = ended.recv();
        });
        let sender = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let thread = far_thread.recv().unwrap();
            ip(&format!("link add near type veth peer name far netns {thread}"));
            ip(&format!("link set near up mtu {mtu}"));
            ip("addr add 10.79.0.1/24 dev near");
            tell_link.send(()).unwrap();
            let mut request = receiver.recv_timeout(Duration::from_secs(20)).unwrap();
            let directory = tempfile::tempdir().unwrap();
            let path = common::file(directory.path(), "file", 40 << 20);
            request.files.push(PushFile::Path(path));
            request.call.way.policy = RatePolicy::Fixed { bps: 80e6 };
            request.call.way.gso = gso;
            request.call.way.mtu_max = 9000;
            let (mut bytes, mut since, mut longest, mut shrunk) = (0, Instant::now(), Duration::ZERO, false);
            let summary = push(request, &mut |event| {
                let Event::Progress { bytes: now, .. } = event else { return };
                if now > bytes {
                    if shrunk {
                        longest = longest.max(since.elapsed());
                    }
                    (bytes, since) = (now, Instant::now());
                }
                if !shrunk && now > 10 << 20 {
                    shrunk = true;
                    if !near.is_empty() {
                        ip(near);
                    }
                    tell_quarter.send(()).unwrap();
                    since = Instant::now();
                }
            });
            let _ = tell_end.send(());
            (longest, summary.unwrap())
        });
        sender.join().unwrap()
    })
}

#[test]
fn a_link_that_shrinks_under_a_transfer_is_followed() {
    if !is_root("a_link_that_shrinks_under_a_transfer_is_followed") {
        return;
    }
    // The sender's own link: the kernel refuses what is too large.
    for (mtu, to, datagram) in
        [(1500, "link set near mtu 1400", 1372), (9000, "link set near mtu 1500", 1472)]
    {
        let (stall, summary) = transfer(mtu, to, "", true);
        // It searches again after 30 s only: within a bisection's step of what the link takes.
        let found = datagram - 16..=datagram;
        assert!(found.contains(&summary.datagram), "{to}: {} bytes", summary.datagram);
        assert!(stall < SOON, "{to}: {stall:?}");
    }
}

#[test]
fn a_path_that_swallows_large_packets_is_left() {
    if !is_root("a_path_that_swallows_large_packets_is_left") {
        return;
    }
    // A veth whose peer is smaller drops what is larger without a word, but for whole trains, which pass it.
    let (stall, summary) = transfer(1500, "", "link set far mtu 1400", false);
    assert!((1300..=1376).contains(&summary.datagram), "{} bytes", summary.datagram);
    assert!(stall < SOON, "{stall:?}");
}

/// The round trip is a fraction of a millisecond; what takes time here is this machine, and the receiver's blocks, of which
/// there are ten a second.
const SOON: Duration = Duration::from_millis(1500);
