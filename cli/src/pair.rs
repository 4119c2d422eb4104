//! `udpxctl pair`: both machines become peers, over ssh.
//!
//! ssh is the user's own program, with all that is configured for it. On the other machine it runs `udpxctl invite`; the line
//! that comes back is a ticket, which the daemon here is given over its socket. It stands on no command line.

use std::io::Read;
use std::process::{Command, Stdio};

use clap::Args;
use udpx_control::schema::Peers;
use udpxd::Code;

use crate::args::{AskArgs, NewPeerArgs, Output};
use crate::ask;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::join::{self, Ticketed};

/// Where the other machine is, what this one may do there, and what they call each other.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub(crate) struct PairArgs {
    /// The other machine, as ssh finds it: HOST or USER@HOST
    host: String,
    /// Of this machine, the new peer, there.
    #[command(flatten)]
    rights: NewPeerArgs,
    /// What to call the other machine [default: as it calls itself]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// What this machine is to be called there [default: its host name]
    #[arg(long = "as", value_name = "NAME")]
    call_me: Option<String>,
    /// Give the other machine the same rights in its directory here
    #[arg(long)]
    mutual: bool,
    /// The program that runs commands there, with its options
    #[arg(long, value_name = "COMMAND", default_value = "ssh")]
    ssh: String,
    /// udpxctl on the other machine
    #[arg(long, value_name = "COMMAND", default_value = "udpxctl")]
    udpxctl: String,
    #[command(flatten)]
    socket: AskArgs,
}

/// Runs the command; the error is not yet told.
pub(crate) fn run(args: PairArgs, output: Output) -> Result<(), Failure> {
    if args.host.is_empty() || args.host.starts_with('-') || args.host.contains(char::is_whitespace) {
        let text = format!("{:?} is no machine that ssh could find", args.host);
        return Err(Failure::with_remedy(Code::Usage, text, "Give a host, or USER@HOST."));
    }
    let interrupt = Interrupt::watch()?;
    // A ticket that could not be used would be left over there: whoever may see the peers here may add one.
    let mut client = ask::connect(args.socket.socket.clone())?;
    ask::call(&mut client, Peers {}, |_| {})?;
    let ticket = invited(&args)?;
    interrupt.check()?;
    let PairArgs { name, call_me, mutual, .. } = args;
    join::with(client, Ticketed { ticket, name, call_me, mutual }, output, &interrupt)
}

/// Has the other machine print a ticket. What is said there on standard error is shown as it comes: it is ssh's, and of a
/// program that the user chose.
fn invited(args: &PairArgs) -> Result<String, Failure> {
    let mut words = args.ssh.split_whitespace();
    let program = words.next().unwrap_or("ssh");
    let mut ssh = Command::new(program);
    ssh.args(words).arg(&args.host).arg(args.remote_command());
    let failed = |error: std::io::Error| {
        let text = format!("{program} could not be run: {error}");
        let remedy =
            format!("Install it, or name another one: --ssh COMMAND. Or do it by hand: {}", args.by_hand());
        Failure::with_remedy(Code::Config, text, remedy)
    };
    let mut child = ssh.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        // What is no text is no ticket either.
        let _ = stdout.take(join::LINE_BYTES_MAX).read_to_string(&mut line);
    }
    let code = child.wait().map_err(failed)?.code();
    let ticket = line.trim().strip_prefix(join::COMMAND);
    match ticket.filter(|ticket| code == Some(0) && !ticket.contains(char::is_whitespace)) {
        Some(ticket) => Ok(ticket.to_owned()),
        None => Err(args.failed(code)),
    }
}

impl PairArgs {
    /// What the shell of the other machine is to run: `udpxctl invite`, by sudo where only that may. A sudo that wants a
    /// password has no terminal to ask for it at. An attempt that fails otherwise is repeated, to be heard.
    fn remote_command(&self) -> String {
        let invite = self.invite_command();
        let script = format!(
            "{invite} 2>/dev/null; c=$?; [ $c = 0 ] && exit 0; [ $c = {} ] && command -v sudo >/dev/null && \
             exec sudo -n {invite}; {invite}",
            Code::Refused.exit()
        );
        format!("sh -c {}", quoted(&script))
    }

