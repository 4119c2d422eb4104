//! What the kernel counts of the two ends' network namespaces: the same for each tool, whatever it says of itself.

use std::process::Command;

use super::netns::{Arena, Side};

/// Both namespaces together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snmp {
    /// UDP datagrams that found the socket's receive buffer full.
    pub(crate) udp_drops: u64,
    /// TCP segments sent, and those sent again.
    pub(crate) tcp_sent: u64,
    pub(crate) tcp_resent: u64,
}

impl Snmp {
    /// The counters of now; `None` over loopback, where they are everybody's.
    pub(crate) fn read(arena: &Arena) -> Option<Snmp> {
        let Arena::Veth { .. } = arena else { return None };
        let mut sum = Snmp::default();
        for side in [Side::A, Side::B] {
            let mut cat: Command = arena.command(side, "cat");
            let output = cat.arg("/proc/net/snmp").output().ok()?;
            let one = Snmp::parse(&String::from_utf8_lossy(&output.stdout))?;
            sum.udp_drops += one.udp_drops;
            sum.tcp_sent += one.tcp_sent;
            sum.tcp_resent += one.tcp_resent;
        }
        Some(sum)
    }

    /// What came since `before`.
    pub(crate) fn since(self, before: Snmp) -> Snmp {
        Snmp {
            udp_drops: self.udp_drops.saturating_sub(before.udp_drops),
            tcp_sent: self.tcp_sent.saturating_sub(before.tcp_sent),
            tcp_resent: self.tcp_resent.saturating_sub(before.tcp_resent),
        }
    }

    /// Share of the TCP segments that were sent again, if there were any.
    pub(crate) fn tcp_resent_share(self) -> Option<f64> {
        (self.tcp_sent > 0).then(|| self.tcp_resent as f64 / self.tcp_sent as f64)
    }

    fn parse(text: &str) -> Option<Snmp> {
        Some(Snmp {
            udp_drops: field(text, "Udp:", "RcvbufErrors")?,
            tcp_sent: field(text, "Tcp:", "OutSegs")?,
            tcp_resent: field(text, "Tcp:", "RetransSegs")?,
        })
    }
}

/// A counter of `/proc/net/snmp`: a line of names and a line of numbers for each protocol.
fn field(text: &str, protocol: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with(protocol));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|word| word == name)?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_name() {
        let text = "Tcp: RtoMin OutSegs RetransSegs\nTcp: 200 50 5\n\
                    Udp: InDatagrams NoPorts RcvbufErrors\nUdp: 9 8 7\nUdpLite: InDatagrams\nUdpLite: 1\n";
        let counters = Snmp::parse(text).unwrap();
        assert_eq!(counters, Snmp { udp_drops: 7, tcp_sent: 50, tcp_resent: 5 });
        assert_eq!(counters.tcp_resent_share(), Some(0.1));
        assert_eq!(Snmp::parse("Tcp: A\nTcp: 1\n"), None);
    }
}
