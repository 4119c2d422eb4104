//! One end of a row of our own, in a process of its own, as udpx's ends are: this program runs itself again
//! with the hidden subcommand `endpoint`, inside the namespace of that end.
//!
//! A receiver prints one line when it listens and one [`Report`] at the end; a sender only the report. The clock is the
//! sender's, from its first byte until the receiver has said that it has all of them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};

use super::netns::{Arena, Side};
use super::process::{Finished, Running, Void};
use super::row::{End, Figure};
use super::{pump_raw, pump_sealed, tcp};

/// What an endpoint prints when it is done.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    /// Payload bytes.
    pub(crate) bytes: u64,
    /// BLAKE3 of them, where the figure has one.
    pub(crate) digest: Option<String>,
    /// On the clock of the side that reports.
    pub(crate) seconds: f64,
    /// User and system time of this process while the clock ran.
    pub(crate) cpu_seconds: f64,
    /// Datagrams that one system call carried, on average; 0 for TCP.
    pub(crate) datagrams_per_call: f64,
    /// Share of the packets that were sent again, where the end knows it.
    #[serde(default)]
    pub(crate) resent_share: Option<f64>,
    /// How a tool that is not ours was set up.
    #[serde(default)]
    pub(crate) setup: Option<String>,
}

impl Report {
    /// Of an end that has nothing to say of retransmissions or of a setup.
    pub(crate) fn new(bytes: u64, seconds: f64, cpu_seconds: f64, datagrams_per_call: f64) -> Report {
        Report {
            bytes,
            digest: None,
            seconds,
            cpu_seconds,
            datagrams_per_call,
            resent_share: None,
            setup: None,
        }
    }
}

/// What an end cost: CPU time while its clock ran, the rest over its whole life.
pub(crate) fn cost(report: &Report, finished: &Finished) -> End {
    End {
        cpu_seconds: Some(report.cpu_seconds),
        wakeups: Some(finished.usage.wakeups),
        peak_bytes: Some(finished.usage.peak_bytes),
        datagrams_per_call: (report.datagrams_per_call > 0.0).then_some(report.datagrams_per_call),
    }
}

/// What a receiver prints when the sender may begin.
#[derive(Serialize, Deserialize)]
struct Listening {
    listening: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    RawPump,
    IovecPump,
    SealedPump,
    Tcp,
    Ktls,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Send,
    Receive,
}

/// `endpoint`: not for people.
#[derive(Args, Clone, Debug)]
pub(crate) struct EndpointArgs {
    #[arg(long)]
    pub(crate) kind: Kind,
    #[arg(long)]
    pub(crate) role: Role,
    /// Where the receiver listens and the sender sends to.
    #[arg(long)]
    pub(crate) address: SocketAddr,
    /// Payload bytes to move.
    #[arg(long)]
    pub(crate) size: u64,
    /// UDP payload of a full datagram.
    #[arg(long)]
    pub(crate) datagram: u16,
    /// Whether both ends hash what passes, in the time that is measured.
    #[arg(long)]
    pub(crate) digest: bool,
    /// What the TCP sender sends.
    #[arg(long)]
    pub(crate) file: Option<PathBuf>,
    /// Payload bits a second that a pump keeps to.
    #[arg(long)]
    pub(crate) rate: Option<f64>,
}

/// Runs one endpoint to its end and prints its report.
///
/// # Errors
/// Whatever stopped it; bytes that were lost or damaged among them.
pub(crate) fn run(args: &EndpointArgs) -> Result<(), Void> {
    let report = match (args.kind, args.role) {
        (Kind::RawPump | Kind::IovecPump, Role::Send) => pump_raw::send(args)?,
        (Kind::RawPump | Kind::IovecPump, Role::Receive) => pump_raw::receive(args)?,
        (Kind::SealedPump, Role::Send) => pump_sealed::send(args)?,
        (Kind::SealedPump, Role::Receive) => pump_sealed::receive(args)?,
        (Kind::Tcp | Kind::Ktls, Role::Send) => tcp::send(args)?,
        (Kind::Tcp | Kind::Ktls, Role::Receive) => tcp::receive(args)?,
    };
    print_line(&report)
}

/// Tells the parent that the sender may begin.
///
/// # Errors
/// If nobody reads our output any more.
pub(crate) fn announce(listening: SocketAddr) -> Result<(), Void> {
    print_line(&Listening { listening })
}