    fn invite_command(&self) -> String {
        let mut words = vec![self.udpxctl.clone(), "--quiet".into(), "invite".into()];
        let mut option = |name: &str, value: &str| words.push(format!("{name}={}", quoted(value)));
        let NewPeerArgs { root, read, write, list, address } = &self.rights;
        if let Some(root) = root {
            option("--root", root);
        }
        for address in address {
            option("--address", address);
        }
        for (given, flag) in [(read, "--read"), (write, "--write"), (list, "--list")] {
            if *given {
                words.push(flag.into());
            }
        }
        words.join(" ")
    }

    /// Why there is no ticket, and what to do.
    fn failed(&self, code: Option<i32>) -> Failure {
        let host = &self.host;
        let by_hand = self.by_hand();
        let of = |code, text: String, remedy: String| Failure::with_remedy(code, text, remedy);
        match code {
            Some(255) => of(
                Code::Unreachable,
                format!("ssh did not reach {host}"),
                format!(
                    "See what it says above, and try: {} {host} true. Or do it by hand: {by_hand}",
                    self.ssh
                ),
            ),
            Some(126 | 127) => of(
                Code::Config,
                format!("there is no {} on {host}", self.udpxctl),
                format!(
                    "Install udpx there, or say where it is: --udpxctl /usr/local/bin/udpxctl. Or: {by_hand}"
                ),
            ),
            Some(69) => of(
                Code::NoDaemon,
                format!("no daemon runs on {host}"),
                format!("On {host}: sudo systemctl start udpxd"),
            ),
            Some(0) => of(
                Code::Protocol,
                format!("what {host} printed is no ticket"),
                format!("Use the same version of udpx on both machines, or do it by hand: {by_hand}"),
            ),
            None => Failure::interrupted(),
            Some(_) => of(
                Code::Refused,
                format!("{host} gave no ticket"),
                format!(
                    "See what it says above. You have to be an administrator of udpx there, or to have sudo without a \
                     password. By hand: {by_hand}"
                ),
            ),
        }
    }

    fn by_hand(&self) -> String {
        format!("on {}: sudo udpxctl invite; and here: sudo udpxctl join TICKET", self.host)
    }
}

/// For the shell of the other machine.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

const HELP: &str = "Examples:
  sudo udpxctl pair bob                        this machine may put files on bob, and see its own there
  sudo udpxctl pair --mutual root@bob          and bob here
  sudo udpxctl pair --ssh 'ssh -p 2222' bob    udpxctl runs ssh as you would
Both machines run udpxd already. On bob it takes a user who is an administrator of udpx (root, or the group udpx-admin), or
one who has sudo without a password. Without ssh: udpxctl invite --help";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        pair: PairArgs,
    }

    #[test]
    fn what_runs_there_is_what_a_shell_reads_as_it_was_meant() {
        let of = |words: &[&str]| Line::parse_from([&["pair", "bob"], words].concat()).pair.invite_command();
        assert_eq!(of(&[]), "udpxctl --quiet invite");
        assert_eq!(of(&["--read", "--list"]), "udpxctl --quiet invite --read --list");
        let text =
            of(&["--root", "a'; rm -rf ~ '", "--address", "192.0.2.7", "--write", "--udpxctl", "/opt/u"]);
        let is = "/opt/u --quiet invite --root='a'\\''; rm -rf ~ '\\''' --address='192.0.2.7' --write";
        assert_eq!(text, is);
        let line = Line::parse_from(["pair", "bob", "--root", "a'b", "--udpxctl", "printf [%s]"])
            .pair
            .remote_command();
        let ran = Command::new("sh").arg("-c").arg(line).output().unwrap();
        assert_eq!(ran.stdout, b"[--quiet][invite][--root=a'b]");
    }
}
