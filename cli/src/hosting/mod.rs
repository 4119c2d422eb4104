//! Being there for others without a daemon: `serve` and `receive`, and what they have in common.

mod events;
pub(crate) mod receive;
pub(crate) mod serve;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use udpxd::hosting::addresses::Address;
use udpxd::hosting::{Host, HostConfig, Offer};
use udpxd::{Code, identity};

use crate::args::Output;
use crate::failure::Failure;
use crate::{jsonl, run};

/// How others find this machine, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Listening {
    /// Where others find this machine; may be repeated [default: its own addresses]
    #[arg(long = "address", value_name = "ADDRESS", value_parser = address)]
    addresses: Vec<Address>,
    /// The UDP port to listen on [default: any that is free]
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// How long the ticket can be used, e.g. 10min, 2h or 7d [default: until the command ends]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    expires: Option<Duration>,
    /// Be known by the secret key in this file [default: a key for this time only]
    #[arg(long, value_name = "FILE")]
    identity: Option<PathBuf>,
    /// Hand packets to the kernel one by one (no segmentation offload)
    #[arg(long)]
    no_gso: bool,
    /// Largest IP packet, bytes [default: 9000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1280..))]
    mtu: Option<u16>,
}

impl Listening {
    fn start(&self, offer: Offer) -> Result<Host, Failure> {
        let identity = match &self.identity {
            Some(file) => run::load_identity(Some(file.clone()))?,
            None => identity::ephemeral().map_err(|error| Failure::new(Code::Io, error.to_string()))?,
        };
        let mut config = HostConfig::new(offer, identity);
        config.addresses.clone_from(&self.addresses);
        (config.port, config.lifetime) = (self.port, self.expires);
        (config.umask, config.gso) = (udpxd::lend::umask(), !self.no_gso);
        config.mtu_max = self.mtu.unwrap_or(config.mtu_max);
        Host::start(&config).map_err(Failure::from)
    }
}

/// What to do on the other machine, for people: the commands have the ticket in them, to be pasted.
fn explain(host: &Host, what: &str, commands: &[&str], output: Output) {
    if output.json || output.quiet {
        return;
    }
    let ticket = text_of_ticket(host);
    let ports: Vec<String> = host.ports().iter().map(u16::to_string).collect();
    let mut text = format!("{what}. On the other machine:\n");
    for command in commands {
        text.push_str(&format!("  {}\n", command.replace("TICKET", &ticket)));
    }
    text.push_str(&format!("A firewall here has to let in UDP port {}. Ctrl-C ends it.\n", ports.join(", ")));
    note(&text);
}

/// Lines for people. Where standard error is closed there is nobody to tell.
fn note(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// The user has had enough.
fn interrupted() -> Failure {
    let remedy = "The ticket is void now; the same command makes a new one.";
    Failure::with_remedy(Code::Interrupted, "interrupted", remedy)
}

/// The ticket's one line. A command always makes one.
fn text_of_ticket(host: &Host) -> String {
    host.ticket().map(|ticket| ticket.text().to_string()).unwrap_or_default()
}

/// Tells where to find us, for programs.
fn tell_ticket(host: &Host) {
    if let Some(ticket) = host.ticket() {
        jsonl::emit("ticket", events::ticket(ticket));
    }
}

fn address(text: &str) -> Result<Address, String> {
    Address::parse(text).ok_or_else(|| "write an address: 192.0.2.7, 2001:db8::1 or 192.0.2.7:4000".into())
}

/// `30s`, `10min`, `2h`, `7d`.
fn lifetime(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let seconds: Option<u64> = match unit.trim() {
        "s" => Some(1),
        "m" | "min" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    let seconds = number.parse::<u64>().ok().zip(seconds).and_then(|(number, unit)| number.checked_mul(unit));
    let good = seconds.filter(|seconds| (1..=LIFETIME_MAX).contains(seconds));
    good.map(Duration::from_secs).ok_or_else(|| "write a time of up to 366 days: 30s, 10min, 2h or 7d".into())
}

/// Seconds: a ticket is for first contact, and no key.
const LIFETIME_MAX: u64 = 366 * 86_400;
/// How soon Ctrl-C and the end of a ticket are noticed.
const TICK: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_as_people_write_them() {
        for (text, seconds) in [("30s", 30), ("10min", 600), ("10m", 600), ("2 h", 7200), ("7d", 604_800)] {
            assert_eq!(lifetime(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "10", "0s", "1.5h", "367d", "99999999999999999999d", "ever"] {
            assert!(lifetime(text).is_err(), "{text}");
        }
    }
}