fn print_line<T: Serialize>(value: &T) -> Result<(), Void> {
    use std::io::Write;
    let text = serde_json::to_string(value).map_err(|e| Void(e.to_string()))?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// User and system time of this process so far, in seconds.
pub(crate) fn cpu_seconds() -> f64 {
    let seconds = |t: TimeVal| t.tv_sec() as f64 + t.tv_usec() as f64 / 1e6;
    getrusage(UsageWho::RUSAGE_SELF).map_or(0.0, |u| seconds(u.user_time()) + seconds(u.system_time()))
}

/// Both ends' reports of one transfer that was verified as far as its kind allows.
pub(crate) struct Transfer {
    sent: Report,
    pub(crate) received: Report,
    sender: End,
    receiver: End,
}

impl Transfer {
    /// The rate on the sender's clock and what it cost both ends.
    pub(crate) fn figure(&self, label: &'static str) -> Figure {
        Figure {
            sender: self.sender,
            receiver: self.receiver,
            ..Figure::new(label, self.sent.bytes, self.sent.seconds)
        }
    }
}

/// A transfer for [`transfer`].
pub(crate) struct Plan<'a> {
    pub(crate) kind: Kind,
    pub(crate) size: u64,
    pub(crate) digest: bool,
    pub(crate) file: Option<&'a PathBuf>,
    /// Payload bits a second, for a pump that is paced.
    pub(crate) rate: Option<f64>,
    pub(crate) limit: Duration,
}

/// Moves `plan.size` bytes from side A to side B and compares what both say about them.
///
/// # Errors
/// If an end fails, or the counts or digests differ.
pub(crate) fn transfer(arena: &Arena, plan: &Plan<'_>) -> Result<Transfer, Void> {
    const STARTUP: Duration = Duration::from_secs(10);
    let any_port = SocketAddr::new(arena.address(Side::B), 0);
    let mut receiver = start(arena, Side::B, Role::Receive, any_port, plan)?;
    let line = receiver.line(STARTUP)?;
    let Listening { listening } =
        serde_json::from_str(&line).map_err(|_| Void(format!("the receiver said: {line}")))?;
    let sender = start(arena, Side::A, Role::Send, listening, plan)?;
    // A receiver that failed says why; the sender only that nobody answers.
    let (sender, receiver) = match sender.finish(plan.limit) {
        Ok(sender) => (sender, receiver.finish(plan.limit)?),
        Err(sender) => return Err(receiver.finish(Duration::from_secs(1)).err().unwrap_or(sender)),
    };
    let parse = |text: &str| -> Result<Report, Void> {
        serde_json::from_str(text.trim()).map_err(|_| Void(format!("an endpoint reported: {text}")))
    };
    let (sent, received) = (parse(&sender.stdout)?, parse(&receiver.stdout)?);
    if sent.bytes != plan.size || received.bytes != plan.size {
        return Err(Void(format!("{} of {} bytes sent, {} received", sent.bytes, plan.size, received.bytes)));
    }
    if plan.digest && (sent.digest.is_none() || sent.digest != received.digest) {
        return Err(Void("the digests of the two ends differ".into()));
    }
    let (sender, receiver) = (cost(&sent, &sender), cost(&received, &receiver));
    Ok(Transfer { sent, received, sender, receiver })
}

fn start(
    arena: &Arena,
    side: Side,
    role: Role,
    address: SocketAddr,
    plan: &Plan<'_>,
) -> Result<Running, Void> {
    let myself = std::env::current_exe()?;
    let mut command = arena.command(side, myself);
    let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        value().map_or_else(String::new, |v| v.get_name().to_owned())
    };
    command
        .arg("endpoint")
        .args(["--kind", &name(&|| plan.kind.to_possible_value())])
        .args(["--role", &name(&|| role.to_possible_value())])
        .args(["--address", &address.to_string()])
        .args(["--size", &plan.size.to_string()])
        .args(["--datagram", &arena.datagram().to_string()]);
    if plan.digest {
        command.arg("--digest");
    }
    if let Some(file) = plan.file {
        command.arg("--file").arg(file);
    }
    if let Some(rate) = plan.rate {
        command.args(["--rate", &rate.to_string()]);
    }
    let name = match role {
        Role::Send => "the sender",
        Role::Receive => "the receiver",
    };
    Running::start(name, &mut command)
}
