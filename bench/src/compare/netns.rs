//! The path under test: two network namespaces joined by a veth pair, or loopback where we may not make them.
//!
//! A veth with a UDP_GRO receiver passes a GSO train through in one piece, as loopback does, so figures on it
//! are those of the socket API and of our own code, not of a network card; [`Offloads::Off`] makes the kernel cut the
//! trains, as for a card that cannot. Loopback differs by its MTU of 65536, for TCP above all.

use std::ffi::OsStr;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::process::Void;

/// Which end of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Sends the file.
    A,
    /// Receives it.
    B,
}

/// Whether the veth pair keeps its segmentation offloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offloads {
    /// As the kernel makes it.
    Default,
    /// Segmentation of TCP and UDP and GRO switched off on both ends.
    Off,
}

/// Where the endpoints of every row run.
pub(crate) enum Arena {
    Veth { pair: Pair, mtu: u16, offloads: Offloads },
    Loopback { mtu: u16 },
}

impl Arena {
    /// Makes the namespaces and the veth pair.
    ///
    /// # Errors
    /// If `ip` (iproute2) or `ethtool` is missing or refuses, with its own words.
    pub(crate) fn veth(mtu: u16, offloads: Offloads) -> Result<Arena, Void> {
        let pair = Pair::new()?;
        pair.connect(mtu)?;
        if offloads == Offloads::Off {
            pair.switch_offloads_off()?;
        }
        Ok(Arena::Veth { pair, mtu, offloads })
    }

    pub(crate) fn address(&self, side: Side) -> IpAddr {
        match (self, side) {
            (Arena::Loopback { .. }, _) => Ipv4Addr::LOCALHOST.into(),
            (Arena::Veth { .. }, side) => Pair::address(side).into(),
        }
    }

    /// The largest UDP payload that fits one IPv4 packet of the MTU that the rows keep to.
    pub(crate) fn datagram(&self) -> u16 {
        const IP_AND_UDP_HEADERS: u16 = 28;
        let (Arena::Veth { mtu, .. } | Arena::Loopback { mtu }) = self;
        mtu - IP_AND_UDP_HEADERS
    }

    pub(crate) fn mtu(&self) -> u16 {
        let (Arena::Veth { mtu, .. } | Arena::Loopback { mtu }) = self;
        *mtu
    }

    /// `program`, to be run at that end. It becomes the process itself: `ip netns exec` execs it.
    pub(crate) fn command(&self, side: Side, program: impl AsRef<OsStr>) -> Command {
        match self {
            Arena::Loopback { .. } => Command::new(program),
            Arena::Veth { pair, .. } => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", pair.namespace(side)]).arg(program);
                command
            }
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            Arena::Loopback { mtu } => format!("loopback, datagrams for MTU {mtu}"),
            Arena::Veth { mtu, offloads: Offloads::Default, .. } => {
                format!("two namespaces, veth, MTU {mtu}, default offloads")
            }
            Arena::Veth { mtu, offloads: Offloads::Off, .. } => {
                format!("two namespaces, veth, MTU {mtu}, tso, tx-udp-segmentation and gro off")
            }
        }
    }
}

/// Two namespaces of our own; dropping it ends what still runs in them and removes them.
pub(crate) struct Pair {
    names: [String; 2],
}

impl Pair {
    fn new() -> Result<Pair, Void> {
        let id = std::process::id();
        // Made one by one inside the guard, so that a failure of the second removes the first.
        let mut pair = Pair { names: [String::new(), String::new()] };
        for (slot, end) in pair.names.iter_mut().zip(["a", "b"]) {
            let name = format!("udpxcmp{id}{end}");
            run("ip", &["netns", "add", &name])?;
            *slot = name;
        }
        Ok(pair)
    }

    fn connect(&self, mtu: u16) -> Result<(), Void> {
        let [a, b] = [Side::A, Side::B].map(|s| (self.namespace(s), Pair::device(s)));
        run("ip", &["-n", a.0, "link", "add", &a.1, "type", "veth", "peer", "name", &b.1, "netns", b.0])?;
        for (side, other) in [(Side::A, Side::B), (Side::B, Side::A)] {
            let (namespace, device) = (self.namespace(side), Pair::device(side));
            let address = format!("{}/30", Pair::address(side));
            let in_namespace = |args: &[&str]| run("ip", &[&["-n", namespace], args].concat());
            in_namespace(&["link", "set", "lo", "up"])?;
            in_namespace(&["link", "set", &device, "address", Pair::hardware_address(side)])?;
            in_namespace(&["link", "set", &device, "mtu", &mtu.to_string(), "up"])?;
            in_namespace(&["address", "add", &address, "dev", &device])?;
            // No row shall pay for, or lose its first window to, address resolution.
            let (neighbour, hardware) = (Pair::address(other).to_string(), Pair::hardware_address(other));
            in_namespace(&[
                "neighbour",
                "add",
                &neighbour,
                "lladdr",
                hardware,
                "dev",
                &device,
                "nud",
                "permanent",
            ])?;
        }
        Ok(())
    }

    fn switch_offloads_off(&self) -> Result<(), Void> {
        for side in [Side::A, Side::B] {
            let device = Pair::device(side);
            let ethtool =
                ["ethtool", "-K", &device, "tso", "off", "tx-udp-segmentation", "off", "gro", "off"];
            run("ip", &[&["netns", "exec", self.namespace(side)], &ethtool[..]].concat())?;
        }
        Ok(())
    }

    fn namespace(&self, side: Side) -> &str {
        &self.names[side as usize]
    }

    fn device(side: Side) -> String {
        match side {
            Side::A => "cmp-a".into(),
            Side::B => "cmp-b".into(),
        }
    }

    fn address(side: Side) -> Ipv4Addr {
        // TEST-NET-2: an address that no network of the machine can have.
        Ipv4Addr::new(198, 51, 100, 1 + side as u8)
    }

    fn hardware_address(side: Side) -> &'static str {
        match side {
            Side::A => "02:00:00:00:00:01",
            Side::B => "02:00:00:00:00:02",
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in self.names.iter().filter(|n| !n.is_empty()) {
            // Nobody else has processes in a namespace that carries our process id.
            if let Ok(pids) = run("ip", &["netns", "pids", name]) {
                for pid in pids.split_whitespace().filter_map(|p| p.parse().ok()) {
                    let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
                }
            }
            if let Err(error) = run("ip", &["netns", "delete", name]) {
                eprintln!(
                    "compare: namespace {name} is left behind ({error}); remove it: ip netns delete {name}"
                );
            }
        }
    }
}

/// Whether we may make namespaces: root, and no restricted container.
pub(crate) fn may_make_namespaces() -> bool {
    nix::unistd::geteuid().is_root() && fs::metadata("/proc/self/ns/net").is_ok()
}

fn run(program: &str, args: &[&str]) -> Result<String, Void> {
    let output = Command::new(program)
        .args(args)
        .output()
        .map_err(|e| Void(format!("{program} cannot be started: {e}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(Void(format!("`{program} {}` failed: {}", args.join(" "), words.trim())))
}
