//! `udpxctl join`: becoming a peer of the machine that made a ticket.

use std::io::Read;

use clap::Args;
use serde_json::json;
use udpx_control::client::Client;
use udpx_control::schema::{Join, Reply};
use udpxd::Code;

use crate::args::{AskArgs, Output};
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::{ask, escape, events};

/// The ticket, and what the two machines call each other.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct JoinArgs {
    /// What udpxctl invite printed there, or - to read it from standard input: others of this machine see command lines
    ticket: String,
    /// What to call the other machine [default: as it calls itself]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What this machine is to be called there [default: its host name]
    #[arg(long = "as", value_name = "NAME")]
    call_me: Option<String>,
    /// Give the other machine the same rights in its directory here
    #[arg(long)]
    mutual: bool,
    #[command(flatten)]
    socket: AskArgs,
}

/// A ticket, and what is to be made of it.
pub(crate) struct Ticketed {
    pub(crate) ticket: String,
    pub(crate) name: Option<String>,
    pub(crate) call_me: Option<String>,
    pub(crate) mutual: bool,
}

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: JoinArgs, output: Output) -> Result<(), Failure> {
    let interrupt = Interrupt::watch()?;
    let text = if args.ticket == "-" { standard_input()? } else { args.ticket };
    // The whole line may have been pasted.
    let ticket = text.trim().strip_prefix(COMMAND).unwrap_or(text.trim()).to_owned();
    let client = ask::connect(args.socket.socket)?;
    let JoinArgs { name, call_me, mutual, .. } = args;
    with(client, Ticketed { ticket, name, call_me, mutual }, output, &interrupt)
}

/// Has the daemon use a ticket, and tells what came of it.
pub(crate) fn with(
    mut client: Client,
    ticketed: Ticketed,
    output: Output,
    interrupt: &Interrupt,
) -> Result<(), Failure> {
    let Ticketed { ticket, name, call_me, mutual } = ticketed;
    let request = Join { ticket, name, call_me, mutual };
    let Reply::Joined { peer, joiner, rtt_us } = ask::wait(&mut client, request, None, interrupt, |_| {})?
    else {
        return Err(ask::unexpected());
    };
    let fields = || {
        events::object(
            json!({ "ok": true, "peer": peer, "joiner": joiner, "rtt_us": rtt_us, "mutual": mutual }),
        )
    };
    crate::conclude(output, fields, || {
        let (peer, joiner) = (escape::text(&peer), escape::text(&joiner));
        let rtt = crate::units::time(std::time::Duration::from_micros(rtt_us));
        match output.quiet {
            true => String::new(),
            false => format!(
                "{peer} and this machine, which is {joiner} there, know each other; an echo took {rtt}\n  Try: udpxctl push \
                 FILE {peer}\n"
            ),
        }
    })
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(LINE_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| {
        let text = format!("the ticket cannot be read from standard input: {error}");
        Failure::with_remedy(Code::Usage, text, "Pipe what udpxctl invite printed.")
    })?;
    Ok(text)
}

/// What stands before a ticket that is meant to be pasted.
pub(crate) const COMMAND: &str = "sudo udpxctl join ";
/// More than any line with a ticket has.
pub(crate) const LINE_BYTES_MAX: u64 = 4096;

const HELP: &str = "Examples:
  sudo udpxctl join udpx1afva...
  ssh alice sudo udpxctl invite | sudo udpxctl join - --name alice";
